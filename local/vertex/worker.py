"""One thread that runs actions in order, now or later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

Action = Callable[[], None]

_log = logging.getLogger(__name__)


class Worker:
    """Runs actions on one thread, which lives until `stop`.

    Job processes are started here because PR_SET_PDEATHSIG strikes when the *thread* that started
    a process ends, so a thread that serves a request is the wrong parent.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._actions: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="vertex-worker", daemon=True)
        self._thread.start()

    def call(self, action: Action, *, after_seconds: float = 0) -> None:
        """Run `action` on the worker's thread once `after_seconds` have passed."""
        with self._condition:
            due = time.monotonic() + after_seconds
            heapq.heappush(self._actions, (due, next(self._order), action))
            self._condition.notify()

    def stop(self) -> None:
        """Drop what has not begun and wait for what has."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:
                _log.exception("an action of the worker failed")

    def _next(self) -> Action | None:
        with self._condition:
            while not self._stopped:
                if not self._actions:
                    self._condition.wait()
                    continue
                wait_seconds = self._actions[0][0] - time.monotonic()
                if wait_seconds <= 0:
                    return heapq.heappop(self._actions)[2]
                self._condition.wait(min(wait_seconds, threading.TIMEOUT_MAX))
        return None
