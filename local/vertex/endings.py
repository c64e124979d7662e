"""How jobs end: the terminal states with the errors that Vertex puts on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from google.cloud.aiplatform_v1 import JobState
from google.rpc import code_pb2

from .errors import quota_text


class Plan(StrEnum):
    """What happens when a PENDING job should start."""

    RUN = "run"
    STOCK_OUT = "stock_out"
    QUOTA_EXCEEDED = "quota_exceeded"
    FAIL_BEFORE_START = "fail_before_start"


@dataclass(frozen=True)
class Ending:
    """A terminal state and, for FAILED and CANCELLED, its error; codes are google.rpc.Code's."""

    state: JobState
    code: int = 0
    message: str = ""


SUCCEEDED = Ending(JobState.JOB_STATE_SUCCEEDED)
EXPIRED = Ending(JobState.JOB_STATE_EXPIRED)
CANCELLED = Ending(JobState.JOB_STATE_CANCELLED, code_pb2.CANCELLED, "The CustomJob was cancelled.")
NODE_LOST = Ending(
    JobState.JOB_STATE_FAILED,
    code_pb2.UNAVAILABLE,
    "Internal error occurred: the node of the replica workerpool0-0 was lost.",
)
FAILED_BEFORE_START = Ending(
    JobState.JOB_STATE_FAILED,
    code_pb2.INTERNAL,
    "Internal error occurred for the current attempt. Please try again.",
)


def ending_of(status: int) -> Ending:
    """Return how a job ends whose container exited with `status` (128 + n after signal n)."""
    if status == 0:
        return SUCCEEDED
    return Ending(
        JobState.JOB_STATE_FAILED,
        code_pb2.INVALID_ARGUMENT,
        f"The replica workerpool0-0 exited with a non-zero status of {status}.",
    )


def planned_ending(plan: Plan, *, region: str, metrics: Iterable[str]) -> Ending | None:
    """Return how a job ends instead of starting; None: it starts."""
    match plan:
        case Plan.STOCK_OUT:
            return Ending(
                JobState.JOB_STATE_FAILED,
                code_pb2.RESOURCE_EXHAUSTED,
                f"Resources are insufficient in region: {region}. Please try a different region.",
            )
        case Plan.QUOTA_EXCEEDED:
            return Ending(
                JobState.JOB_STATE_FAILED, code_pb2.RESOURCE_EXHAUSTED, quota_text(metrics)
            )
        case Plan.FAIL_BEFORE_START:
            return FAILED_BEFORE_START
        case Plan.RUN:
            return None
