"""Asking Google for more quota: what stands of it, what may be asked, and what to do. Pure.

One increase is asked for a quota and region, ever: the preference's id is made of both, and Cloud
Quotas holds one preference for them, whoever made it. What was decided is not asked again.

API: https://cloud.google.com/docs/quotas/reference/rest/v1/projects.locations.quotaPreferences
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from tuner.clock import human_duration
from tuner.quota import QuotaFact


class IncreaseState(StrEnum):
    PENDING = "pending"
    GRANTED = "granted"
    PARTLY = "granted in part"
    DENIED = "denied"
    INELIGIBLE = "not eligible"
    FAILED = "failed"
    OFF = "off"


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """A quota preference, whoever made it. `region` is empty for one of every region."""

    name: str
    quota_id: str
    region: str
    preferred: int
    granted: int | None
    pending: bool
    asked_at: datetime
    detail: str
    etag: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What this deployment asked for. `problem`: why Google did not take the request."""

    quota_id: str
    region: str
    preferred: int
    limit_before: int
    at: datetime
    problem: str = ""


class Increase(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of an increase of one quota in one region."""

    state: IncreaseState
    preferred: int = 0
    granted: int | None = None
    since: datetime | None = None
    #: Google's own words, or its name for the reason.
    detail: str = ""

    @property
    def key(self) -> str:
        """Equal for two that differ in nothing that a person would be told anew."""
        return f"{self.state} {self.preferred} {self.granted} {self.detail}"

    @property
    def needs_a_person(self) -> bool:
        """Whether nothing more comes of it unless somebody does something."""
        return not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether Google may still raise the limit by itself."""
        return self.state in {IncreaseState.PENDING, IncreaseState.GRANTED}

    def sentence(self, now: datetime) -> str:
        """What a person is told, with what to do."""
        detail = f" ({self.detail.rstrip('.')})" if self.detail else ""
        match self.state:
            case IncreaseState.PENDING:
                seconds = (now - self.since).total_seconds() if self.since else 0
                ago = f"{human_duration(seconds)} ago" if seconds >= 1 else "just now"
                return f"Increase requested {ago}, under review."
            case IncreaseState.GRANTED:
                return f"An increase to {self.granted} was granted; the limit has yet to follow."
            case IncreaseState.PARTLY:
                return (
                    f"Google granted {self.granted} of the {self.preferred} asked for{detail}: ask "
                    "for the rest in the console, or allow another region or lane."
                )
            case IncreaseState.DENIED:
                return (
                    f"Google denied an increase to {self.preferred}{detail}: ask again in the "
                    "console and say what for, or allow another region or lane."
                )
            case IncreaseState.INELIGIBLE:
                return _WHAT_TO_DO.get(self.detail, _WHAT_TO_DO["OTHER"])
            case IncreaseState.FAILED:
                return f"The increase could not be requested{detail}: ask for it in the console."
            case IncreaseState.OFF:
                return (
                    "Nobody has asked for an increase: ask in the console, or set TUNER_CONTACT "
                    "and it is asked for by itself."
                )


_WHAT_TO_DO = {
    "NO_VALID_BILLING_ACCOUNT": (
        "Google takes no request for more, since the project has no valid billing account: link "
        "one in the console, under Billing."
    ),
    "NOT_ENOUGH_USAGE_HISTORY": (
        "Google takes no request for more yet, since the project has used too little: use and pay "
        "for something for some days, or ask Google Cloud's support."
    ),
    "NOT_SUPPORTED": "Google raises this quota for nobody: allow another region or lane.",
    "OTHER": (
        "Google takes no request for more and does not say why: see the quota in the console, or "
        "allow another region or lane."
    ),
}


def preference_of(resource: Any) -> Preference:
    """What matters of a `QuotaPreference`."""
    config = resource.quota_config
    granted = config.granted_value
    return Preference(
        name=resource.name,
        quota_id=resource.quota_id,
        region=dict(resource.dimensions).get("region", ""),
        preferred=config.preferred_value,
        granted=None if granted is None else int(granted),
        pending=bool(resource.reconciling),
        # Google's own kind of time cannot be stored.
        asked_at=datetime.fromtimestamp(resource.update_time.timestamp(), UTC),
        detail=config.state_detail,
        etag=resource.etag,
    )


def preferences_of(resources: Iterable[Any]) -> tuple[Preference, ...]:
    """Vertex AI's among a project's preferences."""
    return tuple(
        preference_of(resource)
        for resource in resources
        if resource.service == "aiplatform.googleapis.com"
    )


def preference_id(quota_id: str, region: str) -> str:
    """The id of our own preference: the same for the same quota and region, for ever."""
    return f"ech0-tuner-{hashlib.sha256(f'{quota_id} {region}'.encode()).hexdigest()[:24]}"


def standing(
    fact: QuotaFact,
    region: str,
    needed: int,
    *,
    preferences: Iterable[Preference],
    asks: Iterable[Ask],
    contact: str | None,
) -> Increase | None:
    """What stands of an increase to `needed`; None when it may be asked for now."""
    ask = next((a for a in asks if (a.quota_id, a.region) == (fact.quota_id, region)), None)
    held = preference_for(fact.quota_id, region, preferences)
    if held is not None and (held.pending or held.granted is None):
        return Increase(state=IncreaseState.PENDING, preferred=held.preferred, since=held.asked_at)
    if held is not None and held.preferred >= needed:
        return _decided(held, needed, ask)
    if ask is not None and ask.problem and ask.preferred >= needed:
        return Increase(
            state=IncreaseState.FAILED, preferred=ask.preferred, since=ask.at, detail=ask.problem
        )
    if fact.ineligible:
        return Increase(state=IncreaseState.INELIGIBLE, detail=fact.ineligible)
    return None if contact else Increase(state=IncreaseState.OFF)


def preference_for(
    quota_id: str, region: str, preferences: Iterable[Preference]
) -> Preference | None:
    """The preference that a quota has in exactly this region."""
    return next((p for p in preferences if (p.quota_id, p.region) == (quota_id, region)), None)


def _decided(held: Preference, needed: int, ask: Ask | None) -> Increase:
    assert held.granted is not None
    before = ask.limit_before if ask is not None else 0
    if held.granted >= needed or held.granted < 0:
        state = IncreaseState.GRANTED
    elif held.granted > before:
        state = IncreaseState.PARTLY
    else:
        state = IncreaseState.DENIED
    return Increase(
        state=state,
        preferred=held.preferred,
        granted=held.granted,
        since=held.asked_at,
        detail=held.detail,
    )
