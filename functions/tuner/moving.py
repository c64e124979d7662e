"""Whether a job that stands in the platform's queue should give way to another place.

A queued job is a free wait, so it is given up only when another place has room for certain, or when
the request said how long it may stand there. Flex-start gives up by itself; only when it has not,
an hour after its own maximum wait, is it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from tuner.admission import Admit, Place, decide
from tuner.candidates import needs_on, patience_of, places_of, plan_of
from tuner.clock import Clock, human_duration
from tuner.lane_book import LaneBook
from tuner.lanes import JobStatus, Lane
from tuner.quota_watch import QuotaWatch
from tuner.runs import Attempt, Run
from tuner.snapshot import Snapshot

_FLEX_SLACK = timedelta(hours=1)


class Mover:
    """Looks at queued jobs, one snapshot a pass."""

    def __init__(
        self,
        *,
        lanes: Mapping[str, Lane],
        book: LaneBook,
        quota: Callable[[], QuotaWatch],
        regions: tuple[str, ...],
        clock: Clock,
    ) -> None:
        self._lanes = lanes
        self._book = book
        self._quota = quota
        self._regions = regions
        self._clock = clock
        self._snapshots: dict[tuple[tuple[str, str], ...], Snapshot] = {}

    def begin_pass(self) -> None:
        self._snapshots.clear()
        self._book.begin_pass()

    def reason_to_move(self, run: Run, attempt: Attempt, job: JobStatus) -> str | None:
        """Why a queued job should end, in words that a sentence may begin with; else None."""
        now = self._clock()
        lane = self._lanes[attempt.lane]
        stood = now - (job.created_at or attempt.intended_at)
        words = f"It stood in Vertex AI's queue for {human_duration(stood.total_seconds())}"
        if lane.queues:
            return words if stood >= lane.max_wait(run, attempt) + _FLEX_SLACK else None
        request = run.request
        places = places_of(
            patience_of(request),
            request.regions or self._regions,
            needs=needs_on(self._lanes, request.preset),
            known=self._book.read,
        )
        here = (attempt.lane, attempt.region)
        elsewhere = [place for place in places if (place.lane, place.region) != here]
        if not elsewhere:
            return None
        patience = request.move_on_after.get(attempt.lane)
        if patience is not None:
            return words if stood >= timedelta(seconds=patience) else None
        snapshot = self._snapshot(run, elsewhere)
        for place in elsewhere:
            if _has_room(place, snapshot) and isinstance(decide(place, snapshot, now), Admit):
                return f"{words}, and {place.lane} has room in {place.region}"
        return None

    def _snapshot(self, run: Run, places: list[Place]) -> Snapshot:
        key = tuple((place.lane, place.region) for place in places)
        if key not in self._snapshots:
            plan = plan_of(places, run.request.preset, lambda lane: self._lanes[lane].machine)
            self._snapshots[key] = self._quota().look([plan], asks=False)
        return self._snapshots[key]


def _has_room(place: Place, snapshot: Snapshot) -> bool:
    """Whether the limits are known and suffice: an unknown one is no reason to give a job up."""
    known = all((metric, place.region) in snapshot.limits for metric in place.needs)
    return known and not snapshot.lacking(place.needs, place.region)
