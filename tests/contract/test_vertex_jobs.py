"""Jobs on the Vertex stand-in: what runs, how it ends, and what Google's client sees of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.rpc import code_pb2

from local.vertex.server import DEFAULT_PROJECT_NUMBER
from support import wait
from support.vertex_servers import (
    EXITS_WITH_3,
    IGNORES_SIGTERM,
    KILLS_ITSELF,
    PARENT,
    STATES,
    WAIT_FOR_A_SIGNAL,
    custom_job,
    is_alive,
    open_quotas,
)


@pytest.fixture
def server(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state", job_environment={"BASE": "base"}) as connected:
        open_quotas(connected.control)
        yield connected


def test_a_created_job_is_pending_and_named_by_project_number(server):
    job = server.create(custom_job(WAIT_FOR_A_SIGNAL, labels={"run_id": "r1"}))
    parent = f"projects/{DEFAULT_PROJECT_NUMBER}/locations/us-central1/customJobs/"
    assert job.name.startswith(parent)
    assert job.name.removeprefix(parent).isdigit()
    assert job.state == STATES.JOB_STATE_PENDING
    assert job.labels == {"run_id": "r1"}
    assert job.create_time <= job.update_time
    assert job.start_time is None


def test_a_job_can_be_read_by_project_id_and_by_number(server):
    name = server.run()
    by_id = name.replace(DEFAULT_PROJECT_NUMBER, "demo-project")
    assert server.get(by_id).name == server.get(name).name == name


def test_a_job_that_exits_with_zero_succeeds(server):
    job = server.until(server.run(), "SUCCEEDED")
    assert job.create_time <= job.start_time <= job.end_time == job.update_time
    assert not job.error.code


@pytest.mark.usefixtures("processes")
def test_what_a_job_prints_is_in_its_log(server):
    job = server.until(server.run("print('trained')"), "SUCCEEDED")
    assert server.log(job.name) == "trained\n"


@pytest.mark.usefixtures("processes")
def test_a_container_gets_its_environment_and_nothing_of_the_servers(server):
    code = "import os, json; print(json.dumps(dict(os.environ), sort_keys=True))"
    name = server.run(code, env={"MODE": "fast"}, output="gs://work/runs/run-1/")
    server.until(name, "SUCCEEDED")
    printed = json.loads(server.log(name))
    printed.pop("LC_CTYPE", None)  # Python's own locale coercion
    assert printed == {
        "AIP_CHECKPOINT_DIR": "gs://work/runs/run-1/checkpoints/",
        "AIP_MODEL_DIR": "gs://work/runs/run-1/model/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://work/runs/run-1/logs/",
        "BASE": "base",
        "CLOUD_ML_JOB_ID": name.rpartition("/")[2],
        "CLOUD_ML_PROJECT_ID": "demo-project",
        "MODE": "fast",
    }


@pytest.mark.usefixtures("processes")
def test_without_an_output_directory_there_are_no_aip_variables(server):
    name = server.run("import os; print(sorted(k for k in os.environ if 'AIP' in k))", output=None)
    server.until(name, "SUCCEEDED")
    assert server.log(name) == "[]\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [(EXITS_WITH_3, 3), (KILLS_ITSELF, 137)],
)
def test_a_job_that_ends_badly_fails_with_vertex_text(server, code, status):
    job = server.until(server.run(code), "FAILED")
    assert job.error.code == code_pb2.INVALID_ARGUMENT
    assert job.error.message == (
        f"The replica workerpool0-0 exited with a non-zero status of {status}."
    )
    assert job.start_time <= job.end_time


@pytest.mark.usefixtures("processes")
def test_a_command_that_does_not_exist_fails_the_job(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state", job_command=["/no/such/entrypoint"]) as server:
        open_quotas(server.control)
        job = server.until(server.run(), "FAILED")
        assert "status of 127" in job.error.message


def test_a_cancelled_job_ends_cancelled_and_its_container_is_gone(server):
    name = server.run(WAIT_FOR_A_SIGNAL)
    server.until(name, "RUNNING")
    runs = server.container(name)
    server.jobs.cancel_custom_job(name=name)
    job = server.until(name, "CANCELLED")
    assert job.error.code == code_pb2.CANCELLED
    assert not runs()


@pytest.mark.usefixtures("processes")
def test_a_cancelled_job_gets_sigterm_and_may_save_what_it_has(server):
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print('ready', flush=True); signal.pause()"
    )
    name = server.run(code)
    server.until_ready(name)
    server.jobs.cancel_custom_job(name=name)
    job = server.until(name, "CANCELLED")
    assert job.error.code == code_pb2.CANCELLED
    assert server.log(name) == "ready\nsaved\n"


def test_a_job_that_ignores_sigterm_is_cancelling_until_it_is_killed(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state", grace_seconds=0.5) as server:
        open_quotas(server.control)
        name = server.run(IGNORES_SIGTERM)
        server.until_ready(name)
        runs = server.container(name)
        server.jobs.cancel_custom_job(name=name)
        assert server.get(name).state == STATES.JOB_STATE_CANCELLING
        server.jobs.cancel_custom_job(name=name)  # the second one does nothing
        assert runs()
        assert server.until(name, "CANCELLED").error.code == code_pb2.CANCELLED
        assert not runs()


@pytest.mark.usefixtures("processes")
def test_what_a_job_started_ends_with_it(server):
    child = "[sys.executable, '-c', 'import signal; signal.pause()']"
    name = server.run(f"import subprocess, sys; print(subprocess.Popen({child}).pid)")
    server.until(name, "SUCCEEDED")
    pid = int(server.log(name))
    wait.until(lambda: not is_alive(pid))


def test_a_queued_job_is_cancelled_without_running(server):
    server.control.hold_new_jobs()
    name = server.run("print('ran')")
    server.jobs.cancel_custom_job(name=name)
    job = server.until(name, "CANCELLED")
    assert job.start_time is None
    assert job.end_time is not None


def test_cancelling_a_finished_job_is_a_failed_precondition(server):
    name = server.run()
    server.until(name, "SUCCEEDED")
    with pytest.raises(exceptions.FailedPrecondition, match="JOB_STATE_SUCCEEDED"):
        server.jobs.cancel_custom_job(name=name)


def test_a_job_past_its_timeout_expires_and_its_container_is_gone(server):
    name = server.run(WAIT_FOR_A_SIGNAL, scheduling={"timeout": {"seconds": 1}})
    server.until(name, "RUNNING")
    runs = server.container(name)
    job = server.until(name, "EXPIRED")
    assert not job.error.code
    assert not runs()


def test_a_flex_start_job_expires_when_its_wait_is_over(server):
    open_quotas(
        server.control,
        "custom_model_training_preemptible_g2_cpus",
        "custom_model_training_preemptible_nvidia_l4_gpus",
    )
    server.control.hold_new_jobs()
    job = custom_job(
        machine_type="g2-standard-8",
        accelerator="NVIDIA_L4",
        scheduling={"strategy": "FLEX_START", "max_wait_duration": {"nanos": 200_000_000}},
    )
    name = server.create(job).name
    assert server.until(name, "EXPIRED").start_time is None


def test_a_finished_job_can_be_deleted(server):
    name = server.run()
    server.until(name, "SUCCEEDED")
    server.jobs.delete_custom_job(name=name).result(timeout=5)
    with pytest.raises(exceptions.NotFound):
        server.get(name)
    assert server.names() == []


def test_a_running_job_cannot_be_deleted(server):
    name = server.run(WAIT_FOR_A_SIGNAL)
    with pytest.raises(exceptions.FailedPrecondition):
        server.jobs.delete_custom_job(name=name)


def test_a_job_that_does_not_exist_is_not_found(server):
    with pytest.raises(exceptions.NotFound):
        server.get(f"{PARENT}/customJobs/1")


def test_another_project_is_denied_when_the_server_holds_one(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state", project_id="demo-project") as server:
        with pytest.raises(exceptions.PermissionDenied):
            server.create(custom_job(), parent="projects/other/locations/us-central1")
        assert server.names() == []


def test_calls_are_counted_by_method_refused_ones_included(server):
    with pytest.raises(exceptions.InvalidArgument):
        server.create(custom_job(display_name=""))
    server.names()
    server.names()
    assert server.control.snapshot().calls == {"CreateCustomJob": 1, "ListCustomJobs": 2}


def test_times_come_from_the_servers_clock(open_vertex, tmp_path):
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    with open_vertex(tmp_path / "state", clock=lambda: now) as server:
        open_quotas(server.control)
        job = server.until(server.run(), "SUCCEEDED")
        assert job.create_time == job.start_time == job.end_time == job.update_time == now


@pytest.mark.usefixtures("processes")
def test_logs_and_state_are_the_owners_alone(server):
    name = server.run()
    server.until(name, "SUCCEEDED")
    [job] = server.control.snapshot().jobs
    log_path = Path(job.log_path)
    assert log_path.stat().st_mode & 0o077 == 0
    assert log_path.parents[1].stat().st_mode & 0o077 == 0
