"""One run's trouble stays its own: errors are counted on the run, and it is parked after five.

A cloud that is down is nobody's trouble: its errors are logged and not counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core import exceptions as google_exceptions

from tuner.errors import LedgerConflict, NewerRecord
from tuner.ledger import Ledger
from tuner.log import fields

log = logging.getLogger(__name__)

MAX_ERRORS = 5

_OUTAGES = (
    google_exceptions.ServerError,
    google_exceptions.TooManyRequests,
    google_exceptions.RetryError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
)


@contextmanager
def isolated(ledger: Ledger, run_id: str) -> Iterator[None]:
    """Keep an error in the block from the other runs of a pass."""
    try:
        yield
    except LedgerConflict:
        log.info("The run moved meanwhile; left to the next pass.", extra=fields(run_id=run_id))
    except NewerRecord:
        log.error(
            "The run was written by a newer release; left alone.",
            extra=fields(run_id=run_id, alarm="newer-record"),
        )
    except _OUTAGES:
        log.warning("The cloud did not answer.", extra=fields(run_id=run_id), exc_info=True)
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


def _count(ledger: Ledger, run_id: str) -> None:
    stored = ledger.read_open(run_id)
    if stored is None:
        return
    errors = stored.run.errors + 1
    parked = errors >= MAX_ERRORS
    try:
        ledger.replace(stored, stored.run.evolve(errors=errors, parked=parked))
    except LedgerConflict:
        return
    if parked:
        log.error(
            "A run failed in five passes and is parked until it is woken.",
            extra=fields(run_id=run_id, alarm="run-parked"),
        )
