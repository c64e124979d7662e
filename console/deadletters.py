"""Messages that nobody could carry out: looked at without being taken, or sent once more.

They come in two kinds. Those of our functions hold the message, its source and the reason. What
Pub/Sub itself gave up on is the message as it was, with attributes that name the subscription.

Dead letters: https://cloud.google.com/pubsub/docs/handling-failures
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import msgspec
from google.api_core import exceptions as google_exceptions
from google.pubsub_v1 import PubsubMessage, SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from console.connection import Connection
from console.errors import UsageError
from tuner.clients import publisher_client
from tuner.errors import MalformedMessage
from tuner.events import MAX_BODY_BYTES, DeadLetter
from tuner.notifications import ObjectFinalized
from tuner.places import (
    DEAD_LETTERS_TOPIC,
    STORAGE_EVENTS_TOPIC,
    TRAINING_REQUESTS_TOPIC,
    Places,
)

#: The topic that each function, and its subscription of the same name, is sent its messages on.
TOPICS = {
    "submitter": TRAINING_REQUESTS_TOPIC,
    "converter": STORAGE_EVENTS_TOPIC,
    "completion": STORAGE_EVENTS_TOPIC,
}

_PUBSUB = "CloudPubSubDeadLetterSource"
#: How long a pull waits for the first message, and then for one more.
PATIENCE_SECONDS = 5.0
_MORE_SECONDS = 2.0
_PER_PULL = 100
_PER_CALL = 500
_CALL_SECONDS = 30.0
#: What is shown of a request's body.
_MAX_SHOWN = 200


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. `problem`: why it cannot be sent again; empty when it can.

    `body` is the beginning of a request; of anything else nothing is shown.
    """

    id: str
    source: str
    at: datetime
    reason: str
    body: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A dead letter that is leased to us, with the message that it was made of."""

    letter: Letter
    ack_id: str
    message: PubsubMessage


def list_letters(connection: Connection) -> list[Letter]:
    """Every dead letter, oldest first; each is given back at once, none is taken."""
    with _inbox(connection) as inbox:
        letters = [held.letter for held in inbox.pull()]
    return sorted(letters, key=lambda letter: (letter.at, letter.id))


def replay(
    connection: Connection,
    ids: Sequence[str] | None,
    *,
    told: Callable[[Letter], None] = lambda letter: None,
) -> tuple[list[Letter], list[Letter]]:
    """Send dead letters to the topic they came from, all for None: (sent, refused).

    Each is published first and acknowledged after that: should we die in between, it is still
    there, and is delivered twice at worst. Every function takes a message that it has had before
    for what it is. `told` hears of each that was sent. Raises UsageError when an id is not there;
    then nothing is sent.
    """
    sent: list[Letter] = []
    refused: list[Letter] = []
    with (
        _inbox(connection) as inbox,
        publisher_client(connection.pubsub_host) as publisher,
    ):
        found = {held.letter.id: held for held in inbox.pull()}
        missing = [id_ for id_ in ids or () if id_ not in found]
        if missing:
            raise UsageError(
                f"No dead letter has the id {', '.join(missing)}. `tuner deadletters list` shows "
                "them."
            )
        for id_ in dict.fromkeys(found if ids is None else ids):
            held = found[id_]
            if held.letter.problem:
                refused.append(held.letter)
                continue
            publisher.publish(
                topic=connection.places.topic(TOPICS[held.letter.source]),
                messages=[held.message],
                timeout=_CALL_SECONDS,
            )
            inbox.acknowledge(held)
            sent.append(held.letter)
            told(held.letter)
    return sent, refused


def letter_of(message: Any, places: Places) -> tuple[Letter, PubsubMessage]:
    """(what is told of a dead letter, the message to send again)."""
    attributes = dict(message.attributes)
    published = datetime.fromtimestamp(message.publish_time.timestamp(), UTC)
    if f"{_PUBSUB}Subscription" in attributes:
        return _given_up(message, attributes, published)
    try:
        dead = msgspec.json.decode(message.data, type=DeadLetter)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        letter = Letter(
            id=message.message_id, source="unknown", at=published, reason="", body="",
            problem="It is not a dead letter of this pipeline: nobody knows where it came from.",
        )  # fmt: skip
        return letter, PubsubMessage()
    letter = Letter(
        id=message.message_id,
        source=dead.source,
        at=dead.at,
        reason=dead.reason,
        body=dead.body[:_MAX_SHOWN] if dead.source == "submitter" else "",
        problem=_problem(dead),
    )
    return letter, PubsubMessage(
        data=dead.body.encode("utf-8", "replace"), attributes=_attributes_of(dead, places)
    )


def _given_up(
    message: Any, attributes: Mapping[str, str], published: datetime
) -> tuple[Letter, PubsubMessage]:
    """A message that Pub/Sub delivered in vain as often as its subscription allows."""
    source = attributes[f"{_PUBSUB}Subscription"].rsplit("/", 1)[-1]
    count = attributes.get(f"{_PUBSUB}DeliveryCount", "many")
    is_request = source == "submitter"
    letter = Letter(
        id=message.message_id,
        source=source,
        at=published,
        reason=f"Failed {count} deliveries in a row; the log of {source} says why.",
        body=message.data[:_MAX_SHOWN].decode("utf-8", "replace") if is_request else "",
        problem=_unknown(source),
    )
    kept = {name: value for name, value in attributes.items() if not name.startswith(_PUBSUB)}
    return letter, PubsubMessage(data=message.data, attributes=kept)


def _problem(dead: DeadLetter) -> str:
    if len(dead.body.encode("utf-8", "replace")) >= MAX_BODY_BYTES:
        return "It was longer than 1 MB, and only its beginning was kept. Send the original again."
    if "\ufffd" in dead.body:
        return "It was not all text, and what was not is not kept. Send the original again."
    return _unknown(dead.source)


def _unknown(source: str) -> str:
    return "" if source in TOPICS else f"It came from {source!r}, which takes no messages."


def _attributes_of(dead: DeadLetter, places: Places) -> dict[str, str]:
    """What the subscriptions' filters look for: our own dead letters keep no attributes."""
    if dead.source == "submitter":
        return {}
    is_result = dead.source == "completion"
    try:
        name = ObjectFinalized.from_notification(dead.body.encode("utf-8", "replace")).name
    except MalformedMessage:
        name = "results/" if is_result else ""
    return {
        "bucketId": places.work_bucket_name if is_result else places.uploads_bucket_name,
        "eventType": "OBJECT_FINALIZE",
        "objectId": name,
    }


class _Inbox:
    """The pull subscription on `dead-letters`: what was pulled is ours until it is given back."""

    def __init__(self, subscriber: SubscriberClient, places: Places) -> None:
        self._subscriber = subscriber
        self._places = places
        self._subscription = f"projects/{places.project}/subscriptions/{DEAD_LETTERS_TOPIC}"
        self._leased: dict[str, str] = {}

    def pull(self) -> Iterator[_Held]:
        """Everything that can be delivered now, each once. Raises GoogleAPICallError."""
        while True:
            try:
                reply = self._subscriber.pull(
                    subscription=self._subscription,
                    max_messages=_PER_PULL,
                    timeout=min(_MORE_SECONDS, PATIENCE_SECONDS)
                    if self._leased
                    else PATIENCE_SECONDS,
                    retry=None,
                )
            except google_exceptions.DeadlineExceeded:
                return
            new = [r for r in reply.received_messages if r.message.message_id not in self._leased]
            # The newest lease on a message is the one that counts.
            self._leased |= {r.message.message_id: r.ack_id for r in reply.received_messages}
            for received in new:
                letter, message = letter_of(received.message, self._places)
                yield _Held(letter=letter, ack_id=received.ack_id, message=message)
            if not new:
                return

    def acknowledge(self, held: _Held) -> None:
        ack_id = self._leased.pop(held.letter.id, held.ack_id)
        self._subscriber.acknowledge(
            subscription=self._subscription, ack_ids=[ack_id], timeout=_CALL_SECONDS
        )

    def give_back(self) -> None:
        """Let others have at once what we only looked at."""
        ack_ids = list(self._leased.values())
        for start in range(0, len(ack_ids), _PER_CALL):
            self._subscriber.modify_ack_deadline(
                subscription=self._subscription,
                ack_ids=ack_ids[start : start + _PER_CALL],
                ack_deadline_seconds=0,
                timeout=_CALL_SECONDS,
            )


@contextmanager
def _inbox(connection: Connection) -> Iterator[_Inbox]:
    if connection.pubsub_host is None:
        subscriber = SubscriberClient()
    else:
        # A dead letter may be as long as any message: 10 MB.
        channel = grpc.insecure_channel(
            connection.pubsub_host, [("grpc.max_receive_message_length", -1)]
        )
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    with subscriber:
        inbox = _Inbox(subscriber, connection.places)
        try:
            yield inbox
        finally:
            inbox.give_back()
