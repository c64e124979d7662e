"""The documented consumer and producer are what the page shows, and do what they say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.vertex_servers import REPOSITORY
from tuner.places import RUN_EVENTS_TOPIC
from tuner.requests import run_id_of
from tuner.runs import RunState

EXAMPLES = REPOSITORY / "docs/examples"
NAMES = ["follow_runs.py", "request_training.py"]


def environment(world) -> dict[str, str]:
    """What another system has: an address of Pub/Sub, and nothing of ours."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(world.folder),
        "PUBSUB_EMULATOR_HOST": world.shared.pubsub_endpoint,
    }


def started(world, name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=environment(world),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_examples_are_those_of_the_page() -> None:
    """What is read there is what was run here."""
    page = (REPOSITORY / "docs/integrate.md").read_text(encoding="utf-8")
    assert sorted(file.name for file in EXAMPLES.iterdir() if file.suffix == ".py") == NAMES
    for name in NAMES:
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"```python\n{text}```" in page, name


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_enough_to_be_read(name: str) -> None:
    lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_another_system_asks_for_a_run_and_hears_what_became_of_it(world) -> None:
    """Both as processes of their own, with Google's client; what was published makes the run."""
    dataset_id = world.request("nan").dataset_id
    world.published_requests()
    producer = started(world, "request_training.py", world.project, "nan", dataset_id)
    assert producer.communicate(timeout=60)[0].strip(), "the message's id"
    [request] = world.published_requests()
    run_id = run_id_of(request)
    name = f"projects/{world.project}/subscriptions/theirs"
    world.shared.subscriber.create_subscription(
        name=name, topic=world.places.topic(RUN_EVENTS_TOPIC)
    )
    consumer = started(world, "follow_runs.py", world.project, "theirs")
    try:
        world.controller.submitter.record(request)
        run = world.finish(run_id)
        assert run.state is RunState.SUCCEEDED
        assert consumer.stdout is not None
        told = []
        for line in consumer.stdout:
            told.append(line.strip())
            if "adapter:" in line:
                break
    finally:
        consumer.kill()
        consumer.communicate()
    assert told[-1] == f"{run_id} adapter: {run.model.uri}"
    assert f"{run_id} succeeded: {run.reason}" in told
    assert len(told) == len(set(told)), "each change once"
