"""Objects for the contract tests of storage: written in one line, seen in each way there is."""

from __future__ import annotations

from typing import Any

import pytest


def write(bucket: Any, name: str = "object", content: bytes | str = b"{}", **options: Any) -> Any:
    """Upload an object; its blob."""
    blob = bucket.blob(name)
    blob.upload_from_string(content, **options)
    return blob


SEEN_BY = pytest.mark.parametrize("by", ["writing", "listing", "getting", "downloading"])


def seen(bucket: Any, by: str) -> Any:
    """An object of the content `first`, as one of SEEN_BY shows it."""
    written = write(bucket, content=b"first")
    if by == "writing":
        return written
    if by == "listing":
        [blob] = bucket.list_blobs()
        return blob
    if by == "getting":
        return bucket.get_blob("object")
    blob = bucket.blob("object")
    blob.download_as_bytes()
    return blob
