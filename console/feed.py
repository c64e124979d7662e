"""Waiting for news of a persona: its events wake us up; the ledger is what we believe."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import grpc
import msgspec
from google.api_core import exceptions as google_exceptions
from google.pubsub_v1 import SubscriberClient, types
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from console.connection import Connection
from tuner.clock import new_id
from tuner.events import RunEvent
from tuner.places import RUN_EVENTS_TOPIC

log = logging.getLogger(__name__)


class Feed:
    """Events of `run-events`, or plain waiting where no subscription may be made."""

    def __init__(self, subscriber: SubscriberClient | None, subscription: str) -> None:
        self._subscriber = subscriber
        self._subscription = subscription
        #: Run events received, duplicates included, in order of arrival.
        self.received: list[RunEvent] = []

    def wait(self, seconds: float) -> None:
        """Return when an event arrives, or after `seconds`."""
        if self._subscriber is None:
            time.sleep(seconds)
            return
        started = time.monotonic()
        try:
            reply = self._subscriber.pull(
                subscription=self._subscription, max_messages=100, timeout=seconds, retry=None
            )
        except google_exceptions.GoogleAPICallError:
            reply = types.PullResponse()
        if not reply.received_messages:
            time.sleep(max(0.0, seconds - (time.monotonic() - started)))
            return
        for received in reply.received_messages:
            if "seq" in received.message.attributes:  # a state change; progress has none
                self.received.append(msgspec.json.decode(received.message.data, type=RunEvent))
        self._subscriber.acknowledge(
            subscription=self._subscription,
            ack_ids=[received.ack_id for received in reply.received_messages],
        )


@contextmanager
def feed_of(connection: Connection, persona: str) -> Iterator[Feed]:
    """A feed with a subscription of its own, removed at the end."""
    project = connection.places.project
    name = f"projects/{project}/subscriptions/console-{new_id()}"
    subscriber: SubscriberClient | None = _subscriber(connection)
    try:
        assert subscriber is not None
        subscriber.create_subscription(
            types.Subscription(
                name=name,
                topic=connection.places.topic(RUN_EVENTS_TOPIC),
                filter=f'attributes.persona = "{persona}"',
                # Should we die before we remove it.
                expiration_policy=types.ExpirationPolicy(ttl=timedelta(days=1)),
                message_retention_duration=timedelta(hours=1),
            )
        )
    except google_exceptions.GoogleAPICallError as error:
        log.info("No subscription may be made (%s); looking every few seconds.", error.message)
        subscriber = None
    try:
        yield Feed(subscriber, name)
    finally:
        if subscriber is not None:
            with suppress(google_exceptions.GoogleAPICallError):
                subscriber.delete_subscription(subscription=name)


def _subscriber(connection: Connection) -> SubscriberClient:
    if connection.pubsub_host is None:
        return SubscriberClient()
    channel = grpc.insecure_channel(connection.pubsub_host)
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
