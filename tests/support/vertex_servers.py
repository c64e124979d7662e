"""Vertex stand-ins for tests: in this process with clients, or as a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport

from local.vertex.control import VertexControl
from local.vertex.server import VertexServer
from support import wait

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "demo-project"
REGION = "us-central1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
QUOTA_PARENT = f"projects/{PROJECT}/locations/global"
CPUS = "custom_model_training_cpus"
T4_GPUS = "custom_model_training_nvidia_t4_gpus"

#: Runs the Python code that a job brings as its first argument.
PYTHON_JOB = (sys.executable, "-I", "-c", "import sys; exec(sys.argv[1])")
WAIT_FOR_A_SIGNAL = "import signal; signal.pause()"
IGNORES_SIGTERM = (
    "import signal; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
    "print('ready', flush=True)\n"
    "while True: signal.pause()"
)
EXITS_WITH_3 = "import sys; sys.exit(3)"
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
STATES = aiplatform_v1.JobState


def custom_job(
    code: str = "",
    *,
    display_name: str = "adapter",
    labels: Mapping[str, str] | None = None,
    machine_type: str = "n1-standard-4",
    accelerator: str | None = "NVIDIA_TESLA_T4",
    accelerator_count: int = 1,
    env: Mapping[str, str] | None = None,
    output: str | None = "gs://work/runs/run-1",
    scheduling: Mapping[str, Any] | None = None,
) -> aiplatform_v1.CustomJob:
    """Return a job that Vertex accepts; `code` is what PYTHON_JOB runs."""
    machine: dict[str, Any] = {"machine_type": machine_type}
    if accelerator is not None:
        machine |= {"accelerator_type": accelerator, "accelerator_count": accelerator_count}
    container = {
        "image_uri": "us-docker.pkg.dev/demo-project/tuner/trainer:1",
        "args": [code],
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
    }
    spec: dict[str, Any] = {
        "worker_pool_specs": [
            {"machine_spec": machine, "replica_count": 1, "container_spec": container}
        ]
    }
    if output is not None:
        spec["base_output_directory"] = {"output_uri_prefix": output}
    if scheduling is not None:
        spec["scheduling"] = scheduling
    return aiplatform_v1.CustomJob(
        display_name=display_name, labels=dict(labels or {}), job_spec=spec
    )


def open_quotas(control: VertexControl, *metrics: str) -> None:
    """Give the metrics, on-demand CPUs and T4 GPUs unless named, no limit anywhere."""
    for metric in metrics or (CPUS, T4_GPUS, "custom_model_training_pd_ssd"):
        control.set_quota(metric, None, -1)


@dataclass
class Clients:
    """Google's clients and the control channel, connected to one server."""

    endpoint: str
    control: VertexControl
    jobs: aiplatform_v1.JobServiceClient
    quotas: cloudquotas_v1.CloudQuotasClient

    def create(self, job: aiplatform_v1.CustomJob, parent: str = PARENT) -> aiplatform_v1.CustomJob:
        """Create a job."""
        return self.jobs.create_custom_job(parent=parent, custom_job=job)

    def run(self, code: str = "", **fields: Any) -> str:
        """Create `custom_job(code, **fields)` and return its name."""
        return str(self.create(custom_job(code, **fields)).name)

    def get(self, name: str) -> aiplatform_v1.CustomJob:
        """Read a job."""
        return self.jobs.get_custom_job(name=name)

    def names(self, list_filter: str = "") -> list[str]:
        """Return the names of the jobs that a list call gives."""
        request = {"parent": PARENT, "filter": list_filter}
        return [job.name for job in self.jobs.list_custom_jobs(request)]

    def until(self, name: str, state: str, seconds: float = 10) -> aiplatform_v1.CustomJob:
        """Wait until a job is in the state, e.g. `RUNNING`, and return it.

        Reads over the control channel, so that no call of the API is counted while it waits.
        """

        def reached() -> bool:
            jobs = {job.name: job.state for job in self.control.snapshot().jobs}
            return jobs[name] == f"JOB_STATE_{state}"

        self.wait(reached, seconds)
        return self.get(name)

    def wait(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        """Wait until something is true."""
        wait.until(condition, seconds)

    def tick(self) -> None:
        """Let the clock move on; a real one does so by itself."""

    def until_ready(self, name: str) -> None:
        """Wait until a job that prints `ready` can be signalled."""
        self.until(name, "RUNNING")
        self.wait(lambda: "ready" in self.log(name))

    def container(self, name: str) -> Callable[[], bool]:
        """Return what tells whether the container that a job has now still runs."""
        pid = self.pid(name)
        return lambda: is_alive(pid)

    def ran(self, name: str) -> bool:
        """Whether a job ever had a container."""
        [path] = [job.log_path for job in self.control.snapshot().jobs if job.name == name]
        return Path(path).exists()

    def log(self, name: str) -> str:
        """Return what a job printed."""
        [path] = [job.log_path for job in self.control.snapshot().jobs if job.name == name]
        return Path(path).read_text()

    def pid(self, name: str) -> int:
        """Return a running job's process id."""
        [pid] = [job.pid for job in self.control.snapshot().jobs if job.name == name]
        assert pid is not None
        return pid


@contextmanager
def clients(endpoint: str, root_certificate_path: Path) -> Iterator[Clients]:
    """Connect Google's clients over TLS.

    gRPC reads GRPC_DEFAULT_SSL_ROOTS_FILE_PATH once in a process's life, so a test that runs beside
    others brings its channel.
    """
    channel = grpc.secure_channel(
        endpoint, grpc.ssl_channel_credentials(root_certificate_path.read_bytes())
    )
    with VertexControl(endpoint, root_certificate_path) as control:
        yield Clients(
            endpoint=endpoint,
            control=control,
            jobs=aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel)),
            quotas=cloudquotas_v1.CloudQuotasClient(
                transport=CloudQuotasGrpcTransport(channel=channel)
            ),
        )
    channel.close()


@contextmanager
def vertex(
    state_dir: Path, *, job_command: Sequence[str] = PYTHON_JOB, **options: Any
) -> Iterator[Clients]:
    """Run a server in this process and connect to it; `options` are VertexServer's."""
    with (
        VertexServer(state_dir, job_command=job_command, **options) as server,
        clients(server.endpoint, server.root_certificate_path) as connected,
    ):
        yield connected


@dataclass
class ServerProcess:
    """`python -m local.vertex`, ready."""

    process: subprocess.Popen[bytes]
    endpoint: str
    certificate_path: Path


@contextmanager
def vertex_process(
    state_dir: Path, *arguments: str, job_command: Sequence[str] = PYTHON_JOB
) -> Iterator[ServerProcess]:
    """Run the server as a process of its own; it is killed at the end if it still runs."""
    ready_path = state_dir.with_name(f"{state_dir.name}.ready.json")
    ready_path.unlink(missing_ok=True)
    certificate_path = state_dir.with_name("certificate.pem")
    command = [
        *(sys.executable, "-m", "local.vertex"),
        *("--state-dir", str(state_dir), "--port", "0"),
        *("--certificate", str(certificate_path)),
        *("--private-key", str(state_dir.with_name("private-key.pem"))),
        *("--job-command", json.dumps(job_command), "--ready-file", str(ready_path)),
        *arguments,
    ]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        try:
            ready = wait.until(_ready(process, ready_path), 20)
            yield ServerProcess(process, f"localhost:{ready['port']}", certificate_path)
        finally:
            process.kill()


def _ready(process: subprocess.Popen[bytes], path: Path) -> Callable[[], Any]:
    def ready() -> Any:
        assert process.poll() is None, "the server ended before it was ready"
        return path.exists() and json.loads(path.read_bytes())

    return ready


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return fields.rpartition(")")[2].split()[0] != "Z"
