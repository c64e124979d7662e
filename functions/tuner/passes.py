"""Where a pass stopped, and whether time has passed evenly since the ones before.

`passes/<name>.json` in the ledger. It is advice, not a lock: two passes at once write over one
another's note, and nothing is lost but the place where the next one goes on.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

import msgspec

from tuner.errors import LedgerConflict
from tuner.ledger import UNREADABLE, Ledger

#: Ticks come each minute. After a longer pause the clock jumped, or the machine slept.
_PAUSE = timedelta(minutes=10)
#: Clocks of two instances may differ by so much.
_SKEW = timedelta(minutes=1)
#: How long after that nobody is blamed for having been silent: whoever lives speaks again by then.
_SETTLING = timedelta(minutes=2)


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What the last pass of a name left behind."""

    schema_version: int = 1
    at: datetime
    #: The name that the next pass goes on with; "" when this one came to the end.
    cursor: str = ""
    #: What this pass was doing when it ended; "" unless it died of it.
    doing: str = ""
    #: Since when time passes evenly, as far as is known; None: it always has.
    even_since: datetime | None = None
    #: When a pass last came to the end of its round.
    round_ended_at: datetime | None = None


class PassBook:
    """The note of the passes of one name."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = f"passes/{name}.json"
        self._generation = 0
        self._begun: Pass | None = None

    def begin(self, now: datetime) -> Pass:
        """Begin a pass: what is known of those before, with `even_since` as of now."""
        try:
            found = self._ledger.read_document(self._name, Pass)
        except UNREADABLE:  # only advice: made anew
            found = None
            self._generation = self._ledger.generation_of(self._name)
        else:
            self._generation = found[1] if found else 0
        last = found[0] if found else Pass(at=now)
        jumped = now - last.at > _PAUSE or last.at - now > _SKEW
        self._begun = msgspec.structs.replace(
            last, at=now, even_since=now if jumped else last.even_since
        )
        return self._begun

    def note(self, cursor: str, *, doing: str = "", round_ended_at: datetime | None = None) -> None:
        """Keep where the next pass goes on; the last one that is noted counts."""
        assert self._begun is not None, "begin() comes first"
        noted = msgspec.structs.replace(
            self._begun,
            cursor=cursor,
            doing=doing,
            round_ended_at=round_ended_at or self._begun.round_ended_at,
        )
        with contextlib.suppress(LedgerConflict):
            self._generation = self._ledger.write_document(self._name, noted, self._generation)


def is_settled(begun: Pass) -> bool:
    """Whether time has passed evenly for long enough to tell who is silent."""
    return begun.even_since is None or begun.at - begun.even_since >= _SETTLING
