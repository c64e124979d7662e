"""An upload in several requests, as Google's BlobWriter drives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.simulated.held import Refused
from local.simulated.refusals import refusal

if TYPE_CHECKING:
    from local.simulated.blob import MemoryBlob


class ResumableUpload:
    """Upload and transport in one; the object is there once a piece was shorter than a chunk.

    Its precondition holds when it begins and when it ends. Counted as one upload, at the end, as
    it is billed; hooks run there too. Raises the client's InvalidResponse, as its files do.
    """

    upload_url = "memory"

    def __init__(
        self,
        blob: MemoryBlob,
        stream: Any,
        chunk_bytes: int,
        content_type: str | None,
        match: int | None,
    ) -> None:
        self._blob = blob
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self._content_type = content_type
        self._match = match
        self._pieces: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        bucket_name, name = self._blob.bucket.name, self._blob.name
        held = self._blob.bucket.client.held
        try:
            with held.lock:
                held.bucket(bucket_name).check(name, self._match)
        except Refused as refused:
            query = {"upload_type": "resumable", "match": self._match}
            raise refusal(refused, "upload", bucket_name, name, query) from None

    def transmit_next_chunk(self, transport: ResumableUpload, timeout: Any = None) -> None:
        piece = self._stream.read(self._chunk_bytes)
        self._pieces.append(piece)
        if len(piece) < self._chunk_bytes:
            body = b"".join(self._pieces)
            # The blob learns nothing by it: a file of the client's does not read the reply.
            self._blob._upload(body, self._content_type, self._match, "resumable")

    def delete(self, url: str) -> None:
        """Give up."""
        self._pieces.clear()
