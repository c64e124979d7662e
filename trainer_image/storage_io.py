"""Cloud Storage as the trainer needs it: whole small objects, each write with its generation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage

#: Per request; an adapter of 30 MB needs far less.
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One generation of an object that was written or read."""

    uri: str
    generation: int
    size_bytes: int
    sha256: str


class AlreadyExists(Exception):
    """An object that is written once is there already, with another content."""

    def __init__(self, existing: StoredObject, content: bytes) -> None:
        super().__init__(existing.uri)
        self.existing = existing
        self.content = content


class ObjectStore:
    """Reads and writes `gs://` objects with one client.

    Below `run_uri`/checkpoints/ it may also list and delete; without a `run_uri`, nowhere.
    """

    def __init__(self, client: storage.Client, run_uri: str | None = None) -> None:
        self._client = client
        self._checkpoints_uri = None if run_uri is None else f"{run_uri.rstrip('/')}/checkpoints/"

    def read(self, uri: str) -> bytes:
        """The object's content. Raises google.api_core.exceptions.NotFound."""
        content: bytes = self._blob(uri).download_as_bytes(timeout=TIMEOUT_SECONDS)
        return content

    def download(self, uri: str, sink: BinaryIO) -> str:
        """Stream an object into an open file; the SHA-256 of its bytes.

        Raises google.api_core.exceptions.NotFound.
        """
        hashing = _HashingFile(sink)
        self._blob(uri).download_to_file(hashing, raw_download=True, timeout=TIMEOUT_SECONDS)
        return hashing.digest.hexdigest()

    def create(self, uri: str, content: bytes, content_type: str) -> StoredObject:
        """Write an object that must not exist yet.

        The client retries by itself, so a refusal may answer our own write whose reply was lost:
        an object with the same content counts as written.

        Raises:
            AlreadyExists: it is there with another content.
        """
        try:
            return self._write(uri, content, content_type, if_generation_match=0)
        except PreconditionFailed:
            blob = self._blob(uri)
            blob.reload(timeout=TIMEOUT_SECONDS)
            found: bytes = blob.download_as_bytes(
                if_generation_match=blob.generation, timeout=TIMEOUT_SECONDS
            )
            existing = _stored(uri, int(blob.generation), found)
            if found == content:
                return existing
            raise AlreadyExists(existing, found) from None

    def write(
        self, uri: str, content: bytes, content_type: str, *, replacing: int | None = None
    ) -> StoredObject:
        """Write an object: over the generation `replacing`, or over whatever is there."""
        return self._write(uri, content, content_type, if_generation_match=replacing)

    def beat(self, uri: str, content: bytes, content_type: str) -> None:
        """Rewrite a small object with one short try; a lost one is made good by the next."""
        self._blob(uri).upload_from_string(content, content_type, retry=None, timeout=10)

    def list(self, prefix_uri: str) -> Sequence[str]:
        """URIs of the checkpoint objects that begin so, in order.

        Raises:
            ValueError: they would not be the run's own checkpoints.
        """
        bucket_name, prefix = self._own(prefix_uri)
        blobs = self._client.list_blobs(
            bucket_name, prefix=prefix, fields="items(name),nextPageToken", timeout=TIMEOUT_SECONDS
        )
        return [f"gs://{bucket_name}/{blob.name}" for blob in blobs]

    def delete(self, uri: str) -> None:
        """Delete a checkpoint object; one that is gone already is fine.

        Raises:
            ValueError: it is not the run's own checkpoint.
        """
        self._own(uri)
        with contextlib.suppress(NotFound):
            self._blob(uri).delete(timeout=TIMEOUT_SECONDS)

    def _own(self, uri: str) -> tuple[str, str]:
        """Bucket and name of what is below the run's checkpoints."""
        if self._checkpoints_uri is None or not uri.startswith(self._checkpoints_uri):
            raise ValueError(f"only a run's own checkpoints are listed and deleted, not {uri}")
        bucket_name, _, name = uri.removeprefix("gs://").partition("/")
        return bucket_name, name

    def _write(
        self, uri: str, content: bytes, content_type: str, *, if_generation_match: int | None
    ) -> StoredObject:
        blob = self._blob(uri)
        blob.upload_from_string(
            content,
            content_type,
            if_generation_match=if_generation_match,
            timeout=TIMEOUT_SECONDS,
        )
        return _stored(uri, int(blob.generation), content)

    def _blob(self, uri: str) -> storage.Blob:
        bucket_name, _, name = uri.removeprefix("gs://").partition("/")
        return self._client.bucket(bucket_name).blob(name)


class _HashingFile:
    """Passes bytes on and hashes them: what is checked is what was written."""

    def __init__(self, sink: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._sink = sink

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        return self._sink.write(chunk)


class ReadingStore(ObjectStore):
    """For processes that only compute: reads what is there, and leaves writing to the first one.

    What would be written is reported as if it had been, as generation 1.
    """

    def create(self, uri: str, content: bytes, content_type: str) -> StoredObject:
        """Write nothing."""
        return _stored(uri, 1, content)

    def write(
        self, uri: str, content: bytes, content_type: str, *, replacing: int | None = None
    ) -> StoredObject:
        """Write nothing."""
        return _stored(uri, 1, content)

    def beat(self, uri: str, content: bytes, content_type: str) -> None:
        """Write nothing."""

    def delete(self, uri: str) -> None:
        """Delete nothing."""
        self._own(uri)


def _stored(uri: str, generation: int, content: bytes) -> StoredObject:
    return StoredObject(
        uri=uri,
        generation=generation,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
