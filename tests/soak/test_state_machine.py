"""The same state machine as in tests/integration, longer and at random."""

import os

import pytest

from support.deployment_machine import explore
from support.shared_servers import servers


@pytest.mark.soak
def test_any_order_of_many_events_ends_every_run_once(tmp_path):
    """TUNER_SOAK_EXAMPLES says how many orders are tried."""
    examples = int(os.environ.get("TUNER_SOAK_EXAMPLES", "60"))
    with servers(tmp_path) as shared:
        explore(shared, examples=examples, steps=40, derandomize=False)
