"""Streaming pull: what the high-level subscriber client's `subscribe()` runs on."""

import threading
from collections.abc import Iterator
from typing import Any

from google.pubsub_v1 import types

from local.pubsub.broker import Broker, Delivery
from local.pubsub.errors import PubSubError, failed_precondition, invalid_argument, unavailable
from local.pubsub.protos import ReceivedMessage

_StreamingPullResponse: Any = types.StreamingPullResponse.pb()

_MAX_MESSAGES_PER_RESPONSE = 100
_DEFAULT_MAX_OUTSTANDING = 1000


def refuse_push(broker: Broker, name: str) -> None:
    """Raise unless the subscription exists and is for pulling."""
    with broker.changed:
        if broker.catalog.subscription(name).is_push:
            raise failed_precondition("A push subscription cannot be pulled from.")


def received_message(broker: Broker, name: str, delivery: Delivery) -> Any:
    """A delivery on the wire; the attempt is told only under a dead letter policy."""
    with broker.changed:
        is_counted = broker.catalog.subscription(name).proto.HasField("dead_letter_policy")
    return ReceivedMessage(
        ack_id=delivery.ack_id,
        message=delivery.message,
        delivery_attempt=delivery.delivery_count if is_counted else 0,
    )


def streaming_pull(broker: Broker, requests: Iterator[Any], context: Any) -> Iterator[Any]:
    """Answer one stream until the client leaves, the subscription goes or the server closes."""
    first = next(requests, None)
    if first is None or not first.subscription:
        raise invalid_argument("The first request of a stream must name a subscription.")
    refuse_push(broker, first.subscription)
    stream = _Stream(broker, first)
    context.add_callback(stream.end)
    reader = threading.Thread(
        target=stream.read, args=(requests,), name="pubsub-stream", daemon=True
    )
    reader.start()
    return stream.responses()


class _Stream:
    """One open stream; all fields are guarded by the broker's lock."""

    def __init__(self, broker: Broker, first: Any) -> None:
        self._broker = broker
        self._name: str = first.subscription
        self._max_outstanding = first.max_outstanding_messages
        if self._max_outstanding <= 0:
            self._max_outstanding = _DEFAULT_MAX_OUTSTANDING
        self._lease_seconds: float | None = None
        self._outstanding: set[str] = set()
        self._ended = False
        self._error: PubSubError | None = None
        self._apply(first)

    def end(self, error: PubSubError | None = None) -> None:
        with self._broker.changed:
            self._ended = True
            self._error = self._error or error
            self._broker.changed.notify_all()

    def read(self, requests: Iterator[Any]) -> None:
        """Apply what the client sends; it ends by itself when the client is done or gone."""
        error = None
        try:
            for request in requests:
                self._apply(request)
        except PubSubError as exc:
            error = exc
        except Exception:  # grpc raises a bare Exception when the stream is cancelled
            pass
        self.end(error)

    def responses(self) -> Iterator[Any]:
        while deliveries := self._next_deliveries():
            yield _StreamingPullResponse(
                received_messages=[
                    received_message(self._broker, self._name, each) for each in deliveries
                ]
            )

    def _apply(self, request: Any) -> None:
        if request.stream_ack_deadline_seconds:
            self._lease_seconds = float(request.stream_ack_deadline_seconds)
        if request.ack_ids:
            self._broker.acknowledge(self._name, request.ack_ids)
        pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False)
        for ack_id, seconds in pairs:
            self._broker.modify_ack_deadline(self._name, [ack_id], seconds)

    def _next_deliveries(self) -> list[Delivery]:
        """The next deliveries, as soon as there are some; none when the stream has ended."""
        broker = self._broker
        with broker.changed:
            while not self._ended:
                if broker.closed:
                    raise unavailable("The server is stopping.")
                refuse_push(broker, self._name)
                self._outstanding = broker.still_leased(self._name, self._outstanding)
                room = self._max_outstanding - len(self._outstanding)
                deliveries = (
                    broker.take(
                        self._name, min(room, _MAX_MESSAGES_PER_RESPONSE), self._lease_seconds
                    )
                    if room > 0
                    else []
                )
                if deliveries:
                    self._outstanding.update(each.ack_id for each in deliveries)
                    return deliveries
                broker.wait([self._name])
            if self._error is not None:
                raise self._error
            return []
