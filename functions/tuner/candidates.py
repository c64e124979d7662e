"""Where a run may go, in its order of preference, and what it would draw on there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from tuner.admission import Place
from tuner.lane_book import LaneBook
from tuner.lanes import Lane
from tuner.quota_watch import Demand


def places_of(
    lanes: Iterable[tuple[str, int]],
    regions: Iterable[str],
    preset: str,
    *,
    catalogue: Mapping[str, Lane],
    book: LaneBook,
) -> list[Place]:
    """Every lane in every region; `lanes` with the seconds that each may stay shut.

    Lanes that a newer release knows are left out.
    """
    regions = tuple(regions)
    return [
        Place(
            lane=lane,
            region=region,
            needs=catalogue[lane].needs(preset),
            known=book.read(lane, region),
            move_on_after=timedelta(seconds=seconds),
        )
        for lane, seconds in lanes
        if lane in catalogue
        for region in regions
    ]


def plan_of(places: Iterable[Place], preset: str, catalogue: Mapping[str, Lane]) -> list[Demand]:
    """What `quota_watch` is asked about."""
    return [
        Demand(
            region=place.region,
            needs=place.needs,
            machine=catalogue[place.lane].machine,
            preset=preset,
        )
        for place in places
    ]
