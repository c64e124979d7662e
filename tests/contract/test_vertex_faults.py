"""Failures on command: each queued fault does what it says, once, and can be seen to have."""

from __future__ import annotations

import grpc
import pytest
from google.api_core import exceptions
from google.rpc import code_pb2

from local.vertex.control import FaultKind
from support.vertex_servers import (
    PARENT,
    REGION,
    T4_GPUS,
    WAIT_FOR_A_SIGNAL,
    custom_job,
    open_quotas,
)

QUOTA_TEXT = (
    "The following quota metrics exceed quota limits: "
    "aiplatform.googleapis.com/custom_model_training_cpus,"
    "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus,"
    "aiplatform.googleapis.com/custom_model_training_pd_ssd"
)


@pytest.fixture
def server(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state") as connected:
        open_quotas(connected.control)
        yield connected


def consumed(server):
    return [fault.consumed for fault in server.control.faults()]


def test_a_create_is_refused_though_the_limits_allow_it(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    with pytest.raises(exceptions.ResourceExhausted) as refusal:
        server.create(custom_job())
    assert refusal.value.message == QUOTA_TEXT
    assert consumed(server) == [True]
    server.create(custom_job())


def test_a_refusal_names_the_metrics_it_is_told(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED, metrics=[T4_GPUS])
    with pytest.raises(exceptions.ResourceExhausted, match=f"googleapis.com/{T4_GPUS}$"):
        server.create(custom_job())


def test_the_apis_own_rate_limit_has_another_text(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.RATE_LIMITED)
    with pytest.raises(exceptions.ResourceExhausted) as refusal:
        server.create(custom_job())
    assert refusal.value.message.startswith(
        "Quota exceeded for quota metric 'Custom job submissions' and limit"
    )
    assert "consumer 'project_number:123456789012'" in refusal.value.message
    assert "aiplatform.googleapis.com/" not in refusal.value.message
    assert server.names() == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.UNAVAILABLE, exceptions.ServiceUnavailable),
        (FaultKind.DEADLINE_EXCEEDED, exceptions.DeadlineExceeded),
        (FaultKind.INTERNAL, exceptions.InternalServerError),
    ],
)
def test_a_failed_reply_leaves_no_job(server, kind, error):
    server.control.queue_fault("CreateCustomJob", kind)
    with pytest.raises(error):
        server.create(custom_job())
    assert server.names() == []
    assert consumed(server) == [True]


def test_a_lost_reply_hides_a_job_that_was_created(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    with pytest.raises(exceptions.ServiceUnavailable):
        server.create(custom_job(labels={"run_id": "r1"}))
    [name] = server.names('labels.run_id="r1"')
    server.until(name, "SUCCEEDED")


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.STOCK_OUT_LATER])
def test_a_fault_is_not_consumed_by_a_create_that_is_refused_anyway(server, kind):
    server.control.queue_fault("CreateCustomJob", kind)
    server.control.set_quota(T4_GPUS, REGION, 0)
    with pytest.raises(exceptions.ResourceExhausted):
        server.create(custom_job())
    assert consumed(server) == [False]


def test_a_stock_out_fails_a_created_job(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.STOCK_OUT_LATER)
    job = server.until(server.run(), "FAILED")
    assert job.error.code == code_pb2.RESOURCE_EXHAUSTED
    assert job.error.message == (
        "Resources are insufficient in region: us-central1. Please try a different region."
    )
    assert job.start_time is None


def test_quota_can_run_out_after_the_create(server):
    server.control.set_quota(T4_GPUS, REGION, 0)
    server.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_EXCEEDED_LATER)
    job = server.until(server.run(), "FAILED")
    assert (job.error.code, job.error.message) == (code_pb2.RESOURCE_EXHAUSTED, QUOTA_TEXT)


def test_a_job_can_fail_before_its_container_starts(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.FAIL_BEFORE_START)
    job = server.until(server.run(), "FAILED")
    assert job.error.code == code_pb2.INTERNAL
    assert job.start_time is None
    assert not server.ran(job.name)


def test_a_held_job_can_be_failed_before_it_starts(server):
    server.control.hold_new_jobs()
    name = server.run()
    server.control.fail_before_start(name)
    assert server.until(name, "FAILED").start_time is None


def test_a_job_stays_queued_until_it_is_released(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.STAY_QUEUED)
    queued, other = server.run(), server.run()
    server.until(other, "SUCCEEDED")
    assert server.get(queued).state.name == "JOB_STATE_QUEUED"
    assert server.control.release() == [queued]
    server.until(queued, "SUCCEEDED")


def test_held_jobs_are_released_oldest_first(server):
    server.control.hold_new_jobs()
    names = [server.run() for _ in range(3)]
    server.control.hold_new_jobs(False)
    assert server.control.release(names[1]) == [names[1]]
    assert server.control.release() == [names[0], names[2]]
    for name in names:
        server.until(name, "SUCCEEDED")


def test_a_late_create_appears_only_when_it_is_told_to(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
    with pytest.raises(exceptions.DeadlineExceeded):
        server.create(custom_job(labels={"run_id": "r1"}))
    [hidden] = server.control.snapshot().jobs
    assert hidden.hidden
    assert server.names() == []
    with pytest.raises(exceptions.NotFound):
        server.get(hidden.name)
    meanwhile = server.run()
    assert server.control.reveal() == [hidden.name]
    assert server.names("labels.run_id=r1") == [hidden.name]
    assert server.names() == [hidden.name, meanwhile]
    server.until(hidden.name, "SUCCEEDED")


def test_a_duplicated_create_makes_two_jobs_and_names_the_first(server):
    server.control.queue_fault("CreateCustomJob", FaultKind.DUPLICATE)
    name = server.run(labels={"claim_id": "c1"})
    newest, oldest = server.names("labels.claim_id=c1")
    assert oldest == name
    for each in (newest, oldest):
        server.until(each, "SUCCEEDED")


def test_a_list_can_lag_behind_the_newest_job(server):
    older, newer = server.run(), server.run()
    server.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=2)
    assert server.names() == [older]
    assert server.names() == [older]
    assert server.names() == [newer, older]
    assert server.get(newer).name == newer


def test_a_lagging_list_waits_for_a_list_that_has_something_to_omit(server):
    server.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST)
    assert server.names() == []
    server.run()
    assert server.names() == []
    assert consumed(server) == [True]


def test_reads_can_be_unavailable(server):
    name = server.run()
    server.control.queue_fault("GetCustomJob", FaultKind.UNAVAILABLE)
    with pytest.raises(exceptions.ServiceUnavailable):
        server.get(name)
    assert server.get(name).name == name


def test_a_preempted_job_is_killed_and_fails_as_a_lost_node(server):
    name = server.run(WAIT_FOR_A_SIGNAL)
    server.until(name, "RUNNING")
    runs = server.container(name)
    server.control.preempt(name)
    job = server.until(name, "FAILED")
    assert job.error.code == code_pb2.UNAVAILABLE
    assert "node" in job.error.message
    assert not runs()


def test_faults_are_consumed_in_their_order_and_once(server):
    control = server.control
    first = control.queue_fault("CreateCustomJob", FaultKind.UNAVAILABLE, times=2)
    second = control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    other = control.queue_fault("ListCustomJobs", FaultKind.INTERNAL)
    assert [fault.fault_id for fault in control.faults()] == [*first, *second, *other]
    for error in (
        exceptions.ServiceUnavailable,
        exceptions.ServiceUnavailable,
        exceptions.ResourceExhausted,
    ):
        with pytest.raises(error):
            server.create(custom_job())
    assert consumed(server) == [True, True, True, False]
    control.clear_faults()
    server.create(custom_job())
    assert len(server.names()) == 1


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("NoSuchCall", FaultKind.INTERNAL),
        ("GetCustomJob", FaultKind.DUPLICATE),
        ("CreateCustomJob", FaultKind.OMIT_NEWEST),
    ],
)
def test_a_fault_that_could_never_strike_is_refused(server, operation, kind):
    with pytest.raises(grpc.RpcError) as refusal:
        server.control.queue_fault(operation, kind)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert server.control.faults() == []


def test_an_unknown_job_or_metric_is_refused_by_the_control_channel(server):
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        server.control.preempt(f"{PARENT}/customJobs/1")
    with pytest.raises(grpc.RpcError, match="no quota has the metric"):
        server.control.set_quota("custom_model_training_unicorns", REGION, 1)
