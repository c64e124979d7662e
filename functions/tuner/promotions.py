"""Moving a persona's `latest.json`, and telling other systems of it: neither without the other.

The pointer holds the events that are owed (see `latest`). What moves by itself is told before its
run leaves the queue. What a person moves is found by completion's tick: before the move they leave
`promotions/<persona>.json` in the ledger's bucket, which says over which generation of the pointer
they write. As long as the pointer is still at that one, their move may be yet to come.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock
from tuner.errors import LedgerConflict, NewerRecord
from tuner.latest import move_latest, read_latest, tell_moves
from tuner.ledger import UNREADABLE, Ledger, Listed
from tuner.log import fields
from tuner.records import Records
from tuner.runs import Run, RunState

log = logging.getLogger(__name__)

FOLDER = "promotions/"
BY = "completion"

#: For so long an announced move may be yet to come.
_MAY_COME = timedelta(days=1)


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """`promotions/<persona>.json`: a person is about to move the pointer, or has moved it."""

    schema_version: int = 1
    #: Generation of the pointer that they write over; 0: there is none.
    over: int
    at: datetime
    write_id: str = ""


def announcement_name(persona: str) -> str:
    return f"{FOLDER}{persona}.json"


def announce(ledger: Ledger, persona: str, *, over: int, at: datetime) -> None:
    """Say that the pointer is about to be moved over generation `over`, so that it will be told."""
    name = announcement_name(persona)
    announced = Announced(over=over, at=at, write_id=ledger.write_id())
    # On a conflict another announced the same moment: theirs is found as well as ours.
    with contextlib.suppress(LedgerConflict):
        ledger.write_document(name, announced, ledger.generation_of(name))


class Promotions:
    """Completion's side of it."""

    def __init__(self, *, models_bucket: storage.Bucket, records: Records, clock: Clock) -> None:
        self._models = models_bucket
        self._records = records
        self._clock = clock

    def promote(self, run: Run) -> bool:
        """Point to a run that succeeded, and tell of it; False where that is still to be done."""
        if run.state is not RunState.SUCCEEDED or run.model is None:
            return True
        move_latest(self._models, run, run.model, by=BY, at=self._clock())
        return self._tell(run.persona)

    def settle(self) -> None:
        """Tell of what people moved. One persona's trouble keeps no other from its turn."""
        for listed in self._records.ledger.listed(FOLDER):
            persona = listed.name.removeprefix(FOLDER).removesuffix(".json")
            try:
                self._settle(persona, listed)
            except (google_exceptions.GoogleAPIError, NewerRecord, RuntimeError, *UNREADABLE):
                log.warning(
                    "A move of latest.json could not be told of yet.",
                    extra=fields(persona=persona),
                    exc_info=True,
                )

    def _settle(self, persona: str, listed: Listed) -> None:
        ledger = self._records.ledger
        found = ledger.read_document(listed.name, Announced)
        if found is None:
            return
        announced, generation = found
        _, pointer = read_latest(self._models, persona)
        if not self._tell(persona):
            return
        is_to_come = pointer == announced.over
        if not is_to_come or self._clock() - announced.at >= _MAY_COME:
            ledger.delete_document(listed.name, generation)

    def _tell(self, persona: str) -> bool:
        return tell_moves(self._models, persona, self._records.publish_promotions)
