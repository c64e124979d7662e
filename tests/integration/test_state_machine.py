"""Whatever happens in whatever order: one job trains a run at a time, and no run is lost."""

from support.deployment_machine import explore


def test_any_order_of_events_ends_every_run_once(shared_servers):
    explore(shared_servers, examples=25, steps=20, derandomize=True)
