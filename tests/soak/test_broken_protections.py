"""The simulation finds every protection that is taken away: each is broken once, on purpose."""

from __future__ import annotations

import pytest

from support.broken_protections import BREAKS, COVERED, broken
from support.simulation import explore

#: At most so many, twenty orders of events each, until a broken protection shows.
_SEARCHES = 40


@pytest.mark.soak
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_protection_is_found(name):
    with broken(name), pytest.raises(AssertionError):
        explore(searches=_SEARCHES, steps=40, seed=0, shrinks=False)


@pytest.mark.soak
@pytest.mark.parametrize("name", COVERED)
def test_a_protection_that_another_one_covers_is_not_missed_alone(name):
    """Which one covers it is said in `COVERED`; with that broken too, it is among those found."""
    with broken(name):
        explore(searches=2, steps=40, seed=0)
