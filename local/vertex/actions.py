"""What the control channel can be asked, and what it replies; JSON on the wire."""

from __future__ import annotations

import re

import msgspec

from .faults import Fault, FaultKind

SERVICE_NAME = "ech0.local.VertexControl"
METHOD_NAME = "Apply"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


class Action(msgspec.Struct, kw_only=True, tag_field="action", tag=_snake_case):
    """One request; the JSON field `action` names the kind."""


class SetQuota(Action):
    """Set a limit; `region` None means every region that has none of its own."""

    metric: str
    region: str | None
    value: int


class SetUsageByOthers(Action):
    """Let something else use part of a region's quota."""

    metric: str
    region: str
    value: int


class SetIneligibility(Action):
    """Say why no increase may be asked for; None: one may."""

    metric: str
    reason: str | None


class GrantPreference(Action):
    """Grant a pending preference; `value` None: all that it asks for."""

    preference: str
    value: int | None


class DenyPreference(Action):
    """Deny a pending preference."""

    preference: str
    reason: str


class QueueFaults(Action):
    """Queue failures behind those of an operation."""

    operation: str
    kind: FaultKind
    times: int
    metrics: list[str]


class ListFaults(Action):
    """Ask for every fault, consumed ones included."""


class ClearFaults(Action):
    """Forget the faults that were not consumed."""


class HoldNewJobs(Action):
    """Let new jobs wait in QUEUED until they are released, or no longer."""

    hold: bool


class ReleaseJobs(Action):
    """Let a QUEUED job go on; None: all of them."""

    job_name: str | None


class RevealJobs(Action):
    """Create a late job at last; None: all of them."""

    job_name: str | None


class PreemptJob(Action):
    """Kill a running job's process and call it a lost node."""

    job_name: str


class FailJobBeforeStart(Action):
    """Fail a job that has not started."""

    job_name: str


class TakeSnapshot(Action):
    """Ask for the jobs and the counts of calls."""


AnyAction = (
    SetQuota
    | SetUsageByOthers
    | SetIneligibility
    | GrantPreference
    | DenyPreference
    | QueueFaults
    | ListFaults
    | ClearFaults
    | HoldNewJobs
    | ReleaseJobs
    | RevealJobs
    | PreemptJob
    | FailJobBeforeStart
    | TakeSnapshot
)


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the server sees it; `state` is a JobState's name."""

    name: str
    display_name: str
    state: str
    labels: dict[str, str]
    hidden: bool
    pid: int | None
    log_path: str
    error_message: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs, newest first, hidden ones included, and the calls of each method since start."""

    jobs: list[JobView]
    calls: dict[str, int]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to every action; each fills what it has."""

    fault_ids: list[int] = []
    faults: list[Fault] = []
    job_names: list[str] = []
    snapshot: Snapshot | None = None
