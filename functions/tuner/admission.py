"""Which waiting run may try to launch now. Pure: everything it looks at comes in as a value.

Two things can hold a run back: the lane is shut (the create call refused, backing off), or the
quota snapshot says that the job does not fit. Both are advice with an end: a grant that the
snapshot shows opens a lane at once, and the create call is asked again at least every 30 minutes.
A lane that can never have room is refused at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby

import msgspec

from tuner.increases import Increase
from tuner.ledger import QueueEntry, reason_digest
from tuner.quota import Vector, describe_amount, is_preemptible
from tuner.snapshot import Snapshot

#: Advice never delays a create call longer than this.
PROBE_EVERY = timedelta(minutes=30)
_BACKOFF_FIRST_SECONDS = 60.0
_BACKOFF_LAST_SECONDS = 1800.0
_RATE_LIMIT_SECONDS = 20.0
_AGEING = timedelta(hours=6)
#: How often an open wait is looked at: the tick.
TICK = timedelta(minutes=1)


class LaneRegion(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned about a lane in one region; kept in `lanes/<lane>.<region>.json`.

    `refused_limits` are the limits that were read when a create call was refused: when they rise,
    the refusal is out of date.
    """

    schema_version: int = 1
    write_id: str = ""
    refusals: int = 0
    #: Calls in a row that the API's own rate refused.
    rate_limits: int = 0
    last_refused_at: datetime | None = None
    shut_until: datetime | None = None
    text: str = ""
    refused_limits: dict[str, int | None] = {}


OPEN_LANE = LaneRegion()


@dataclass(frozen=True, kw_only=True)
class Admit:
    """Make the create call on this lane, in this region."""

    lane: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Stay in the queue: why, in words and in figures, and when we look again."""

    reason: str
    lane: str
    region: str
    needs: dict[str, int]
    has: dict[str, int]
    next_check_at: datetime
    #: Equal for two waits that differ only in how much others use at the moment.
    key: str
    #: What it waits for that nobody will give by itself, as a short digest; "" where time may help.
    stuck_on: str = ""

    @cached_property
    def digest(self) -> str:
        """What a waiting run's queue entry holds of its wait."""
        return reason_digest(self.key)


@dataclass(frozen=True, kw_only=True)
class Reject:
    """No job can ever run there: why, in a sentence."""

    reason: str


Decision = Admit | Wait | Reject


@dataclass(frozen=True, kw_only=True)
class Place:
    """One lane in one region: what a job draws on there, and what is known of it."""

    lane: str
    region: str
    needs: Vector
    known: LaneRegion = OPEN_LANE
    #: How long the lane may stay shut before those after it are looked at.
    move_on_after: timedelta = timedelta()


def queue_order(entry: QueueEntry, now: datetime) -> tuple[float, datetime, str]:
    """Sort key: priority first, one more for every six hours waited, then age."""
    aged = entry.priority + (now - entry.requested_at) // _AGEING
    return (-aged, entry.requested_at, entry.run_id)


def limits_for(needs: Vector, region: str, snapshot: Snapshot) -> dict[str, int | None]:
    return {metric: snapshot.limit(metric, region) for metric in sorted(needs)}


def after_refusal(
    known: LaneRegion,
    *,
    text: str,
    limits: dict[str, int | None],
    now: datetime,
    rng: random.Random,
    at_least: timedelta = timedelta(),
) -> LaneRegion:
    """Exponential backoff with full jitter, 1 to 30 minutes, of the whole lane."""
    refusals = known.refusals + 1
    ceiling = min(_BACKOFF_LAST_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** min(refusals - 1, 10))
    seconds = rng.uniform(_BACKOFF_FIRST_SECONDS, ceiling)
    return LaneRegion(
        refusals=refusals,
        last_refused_at=now,
        shut_until=now + max(timedelta(seconds=seconds), at_least),
        text=text,
        refused_limits=limits,
    )


def after_rate_limit(known: LaneRegion, *, text: str, now: datetime) -> LaneRegion:
    """A short pause, doubled each time in a row: the API's own rate, not capacity."""
    seconds = min(_RATE_LIMIT_SECONDS * 2 ** min(known.rate_limits, 10), _BACKOFF_LAST_SECONDS)
    return msgspec.structs.replace(
        known,
        rate_limits=known.rate_limits + 1,
        shut_until=now + timedelta(seconds=seconds),
        text=text,
        # The refusal is out of date: a limit that has risen since must not cut this pause short.
        refused_limits={},
    )


def is_misinformed(known: LaneRegion, limits: dict[str, int | None]) -> bool:
    """Whether a refusal was met by smaller limits than were noted with it."""
    if not known.refusals or known.rate_limits:
        return False
    return not known.refused_limits or any(
        limit is not None and _is_less(limit, known.refused_limits.get(metric))
        for metric, limit in limits.items()
    )


def _is_less(limit: int, than: int | None) -> bool:
    return than is None or limit < than


def _has_risen(before: dict[str, int | None], after: dict[str, int | None]) -> bool:
    """Whether a limit rose, or became unlimited or unknown, since a refusal."""
    for metric, limit in after.items():
        old = before.get(metric)
        if old is not None and (limit is None or limit > old):
            return True
    return False


def decide(place: Place, snapshot: Snapshot, now: datetime) -> Decision:
    """Whether a run may try one lane in one region now."""
    needs, region, known = place.needs, place.region, place.known
    never = _never(needs, region, snapshot)
    if never is not None:
        return Reject(reason=never)
    lacking = snapshot.lacking(needs, region)
    limits = limits_for(needs, region, snapshot)
    risen = _has_risen(known.refused_limits, limits)
    shut = known.shut_until is not None and now < known.shut_until and not risen
    last = known.last_refused_at
    probe_at = now if last is None else last + PROBE_EVERY
    if not shut and (not lacking or now >= probe_at):
        return Admit(lane=place.lane, region=region)
    increases = _increases(needs, region, snapshot)
    if lacking:
        told = dict.fromkeys(increase.sentence(now) for increase in increases.values())
        reason = " ".join((_shortage(needs, region, snapshot, lacking), *told))
        next_check_at = now + TICK
    else:
        assert known.shut_until is not None
        reason = (
            f"The limits in {region} suffice, but the last try was refused "
            f"({known.text.rstrip('.')}); it is tried again soon."
        )
        next_check_at = known.shut_until
    asked = {metric: increase.key for metric, increase in increases.items()}
    is_stuck = any(increase.needs_a_person for increase in increases.values())
    return Wait(
        reason=reason,
        lane=place.lane,
        region=region,
        needs=dict(needs),
        has=lacking,
        next_check_at=next_check_at,
        key=f"{place.lane} {region} {sorted(lacking)} {limits} {asked}{'' if lacking else reason}",
        stuck_on=reason_digest(f"{sorted(asked.items())}") if is_stuck and lacking else "",
    )


def decide_run(
    places: Sequence[Place], snapshot: Snapshot, *, waited: timedelta, now: datetime
) -> Decision:
    """The first place with room; else the wait at the preferred one that may ever have some.

    `places` in order of preference, those of a lane together.
    """
    wait: Wait | None = None
    may_open = False
    refusals: dict[str, None] = {}
    patience = timedelta()
    # Two instances' clocks differ, and one may go back: nobody waited for less than no time.
    waited = max(waited, timedelta())
    for _, group in groupby(places, key=lambda place: place.lane):
        if waited < patience:
            may_open = True  # the next lane is looked at later
            break
        lane = list(group)
        decisions = [decide(place, snapshot, now) for place in lane]
        for decision in decisions:
            if isinstance(decision, Admit):
                return decision
            if isinstance(decision, Reject):
                refusals[decision.reason] = None
        waits = [decision for decision in decisions if isinstance(decision, Wait)]
        if waits:
            wait = wait or waits[0]
            may_open = may_open or not all(each.stuck_on for each in waits)
            patience += lane[0].move_on_after
    if wait is not None and may_open:
        return replace(wait, stuck_on="")
    return wait or Reject(reason=" ".join(refusals))


def _never(needs: Vector, region: str, snapshot: Snapshot) -> str | None:
    """Why no job with `needs` will ever fit, or None.

    A limit that is too small may grow, if Google takes requests to raise it. Of the preemptible
    quotas it takes none where it calls them not eligible: there, no history of use helps.
    """
    for metric, limit in snapshot.too_small(needs, region).items():
        why = snapshot.ineligible.get(metric, "")
        if why == "NOT_SUPPORTED" or (why and is_preemptible(metric)):
            return (
                f"Needs {describe_amount(metric, needs[metric])} in {region}; the project's limit "
                f"is {limit}, and Google raises it for nobody. Name another lane or region."
            )
    return None


def _increases(needs: Vector, region: str, snapshot: Snapshot) -> Mapping[str, Increase]:
    """What stands of the increases that a job waits for, by metric."""
    found = {m: snapshot.increases.get((m, region)) for m in snapshot.too_small(needs, region)}
    return {metric: increase for metric, increase in found.items() if increase is not None}


def _shortage(needs: Vector, region: str, snapshot: Snapshot, lacking: dict[str, int]) -> str:
    """What is missing, as one sentence: limits that are too small, then what others have in use."""
    wanted = _listed(describe_amount(metric, needs[metric]) for metric in lacking)
    too_small: dict[str, int] = {}
    in_use: dict[str, str] = {}
    for metric, left in lacking.items():
        limit = snapshot.limit(metric, region)
        assert limit is not None, "a metric without a limit lacks nothing"
        if limit < needs[metric]:
            too_small[metric] = limit
        else:
            in_use[metric] = f"{max(left, 0)} of {limit}"
    causes = []
    if too_small:
        causes.append(_limits_in_words(too_small, alone=len(lacking) == len(too_small)))
    if in_use:
        free = _listed(describe_amount(metric, share) for metric, share in in_use.items())
        causes.append(f"{free} are free at the moment")
    return f"Needs {wanted} in {region}; {', and '.join(causes)}."


def _limits_in_words(limits: dict[str, int], *, alone: bool) -> str:
    """`alone`: the sentence names the same metrics just before, so they need no naming again."""
    values = set(limits.values())
    if alone and len(values) == 1:
        share = {1: "", 2: " for both"}.get(len(limits), " for each")
        return f"the project's limit is {values.pop()}{share}"
    named = _listed(describe_amount(metric, limit) for metric, limit in limits.items())
    return f"the project's limit is {named}"


def _listed(amounts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = amounts
    return f"{', '.join(first)} and {last}" if first else last
