"""A run: one training request on its way to an adapter. Pure: no clock, no cloud.

`TRANSITIONS` is the one table of state changes; `Run.advance` is the one way to make one.

    requested ──► waiting ⇄ submitting ──► running ──► succeeded | held | failed
                     ▲                        │
                     └────── platform ended ──┘        any open state ──► cancelling ──► cancelled
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import msgspec

from tuner.errors import IllegalTransition
from tuner.requests import TrainingRequest, run_id_of
from tuner.training_job import Artifact, BaseModel, Gate, Metrics

SCHEMA_VERSION = 1


class RunState(StrEnum):
    REQUESTED = "requested"
    WAITING = "waiting"
    SUBMITTING = "submitting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    HELD = "held"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


_S = RunState

#: From each state, where a run may go. What has run ends for good: `retry` makes a new run.
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    _S.REQUESTED: frozenset({_S.WAITING, _S.SUBMITTING, _S.REJECTED, _S.CANCELLING, _S.EXPIRED}),
    _S.WAITING: frozenset({_S.SUBMITTING, _S.CANCELLING, _S.EXPIRED, _S.FAILED, _S.REJECTED}),
    # The adapter may exist before the submitter could record its own job.
    _S.SUBMITTING: frozenset({_S.RUNNING, _S.WAITING, _S.CANCELLING, _S.FAILED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.HELD, _S.FAILED, _S.WAITING, _S.CANCELLING}),
    # Left only when the job is known to be terminal.
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.HELD: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
    # Nothing was started: asked again with what was wrong put right, it is the same run.
    _S.REJECTED: frozenset({_S.REQUESTED}),
}

#: States in which a run has no job and may get one.
QUEUED = frozenset({_S.REQUESTED, _S.WAITING})

#: States that a run ends in; its record lies under `runs/`.
TERMINAL = frozenset({_S.SUCCEEDED, _S.HELD, _S.FAILED, _S.CANCELLED, _S.EXPIRED, _S.REJECTED})


#: `Attempt.end_reason` of one that ran out of GPU memory.
OUT_OF_MEMORY = "out of GPU memory"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One state change. `seq` counts from 1 within a run and orders its events."""

    seq: int
    at: datetime
    previous: RunState | None
    state: RunState
    reason: str
    by: str


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run waits: what it needs against what is left, by quota metric, in one region."""

    lane: str
    region: str
    needs: dict[str, int]
    #: What is left of the metrics that do not suffice.
    has: dict[str, int]
    next_check_at: datetime
    #: Equal for two waits that differ only in how much others use at the moment.
    key: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One job, or the intent to make one. `number` counts from 1 within a run."""

    number: int
    lane: str
    region: str
    claim_id: str
    display_name: str
    intended_at: datetime
    micro_batch_divisor: int = 1
    #: The trainer's container; "" where that was not noted.
    image_uri: str = ""
    estimated_usd: float = 0.0
    timeout_seconds: int = 0
    #: The job's resource name; None while it is not known whether a job exists.
    job_name: str | None = None
    #: Since when the create call's outcome is unclear.
    unresolved_since: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    #: Set when we asked the platform to end the job, with the reason in words.
    stop_reason: str | None = None
    #: What an hour of the job's machine costs, in dollars; 0 where that was not noted.
    usd_per_hour: float = 0.0

    def usd(self, *, until: datetime) -> float:
        """What the job has cost, by its time on a machine; an unfinished one up to `until`."""
        if self.started_at is None:
            return 0.0
        seconds = ((self.ended_at or until) - self.started_at).total_seconds()
        return max(0.0, seconds) / 3600 * self.usd_per_hour

    def evolve(self, **changes: Any) -> Self:
        return msgspec.structs.replace(self, **changes)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The verified adapter: copies that the trainer cannot change."""

    uri: str
    base_model: BaseModel
    artifacts: tuple[Artifact, ...]
    metrics: Metrics
    gate: Gate


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run; stored as it is, one object a run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    persona: str
    state: RunState
    reason: str
    request: TrainingRequest
    requested_at: datetime
    updated_at: datetime
    deadline_at: datetime
    seq: int
    published_seq: int = 0
    #: Fresh for every write: tells our own lost reply from somebody else's change.
    write_id: str = ""
    history: tuple[Change, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    wait: Wait | None = None
    #: Passes in a row that failed on this run; it is parked after some, until it is woken.
    errors: int = 0
    parked: bool = False
    #: When it was parked last, if that was noted.
    parked_at: datetime | None = None
    examples: int = 0
    #: Of the dataset's receipt.json as it was read when the run was accepted.
    receipt_sha256: str | None = None
    model: Model | None = None

    @classmethod
    def requested(cls, request: TrainingRequest, *, at: datetime) -> Self:
        """A new run, as the first change of its own history."""
        reason = "Requested; waiting for its turn."
        first = Change(
            seq=1, at=at, previous=None, state=RunState.REQUESTED, reason=reason,
            by=f"{request.requested_by.kind}:{request.requested_by.reference}",
        )  # fmt: skip
        return cls(
            run_id=run_id_of(request),
            persona=request.persona,
            state=RunState.REQUESTED,
            reason=reason,
            request=request,
            requested_at=at,
            updated_at=at,
            deadline_at=at + timedelta(seconds=request.max_wait_seconds),
            seq=1,
            history=(first,),
        )

    def asked_again(self, request: TrainingRequest, *, at: datetime) -> Self:
        """A rejected run, taken up for a request that differs from the one that was refused."""
        asked = f"{request.requested_by.kind}:{request.requested_by.reference}"
        return self.advance(
            RunState.REQUESTED,
            at=at,
            reason="Asked again; waiting for its turn.",
            by=asked,
            request=request,
            requested_at=at,
            deadline_at=at + timedelta(seconds=request.max_wait_seconds),
            examples=0,
            receipt_sha256=None,
        )

    @property
    def wait_key(self) -> str:
        """What tells one wait from another; "" when the reason's own words do."""
        return self.wait.key if self.wait else ""

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    def evolve(self, **changes: Any) -> Self:
        """A copy with other fields; never a state change."""
        if "state" in changes:
            raise IllegalTransition("a state changes through advance() only")
        return msgspec.structs.replace(self, **changes)

    def advance(
        self, state: RunState, *, at: datetime, reason: str, by: str, **changes: Any
    ) -> Self:
        """Move to `state`, as the next change in the history. Raises IllegalTransition."""
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.run_id}: {self.state} → {state}")
        seq = self.seq + 1
        change = Change(seq=seq, at=at, previous=self.state, state=state, reason=reason, by=by)
        return msgspec.structs.replace(
            self,
            **{"wait": None, **changes},
            state=state,
            reason=reason,
            updated_at=at,
            seq=seq,
            history=(*self.history, change),
        )

    def remark(self, *, at: datetime, reason: str, by: str, wait: Wait | None) -> Self:
        """Stay in this state for another reason; a change of its own in the history."""
        seq = self.seq + 1
        change = Change(seq=seq, at=at, previous=self.state, state=self.state, reason=reason, by=by)
        return msgspec.structs.replace(
            self, reason=reason, wait=wait, updated_at=at, seq=seq, history=(*self.history, change)
        )

    @property
    def next_micro_batch_divisor(self) -> int:
        """2 once an attempt ran out of GPU memory, else 1."""
        return 2 if any(a.end_reason == OUT_OF_MEMORY for a in self.attempts) else 1

    def with_attempt(self, attempt: Attempt) -> Self:
        """Add `attempt`, or put it in the place of the one with its number."""
        by_number = {a.number: a for a in self.attempts} | {attempt.number: attempt}
        return msgspec.structs.replace(self, attempts=tuple(by_number.values()))

    def without_attempt(self, number: int) -> Self:
        """Drop an attempt whose create call was definitely refused: no job ever existed."""
        return msgspec.structs.replace(
            self, attempts=tuple(a for a in self.attempts if a.number != number)
        )

    @property
    def waiting_since(self) -> datetime:
        """Since when the run has no machine: it was asked for then, or lost its last one.

        A job that only stood in the platform's queue had none, so waiting goes on through it.
        """
        lost = [a.ended_at for a in self.attempts if a.started_at and a.ended_at]
        return max([self.requested_at, *lost])

    def usd(self, *, until: datetime) -> float:
        """What the run's jobs have cost together, by their time on machines."""
        return sum(attempt.usd(until=until) for attempt in self.attempts)

    @property
    def unpublished(self) -> tuple[Change, ...]:
        return tuple(change for change in self.history if change.seq > self.published_seq)

    def seconds_in(self, state: RunState, *, until: datetime) -> float:
        """Seconds spent in `state`, all visits together, an unfinished one up to `until`."""
        total = 0.0
        for change, following in zip(self.history, (*self.history[1:], None), strict=True):
            if change.state == state:
                end = following.at if following else until
                total += (end - change.at).total_seconds()
        return total
