"""How SIGTERM ends the trainer: at once, or after the training has kept its last complete step."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM


class Preempted(Exception):
    """The platform asked this process to stop, and the training did.

    `kept_step` is the step that the next attempt goes on from, as far as this one knows.
    """

    def __init__(self, kept_step: int) -> None:
        super().__init__(f"stopped after step {kept_step}")
        self.kept_step = kept_step


class StopRequest:
    """SIGTERM, as the training sees it: between two micro-batches. One for the whole process."""

    def __init__(self) -> None:
        self._requested = False
        self._followers = 0

    def request(self) -> bool:
        """Ask for the stop; whether somebody will follow (if not, end the process at once)."""
        self._requested = True
        return self._followers > 0

    @property
    def requested(self) -> bool:
        return self._requested

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """While it runs, a stop is left to the caller, who looks at `requested`."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1


def stop_handler(stop: StopRequest) -> Callable[[int, FrameType | None], None]:
    """What SIGTERM does: ends the process at once, or lets the training keep its state first.

    Neither is done by an exception: a library's `except` could swallow it.
    """

    def handle(signal_number: int, frame: FrameType | None) -> None:
        if stop.request():
            return
        # Not through `log`: the signal may have interrupted a write to the same buffer.
        line = b'{"severity": "NOTICE", "message": "stopped by SIGTERM; no result is written"}\n'
        os.write(1, line)
        os._exit(SIGTERM_EXIT_CODE)

    return handle
