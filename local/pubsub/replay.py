"""Seek and snapshots: what a subscription has acknowledged, changed for many messages at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from local.pubsub.broker import Broker
from local.pubsub.catalog import Subscription
from local.pubsub.errors import failed_precondition, invalid_argument
from local.pubsub.protos import SnapshotProto, seconds_of
from local.pubsub.resources import DELETED_TOPIC
from local.pubsub.snapshots import Snapshots


class Replay:
    """Takes the wire's requests; safe to use from any thread."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._archive = broker.archive
        self._snapshots = broker.snapshots

    def seek(self, request: Any) -> None:
        """Acknowledge what came before the target, and deliver again what did not.

        What was and stays unacknowledged keeps its lease and its count.
        """
        broker = self._broker
        with broker.changed:
            with broker.store.transaction():
                subscription = broker.catalog.subscription(request.subscription)
                broker.retention.sweep(broker.clock())
                target = request.WhichOneof("target")
                if target == "time":
                    self._seek_time(subscription, seconds_of(request.time))
                elif target == "snapshot":
                    self._seek_snapshot(subscription, request.snapshot)
                else:
                    raise invalid_argument("A seek needs a time or a snapshot.")
            broker.changed.notify_all()

    def _seek_time(self, subscription: Subscription, time: float) -> None:
        acknowledged = self._archive.unacknowledged_before(subscription.id, time)
        replayed = self._archive.replayable(subscription.id, subscription.proto.topic, time)
        self._move(subscription, acknowledged, replayed)

    def _seek_snapshot(self, subscription: Subscription, name: str) -> None:
        snapshot = self._snapshots.get(name)
        topic = subscription.proto.topic
        if topic != snapshot.topic or topic == DELETED_TOPIC:
            raise failed_precondition(
                f"The snapshot is of another topic ({snapshot.topic}) than the subscription."
            )
        acknowledged = self._archive.unacknowledged_outside(subscription.id, snapshot.id)
        replayed = self._archive.snapshot_outside(snapshot.id, subscription.id)
        self._move(subscription, acknowledged, replayed)

    def _move(
        self, subscription: Subscription, acknowledged: Iterable[int], replayed: Iterable[int]
    ) -> None:
        # Both were found before either changes: what is acknowledged here is not replayed.
        for message_id in acknowledged:
            self._broker.settle(subscription, message_id)
        self._broker.restore(subscription, replayed, self._archive.start_seek(subscription.id))

    # Snapshots

    def create_snapshot(self, request: Any) -> SnapshotProto:
        broker = self._broker
        with broker.changed:
            with broker.store.transaction():
                subscription = broker.catalog.subscription(request.subscription)
                now = broker.clock()
                broker.retention.sweep(now)
                oldest = self._archive.oldest_unacknowledged(subscription.id)
                oldest_at = now if oldest is None else broker.store.publish_time(oldest)
                snapshot = self._snapshots.create(request, subscription, now, oldest_at)
            return self._snapshots.remember(snapshot)

    @contextmanager
    def present_snapshots(self) -> Iterator[Snapshots]:
        """The snapshots that have not expired, for reading and for changes to them alone."""
        broker = self._broker
        with broker.changed, broker.store.transaction():
            self._snapshots.expire(broker.clock())
            yield self._snapshots
