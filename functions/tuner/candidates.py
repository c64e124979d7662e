"""Where a run may go, in its order of preference, and what it would draw on there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from tuner.admission import LaneRegion, Place
from tuner.lanes import Lane
from tuner.quota import Vector
from tuner.quota_watch import Demand
from tuner.requests import TrainingRequest


def places_of(
    lanes: Iterable[tuple[str, int]],
    regions: Iterable[str],
    *,
    needs: Callable[[str], Vector | None],
    known: Callable[[str, str], LaneRegion],
) -> list[Place]:
    """Every lane in every region; `lanes` with the seconds that each may stay shut.

    `needs` tells what a job draws on, None for a lane that only a newer release has: that is left
    out. `known` tells what was learned of a lane in a region.
    """
    regions = tuple(regions)
    return [
        Place(
            lane=lane,
            region=region,
            needs=drawn,
            known=known(lane, region),
            move_on_after=timedelta(seconds=seconds),
        )
        for lane, seconds in lanes
        if (drawn := needs(lane)) is not None
        for region in regions
    ]


def patience_of(request: TrainingRequest) -> list[tuple[str, int]]:
    """A request's lanes, each with the seconds that it may stay shut."""
    return [(lane, request.move_on_after.get(lane, 0)) for lane in request.lanes]


def needs_on(catalogue: Mapping[str, Lane], preset: str) -> Callable[[str], Vector | None]:
    """What `places_of` asks, answered by lanes that can be launched on."""
    return lambda lane: catalogue[lane].needs(preset) if lane in catalogue else None


def plan_of(places: Iterable[Place], preset: str, machine: Callable[[str], str]) -> list[Demand]:
    """What `quota_watch` is asked about; `machine` tells what a lane's jobs run on, in words."""
    return [
        Demand(region=place.region, needs=place.needs, machine=machine(place.lane), preset=preset)
        for place in places
    ]
