"""A tick with nothing open is cheap: it imports no client that it has no use for."""

import base64
import json
import os
import subprocess
import sys

import msgspec
import pytest

from support.vertex_servers import REPOSITORY
from support.world import conversation
from tuner.entrypoint import TICK_TYPE
from tuner.lanes.catalogue import Catalogue
from tuner.runs import RunState

_ANSWER = """
import json, sys
name, event = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, f"functions/{name}")
import main
from cloudevents.http import CloudEvent
entry = {"submitter": "submit", "completion": "complete", "converter": "convert"}[name]
getattr(main, entry)(CloudEvent({"source": "//test", "type": event["type"]}, event["data"]))
heavy = ("google.cloud.aiplatform", "google.cloud.cloudquotas", "numpy", "sentencepiece")
found = [name for name in sys.modules if name.startswith(heavy)]
found += ["certificates"] if "cryptography.x509.base" in sys.modules else []
print("imported:", *sorted(found))
"""


def answer(world, name, kind, data):
    """What a process imports that answers one event."""
    ran = subprocess.run(
        [sys.executable, "-c", _ANSWER, name, json.dumps({"type": kind, "data": data})],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **world.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    line = next(line for line in ran.stdout.splitlines() if line.startswith("imported:"))
    return line.split()[1:]


def tick(world, name):
    return answer(world, name, TICK_TYPE, {})


@pytest.mark.parametrize("name", ["submitter", "completion", "converter"])
def test_a_tick_with_nothing_open_imports_no_heavy_client(world, name):
    world.finish(world.ask())
    assert tick(world, name) == []


def test_a_small_upload_is_converted_without_numpy_and_without_a_tokenizer(world):
    """It is the first drop of most people, and the function's start is all that they wait for."""
    uploaded = world.drop(conversation())
    notification = base64.b64encode(msgspec.json.encode(uploaded)).decode()
    kind = "google.cloud.pubsub.topic.v1.messagePublished"
    assert answer(world, "converter", kind, {"message": {"data": notification}}) == []
    assert [*world.controller.ledger.names("uploads/")] != [], "it was converted"


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
