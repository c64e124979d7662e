"""A run that finds no room waits, says why, costs nothing, and goes on when there is room."""

import msgspec
import pytest

from local.vertex.control import FaultKind
from support.controllers import Death
from support.vertex_servers import CPUS, REGION, T4_GPUS
from tuner.runs import RunState


def full(metric):
    return f"aiplatform.googleapis.com/{metric}"


def launched(world):
    return [job.labels["run_id"] for job in world.jobs()]


def test_a_refused_run_waits_with_reason_needs_and_next_check(world):
    world.shut_quota()
    run_id = world.ask()
    world.tick(2)
    run = world.run(run_id)
    assert run.state is RunState.WAITING
    assert "Needs 1 T4 GPU in us-central1" in run.reason
    assert "limit" in run.reason
    assert run.attempts == ()
    assert run.wait.needs[full(T4_GPUS)] == 1
    assert run.wait.has == {full(T4_GPUS): 0}
    assert run.wait.next_check_at > world.clock()
    assert world.jobs() == []
    assert world.events(run_id)[-1].wait == run.wait


def test_a_waiting_run_is_not_written_while_the_answer_stays_the_same(world):
    world.shut_quota()
    world.ask_again(3)
    world.tick(3, minutes=1)
    before = world.generations()
    world.pull("run-events")
    world.tick(5, minutes=1)
    assert world.generations() == before
    assert world.pull("run-events") == []


def test_a_granted_quota_launches_on_the_next_pass(world):
    world.shut_quota()
    run_id = world.ask()
    world.tick(4, minutes=1)
    world.grant_quota()
    world.tick(seconds=1)
    assert launched(world) == [run_id]
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_advice_delays_a_create_call_by_thirty_minutes_at_most(world):
    """The limits that we read are advice; the create call has the last word."""
    world.shut_quota()
    world.ask()
    world.tick(29, minutes=1)
    assert world.calls()["CreateCustomJob"] == 1
    world.tick(2, minutes=1)
    assert world.calls()["CreateCustomJob"] == 2


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.QUOTA_REFUSED,
        FaultKind.QUOTA_EXCEEDED_LATER,
        FaultKind.STOCK_OUT_LATER,
        FaultKind.FAIL_BEFORE_START,
    ],
)
def test_capacity_that_never_comes_backs_off_longer_each_time(world, kind):
    """Reset by a job that finished, not by one that was accepted and then refused."""
    world.ask()
    world.control.queue_fault("CreateCustomJob", kind, times=1000)
    for _ in range(40):
        world.tick(minutes=3)
        world.until_jobs_end()
    assert 5 <= world.calls()["CreateCustomJob"] <= 15


def test_a_rate_limit_is_a_short_wait(world):
    run_id = world.ask()
    world.control.queue_fault("CreateCustomJob", FaultKind.RATE_LIMITED)
    world.tick()
    assert world.state(run_id) is RunState.WAITING
    assert "Too many calls" in world.run(run_id).reason
    world.tick(seconds=10)
    assert world.jobs() == []
    world.tick(seconds=15)
    assert launched(world) == [run_id]


def test_of_two_runs_with_quota_for_one_the_second_waits_for_the_first(world):
    world.shut_quota(1)
    world.trainer("hang")
    first, second = world.ask_again(2)
    world.clock.advance(seconds=1)
    world.tick(2)
    [running] = launched(world)
    waiting = second if running == first else first
    assert world.state(waiting) is RunState.WAITING
    assert "Needs 1 T4 GPU" in world.run(waiting).reason
    assert "free" in world.run(waiting).reason
    world.until_training(running)
    world.trainer("succeed")
    world.cancel(running)
    world.tick()
    assert world.finish(waiting).state is RunState.SUCCEEDED
    assert world.state(running) is RunState.CANCELLED


def test_jobs_of_others_count_as_use(world):
    """Use is the sum over the project's unfinished jobs, whoever made them."""
    world.control.set_quota(CPUS, REGION, 4)
    world.trainer("hang")
    first, second = world.ask_again(2)
    world.tick(2)
    assert len(world.jobs()) == 1
    waiting = next(r for r in (first, second) if world.state(r) is RunState.WAITING)
    assert "Needs 4 training CPUs" in world.run(waiting).reason


def test_priority_goes_first_then_age(world):
    world.shut_quota()
    request = world.request()
    order = {}
    for rerun, priority in enumerate([0, 0, 5]):
        asked = msgspec.structs.replace(request, rerun=rerun, priority=priority)
        order[rerun] = world.controller.submitter.record(asked).run.run_id
        world.clock.advance(minutes=1)
    world.tick(2, minutes=1)
    world.grant_quota()
    world.tick(seconds=1)
    assert launched(world) == [order[2], order[0], order[1]]


def test_six_hours_of_waiting_are_worth_one_priority(world):
    world.shut_quota()
    request = world.request()
    old = world.controller.submitter.record(request).run.run_id
    world.clock.advance(hours=13)
    hurried = msgspec.structs.replace(request, rerun=1, priority=1)
    new = world.controller.submitter.record(hurried).run.run_id
    world.tick(2, minutes=1)
    world.grant_quota()
    world.tick(seconds=1)
    assert launched(world) == [old, new]


def test_fifty_waiting_runs_cost_the_calls_of_one(make_world):
    def calls_of_passes(count):
        world = make_world()
        world.shut_quota()
        world.ask_again(count)
        world.tick(2, minutes=1)
        before = world.calls()
        world.tick(3, minutes=1)
        return {
            name: number - before.get(name, 0)
            for name, number in world.calls().items()
            if number != before.get(name, 0)
        }

    one, fifty = calls_of_passes(1), calls_of_passes(50)
    # No list of jobs: with a limit of 0, it does not matter who uses what.
    assert one == {"ListQuotaPreferences": 3}
    assert fifty == one


def test_a_pass_reads_no_record_of_a_run_that_goes_on_waiting(make_world):
    """Listing the queue is reading it: fifty waiting runs cost the storage calls of one."""

    def calls_of_a_pass(count):
        world = make_world()
        world.shut_quota()
        world.ask_again(count)
        world.tick(3, minutes=1)
        death = Death()
        world.new_controller(death).submitter.run_pass()
        return len(death.calls)

    assert calls_of_a_pass(50) == calls_of_a_pass(1)


def test_room_for_one_is_asked_for_once(world):
    """What a pass launches is taken off the snapshot that the next run is compared with."""
    world.shut_quota()
    world.trainer("hang")
    world.ask_again(3)
    world.tick(2, minutes=1)
    before = world.calls()["CreateCustomJob"]
    world.grant_quota(1)
    world.tick(minutes=1)
    assert len(world.jobs()) == 1
    assert world.calls()["CreateCustomJob"] == before + 1


def test_a_lane_that_was_shut_opens_again_when_a_job_finished(world):
    world.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    run_id = world.ask()
    world.tick()
    world.finish(run_id)
    [name] = world.names(world.places.runs_bucket_name, "lanes/")
    assert world.read(world.places.runs_bucket_name, name)["refusals"] == 0


def test_completion_forgets_refusals_that_it_has_not_seen(world):
    """Completion and submitter are processes of their own; neither may trust its memory."""
    world.finish(world.ask("pop"))
    world.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    run_id = world.ask("nan")
    world.tick()
    assert world.finish(run_id).state is RunState.SUCCEEDED
    [name] = world.names(world.places.runs_bucket_name, "lanes/")
    assert world.read(world.places.runs_bucket_name, name)["refusals"] == 0
