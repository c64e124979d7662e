"""Jobs' containers as processes of this machine: where they work and what they find there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .jobs import Job
from .processes import JobProcess


@dataclass(frozen=True, kw_only=True)
class ProcessContainers:
    """How jobs are run. `command` stands in for the image and its entrypoint."""

    state_dir: Path
    command: Sequence[str]
    #: All that a job's process inherits; nothing comes from the server's own environment.
    environment: Mapping[str, str]

    def start(self, job: Job, on_exit: Callable[[int], None]) -> JobProcess:
        """Start a job's process.

        Raises:
            OSError: it cannot be started.
            ValueError: a null byte in an argument.
        """
        return JobProcess(
            [*self.command, *job_arguments(job)],
            environment=container_environment(job, self.environment),
            work_dir=self.state_dir / "work" / job.job_id,
            log_path=Path(self.log_path(job)),
            on_exit=on_exit,
        )

    def log_path(self, job: Job) -> str:
        """Return the file that holds a job's output."""
        return str(self.state_dir / "logs" / f"{job.job_id}.log")


def container_environment(job: Job, base: Mapping[str, str]) -> dict[str, str]:
    """Return a job's whole environment: `base`, Vertex's own variables, the container spec's."""
    spec = job.resource.job_spec
    environment = {
        **base,
        "CLOUD_ML_JOB_ID": job.job_id,
        "CLOUD_ML_PROJECT_ID": job.project_id,
    }
    output = spec.base_output_directory.output_uri_prefix.rstrip("/")
    if output:
        environment["AIP_MODEL_DIR"] = f"{output}/model/"
        environment["AIP_CHECKPOINT_DIR"] = f"{output}/checkpoints/"
        environment["AIP_TENSORBOARD_LOG_DIR"] = f"{output}/logs/"
    for variable in spec.worker_pool_specs[0].container_spec.env:
        environment[variable.name] = variable.value
    return environment


def job_arguments(job: Job) -> list[str]:
    """Return the arguments that the container spec adds to the entrypoint."""
    return list(job.resource.job_spec.worker_pool_specs[0].container_spec.args)
