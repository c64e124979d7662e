"""What stands of each lane and region that a run may go to, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby

import msgspec

from tuner.admission import PROBE_EVERY, Decision, Place, Reject, Wait, decide, limits_for
from tuner.clock import human_duration
from tuner.increases import Increase, IncreaseState
from tuner.quota import describe_amount
from tuner.runs import Run
from tuner.snapshot import Snapshot


class Stand(StrEnum):
    """What holds a place back, or nothing."""

    OPEN = "open"
    SHUT = "shut"
    IN_USE = "in use"
    TOO_SMALL = "too small"
    LATER = "later"
    NEVER = "never"


class PlaceStands(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table: one lane in one region."""

    lane: str
    region: str
    stand: Stand
    words: str
    needs: dict[str, int] = {}
    #: Of the metrics that are needed and known; None is unlimited.
    limits: dict[str, int | None] = {}
    increases: tuple[IncreaseState, ...] = ()


def at(when: datetime, now: datetime) -> str:
    """`14:05 UTC`, with its date when that is another."""
    form = "%H:%M" if when.date() == now.date() else "%Y-%m-%d %H:%M"
    return f"{when:{form}} UTC"


def ago(when: datetime, now: datetime) -> str:
    """`5 min ago`, or `just now`."""
    seconds = (now - when).total_seconds()
    return f"{human_duration(seconds)} ago" if seconds >= 1 else "just now"


def name_of(metric: str) -> str:
    """`T4 GPUs`: a quota metric in the user's words."""
    return describe_amount(metric, "").strip()


def with_use_of(run: Run, snapshot: Snapshot) -> Snapshot:
    """The snapshot with what others had in use when the run was last told its reason.

    Only while the limits are the same as then: what is left of one says nothing of another.
    """
    wait = run.wait
    if wait is None:
        return snapshot
    then = str(limits_for(wait.needs, wait.region, snapshot))
    if then not in wait.key:
        return snapshot
    use = {}
    for metric, left in wait.has.items():
        limit = snapshot.limit(metric, wait.region)
        if limit is not None:
            use[metric, wait.region] = limit - left
    return replace(snapshot, use=use)


def stands_of(
    places: Sequence[Place], snapshot: Snapshot, *, waiting_since: datetime, now: datetime
) -> list[PlaceStands]:
    """Each place, in the run's order; a lane that is not looked at yet says from when."""
    told = []
    opens_at = waiting_since
    for _, group in groupby(places, key=lambda place: place.lane):
        lane = list(group)
        decisions = [decide(place, snapshot, now) for place in lane]
        told += [
            _stands(place, decision, snapshot, opens_at=opens_at, now=now)
            for place, decision in zip(lane, decisions, strict=True)
        ]
        if any(isinstance(decision, Wait) for decision in decisions):
            opens_at += lane[0].move_on_after
    return told


def _stands(
    place: Place, decision: Decision, snapshot: Snapshot, *, opens_at: datetime, now: datetime
) -> PlaceStands:
    stand, words, increases = _held_by(place, decision, snapshot, now)
    if now < opens_at and stand is not Stand.NEVER:
        stand, words = Stand.LATER, f"looked at from {at(opens_at, now)} on; {words}"
    return PlaceStands(
        lane=place.lane,
        region=place.region,
        stand=stand,
        words=words,
        needs=dict(place.needs),
        limits={
            metric: snapshot.limits[metric, place.region]
            for metric in place.needs
            if (metric, place.region) in snapshot.limits
        },
        increases=tuple(increase.state for increase in increases),
    )


def _held_by(
    place: Place, decision: Decision, snapshot: Snapshot, now: datetime
) -> tuple[Stand, str, list[Increase]]:
    too_small = snapshot.too_small(place.needs, place.region)
    if isinstance(decision, Reject):
        names = " and ".join(name_of(m) for m in too_small if m in snapshot.ineligible)
        return Stand.NEVER, f"never: Google raises the limit of {names} for nobody", []
    if too_small:
        increases = [
            snapshot.increases[metric, place.region]
            for metric in too_small
            if (metric, place.region) in snapshot.increases
        ]
        told = dict.fromkeys(increase.sentence(now) for increase in increases)
        words = " ".join(told) or "No increase was asked for."
        return Stand.TOO_SMALL, f"the limit is too small. {words}", increases
    lacking = snapshot.lacking(place.needs, place.region)
    if lacking:
        shares = [
            describe_amount(metric, f"{max(left, 0)} of {snapshot.limit(metric, place.region)}")
            for metric, left in lacking.items()
        ]
        return Stand.IN_USE, f"{' and '.join(shares)} free when last looked at", []
    shut_until = place.known.shut_until
    if isinstance(decision, Wait) and shut_until is not None:
        text = place.known.text.rstrip(".")
        return Stand.SHUT, f"shut until {at(shut_until, now)}: {text}", []
    if all((metric, place.region) in snapshot.limits for metric in place.needs):
        return Stand.OPEN, "open", []
    return Stand.OPEN, "open, as far as is known: not all limits were read", []


def tried_again_at(place: Place) -> datetime | None:
    """When the create call is made again at the latest, whatever the limits say."""
    known = place.known
    times = [known.shut_until] if known.shut_until else []
    if known.last_refused_at is not None:
        times.append(known.last_refused_at + PROBE_EVERY)
    return max(times, default=None)
