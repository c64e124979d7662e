"""What a bucket's objects tell, keep and give back, alike on every storage that we run on."""

from __future__ import annotations

import gzip
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions

from support.storage_servers import BACKENDS, storage_backend
from support.stored_objects import SEEN_BY, seen, write
from tuner.dataset.upload import written_whole
from tuner.ledger import is_missing_bucket

_buckets = itertools.count(1)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    with storage_backend(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def bucket(backend):
    return backend.client().create_bucket(f"blobs-{next(_buckets)}")


# -- what an object tells -------------------------------------------------------------------------


def test_generations_only_grow_whatever_is_deleted(bucket):
    generations = [write(bucket, name).generation for name in ("a", "b", "a")]
    bucket.delete_blob("a")
    generations.append(write(bucket, "a").generation)
    assert generations == sorted(set(generations))


def test_metadata_comes_back_as_text_and_goes_with_its_generation(bucket):
    blob = bucket.blob("object")
    blob.metadata = {"seq": 7, "reason": "No room: ünïcode"}
    blob.upload_from_string(b"{}", content_type="application/json")
    found = bucket.get_blob("object")
    assert found.metadata == {"seq": "7", "reason": "No room: ünïcode"}
    assert (found.size, found.content_type) == (2, "application/json")
    write(bucket)
    assert bucket.get_blob("object").metadata is None


def test_metadata_is_changed_by_setting_it(bucket):
    blob = bucket.blob("object")
    blob.metadata = {"state": "waiting"}
    blob.upload_from_string(b"{}")
    blob.metadata["state"] = "running"
    assert blob.metadata == {"state": "waiting"}


def test_metadata_that_was_read_goes_along_with_the_next_write(bucket):
    blob = bucket.blob("object")
    blob.metadata = {"state": "waiting"}
    blob.upload_from_string(b"{}")
    found = bucket.get_blob("object")
    found.upload_from_string(b"[]")
    assert bucket.get_blob("object").metadata == {"state": "waiting"}


def test_an_object_tells_when_it_was_written(bucket):
    before = datetime.now(UTC)
    write(bucket)
    [listed] = bucket.list_blobs()
    assert before - timedelta(seconds=1) < listed.updated < datetime.now(UTC)
    assert bucket.get_blob("object").updated == listed.updated


def test_an_object_tells_its_checksums(bucket):
    write(bucket, content=b"x")
    found = bucket.get_blob("object")
    assert (found.crc32c, found.md5_hash) == ("qTxfkw==", "ndTkYSaMgDT1yFZOFVxnpg==")


def test_text_is_stored_as_utf_8_and_is_plain_unless_said_otherwise(bucket):
    blob = write(bucket, content="ü")
    assert (blob.size, blob.content_type) == (2, "text/plain")
    assert bucket.blob("object").download_as_bytes() == "ü".encode()


def test_a_download_tells_neither_size_nor_metadata(bucket):
    written = bucket.blob("object")
    written.metadata = {"state": "waiting"}
    written.upload_from_string(b"x", content_type="application/json")
    blob = bucket.blob("object")
    blob.download_as_bytes()
    assert (blob.size, blob.updated, blob.metadata) == (None, None, None)
    assert (blob.content_type, blob.crc32c) == ("application/json", "qTxfkw==")
    blob.reload()
    assert (blob.size, blob.metadata) == (1, {"state": "waiting"})


# -- generations that are named -------------------------------------------------------------------


@SEEN_BY
def test_what_was_seen_once_names_its_generation_from_then_on(bucket, by):
    blob = seen(bucket, by)
    assert blob.exists()
    assert blob.download_as_bytes() == b"first"
    write(bucket, content=b"second")
    assert not blob.exists()
    with pytest.raises(exceptions.NotFound):
        blob.reload()
    blob.upload_from_string(b"third")  # a write names none
    assert blob.download_as_bytes() == b"third"


def test_a_copy_is_of_what_is_there_unless_it_names_a_generation(bucket):
    source = write(bucket, content=b"first")
    write(bucket, content=b"second")
    copied = bucket.copy_blob(source, bucket, "copy")
    assert copied.download_as_bytes() == b"second"


def test_a_copy_has_the_metadata_and_a_generation_of_its_own(backend, bucket):
    source = bucket.blob("object")
    source.metadata = {"state": "verified"}
    source.upload_from_string(b"x", content_type="application/json")
    other = backend.client().create_bucket(f"blobs-{next(_buckets)}")
    copied = bucket.copy_blob(source, other, "copy")
    assert (copied.bucket.name, copied.name, copied.size) == (other.name, "copy", 1)
    assert (copied.metadata, copied.content_type) == ({"state": "verified"}, "application/json")
    assert copied.generation > source.generation
    assert bucket.get_blob("copy") is None


def test_a_deleted_object_is_gone(bucket):
    write(bucket)
    bucket.delete_blob("object")
    assert bucket.get_blob("object") is None
    with pytest.raises(exceptions.NotFound):
        bucket.delete_blob("object")
    with pytest.raises(exceptions.NotFound):
        bucket.delete_blob("object", if_generation_match=1)


# -- listings -------------------------------------------------------------------------------------


def test_a_listing_is_in_the_order_of_utf_8(bucket):
    names = ["a-b", "a/b", "a/c", "a0", "B", "ä", "\uffee", "\U0001f600"]
    for name in reversed(names):
        write(bucket, name)
    listed = [blob.name for blob in bucket.list_blobs()]
    assert listed == sorted(names, key=str.encode)
    assert [blob.name for blob in bucket.list_blobs(prefix="a/")] == ["a/b", "a/c"]
    assert [blob.name for blob in bucket.list_blobs(prefix="ä")] == ["ä"]
    assert list(bucket.list_blobs(prefix="c")) == []


def test_a_listing_gives_as_many_as_were_asked_for(bucket):
    for number in range(5):
        write(bucket, f"open/{number}")
    for options in ({}, {"page_size": 2}):
        found = bucket.client.list_blobs(bucket.name, prefix="open/", max_results=3, **options)
        assert [blob.name for blob in found] == ["open/0", "open/1", "open/2"]
    assert len(list(bucket.list_blobs(page_size=2))) == 5


def test_a_listing_reads_each_page_when_it_gets_there(bucket):
    for name in ("a", "b", "c", "d"):
        write(bucket, name)
    listing = iter(bucket.list_blobs(page_size=2))
    names = [next(listing).name]
    for name in ("b", "d"):
        bucket.delete_blob(name)
    write(bucket, "e")
    names += [blob.name for blob in listing]
    assert names == ["a", "b", "c", "e"]


# -- files ----------------------------------------------------------------------------------------


def test_an_object_that_is_written_through_a_file_is_there_once_it_is_closed(bucket):
    blob = bucket.blob("object")
    with written_whole(blob, "application/jsonl") as file:
        for _ in range(5):
            file.write(b"x" * (1 << 20))
        assert not bucket.blob("object").exists()
    assert blob.generation is None, "the client's file does not read the reply"
    found = bucket.get_blob("object")
    assert (found.size, found.content_type) == (5 << 20, "application/jsonl")


def test_a_file_that_is_given_up_leaves_nothing(bucket):
    def give_up():
        with written_whole(bucket.blob("object"), "text/plain") as file:
            file.write(b"x" * (5 << 20))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        give_up()
    assert not bucket.blob("object").exists()


def test_a_range_of_an_object_ends_with_the_byte_that_is_named(bucket):
    write(bucket, content=b"0123456789")
    blob = bucket.blob("object")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=8) == b"89"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_files_of_this_machine_go_there_and_back(bucket, tmp_path):
    source, found = tmp_path / "memory.json", tmp_path / "found.json"
    source.write_bytes(b"{}")
    blob = bucket.blob("object")
    blob.upload_from_filename(str(source))
    assert (blob.size, blob.content_type) == (2, "application/json")
    bucket.blob("object").download_to_filename(str(found))
    assert found.read_bytes() == b"{}"
    found.unlink()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("missing").download_to_filename(str(found))
    assert not found.exists()


def test_what_is_kept_as_gzip_is_unpacked_unless_asked_for_as_it_is(bucket):
    packed = gzip.compress(b"text")
    blob = bucket.blob("object")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    assert bucket.blob("object").download_as_bytes() == b"text"
    assert bucket.blob("object").download_as_bytes(raw_download=True) == packed


# -- buckets --------------------------------------------------------------------------------------


def test_a_bucket_is_created_once_and_deleted_with_what_is_in_it(backend, bucket):
    assert bucket.exists()
    with pytest.raises(exceptions.Conflict):
        backend.client().create_bucket(bucket.name)
    write(bucket)
    bucket.delete(force=True)
    assert not bucket.exists()
    with pytest.raises(exceptions.NotFound):
        write(bucket)


REFUSALS = {
    "a download": (
        lambda bucket: bucket.blob("nan/ü b").download_as_bytes(),
        "404 GET {host}/download/storage/v1/b/{bucket}/o/nan%2F%C3%BC%20b?alt=media: … "
        "('Request failed with status code', 404, 'Expected one of', <HTTPStatus.OK: 200>, "
        "<HTTPStatus.PARTIAL_CONTENT: 206>)",
    ),
    "a download at a generation": (
        lambda bucket: bucket.blob("nan/b", generation=7).download_as_bytes(),
        "404 GET {host}/download/storage/v1/b/{bucket}/o/nan%2Fb?alt=media&generation=7: … "
        "('Request failed with status code', 404, 'Expected one of', <HTTPStatus.OK: 200>, "
        "<HTTPStatus.PARTIAL_CONTENT: 206>)",
    ),
    "a reload": (
        lambda bucket: bucket.blob("nan/b", generation=7).reload(),
        "404 GET {host}/storage/v1/b/{bucket}/o/nan%2Fb"
        "?generation=7&projection=noAcl&prettyPrint=false: …",
    ),
    "a delete": (
        lambda bucket: bucket.delete_blob("nan/b", if_generation_match=3),
        "404 DELETE {host}/storage/v1/b/{bucket}/o/nan%2Fb"
        "?ifGenerationMatch=3&prettyPrint=false: …",
    ),
    "a copy": (
        lambda bucket: bucket.copy_blob(
            bucket.blob("nan/b"), bucket, "nan/c", source_generation=4, if_generation_match=0
        ),
        "404 POST {host}/storage/v1/b/{bucket}/o/nan%2Fb/copyTo/b/{bucket}/o/nan%2Fc"
        "?sourceGeneration=4&ifGenerationMatch=0&prettyPrint=false: …",
    ),
    "an upload": (
        lambda bucket: write(bucket, "nan/a", if_generation_match=0),
        "412 POST {host}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&ifGenerationMatch=0: "
        "… ('Request failed with status code', 412, 'Expected one of', <HTTPStatus.OK: 200>)",
    ),
    "a bucket's creation": (
        lambda bucket: bucket.create(),
        "409 POST {host}/storage/v1/b?project=demo-project&prettyPrint=false: …",
    ),
    "a listing": (
        lambda bucket: list(bucket.client.list_blobs("missing", prefix="nan/")),
        "404 GET {host}/storage/v1/b/missing/o?projection=noAcl&prefix=nan%2F&prettyPrint=false: …",
    ),
    "a range": (
        lambda bucket: bucket.blob("nan/a").download_as_bytes(start=9),
        "416 GET {host}/download/storage/v1/b/{bucket}/o/nan%2Fa?alt=media: "
        "('Request failed with status code', 416, 'Expected one of', <HTTPStatus.OK: 200>, "
        "<HTTPStatus.PARTIAL_CONTENT: 206>)",
    ),
}


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_refusal_reads_like_the_clients(backend, bucket, refused):
    """But for the words of the service itself, which stand where the dots are."""
    write(bucket, "nan/a")
    call, text = REFUSALS[refused]
    with pytest.raises(exceptions.GoogleAPICallError) as refusal:
        call(bucket)
    host = backend.endpoint or "https://storage.googleapis.com"
    begins, _, ends = text.format(host=host, bucket=bucket.name).partition("…")
    assert str(refusal.value).startswith(begins)
    assert str(refusal.value).endswith(ends)


def test_a_refusal_that_speaks_of_an_object_speaks_of_no_bucket(bucket):
    with pytest.raises(exceptions.NotFound) as refusal:
        bucket.blob("object").download_as_bytes()
    assert not is_missing_bucket(refusal.value)
