"""Money guards, enforced before every create call, whoever sent the request."""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec

from tuner.alarms import Alarms
from tuner.clock import NewId
from tuner.ledger import UNREADABLE, Ledger
from tuner.log import fields

log = logging.getLogger(__name__)

PAUSED = "config/paused.json"


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """`config/paused.json`: while it says so, nothing is launched."""

    schema_version: int = 1
    paused: bool
    by: str = ""
    reason: str = ""
    at: datetime | None = None
    write_id: str = ""

    @property
    def sentence(self) -> str:
        """What a run that is held back is told."""
        why = f" ({self.reason.rstrip('.')})" if self.reason else ""
        return f"Paused by {self.by or 'the operator'}{why}; nothing is launched until resumed."


class DailySpend(msgspec.Struct, frozen=True, kw_only=True):
    """`spend/<UTC date>.json`: what the jobs started that day were estimated at."""

    schema_version: int = 1
    usd: float = 0.0
    jobs: int = 0
    write_id: str = ""


def spend_name(now: datetime) -> str:
    """Where the spending of a UTC day is kept."""
    return f"spend/{now.date().isoformat()}.json"


class Spending:
    """Reads the paused switch, reserves against the daily cap. Used under the admission lock."""

    def __init__(
        self, ledger: Ledger, alarms: Alarms, *, daily_cap_usd: float, new_id: NewId
    ) -> None:
        self._ledger = ledger
        self._alarms = alarms
        self._cap_usd = daily_cap_usd
        self._new_id = new_id

    def refusal(self) -> str | None:
        """Why nothing may be launched now, or None."""
        try:
            found = self._ledger.read_document(PAUSED, Paused)
        except UNREADABLE:
            log.exception(
                "The paused switch cannot be read; nothing is launched.",
                extra=fields(object_name=PAUSED, alarm="unreadable-document"),
            )
            return f"The paused switch ({PAUSED}) cannot be read. Correct or delete it."
        return found[0].sentence if found and found[0].paused else None

    def reserve(self, usd: float, *, now: datetime) -> str | None:
        """Add `usd` to the day's sum, or say why it does not fit. Raises LedgerConflict."""
        name = spend_name(now)
        try:
            found = self._ledger.read_document(name, DailySpend)
        except UNREADABLE:
            log.exception(
                "The day's spending cannot be read; nothing is launched.",
                extra=fields(object_name=name, alarm="unreadable-document"),
            )
            return f"What was spent today cannot be read ({name}). Correct or delete that object."
        spend, generation = found or (DailySpend(), 0)
        if spend.usd + usd > self._cap_usd:
            day = f"{now:%Y-%m-%d}"
            if usd > self._cap_usd:
                reason = (
                    f"This job is estimated at ${usd:.2f}, more than the daily cap of "
                    f"${self._cap_usd:.2f}. Raise the cap (TUNER_DAILY_CAP_USD)."
                )
                self._alarms.raise_once("daily-cap", f"{day}-one-job", reason=reason)
                return reason
            reason = (
                f"The daily cap of ${self._cap_usd:.2f} is reached: ${spend.usd:.2f} are planned "
                f"today and this job is estimated at ${usd:.2f}. It goes on after midnight UTC, "
                "or when the cap is raised (TUNER_DAILY_CAP_USD)."
            )
            self._alarms.raise_once("daily-cap", day, reason=reason)
            return reason
        updated = msgspec.structs.replace(
            spend, usd=round(spend.usd + usd, 4), jobs=spend.jobs + 1, write_id=self._new_id()
        )
        self._ledger.write_document(name, updated, generation)
        return None

    def release(self, usd: float, *, now: datetime) -> None:
        """Take a reservation back: the create call was refused and no job exists."""
        name = spend_name(now)
        found = self._ledger.read_document(name, DailySpend)
        if found is None:
            return
        spend, generation = found
        updated = msgspec.structs.replace(
            spend,
            usd=round(max(0.0, spend.usd - usd), 4),
            jobs=max(0, spend.jobs - 1),
            write_id=self._new_id(),
        )
        self._ledger.write_document(name, updated, generation)
