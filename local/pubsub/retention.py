"""How long messages and snapshots are kept."""

import math

from local.pubsub.archive import Archive
from local.pubsub.catalog import Catalog, Subscription
from local.pubsub.outstanding import Key, Outstanding
from local.pubsub.protos import seconds_of
from local.pubsub.snapshots import Snapshots

# How often all that is too old is looked for: what nobody asks for must not pile up on the disk.
SWEEP_SECONDS = 60.0


class Retention:
    """Forgets what is older than it is kept; the caller holds the lock and a transaction."""

    def __init__(
        self,
        catalog: Catalog,
        archive: Archive,
        snapshots: Snapshots,
        outstanding: Outstanding,
    ) -> None:
        self._catalog = catalog
        self._archive = archive
        self._snapshots = snapshots
        self._outstanding = outstanding
        self._swept_at = -math.inf

    def sweep_sometimes(self, now: float) -> None:
        """Forget all that is too old, at most once in SWEEP_SECONDS."""
        if not 0 <= now - self._swept_at < SWEEP_SECONDS:
            self.sweep(now)

    def sweep(self, now: float) -> None:
        """Forget all that is too old."""
        self._swept_at = now
        for subscription in self._catalog.subscriptions():
            self.forget_unacknowledged(subscription, now)
            retained_since = now - subscription.retention_seconds
            if subscription.proto.retain_acked_messages:
                self._archive.forget_retained(subscription.id, retained_since)
            else:
                self._archive.forget_retained(subscription.id)
        for topic in self._catalog.topics():
            if topic.HasField("message_retention_duration"):
                kept_since = now - seconds_of(topic.message_retention_duration)
                self._archive.forget_topic_messages(topic.name, kept_since)
            else:
                self._archive.forget_topic_messages(topic.name)
        self._snapshots.expire(now)

    def forget_unacknowledged(self, subscription: Subscription, now: float) -> None:
        """Drop what a subscription has not acknowledged in time: its own or its topic's."""
        kept_seconds = max(
            subscription.retention_seconds,
            self._catalog.topic_retention_seconds(subscription.proto.topic),
        )
        forgotten = self._archive.forget_unacknowledged(subscription.id, now - kept_seconds)
        for message_id in forgotten:
            self._outstanding.end(Key(subscription.id, message_id))
