"""Ticks alone bring every open run to a true end, whatever was lost, deleted or restored."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tuner.runs import RunState


def launched(world, **changes):
    run_id = world.ask(**changes)
    world.launch()
    return run_id


def delete_job(world, number=0):
    name = world.jobs()[number].name
    world.jobs_client.delete_custom_job(name=name).result(timeout=5)


def work(world):
    return world.storage.bucket(world.places.work_bucket_name)


def copy_of_the_ledger(world):
    """Every object of it, as an operator's copy holds them."""
    return {
        blob.name: (blob.download_as_bytes(), blob.metadata)
        for blob in world.storage.list_blobs(world.places.runs_bucket_name)
    }


def restore(world, copy):
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    for blob in list(bucket.list_blobs()):
        blob.delete()
    for name, (content, metadata) in copy.items():
        blob = bucket.blob(name)
        blob.metadata = metadata
        blob.upload_from_string(content, content_type="application/json")
    world.controller = world.new_controller()


def check_trained_once(world, run_id):
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert len(world.trained(run_id)) == 1
    assert world.controller.ledger.list_open() == []
    latest = world.read(world.places.models_bucket_name, "nan/latest.json")
    assert latest["run_id"] == run_id


# -- what was lost or deleted ----------------------------------------------------------------------


def test_a_lost_result_event_costs_a_tick(world):
    run_id = launched(world)
    world.until_jobs_end()
    world.tick(minutes=1)
    check_trained_once(world, run_id)


def test_a_job_that_is_deleted_while_it_runs_is_made_again(world):
    world.trainer("succeed", _1="hang")
    run_id = launched(world)
    world.control.preempt(world.until_training(run_id).name)
    world.until_jobs_end()
    delete_job(world)
    world.tick(minutes=1)
    run = world.run(run_id)
    assert run.state is RunState.WAITING
    assert run.reason == "The job was deleted before it was done."
    assert run.attempt.started_at is not None, "it trained, and cost something"
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_job_that_is_deleted_after_it_was_done_is_completed_from_its_result(world):
    run_id = launched(world)
    world.until_jobs_end()
    delete_job(world)
    world.tick(minutes=1)
    check_trained_once(world, run_id)
    assert world.run(run_id).attempt.started_at is not None


def test_an_artifact_that_is_gone_before_it_was_verified_is_made_again(world):
    run_id = launched(world)
    world.until_jobs_end()
    prefix = world.places.attempt_prefix(run_id, 1)
    work(world).delete_blob(f"{prefix}/adapter/adapter_model.safetensors")
    world.tick(minutes=1)
    assert "adapter_model.safetensors is not there at generation" in world.run(run_id).reason
    run = world.finish(run_id)
    assert (run.state, run.attempt.number) == (RunState.SUCCEEDED, 2)


@pytest.mark.parametrize("name", ["owner", "job.json"])
@pytest.mark.parametrize("mode", ["succeed", "no_result"])
def test_an_attempt_ends_well_without_its_owner_or_its_orders(world, name, mode):
    world.trainer("succeed", _1=mode)
    run_id = launched(world)
    world.until_jobs_end()
    work(world).delete_blob(f"{world.places.attempt_prefix(run_id, 1)}/{name}")
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [number for number, _ in world.trained(run_id)] == [1, 2][: 1 + (mode == "no_result")]


def test_a_job_whose_orders_are_gone_before_it_read_them_is_made_again(world):
    lane = world.controller.lanes["vertex-t4"]
    launch = lane.launch

    def orders_are_lost(run, attempt, *, run_uri):
        work(world).delete_blob(f"{world.places.attempt_prefix(run.run_id, 1)}/job.json")
        lane.launch = launch
        return launch(run, attempt, run_uri=run_uri)

    lane.launch = orders_are_lost
    run_id = launched(world)
    run = world.finish(run_id)
    assert (run.state, run.attempt.number) == (RunState.SUCCEEDED, 2)
    assert "without a result" in run.attempts[0].end_reason


# -- clocks ----------------------------------------------------------------------------------------


def progressed(world, run_id):
    """What a living trainer does every ten seconds."""
    at = world.clock().isoformat()
    name = f"{world.places.attempt_prefix(run_id, 1)}/metrics.jsonl"
    work(world).blob(name).upload_from_string(f'{{"progressed_at": "{at}"}}\n')


def test_a_machine_that_slept_takes_no_trainer_for_stuck(world):
    """Its trainer slept too: after hours both wake up, and it gets a moment to speak again."""
    world.trainer("hang")
    run_id = launched(world)
    world.until_training(run_id)
    world.tick(minutes=1)
    world.tick(hours=8)
    assert world.run(run_id).attempt.stop_reason is None
    world.tick(minutes=1)
    assert world.run(run_id).attempt.stop_reason is None
    world.tick(minutes=1)
    assert world.run(run_id).attempt.stop_reason.startswith("No progress for 8 h")


def test_a_clock_that_goes_back_keeps_no_pass_from_starting(world):
    world.tick(minutes=1)
    run_id = world.ask()
    world.tick(minutes=-7)
    assert world.state(run_id) is RunState.RUNNING, world.run(run_id).reason
    world.until_jobs_end()
    world.tick(minutes=-2)
    check_trained_once(world, run_id)


def test_a_clock_that_jumps_ahead_while_a_reply_is_unclear_trains_once(world):
    from local.vertex.faults import FaultKind

    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    run_id = launched(world)
    world.tick(hours=5)
    world.finish(run_id)
    check_trained_once(world, run_id)


# -- a ledger of yesterday -------------------------------------------------------------------------


def test_a_run_that_was_running_in_the_copy_is_completed_once(world):
    world.trainer("succeed")
    run_id = launched(world)
    copy = copy_of_the_ledger(world)
    ended = world.finish(run_id)
    restore(world, copy)
    world.clock.advance(days=1)
    again = world.finish(run_id)
    check_trained_once(world, run_id)
    assert again.model == ended.model


@pytest.mark.parametrize("job", ["listed", "deleted"])
def test_a_run_that_waited_in_the_copy_is_completed_from_what_was_trained(world, job):
    run_id = world.ask()
    copy = copy_of_the_ledger(world)
    world.launch()
    ended = world.finish(run_id)
    if job == "deleted":
        delete_job(world)
    restore(world, copy)
    world.clock.advance(days=1)
    again = world.finish(run_id)
    check_trained_once(world, run_id)
    assert again.model == ended.model
    assert (again.attempt.claim_id, again.attempt.lane) == (
        ended.attempt.claim_id, ended.attempt.lane,
    )  # fmt: skip
    assert len(world.names(world.places.models_bucket_name, "nan/")) == 5
    assert world.calls()["CreateCustomJob"] == 1


def test_a_request_for_what_the_copy_does_not_know_is_completed_from_what_was_trained(world):
    request = world.request()
    copy = copy_of_the_ledger(world)
    run_id = launched(world)
    world.finish(run_id)
    restore(world, copy)
    world.controller.submitter.record(request)
    world.finish(run_id)
    check_trained_once(world, run_id)


def test_attempts_that_failed_after_the_copy_are_gone_through_not_trained_again(world):
    world.trainer("succeed", _1="no_result", _2="no_result")
    run_id = world.ask()
    copy = copy_of_the_ledger(world)
    ended = world.finish(run_id)
    assert ended.attempt.number == 3
    restore(world, copy)
    again = world.finish(run_id, passes=20)
    assert (again.state, again.attempt.number) == (RunState.SUCCEEDED, 3)
    assert [number for number, _ in world.trained(run_id)] == [1, 2, 3]


def test_a_restored_run_in_another_lane_is_found_there(world):
    run_id = world.ask()
    copy = copy_of_the_ledger(world)
    ended = world.finish(run_id)
    restore(world, copy)
    ledger = world.controller.ledger
    stored = ledger.read_open(run_id)
    launcher = world.controller.launcher
    assert launcher.take_up_lost(stored, world.controller.lanes["vertex-t4-spot"], "us-east1")
    attempt = world.run(run_id).attempt
    assert (attempt.lane, attempt.region) == (ended.attempt.lane, ended.attempt.region)
    world.finish(run_id)
    check_trained_once(world, run_id)


def test_a_restored_run_past_its_deadline_is_completed_when_it_was_trained(world):
    run_id = world.ask(max_wait_seconds=3600)
    copy = copy_of_the_ledger(world)
    world.finish(run_id)
    restore(world, copy)
    world.tick(days=2)
    world.finish(run_id)
    check_trained_once(world, run_id)


def test_a_job_of_a_restored_run_that_trains_still_is_taken_up(world):
    world.trainer("hang")
    run_id = world.ask()
    copy = copy_of_the_ledger(world)
    world.launch()
    job = world.until_training(run_id)
    restore(world, copy)
    world.tick(2, minutes=1)
    attempt = world.run(run_id).attempt
    assert world.state(run_id) is RunState.RUNNING
    assert attempt.job_name == job.name
    assert attempt.intended_at - world.clock() < timedelta(hours=1)
    assert len(world.jobs()) == 1


def test_a_run_that_was_cancelled_after_the_copy_is_cancelled_again(world):
    world.trainer("hang")
    run_id = launched(world)
    world.until_training(run_id)
    copy = copy_of_the_ledger(world)
    world.cancel(run_id)
    world.tick()
    assert world.finish(run_id).state is RunState.CANCELLED
    restore(world, copy)
    assert world.finish(run_id).state is RunState.CANCELLED
    assert len(world.jobs()) == 1


# -- passes ----------------------------------------------------------------------------------------


def test_a_pass_that_was_cut_short_goes_on_where_it_stopped(world):
    world.trainer("hang")
    runs = sorted(world.ask_again(5))
    world.tick()
    for run_id in runs:
        world.until_training(run_id)
    seen = []

    def slow(run_id):
        seen.append(run_id)
        world.clock.advance(seconds=20)

    for _ in range(3):
        world.controller = world.new_controller()
        world.controller.completion.check_run = slow
        world.controller.completion.check_all()
    first = runs.index(seen[0])
    in_turn = runs[first:] + runs[:first]
    assert seen[:8] == (in_turn * 2)[:8]
