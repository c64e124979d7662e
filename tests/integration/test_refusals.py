"""What a refused create call does to its lane, its run and the ledger."""

import pytest
from google.api_core import exceptions as google_exceptions

from local.vertex.control import FaultKind
from support.vertex_servers import CPUS, REGION, custom_job
from tuner.runs import RunState

LANE = f"lanes/vertex-t4.{REGION}.json"


class Refusing:
    """Google's client, whose create call raises while `error` is set."""

    def __init__(self, client, error):
        self._client = client
        self.error = error

    def create_custom_job(self, **options):
        if self.error is not None:
            raise self.error
        return self._client.create_custom_job(**options)

    def __getattr__(self, name):
        return getattr(self._client, name)


@pytest.mark.parametrize(
    "error",
    [
        google_exceptions.Forbidden("Permission 'aiplatform.customJobs.create' denied."),
        google_exceptions.Unauthorized("Request had invalid authentication credentials."),
        google_exceptions.NotFound("Project world was not found."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_deployment_that_may_not_create_jobs_waits_until_that_is_put_right(world, caplog, error):
    refusing = Refusing(world.jobs_client, error)
    world.controller.lanes["vertex-t4"]._jobs_client = lambda region: refusing
    run_id = world.ask()
    world.tick()
    run = world.run(run_id)
    assert run.state is RunState.WAITING
    assert run.reason.startswith("Vertex AI does not let this deployment create jobs:")
    assert error.message in run.reason
    assert (run.attempts, run.errors) == ((), 0)
    assert "not-allowed" in {r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)}
    refusing.error = None
    world.tick(minutes=31)
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_rate_limits_in_a_row_double_the_pause_up_to_thirty_minutes(world):
    run_id = world.ask()
    world.control.queue_fault("CreateCustomJob", FaultKind.RATE_LIMITED, times=9)
    for seconds in (20, 40, 80, 160, 320, 640, 1280, 1800, 1800):
        calls = world.calls().get("CreateCustomJob", 0)
        world.tick()
        assert world.calls()["CreateCustomJob"] == calls + 1
        world.tick(seconds=seconds - 1)
        assert world.calls()["CreateCustomJob"] == calls + 1, f"a pause of {seconds} s"
        world.clock.advance(seconds=1)
    runs_bucket = world.places.runs_bucket_name
    assert world.read(runs_bucket, LANE)["rate_limits"] == 9
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert world.read(runs_bucket, LANE)["rate_limits"] == 0
    world.control.queue_fault("CreateCustomJob", FaultKind.RATE_LIMITED)
    again = world.ask("pop")
    world.launch()
    world.clock.advance(seconds=21)
    world.launch()
    assert world.state(again) is RunState.RUNNING, "the pause begins anew"


# -- others come and go ----------------------------------------------------------------------------


def use(world, machine_type):
    """Let somebody else's job hold CPUs of the project."""
    world.control.hold_new_jobs()
    world.jobs_client.create_custom_job(
        parent=world.vertex_parent,
        custom_job=custom_job(machine_type=machine_type, accelerator=None),
    )
    world.control.hold_new_jobs(False)


def test_what_others_use_at_the_moment_is_not_worth_a_write(world):
    world.control.set_quota(CPUS, REGION, 8)
    use(world, "n1-standard-4")
    use(world, "n1-standard-2")
    run_id = world.ask()
    world.tick(3)
    assert "2 of 8 training CPUs are free" in world.run(run_id).reason
    before = world.generations()
    world.pull("run-events")
    use(world, "n1-standard-2")
    world.tick(2, minutes=1)
    assert world.generations() == before
    assert world.pull("run-events") == []


def test_a_changed_limit_is_told(world):
    world.control.set_quota(CPUS, REGION, 8)
    use(world, "n1-standard-8")
    run_id = world.ask()
    world.tick(3)
    before = world.run(run_id)
    world.control.set_quota(CPUS, REGION, 9)
    world.tick(minutes=1)
    run = world.run(run_id)
    assert run.seq == before.seq + 1
    assert "1 of 9 training CPUs are free" in run.reason
    assert world.story(run_id) == ["requested", "submitting", *["waiting"] * 3]
