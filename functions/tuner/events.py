"""What is published for other systems: run events, refused uploads, alarms, dead letters.

Events are CloudEvents 1.0 in Pub/Sub's binary mode: `ce-*` attributes, a JSON body. `type` is
`run.<state>`, `run.progress`, `model.promoted`, `upload.rejected`, `upload.kept` or `alarm.raised`;
`seq` counts a run's state changes from 1 without a gap, so a consumer drops what it has seen and
knows what it missed. Bodies hold no conversation text.

Binding: https://github.com/cloudevents/spec (Google Cloud Pub/Sub protocol binding)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from google.api_core import exceptions as google_exceptions
from google.api_core.retry import Retry, if_exception_type

from tuner.accounts import summary_of
from tuner.event_types import (
    MAX_BODY_BYTES,
    AlarmRaised,
    DeadLetter,
    ModelPromoted,
    RunEvent,
    RunProgress,
    UploadKept,
    UploadRejected,
)
from tuner.places import DEAD_LETTERS_TOPIC, RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC, Places
from tuner.pubsub_api import PubsubMessage
from tuner.requests import TrainingRequest
from tuner.runs import Change, Run

__all__ = [
    "MAX_BODY_BYTES", "AlarmRaised", "DeadLetter", "Events", "ModelPromoted", "Publisher",
    "RunEvent", "RunProgress", "UploadKept", "UploadRejected", "event_of",
]  # fmt: skip

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
#: Pub/Sub refuses a message with a longer attribute.
_MAX_ATTRIBUTE_BYTES = 1024


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
        self._publish(RUN_EVENTS_TOPIC, messages)

    def publish_promotions(self, moves: Sequence[ModelPromoted]) -> None:
        """Publish moves of a persona's latest.json, in order."""
        messages = [
            self._message(
                each,
                type_="model.promoted",
                id_=f"promoted-{each.persona}-{each.run_id}-{each.move}",
                subject=f"models/{each.persona}",
                at=each.at,
                run_id=each.run_id,
                persona=each.persona,
            )
            for each in moves
        ]
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
        """Publish in as many calls as they need; none for no messages."""
        for start in range(0, len(messages), _MESSAGES_PER_CALL):
            self._publisher.publish(
                topic=self._places.topic(topic),
                messages=messages[start : start + _MESSAGES_PER_CALL],
                retry=_RETRY,
                timeout=_PUBLISH_SECONDS,
            )
