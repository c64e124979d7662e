"""What the ledger knows of the queue, the quota and the lanes at one moment: nothing is changed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from console.connection import Connection
from tuner.admission import OPEN_LANE, LaneRegion, Place, queue_order
from tuner.candidates import patience_of, places_of, plan_of
from tuner.clock import new_id
from tuner.lane_book import LaneBook
from tuner.lanes.kinds import KINDS
from tuner.ledger import UNREADABLE, Ledger, QueueEntry
from tuner.quota_watch import FACTS, QuotaFacts, told_by
from tuner.runs import Run
from tuner.snapshot import Snapshot
from tuner.spending import PAUSED, DailySpend, Paused, spend_name

#: As in `tuner.settings`, where nothing else is known.
_REGION = "us-central1"
_NOTHING = DailySpend()


@dataclass(frozen=True, kw_only=True)
class Known:
    """One look at the ledger."""

    now: datetime
    project: str = "p"
    is_local: bool = False
    entries: tuple[QueueEntry, ...] = ()
    facts: QuotaFacts | None = None
    lanes: Mapping[tuple[str, str], LaneRegion] = field(default_factory=dict)
    #: The deployment's, in order of preference.
    regions: tuple[str, ...] = (_REGION,)
    contact: str | None = None
    #: The switch, while it is on.
    paused: Paused | None = None
    spend: DailySpend = _NOTHING
    #: Dollars; None where it is not known here.
    daily_cap_usd: float | None = None

    @property
    def queue(self) -> list[QueueEntry]:
        """The runs that a pass would consider, in its order."""
        waiting = [e for e in self.entries if e.is_queued and self.now < e.deadline_at]
        return sorted(waiting, key=lambda entry: queue_order(entry, self.now))

    def places_of(self, run: Run) -> list[Place]:
        """Where a run may go, in its order of preference, as a pass sees it."""
        request = run.request
        return places_of(
            patience_of(request),
            request.regions or self.regions,
            needs=lambda lane: KINDS[lane].needs if lane in KINDS else None,
            known=lambda lane, region: self.lanes.get((lane, region), OPEN_LANE),
        )

    def snapshot_for(self, run: Run, places: Iterable[Place]) -> Snapshot:
        """Limits and increases as they were last read; use as the run's own reason tells it."""
        if self.facts is None:
            return Snapshot(limits={})
        plan = plan_of(places, run.request.preset, lambda lane: KINDS[lane].words)
        return told_by(self.facts, [plan], contact=self.contact)


def look(connection: Connection) -> Known:
    """Read what is known now; a document that cannot be read tells nothing."""
    ledger, env, now = connection.ledger, connection.environment, connection.clock()
    facts = facts_of(ledger)
    return Known(
        now=now,
        project=connection.places.project,
        is_local=connection.is_local,
        entries=tuple(ledger.list_open()),
        facts=facts,
        lanes=_lanes(connection, ledger),
        regions=regions_of(connection, facts),
        # Whoever asked once has a contact, whether or not it is set here.
        contact=env.get("TUNER_CONTACT") or ("set" if facts and facts.asks else None),
        paused=paused_by(ledger),
        spend=_spend(ledger, now),
        daily_cap_usd=_cap(connection),
    )


def facts_of(ledger: Ledger) -> QuotaFacts | None:
    """What was last read of the quota; None when nothing was."""
    try:
        found = ledger.read_document(FACTS, QuotaFacts)
    except UNREADABLE:
        return None
    return found and found[0]


def regions_of(connection: Connection, facts: QuotaFacts | None) -> tuple[str, ...]:
    """The deployment's regions, or those that its passes last looked at."""
    named = connection.environment.get("TUNER_REGIONS")
    if named:
        return tuple(named.split(","))
    return facts.regions if facts and facts.regions else (_REGION,)


def paused_by(ledger: Ledger) -> Paused | None:
    """The switch while it is on; one that cannot be read stops everything, as in a pass."""
    try:
        found = ledger.read_document(PAUSED, Paused)
    except UNREADABLE:
        return Paused(paused=True, by="a switch that cannot be read", reason=PAUSED)
    return found[0] if found and found[0].paused else None


def lanes_in(connection: Connection) -> list[tuple[str, str]]:
    """(lane, region) of each lane that something was learned about."""
    blobs = connection.storage.list_blobs(
        connection.places.runs_bucket_name, prefix="lanes/", fields="items(name),nextPageToken"
    )
    parts = (
        blob.name.removeprefix("lanes/").removesuffix(".json").partition(".") for blob in blobs
    )
    return [(lane, region) for lane, _, region in parts if region]


def book_of(connection: Connection, ledger: Ledger) -> LaneBook:
    return LaneBook(ledger, clock=connection.clock, new_id=new_id, rng=random.Random())


def _lanes(connection: Connection, ledger: Ledger) -> dict[tuple[str, str], LaneRegion]:
    book = book_of(connection, ledger)
    return {place: book.read(*place) for place in lanes_in(connection)}


def _spend(ledger: Ledger, now: datetime) -> DailySpend:
    try:
        found = ledger.read_document(spend_name(now), DailySpend)
    except UNREADABLE:
        return _NOTHING
    return found[0] if found else _NOTHING


def _cap(connection: Connection) -> float | None:
    # As in `tuner.settings`; a project's own value is known only where it is set here too.
    text = connection.environment.get("TUNER_DAILY_CAP_USD") or (
        "50" if connection.is_local else ""
    )
    try:
        return float(text) if text else None
    except ValueError:
        return None
