"""Publishing, delivering and settling messages.

One lock guards everything. `changed` is notified whenever something may have become deliverable
or a lease has ended, so whoever waits for messages sleeps until then, or until the next is due.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from local.pubsub import redelivery
from local.pubsub.archive import Archive
from local.pubsub.catalog import Catalog, Subscription
from local.pubsub.errors import invalid_argument
from local.pubsub.outstanding import Allowance, Key, Outstanding
from local.pubsub.protos import MessageProto, PubsubMessage, seconds_of
from local.pubsub.resources import check_messages
from local.pubsub.retention import Retention
from local.pubsub.snapshots import Snapshots
from local.pubsub.store import Store, StoredDelivery

Clock = Callable[[], float]

# One answer holds about so much, whatever was asked for: it is built in memory.
MAX_RESPONSE_BYTES = 4_000_000

_ACK_ID = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of a message, outstanding until it is settled or its lease ends."""

    ack_id: str
    message: MessageProto
    delivery_count: int  # from 1, and again from 1 after a seek to before


class Broker:
    """All state of the server, safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock = time.time) -> None:
        """Resume from what the store holds; the clock gives Unix seconds."""
        self.changed = threading.Condition(threading.RLock())
        self.catalog = Catalog(store)
        self.archive = Archive(store)
        self.snapshots = Snapshots(self.archive)
        self.outstanding = Outstanding()
        self.retention = Retention(self.catalog, self.archive, self.snapshots, self.outstanding)
        self.store = store
        self.clock = clock
        self.closed = False
        # When each subscription may have something to deliver next, as long as nothing happens
        # to it: many streams that wake for one message do not all search the same backlog.
        self._quiet_until: dict[int, float] = {}
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
            with self.store.transaction():
                self.retention.sweep_sometimes(self.clock())
                message_ids = [self._enqueue(topic, message) for message in messages]
            self.changed.notify_all()
        return message_ids

    def delete_topic(self, name: str) -> None:
        """Delete a topic and what it kept; its subscriptions and snapshots stay."""
        with self.changed, self.store.transaction():
            self.catalog.delete_topic(name)
            self.archive.forget_topic_messages(name)
            self.snapshots.orphan(name)

    def take(
        self,
        name: str,
        max_messages: int,
        lease_seconds: float | None = None,
        allowance: Allowance | None = None,
    ) -> list[Delivery]:
        """Lease what may be delivered now; without a length, for the subscription's deadline.

        An allowance is a stream's: it is charged, and what it has no room for stays.
        """
        with self.changed, self.store.transaction():
            subscription = self.catalog.subscription(name)
            now = self.clock()
            if now < self._quiet_until.get(subscription.id, -math.inf):
                return []
            self._settle_overdue(subscription, now)
            if lease_seconds is None:
                lease_seconds = subscription.proto.ack_deadline_seconds
            if allowance is not None and not allowance.has_room:
                return []
            waiting = self.store.waiting(subscription.id, now, max_messages)
            if not waiting:
                self._quiet_until[subscription.id] = self.store.next_due_at(subscription.id)
            deliveries: list[Delivery] = []
            bytes_left = MAX_RESPONSE_BYTES
            for stored in waiting:
                if bytes_left <= 0 or (allowance is not None and not allowance.has_room):
                    break
                deliveries.append(self._deliver(subscription, stored, now + lease_seconds))
                size_bytes = deliveries[-1].message.ByteSize()
                bytes_left -= size_bytes
                if allowance is not None:
                    key = Key(subscription.id, stored.message_id)
                    self.outstanding.hold(key, allowance, size_bytes)
            return deliveries

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> list[str]:
        """Settle deliveries for good; one that was delivered again since is left alone.

        Returns those that exactly-once delivery refuses, because their lease has ended.
        """
        refused = []
        with self.changed:
            with self.store.transaction():
                subscription = self.catalog.subscription(name)
                if subscription.is_exactly_once:
                    self._settle_overdue(subscription, self.clock())
                for ack_id, delivery in _parse(subscription, ack_ids):
                    if delivery is None or not self._may_settle(subscription, delivery):
                        refused.append(ack_id)
                    else:
                        self.settle(subscription, delivery.message_id)
            self.changed.notify_all()
        return refused if subscription.is_exactly_once else []

    def modify_ack_deadline(self, name: str, ack_ids: Iterable[str], seconds: float) -> list[str]:
        """Let leases end `seconds` from now; 0 gives the messages back at once.

        Returns those that exactly-once delivery refuses, because their lease has ended.
        """
        if not 0 <= seconds <= 600:
            raise invalid_argument("ack_deadline_seconds must be between 0 and 600.")
        refused = []
        with self.changed:
            with self.store.transaction():
                subscription = self.catalog.subscription(name)
                now = self.clock()
                if subscription.is_exactly_once:
                    self._settle_overdue(subscription, now)
                for ack_id, delivery in _parse(subscription, ack_ids):
                    if delivery is None or not self.store.is_leased(subscription.id, delivery):
                        refused.append(ack_id)
                    elif seconds == 0:
                        self._give_back(subscription, delivery, now)
                    else:
                        self.store.extend_lease(subscription.id, delivery.message_id, now + seconds)
                        self._stir(subscription)
            self.changed.notify_all()
        return refused if subscription.is_exactly_once else []

    def wait(self, names: Iterable[str], max_seconds: float | None = None) -> None:
        """Sleep until something changes or becomes due; the caller holds `changed`."""
        due_at = math.inf
        for name in names:
            subscription = self.catalog.subscription(name)
            quiet_until = self._quiet_until.get(subscription.id)
            if quiet_until is None:
                quiet_until = self.store.next_due_at(subscription.id)
            due_at = min(due_at, quiet_until)
        self._wait_until(due_at, max_seconds)

    def wait_for_room(self, name: str) -> None:
        """Sleep until something changes or a lease ends: what waits is no reason to wake."""
        self._wait_until(self.store.next_lease_end(self.catalog.subscription(name).id))

    def settle(self, subscription: Subscription, message_id: int) -> None:
        """Acknowledge a message, whoever holds it; the caller holds a transaction."""
        if subscription.proto.retain_acked_messages:
            self.archive.retain(subscription.id, message_id)
        self.store.delete_delivery(subscription.id, message_id)
        self._end_lease(subscription, message_id)

    def restore(self, subscription: Subscription, message_ids: Iterable[int], seek: int) -> None:
        """Deliver messages again that match the filter; the caller holds a transaction."""
        for message_id in message_ids:
            message = PubsubMessage.FromString(self.store.message(message_id))
            if subscription.matches(message.attributes):
                self._add_delivery(subscription, message_id, message.ordering_key, seek)
                self.archive.release_retained(subscription.id, message_id)

    def _wait_until(self, due_at: float, max_seconds: float | None = None) -> None:
        waits = [] if max_seconds is None else [max_seconds]
        if due_at < math.inf:
            waits.append(max(0.001, due_at - self.clock()))
        # A wait may not be longer than the platform's timer can be.
        self.changed.wait(min(*waits, threading.TIMEOUT_MAX) if waits else None)

    def _may_settle(self, subscription: Subscription, delivery: StoredDelivery) -> bool:
        if subscription.is_exactly_once:
            return self.store.is_leased(subscription.id, delivery)
        return self.store.has_delivery(subscription.id, delivery)

    def _deliver(
        self, subscription: Subscription, stored: StoredDelivery, expires_at: float
    ) -> Delivery:
        self.store.lease(subscription.id, stored.message_id, expires_at)
        count = stored.delivery_count + 1
        return Delivery(
            ack_id=f"{subscription.id}-{stored.message_id}-{stored.seek}-{count}",
            message=self._message(stored.message_id),
            delivery_count=count,
        )

    def _settle_overdue(self, subscription: Subscription, now: float) -> None:
        """Drop what is older than the retention, and give back what was not acknowledged."""
        self.retention.forget_unacknowledged(subscription, now)
        overdue = self.store.expired_leases(subscription.id, now)
        for delivery in overdue:
            self._give_back(subscription, delivery, now)
        if overdue:
            self.changed.notify_all()

    def _give_back(self, subscription: Subscription, delivery: StoredDelivery, now: float) -> None:
        """Schedule the next delivery, or move the message to the dead letter topic."""
        message_id, _, delivery_count = delivery
        dead_letter_topic = subscription.proto.dead_letter_policy.dead_letter_topic
        # With its dead letter topic deleted, the message stays: losing it would be worse.
        if redelivery.is_exhausted(subscription, delivery_count) and self.catalog.has_topic(
            dead_letter_topic
        ):
            message = self._message(message_id)
            self._enqueue(
                dead_letter_topic, redelivery.dead_letter(subscription, message, delivery_count)
            )
            self.settle(subscription, message_id)
            return
        due_at = now + redelivery.backoff_seconds(subscription, delivery_count)
        self.store.release(subscription.id, message_id, due_at)
        self._end_lease(subscription, message_id)

    def _end_lease(self, subscription: Subscription, message_id: int) -> None:
        self.outstanding.end(Key(subscription.id, message_id))
        self._stir(subscription)

    def _stir(self, subscription: Subscription) -> None:
        self._quiet_until.pop(subscription.id, None)

    def _enqueue(self, topic: str, message: MessageProto) -> str:
        stored = PubsubMessage()
        stored.CopyFrom(message)
        stored.ClearField("message_id")  # the store's row id
        stored.publish_time.FromMilliseconds(int(self.clock() * 1000))
        # Rounded as clients see it: they seek to what they saw.
        message_id = self.store.add_message(
            seconds_of(stored.publish_time), stored.SerializeToString()
        )
        keepers = 0
        for subscription in self.catalog.subscriptions_of(topic):
            if subscription.matches(stored.attributes):
                self._add_delivery(subscription, message_id, stored.ordering_key)
                keepers += 1
        for snapshot in self.snapshots.of_topic(topic):
            self.archive.keep_for_snapshot(snapshot.id, message_id)
            keepers += 1
        if self.catalog.topic_retention_seconds(topic):
            self.archive.keep_for_topic(topic, message_id)
            keepers += 1
        if not keepers:
            self.store.delete_message(message_id)
        return str(message_id)

    def _add_delivery(
        self, subscription: Subscription, message_id: int, ordering_key: str, seek: int = 0
    ) -> None:
        key = ordering_key if subscription.proto.enable_message_ordering else ""
        self.store.add_delivery(subscription.id, message_id, key, self.clock(), seek)
        self._stir(subscription)

    def _message(self, message_id: int) -> MessageProto:
        message = PubsubMessage.FromString(self.store.message(message_id))
        message.message_id = str(message_id)
        return message


def _parse(
    subscription: Subscription, ack_ids: Iterable[str]
) -> list[tuple[str, StoredDelivery | None]]:
    """What each acknowledgement id stands for; one of another subscription for nothing."""
    parsed: list[tuple[str, StoredDelivery | None]] = []
    for ack_id in ack_ids:
        match = _ACK_ID.fullmatch(ack_id)
        if match is None:
            raise invalid_argument(f"Invalid ack id (ack_id={ack_id})")
        subscription_id, *delivery = map(int, match.groups())
        is_own = subscription_id == subscription.id
        parsed.append((ack_id, StoredDelivery(*delivery) if is_own else None))
    return parsed
