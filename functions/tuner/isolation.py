"""One run's trouble stays its own: errors are counted on the run, and it is parked after five.

A cloud that is down, and a permission or a resource that the whole deployment lacks, are no run's
trouble: their errors are logged with an alarm and not counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core import exceptions as google_exceptions
from google.auth.exceptions import GoogleAuthError

from tuner.errors import LedgerConflict, NewerRecord
from tuner.ledger import Ledger, QueueEntry
from tuner.log import fields

log = logging.getLogger(__name__)

MAX_ERRORS = 5

_OUTAGES = (
    google_exceptions.ServerError,
    google_exceptions.TooManyRequests,
    google_exceptions.RetryError,
    google_exceptions.Unauthorized,
    google_exceptions.Forbidden,
    google_exceptions.NotFound,
    GoogleAuthError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
)


@contextmanager
def isolated(ledger: Ledger, entry: QueueEntry, *, clears: bool = True) -> Iterator[None]:
    """Keep an error in the block from the other runs of a pass.

    A block that went well clears the run's count of errors, unless `clears` is False: the pass has
    more to do for the run.
    """
    run_id = entry.run_id
    try:
        yield
        if clears and entry.errors and not entry.parked:
            _clear(ledger, run_id)
    except LedgerConflict:
        log.info("The run moved meanwhile; left to the next pass.", extra=fields(run_id=run_id))
    except NewerRecord:
        log.error(
            "The run was written by a newer release; left alone.",
            extra=fields(run_id=run_id, alarm="newer-record"),
        )
    except _OUTAGES:
        log.exception(
            "The cloud did not do what it was asked for.",
            extra=fields(run_id=run_id, alarm="cloud-refused"),
        )
    except Exception:
        log.exception("A run failed within a pass.", extra=fields(run_id=run_id))
        try:
            _count(ledger, run_id)
        except Exception:
            # A record that cannot be read cannot be parked either; the others go on.
            log.exception(
                "The run's errors could not be counted.",
                extra=fields(run_id=run_id, alarm="unreadable-run"),
            )


def _clear(ledger: Ledger, run_id: str) -> None:
    stored = ledger.read_open(run_id)
    if stored is not None and stored.run.errors:
        ledger.replace(stored, stored.run.evolve(errors=0))


def _count(ledger: Ledger, run_id: str) -> None:
    stored = ledger.read_open(run_id)
    if stored is None:
        return
    errors = stored.run.errors + 1
    parked = errors >= MAX_ERRORS
    changed = stored.run.evolve(errors=errors, parked=parked)
    if parked:
        changed = changed.evolve(parked_at=ledger.now)
    try:
        ledger.replace(stored, changed)
    except LedgerConflict:
        return
    if parked:
        # The next pass raises the alarm: it cannot be lost on the way.
        log.error(
            "A run failed in five passes and is parked until it is woken.",
            extra=fields(run_id=run_id),
        )
