"""Writing lines in a thread: the system call does not hold up who makes them."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import BinaryIO, Self

#: Lines are handed over in blocks of this size, a few of which may wait.
_BLOCK_BYTES = 512 << 10
_BLOCKS = 4


class BackgroundWriter:
    """Writes lines to a file, each with a newline, in order. What fails is raised by `write`, or at
    the end of the `with`, at the latest.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: list[bytes] = []
        self._bytes = 0
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_BLOCKS)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, lines: list[bytes]) -> None:
        """Hand lines over; waits while the file is slower. Raises what writing raised."""
        part = b"\n".join((*lines, b""))
        self._parts.append(part)
        self._bytes += len(part)
        if self._bytes >= _BLOCK_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._error is not None:
            raise self._error
        self._blocks.put(b"".join(self._parts))
        self._parts, self._bytes = [], 0

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            if self._error is None:
                try:
                    self._write_all(block)
                except BaseException as error:
                    self._error = error

    def _write_all(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            left = left[self._file.write(left) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Wait until all is written, unless it is given up."""
        try:
            if error is None:
                self._hand_over()
        finally:
            self._blocks.put(None)
            self._thread.join()
        if error is None and self._error is not None:
            raise self._error
