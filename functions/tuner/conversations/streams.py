"""What a container is taken apart into, and the limits that keep a hostile one small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tuner.conversations.sources import CHUNK_BYTES
from tuner.errors import RejectedUpload


class Damaged(Exception):
    """The container ends early or is corrupt here; everything good before it was yielded.

    Its text is a sentence without a period, such as "the gzip stream ends in the middle".
    """


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one upload may unpack to."""

    #: Of all parts together, as text; None for no such limit.
    max_bytes: int | None = None
    #: Unpacked bytes above which a high ratio of unpacked to stored bytes is a bomb. Ordinary
    #: conversations come to a ratio of 3 to 20.
    bomb_floor_bytes: int = 256 * 1024 * 1024
    bomb_ratio: int = 200
    #: A database is read into memory, which takes about twice its size.
    sqlite_bytes: int = 256 * 1024 * 1024
    zip_members: int = 10_000


@dataclass(frozen=True)
class Part:
    """One text of an upload: the file itself, or a member of its archive."""

    #: Of an archive's member; "" where the file is the only part.
    name: str
    #: UTF-8 without BOM; bytes that are not UTF-8 are passed on as they are. Raises Damaged,
    #: RejectedUpload, or what the source raises.
    chunks: Iterator[bytes]
    #: In words, innermost first: "", "gzip", "JSON string in gzip in zip".
    container: str = ""
    #: Filled while the chunks are read; an archive's own are with its last part, at its end.
    warnings: list[str] = field(default_factory=list)


class Meter:
    """Compares what a layer unpacks to with the bytes stored. Raises RejectedUpload for a bomb."""

    def __init__(self, limits: Limits, place: str, stored_bytes: int = 0) -> None:
        self._limits = limits
        self._place = place
        self._stored_bytes = stored_bytes

    def stored(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, counted as stored bytes."""
        for chunk in chunks:
            self._stored_bytes += len(chunk)
            yield chunk

    def check(self, unpacked_bytes: int) -> None:
        limit = max(self._limits.bomb_floor_bytes, self._limits.bomb_ratio * self._stored_bytes)
        if unpacked_bytes > limit:
            raise RejectedUpload(
                f"The file unpacks to more than {self._limits.bomb_ratio} times its size",
                place=self._place,
                fix="No conversation does: unpack it yourself, look at what is in it, and upload "
                "the conversation alone.",
            )


class Allowance:
    """The bytes that all parts of an upload may come to. Raises RejectedUpload beyond them."""

    def __init__(self, limits: Limits, meter: Meter) -> None:
        self._max_bytes = limits.max_bytes
        self._meter = meter
        self._spent_bytes = 0

    def spend(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._spent_bytes += len(chunk)
            self._meter.check(self._spent_bytes)
            if self._max_bytes is not None and self._spent_bytes > self._max_bytes:
                raise RejectedUpload(
                    f"The file holds more than {self._max_bytes:,} bytes of text",
                    fix="Split it, or raise the limit of this deployment.",
                )
            yield chunk


def look_ahead(chunks: Iterator[bytes], size_bytes: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, at least `size_bytes` unless it ends there, and all chunks with them again.

    Damage within them waits for its place.
    """
    looked_at: list[bytes] = []
    damage: Damaged | None = None
    left = size_bytes
    try:
        while left > 0:
            chunk = next(chunks, None)
            if chunk is None:
                break
            looked_at.append(chunk)
            left -= len(chunk)
    except Damaged as error:
        damage = error
    # One chunk, the ordinary case, is not copied.
    head = looked_at[0] if len(looked_at) == 1 else b"".join(looked_at)
    return head, _resumed(head, damage, chunks)


def _resumed(head: bytes, damage: Damaged | None, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    if damage is not None:
        raise damage
    yield from rest


def merged(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces as chunks of about CHUNK_BYTES, whatever ends them."""
    held: list[bytes] = []
    held_bytes = 0
    try:
        for piece in pieces:
            held.append(piece)
            held_bytes += len(piece)
            if held_bytes >= CHUNK_BYTES:
                yield b"".join(held)
                held.clear()
                held_bytes = 0
    except Damaged as damage:
        if held:
            yield b"".join(held)
        raise damage
    if held:
        yield b"".join(held)
