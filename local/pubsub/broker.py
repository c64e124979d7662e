"""Publishing, delivering and settling messages.

One lock guards everything. `changed` is notified whenever something may have become deliverable
or a lease has ended, so whoever waits for messages sleeps until then, or until `next_due_at`.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from local.pubsub import redelivery
from local.pubsub.catalog import Catalog, Subscription
from local.pubsub.errors import invalid_argument
from local.pubsub.protos import MessageProto, PubsubMessage
from local.pubsub.resources import check_messages
from local.pubsub.store import Store

Clock = Callable[[], float]

_ACK_ID = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of a message, outstanding until it is settled or its lease ends."""

    ack_id: str
    message: MessageProto
    delivery_count: int  # from 1


class Broker:
    """All state of the server, safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock = time.time) -> None:
        """Resume from what the store holds; the clock gives Unix seconds."""
        self.changed = threading.Condition(threading.RLock())
        self.catalog = Catalog(store)
        self.closed = False
        self._store = store
        self._clock = clock
        # The answer to a push that was in flight when the process died went nowhere. Leases of
        # pulls go on: their holders may still acknowledge.
        with store.transaction():
            store.release_all([each.id for each in self.catalog.push_subscriptions()], clock())

    def close(self) -> None:
        """Wake everyone who waits, for the last time."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def publish(self, topic: str, messages: Sequence[MessageProto]) -> list[str]:
        """Store messages for every matching subscription; durable when it returns their ids."""
        check_messages(messages)
        with self.changed:
            self.catalog.topic(topic)
            with self._store.transaction():
                message_ids = [self._enqueue(topic, message) for message in messages]
            self.changed.notify_all()
        return message_ids

    def take(
        self, name: str, max_messages: int, lease_seconds: float | None = None
    ) -> list[Delivery]:
        """Lease what may be delivered now; without a length, for the subscription's deadline."""
        with self.changed, self._store.transaction():
            subscription = self.catalog.subscription(name)
            now = self._clock()
            self._settle_overdue(subscription, now)
            if lease_seconds is None:
                lease_seconds = subscription.proto.ack_deadline_seconds
            deliveries = []
            for message_id, count in self._store.deliverable(subscription.id, now, max_messages):
                self._store.lease(subscription.id, message_id, now + lease_seconds)
                deliveries.append(
                    Delivery(
                        ack_id=f"{subscription.id}-{message_id}-{count + 1}",
                        message=self._message(message_id),
                        delivery_count=count + 1,
                    )
                )
            return deliveries

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """Settle deliveries for good; one that was delivered again since is left alone."""
        with self.changed:
            with self._store.transaction():
                subscription = self.catalog.subscription(name)
                for message_id, count in _parse(subscription, ack_ids):
                    self._store.delete_delivery(subscription.id, message_id, count)
            self.changed.notify_all()

    def modify_ack_deadline(self, name: str, ack_ids: Iterable[str], seconds: float) -> None:
        """Let leases end `seconds` from now; 0 gives the messages back at once."""
        if not 0 <= seconds <= 600:
            raise invalid_argument("ack_deadline_seconds must be between 0 and 600.")
        with self.changed:
            with self._store.transaction():
                subscription = self.catalog.subscription(name)
                now = self._clock()
                for message_id, count in _parse(subscription, ack_ids):
                    if not self._store.is_leased(subscription.id, message_id, count):
                        continue
                    if seconds == 0:
                        self._give_back(subscription, message_id, count, now)
                    else:
                        self._store.extend_lease(subscription.id, message_id, now + seconds)
            self.changed.notify_all()

    def still_leased(self, name: str, ack_ids: Iterable[str]) -> set[str]:
        """Those of the deliveries that are neither settled nor given back."""
        with self.changed:
            subscription = self.catalog.subscription(name)
            return {
                ack_id
                for ack_id in ack_ids
                for message_id, count in _parse(subscription, [ack_id])
                if self._store.is_leased(subscription.id, message_id, count)
            }

    def wait(self, names: Iterable[str], max_seconds: float | None = None) -> None:
        """Sleep until something changes or becomes due; the caller holds `changed`."""
        waits = [] if max_seconds is None else [max_seconds]
        for name in names:
            due_at = self._store.next_due_at(self.catalog.subscription(name).id)
            if due_at is not None:
                waits.append(max(0.001, due_at - self._clock()))
        self.changed.wait(min(waits, default=None))

    def _settle_overdue(self, subscription: Subscription, now: float) -> None:
        """Drop what is older than the retention, and give back what was not acknowledged."""
        self._store.delete_published_before(subscription.id, now - subscription.retention_seconds)
        overdue = self._store.expired_leases(subscription.id, now)
        for message_id, count in overdue:
            self._give_back(subscription, message_id, count, now)
        if overdue:
            self.changed.notify_all()

    def _give_back(
        self, subscription: Subscription, message_id: int, delivery_count: int, now: float
    ) -> None:
        """Schedule the next delivery, or move the message to the dead letter topic."""
        dead_letter_topic = subscription.proto.dead_letter_policy.dead_letter_topic
        # With its dead letter topic deleted, the message stays: losing it would be worse.
        if redelivery.is_exhausted(subscription, delivery_count) and self.catalog.has_topic(
            dead_letter_topic
        ):
            message = self._message(message_id)
            self._enqueue(
                dead_letter_topic, redelivery.dead_letter(subscription, message, delivery_count)
            )
            self._store.delete_delivery(subscription.id, message_id, delivery_count)
            return
        due_at = now + redelivery.backoff_seconds(subscription, delivery_count)
        self._store.release(subscription.id, message_id, due_at)

    def _enqueue(self, topic: str, message: MessageProto) -> str:
        now = self._clock()
        stored = PubsubMessage()
        stored.CopyFrom(message)
        stored.ClearField("message_id")  # the store's row id
        stored.publish_time.FromMilliseconds(int(now * 1000))
        message_id = self._store.add_message(now, stored.SerializeToString())
        receivers = [
            each for each in self.catalog.subscriptions_of(topic) if each.matches(stored.attributes)
        ]
        for subscription in receivers:
            ordered = subscription.proto.enable_message_ordering
            key = stored.ordering_key if ordered else ""
            self._store.add_delivery(subscription.id, message_id, key, now)
        if not receivers:
            self._store.delete_message(message_id)
        return str(message_id)

    def _message(self, message_id: int) -> MessageProto:
        message = PubsubMessage.FromString(self._store.message(message_id))
        message.message_id = str(message_id)
        return message


def _parse(subscription: Subscription, ack_ids: Iterable[str]) -> list[tuple[int, int]]:
    """Message id and delivery count of each ack id; those of another subscription are ignored."""
    parsed = []
    for ack_id in ack_ids:
        match = _ACK_ID.fullmatch(ack_id)
        if match is None:
            raise invalid_argument(f"Invalid ack id (ack_id={ack_id})")
        subscription_id, message_id, delivery_count = map(int, match.groups())
        if subscription_id == subscription.id:
            parsed.append((message_id, delivery_count))
    return parsed
