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

from local.pubsub import PubSubServer
from support import wait
from support.pubsub_servers import connect
from support.storage_servers import BACKENDS, storage_client, storage_server

# Cloud Storage does the opposite in each of these; what we do about it stands behind.
KNOWN_DIFFERENCES = {
    "delete": "ignores preconditions on a delete: locks are released by overwriting them",
    "media_upload": "ignores preconditions on uploadType=media: the client uploads multipart",
    "resumable_upload": "ignores preconditions on resumable uploads: ours are single-shot",
    "pages": "gives every object on one page unless asked for less: a proxy asks for less",
    "missing_bucket": "says Not Found for a missing bucket as for a missing object: we look twice",
}

_buckets = itertools.count(1)


@pytest.fixture(scope="module", params=BACKENDS)
def endpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with storage_server(folder, backend=request.param) as running:
        yield running


@pytest.fixture
def bucket(endpoint):
    return storage_client(endpoint).create_bucket(f"objects-{next(_buckets)}")


def write(bucket, name="object", content=b"{}", **options):
    blob = bucket.blob(name)
    blob.upload_from_string(content, **options)
    return blob


def test_an_object_is_created_once(bucket):
    write(bucket, content=b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, content=b"second", if_generation_match=0)
    assert bucket.blob("object").download_as_bytes() == b"first"


def test_of_thirty_two_creators_one_wins(endpoint, bucket):
    def create(number):
        mine = storage_client(endpoint).bucket(bucket.name)
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


def test_a_missing_bucket_refuses_reads_writes_and_lists(endpoint):
    client = storage_client(endpoint)
    missing = client.bucket("missing")
    assert not missing.exists()
    with pytest.raises(exceptions.NotFound):
        missing.blob("object").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        write(missing, if_generation_match=0)
    with pytest.raises(exceptions.NotFound):
        list(client.list_blobs(missing))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_object_is_announced_in_the_native_shape(tmp_path, backend):
    """https://cloud.google.com/storage/docs/pubsub-notifications"""
    with (
        PubSubServer(tmp_path / "pubsub") as server,
        connect("ours", server.endpoint, "demo-project") as pubsub,
    ):
        pubsub.create_topic("storage-events")
        subscription = pubsub.create_subscription("reader", "storage-events")
        with storage_server(tmp_path, backend=backend, pubsub=server.endpoint) as endpoint:
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


# -- known differences ----------------------------------------------------------------------------


def test_known_difference_deletes_ignore_preconditions(bucket):
    first = write(bucket)
    write(bucket)
    bucket.delete_blob("object", if_generation_match=first.generation)
    assert not bucket.blob("object").exists(), KNOWN_DIFFERENCES["delete"]


def test_known_difference_media_uploads_ignore_preconditions(endpoint, bucket):
    write(bucket, content=b"first")
    url = f"{endpoint}/upload/storage/v1/b/{bucket.name}/o"
    query = {"uploadType": "media", "name": "object", "ifGenerationMatch": "0"}
    reply = requests.post(url, params=query, data=b"second", timeout=10)
    assert reply.status_code == 200, KNOWN_DIFFERENCES["media_upload"]


def test_known_difference_resumable_uploads_ignore_preconditions(bucket):
    write(bucket, content=b"first")
    blob = bucket.blob("object", chunk_size=256 * 1024)
    blob.upload_from_string(b"x" * (9 << 20), if_generation_match=0)
    assert blob.size == 9 << 20, KNOWN_DIFFERENCES["resumable_upload"]


def test_known_difference_a_missing_bucket_reads_like_a_missing_object(endpoint):
    with pytest.raises(exceptions.NotFound) as refusal:
        storage_client(endpoint).bucket("missing").blob("object").download_as_bytes()
    assert "bucket" not in str(refusal.value).partition("/b/")[2], KNOWN_DIFFERENCES[
        "missing_bucket"
    ]
