"""How long a training takes and what it costs, before anything is spent.

The prices stand in `prices.json`, with their date and source. An estimate is a range: the lower end
is what measured trainings took, the upper end what a slow start and a busy machine make of it.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import msgspec

from tuner.requests import PresetName
from tuner.training_job import decoder_of


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a preset does by default; equal to its file in the trainer's image (a test compares)."""

    epochs: int
    effective_batch: int
    max_length_tokens: int


class Speed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens that are trained on in a second, slow and fast."""

    slow: float
    fast: float


class LanePrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lane's machine costs, and how fast it trains each preset."""

    usd_per_hour: float
    machine: str
    start_seconds: tuple[int, int]
    tokens_per_second: dict[str, Speed]


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prices.json`."""

    as_of: str
    source: str
    recipes: dict[str, Recipe]
    lanes: dict[str, LanePrice]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a training should take on a lane: from and to."""

    lane: str
    minutes: tuple[int, int]
    usd: tuple[float, float]
    prices_as_of: str


@cache
def price_table() -> PriceTable:
    """The prices that this release was made with."""
    raw = Path(__file__).with_name("prices.json").read_bytes()
    return decoder_of(PriceTable).decode(raw)


def recipe_of(preset: PresetName) -> Recipe:
    """A preset's own settings, for what a request leaves open."""
    return price_table().recipes[preset]


def estimate(preset: PresetName, tokens: int, epochs: int, lane: str) -> Estimate:
    """What training `epochs` times on `tokens` should take on a lane."""
    price = price_table().lanes[lane]
    speed = price.tokens_per_second[preset]
    seconds = (
        price.start_seconds[0] + tokens * epochs / speed.fast,
        price.start_seconds[1] + tokens * epochs / speed.slow,
    )
    return Estimate(
        lane=lane,
        minutes=(math.floor(seconds[0] / 60), math.ceil(seconds[1] / 60)),
        usd=(
            round(seconds[0] / 3600 * price.usd_per_hour, 2),
            round(seconds[1] / 3600 * price.usd_per_hour, 2),
        ),
        prices_as_of=price_table().as_of,
    )


def steps(rows: int, replies: int, epochs: int, effective_batch: int) -> int:
    """Optimizer steps of a training; a step holds `effective_batch` replies on average."""
    if not rows:
        return 0
    rows_in_a_step = max(1, round(effective_batch * rows / replies))
    return math.ceil(rows / rows_in_a_step) * epochs
