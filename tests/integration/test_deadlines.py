"""How long things may take: in Vertex AI's queue, on a machine, without progress, unlisted."""

import json
from datetime import timedelta

import pytest

from local.vertex.control import FaultKind
from support import wait
from tuner.completion import STALL
from tuner.runs import RunState


def launched(world, **changes):
    run_id = world.ask(**changes)
    world.tick()
    return run_id


# -- in the platform's queue -----------------------------------------------------------------------


def until_cancelled(world):
    wait.until(lambda: world.jobs()[-1].state == "JOB_STATE_CANCELLED")


def test_a_job_that_stands_in_the_queue_to_the_deadline_ends_with_its_run(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.STAY_QUEUED)
    run_id = launched(world, max_wait_seconds=3600)
    world.tick(minutes=59)
    assert world.jobs()[0].state == "JOB_STATE_QUEUED"
    world.tick(minutes=2)
    until_cancelled(world)
    world.controller.completion.check_all()
    world.tick(minutes=1)
    run = world.run(run_id)
    assert run.state is RunState.EXPIRED
    assert run.reason.startswith("Waited 1 h 2 min for capacity, as long as the request allows.")
    assert "stood in Vertex AI's queue to its deadline" in run.reason
    assert len(world.jobs()) == 1
    assert world.story(run_id)[-1] == "expired"


def test_a_job_that_leaves_the_queue_in_time_may_run_past_the_deadline(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.STAY_QUEUED)
    run_id = launched(world, max_wait_seconds=3600)
    world.trainer("hang")
    world.tick(minutes=50)
    world.control.release()
    world.until_training(run_id)
    world.tick(minutes=20)
    assert world.run(run_id).attempt.stop_reason is None
    assert world.state(run_id) is RunState.RUNNING


def test_time_on_a_machine_is_not_counted_as_waiting(world):
    """A run that is preempted after its deadline goes back to the queue with the time it had."""
    world.trainer("hang")
    world.shut_quota()
    run_id = launched(world, max_wait_seconds=3600)
    world.tick(2, minutes=25)
    world.grant_quota()
    world.tick()
    job = world.until_training(run_id)
    world.clock.advance(minutes=25)
    world.tick()
    world.shut_quota()
    world.control.preempt(job.name)
    world.until_jobs_end()
    world.tick(2)
    assert world.state(run_id) is RunState.WAITING
    world.tick(minutes=9)
    assert world.state(run_id) is RunState.WAITING
    world.tick(minutes=2)
    run = world.run(run_id)
    assert run.state is RunState.EXPIRED
    assert run.reason.startswith("Waited 1 h 1 min for capacity")


# -- on a machine ----------------------------------------------------------------------------------


def test_a_job_that_used_up_its_time_is_not_paid_for_twice(world):
    world.trainer("hang")
    run_id = launched(world)
    job = world.until_training(run_id)
    world.clock.advance(seconds=world.run(run_id).attempt.timeout_seconds)
    world.control.preempt(job.name)  # however the platform words it
    run = world.finish(run_id)
    assert run.state is RunState.FAILED
    assert run.reason.startswith("Training did not end within its time limit of 30 min")
    assert "Use fewer epochs or a higher budget_usd" in run.reason
    assert len(world.jobs()) == 1


def test_a_job_that_ended_just_before_its_limit_is_tried_again(world):
    world.trainer("succeed", _1="hang")
    run_id = launched(world)
    job = world.until_training(run_id)
    world.clock.advance(seconds=world.run(run_id).attempt.timeout_seconds - 1)
    world.control.preempt(job.name)
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert len(world.jobs()) == 2


# -- without progress ------------------------------------------------------------------------------


def training_for_forty_minutes(world):
    """A run whose trainer beats still: storage stamps what it writes by the real time."""
    real_time = world.clock.now
    world.clock.now = real_time - timedelta(minutes=40)
    world.trainer("succeed", _1="hang")
    run_id = launched(world)
    world.until_training(run_id)
    world.clock.now = real_time
    return run_id


def beat(world, run_id, content):
    """What a trainer does every ten seconds, whether it gets on or not."""
    name = f"{world.places.attempt_prefix(run_id, 1)}/metrics.jsonl"
    world.storage.bucket(world.places.work_bucket_name).blob(name).upload_from_string(content)


def rows(progressed_at):
    return b'{"phase": "setup"}\n' + json.dumps({"progressed_at": progressed_at}).encode() + b"\n"


def stop_reason(world, run_id):
    # As if passes had gone on each minute: what comes after a pause is not believed at once.
    ledger = world.storage.bucket(world.places.runs_bucket_name)
    for note in ledger.list_blobs(prefix="passes/"):
        note.delete()
    world.controller.completion.check_all()
    return world.run(run_id).attempt.stop_reason


def test_a_trainer_that_beats_but_does_not_get_on_is_stopped(world):
    run_id = training_for_forty_minutes(world)
    last = world.clock() - STALL + timedelta(minutes=1)
    beat(world, run_id, rows(last.isoformat()))
    assert stop_reason(world, run_id) is None
    world.clock.advance(minutes=1)
    beat(world, run_id, rows(last.isoformat()))
    assert stop_reason(world, run_id) == "No progress for 30 min"
    world.until_jobs_end()
    assert world.jobs()[0].state == "JOB_STATE_CANCELLED"
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in world.trained(run_id)] == [1, 2]


NO_TIMES = {
    "future": rows("2999-01-01T00:00:00Z"),
    "words": rows("a while ago"),
    "number": rows(0),
    "nothing": rows(None),
    "no zone": rows("2020-01-01T00:00:00"),
    "no field": b"{}\n",
    "no object": b"[]\n",
    "no JSON": b"{broken\n",
    "no text": b"\xff\xfe",
    "nested": b"[" * 100_000,
    "empty": b"",
}


def test_without_a_usable_time_of_progress_the_beat_itself_counts(world):
    run_id = training_for_forty_minutes(world)
    for what, content in NO_TIMES.items():
        beat(world, run_id, content)
        assert stop_reason(world, run_id) is None, what
        assert world.run(run_id).errors == 0, what
    world.clock.advance(minutes=29)
    assert stop_reason(world, run_id) is None


@pytest.mark.parametrize("what", ["future", "nested"])
def test_a_beat_that_stops_stops_the_job_whatever_it_said(world, what):
    run_id = training_for_forty_minutes(world)
    beat(world, run_id, NO_TIMES[what])
    world.clock.advance(minutes=31)
    assert stop_reason(world, run_id).startswith("No progress for 3")


# -- unlisted --------------------------------------------------------------------------------------


def test_a_held_attempt_is_given_up_a_day_after_its_time_limit(world, caplog):
    """Its job trains, or did; no list ever shows it."""
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=1000)
    world.trainer("succeed", _1="hang")
    run_id = launched(world)
    [job] = world.jobs()
    wait.until(lambda: world.trained(run_id))
    attempt = world.run(run_id).attempt
    world.tick(minutes=20)
    world.clock.advance(seconds=attempt.timeout_seconds, hours=23)
    world.tick()
    assert world.state(run_id) is RunState.SUBMITTING
    assert "unlisted-job" in {r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)}
    world.control.preempt(job.name)
    world.until_jobs_end()
    world.tick(hours=1)
    assert world.run(run_id).attempts[0].ended_at is not None
    assert world.calls()["CreateCustomJob"] == 1
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert [number for number, _ in world.trained(run_id)] == [1, 2]


def test_an_attempt_that_nobody_holds_is_given_up_after_its_window(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.UNAVAILABLE)
    run_id = launched(world)
    world.tick(minutes=16)
    assert world.run(run_id).attempts[0].ended_at is not None
