"""When ticks came: whoever is called notices that another function's, or its own, stay away.

`ticks/<function>.json` in the ledger's bucket. A tick that is missing cannot tell of itself, so
every call of any function looks at the notes, at most once a minute in one process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from tuner.alarms import Alarms
from tuner.clock import Clock, human_duration
from tuner.errors import LedgerConflict
from tuner.ledger import UNREADABLE, Ledger

#: The functions whose tick comes each minute.
EVERY_MINUTE = ("submitter", "completion")
#: From so long a pause on, a tick is missing.
LATE = timedelta(minutes=5)
_LOOK_EVERY = timedelta(minutes=1)


class LastTick(msgspec.Struct, frozen=True, kw_only=True):
    """When a function's tick came last; `came` is False when none ever has, and `at` is since when
    one is looked for.
    """

    schema_version: int = 1
    at: datetime
    came: bool = True


class Ticks:
    """Notes ticks, and tells of those that are missing."""

    def __init__(self, ledger: Ledger, alarms: Alarms, *, clock: Clock) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._clock = clock
        self._looked_at: datetime | None = None

    def came(self, function: str) -> None:
        """A tick of `function` came: tell of a pause before it, note it, look at the others.

        Alarms that could not be published are told again.
        """
        found, generation = self._read(function)
        if found is not None:
            self._tell_if_late(function, found, is_back=True)
        with contextlib.suppress(LedgerConflict):  # two at once: both came now
            self._ledger.write_document(_name(function), LastTick(at=self._clock()), generation)
        self._look_at(each for each in EVERY_MINUTE if each != function)
        self._alarms.tell_untold()

    def look(self) -> None:
        """Something else than a tick came: tell of ticks that are missing."""
        now = self._clock()
        if self._looked_at is None or not timedelta() <= now - self._looked_at < _LOOK_EVERY:
            self._looked_at = now
            self._look_at(EVERY_MINUTE)

    def _look_at(self, functions: Iterable[str]) -> None:
        for function in functions:
            found, generation = self._read(function)
            if found is not None:
                self._tell_if_late(function, found, is_back=False)
            else:
                # So that ticks that were never set up are missed too.
                noted = LastTick(at=self._clock(), came=False)
                with contextlib.suppress(LedgerConflict):
                    self._ledger.write_document(_name(function), noted, generation)

    def _tell_if_late(self, function: str, last: LastTick, *, is_back: bool) -> None:
        silent = self._clock() - last.at
        if silent < LATE:
            return
        since = f"since {last.at:%Y-%m-%d %H:%M} UTC ({human_duration(silent.total_seconds())})"
        if is_back and last.came:
            reason = f"Ticks of {function} come again; none came {since}."
        elif last.came:
            reason = f"No tick of {function} came {since}."
        else:
            reason = f"No tick of {function} ever came; it is looked for {since}."
        self._alarms.raise_once("no-tick", f"{function}-{last.at:%Y%m%dT%H%M%SZ}", reason=reason)

    def _read(self, function: str) -> tuple[LastTick | None, int]:
        try:
            found = self._ledger.read_document(_name(function), LastTick)
        except UNREADABLE:  # made anew
            return None, self._ledger.generation_of(_name(function))
        return found or (None, 0)


def _name(function: str) -> str:
    return f"ticks/{function}.json"
