"""What we rely on from object storage, and where fake-gcs-server is known to differ from it.

The last tests pin the differences: when one of them fails, the server has come closer to Cloud
Storage, and the table and what was written around it can go.
"""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage.exceptions import InvalidResponse

from local.pubsub import PubSubServer
from support import wait
from support.lossy_proxy import lossy_proxy
from support.pubsub_servers import connect
from support.storage_servers import (
    BACKENDS,
    SERVERS,
    on_a_server,
    storage_backend,
    storage_client,
    storage_server,
)
from support.stored_objects import SEEN_BY, seen, write
from tuner.dataset.upload import written_whole
from tuner.ledger import is_missing_bucket

# Cloud Storage does the opposite in each of these; what we do about it stands behind. What is
# simulated does as Cloud Storage: those tests are `as_the_service`.
KNOWN_DIFFERENCES = {
    "delete": "ignores preconditions on a delete: locks are released by overwriting them",
    "copy": "ignores preconditions on a copy: what was copied is looked at",
    "download": "ignores preconditions on a download: ours have none",
    "link": "gives links without a generation: where it matters, our blobs are made with one",
    "media_upload": "ignores preconditions on uploadType=media: the client uploads multipart",
    "resumable_upload": "ignores preconditions on resumable uploads: ours are named by content",
    "pages": "gives every object on one page unless asked for less: a proxy asks for less",
    "missing_bucket": "says Not Found for a missing bucket as for a missing object: we look twice",
}

_buckets = itertools.count(1)

as_the_service = pytest.mark.parametrize("backend", ["simulated"], indirect=True)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    with storage_backend(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def bucket(backend):
    return backend.client().create_bucket(f"objects-{next(_buckets)}")


def test_an_object_is_created_once(bucket):
    write(bucket, content=b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, content=b"second", if_generation_match=0)
    assert bucket.blob("object").download_as_bytes() == b"first"


def test_of_thirty_two_creators_one_wins(backend, bucket):
    def create(number):
        mine = backend.client().bucket(bucket.name)
        try:
            write(mine, content=str(number).encode(), if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(32))) == 1


def test_a_write_over_a_stale_generation_is_refused(bucket):
    first = write(bucket)
    second = write(bucket, if_generation_match=first.generation)
    assert second.generation > first.generation
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, if_generation_match=first.generation)


def test_a_download_tells_the_generation_that_it_read(bucket):
    written = write(bucket, content=b"x")
    blob = bucket.blob("object")
    assert blob.download_as_bytes() == b"x"
    assert blob.generation == written.generation


def test_a_listing_shows_metadata_and_generations_by_prefix_in_order(bucket):
    for name in ("open/b", "open/a", "runs/a"):
        blob = bucket.blob(name)
        blob.metadata = {"state": name}
        blob.upload_from_string(b"{}")
    listed = list(bucket.client.list_blobs(bucket, prefix="open/"))
    assert [(blob.name, blob.metadata["state"]) for blob in listed] == [
        ("open/a", "open/a"),
        ("open/b", "open/b"),
    ]
    assert all(blob.generation for blob in listed)


def test_a_copy_takes_the_generation_that_it_names(bucket):
    source = write(bucket, content=b"verified")
    copied = bucket.copy_blob(source, bucket, "copy", source_generation=source.generation)
    assert bucket.blob("copy").download_as_bytes() == b"verified"
    assert copied.generation
    write(bucket, content=b"replaced")
    with pytest.raises(exceptions.NotFound):
        bucket.copy_blob(source, bucket, "copy", source_generation=source.generation)
    assert bucket.blob("copy").download_as_bytes() == b"verified"


def test_a_generation_that_was_overwritten_is_gone(bucket):
    """As in a bucket without object versioning."""
    first = write(bucket, content=b"first")
    write(bucket, content=b"second")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("object", generation=first.generation).download_as_bytes()


def test_what_is_not_there_is_not_found(bucket):
    with pytest.raises(exceptions.NotFound):
        bucket.blob("object").download_as_bytes()
    assert bucket.get_blob("object") is None


def test_a_missing_bucket_refuses_reads_writes_and_lists(backend):
    client = backend.client()
    missing = client.bucket("missing")
    assert not missing.exists()
    with pytest.raises(exceptions.NotFound):
        missing.blob("object").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        write(missing, if_generation_match=0)
    with pytest.raises(exceptions.NotFound):
        list(client.list_blobs(missing))


@pytest.mark.parametrize("kind", SERVERS)
def test_an_object_is_announced_in_the_native_shape(tmp_path, kind):
    """https://cloud.google.com/storage/docs/pubsub-notifications"""
    with (
        PubSubServer(tmp_path / "pubsub") as server,
        connect("ours", server.endpoint, "demo-project") as pubsub,
    ):
        pubsub.create_topic("storage-events")
        subscription = pubsub.create_subscription("reader", "storage-events")
        with storage_server(tmp_path, backend=kind, pubsub=server.endpoint) as endpoint:
            bucket = storage_client(endpoint).create_bucket("announced")
            blob = write(bucket, "nan/memory.json", b"{}")
            request = {"subscription": subscription, "max_messages": 10}
            [received] = wait.until(
                lambda: pubsub.subscriber.pull(request=request).received_messages
            )
        attributes = dict(received.message.attributes)
        assert attributes["eventType"] == "OBJECT_FINALIZE"
        assert (attributes["bucketId"], attributes["objectId"]) == ("announced", "nan/memory.json")
        body = json.loads(received.message.data)
        assert (body["bucket"], body["name"]) == ("announced", "nan/memory.json")
        assert (body["generation"], body["size"]) == (str(blob.generation), "2")


# -- what Cloud Storage does, and fake-gcs-server does not ----------------------------------------


@as_the_service
def test_a_delete_of_a_stale_generation_is_refused(bucket):
    first = write(bucket)
    second = write(bucket)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.delete_blob("object", if_generation_match=first.generation)
    with pytest.raises(exceptions.NotFound):
        bucket.delete_blob("object", generation=first.generation)
    bucket.delete_blob("object", if_generation_match=second.generation)
    assert not bucket.blob("object").exists()


@as_the_service
def test_a_copy_over_what_is_there_is_refused(bucket):
    source, copy = write(bucket, content=b"new"), write(bucket, "copy", b"old")
    for stale in (0, copy.generation - 1):
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.copy_blob(source, bucket, "copy", if_generation_match=stale)
    assert bucket.blob("copy").download_as_bytes() == b"old"
    bucket.copy_blob(source, bucket, "copy", if_generation_match=copy.generation)
    assert bucket.blob("copy").download_as_bytes() == b"new"


@as_the_service
def test_a_read_on_the_condition_of_a_stale_generation_is_refused(bucket):
    first = write(bucket)
    write(bucket)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("object").download_as_bytes(if_generation_match=first.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.get_blob("object", if_generation_match=first.generation)


@on_a_server
def test_a_refused_upload_through_a_file_is_an_error_of_the_clients_own(backend, bucket):
    """Not the PreconditionFailed that every other call raises: `written_whole` makes it one."""
    with lossy_proxy(backend.endpoint) as proxy:
        proxy.refuse("POST", "uploadType=resumable", 412)
        blob = storage_client(proxy.endpoint).bucket(bucket.name).blob("object")
        file = blob.open("wb", if_generation_match=0)
        with pytest.raises(InvalidResponse) as refusal:
            file.close()
        file.terminate()  # or it tries again when it is collected
    assert refusal.value.response.status_code == 412


@as_the_service
def test_an_object_that_is_there_is_not_written_through_a_file(bucket):
    write(bucket, content=b"first")
    file = bucket.blob("object").open("wb", chunk_size=4 << 20, if_generation_match=0)
    file.write(b"x")
    with pytest.raises(InvalidResponse) as refusal:
        file.close()
    file.terminate()
    error = exceptions.from_http_response(refusal.value.response)
    assert isinstance(error, exceptions.PreconditionFailed)
    assert bucket.blob("object").download_as_bytes() == b"first"


@as_the_service
def test_a_large_object_that_is_there_is_refused_at_the_first_chunk(bucket):
    write(bucket, content=b"first")
    file = bucket.blob("object").open("wb", chunk_size=4 << 20, if_generation_match=0)
    with pytest.raises(InvalidResponse):
        file.write(b"x" * (5 << 20))
    file.terminate()
    assert bucket.blob("object").download_as_bytes() == b"first"


@as_the_service
def test_an_object_that_came_while_a_file_was_written_stays(bucket):
    file = bucket.blob("object").open("wb", chunk_size=4 << 20, if_generation_match=0)
    file.write(b"x" * (5 << 20))
    write(bucket, content=b"first")
    with pytest.raises(InvalidResponse):
        file.close()
    file.terminate()
    assert bucket.blob("object").download_as_bytes() == b"first"


@as_the_service
@SEEN_BY
def test_what_was_seen_once_is_read_at_its_generation(bucket, by):
    blob = seen(bucket, by)
    write(bucket, content=b"second")
    with pytest.raises(exceptions.NotFound):
        blob.download_as_bytes()


@as_the_service
def test_a_bucket_that_holds_something_is_not_deleted(bucket):
    write(bucket)
    with pytest.raises(exceptions.Conflict):
        bucket.delete()
    assert bucket.exists()


@as_the_service
def test_a_missing_bucket_is_told_from_a_missing_object(backend):
    client = backend.client()
    missing = client.bucket("missing")
    present = client.create_bucket(f"objects-{next(_buckets)}")
    for refused in (
        lambda: missing.blob("object").download_as_bytes(),
        lambda: missing.blob("object").reload(),
        lambda: write(missing),
        lambda: missing.delete_blob("object"),
        lambda: missing.copy_blob(missing.blob("object"), present),
        lambda: present.copy_blob(write(present), missing),
        lambda: list(client.list_blobs("missing")),
    ):
        with pytest.raises(exceptions.NotFound) as refusal:
            refused()
        assert is_missing_bucket(refusal.value)
        assert "/b/missing" in str(refusal.value)
    with (
        pytest.raises(exceptions.NotFound) as refusal,
        written_whole(missing.blob("object"), "text/plain") as file,
    ):
        file.write(b"x")
    assert is_missing_bucket(refusal.value)


@as_the_service
def test_a_listing_tells_only_the_fields_that_were_asked_for(bucket):
    blob = bucket.blob("object")
    blob.metadata = {"state": "waiting"}
    blob.upload_from_string(b"{}")
    [listed] = bucket.list_blobs(fields="items(name,metadata),nextPageToken")
    assert (listed.name, listed.metadata) == ("object", {"state": "waiting"})
    assert (listed.generation, listed.size, listed.updated) == (None, None, None)


@as_the_service
def test_a_listing_that_does_not_ask_for_the_next_page_ends_with_the_first(bucket):
    for name in ("a", "b", "c"):
        write(bucket, name)
    assert len(list(bucket.list_blobs(page_size=2, fields="items(name)"))) == 2


# -- known differences ----------------------------------------------------------------------------


@on_a_server
def test_known_difference_deletes_ignore_preconditions(bucket):
    first = write(bucket)
    write(bucket)
    bucket.delete_blob("object", if_generation_match=first.generation)
    assert not bucket.blob("object").exists(), KNOWN_DIFFERENCES["delete"]


@on_a_server
def test_known_difference_what_was_listed_is_read_as_it_is_now(bucket):
    blob = seen(bucket, "listing")
    write(bucket, content=b"second")
    assert blob.download_as_bytes() == b"second", KNOWN_DIFFERENCES["link"]


@on_a_server
def test_known_difference_copies_ignore_preconditions(bucket):
    source = write(bucket, content=b"new")
    write(bucket, "copy", b"old")
    bucket.copy_blob(source, bucket, "copy", if_generation_match=0)
    assert bucket.blob("copy").download_as_bytes() == b"new", KNOWN_DIFFERENCES["copy"]


@on_a_server
def test_known_difference_downloads_ignore_preconditions(bucket):
    first = write(bucket)
    write(bucket, content=b"second")
    read = bucket.blob("object").download_as_bytes(if_generation_match=first.generation)
    assert read == b"second", KNOWN_DIFFERENCES["download"]


@on_a_server
def test_known_difference_media_uploads_ignore_preconditions(backend, bucket):
    write(bucket, content=b"first")
    url = f"{backend.endpoint}/upload/storage/v1/b/{bucket.name}/o"
    query = {"uploadType": "media", "name": "object", "ifGenerationMatch": "0"}
    reply = requests.post(url, params=query, data=b"second", timeout=10)
    assert reply.status_code == 200, KNOWN_DIFFERENCES["media_upload"]


@on_a_server
def test_known_difference_resumable_uploads_ignore_preconditions(bucket):
    write(bucket, content=b"first")
    blob = bucket.blob("object", chunk_size=256 * 1024)
    blob.upload_from_string(b"x" * (9 << 20), if_generation_match=0)
    assert blob.size == 9 << 20, KNOWN_DIFFERENCES["resumable_upload"]


@on_a_server
def test_known_difference_a_missing_bucket_reads_like_a_missing_object(backend):
    with pytest.raises(exceptions.NotFound) as refusal:
        backend.client().bucket("missing").blob("object").download_as_bytes()
    assert "bucket" not in str(refusal.value).partition("/b/")[2], KNOWN_DIFFERENCES[
        "missing_bucket"
    ]
