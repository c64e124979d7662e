"""The Vertex stand-in as a process: starting, stopping, dying, and what a restart remembers."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from google.rpc import code_pb2

from local.vertex.control import FaultKind
from local.vertex.server import VertexServer
from local.vertex.store import StateInUse
from support import wait
from support.vertex_servers import (
    CPUS,
    PARENT,
    PYTHON_JOB,
    QUOTA_PARENT,
    REGION,
    REPOSITORY,
    T4_GPUS,
    clients,
    custom_job,
    is_alive,
    open_quotas,
    vertex,
    vertex_process,
)

IGNORES_SIGTERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True); signal.pause()"
)


def run_until_ready(server, code=IGNORES_SIGTERM):
    """Start a job that prints when it can be signalled; return its name and process id."""
    open_quotas(server.control)
    name = server.run(code)
    server.until(name, "RUNNING")
    wait.until(lambda: "ready" in server.log(name))
    return name, server.pid(name)


def test_a_killed_server_leaves_no_job_behind(tmp_path):
    state_dir = tmp_path / "state"
    with vertex_process(state_dir) as running:
        with clients(running.endpoint, running.certificate_path) as server:
            name, pid = run_until_ready(server)
        assert is_alive(pid)
        running.process.kill()
        assert running.process.wait(10) == -signal.SIGKILL
        wait.until(lambda: not is_alive(pid))

    with (
        vertex_process(state_dir) as running,
        clients(running.endpoint, running.certificate_path) as server,
    ):
        job = server.get(name)
        assert job.state.name == "JOB_STATE_FAILED"
        assert job.error.code == code_pb2.UNAVAILABLE
        assert "node" in job.error.message


def test_a_terminated_server_stops_with_its_jobs(tmp_path):
    with vertex_process(tmp_path / "state") as running:
        with clients(running.endpoint, running.certificate_path) as server:
            _, pid = run_until_ready(server)
        running.process.terminate()
        assert running.process.wait(10) == 0
        assert not is_alive(pid)


def test_the_ready_file_says_where_and_who(tmp_path):
    with vertex_process(tmp_path / "state") as running:
        ready = json.loads((tmp_path / "state.ready.json").read_bytes())
        assert ready == {"port": int(running.endpoint[10:]), "pid": running.process.pid}


def test_unmodified_clients_trust_the_server_by_the_environment_variable(tmp_path):
    script = """
import sys
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.cloudquotas_v1 import CloudQuotasClient

def options():
    return {
        "credentials": AnonymousCredentials(),
        "client_options": ClientOptions(api_endpoint=sys.argv[1]),
    }

print(len(list(JobServiceClient(**options()).list_custom_jobs(parent=sys.argv[2]))))
quotas = CloudQuotasClient(**options()).list_quota_infos(
    parent=sys.argv[3] + "/services/aiplatform.googleapis.com"
)
print(len(list(quotas)) > 10)
"""
    with VertexServer(tmp_path / "state", job_command=PYTHON_JOB) as server:
        ran = subprocess.run(
            [sys.executable, "-c", script, server.endpoint, PARENT, QUOTA_PARENT],
            env={"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(server.root_certificate_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ran.stdout, ran.returncode) == ("0\nTrue\n", 0), ran.stderr


def test_jobs_quotas_and_preferences_survive_a_restart(tmp_path):
    with vertex(tmp_path / "state") as server:
        open_quotas(server.control)
        done = server.run("print('done')")
        server.until(done, "SUCCEEDED")
        server.control.hold_new_jobs()
        queued = server.run("print('after the restart')")
        server.control.set_quota(T4_GPUS, REGION, 2)
        server.control.set_usage_by_others(T4_GPUS, REGION, 1)
        asked = server.quotas.create_quota_preference(
            parent=QUOTA_PARENT,
            quota_preference_id="t4",
            quota_preference={
                "service": "aiplatform.googleapis.com",
                "quota_id": "CustomModelTrainingT4GPUsPerProjectPerRegion",
                "dimensions": {"region": REGION},
                "quota_config": {"preferred_value": 3},
                "contact_email": "ops@example.com",
            },
        )
        before = [server.get(name) for name in (queued, done)]

    with vertex(tmp_path / "state") as server:
        assert list(server.jobs.list_custom_jobs(parent=PARENT)) == before
        assert list(server.quotas.list_quota_preferences(parent=QUOTA_PARENT)) == [asked]
        # The queued job uses one of the two GPUs, something else the other.
        with pytest.raises(Exception, match=f"googleapis.com/{T4_GPUS}$"):
            server.run()
        server.control.release(queued)
        server.until(queued, "SUCCEEDED")
        assert server.log(queued) == "after the restart\n"
        server.control.set_usage_by_others(T4_GPUS, REGION, 0)
        assert server.names()[0] != server.run()


def test_a_job_that_was_running_when_the_server_stopped_lost_its_node(tmp_path):
    with vertex(tmp_path / "state") as server:
        name, pid = run_until_ready(server)
    assert not is_alive(pid)
    with vertex(tmp_path / "state") as server:
        job = server.get(name)
        assert job.state.name == "JOB_STATE_FAILED"
        assert job.end_time > job.start_time


def test_a_job_that_was_cancelling_when_the_server_stopped_is_cancelled(tmp_path):
    with vertex(tmp_path / "state", grace_seconds=60) as server:
        name, _ = run_until_ready(server)
        server.jobs.cancel_custom_job(name=name)
        assert server.get(name).state.name == "JOB_STATE_CANCELLING"
    with vertex(tmp_path / "state") as server:
        assert server.get(name).state.name == "JOB_STATE_CANCELLED"


def test_a_pending_job_starts_after_a_restart(tmp_path):
    with vertex(tmp_path / "state", provision_seconds=600) as server:
        open_quotas(server.control)
        name = server.run("print('once')")
        assert server.get(name).state.name == "JOB_STATE_PENDING"
    with vertex(tmp_path / "state") as server:
        server.until(name, "SUCCEEDED")
        assert server.log(name) == "once\n"


def test_a_hidden_job_is_still_hidden_after_a_restart(tmp_path):
    with vertex(tmp_path / "state") as server:
        open_quotas(server.control)
        server.control.queue_fault("CreateCustomJob", FaultKind.LATE_CREATE)
        with pytest.raises(Exception, match="Deadline"):
            server.create(custom_job())
    with vertex(tmp_path / "state") as server:
        assert server.names() == []
        [name] = server.control.reveal()
        server.until(name, "SUCCEEDED")


def test_two_servers_cannot_share_a_state_directory(tmp_path):
    with (
        VertexServer(tmp_path / "state", job_command=PYTHON_JOB),
        pytest.raises(StateInUse),
    ):
        VertexServer(tmp_path / "state", job_command=PYTHON_JOB)


def test_two_servers_cannot_share_a_port(tmp_path):
    with (
        VertexServer(tmp_path / "one", job_command=PYTHON_JOB) as server,
        pytest.raises(OSError, match="cannot listen"),
    ):
        VertexServer(tmp_path / "two", job_command=PYTHON_JOB, port=server.port)
    with VertexServer(tmp_path / "two", job_command=PYTHON_JOB):
        pass  # the failed start gave its state directory up


def test_the_command_line_takes_quotas_and_an_environment(tmp_path):
    quotas = tmp_path / "quotas.json"
    quotas.write_text(
        json.dumps(
            {
                "quotas": [
                    {"metric": CPUS, "quota_id": "Cpus", "elsewhere": 4},
                    {"metric": T4_GPUS, "quota_id": "T4s", "regions": {REGION: 1}},
                ]
            }
        )
    )
    environment = json.dumps({"GREETING": "hello"})
    arguments = ("--quotas", str(quotas), "--job-environment", environment)
    with (
        vertex_process(tmp_path / "state", *arguments) as running,
        clients(running.endpoint, running.certificate_path) as server,
    ):
        name = server.run("import os; print(os.environ['GREETING'])")
        server.until(name, "SUCCEEDED")
        assert server.log(name) == "hello\n"


@pytest.mark.parametrize("job_command", ["python", '["python", 3]', "{}"])
def test_a_job_command_that_is_no_list_of_strings_is_refused(tmp_path, job_command):
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "local.vertex", "--state-dir", str(tmp_path / "state")),
            *("--job-command", job_command),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "local.vertex: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_server_listens_on_loopback_only(tmp_path):
    with vertex_process(tmp_path / "state") as running:
        port = int(running.endpoint.rpartition(":")[2])
        listening = {
            local_address
            for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
            if table.exists()
            for _, local_address, _, state, *_ in map(str.split, table.read_text().splitlines())
            if state == "0A" and local_address.endswith(f":{port:04X}")
        }
        # 127.0.0.1, as the kernel writes it for an IPv4 and for a dual-stack socket.
        loopback = "0100007F", "0000000000000000FFFF00000100007F"
        assert listening
        assert listening <= {f"{address}:{port:04X}" for address in loopback}


def test_the_private_key_is_the_owners_alone(tmp_path):
    with vertex_process(tmp_path / "state"):
        mode = (tmp_path / "private-key.pem").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
