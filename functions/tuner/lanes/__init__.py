"""Where a run can train. One protocol, one module per kind of capacity.

A lane never raises for what a cloud may answer: replies are values, and each kind has one policy
(see `tuner.launching` and `tuner.completion`). To add a lane: implement `Lane` in a module here,
add its name to `tuner.requests.LaneName`, and run the contract tests over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from tuner.quota import Vector
from tuner.runs import Attempt, Run


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one attempt should take; `seconds` and `usd` are upper ends, not promises."""

    seconds: int
    usd: float
    usd_per_hour: float
    prices_as_of: str


# -- what a create call may answer --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Launched:
    """The job exists."""

    job_name: str


@dataclass(frozen=True, kw_only=True)
class QuotaRefused:
    """No job: the project's quota does not suffice for `metrics`."""

    metrics: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class RateLimited:
    """No job: too many calls. Not a wait for capacity; try again shortly."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Invalid:
    """No job, and there never will be one for this order: `text` says why."""

    text: str


@dataclass(frozen=True, kw_only=True)
class NotAllowed:
    """No job: the deployment lacks a permission, an API or a project. Not this run's fault."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Unclear:
    """There may be a job: the reply was lost. Never a reason to call again."""

    text: str


LaunchReply = Launched | QuotaRefused | RateLimited | Invalid | NotAllowed | Unclear


class JobPhase(StrEnum):
    """What matters of a job's state."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"

    @property
    def is_terminal(self) -> bool:
        return self in {
            JobPhase.SUCCEEDED,
            JobPhase.FAILED,
            JobPhase.CANCELLED,
            JobPhase.GONE,
        }


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job as the platform tells it. `error_code` is a google.rpc.Code, 0 without an error."""

    job_name: str
    phase: JobPhase
    labels: Mapping[str, str]
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error_code: int = 0
    error_message: str = ""
    #: The container that it runs; "" where the platform does not tell.
    image_uri: str = ""


class Lane(Protocol):
    """One kind of capacity."""

    name: str
    #: What a job runs on, in words.
    machine: str
    #: Whether the platform keeps a job until there is a machine, and gives it up by itself.
    queues: bool
    #: The container that jobs run.
    image_uri: str

    def needs(self, preset: str) -> Vector:
        """Amounts by quota metric that one job with `preset` draws on."""

    def estimate(self, run: Run) -> Estimate:
        """Time and price of one attempt."""

    def max_wait(self, run: Run, attempt: Attempt) -> timedelta:
        """How long a job that queues may look for a machine before the platform gives it up."""

    def launch(self, run: Run, attempt: Attempt, *, run_uri: str) -> LaunchReply:
        """Make exactly one create call; never repeats it."""

    def find(self, run_id: str, attempt: Attempt) -> Sequence[JobStatus]:
        """The jobs that carry the labels of this attempt, in its region."""

    def status(self, job_name: str) -> JobStatus:
        """The platform's truth; a job that does not exist is GONE. Raises GoogleAPICallError."""

    def cancel(self, job_name: str) -> None:
        """Ask the platform to end a job of this deployment; ended or gone already is fine."""
