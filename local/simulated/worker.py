"""Actions that wait for a clock which stands still between two calls."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

Action = Callable[[], None]


class VirtualWorker:
    """Runs actions when it is asked to, those that are due, in the order of their times."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._actions: list[tuple[datetime, int, Action]] = []
        self._order = itertools.count()
        self._due: datetime | None = None

    def now(self) -> datetime:
        """Return the time: to an action, the moment it was due, however late it is run.

        So a job that should have started and timed out since the last call has done both on time.
        """
        return self._clock() if self._due is None else self._due

    def call(self, action: Action, *, after_seconds: float = 0) -> None:
        """Let `action` be due once `after_seconds` have passed."""
        try:
            due = self.now() + timedelta(seconds=after_seconds)
        except OverflowError:
            return  # after the last day that a clock can show
        heapq.heappush(self._actions, (due, next(self._order), action))

    def run_due(self) -> None:
        """Run what is due, also what becomes due by that.

        An action may call this: then it runs what was due by the action's own moment. One that
        raises ends it, and what is left stays due.
        """
        outer, until = self._due, self.now()
        try:
            while self._actions and self._actions[0][0] <= until:
                self._due, _, action = heapq.heappop(self._actions)
                action()
        finally:
            self._due = outer
