"""Believe nothing: what is promoted was verified byte by byte, and only forward."""

import pytest

from support import wait
from tuner.runs import RunState


def models(world):
    return world.names(world.places.models_bucket_name)


def latest(world, persona="nan"):
    return world.read(world.places.models_bucket_name, f"{persona}/latest.json")


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("wrong_claim", "claim_id is not that of its run"),
        ("stale_attempt", "attempt is not that of its run"),
        ("wrong_sha", "does not have the SHA-256"),
        ("wrong_size", "not what was stated"),
        ("missing_artifact", "lacks samples.json"),
        ("replaced_artifact", "is not there at generation"),
        ("not_a_lora", "does not describe a LoRA adapter"),
        ("oversized", "The result document has"),
    ],
)
def test_a_result_that_lies_promotes_nothing(make_world, lie, reason):
    world = make_world(TUNER_MAX_ATTEMPTS="2")
    world.trainer(lie)
    run_id = world.ask()
    world.tick()
    run = world.finish(run_id)
    assert run.state is RunState.FAILED
    assert reason in run.reason
    assert len(world.trained(run_id)) == 2
    assert models(world) == []


def test_an_honest_attempt_after_a_lie_succeeds(world):
    world.trainer("succeed", _1="wrong_sha")
    run_id = world.ask()
    world.tick()
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert run.attempt.number == 2


def test_an_adapter_that_fails_its_gate_is_held_and_not_the_latest(world):
    first = world.ask()
    world.tick()
    world.finish(first)
    world.trainer("gate_fails")
    second = world.ask(rerun=1)
    world.tick(minutes=1)
    run = world.finish(second)
    assert run.state is RunState.HELD
    assert "Held-out loss rose from 3.00 to 4.00." in run.reason
    assert run.model is not None
    assert latest(world)["run_id"] == first
    assert world.story(second)[-1] == "held"


def test_the_latest_adapter_moves_forward_only(world):
    """An older run that ends later does not take the place of a newer one."""
    world.trainer("hang")
    old = world.ask()
    world.tick()
    world.until_training(old)
    world.trainer("succeed")
    world.clock.advance(minutes=1)
    new = world.ask(rerun=1)
    world.controller.submitter.run_pass()
    world.until_training(new)
    world.clock.advance(seconds=30)

    def new_has_ended():
        world.controller.completion.check_run(new)
        return world.state(new) is RunState.SUCCEEDED

    wait.until(new_has_ended)
    assert latest(world)["run_id"] == new
    world.control.preempt(next(j.name for j in world.jobs(old)))
    assert world.finish(old).state is RunState.SUCCEEDED
    assert latest(world)["run_id"] == new


def test_copies_are_those_that_were_verified(world):
    run_id = world.ask()
    world.tick()
    run = world.finish(run_id)
    bucket = world.storage.bucket(world.places.models_bucket_name)
    folder = run.model.uri.removeprefix(f"gs://{bucket.name}/")
    for artifact in run.model.artifacts:
        blob = bucket.blob(f"{folder}/{artifact.name}", generation=artifact.generation)
        content = blob.download_as_bytes()
        assert len(content) == artifact.size_bytes
    assert world.read(bucket.name, f"{folder}/run.json")["run_id"] == run_id


def test_two_adapters_of_one_second_do_not_share_a_folder(world):
    runs = world.ask_again(2)
    world.tick()
    uris = {world.finish(run_id).model.uri for run_id in runs}
    assert len(uris) == 2
    assert len({world.run(r).attempt.display_name for r in runs}) == 1


def test_a_late_result_for_an_ended_run_changes_nothing(world):
    run_id = world.ask()
    world.tick()
    ended = world.finish(run_id)
    before = world.generations()
    bucket = world.storage.bucket(world.places.work_bucket_name)
    bucket.blob(world.places.result_name(run_id, 1)).upload_from_string(b'{"outcome": "failed"}')
    world.controller.completion.check_run(run_id)
    world.tick(2, minutes=1)
    assert world.run(run_id) == ended
    assert world.generations() == before


def test_completing_twice_at_once_ends_the_run_once(world):
    run_id = world.ask()
    world.launch()
    world.until_jobs_end()
    one, two = world.new_controller(), world.new_controller()
    stored = world.open_run(run_id)
    one.completion._reconcile(stored)
    with pytest.raises(Exception, match="changed"):
        two.completion._reconcile(stored)
    world.tick(2)
    assert world.story(run_id) == ["requested", "submitting", "running", "succeeded"]
