"""A base model's files into the models bucket: each once, checked, the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from google.cloud import storage

from console.errors import ConsoleError
from tuner.base_mirror import MANIFEST_NAME, MirrorFile, MirrorManifest
from tuner.training_job import encode

#: Of one request; a file of gigabytes goes up in pieces of this size.
_CHUNK_BYTES = 32 << 20
_TIMEOUT_SECONDS = 300


def upload_mirror(
    bucket: storage.Bucket,
    prefix: str,
    folder: Path,
    manifest: MirrorManifest,
    *,
    on_file: Callable[[str, bool], None] = lambda name, was_there: None,
) -> int:
    """Upload what is not there yet; the bytes that went up.

    While files are replaced there is no manifest, so no job can read half of one mirror and half
    of another. `on_file` is told each name, and whether it was there already.

    Raises ConsoleError when a file in `folder` is not what the manifest says.
    """
    held = bucket.get_blob(f"{prefix}/{MANIFEST_NAME}")
    content = encode(manifest)
    is_the_same = held is not None and held.download_as_bytes() == content
    if held is not None and not is_the_same:
        held.delete()
    uploaded = 0
    for file in manifest.files:
        was_there = _is_there(bucket, f"{prefix}/{file.name}", file)
        if not was_there:
            _upload(bucket, f"{prefix}/{file.name}", folder / file.name, file)
            uploaded += file.size_bytes
        on_file(file.name, was_there)
    bucket.blob(f"{prefix}/{MANIFEST_NAME}").upload_from_string(
        content, content_type="application/json", timeout=_TIMEOUT_SECONDS
    )
    return uploaded


def _is_there(bucket: storage.Bucket, name: str, file: MirrorFile) -> bool:
    """Whether an earlier call wrote it: the SHA-256 is noted when an upload is complete."""
    blob = bucket.get_blob(name)
    if blob is None or blob.size != file.size_bytes:
        return False
    return (blob.metadata or {}).get("sha256") == file.sha256


def _upload(bucket: storage.Bucket, name: str, path: Path, file: MirrorFile) -> None:
    try:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        digest = ""
    if digest != file.sha256:
        raise ConsoleError(
            f"{path} is not the file that {path.parent / MANIFEST_NAME} names: remove the folder "
            "and run it again."
        )
    blob = bucket.blob(name, chunk_size=_CHUNK_BYTES)
    blob.metadata = {"sha256": file.sha256}
    blob.upload_from_filename(str(path), checksum="crc32c", timeout=_TIMEOUT_SECONDS)
