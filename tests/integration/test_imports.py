"""A tick with nothing open is cheap: it imports no client that it has no use for."""

import os
import subprocess
import sys

import pytest

from support.vertex_servers import REPOSITORY
from tuner.lanes.catalogue import Catalogue
from tuner.runs import RunState

_TICK = """
import sys
sys.path.insert(0, f"functions/{sys.argv[1]}")
import main
from cloudevents.http import CloudEvent
entry = {"submitter": "submit", "completion": "complete", "converter": "convert"}[sys.argv[1]]
entry = getattr(main, entry)
entry(CloudEvent({"type": "ech0.tuner.tick.v1", "source": "//scheduler"}, {}))
heavy = ("google.cloud.aiplatform", "google.cloud.cloudquotas", "numpy")
print("imported:", *sorted(name for name in sys.modules if name.startswith(heavy)))
"""


def tick(world, name):
    ran = subprocess.run(
        [sys.executable, "-c", _TICK, name],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **world.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    line = next(line for line in ran.stdout.splitlines() if line.startswith("imported:"))
    return line.split()[1:]


@pytest.mark.parametrize("name", ["submitter", "completion", "converter"])
def test_a_tick_with_nothing_open_imports_no_heavy_client(world, name):
    world.finish(world.ask())
    imported = tick(world, name)
    if name == "converter":  # which counts replies with it, whatever wakes it
        imported = [module for module in imported if not module.startswith("numpy")]
    assert imported == []


def test_a_tick_that_launches_imports_the_light_client_only(world):
    world.ask()
    imported = tick(world, "submitter")
    assert "google.cloud.aiplatform_v1" in imported
    assert "google.cloud.aiplatform" not in imported
    # Of its services and types only what is used: all of them take a second longer.
    assert "google.cloud.aiplatform_v1.services.endpoint_service" not in imported


def test_only_a_result_that_is_verified_imports_numpy(world):
    world.trainer("no_result")
    run_id = world.ask()
    world.launch()
    world.until_jobs_end()
    assert "numpy" not in tick(world, "completion")
    world.trainer("succeed")
    world.clock.advance(minutes=5)
    world.launch()
    world.until_jobs_end()
    assert "numpy" in tick(world, "completion")
    assert world.state(run_id) is RunState.SUCCEEDED


def test_passes_share_one_connection_to_cloud_quotas(world):
    """A pass a minute, each with a channel of its own, would leak one a minute."""
    lanes = Catalogue(world.settings, world.controller.ledger)
    assert lanes.quota_watch() is lanes.quota_watch()
