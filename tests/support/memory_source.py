"""A file in memory, as a source that hands it out in any chunks."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO


class MemorySource:
    """`sizes` are those of the first chunks; the rest comes as one."""

    name = "memory"

    def __init__(self, content: bytes, sizes: Iterable[int] = ()) -> None:
        self.size_bytes = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._content = content
        self._chunks = self._cut(list(sizes))

    def _cut(self, sizes: list[int]) -> Iterator[bytes]:
        place = 0
        for size in sizes:
            yield self._content[place : place + size]
            place += size
        if place < len(self._content):
            yield self._content[place:]

    def chunks(self) -> Iterator[bytes]:
        return self._chunks

    def drain(self) -> None:
        for _ in self._chunks:
            pass

    def open(self) -> BinaryIO:
        return io.BytesIO(self._content)

    def close(self) -> None:
        pass
