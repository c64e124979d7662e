"""A create call without a clear reply: never two jobs that train, never a lost run."""

import pytest

from local.vertex.control import FaultKind
from support import wait
from support.vertex_servers import custom_job
from tuner.runs import RunState
from tuner.training_job import CONTROLLER


def owner(world, run_id, attempt):
    name = f"{world.places.attempt_prefix(run_id, attempt)}/owner"
    return world.read(world.places.work_bucket_name, name)["claim_id"]


@pytest.mark.parametrize(
    "kind", [FaultKind.DEADLINE_EXCEEDED, FaultKind.UNAVAILABLE, FaultKind.INTERNAL]
)
def test_without_a_job_the_next_attempt_waits_fifteen_minutes_and_for_the_owner(world, kind):
    world.control.queue_fault("CreateCustomJob", kind)
    run_id = world.ask()
    world.tick()
    world.tick(14, minutes=1)
    assert world.state(run_id) is RunState.SUBMITTING
    assert world.run(run_id).attempt.unresolved_since is not None
    assert world.calls()["CreateCustomJob"] == 1
    world.tick(minutes=2)
    assert world.state(run_id) is RunState.WAITING
    assert owner(world, run_id, 1) == CONTROLLER
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in world.trained(run_id)] == [2]


def test_a_job_whose_reply_was_lost_is_found_and_kept(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    run_id = world.ask()
    world.tick()
    assert world.state(run_id) is RunState.SUBMITTING
    world.clock.advance(seconds=10)
    world.launch()
    assert world.state(run_id) is RunState.RUNNING
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert len(world.jobs()) == 1


def test_a_job_that_appears_late_is_found_within_the_window(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
    run_id = world.ask()
    world.tick(10, minutes=1)
    assert world.state(run_id) is RunState.SUBMITTING
    world.control.reveal()
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert len(world.jobs()) == 1
    assert world.story(run_id) == ["requested", "submitting", "running", "succeeded"]


def test_a_job_that_appears_after_the_window_never_trains(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
    world.trainer("hang")
    run_id = world.ask()
    world.tick(18, minutes=1)
    world.until_training(run_id, attempt=2)
    [late_name] = world.control.reveal()
    late = next(job for job in world.jobs() if job.name == late_name)
    assert late.labels["attempt"] == "1"

    def has_ended():
        return {j.name: j.state for j in world.jobs()}[late_name] == "JOB_STATE_FAILED"

    wait.until(has_ended)
    ended = next(job for job in world.jobs() if job.name == late_name)
    assert "status of 3" in ended.error_message, "the trainer's exit code for superseded"
    assert [attempt for attempt, _ in world.trained(run_id)] == [2]


def test_a_job_that_trains_but_is_not_listed_keeps_its_attempt(world, caplog):
    """The list may lag; the owner object does not."""
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=3)
    world.trainer("hang")
    run_id = world.ask()
    world.controller.submitter.run_pass()
    world.until_training(run_id)
    world.clock.advance(minutes=20)
    world.controller.submitter.run_pass()
    assert world.state(run_id) is RunState.SUBMITTING
    assert "unlisted-job" in {r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)}
    world.control.clear_faults()
    world.controller.submitter.run_pass()
    assert world.state(run_id) is RunState.RUNNING
    assert world.calls()["CreateCustomJob"] == 1


def test_a_duplicate_that_is_found_is_cancelled_and_the_one_with_our_claim_is_kept(world):
    """Even where the duplicate is the older one."""
    world.trainer("hang")
    world.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
    run_id = world.ask()
    world.tick()
    [ours] = world.jobs(run_id)
    _create_a_twin(world, ours, claim_id="somebody-else")
    world.clock.advance(minutes=1)
    world.control.hold_new_jobs(False)
    world.control.reveal()
    world.until_training(run_id)
    world.controller.submitter.run_pass()
    assert world.run(run_id).attempt.job_name == ours.name

    def duplicate():
        return next(job for job in world.jobs(run_id) if job.name != ours.name)

    wait.until(lambda: duplicate().state == "JOB_STATE_CANCELLED")
    assert len(world.trained(run_id)) == 1


def test_a_job_of_another_deployment_is_neither_taken_nor_cancelled(world):
    """Two deployments in one project train the same files: their run ids are alike."""
    world.trainer("hang")
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    run_id = world.ask()
    world.tick()
    job = world.until_training(run_id)
    _create_a_twin(world, job, claim_id="somebody-else", deployment="another")
    world.tick(minutes=1)
    assert world.run(run_id).errors == 0
    assert world.run(run_id).attempt.job_name == job.name
    twin = next(j for j in world.jobs() if j.labels["deployment"] == "another")
    assert twin.state not in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}


def test_a_ghost_of_an_ended_run_never_launches(world):
    run_id = world.ask()
    world.finish(run_id)
    ended = world.run(run_id)
    ledger = world.controller.ledger
    ledger._write_run(type(ended).requested(ended.request, at=world.clock()), 0)
    world.tick(2, minutes=1)
    assert ledger.list_open() == []
    assert len(world.jobs()) == 1
    assert world.run(run_id) == ended
    assert world.story(run_id)[-1] == "succeeded"


def _create_a_twin(world, job, **labels):
    """Another CustomJob with the labels of `job`, changed; it waits in QUEUED."""
    world.control.hold_new_jobs()
    world.jobs_client.create_custom_job(
        parent=job.name.partition("/customJobs")[0],
        custom_job=custom_job(display_name="twin", labels={**job.labels, **labels}),
    )
