"""The controller may die before any call that it makes: the run ends well, with one job.

A pass is run once to count its calls to Cloud Storage, Pub/Sub, Vertex AI and Cloud Quotas. Then it
is run again and again, each time in a controller that dies before the next of those calls; a fresh
controller takes over. What happens between two calls cannot be seen from outside.
"""

import os
import signal
import subprocess
import sys

import pytest

from support.controllers import Death, Killed
from support.vertex_servers import REPOSITORY
from support.world import conversation
from tuner.runs import RunState


def die_at(number, world, step):
    """Do `step` in a controller that dies before its call `number`; whether it did."""
    death = Death(at=number)
    try:
        step(world.new_controller(death))
    except Killed:
        return True
    return False


def check_the_end(world, run_id, *, attempts=1):
    """The run has ended once and well: no second job trained, no event is missing."""
    # The lease of the dead, and the window of a create call that nobody knows of.
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert len(world.trained(run_id)) == 1
    assert len(run.attempts) <= attempts
    assert len(world.jobs(run_id)) == 1
    story = world.story(run_id)
    assert story == [change.state for change in run.history]
    assert world.controller.ledger.list_open() == []


def every_death(make_world, prepare, step, check):
    """Run `step` until it is done, dying before its first call, then its second, and so on."""
    number = 0
    while True:
        number += 1
        world = make_world()
        run_id = prepare(world)
        died = die_at(number, world, lambda controller: step(controller, run_id))  # noqa: B023
        check(world, run_id)
        world.close()
        if not died:
            return number - 1


def test_the_converter_may_die_before_any_call(make_world):
    def step(controller, upload):
        controller.converter.convert_upload(upload)

    def check(world, upload):
        request = world.controller.converter.convert_upload(upload)
        assert request is not None
        published = world.published_requests()
        assert {each.dataset_id for each in published} == {request.dataset_id}
        assert published[-1] == request
        prefix = world.places.dataset_prefix("nan", request.dataset_id)
        names = world.names(world.places.work_bucket_name, prefix)
        assert {name.rsplit("/", 1)[1] for name in names} == {
            "train.jsonl", "eval.jsonl", "held_out.bin", "receipt.json",
        }  # fmt: skip

    calls = every_death(make_world, lambda world: world.drop(conversation()), step, check)
    assert calls >= 6


def test_a_request_may_be_recorded_by_a_dying_submitter(make_world):
    requests = {}

    def prepare(world):
        requests[world.project] = world.request()
        return world

    def step(controller, world):
        controller.submitter.record(requests[world.project])

    def check(world, _):
        stored = world.controller.submitter.record(requests[world.project])  # delivered again
        world.tick(minutes=1)
        check_the_end(world, stored.run.run_id)

    assert every_death(make_world, prepare, step, check) >= 3


def test_an_admission_pass_may_die_before_any_call(make_world):
    """After the intent, after the create call, before each write: at most one job trains."""

    def step(controller, _):
        controller.submitter.run_pass()

    def check(world, run_id):
        check_the_end(world, run_id, attempts=2)

    assert every_death(make_world, lambda world: world.ask(), step, check) >= 15


def test_completion_may_die_before_any_call(make_world):
    """Before the copies, between them, after the terminal record, before its event."""

    def prepare(world):
        run_id = world.ask()
        world.launch()
        world.until_jobs_end()
        return run_id

    def step(controller, run_id):
        controller.completion.check_run(run_id)

    assert every_death(make_world, prepare, step, check_the_end) >= 15


def test_completion_of_a_killed_job_may_die_before_any_call(make_world):
    def prepare(world):
        world.trainer("succeed", _1="no_result")
        run_id = world.ask()
        world.launch()
        world.until_jobs_end()
        return run_id

    def step(controller, run_id):
        controller.completion.check_run(run_id)

    def check(world, run_id):
        assert world.finish(run_id).state is RunState.SUCCEEDED
        assert [attempt for attempt, _ in world.trained(run_id)] == [1, 2]
        assert world.story(run_id) == [change.state for change in world.run(run_id).history]

    assert every_death(make_world, prepare, step, check) >= 5


def test_a_pass_that_cancels_may_die_before_any_call(make_world):
    def prepare(world):
        world.trainer("hang")
        run_id = world.ask()
        world.tick()
        world.until_training(run_id)
        world.cancel(run_id)
        return run_id

    def step(controller, _):
        controller.submitter.run_pass()

    def check(world, run_id):
        world.tick(minutes=4)  # the lease of the dead
        assert world.finish(run_id).state is RunState.CANCELLED
        assert world.story(run_id)[-2:] == ["cancelling", "cancelled"]

    assert every_death(make_world, prepare, step, check) >= 8


def test_the_closing_of_a_run_may_be_interrupted_again_and_again(world):
    """Each new controller dies one call later than the one before."""
    run_id = world.ask()
    world.launch()
    world.until_jobs_end()
    for number in range(1, 60):
        world.clock.advance(minutes=4)
        if not die_at(number, world, lambda controller: controller.tick()):
            break
    check_the_end(world, run_id)


# -- processes that are really killed -------------------------------------------------------------

#: The submitter's own entry point, killed by SIGKILL beside its create call.
_KILLED_SUBMITTER = """
import os, signal, sys
sys.path.insert(0, "functions/submitter")
import main
from cloudevents.http import CloudEvent
from google.cloud.aiplatform_v1 import JobServiceClient

create, moment = JobServiceClient.create_custom_job, sys.argv[1]

def create_custom_job(*arguments, **options):
    if moment == "after_create":
        create(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

if moment != "never":
    JobServiceClient.create_custom_job = create_custom_job
main.submit(CloudEvent({"type": "ech0.tuner.tick.v1", "source": "//scheduler"}, {}))
"""


def run_submitter(world, moment):
    environment = {"PATH": os.environ["PATH"], **world.environment}
    return subprocess.run(
        [sys.executable, "-c", _KILLED_SUBMITTER, moment],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("moment", "jobs"), [("before_create", 0), ("after_create", 1)])
def test_a_submitter_killed_beside_its_create_call_leaves_one_job(world, moment, jobs):
    run_id = world.ask()
    killed = run_submitter(world, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(world.jobs()) == jobs
    assert world.state(run_id) is RunState.SUBMITTING
    check_the_end(world, run_id, attempts=2)


def test_the_submitters_own_process_launches_through_its_own_clients(world):
    run_id = world.ask()
    ran = run_submitter(world, "never")
    assert ran.returncode == 0, ran.stderr
    assert world.state(run_id) is RunState.RUNNING
    check_the_end(world, run_id)
