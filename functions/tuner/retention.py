"""What ended runs leave in the work bucket, deleted when nobody needs it any more.

Checkpoints go as soon as a run has ended for good, what attempts left that did not win after some
days. Kept are the winning attempt, every attempt's owner and orders and every result (a restored
ledger learns from these what was trained), datasets, adapters and records.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.alarms import Alarms
from tuner.clock import Clock
from tuner.errors import NewerRecord
from tuner.ledger import UNREADABLE, Ledger
from tuner.log import fields
from tuner.passes import PassBook
from tuner.runs import Run

log = logging.getLogger(__name__)

#: A round over all runs is begun so long after the last one ended.
_EVERY = timedelta(days=1)
#: What a tick gives to it, beside its own work.
PASS_SECONDS = 20.0
_LISTED = "items(name,generation,size),nextPageToken"
_PART = re.compile(r"runs/([^/]+)/(?:(checkpoints)/.+|attempts/([1-9][0-9]{0,5})/(.+))")
#: Small, without any text: who trained an attempt, and with which orders.
_KEPT = {"owner", "job.json"}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """An object below `runs/`; `attempt` is 0 for a checkpoint's."""

    name: str
    generation: int
    size: int
    run_id: str
    attempt: int


class Retention:
    """Deletes leftovers, some at each tick, all of them once a day."""

    def __init__(
        self,
        *,
        work_bucket: storage.Bucket,
        ledger: Ledger,
        alarms: Alarms,
        keep: timedelta,
        clock: Clock,
    ) -> None:
        """`keep`: how long the leftovers of attempts that did not win stay, and alarms' notes."""
        self._work = work_bucket
        self._ledger = ledger
        self._alarms = alarms
        self._keep = keep
        self._clock = clock
        self._passes = PassBook(ledger, "retention")
        self._not_before: datetime | None = None

    def run(self) -> int:
        """Go on with today's round, if it has not ended yet; how many objects were deleted."""
        now = self._clock()
        if self._not_before is not None and now < self._not_before:
            return 0
        begun = self._passes.begin(now)
        if not begun.cursor and begun.round_ended_at and now - begun.round_ended_at < _EVERY:
            self._not_before = begun.round_ended_at + _EVERY
            return 0
        until = now + timedelta(seconds=PASS_SECONDS)
        objects = size = runs = 0
        for run_id, parts in groupby(self._listed(), key=lambda part: part.run_id):
            if run_id < begun.cursor:
                continue
            if self._clock() >= until:
                self._passes.note(run_id)
                break
            deleted = [part.size for part in self._leftovers(run_id, parts) if self._delete(part)]
            objects, size, runs = objects + len(deleted), size + sum(deleted), runs + bool(deleted)
        else:
            objects += self._alarms.forget_old(now - self._keep)
            self._passes.note("", round_ended_at=now)
        if objects:
            log.info(
                "Leftovers of ended runs were deleted.",
                extra=fields(objects=objects, bytes=size, runs=runs),
            )
        return objects

    def _listed(self) -> Iterator[_Part]:
        """Whatever may be deleted, run after run; one call per thousand objects."""
        for blob in self._work.client.list_blobs(self._work, prefix="runs/", fields=_LISTED):
            match = _PART.fullmatch(blob.name)
            if match is not None and match[4] not in _KEPT:
                yield _Part(
                    name=blob.name,
                    generation=blob.generation,
                    size=blob.size,
                    run_id=match[1],
                    attempt=int(match[3] or 0),
                )

    def _leftovers(self, run_id: str, parts: Iterator[_Part]) -> list[_Part]:
        """Those of `parts` that nobody needs: none of a run that is open or not known."""
        run = self._ended(run_id)
        if run is None:
            return []
        is_old = self._clock() - run.updated_at >= self._keep
        won = run.attempt.number if run.model is not None and run.attempt is not None else 0
        lost = {attempt.number for attempt in run.attempts} - {won}
        return [part for part in parts if not part.attempt or (is_old and part.attempt in lost)]

    def _ended(self, run_id: str) -> Run | None:
        try:
            if self._ledger.read_open(run_id) is not None:
                return None  # also one that has ended and is not closed yet
            finished = self._ledger.read_finished(run_id)
        except (*UNREADABLE, NewerRecord):
            log.warning("A record cannot be read; what the run left stays.", exc_info=True)
            return None
        return finished.run if finished is not None else None

    def _delete(self, part: _Part) -> bool:
        try:
            self._work.delete_blob(part.name, if_generation_match=part.generation)
        except (google_exceptions.NotFound, google_exceptions.PreconditionFailed):
            return False  # somebody deleted or changed it meanwhile
        return True
