"""Vertex AI in memory: time that the caller moves, containers that the caller ends, lossy calls.

What it shares with the server behind a socket is in tests/contract.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport

from local.simulated.vertex import NotRunning, SimulatedVertex
from local.simulated.worker import VirtualWorker
from local.vertex.control import FaultKind
from local.vertex.errors import ApiError
from support.vertex_servers import PARENT, custom_job, open_quotas

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def advance(self, **duration):
        self.now += timedelta(**duration)


class Killed(BaseException):
    """The caller is dead."""


@pytest.fixture
def clock():
    return Clock()


def simulated(clock, **options):
    vertex = SimulatedVertex(clock, **options)
    open_quotas(vertex.control)
    return vertex


@pytest.fixture
def vertex(clock):
    return simulated(clock)


def client_of(vertex, **hooks):
    channel = vertex.channel(**hooks)
    return aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))


def create(client, **fields):
    return client.create_custom_job(parent=PARENT, custom_job=custom_job(**fields))


def state_of(vertex, name):
    [state] = [job.state for job in vertex.control.snapshot().jobs if job.name == name]
    return state.removeprefix("JOB_STATE_")


# -- time ---------------------------------------------------------------------------------------


def test_what_was_due_since_the_last_call_happened_when_it_was_due(clock):
    vertex = simulated(clock, provision_seconds=30, grace_seconds=5)
    name = create(client_of(vertex), scheduling={"timeout": {"seconds": 3600}}).name
    clock.advance(days=1)
    job = client_of(vertex).get_custom_job(name=name)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_EXPIRED
    assert job.create_time == NOON
    assert job.start_time == NOON + timedelta(seconds=30)
    assert job.end_time == NOON + timedelta(seconds=30 + 3600 + 5)


def test_nothing_happens_while_the_clock_stands_still(clock):
    vertex = simulated(clock, provision_seconds=30)
    name = create(client_of(vertex)).name
    assert [state_of(vertex, name) for _ in range(3)] == ["PENDING"] * 3
    clock.advance(seconds=29)
    assert state_of(vertex, name) == "PENDING"
    clock.advance(seconds=1)
    assert state_of(vertex, name) == "RUNNING"


def test_a_control_action_comes_after_what_was_due(clock):
    vertex = simulated(clock, provision_seconds=30)
    name = create(client_of(vertex)).name
    clock.advance(minutes=1)
    vertex.control.preempt(name)
    assert state_of(vertex, name) == "FAILED"


def test_actions_run_in_the_order_of_their_times_each_at_its_own(clock):
    worker, seen = VirtualWorker(clock), []

    def first():
        seen.append(("first", worker.now()))
        worker.call(lambda: seen.append(("third", worker.now())), after_seconds=20)

    worker.call(lambda: seen.append(("second", worker.now())), after_seconds=15)
    worker.call(first, after_seconds=10)
    worker.call(lambda: seen.append(("never", worker.now())), after_seconds=float(10**12))
    clock.advance(seconds=60)
    worker.run_due()
    assert seen == [
        (name, NOON + timedelta(seconds=seconds))
        for name, seconds in (("first", 10), ("second", 15), ("third", 30))
    ]
    assert worker.now() == clock()


def test_an_action_that_fails_is_heard_and_the_rest_stays_due(clock):
    def fail():
        raise ZeroDivisionError

    worker, seen = VirtualWorker(clock), []
    worker.call(fail)
    worker.call(lambda: seen.append("next"))
    with pytest.raises(ZeroDivisionError):
        worker.run_due()
    assert seen == []
    worker.run_due()
    assert seen == ["next"]


# -- containers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "state"), [(0, "SUCCEEDED"), (1, "FAILED"), (137, "FAILED")])
def test_a_job_runs_until_it_is_finished_with_a_status(clock, vertex, status, state):
    name = create(client_of(vertex)).name
    assert [job.name for job in vertex.running()] == [name]
    clock.advance(hours=5)
    assert state_of(vertex, name) == "RUNNING"
    vertex.finish(name, status)
    assert state_of(vertex, name) == state
    assert vertex.running() == []


def test_a_job_can_be_finished_by_its_name_with_the_projects_id(vertex):
    job = create(client_of(vertex))
    vertex.finish(f"{PARENT}/customJobs/{job.name.rpartition('/')[2]}", 0)
    assert state_of(vertex, job.name) == "SUCCEEDED"


def test_start_is_told_of_each_job_once_when_it_runs(clock):
    started = []
    vertex = simulated(clock, start=lambda job: started.append(job.name), provision_seconds=30)
    held, name = create(client_of(vertex)).name, create(client_of(vertex)).name
    vertex.run_due()
    assert started == []
    clock.advance(seconds=30)
    vertex.run_due()
    vertex.run_due()
    assert started == [held, name]


def test_start_may_finish_the_job_and_make_calls(clock):
    def start(job):
        labels = {"run_id": "again"}
        if job.resource.labels != labels:
            create(client_of(server), labels=labels)
        server.finish(job.name, 0)

    server = simulated(clock, start=start)
    name = create(client_of(server)).name
    assert state_of(server, name) == "SUCCEEDED"
    server.run_due()
    assert {job.state for job in server.control.snapshot().jobs} == {"JOB_STATE_SUCCEEDED"}
    assert len(server.control.snapshot().jobs) == 2


def test_a_container_can_end_at_a_moment_that_was_set_before(clock):
    def start(job):
        server.worker.call(lambda: server.finish(job.name, 0), after_seconds=1200)

    server = simulated(clock, start=start)
    name = create(client_of(server)).name
    clock.advance(days=1)
    job = client_of(server).get_custom_job(name=name)
    assert job.end_time - job.start_time == timedelta(minutes=20)


def test_a_cancelled_job_may_end_within_its_grace_period(clock, vertex):
    client = client_of(vertex)
    name = create(client).name
    vertex.run_due()
    client.cancel_custom_job(name=name)
    clock.advance(seconds=1)
    assert [job.name for job in vertex.running()] == [name]
    vertex.finish(name, 0)
    job = client.get_custom_job(name=name)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_CANCELLED
    assert job.end_time == clock()


def test_a_job_that_was_preempted_can_no_longer_be_finished(vertex):
    name = create(client_of(vertex)).name
    vertex.control.preempt(name)
    with pytest.raises(NotRunning):
        vertex.finish(name, 0)
    assert state_of(vertex, name) == "FAILED"


# -- the channel --------------------------------------------------------------------------------


def hook_that_raises(error):
    def hook(method_name):
        assert method_name == "CreateCustomJob"
        raise error

    return hook


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (Killed(), Killed),
        (ApiError(grpc.StatusCode.UNAVAILABLE, "Socket closed"), exceptions.ServiceUnavailable),
    ],
)
def test_a_call_that_is_stopped_before_never_happened(vertex, raised, seen):
    with pytest.raises(seen):
        create(client_of(vertex, before=hook_that_raises(raised)))
    assert vertex.control.snapshot().calls == {}
    assert vertex.control.snapshot().jobs == []


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (Killed(), Killed),
        (ApiError(grpc.StatusCode.DEADLINE_EXCEEDED, "Too late"), exceptions.DeadlineExceeded),
    ],
)
def test_a_call_whose_reply_is_lost_has_happened(vertex, raised, seen):
    with pytest.raises(seen):
        create(client_of(vertex, after=hook_that_raises(raised)))
    assert vertex.control.snapshot().calls == {"CreateCustomJob": 1}
    assert len(vertex.control.snapshot().jobs) == 1


def test_a_refusal_can_be_lost_too(vertex):
    vertex.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    with pytest.raises(Killed):
        create(client_of(vertex, after=hook_that_raises(Killed())))


def test_the_hooks_of_one_channel_are_not_anothers(vertex):
    seen = []
    hooked = client_of(vertex, before=lambda name: seen.append(f"before {name}"), after=seen.append)
    name = create(client_of(vertex)).name
    hooked.get_custom_job(name=name)
    vertex.control.snapshot()
    assert seen == ["before GetCustomJob", "GetCustomJob"]


def test_a_refusal_is_a_call_that_is_over(vertex):
    path = "/google.cloud.aiplatform.v1.JobService/CreateNasJob"
    call = vertex.channel().unary_unary(path)
    with pytest.raises(grpc.RpcError) as refusal:
        call(b"")
    assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED
    failed = call.future(b"")
    assert failed.done()
    assert failed.exception() is failed
    assert "CreateNasJob" in failed.details()


def test_no_thread_is_started(vertex):
    before = threading.enumerate()
    vertex.finish(create(client_of(vertex)).name, 0)
    client_of(vertex).list_custom_jobs(parent=PARENT)
    assert threading.enumerate() == before


def test_a_reply_is_the_callers_own(vertex):
    client = client_of(vertex)
    job = create(client)
    job.display_name = "changed"
    assert client.get_custom_job(name=job.name).display_name == "adapter"
