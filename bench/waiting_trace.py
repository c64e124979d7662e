"""The trace that everyone waits through, and the region that refuses until quota is granted.

Simulated seconds throughout, counted from the first request; nothing here looks at a clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

HOUR_SECONDS = 3600.0
#: Requests arrive during the first hour, and a first round of tries needs some time: the rate of
#: calls while everyone waits is counted from here.
STEADY_AFTER_SECONDS = 2 * HOUR_SECONDS


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Runs that wait for GPUs in one region, whose limit is 0 until it is granted.

    Each run needs one GPU for `job_seconds`.
    """

    runs: int
    hours: float = 72
    grant_at_hour: float = 47
    #: The limit from the grant on.
    gpus: int
    job_seconds: float
    seed: int

    def arrivals(self) -> list[float]:
        """When each run is requested, oldest first: evenly spaced through the first hour."""
        return [HOUR_SECONDS * run / self.runs for run in range(self.runs)]

    @property
    def grant_seconds(self) -> float:
        return self.grant_at_hour * HOUR_SECONDS

    @property
    def end_seconds(self) -> float:
        return self.hours * HOUR_SECONDS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one design made of a trace."""

    name: str
    #: Calls that ask the cloud for a machine, refused ones included.
    create_calls: int
    #: Calls to the cloud that only read.
    other_calls: int
    #: Mean of both kinds an hour, from hour 2 to the grant or to the first loss, whichever comes
    #: first; 0 when that is before hour 2.
    calls_per_hour_waiting: float
    #: Runs that nothing tries any more, unless a person asks for them again.
    lost: int
    launched: int
    finished: int
    #: None when no run was launched.
    grant_to_first_launch_seconds: float | None
    #: None unless every run was launched.
    grant_to_all_launched_seconds: float | None
    #: Runs that were launched while an older one was still waiting.
    order_inversions: int
    #: Name of each constant → its value and where that was read.
    settings: Mapping[str, object]


class Region:
    """What the cloud grants, what runs there, and a count of every call that reaches it."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.create_calls = 0
        self.other_calls = 0
        self.launched: dict[int, float] = {}
        self.lost: dict[int, float] = {}
        self._busy_until: list[float] = []
        self._waiting_ends = trace.grant_seconds
        self._calls_while_waiting = 0

    def limit(self, now: float) -> int:
        """The quota limit, as someone who need not ask knows it."""
        return self.trace.gpus if now >= self.trace.grant_seconds else 0

    def read_limit(self, now: float) -> int:
        """The quota limit, for one call."""
        self.other_calls += 1
        self._count(now)
        return self.limit(now)

    def ask(self, now: float) -> int:
        """One create call: how many GPUs are free. 0 is a refusal."""
        self.create_calls += 1
        self._count(now)
        while self._busy_until and self._busy_until[0] <= now:
            heapq.heappop(self._busy_until)
        return self.limit(now) - len(self._busy_until)

    def start(self, run: int, now: float) -> None:
        """The run has its GPU."""
        self.launched[run] = now
        heapq.heappush(self._busy_until, now + self.trace.job_seconds)

    def create(self, run: int, now: float) -> bool:
        """One create call for one run: whether it was launched."""
        if self.ask(now) < 1:
            return False
        self.start(run, now)
        return True

    def lose(self, run: int, now: float) -> None:
        """Nothing will try this run again."""
        self.lost[run] = now
        self._waiting_ends = min(self._waiting_ends, now)

    def _count(self, now: float) -> None:
        if STEADY_AFTER_SECONDS <= now < self._waiting_ends:
            self._calls_while_waiting += 1

    def outcome(self, name: str, settings: Mapping[str, object]) -> Outcome:
        trace = self.trace
        # Nobody waits for the grant any longer than the trace lasts.
        waiting = min(self._waiting_ends, trace.end_seconds) - STEADY_AFTER_SECONDS
        times = self.launched.values()
        ends = [at + trace.job_seconds for at in times]
        everyone = len(times) == trace.runs
        return Outcome(
            name=name,
            create_calls=self.create_calls,
            other_calls=self.other_calls,
            calls_per_hour_waiting=(
                self._calls_while_waiting * HOUR_SECONDS / waiting if waiting > 0 else 0.0
            ),
            lost=len(self.lost),
            launched=len(times),
            finished=sum(end <= trace.end_seconds for end in ends),
            grant_to_first_launch_seconds=min(times) - trace.grant_seconds if times else None,
            grant_to_all_launched_seconds=max(times) - trace.grant_seconds if everyone else None,
            order_inversions=self._order_inversions(),
            settings=settings,
        )

    def _order_inversions(self) -> int:
        """Runs whose launch overtook an older run that was neither launched nor lost by then."""
        inversions = 0
        oldest = 0
        launched: set[int] = set()
        # Launches are kept in the order in which they happened.
        for run, now in self.launched.items():
            launched.add(run)
            while oldest in launched or self.lost.get(oldest, now) < now:
                oldest += 1
            inversions += oldest < run
        return inversions
