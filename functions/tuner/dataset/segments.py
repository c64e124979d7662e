"""The pairs of one upload, as JSON lines: written once, read as often as it is asked for.

In a bucket a segment is an immutable object; for a check on one machine it is a temporary file. A
small one is held, so that it is not fetched for every pass over the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import BinaryIO

import msgspec

from tuner.conversations.sources import Source
from tuner.dataset.pairs import Pair

#: A segment that is no larger than this is held once it was read.
_HELD_BYTES = 8 << 20

_PAIRS_AT_ONCE = 256

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Pair)


def write_pairs(pairs: Iterable[Pair], file: BinaryIO) -> int:
    """Write pairs as JSON lines; how many bytes they are."""
    written_bytes, left = 0, iter(pairs)
    while block := list(islice(left, _PAIRS_AT_ONCE)):
        lines = _encoder.encode_lines(block)
        file.write(lines)
        written_bytes += len(lines)
    return written_bytes


def read_pairs(chunks: Iterable[bytes]) -> Iterator[Pair]:
    """The pairs of JSON lines that come in chunks."""
    rest = b""
    for chunk in chunks:
        lines, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield from _decoder.decode_lines(rest + lines)
            rest = tail
        else:
            rest += chunk
    if rest:
        yield from _decoder.decode_lines(rest)


class StoredPairs:
    """The pairs that a source holds. Call it for a pass over them."""

    def __init__(self, open_source: Callable[[], Source], size_bytes: int) -> None:
        self._open = open_source
        self._is_small = size_bytes <= _HELD_BYTES
        self._held: list[Pair] | None = None

    def __call__(self) -> Iterable[Pair]:
        if self._is_small and self._held is None:
            self._held = list(self._read())
        return self._read() if self._held is None else self._held

    def _read(self) -> Iterator[Pair]:
        with closing(self._open()) as source:
            yield from read_pairs(source.chunks())
