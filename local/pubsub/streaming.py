"""Streaming pull: what the high-level subscriber client's `subscribe()` runs on."""

import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from google.pubsub_v1 import types

from local.pubsub.broker import Broker, Delivery
from local.pubsub.catalog import Subscription
from local.pubsub.errors import (
    PubSubError,
    failed_precondition,
    invalid_argument,
    resource_exhausted,
    unavailable,
)
from local.pubsub.outstanding import Allowance
from local.pubsub.protos import ReceivedMessage

_StreamingPullResponse: Any = types.StreamingPullResponse.pb()

_MAX_MESSAGES_PER_RESPONSE = 100

# Each stream takes two threads. More are asked to come again, so that some are left for the calls
# that acknowledge what the streams deliver.
MAX_STREAMS = 96

# May be named by the first request of a stream only.
_SETTINGS = (
    "subscription",
    "client_id",
    "max_outstanding_messages",
    "max_outstanding_bytes",
    "protocol_version",
)


def refuse_push(broker: Broker, name: str) -> None:
    """Raise unless the subscription exists and is for pulling."""
    with broker.changed:
        if broker.catalog.subscription(name).is_push:
            raise failed_precondition("A push subscription cannot be pulled from.")


def received_message(subscription: Subscription, delivery: Delivery) -> Any:
    """A delivery on the wire; the attempt is told only under a dead letter policy."""
    is_counted = subscription.proto.HasField("dead_letter_policy")
    return ReceivedMessage(
        ack_id=delivery.ack_id,
        message=delivery.message,
        delivery_attempt=delivery.delivery_count if is_counted else 0,
    )


class Streams:
    """All open streams of a server."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._open = 0  # under broker.changed

    def pull(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Answer one stream until the client leaves, the subscription goes or the server closes."""
        first = next(requests, None)
        if first is None:
            raise invalid_argument("A stream needs a first request.")
        stream = _Stream(self._broker, first)
        with self._broker.changed:
            if self._open >= MAX_STREAMS:
                raise resource_exhausted(f"{MAX_STREAMS} streams are open already.")
            self._open += 1
        try:
            if not context.add_callback(stream.end):
                return
            reader = threading.Thread(
                target=stream.read, args=(requests,), name="pubsub-stream", daemon=True
            )
            reader.start()
            yield from stream.responses()
        finally:
            stream.end()
            with self._broker.changed:
                self._open -= 1


class _Stream:
    """One open stream; all fields are guarded by the broker's lock."""

    def __init__(self, broker: Broker, first: Any) -> None:
        self._broker = broker
        self._name: str = first.subscription
        if not self._name:
            raise invalid_argument("The first request of a stream must name a subscription.")
        refuse_push(broker, self._name)
        if not first.stream_ack_deadline_seconds:
            raise invalid_argument("The first request needs stream_ack_deadline_seconds.")
        self._allowance = Allowance(
            max_messages=max(0, first.max_outstanding_messages),
            max_bytes=max(0, first.max_outstanding_bytes),
        )
        self._lease_seconds = 0.0
        self._ended = False
        self._error: PubSubError | sqlite3.Error | None = None
        self._apply(first)

    def end(self, error: PubSubError | sqlite3.Error | None = None) -> None:
        with self._broker.changed:
            self._ended = True
            self._error = self._error or error
            self._broker.outstanding.forget(self._allowance)
            self._broker.changed.notify_all()

    def read(self, requests: Iterator[Any]) -> None:
        """Apply what the client sends; it ends by itself when the client is done or gone."""
        error = None
        try:
            for request in requests:
                for field in _SETTINGS:
                    if getattr(request, field):
                        raise invalid_argument(f"{field} may only be set in the first request.")
                self._apply(request)
        except (PubSubError, sqlite3.Error) as exc:
            error = exc
        except Exception:  # grpc raises a bare Exception when the stream is cancelled
            pass
        self.end(error)

    def responses(self) -> Iterator[Any]:
        while deliveries := self._next_deliveries():
            yield self._response(deliveries)

    def _response(self, deliveries: list[Delivery]) -> Any:
        with self._broker.changed:
            subscription = self._broker.catalog.subscription(self._name)
        return _StreamingPullResponse(
            received_messages=[received_message(subscription, each) for each in deliveries],
            subscription_properties={
                "exactly_once_delivery_enabled": subscription.is_exactly_once,
                "message_ordering_enabled": subscription.proto.enable_message_ordering,
            },
        )

    def _apply(self, request: Any) -> None:
        """Settle and extend; what exactly-once delivery refuses is not told on a stream."""
        if request.stream_ack_deadline_seconds:
            if not 10 <= request.stream_ack_deadline_seconds <= 600:
                raise invalid_argument("stream_ack_deadline_seconds must be between 10 and 600.")
            self._lease_seconds = float(request.stream_ack_deadline_seconds)
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise invalid_argument("There must be one deadline for each ack id to modify.")
        if request.ack_ids:
            self._broker.acknowledge(self._name, request.ack_ids)
        by_seconds: dict[int, list[str]] = {}
        for ack_id, seconds in zip(
            request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True
        ):
            by_seconds.setdefault(seconds, []).append(ack_id)
        for seconds, ack_ids in by_seconds.items():
            self._broker.modify_ack_deadline(self._name, ack_ids, seconds)

    def _next_deliveries(self) -> list[Delivery]:
        """The next deliveries, as soon as there are some; none when the stream has ended."""
        broker = self._broker
        with broker.changed:
            while not self._ended:
                if broker.closed:
                    raise unavailable("The server is stopping.")
                refuse_push(broker, self._name)
                deliveries = broker.take(
                    self._name, _MAX_MESSAGES_PER_RESPONSE, self._lease_seconds, self._allowance
                )
                if deliveries:
                    return deliveries
                if self._allowance.has_room:
                    broker.wait([self._name])
                else:
                    broker.wait_for_room(self._name)
            if self._error is not None:
                raise self._error
            return []
