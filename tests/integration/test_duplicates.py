"""Two jobs with one claim: the one that won the election is the attempt's, whichever is listed."""

from datetime import datetime, timedelta

import grpc
import pytest

from local.simulated.deployment import SimulatedDeployment
from local.vertex.control import FaultKind
from local.vertex.errors import ApiError
from support.factories import NOW
from tuner.runs import RunState

_METRICS = ("custom_model_training_cpus", "custom_model_training_nvidia_t4_gpus")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deployment(clock):
    made = SimulatedDeployment(clock)
    for metric in _METRICS:
        made.vertex.control.set_quota(metric, None, 100)
    made.put_dataset("nan")
    return made


def tick(deployment, clock, **duration):
    clock.now += timedelta(**duration)
    controller = deployment.controller()
    controller.submitter.run_pass()
    controller.completion.check_all()


def jobs_of(deployment):
    """The older job first."""
    return [job.name for job in reversed(deployment.vertex.control.snapshot().jobs)]


def record_as_the_runs_job(controller, run_id, job_name):
    """As if the create call's reply had named the other one of two jobs."""
    stored = controller.ledger.read_open(run_id)
    attempt = stored.run.attempt.evolve(job_name=job_name)
    controller.ledger.replace(stored, stored.run.with_attempt(attempt))


@pytest.mark.parametrize("_", range(8))
def test_of_two_jobs_whose_reply_was_lost_the_one_that_trains_is_kept(deployment, clock, _):
    """Their names are drawn by chance, and they are equally old: neither says which one trains."""
    control = deployment.vertex.control
    control.queue_fault("CreateCustomJob", FaultKind.DUPLICATE)
    lost: list[str] = []

    def after(call):
        if call == "CreateCustomJob" and not lost:
            lost.append(call)
            raise ApiError(grpc.StatusCode.UNAVAILABLE, call)

    controller = deployment.controller(after=after)
    run_id = controller.submitter.record(deployment.request("nan")).run.run_id
    controller.submitter.run_pass()
    for _minute in range(3):
        tick(deployment, clock, minutes=1)
    run = deployment.controller().ledger.read_open(run_id).run
    [training] = deployment.trainers.training()
    assert (run.state, run.attempt.number) == (RunState.RUNNING, 1)
    assert run.attempt.job_name == training.job.name
    assert deployment.trainers.violations == []


def test_a_run_follows_the_job_that_won_its_attempt(deployment, clock):
    deployment.vertex.control.queue_fault("CreateCustomJob", FaultKind.DUPLICATE)
    controller = deployment.controller()
    run_id = controller.submitter.record(deployment.request("nan")).run.run_id
    controller.submitter.run_pass()
    winner, loser = jobs_of(deployment)
    record_as_the_runs_job(controller, run_id, loser)
    for _ in range(3):
        tick(deployment, clock, minutes=1)
    run = controller.ledger.read_open(run_id).run
    assert (run.state, run.attempt.number) == (RunState.RUNNING, 1)
    assert run.attempt.job_name == winner
    deployment.trainers.succeed(deployment.trainers.training()[0])
    tick(deployment, clock, minutes=1)
    assert controller.ledger.read(run_id).run.state is RunState.SUCCEEDED


def test_a_run_is_not_cancelled_before_the_job_that_won_its_attempt_has_ended(deployment, clock):
    deployment.vertex.control.queue_fault("CreateCustomJob", FaultKind.DUPLICATE)
    controller = deployment.controller()
    run_id = controller.submitter.record(deployment.request("nan")).run.run_id
    controller.submitter.run_pass()
    record_as_the_runs_job(controller, run_id, jobs_of(deployment)[1])
    stored = controller.ledger.read_open(run_id)
    controller.ledger.replace(
        stored, stored.run.advance(RunState.CANCELLING, at=clock(), by="person:x", reason="Enough.")
    )
    controller.submitter.run_pass()
    assert controller.ledger.read(run_id).run.state is RunState.CANCELLING
    for _ in range(3):
        tick(deployment, clock, minutes=1)
    assert deployment.trainers.training() == []
    assert controller.ledger.read(run_id).run.state is RunState.CANCELLED
