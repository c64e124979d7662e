"""An object is read as it is stored, at its generation, whatever happens to it meanwhile."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import random
import threading
import time
import tracemalloc
import zipfile

import pytest
import requests
from google.api_core import exceptions

from support import wait
from support.storage_servers import BACKENDS, on_a_server, storage_backend, storage_client
from tuner.conversations import sources
from tuner.conversations.containers import open_parts
from tuner.conversations.sources import CHUNK_BYTES, BucketObject

_buckets = itertools.count(1)

LARGE = random.Random(1).randbytes(1 << 20) * 8


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    with storage_backend(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def bucket(backend):
    return backend.client().create_bucket(f"sources-{next(_buckets)}")


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert wait.until(lambda: "read-ahead" not in {thread.name for thread in threading.enumerate()})


def stored(bucket, content, *, through=None, **attributes):
    """The object as a source; `through` makes the requests that read it."""
    blob = bucket.blob("ech0/memory.json")
    for name, value in attributes.items():
        setattr(blob, name, value)
    blob.upload_from_string(content)
    if through:
        bucket = through.bucket(bucket.name)
    return BucketObject(bucket.blob(blob.name, generation=blob.generation))


def test_an_object_is_read_in_chunks_and_hashed(bucket):
    source = stored(bucket, LARGE)
    chunks = list(source.chunks())
    assert b"".join(chunks) == LARGE
    assert {len(chunk) for chunk in chunks} == {CHUNK_BYTES}
    assert source.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert (source.name, source.size_bytes) == ("ech0/memory.json", len(LARGE))


def test_an_empty_object_has_no_chunks(bucket):
    source = stored(bucket, b"")
    assert list(source.chunks()) == []
    assert source.size_bytes == 0


def test_a_blob_without_a_generation_is_refused(bucket):
    with pytest.raises(ValueError, match="generation"):
        BucketObject(bucket.blob("ech0/memory.json"))


def test_what_is_not_there_is_not_found(bucket):
    blob = bucket.blob("missing", generation=1)
    with pytest.raises(exceptions.NotFound):
        BucketObject(blob).drain()
    with pytest.raises(exceptions.NotFound):
        _ = BucketObject(blob).size_bytes
    with pytest.raises(exceptions.NotFound):
        BucketObject(blob).open().read(1)


def test_an_object_that_was_replaced_before_is_not_found(bucket):
    source = stored(bucket, b"first")
    stored(bucket, b"second")
    with pytest.raises(exceptions.NotFound):
        source.drain()


def test_an_object_that_is_replaced_during_the_reading_is_never_mixed(bucket):
    """Its reading goes on with the old bytes or ends with an error."""
    source = stored(bucket, LARGE)
    found = next(source.chunks())
    stored(bucket, LARGE[::-1])
    try:
        found += b"".join(source.chunks())
    except exceptions.NotFound:
        pass
    else:
        assert source.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert LARGE.startswith(found)
    source.close()


def test_random_access_to_a_replaced_object_is_not_found(bucket):
    source = stored(bucket, LARGE)
    with source.open() as file:
        assert file.read(10) == LARGE[:10]
        stored(bucket, LARGE[::-1])
        with pytest.raises(exceptions.NotFound):
            file.read(7 << 20)


def test_what_is_kept_as_gzip_arrives_as_gzip(bucket):
    packed = gzip.compress(b'["text"]')
    source = stored(bucket, packed, content_encoding="gzip")
    [part] = open_parts(source)
    assert (b"".join(part.chunks), part.container) == (b'["text"]', "gzip")
    assert source.sha256 == hashlib.sha256(packed).hexdigest()
    with source.open() as file:
        assert file.read() == packed


def test_a_zip_is_read_from_the_bucket_member_by_member(bucket):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.json", b"[1]")
        archive.writestr("b.json", LARGE)  # is no text
        archive.writestr("c.json", b"[2]")
    source = stored(bucket, content.getvalue())
    found = [(part.name, b"".join(part.chunks)) for part in open_parts(source)]
    assert found == [("a.json", b"[1]"), ("c.json", b"[2]")]
    source.drain()
    assert source.sha256 == hashlib.sha256(content.getvalue()).hexdigest()


def test_a_reader_that_stops_early_ends_the_download(bucket):
    source = stored(bucket, LARGE * 4)
    next(source.chunks())
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1
    assert not source._reading._thread.is_alive()


def test_a_large_object_takes_little_memory(bucket):
    source = stored(bucket, LARGE * 12)
    tracemalloc.start()
    try:
        source.drain()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert source.size_bytes == 96 << 20
    assert peak_bytes < 8 << 20


# -- when the network fails ------------------------------------------------------------------------


class CutReplies(requests.Session):
    """Cuts each reply that holds media after so many bytes, as a connection that breaks does."""

    def __init__(self, sizes):
        super().__init__()
        self.ranges = []
        self._sizes = iter(sizes)

    def request(self, method, url, *arguments, **options):
        reply = super().request(method, url, *arguments, **options)
        size = next(self._sizes, None) if "alt=media" in url else None
        if "alt=media" in url:
            self.ranges.append((options.get("headers") or {}).get("range"))
        if size is not None:
            reply.raw.stream = lambda *_, **__: cut(reply.raw, size)
        return reply


def cut(raw, size):
    yield raw.read(size)
    raise ConnectionError("reset by peer")


@pytest.fixture
def _quick_retries(monkeypatch):
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda seconds: None)


@on_a_server
@pytest.mark.usefixtures("_quick_retries")
def test_a_download_goes_on_where_it_broke_off(backend, bucket):
    session = CutReplies([1, 100_000, 0, 5_000_000])
    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, session))
    source.drain()
    assert source.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert session.ranges == [
        None, "bytes=1-", "bytes=100001-", "bytes=100001-", "bytes=5100001-",
    ]  # fmt: skip


@on_a_server
@pytest.mark.usefixtures("_quick_retries")
def test_failures_count_only_while_no_byte_arrives(backend, bucket):
    session = CutReplies([10] * 50)
    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, session))
    source.drain()
    assert len(session.ranges) == 51

    session = CutReplies([10, *[0] * 50])
    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, session))
    with pytest.raises(ConnectionError, match="reset by peer"):
        source.drain()
    assert len(session.ranges) == 8


@on_a_server
@pytest.mark.usefixtures("_quick_retries")
def test_what_comes_in_several_replies_is_compared_with_what_is_stored(backend, bucket):
    class Falsifies(CutReplies):
        def request(self, method, url, *arguments, **options):
            reply = super().request(method, url, *arguments, **options)
            if reply.status_code == 206:
                rest = reply.raw.read()
                reply.raw.stream = lambda *_, **__: iter([rest[:-1] + b"\0"])
            return reply

    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, Falsifies([1000])))
    with pytest.raises(OSError, match="CRC32C"):
        source.drain()


@on_a_server
def test_closing_ends_a_download_that_is_about_to_try_again(backend, bucket, monkeypatch):
    sleeps, is_closed = threading.Event(), threading.Event()

    def sleep(seconds):
        sleeps.set()
        is_closed.wait(10)

    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", sleep)
    monkeypatch.setattr(sources, "_CLOSE_SECONDS", 0.1)
    session = CutReplies([0] * 50)
    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, session))
    source.chunks()
    assert sleeps.wait(10)
    source.close()
    is_closed.set()
    source._reading._thread.join(5)
    assert len(session.ranges) == 2


@on_a_server
def test_closing_does_not_wait_for_the_network(backend, bucket, monkeypatch):
    monkeypatch.setattr(sources, "_CLOSE_SECONDS", 0.1)

    class Stalls(CutReplies):
        def __init__(self):
            super().__init__([])
            self.goes_on = threading.Event()

        def request(self, method, url, *arguments, **options):
            self.goes_on.wait(30)
            return super().request(method, url, *arguments, **options)

    session = Stalls()
    source = stored(bucket, LARGE, through=storage_client(backend.endpoint, session))
    source.chunks()
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 2
    assert source._reading._thread.is_alive()
    session.goes_on.set()
    source._reading._thread.join(5)
    assert not source._reading._thread.is_alive()
