"""A job as the server keeps it, and what a job's container finds in its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1 import JobState

from .endings import Ending, Plan
from .filters import Record
from .machines import demand
from .processes import JobProcess

TERMINAL_STATES = frozenset(
    {
        JobState.JOB_STATE_SUCCEEDED,
        JobState.JOB_STATE_FAILED,
        JobState.JOB_STATE_CANCELLED,
        JobState.JOB_STATE_EXPIRED,
    }
)


@dataclass(kw_only=True)
class Job:
    """A CustomJob and what Vertex does not show of it."""

    sequence: int
    #: The proto; its state is the job's state.
    resource: Any
    #: The project as the creator named it.
    project_id: str
    plan: Plan = Plan.RUN
    #: Not created yet as far as any API call can see.
    hidden: bool = False
    process: JobProcess | None = None
    #: Decided before the process ends; None leaves it to the exit status.
    ending: Ending | None = None

    @property
    def name(self) -> str:
        """The resource's name."""
        return str(self.resource.name)

    @property
    def job_id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def region(self) -> str:
        """The region that the job was created in."""
        return self.name.split("/")[3]

    @property
    def finished(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.resource.state in TERMINAL_STATES

    def demand(self) -> dict[str, int]:
        """Return what the job draws on each quota metric while it is not finished."""
        return demand(self.resource.job_spec)

    def record(self) -> Record:
        """Return what a list filter can see."""
        resource = self.resource
        return {
            "display_name": str(resource.display_name),
            "state": str(JobState(resource.state).name),
            "labels": dict(resource.labels),
            "create_time": resource.create_time,
            "start_time": resource.start_time,
            "end_time": resource.end_time,
            "update_time": resource.update_time,
        }

    def to_json(self) -> bytes:
        """Return what survives a restart."""
        return msgspec.json.encode(
            _JobDocument(
                sequence=self.sequence,
                resource=aiplatform_v1.CustomJob.serialize(self.resource),
                project_id=self.project_id,
                plan=self.plan,
                hidden=self.hidden,
            )
        )

    @classmethod
    def from_json(cls, body: bytes) -> Job:
        """Read what `to_json` wrote."""
        document = msgspec.json.decode(body, type=_JobDocument)
        return cls(
            sequence=document.sequence,
            resource=aiplatform_v1.CustomJob.deserialize(document.resource),
            project_id=document.project_id,
            plan=document.plan,
            hidden=document.hidden,
        )


class _JobDocument(msgspec.Struct, kw_only=True):
    schema_version: int = 1
    sequence: int
    resource: bytes
    project_id: str
    plan: Plan
    hidden: bool


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How jobs are run. `command` stands in for the image and its entrypoint."""

    state_dir: Path
    command: Sequence[str]
    #: All that a job's process inherits; nothing comes from the server's own environment.
    environment: Mapping[str, str]
    #: From SIGTERM to SIGKILL.
    grace_seconds: float
    #: How long a job is PENDING.
    provision_seconds: float

    def log_path(self, job: Job) -> Path:
        """Return the file that holds a job's output."""
        return self.state_dir / "logs" / f"{job.job_id}.log"

    def work_dir(self, job: Job) -> Path:
        """Return the directory that a job starts in."""
        return self.state_dir / "work" / job.job_id


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
