"""What is published for other systems: run events, refused uploads, alarms, dead letters.

Events are CloudEvents 1.0 in Pub/Sub's binary mode: `ce-*` attributes, a JSON body. `type` is
`run.<state>`, `run.progress`, `upload.rejected`, `upload.kept` or `alarm.raised`; `seq` counts a
run's state changes from 1 without a gap, so a consumer drops what it has seen and knows what it
missed. Bodies hold no conversation text.

Binding: https://github.com/cloudevents/spec (Google Cloud Pub/Sub protocol binding)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, Self

import msgspec
from google.api_core import exceptions as google_exceptions
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1.types import PubsubMessage

from tuner.accounts import summary_of
from tuner.entrypoint import Message
from tuner.errors import MalformedMessage
from tuner.places import DEAD_LETTERS_TOPIC, RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC, Places
from tuner.requests import TrainingRequest
from tuner.runs import Change, Run, Wait
from tuner.training_job import Gate, Metrics

#: A publish and its retries take this long at most. Without a retry of our own the client goes on
#: for ten minutes, whatever its timeout says.
_PUBLISH_SECONDS = 10.0
_RETRY = Retry(
    if_exception_type(google_exceptions.ServiceUnavailable, google_exceptions.Aborted),
    initial=0.1,
    maximum=2.0,
    timeout=_PUBLISH_SECONDS,
)
#: Pub/Sub takes 1,000 messages a call.
_MESSAGES_PER_CALL = 500
#: What is kept of a dead letter's body; Pub/Sub carries 10 MB at most.
MAX_BODY_BYTES = 1 << 20
#: A reason quotes the sender's own field names, which may be of any length.
_MAX_REASON_CHARACTERS = 2000
#: Pub/Sub refuses a message with a longer attribute.
_MAX_ATTRIBUTE_BYTES = 1024


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


def _attribute(text: str) -> str:
    """As much of `text` as an attribute of a message can hold."""
    return text.encode("utf-8", "replace")[:_MAX_ATTRIBUTE_BYTES].decode("utf-8", "ignore")


class Publisher(Protocol):
    """The low-level publish call of `google.pubsub_v1.PublisherClient`."""

    def publish(
        self, *, topic: str, messages: list[PubsubMessage], retry: Retry, timeout: float
    ) -> object: ...


def event_of(run: Run, change: Change) -> RunEvent:
    """The event that tells of `change`."""
    latest = change.seq == run.seq
    attempt = run.attempt if latest else None
    model = run.model if latest else None
    took = summary_of(run, change.at) if latest and run.is_terminal else None
    return RunEvent(
        run_id=run.run_id,
        persona=run.persona,
        seq=change.seq,
        state=change.state.value,
        previous=change.previous.value if change.previous else None,
        reason=change.reason,
        at=change.at,
        attempt=attempt.number if attempt else None,
        job_name=attempt.job_name if attempt else None,
        wait=run.wait if latest else None,
        model_uri=model.uri if model else None,
        metrics=model.metrics if model else None,
        gate=model.gate if model else None,
        seconds_waited=took.seconds_waited if took else None,
        seconds_trained=took.seconds_trained if took else None,
        usd=took.usd if took else None,
    )


class Events:
    """Publishes; one call per invocation, no background thread."""

    def __init__(
        self, publisher: Publisher, places: Places, *, deployment: str, ordered: bool = False
    ) -> None:
        """`ordered`: a run's events carry its id as their ordering key."""
        self._publisher = publisher
        self._ordered = ordered
        self._places = places
        self._source = f"//ech0-tuner/{deployment}"

    def publish_changes(self, run: Run) -> None:
        """Publish every change after `published_seq`, in order."""
        messages = [
            self._message(
                event_of(run, change),
                type_=f"run.{change.state.value}",
                id_=f"{run.run_id}-{change.seq}",
                subject=f"runs/{run.run_id}",
                at=change.at,
                run_id=run.run_id,
                persona=run.persona,
                state=change.state.value,
                seq=str(change.seq),
            )
            for change in run.unpublished
        ]
        if messages:
            self._publish(RUN_EVENTS_TOPIC, messages)

    def publish_progress(self, progress: Sequence[RunProgress]) -> None:
        """Publish how far runs are, in one call; one that is told twice has the same id."""
        messages = [
            self._message(
                each,
                type_="run.progress",
                id_=f"{each.run_id}-{each.attempt}-{each.phase}-{each.step}",
                subject=f"runs/{each.run_id}",
                at=each.at,
                run_id=each.run_id,
                persona=each.persona,
            )
            for each in progress
        ]
        if messages:
            self._publish(RUN_EVENTS_TOPIC, messages)

    def publish_rejection(self, rejected: UploadRejected) -> None:
        message = self._message(
            rejected,
            type_="upload.rejected",
            id_=f"{rejected.persona}/{rejected.name}-{rejected.generation}"[-200:],
            subject=f"uploads/{rejected.persona}",
            at=rejected.at,
            persona=rejected.persona,
        )
        self._publish(RUN_EVENTS_TOPIC, [message])

    def publish_kept(self, kept: UploadKept) -> None:
        message = self._message(
            kept,
            type_="upload.kept",
            id_=f"kept-{kept.persona}/{kept.name}-{kept.generation}"[-200:],
            subject=f"uploads/{kept.persona}",
            at=kept.at,
            persona=kept.persona,
        )
        self._publish(RUN_EVENTS_TOPIC, [message])

    def publish_alarm(self, alarm: AlarmRaised, *, cause: str) -> None:
        """Publish an alarm; of one cause, the same one has the same id each time."""
        about = {"run_id": alarm.run_id, "persona": alarm.persona}
        message = self._message(
            alarm,
            type_="alarm.raised",
            id_=f"alarm-{alarm.name}-{cause}",
            subject=f"runs/{alarm.run_id}" if alarm.run_id else f"alarms/{alarm.name}",
            at=alarm.at,
            # Pub/Sub takes no empty attribute.
            **{name: value for name, value in about.items() if value},
        )
        self._publish(RUN_EVENTS_TOPIC, [message])

    def publish_request(self, request: TrainingRequest) -> None:
        message = PubsubMessage(
            data=msgspec.json.encode(request), attributes={"persona": request.persona}
        )
        self._publish(TRAINING_REQUESTS_TOPIC, [message])

    def publish_dead_letter(self, letter: DeadLetter) -> None:
        """Keep a message that cannot be carried out where an operator can list and replay it."""
        message = PubsubMessage(
            data=msgspec.json.encode(letter),
            attributes={"source": letter.source, "reason": _attribute(letter.reason)},
        )
        self._publish(DEAD_LETTERS_TOPIC, [message])

    def _message(
        self,
        body: msgspec.Struct,
        *,
        type_: str,
        id_: str,
        subject: str,
        at: datetime,
        **attributes: str,
    ) -> PubsubMessage:
        return PubsubMessage(
            data=msgspec.json.encode(body),
            ordering_key=attributes.get("run_id", "") if self._ordered else "",
            attributes={
                "ce-specversion": "1.0",
                "ce-type": type_,
                "ce-id": id_,
                "ce-source": self._source,
                "ce-subject": _attribute(subject),
                "ce-time": at.isoformat(),
                "content-type": "application/json",
                **attributes,
            },
        )

    def _publish(self, topic: str, messages: list[PubsubMessage]) -> None:
        for start in range(0, len(messages), _MESSAGES_PER_CALL):
            self._publisher.publish(
                topic=self._places.topic(topic),
                messages=messages[start : start + _MESSAGES_PER_CALL],
                retry=_RETRY,
                timeout=_PUBLISH_SECONDS,
            )
