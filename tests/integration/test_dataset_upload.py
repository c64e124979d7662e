"""A dataset that is there already is left as it is, however large, whoever wrote it."""

import pytest

from local.simulated.storage import MemoryStorage
from support.factories import NOW
from tuner.dataset.draft import PARTS
from tuner.dataset.upload import DatasetUpload

LINE = b'{"messages": "' + b"x" * 10_000 + b'"}'


def write(bucket, rows):
    with DatasetUpload(bucket, "datasets/nan/1") as upload:
        for _ in range(rows):
            for part in PARTS:
                upload.add(part, LINE)
        upload.finish()


@pytest.mark.parametrize("rows", [1, 900], ids=["small", "larger than a chunk"])
def test_an_interrupted_conversion_can_be_done_again(rows):
    """It died between the dataset's files and its receipt: the files are there already.

    On the simulated storage, since fake-gcs-server takes a large file that is there already.
    """
    bucket = MemoryStorage(lambda: NOW).create_bucket("work")
    write(bucket, rows)
    before = {blob.name: (blob.generation, blob.size) for blob in bucket.list_blobs()}
    assert {size for _, size in before.values()} == {rows * (len(LINE) + 1)}
    assert len(before) == len(PARTS)
    write(bucket, rows)
    assert {blob.name: (blob.generation, blob.size) for blob in bucket.list_blobs()} == before
