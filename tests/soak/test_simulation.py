"""The same simulation as in tests/integration, longer and at random."""

import os

import pytest

from support.simulation import EXAMPLES, explore


@pytest.mark.soak
def test_no_order_of_many_events_breaks_a_promise():
    """TUNER_SOAK_EXAMPLES says how many orders are tried."""
    examples = int(os.environ.get("TUNER_SOAK_EXAMPLES", "240"))
    explore(searches=-(-examples // EXAMPLES), steps=50)
