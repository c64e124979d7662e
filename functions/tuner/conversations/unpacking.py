"""gzip, unpacked as it is read; no step makes more than 64 KiB of it."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from isal import igzip_lib, isal_zlib

from tuner.conversations.signatures import GZIP
from tuner.conversations.sources import CHUNK_BYTES
from tuner.conversations.streams import Damaged, Meter

#: What one step takes and makes at most. Where a stream is corrupt, what that step made is lost:
#: small steps lose less, large ones are faster.
_FIRST_STEP_BYTES = 4 * 1024
_STEP_BYTES = 64 * 1024
_SMALL_STEPS = 64

#: The optional parts of a gzip header, of which each has a bit.
_HAS_CHECKSUM, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0

#: The longest name or comment of a gzip header that is read.
_MAX_HEADER_TEXT_BYTES = 64 * 1024

_GZIP_STREAM = "the gzip stream"

# The stub says that it is an exception; it is an exception's class.
_IsalError: type[Exception] = igzip_lib.error  # type: ignore[assignment]


def gunzip(chunks: Iterator[bytes], meter: Meter, warnings: list[str]) -> Iterator[bytes]:
    """What all members of a gzip stream unpack to, in pieces of at most 64 KiB.

    Raises Damaged where it ends early, is corrupt or fails its checksum, and RejectedUpload for a
    bomb. Zeros after the last member are padding; anything else there is left out with a warning.
    """
    stored = _Buffer(chunks, _GZIP_STREAM)
    total_bytes = 0
    while True:
        _read_header(stored)
        crc = size_bytes = 0
        for piece in _inflated(stored):
            crc = isal_zlib.crc32(piece, crc)
            size_bytes += len(piece)
            meter.check(total_bytes + size_bytes)
            yield piece
        total_bytes += size_bytes
        if stored.take(8) != struct.pack("<LL", crc, size_bytes & 0xFFFFFFFF):
            raise Damaged(f"{_GZIP_STREAM} is damaged (checksum)")
        if not _has_next_member(stored, warnings):
            return


def inflate(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    """What a bare deflate stream unpacks to, in pieces of at most 64 KiB.

    Raises Damaged, which says that it happened to `what`.
    """
    yield from _inflated(_Buffer(chunks, what))


class _Buffer:
    """Chunks as a stream of which a few bytes can be taken. Raises Damaged when it ends early."""

    def __init__(self, chunks: Iterator[bytes], what: str) -> None:
        self.what = what
        self._chunks = (chunk for chunk in chunks if chunk)
        self._data = b""
        self._place = 0

    def ends_early(self) -> Damaged:
        return Damaged(f"{self.what} ends in the middle")

    def some(self, size: int) -> bytes:
        """At least one byte and at most `size`."""
        if self._place == len(self._data):
            self._data = next(self._chunks, b"")
            self._place = 0
        if not self._data:
            raise self.ends_early()
        data = self._data[self._place : self._place + size]
        self._place += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay; fewer than `size` at the end."""
        while len(self._data) - self._place < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._data = self._data[self._place :] + chunk
            self._place = 0
        return self._data[self._place : self._place + size]

    def take(self, size: int) -> bytes:
        taken = self.peek(size)
        if len(taken) < size:
            raise self.ends_early()
        self._place += size
        return taken

    def put_back(self, data: bytes) -> None:
        if self._data.endswith(data, 0, self._place):
            self._place -= len(data)
        else:  # some of it came with an earlier chunk
            self._data = data + self._data[self._place :]
            self._place = 0


def _read_header(stored: _Buffer) -> None:
    magic, method, flags = struct.unpack("<2sBB6x", stored.take(10))
    if magic != GZIP or method != 8 or flags & _RESERVED:
        raise Damaged(f"{_GZIP_STREAM} is damaged (header)")
    if flags & _HAS_EXTRA:
        stored.take(*struct.unpack("<H", stored.take(2)))
    for has_text in (_HAS_NAME, _HAS_COMMENT):
        if flags & has_text:
            _skip_text(stored)
    if flags & _HAS_CHECKSUM:
        stored.take(2)


def _skip_text(stored: _Buffer) -> None:
    """Skip what ends with a NUL."""
    text = stored.peek(_MAX_HEADER_TEXT_BYTES)
    end = text.find(b"\0")
    if end < 0 and len(text) == _MAX_HEADER_TEXT_BYTES:
        raise Damaged(f"{_GZIP_STREAM} is damaged (header)")
    stored.take(end + 1 if end >= 0 else _MAX_HEADER_TEXT_BYTES)


def _inflated(stored: _Buffer) -> Iterator[bytes]:
    """What one deflate stream unpacks to; what follows it is left in `stored`."""
    inflater = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
    steps = itertools.chain(
        itertools.repeat(_FIRST_STEP_BYTES, _SMALL_STEPS), itertools.repeat(_STEP_BYTES)
    )
    for step_bytes in steps:
        data = stored.some(step_bytes) if inflater.needs_input else b""
        try:
            piece = inflater.decompress(data, step_bytes)
        except _IsalError as error:
            raise Damaged(f"{stored.what} is damaged") from error
        if piece:
            yield piece
        if inflater.eof:
            break
    stored.put_back(inflater.unused_data)


def _has_next_member(stored: _Buffer, warnings: list[str]) -> bool:
    """Whether another member follows; skips zeros."""
    while (following := stored.peek(CHUNK_BYTES)) and not following.strip(b"\0"):
        stored.take(len(following))
    stored.take(len(following) - len(following.lstrip(b"\0")))
    magic = stored.peek(len(GZIP))
    if magic and magic != GZIP:
        warnings.append("bytes that are not gzip follow the gzip stream and were left out")
    return magic == GZIP
