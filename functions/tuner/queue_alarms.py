"""Alarms that listing the queue tells: runs that are parked, create calls that stay unclear."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from google.api_core import exceptions as google_exceptions

from tuner.alarms import Alarms
from tuner.clock import human_duration
from tuner.errors import NewerRecord
from tuner.ledger import UNREADABLE, Ledger, QueueEntry
from tuner.log import fields
from tuner.runs import Run, RunState

log = logging.getLogger(__name__)

#: For how long it may not be known whether an attempt has a job: the lookup takes half of it.
UNRESOLVED = timedelta(minutes=30)
_MAY_BE_UNRESOLVED = {RunState.SUBMITTING, RunState.CANCELLING}


def watch_queue(
    ledger: Ledger, alarms: Alarms, entries: Iterable[QueueEntry], now: datetime
) -> None:
    """Raise what the queue's entries give cause for; a run that cannot be read stops no other.

    Records are read of the few runs that stand out, and of none that was told of.
    """
    for entry in entries:
        try:
            if entry.parked:
                _tell_of_parked(ledger, alarms, entry)
            if entry.state in _MAY_BE_UNRESOLVED and _is_old(entry, now):
                _tell_of_unresolved(ledger, alarms, entry, now)
        except (google_exceptions.GoogleAPIError, NewerRecord, *UNREADABLE):
            log.warning(
                "A run could not be looked at for alarms.",
                extra=fields(run_id=entry.run_id),
                exc_info=True,
            )


def _tell_of_parked(ledger: Ledger, alarms: Alarms, entry: QueueEntry) -> None:
    cause = f"{entry.run_id}-{_stamp(entry.parked_at or entry.requested_at)}"
    if alarms.is_known("run-parked", cause):
        return
    run = _read(ledger, entry)
    if run is not None and run.parked:
        reason = f"Failed in {run.errors} passes in a row, while {run.state}: {run.reason}"
        alarms.raise_once("run-parked", cause, run=run, reason=reason)


def _tell_of_unresolved(ledger: Ledger, alarms: Alarms, entry: QueueEntry, now: datetime) -> None:
    run = _read(ledger, entry)
    if run is None or run.attempt is None or run.state not in _MAY_BE_UNRESOLVED:
        return
    attempt = run.attempt
    if attempt.job_name or attempt.ended_at or now - attempt.intended_at < UNRESOLVED:
        return
    age = human_duration((now - attempt.intended_at).total_seconds())
    alarms.raise_once(
        "unresolved-attempt",
        f"{run.run_id}-{attempt.number}",
        run=run,
        attempt=attempt.number,
        reason=f"For {age} it is not known whether attempt {attempt.number} has a job in "
        f"{attempt.region}.",
    )


def _is_old(entry: QueueEntry, now: datetime) -> bool:
    """Not by the change alone: an old attempt may be cancelled just now."""
    if entry.state is RunState.CANCELLING:
        return True
    return entry.changed_at is None or now - entry.changed_at >= UNRESOLVED


def _read(ledger: Ledger, entry: QueueEntry) -> Run | None:
    stored = ledger.read_open(entry.run_id)
    return stored.run if stored is not None else None


def _stamp(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%S.%fZ}"
