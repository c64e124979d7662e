"""`run.progress`: other systems hear how far training is, and no step twice from one process."""

from __future__ import annotations

import json

import msgspec

from tuner.events import RunProgress
from tuner.places import RUN_EVENTS_TOPIC
from tuner.runs import RunState


def heard(world):
    """Progress since it was asked last; whatever else was published is dropped."""
    return [
        msgspec.json.decode(message.data, type=RunProgress)
        for message in world.pull(RUN_EVENTS_TOPIC)
        if message.attributes["ce-type"] == "run.progress"
    ]


def says(world, run_id, **row):
    name = f"{world.places.attempt_prefix(run_id, 1)}/metrics.jsonl"
    blob = world.storage.bucket(world.places.work_bucket_name).blob(name)
    now = world.clock().isoformat()
    content = json.dumps({"phase": "training", "progressed_at": now, "at": now, **row})
    blob.upload_from_string(content.encode())


def training(world):
    world.trainer("hang")
    run_id = world.ask()
    world.launch()
    world.until_training(run_id)
    return run_id


def test_each_tick_tells_how_far_a_run_is_after_which_change(world):
    run_id = training(world)
    for step in (3, 7):
        says(world, run_id, step=step, steps=40, loss=2.5, seconds=step * 10)
        world.tick(minutes=1)
        [progress] = heard(world)
        assert (progress.run_id, progress.persona, progress.attempt) == (run_id, "nan", 1)
        assert progress.after_seq == world.run(run_id).seq
        assert (progress.step, progress.steps, progress.loss) == (step, 40, 2.5)
        assert progress.seconds == step * 10


def test_a_run_that_stands_still_is_not_told_of_again(world):
    run_id = training(world)
    says(world, run_id, step=3)
    world.tick(4, minutes=1)
    assert [progress.step for progress in heard(world)] == [3]


def test_progress_is_no_state_change(world):
    run_id = training(world)
    before = world.run(run_id).seq
    says(world, run_id, step=3)
    world.tick(minutes=1)
    assert (world.run(run_id).seq, world.state(run_id)) == (before, RunState.RUNNING)


def test_metrics_that_no_trainer_of_ours_writes_are_not_passed_on(world):
    run_id = training(world)
    heard(world)
    says(world, run_id, phase="She told me in confidence", step=3)
    world.tick(2, minutes=1)
    assert heard(world) == []
    assert world.state(run_id) is RunState.RUNNING


def test_ordered_events_come_in_the_order_of_their_run(make_world):
    """A subscription with message ordering, on a deployment that gives its events keys."""
    world = make_world(TUNER_ORDERED_EVENTS="1")
    name = f"projects/{world.project}/subscriptions/ordered"
    world.shared.subscriber.create_subscription(
        request={
            "name": name,
            "topic": world.places.topic(RUN_EVENTS_TOPIC),
            "enable_message_ordering": True,
        }
    )
    run_id = world.ask()
    world.finish(run_id)
    keys = {message.ordering_key for message in world.pull(RUN_EVENTS_TOPIC)}
    assert keys == {run_id}
    told: list[int] = []
    while not told or told[-1] < world.run(run_id).seq:
        received = world.shared.subscriber.pull(subscription=name, max_messages=10)
        # Progress has no number of its own.
        attributes = [each.message.attributes for each in received.received_messages]
        told += [int(each["seq"]) for each in attributes if "seq" in each]
        world.shared.subscriber.acknowledge(
            subscription=name, ack_ids=[each.ack_id for each in received.received_messages]
        )
    assert sorted(set(told)) == list(range(1, world.run(run_id).seq + 1))
    assert told == sorted(told)
