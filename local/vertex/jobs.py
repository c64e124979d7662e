"""A job as the server keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1 import JobState

from .endings import Ending, Plan
from .filters import Record
from .machines import demand
from .ports import Container

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
    container: Container | None = None
    #: Decided before the container ends; None leaves it to the exit status.
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
