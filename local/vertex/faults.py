"""Failures queued per operation, first in first out, each consumed once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Container, Sequence
from enum import StrEnum

import msgspec

from .errors import invalid_argument


class FaultKind(StrEnum):
    """What the next call of an operation meets instead of, or besides, its usual course."""

    #: Replies without doing anything; for every operation.
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL = "internal"
    RATE_LIMITED = "rate_limited"
    #: Does it, then replies UNAVAILABLE; for every operation.
    LOST_REPLY = "lost_reply"
    #: Refuses the job with the quota text, though the limits allow it.
    QUOTA_REFUSED = "quota_refused"
    #: Creates the job, which then fails: no capacity in the region.
    STOCK_OUT_LATER = "stock_out_later"
    #: Creates the job whatever the limits; it then fails with the quota text.
    QUOTA_EXCEEDED_LATER = "quota_exceeded_later"
    #: Creates the job, which then fails; its container never ran.
    FAIL_BEFORE_START = "fail_before_start"
    #: Creates the job, which stays QUEUED until it is released.
    STAY_QUEUED = "stay_queued"
    #: Replies DEADLINE_EXCEEDED; the job exists only once it is revealed.
    LATE_CREATE = "late_create"
    #: Creates the job twice and replies with the first.
    DUPLICATE = "duplicate"
    #: Leaves the newest job that matches out of the list.
    OMIT_NEWEST = "omit_newest"


ANY_OPERATION = frozenset(
    {
        FaultKind.UNAVAILABLE,
        FaultKind.DEADLINE_EXCEEDED,
        FaultKind.INTERNAL,
        FaultKind.RATE_LIMITED,
        FaultKind.LOST_REPLY,
    }
)
LIST_JOBS_ONLY = frozenset({FaultKind.OMIT_NEWEST})
CREATE_JOB_ONLY = frozenset(FaultKind) - ANY_OPERATION - LIST_JOBS_ONLY


class Fault(msgspec.Struct, kw_only=True):
    """One queued failure; `metrics` names those of a QUOTA_REFUSED, empty for all of the job's."""

    fault_id: int
    operation: str
    kind: FaultKind
    metrics: list[str] = []
    consumed: bool = False


class FaultQueue:
    """The faults of one server's life, consumed ones included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(
        self, operation: str, kind: FaultKind, *, times: int = 1, metrics: Sequence[str] = ()
    ) -> list[int]:
        """Queue `times` faults behind those of the operation and return their ids.

        Raises:
            ApiError: INVALID_ARGUMENT: the operation cannot fail in that way.
        """
        only_for = {
            **dict.fromkeys(LIST_JOBS_ONLY, "ListCustomJobs"),
            **dict.fromkeys(CREATE_JOB_ONLY, "CreateCustomJob"),
        }.get(kind, operation)
        if operation != only_for:
            raise invalid_argument(f"{operation} has no fault {kind}")
        with self._lock:
            added = [
                Fault(
                    fault_id=next(self._ids),
                    operation=operation,
                    kind=kind,
                    metrics=list(metrics),
                )
                for _ in range(times)
            ]
            self._faults += added
            return [fault.fault_id for fault in added]

    def take(self, operation: str, kinds: Container[FaultKind]) -> Fault | None:
        """Consume the operation's next fault if it is one of `kinds`."""
        with self._lock:
            for fault in self._faults:
                if fault.operation == operation and not fault.consumed:
                    if fault.kind not in kinds:
                        return None
                    fault.consumed = True
                    return fault
            return None

    def give_back(self, fault: Fault) -> None:
        """Undo `take`: the request was refused for another reason."""
        with self._lock:
            fault.consumed = False

    def listing(self) -> list[Fault]:
        """Return a copy of every fault, oldest first."""
        with self._lock:
            return [msgspec.structs.replace(fault) for fault in self._faults]

    def clear(self) -> None:
        """Forget the faults that were not consumed."""
        with self._lock:
            self._faults = [fault for fault in self._faults if fault.consumed]
