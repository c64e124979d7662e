"""Where a run goes: lanes in order of preference, moving on, and what can never work."""

import pytest
from google.cloud.aiplatform_v1 import Scheduling

from local.vertex.control import FaultKind
from support.vertex_servers import CPUS, REGION, T4_GPUS
from tuner.runs import RunState

EU = "europe-west4"
SPOT_CPUS, SPOT_T4 = (
    "custom_model_training_preemptible_cpus",
    ("custom_model_training_preemptible_nvidia_t4_gpus"),
)
FLEX_CPUS, FLEX_L4 = (
    "custom_model_training_preemptible_g2_cpus",
    ("custom_model_training_preemptible_nvidia_l4_gpus"),
)
STRATEGIES = Scheduling.Strategy
BOTH = ("vertex-t4", "vertex-t4-spot")


def open_spot(world, cpus=100, gpus=100):
    world.control.set_quota(SPOT_CPUS, REGION, cpus)
    world.control.set_quota(SPOT_T4, REGION, gpus)


def open_flex(world):
    world.control.set_quota(FLEX_CPUS, REGION, 100)
    world.control.set_quota(FLEX_L4, REGION, 100)


def spec_of(world, job):
    return world.jobs_client.get_custom_job(name=job.name).job_spec


def test_a_spot_job_says_so_and_draws_on_its_own_quotas(world):
    open_spot(world, cpus=4, gpus=1)
    world.shut_quota()
    run_id = world.ask(lanes=("vertex-t4-spot",))
    world.launch()
    [job] = world.jobs(run_id)
    spec = spec_of(world, job)
    assert spec.scheduling.strategy == STRATEGIES.SPOT
    assert spec.worker_pool_specs[0].machine_spec.machine_type == "n1-standard-4"
    assert world.run(run_id).attempts[0].lane == "vertex-t4-spot"
    assert world.run(run_id).attempts[0].usd_per_hour == 0.25


def test_a_flex_start_job_waits_to_the_runs_deadline_at_most(world):
    open_flex(world)
    run_id = world.ask(lanes=("vertex-l4-flex",), max_wait_seconds=36_000)
    world.launch()
    spec = spec_of(world, world.jobs(run_id)[0])
    assert spec.scheduling.strategy == STRATEGIES.FLEX_START
    assert spec.scheduling.max_wait_duration.total_seconds() == 36_000
    machine = spec.worker_pool_specs[0].machine_spec
    assert (machine.machine_type, machine.accelerator_type.name) == ("g2-standard-4", "NVIDIA_L4")


def test_a_flex_start_job_looks_for_a_machine_until_the_run_moves_on(world):
    open_flex(world)
    run_id = world.ask(
        lanes=("vertex-l4-flex", "vertex-t4"), move_on_after={"vertex-l4-flex": 7200}
    )
    world.launch()
    spec = spec_of(world, world.jobs(run_id)[0])
    assert spec.scheduling.max_wait_duration.total_seconds() == 7200


@pytest.mark.parametrize(
    ("lane", "words"),
    [("vertex-t4-flex", "Flex-start has no T4"), ("my-laptop", "no lane 'my-laptop'")],
)
def test_a_lane_that_can_never_work_is_refused_at_once(world, lane, words):
    run_id = world.ask(lanes=("vertex-t4", lane))
    world.tick()
    run = world.run(run_id)
    assert run.state is RunState.REJECTED
    assert words in run.reason
    assert world.jobs() == []


def test_spot_with_one_cpu_that_nobody_raises_is_refused_at_once(world):
    """A project was seen with one preemptible T4 and one preemptible CPU, both not eligible."""
    open_spot(world, cpus=1, gpus=1)
    world.control.set_ineligibility(SPOT_CPUS, "NOT_ENOUGH_USAGE_HISTORY")
    run_id = world.ask(lanes=("vertex-t4-spot",))
    world.tick()
    run = world.run(run_id)
    assert run.state is RunState.REJECTED
    assert run.reason.startswith("Needs 4 preemptible training CPUs in us-central1; the project's")
    assert "CreateCustomJob" not in world.calls()


def test_beside_a_lane_that_works_one_that_never_can_does_no_harm(world):
    open_spot(world, cpus=1, gpus=1)
    world.control.set_ineligibility(SPOT_CPUS, "OTHER")
    run_id = world.ask(lanes=("vertex-t4-spot", "vertex-t4"))
    world.launch()
    assert world.run(run_id).attempts[0].lane == "vertex-t4"


def test_a_run_that_had_room_once_is_not_rejected_later(world):
    open_spot(world, cpus=4, gpus=1)
    world.trainer("hang")
    run_id = world.ask(lanes=("vertex-t4-spot",))
    world.launch()
    world.control.preempt(world.until_training(run_id).name)
    world.until_jobs_end()
    open_spot(world, cpus=1)
    world.control.set_ineligibility(SPOT_CPUS, "OTHER")
    world.tick(40, minutes=1)
    assert world.state(run_id) is RunState.WAITING


def test_a_shut_lane_gives_way_to_the_next_with_room(world):
    open_spot(world)
    world.shut_quota()
    run_id = world.ask(lanes=BOTH)
    world.tick(2, minutes=1)
    assert [attempt.lane for attempt in world.run(run_id).attempts] == ["vertex-t4-spot"]


def test_a_run_stays_with_its_lane_for_as_long_as_it_wants_to(world):
    open_spot(world)
    world.shut_quota()
    run_id = world.ask(lanes=BOTH, move_on_after={"vertex-t4": 3600})
    world.tick(59, minutes=1)
    assert world.run(run_id).attempts == ()
    world.tick(2, minutes=1)
    assert [attempt.lane for attempt in world.run(run_id).attempts] == ["vertex-t4-spot"]


def test_the_next_region_is_taken_when_the_first_has_no_machine(make_world):
    world = make_world(TUNER_REGIONS=f"{REGION},{EU}")
    for metric in (T4_GPUS, CPUS):
        world.control.set_quota(metric, EU, 100)
    world.control.queue_fault("CreateCustomJob", FaultKind.STOCK_OUT_LATER)
    run_id = world.ask()
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [attempt.region for attempt in run.attempts] == [REGION, EU]
    assert world.trained(run_id)[0][0] == 2


def test_a_run_that_does_not_fit_here_does_not_block_one_that_fits_elsewhere(world):
    open_spot(world)
    world.shut_quota()
    blocked = world.ask("nan")
    other = world.ask("pop", lanes=("vertex-t4-spot",))
    world.launch()
    assert world.state(blocked) is RunState.WAITING
    assert world.state(other) is RunState.RUNNING


# -- a job that stands in the platform's queue -----------------------------------------------------


def queued(world, **changes):
    """A run whose job stands in Vertex AI's queue."""
    world.control.hold_new_jobs()
    run_id = world.ask(**changes)
    world.tick()
    assert [job.state for job in world.jobs(run_id)] == ["JOB_STATE_QUEUED"]
    world.control.hold_new_jobs(False)
    return run_id


def test_a_queued_job_is_a_free_wait(world):
    run_id = queued(world)
    world.tick(48, hours=1)
    assert world.state(run_id) is RunState.RUNNING
    assert len(world.jobs(run_id)) == 1


def test_a_queued_job_gives_way_when_another_lane_has_room(world):
    run_id = queued(world, lanes=BOTH)
    world.tick(3, minutes=1)
    assert len(world.jobs(run_id)) == 1, "Spot has no quota: nothing to move to"
    open_spot(world)
    world.tick(31, minutes=1)
    world.until_jobs_end()
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [attempt.lane for attempt in run.attempts] == list(BOTH)
    assert "vertex-t4-spot has room in us-central1" in run.attempts[0].stop_reason
    assert [attempt for attempt, _ in world.trained(run_id)] == [2]


def test_a_queued_job_is_given_up_when_the_run_moves_on(world):
    run_id = queued(world, lanes=BOTH, move_on_after={"vertex-t4": 7200})
    open_spot(world)
    world.tick(100, minutes=1)
    assert len(world.jobs(run_id)) == 1
    world.tick(25, minutes=1)
    run = world.finish(run_id)
    assert [attempt.lane for attempt in run.attempts] == list(BOTH)


def test_a_queued_job_with_nowhere_else_to_go_stays(world):
    run_id = queued(world, move_on_after={"vertex-t4": 60})
    world.tick(30, minutes=10)
    assert len(world.jobs(run_id)) == 1


def test_flex_start_is_ended_an_hour_after_its_own_maximum_wait(world):
    open_flex(world)
    run_id = queued(
        world, lanes=("vertex-l4-flex", "vertex-t4"), move_on_after={"vertex-l4-flex": 7200}
    )
    world.tick(2, minutes=89)  # the server's own clock stands: it gives nothing up by itself
    assert len(world.jobs(run_id)) == 1
    world.tick(2, minutes=2)
    world.until_jobs_end()
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [attempt.lane for attempt in run.attempts] == ["vertex-l4-flex", "vertex-t4"]


def test_a_run_whose_job_is_queued_to_its_deadline_expires_with_everything_kept(world):
    run_id = queued(world, max_wait_seconds=7200)
    for _ in range(3):
        world.tick(minutes=61)
        world.until_quiet()
    world.tick(2, minutes=1)
    run = world.run(run_id)
    assert run.state is RunState.EXPIRED
    assert "retry" in run.reason
    prefix = world.places.dataset_prefix("nan", run.request.dataset_id)
    assert world.names(world.places.work_bucket_name, prefix)


# -- the API's own limit ---------------------------------------------------------------------------


def test_no_more_jobs_are_asked_for_in_a_minute_than_the_api_takes(world, monkeypatch):
    monkeypatch.setattr("tuner.submission.MAX_LAUNCHES_A_MINUTE", 2)
    world.trainer("hang")
    world.ask_again(5)
    world.tick()
    world.tick(seconds=20)
    assert len(world.jobs()) == 2
    world.tick(seconds=45)
    assert len(world.jobs()) == 4


# -- what a cancelled run has cost -----------------------------------------------------------------


def test_a_cancelled_run_says_what_its_job_cost(world):
    world.trainer("hang")
    run_id = world.ask()
    world.launch()
    world.until_training(run_id)
    world.tick()
    world.clock.advance(minutes=30)
    world.cancel(run_id)
    world.tick()
    world.until_jobs_end()
    world.tick()
    run = world.run(run_id)
    assert run.state is RunState.CANCELLED
    assert run.reason == ("Cancelled. Its job has ended; 30 min on machines cost about $0.31.")


def test_a_run_that_is_cancelled_while_it_waits_cost_nothing(world):
    world.shut_quota()
    run_id = world.ask()
    world.tick()
    world.cancel(run_id)
    world.tick()
    assert world.run(run_id).reason == (
        "Cancelled. No job was running; no machine was used, so it cost nothing."
    )
