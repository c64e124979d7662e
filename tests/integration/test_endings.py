"""How jobs end, and what becomes of their runs."""

import re

import pytest

from local.vertex.control import FaultKind
from support import wait
from tuner.runs import RunState


def launch(world):
    run_id = world.ask()
    world.launch()
    return run_id


def end(world, run_id):
    """Let the run's job end and completion look at it."""
    world.until_jobs_end()
    world.controller.completion.check_run(run_id)
    return world.run(run_id)


def test_a_preempted_run_waits_and_tries_again(world):
    world.trainer("succeed", _1="hang")
    run_id = launch(world)
    job = world.until_training(run_id)
    world.control.preempt(job.name)
    run = end(world, run_id)
    assert run.state is RunState.WAITING
    assert "node" in run.reason
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in world.trained(run_id)] == [1, 2]
    assert world.story(run_id).count("waiting") == 1


def test_attempts_are_capped(make_world):
    world = make_world(TUNER_MAX_ATTEMPTS="3")
    world.trainer("no_result")
    run_id = launch(world)
    run = world.finish(run_id)
    assert run.state is RunState.FAILED
    assert "3 attempts ran" in run.reason
    assert f"tuner retry {run_id}" in run.reason
    assert len(world.trained(run_id)) == 3


def test_a_stock_out_waits_and_shuts_the_lane(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.STOCK_OUT_LATER)
    run_id = launch(world)
    run = end(world, run_id)
    assert run.state is RunState.WAITING
    assert "us-central1 has no free machine" in run.reason
    calls = world.calls()["CreateCustomJob"]
    world.tick(2, seconds=20)
    assert world.calls()["CreateCustomJob"] == calls, "the lane is shut for a minute at least"
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_quota_refusal_after_launch_waits(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_EXCEEDED_LATER)
    run_id = launch(world)
    run = end(world, run_id)
    assert run.state is RunState.WAITING
    assert "quota metrics exceed" in run.reason
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_grant_after_a_refusal_that_came_later_launches_at_the_next_tick(world):
    """The refusal came without limits; the next pass remembers them, so a rise shows."""
    world.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_EXCEEDED_LATER)
    run_id = launch(world)
    world.shut_quota()
    assert end(world, run_id).state is RunState.WAITING
    world.tick(2, seconds=5)
    jobs = len(world.jobs())
    world.grant_quota()
    world.tick(seconds=5)
    assert len(world.jobs()) == jobs + 1, "although the lane backs off for a minute at least"
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_job_that_fails_before_it_starts_is_tried_again(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.FAIL_BEFORE_START)
    run_id = launch(world)
    assert end(world, run_id).state is RunState.WAITING
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_out_of_memory_gets_one_attempt_with_half_the_micro_batch(world):
    world.trainer("out_of_memory:The GPU is full.")
    run_id = launch(world)
    run = world.finish(run_id)
    assert run.state is RunState.FAILED
    assert run.reason == "The GPU is full."
    assert [attempt.micro_batch_divisor for attempt in run.attempts] == [1, 2]
    orders = world.read(
        world.places.work_bucket_name, f"{world.places.attempt_prefix(run_id, 2)}/job.json"
    )
    assert orders["micro_batch_divisor"] == 2


def test_half_the_micro_batch_may_suffice(world):
    world.trainer("succeed", _1="out_of_memory:The GPU is full.")
    assert world.finish(launch(world)).state is RunState.SUCCEEDED


@pytest.mark.parametrize("kind", ["bad_data", "bad_settings", "no_permission", "internal"])
def test_what_the_trainer_blames_on_its_orders_fails_at_once(world, kind):
    world.trainer(f"{kind}:Correct the third line.")
    run_id = launch(world)
    run = world.finish(run_id)
    assert (run.state, run.reason) == (RunState.FAILED, "Correct the third line.")
    assert len(world.jobs()) == 1


def test_a_job_without_progress_is_cancelled_and_tried_again(world):
    world.trainer("succeed", _1="hang")
    run_id = launch(world)
    job = world.until_training(run_id)
    world.tick(minutes=29)
    assert world.jobs()[0].state == "JOB_STATE_RUNNING"
    world.tick(minutes=2)
    # The trainer stamps by the real time, which goes on while the clock stands still.
    assert re.match("No progress for 3[01] min", world.run(run_id).attempt.stop_reason)
    world.until_jobs_end()
    assert world.jobs()[0].state == "JOB_STATE_CANCELLED"
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in world.trained(run_id)] == [1, 2]
    assert world.jobs()[0].name == job.name


def test_progress_keeps_a_job_alive(world):
    world.trainer("hang")
    run_id = launch(world)
    world.until_training(run_id)
    world.clock.advance(minutes=29)
    world.tick()
    assert world.run(run_id).attempt.stop_reason is None


def test_a_job_that_was_cancelled_outside_ends_its_run(world):
    world.trainer("hang")
    run_id = launch(world)
    job = world.until_training(run_id)
    world.jobs_client.cancel_custom_job(name=job.name)
    run = world.finish(run_id)
    assert run.state is RunState.CANCELLED
    assert [change.state for change in run.history[-2:]] == ["cancelling", "cancelled"]
    assert "outside" in run.history[-2].reason
    assert len(world.jobs()) == 1


def test_a_deleted_job_is_made_again(world):
    world.trainer("succeed", _1="no_result")
    run_id = launch(world)
    world.until_jobs_end()
    world.jobs_client.delete_custom_job(name=world.jobs()[0].name)
    assert end(world, run_id).state is RunState.WAITING
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_result_alone_ends_nothing_while_its_job_runs(world):
    """The notification only wakes completion; what counts is the job's own terminal state."""
    world.trainer("hang")
    run_id = launch(world)
    world.until_training(run_id)
    bucket = world.storage.bucket(world.places.work_bucket_name)
    bucket.blob(world.places.result_name(run_id, 1)).upload_from_string(b"{}")
    world.controller.completion.check_run(run_id)
    assert world.state(run_id) is RunState.RUNNING


# -- cancelling ------------------------------------------------------------------------------------


def test_a_cancelled_run_is_cancelled_only_when_its_job_has_ended(world):
    world.trainer("hang")
    run_id = launch(world)
    world.until_training(run_id)
    world.cancel(run_id)
    world.tick()
    assert world.state(run_id) is RunState.CANCELLING, "its job was only asked to end"

    def cancelled():
        world.tick(seconds=1)
        return world.state(run_id) is RunState.CANCELLED

    wait.until(cancelled)
    assert world.jobs()[0].state == "JOB_STATE_CANCELLED"
    assert world.story(run_id)[-2:] == ["cancelling", "cancelled"]


def test_a_waiting_run_is_cancelled_without_a_job(world):
    world.shut_quota()
    run_id = launch(world)
    world.cancel(run_id)
    world.tick()
    assert world.state(run_id) is RunState.CANCELLED
    world.grant_quota()
    world.tick(2, minutes=1)
    assert world.jobs() == []


def test_cancelling_an_unclear_attempt_waits_out_the_window(world):
    """A create call whose reply was lost may still land; its trainer must find the owner taken."""
    world.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
    run_id = launch(world)
    world.cancel(run_id)
    world.tick(minutes=10)
    assert world.state(run_id) is RunState.CANCELLING
    world.tick(minutes=6)
    assert world.state(run_id) is RunState.CANCELLED
    world.control.reveal()
    world.until_jobs_end()
    assert world.trained(run_id) == []


def test_no_job_of_another_deployment_can_be_cancelled(world):
    world.trainer("hang")
    run_id = launch(world)
    job = world.until_training(run_id)
    lane = world.controller.lanes["vertex-t4"]
    lane._deployment = "another"
    with pytest.raises(PermissionError, match="not a job of deployment another"):
        lane.cancel(job.name)
    assert world.jobs()[0].state == "JOB_STATE_RUNNING"
