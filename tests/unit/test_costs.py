"""What a training is said to cost: a range, from one table, with the trainer's own recipe."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tuner.dataset.costs import estimate, price_table, recipe_of, steps

PRESETS = Path(__file__).resolve().parents[2] / "trainer_image/presets"


@pytest.mark.parametrize("preset", ["mistral-7b", "smollm2-135m"])
def test_the_recipe_is_that_of_the_trainers_image(preset):
    table = tomllib.loads((PRESETS / f"{preset}.toml").read_text())
    recipe = recipe_of(preset)
    assert recipe.epochs == table["epochs"]
    assert recipe.effective_batch == table["effective_batch"]
    assert recipe.max_length_tokens == table["max_length_tokens"]


def test_every_preset_has_a_speed_on_every_lane():
    table = price_table()
    for lane in table.lanes.values():
        assert set(lane.tokens_per_second) == set(table.recipes)
    assert table.as_of
    assert table.source.startswith("https://")


def test_more_tokens_and_more_epochs_cost_more():
    small = estimate("mistral-7b", 10_000, 3, "vertex-t4")
    large = estimate("mistral-7b", 10_000, 6, "vertex-t4")
    assert small.usd[0] < small.usd[1] < large.usd[1]
    assert small.minutes[1] < large.minutes[1]


@pytest.mark.parametrize(
    ("rows", "replies", "expected"), [(20, 20, 15), (6, 19, 18), (1, 20, 3), (0, 0, 0)]
)
def test_steps_count_replies_as_the_trainer_does(rows, replies, expected):
    assert steps(rows, replies, epochs=3, effective_batch=4) == expected
