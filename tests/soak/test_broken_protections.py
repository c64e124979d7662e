"""The simulation finds every protection that is taken away: each is broken once, on purpose."""

from __future__ import annotations

import os

import pytest

from support.broken_protections import BREAKS, COVERED, broken
from support.simulation import explore

#: At most so many orders of events until a broken protection shows.
_EXAMPLES = 300


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(BREAKS))
def test_a_broken_protection_is_found(name):
    with broken(name), pytest.raises(AssertionError) as found:
        explore(examples=_EXAMPLES, steps=40, derandomize=True, shrinks=False)
    print(name, found.value)


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(COVERED))
def test_a_protection_that_another_one_covers_breaks_no_promise_alone(name):
    """Why is said beside each; with its cover broken too it is among those that are found."""
    examples = int(os.environ.get("TUNER_SOAK_EXAMPLES", "100"))
    with broken(name):
        explore(examples=examples, steps=40, derandomize=True)
