"""What can stop a trainer, and which `FailureKind` the result document gives it.

- `TrainerError`: a reason that is already in words for the user; it names its own kind.
- `Superseded`: another job was elected; not a failure, nothing is written.
- `MemoryError` and torch's own: out_of_memory. Google's `Forbidden`: no_permission.
- Anything else: internal, named by its class only, since its text may quote a conversation.
"""

from __future__ import annotations

import sys
import traceback

from google.api_core.exceptions import Forbidden

from tuner.training_job import Failure, FailureKind

#: How PyTorch says, in a plain RuntimeError, that the CPU's memory is used up.
_CPU_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


class TrainerError(Exception):
    """A failure with its reason, and the fix, in words that hold no conversation text."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Superseded(Exception):
    """Another job owns this attempt."""


def listed(problems: list[str], limit: int = 10) -> str:
    """Problems as one text: the first `limit`, and how many more there are."""
    shown = "; ".join(problems[:limit])
    left = len(problems) - limit
    return f"{shown}; and {left} more" if left > 0 else shown


def classify(exc: BaseException) -> Failure:
    """The failure that the result document reports for an exception."""
    if isinstance(exc, TrainerError):
        return Failure(kind=exc.kind, message=str(exc)[:2000])
    if is_out_of_memory(exc):
        return Failure(
            kind=FailureKind.OUT_OF_MEMORY,
            message="The memory did not suffice for this micro-batch and row length.",
        )
    if isinstance(exc, Forbidden):
        return Failure(
            kind=FailureKind.NO_PERMISSION,
            message="The trainer's service account may not read or write an object of this run. "
            "Grant it the storage roles of the deployment again.",
        )
    return Failure(
        kind=FailureKind.INTERNAL,
        message=f"The trainer stopped on an unexpected {type(exc).__name__}; its log says where.",
    )


def where_raised(exc: BaseException) -> list[str]:
    """The stack of an exception as `file:line function`, without the exception's own text."""
    frames = traceback.extract_tb(exc.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether the GPU's memory, or this machine's, did not suffice."""
    if isinstance(exc, MemoryError):
        return True
    torch = sys.modules.get("torch")  # if it is not loaded, it cannot have raised
    if torch is not None and isinstance(exc, torch.OutOfMemoryError):
        return True
    return isinstance(exc, RuntimeError) and any(sign in str(exc) for sign in _CPU_OUT_OF_MEMORY)
