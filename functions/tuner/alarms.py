"""Alarms: what deserves a person's look, told once for each cause, as a log line and an event.

What was raised is noted at `alarms/<name>/<cause>.json` in the ledger's bucket before it is told:
whoever creates the note tells, and whoever finds it there is silent. A note whose event could not
be published says so in its metadata, and a tick publishes it; so an alarm may be told twice, under
one id, and is never lost. Retention deletes notes that are old; a cause that lasts is told anew.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from google.api_core import exceptions as google_exceptions

from tuner.clock import Clock
from tuner.errors import LedgerConflict, NewerRecord
from tuner.events import AlarmRaised, Events
from tuner.ledger import UNREADABLE, Ledger
from tuner.log import fields
from tuner.runs import Run

log = logging.getLogger(__name__)

FOLDER = "alarms/"

#: After a publish failed, until when none is tried: an outage must not eat up a pass.
_QUIET = timedelta(seconds=30)
#: Causes that a process remembers, so that it need not ask the ledger again.
_MAX_KNOWN = 10_000


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What happened, and what to do about it, in words; docs/operate.md says the same."""

    what: str
    fix: str


ALARMS: dict[str, Alarm] = {
    "no-tick": Alarm(
        what="A function heard no tick for 5 minutes; or hears them again after such a pause. "
        "Meanwhile nothing is launched, watched or completed by itself.",
        fix="See in Cloud Scheduler whether its job is paused or failing, and in the function's "
        "log why; on one machine, `tuner local up`.",
    ),
    "unresolved-attempt": Alarm(
        what="For 30 minutes it is not known whether a run's create call made a job. The run "
        "waits: another job could train beside that one.",
        fix="Look in Vertex AI, in the attempt's region, for a job with the run's label `run_id`; "
        "should calls to Vertex AI fail, put that right. `tuner cancel RUN` gives it up.",
    ),
    "run-parked": Alarm(
        what="A run failed in five passes for a reason that is not an outage. It is left alone: a "
        "job that it has runs on, to its own time limit at most.",
        fix="Read the logged exceptions; when mended, `tuner wake RUN`.",
    ),
    "dead-letter": Alarm(
        what="A message could not be carried out and lies on `dead-letters`. Told once an hour "
        "for each function.",
        fix="`tuner deadletters list` shows it with the reason; `tuner deadletters replay` sends "
        "it again.",
    ),
    "daily-cap": Alarm(
        what="What is planned for today, or one job alone, is estimated at more than the daily "
        "cap; it is not launched.",
        fix="Nothing, if that is meant: it goes on after midnight UTC. Else raise "
        "TUNER_DAILY_CAP_USD; a job that alone is above it never starts otherwise.",
    ),
    "wait-needs-a-person": Alarm(
        what="Runs wait for quota that nobody will give by itself: an increase was denied, is not "
        "to be had, or was never asked for.",
        fix="`tuner why RUN` says what stands and what you can do: ask in the console, set "
        "TUNER_CONTACT, or allow another lane or region.",
    ),
    "untrusted-result": Alarm(
        what="A result document does not match its run, its job, or the bytes it speaks of; the "
        "run's reason says in what. Nothing was promoted; the run is tried again.",
        fix="See who wrote to the work bucket ([what is verified](#what-is-verified)).",
    ),
    "foreign-result": Alarm(
        what="A result document lies under the id of a run that does not exist. Nothing was "
        "changed.",
        fix="See who wrote to `results/` in the work bucket.",
    ),
}


class AlarmNote(msgspec.Struct, frozen=True, kw_only=True):
    """`alarms/<name>/<cause>.json`: an alarm that was raised."""

    schema_version: int = 1
    cause: str
    alarm: AlarmRaised
    write_id: str = ""


class Alarms:
    """Raises alarms, each cause once."""

    def __init__(self, ledger: Ledger, events: Events, *, clock: Clock) -> None:
        self._ledger = ledger
        self._events = events
        self._clock = clock
        #: Objects that are known to be there.
        self._known: set[str] = set()
        self._quiet_until: datetime | None = None

    def is_known(self, name: str, cause: str) -> bool:
        """Whether this process knows that it was raised; False says nothing."""
        return _object_name(name, cause) in self._known

    def raise_once(
        self,
        name: str,
        cause: str,
        *,
        reason: str,
        run: Run | None = None,
        run_id: str = "",
        attempt: int | None = None,
    ) -> None:
        """Tell of it, unless this cause was told of. Raises what the ledger's bucket raises.

        `cause` is part of an object's name: ids, names and times.
        """
        object_name = _object_name(name, cause)
        if object_name in self._known:
            return
        alarm = AlarmRaised(
            name=name,
            run_id=run.run_id if run else run_id,
            persona=run.persona if run else None,
            attempt=attempt,
            reason=reason,
            fix=_plain(ALARMS[name].fix),
            at=self._clock(),
        )
        note = AlarmNote(cause=cause, alarm=alarm, write_id=self._ledger.write_id())
        try:
            generation = self._ledger.write_document(
                object_name, note, 0, metadata=_metadata(alarm, is_told=False)
            )
        except LedgerConflict:
            self._remember(object_name)
            return
        self._remember(object_name)
        self._tell(object_name, note, generation)

    def tell_untold(self) -> int:
        """Tell what was noted and not published yet; how many are still untold."""
        left = 0
        for listed in self._ledger.listed(FOLDER):
            if listed.metadata.get("told") == "yes":
                continue
            try:
                found = self._ledger.read_document(listed.name, AlarmNote)
            except (*UNREADABLE, NewerRecord):
                continue  # not ours to tell; retention deletes it
            if found is not None and not self._tell(listed.name, *found):
                left += 1
        return left

    def forget_old(self, before: datetime) -> int:
        """Delete notes written before that moment; how many there were."""
        old = [each for each in self._ledger.listed(FOLDER) if each.updated < before]
        self._known.difference_update(each.name for each in old)
        return sum(self._ledger.delete_document(each.name, each.generation) for each in old)

    def _tell(self, object_name: str, note: AlarmNote, generation: int) -> bool:
        alarm = note.alarm
        log.error(
            "An alarm was raised.",
            extra=fields(
                alarm=alarm.name,
                run_id=alarm.run_id,
                attempt=alarm.attempt,
                reason=alarm.reason,
                fix=alarm.fix,
            ),
        )
        if self._quiet_until is not None and self._clock() < self._quiet_until:
            return False
        try:
            self._events.publish_alarm(alarm, cause=note.cause)
        except google_exceptions.GoogleAPIError:
            self._quiet_until = self._clock() + _QUIET
            log.warning(
                "An alarm could not be published yet.",
                extra=fields(object_name=object_name),
                exc_info=True,
            )
            return False
        with contextlib.suppress(LedgerConflict):  # another process told it too
            self._ledger.write_document(
                object_name, note, generation, metadata=_metadata(alarm, is_told=True)
            )
        return True

    def _remember(self, object_name: str) -> None:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(object_name)


def _object_name(name: str, cause: str) -> str:
    return f"{FOLDER}{name}/{cause}.json"


def _metadata(alarm: AlarmRaised, *, is_told: bool) -> dict[str, str]:
    """What listing tells: whether it was published, and whose it is."""
    return {"told": "yes" if is_told else "no", "persona": alarm.persona or ""}


def _plain(text: str) -> str:
    """Without the page's links."""
    return text.replace("([what is verified](#what-is-verified))", "(docs/operate.md)")
