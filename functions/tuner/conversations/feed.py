"""Chunks of text become one sliding buffer: what is behind is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tuner.conversations.containers import Damaged
from tuner.errors import RejectedUpload

#: The largest row that is read: no dialogue is longer, and no string of 500 MB is a dialogue.
MAX_ROW_BYTES = 64 << 20

#: The buffer grows by no less, where there is that much.
_LEAST_BYTES = 16 << 10

_NOT_SPACE = re.compile(rb"[^ \t\r\n]")


class EndsEarly(Exception):
    """The text ends inside a value."""


class Feed:
    """The part of a text that is being looked at: `buffer[0]` is byte `base` of the whole."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        #: What is left of the chunk that was read last: the buffer grows by what is asked for.
        self._chunk = memoryview(b"")
        self.buffer = bytearray()
        self.base = 0
        self.ended = False
        #: Why the container could not give all of it, in words.
        self.damage: str | None = None

    def more(self, count: int = 1) -> bool:
        """Add at least `count` bytes unless the text ends before; False when nothing was added."""
        missing = count
        while missing > 0:
            if not self._chunk:
                if self.ended:
                    break
                self._next_chunk()
            taken = self._chunk[: max(missing, _LEAST_BYTES)]
            self._chunk = self._chunk[len(taken) :]
            self.buffer += taken
            missing -= len(taken)
        return missing < count

    def _next_chunk(self) -> None:
        try:
            self._chunk = memoryview(next(self._chunks))
        except StopIteration:
            self.ended = True
        except Damaged as damaged:
            self.ended, self.damage = True, str(damaged)

    def forget(self, count: int) -> None:
        """Let go of the first `count` bytes."""
        del self.buffer[:count]
        self.base += count

    def grow(self, start: int) -> None:
        """Read on in a value that began at `start`: twice as far each time, so that a long one is
        not looked at again and again. Raises EndsEarly, RejectedUpload for one without an end.
        """
        held = len(self.buffer) - start
        if held > MAX_ROW_BYTES:
            raise RejectedUpload(
                f"One row of the file has more than {MAX_ROW_BYTES >> 20} MiB",
                place=f"byte {self.base + start:,}",
                fix="No conversation is that long: export it again, or take out what is at that "
                "place.",
            )
        if self.ended:
            raise EndsEarly
        self.more(min(max(held, 1), 16 << 20))

    def next_visible(self, position: int) -> int:
        """The position of the next byte that is not white space, or -1 at the end of the text.

        What stands before it may be forgotten: white space without an end is never held.
        """
        while True:
            if match := _NOT_SPACE.search(self.buffer, position):
                return match.start()
            self.forget(len(self.buffer))
            position = 0
            if not self.more():
                return -1
