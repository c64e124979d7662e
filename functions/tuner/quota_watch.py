"""Reads the project's quota for an admission pass, keeps what it read, and asks for more.

While runs wait, a pass lists the project's quota preferences, and its jobs only where the limits
suffice for somebody. The limits themselves are read when a preference changed, when a create call
was refused since, and else each half hour: the cost does not grow with the runs that wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import msgspec
from google.api_core import exceptions as google_exceptions
from google.auth.exceptions import GoogleAuthError

from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict
from tuner.increases import (
    Ask,
    Increase,
    Preference,
    preference_for,
    preference_of,
    preferences_of,
    standing,
)
from tuner.ledger import UNREADABLE, Ledger
from tuner.log import fields
from tuner.quota import QuotaFact, Vector, facts_of, limits_of, use_of_jobs
from tuner.snapshot import Snapshot

log = logging.getLogger(__name__)

FACTS = "quota/facts.json"
#: Limits are read again after so long, whatever happened.
READ_EVERY = timedelta(minutes=30)


class QuotaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`quota/facts.json`: what was last read and asked. Losing it costs some calls, no promise."""

    schema_version: int = 1
    write_id: str = ""
    read_at: datetime | None = None
    metrics: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    quotas: tuple[QuotaFact, ...] = ()
    preferences: tuple[Preference, ...] = ()
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a run would draw on, on one lane in one region; `machine` in words."""

    region: str
    needs: Vector
    machine: str
    preset: str


#: A run's demands in its order of preference.
Plan = Sequence[Demand]


class QuotaApi(Protocol):
    """The calls of Cloud Quotas and Vertex AI that are needed here; each may raise."""

    def quota_infos(self) -> Iterable[Any]:
        """Every `QuotaInfo` of Vertex AI."""

    def preferences(self) -> Iterable[Any]:
        """Every `QuotaPreference` of the project."""

    def unfinished_jobs(self, region: str) -> Iterable[Any]:
        """Every unfinished `CustomJob` of the project in `region`."""

    def request_increase(
        self, quota_id: str, region: str, value: int, *, existing: str | None, justification: str
    ) -> Any:
        """Ask for `value`: the `QuotaPreference`. `existing` names the one to change."""


class QuotaWatch:
    """One snapshot a pass. Advice: what cannot be read is left out, alarmed, and blocks nothing."""

    def __init__(
        self, *, ledger: Ledger, api: QuotaApi, contact: str | None, clock: Clock, new_id: NewId
    ) -> None:
        """Without a `contact` no increase is asked for."""
        self._ledger = ledger
        self._api = api
        self._contact = contact
        self._clock = clock
        self._new_id = new_id

    def look(
        self, plans: Sequence[Plan], *, refused_at: datetime | None = None, asks: bool = True
    ) -> Snapshot:
        """Limits, use and increases for `plans`; what was read before `refused_at` is not trusted.

        With `asks`, one increase is asked for each plan that no limit lets go anywhere.
        """
        before, generation = self._stored()
        facts, limits_are_known = self._read(before, plans, refused_at)
        snapshot = _limits(facts)
        if not limits_are_known:
            snapshot = replace(snapshot, limits={})
        elif asks and self._contact:
            facts = self._ask(facts, plans, snapshot)
        snapshot = replace(
            snapshot,
            increases=increases_for(facts, plans, snapshot, contact=self._contact),
            use=self._use(plans, snapshot),
        )
        if facts != before:
            self._store(facts, generation)
        return snapshot

    # -- reading ------------------------------------------------------------------------------

    def _read(
        self, facts: QuotaFacts, plans: Sequence[Plan], refused_at: datetime | None
    ) -> tuple[QuotaFacts, bool]:
        """The facts of now, and whether the limits in them may be relied on."""
        now = self._clock()
        listed = _readable("quota preferences", self._api.preferences)
        preferences = facts.preferences if listed is None else preferences_of(listed)
        # With those that others asked about: the submitter and completion share these facts, and
        # neither may make the other read them again.
        metrics = {metric for plan in plans for demand in plan for metric in demand.needs}
        metrics |= set(facts.metrics)
        regions = {demand.region for plan in plans for demand in plan} | set(facts.regions)
        read_at = facts.read_at
        if (
            preferences == facts.preferences
            and read_at is not None
            and now - read_at < READ_EVERY
            and (refused_at is None or refused_at < read_at)
            and metrics == set(facts.metrics)
            and regions == set(facts.regions)
        ):
            return facts, True
        infos = _readable("limits", self._api.quota_infos)
        if infos is None:
            # Nothing is stored: the next pass tries again, and sees the change again.
            return facts, False
        return msgspec.structs.replace(
            facts,
            read_at=now,
            metrics=tuple(sorted(metrics)),
            regions=tuple(sorted(regions)),
            quotas=facts_of(infos, metrics, sorted(regions)),
            preferences=preferences,
        ), True

    def _use(self, plans: Sequence[Plan], snapshot: Snapshot) -> dict[tuple[str, str], int]:
        """What is in use, where it decides: a limit that is too small needs no list of jobs."""
        regions = {
            demand.region
            for plan in plans
            for demand in plan
            if not snapshot.too_small(demand.needs, demand.region)
        }
        use = {}
        for region in sorted(regions):
            jobs = _readable("jobs", partial(self._api.unfinished_jobs, region))
            for metric, amount in use_of_jobs(jobs or ()).items():
                use[metric, region] = amount
        return use

    # -- asking -------------------------------------------------------------------------------

    def _ask(self, facts: QuotaFacts, plans: Sequence[Plan], snapshot: Snapshot) -> QuotaFacts:
        """Ask for what each plan lacks at its first place where asking may still help.

        A place that fits, or that Google is looking at already, ends the search: who asks for more
        everywhere at once is granted it nowhere.
        """
        for plan in plans:
            for demand in plan:
                lacking = _too_small(facts, demand, snapshot)
                stands = [
                    (quota, needed, _standing(facts, quota, demand.region, needed, self._contact))
                    for quota, needed in lacking
                ]
                if any(increase and not increase.is_open for _, _, increase in stands):
                    continue
                for quota, needed, increase in stands:
                    if increase is None:
                        facts = self._ask_for(facts, quota, demand, needed)
                break
        return facts

    def _ask_for(
        self, facts: QuotaFacts, quota: QuotaFact, demand: Demand, needed: int
    ) -> QuotaFacts:
        region, now = demand.region, self._clock()
        limit = quota.limits.get(region) or 0
        held = preference_for(quota.quota_id, region, facts.preferences)
        # Never less than what the project has been granted.
        value = max(needed, limit, held.granted or 0 if held else 0)
        ask = Ask(
            quota_id=quota.quota_id, region=region, preferred=value, limit_before=limit, at=now
        )
        preferences = facts.preferences
        try:
            made = preference_of(
                self._api.request_increase(
                    quota.quota_id,
                    region,
                    value,
                    existing=held.name if held else None,
                    justification=_justification(demand),
                )
            )
            preferences = (*(p for p in preferences if p.name != made.name), made)
            log.info(
                "An increase was requested.",
                extra=fields(quota_id=quota.quota_id, region=region, value=value),
            )
        except google_exceptions.AlreadyExists:
            return facts  # a lost reply, or somebody else's: the next list shows it
        except (google_exceptions.ServerError, google_exceptions.TooManyRequests, GoogleAuthError):
            log.warning("An increase could not be requested yet.", exc_info=True)
            return facts
        except google_exceptions.GoogleAPICallError as error:
            log.exception(
                "An increase was refused.",
                extra=fields(quota_id=quota.quota_id, region=region, alarm="increase-refused"),
            )
            ask = msgspec.structs.replace(ask, problem=error.message)
        others = (a for a in facts.asks if (a.quota_id, a.region) != (ask.quota_id, region))
        return msgspec.structs.replace(facts, preferences=preferences, asks=(*others, ask))

    # -- the document -------------------------------------------------------------------------

    def _stored(self) -> tuple[QuotaFacts, int]:
        try:
            return self._ledger.read_document(FACTS, QuotaFacts) or (QuotaFacts(), 0)
        except UNREADABLE:
            log.exception(
                "What was read of the quota cannot be read; reading it again.",
                extra=fields(object_name=FACTS, alarm="unreadable-document"),
            )
            return QuotaFacts(), self._ledger.generation_of(FACTS)

    def _store(self, facts: QuotaFacts, generation: int) -> None:
        facts = msgspec.structs.replace(facts, write_id=self._new_id())
        try:
            self._ledger.write_document(FACTS, facts, generation)
        except LedgerConflict:
            # Advice only, and what was asked stands at Google.
            log.info("Another writer noted the quota first.")


def forget_limits(ledger: Ledger, *, new_id: NewId) -> None:
    """Have the next pass read the limits again, and ask again where Google refused to be asked.

    Raises LedgerConflict when passes write all the time.
    """
    for last_try in (False,) * 4 + (True,):
        try:
            found = ledger.read_document(FACTS, QuotaFacts)
        except UNREADABLE:
            return  # the next pass reads everything again
        if found is None:
            return
        facts = msgspec.structs.replace(
            found[0],
            read_at=None,
            asks=tuple(ask for ask in found[0].asks if not ask.problem),
            write_id=new_id(),
        )
        try:
            ledger.write_document(FACTS, facts, found[1])
        except LedgerConflict:
            if last_try:
                raise
        else:
            return


def told_by(facts: QuotaFacts, plans: Sequence[Plan], *, contact: str | None) -> Snapshot:
    """What the facts tell of `plans`, without a call to Google. Use is not among them."""
    snapshot = _limits(facts)
    return replace(snapshot, increases=increases_for(facts, plans, snapshot, contact=contact))


def _limits(facts: QuotaFacts) -> Snapshot:
    return Snapshot(
        limits=limits_of(facts.quotas),
        ineligible={q.metric: q.ineligible for q in facts.quotas if q.ineligible},
    )


def increases_for(
    facts: QuotaFacts, plans: Sequence[Plan], snapshot: Snapshot, *, contact: str | None
) -> dict[tuple[str, str], Increase]:
    """What stands of the increases that `plans` need, by metric and region."""
    found: dict[tuple[str, str], Increase] = {}
    for plan in plans:
        for demand in plan:
            for quota, needed in _too_small(facts, demand, snapshot):
                stands = _standing(facts, quota, demand.region, needed, contact)
                if stands is not None:
                    found[quota.metric, demand.region] = stands
    return found


def _standing(
    facts: QuotaFacts, quota: QuotaFact, region: str, needed: int, contact: str | None
) -> Increase | None:
    return standing(
        quota, region, needed, preferences=facts.preferences, asks=facts.asks, contact=contact
    )


def _too_small(
    facts: QuotaFacts, demand: Demand, snapshot: Snapshot
) -> list[tuple[QuotaFact, int]]:
    """The quotas that must be raised for a demand, with what it needs of each."""
    needs = {m: demand.needs[m] for m in snapshot.too_small(demand.needs, demand.region)}
    found = []
    for quota in facts.quotas:
        limit = quota.limits.get(demand.region)
        if quota.metric in needs and limit is not None and limit < needs[quota.metric]:
            found.append((quota, needs[quota.metric]))
    return found


def _justification(demand: Demand) -> str:
    """What Google's reviewers read; it names no persona."""
    return (
        f"Fine-tuning a {demand.preset} model with LoRA on Vertex AI: one custom training job at a "
        f"time on one {demand.machine} in {demand.region}, some hours a week. The job waits for "
        "this quota."
    )


def _readable(what: str, read: Callable[[], Iterable[Any]]) -> list[Any] | None:
    """Everything that `read` yields, or None when Google refuses or does not answer."""
    try:
        return list(read())
    except (google_exceptions.GoogleAPIError, GoogleAuthError):
        log.exception(
            "The project's quota could not be read; trying without.",
            extra=fields(what=what, alarm="quota-unreadable"),
        )
        return None
