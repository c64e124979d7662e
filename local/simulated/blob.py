"""An object of the simulated Cloud Storage, as Google's client shows it."""

from __future__ import annotations

import gzip
import mimetypes
import os
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from google.api_core import exceptions as google_exceptions
from google.cloud.storage.fileio import BlobReader, BlobWriter

from local.simulated.held import HeldObject, Refused
from local.simulated.resumable import ResumableUpload

if TYPE_CHECKING:
    from local.simulated.storage import MemoryBucket

#: What the client hands a download on in.
_PIECE_BYTES = 8192
_NO_CHANGES: Mapping[str, Any] = MappingProxyType({})
#: What the headers of a download tell; the size, the time and the metadata are not among them.
_TOLD_BY_A_DOWNLOAD = frozenset({"content_type", "content_encoding", "crc32c", "md5_hash"})
_ATTRIBUTES = {
    "name": "name",
    "generation": "generation",
    "size": "size",
    "updated": "updated",
    "metadata": "metadata",
    "contentType": "content_type",
    "contentEncoding": "content_encoding",
    "crc32c": "crc32c",
    "md5Hash": "md5_hash",
}


def told_by(fields: str | None) -> frozenset[str] | None:
    """The attributes that a listing with `fields` tells; None: all of them."""
    if fields is None:
        return None
    items = re.search(r"items\(([\w,]+)\)", fields)
    if items is None or not set(items[1].split(",")) <= set(_ATTRIBUTES):
        raise ValueError(f"fields that are not simulated: {fields}")
    return frozenset(_ATTRIBUTES[name] for name in items[1].split(","))


class _Sink(Protocol):
    def write(self, piece: bytes, /) -> object: ...


class MemoryBlob:
    """A name and what was last told of it. Once it was read or written it names its generation."""

    __slots__ = ("_changed", "_held", "_told", "bucket", "chunk_size", "generation", "name")

    def __init__(
        self,
        name: str,
        bucket: MemoryBucket,
        *,
        chunk_size: int | None = None,
        generation: int | None = None,
        held: HeldObject | None = None,
        told: frozenset[str] | None = None,
    ) -> None:
        self.name = name
        self.bucket = bucket
        self.chunk_size = chunk_size
        self.generation = generation
        self._changed = _NO_CHANGES
        self._held = held
        self._told = told
        if held is not None and (told is None or "generation" in told):
            self.generation = held.generation

    # -- attributes: None until something told them ----------------------------------------------

    def _tell(self, name: str) -> Any:
        if name in self._changed:
            return self._changed[name]
        if self._held is None or (self._told is not None and name not in self._told):
            return None
        return getattr(self._held, name)

    def _change(self, name: str, value: Any) -> None:
        self._changed = {**self._changed, name: value}

    @property
    def size(self) -> int | None:
        size: int | None = self._tell("size")
        return size

    @property
    def updated(self) -> datetime | None:
        updated: datetime | None = self._tell("updated")
        return updated

    @property
    def crc32c(self) -> str | None:
        crc32c: str | None = self._tell("crc32c")
        return crc32c

    @property
    def md5_hash(self) -> str | None:
        md5_hash: str | None = self._tell("md5_hash")
        return md5_hash

    @property
    def metadata(self) -> dict[str, str] | None:
        """A copy: it is changed by setting it."""
        metadata = self._tell("metadata")
        return metadata and dict(metadata)

    @metadata.setter
    def metadata(self, value: Mapping[str, Any] | None) -> None:
        self._change("metadata", value and {k: str(v) for k, v in value.items()})

    @property
    def content_type(self) -> str | None:
        content_type: str | None = self._tell("content_type")
        return content_type

    @content_type.setter
    def content_type(self, value: str | None) -> None:
        self._change("content_type", value)

    @property
    def content_encoding(self) -> str | None:
        content_encoding: str | None = self._tell("content_encoding")
        return content_encoding

    @content_encoding.setter
    def content_encoding(self, value: str | None) -> None:
        self._change("content_encoding", value)

    # -- metadata operations ---------------------------------------------------------------------

    def reload(
        self, if_generation_match: int | None = None, timeout: Any = None, retry: Any = None
    ) -> None:
        query = {"generation": self.generation, "match": if_generation_match}
        with self.bucket.client.operation("get", self.bucket.name, self.name, **query) as held:
            found = held.bucket(self.bucket.name).find(self.name, **query)
        self._learn(found)

    def exists(
        self, if_generation_match: int | None = None, timeout: Any = None, retry: Any = None
    ) -> bool:
        query = {"generation": self.generation, "match": if_generation_match}
        try:
            with self.bucket.client.operation("get", self.bucket.name, self.name, **query) as held:
                held.bucket(self.bucket.name).find(self.name, **query)
        except google_exceptions.NotFound:
            return False
        return True

    def delete(
        self, if_generation_match: int | None = None, timeout: Any = None, retry: Any = None
    ) -> None:
        self.bucket.delete_blob(self.name, self.generation, if_generation_match)

    # -- writing ---------------------------------------------------------------------------------

    def upload_from_string(
        self,
        data: bytes | str,
        content_type: str | None = "text/plain",
        if_generation_match: int | None = None,
        timeout: Any = None,
        checksum: Any = "auto",
        retry: Any = None,
    ) -> None:
        body = data.encode() if isinstance(data, str) else bytes(data)
        self._learn(self._upload(body, content_type, if_generation_match, "multipart"))

    def upload_from_filename(
        self,
        filename: str,
        content_type: str | None = None,
        if_generation_match: int | None = None,
        timeout: Any = None,
        checksum: Any = "auto",
        retry: Any = None,
    ) -> None:
        content_type = content_type or self.content_type or mimetypes.guess_type(filename)[0]
        with open(filename, "rb") as file:
            body = file.read()
        self._learn(self._upload(body, content_type, if_generation_match, "multipart"))

    def _upload(
        self, body: bytes, content_type: str | None, match: int | None, upload_type: str
    ) -> HeldObject:
        """Metadata that was read goes along with the next write; an encoding only when set anew."""
        attributes = {
            "name": self.name,
            "body": body,
            "metadata": self.metadata,
            "content_type": content_type or self.content_type or "application/octet-stream",
            "content_encoding": self._changed.get("content_encoding"),
        }
        query = {"upload_type": upload_type, "match": match}
        with self.bucket.client.operation("upload", self.bucket.name, self.name, **query) as held:
            return held.write(self.bucket.name, match, **attributes)

    def _initiate_resumable_upload(
        self,
        client: Any,
        stream: Any,
        content_type: str | None,
        size: int | None,
        *,
        chunk_size: int,
        if_generation_match: int | None = None,
        **ignored: Any,
    ) -> tuple[ResumableUpload, ResumableUpload]:
        """For Google's BlobWriter: (upload, transport)."""
        upload = ResumableUpload(self, stream, chunk_size, content_type, if_generation_match)
        return upload, upload

    # -- reading ---------------------------------------------------------------------------------

    def download_as_bytes(
        self,
        start: int | None = None,
        end: int | None = None,
        raw_download: bool = False,
        if_generation_match: int | None = None,
        timeout: Any = None,
        checksum: Any = "auto",
        retry: Any = None,
    ) -> bytes:
        """`end` is the last byte that is read."""
        body = self._download(if_generation_match, start)
        if start is not None or end is not None:
            body = body[start or 0 : None if end is None else end + 1]
        elif not raw_download and self.content_encoding == "gzip":
            body = gzip.decompress(body)
        return body

    def download_to_file(
        self,
        file_obj: _Sink,
        raw_download: bool = False,
        if_generation_match: int | None = None,
        timeout: Any = None,
        checksum: Any = "auto",
        retry: Any = None,
    ) -> None:
        body = self.download_as_bytes(
            raw_download=raw_download, if_generation_match=if_generation_match
        )
        for place in range(0, len(body), _PIECE_BYTES):
            file_obj.write(body[place : place + _PIECE_BYTES])

    def download_to_filename(
        self,
        filename: str,
        raw_download: bool = False,
        if_generation_match: int | None = None,
        timeout: Any = None,
        checksum: Any = "auto",
        retry: Any = None,
    ) -> None:
        try:
            with open(filename, "wb") as file:
                self.download_to_file(file, raw_download, if_generation_match)
        except google_exceptions.NotFound:
            os.remove(filename)
            raise

    def _download(self, match: int | None, start: int | None) -> bytes:
        query = {"generation": self.generation, "match": match}
        with self.bucket.client.operation("download", self.bucket.name, self.name, **query) as held:
            found = held.bucket(self.bucket.name).find(self.name, **query)
            if start is not None and start >= found.size:
                raise Refused(416, "")
        if self._held is None:
            self._told = _TOLD_BY_A_DOWNLOAD
        self._held, self.generation = found, found.generation
        return found.body

    def open(self, mode: str = "r", chunk_size: int | None = None, **options: Any) -> Any:
        """Google's own file on this object, `rb` or `wb`."""
        if mode == "rb":
            return BlobReader(self, chunk_size=chunk_size, **options)
        if mode == "wb":
            return BlobWriter(self, chunk_size=chunk_size, **options)
        raise NotImplementedError(f"mode {mode} is not simulated")

    def _learn(self, found: HeldObject) -> None:
        """What a reply that shows the whole object tells."""
        self._held, self._told, self._changed = found, None, _NO_CHANGES
        self.generation = found.generation
