"""The bodies of what is published for other systems; their JSON Schemas lie in docs/schemas."""

from __future__ import annotations

from datetime import datetime
from typing import Self

import msgspec

from tuner.entrypoint import Message
from tuner.errors import MalformedMessage
from tuner.runs import Wait
from tuner.training_job import Gate, Metrics

#: What is kept of a dead letter's body; Pub/Sub carries 10 MB at most.
MAX_BODY_BYTES = 1 << 20
#: A reason quotes the sender's own field names, which may be of any length.
_MAX_REASON_CHARACTERS = 2000


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One state change of a run, version 1. Unknown fields must be ignored by consumers."""

    schema_version: int = 1
    run_id: str
    persona: str
    seq: int
    state: str
    previous: str | None
    reason: str
    at: datetime
    #: What follows is there in the latest event of a run only.
    attempt: int | None = None
    job_name: str | None = None
    wait: Wait | None = None
    model_uri: str | None = None
    metrics: Metrics | None = None
    gate: Gate | None = None
    #: What follows is there once the run has ended: `usd` at list price for its time on machines.
    seconds_waited: float | None = None
    seconds_trained: float | None = None
    usd: float | None = None


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run's training is, by its trainer's own word, version 1; once a minute at most.

    It is no state change and has no `seq`: `after_seq` is that of the latest change before it.
    """

    schema_version: int = 1
    run_id: str
    persona: str
    attempt: int
    after_seq: int
    #: What the trainer does, in its words; `step` of `steps` is counted within it.
    phase: str
    step: int
    steps: int | None = None
    #: The latest step's training loss.
    loss: float | None = None
    #: Since the trainer began.
    seconds: float | None = None
    at: datetime


class ModelPromoted(msgspec.Struct, frozen=True, kw_only=True):
    """A persona's latest.json was moved to another adapter, version 1.

    `move` counts a persona's moves from 1; after `tuner forget` it begins anew.
    """

    schema_version: int = 1
    persona: str
    run_id: str
    model_uri: str
    #: What it pointed to before; None where it was not there.
    previous_run_id: str | None
    move: int
    #: `completion` where it moved by itself, else the person who moved it.
    by: str
    #: Whether its gate had kept it back.
    although_held: bool = False
    #: Of its gate.
    warnings: tuple[str, ...] = ()
    at: datetime


class UploadRejected(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that became no dataset: why, where in the file, and what to do. Version 1."""

    schema_version: int = 1
    persona: str
    name: str
    generation: str
    reason: str
    place: str
    fix: str
    at: datetime


class UploadKept(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that is kept and started no run: `reason` says why. Version 1."""

    schema_version: int = 1
    persona: str
    name: str
    generation: str
    #: The dataset of the persona's memory as it is now.
    dataset_id: str
    #: Usable pairs that the upload added.
    new_pairs: int
    #: Usable pairs that no run was asked for yet.
    waiting_pairs: int
    #: Usable pairs in all.
    kept_pairs: int
    reason: str
    at: datetime


class AlarmRaised(msgspec.Struct, frozen=True, kw_only=True):
    """Something that deserves a look, version 1. `name` is an alarm of docs/operate.md.

    `persona` and `attempt` are None when no run of that id is known. `run_id` is empty where it is
    of no run, and `fix`, which says what to do, in events of releases before that field.
    """

    schema_version: int = 1
    name: str
    run_id: str = ""
    persona: str | None = None
    attempt: int | None = None
    reason: str
    fix: str = ""
    at: datetime


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that nobody can carry out, with the reason. `body` is what was sent, decoded."""

    schema_version: int = 1
    source: str
    reason: str
    body: str
    at: datetime

    @classmethod
    def of(cls, message: Message, *, source: str, error: MalformedMessage, at: datetime) -> Self:
        """The dead letter of a message that `source` could not read."""
        body = message.data[:MAX_BODY_BYTES].decode("utf-8", "replace")
        return cls(source=source, reason=str(error)[:_MAX_REASON_CHARACTERS], body=body, at=at)
