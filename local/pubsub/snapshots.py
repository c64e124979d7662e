"""Which snapshots there are: kept in memory, written through to the archive."""

from dataclasses import dataclass
from typing import Any

from local.pubsub import resources
from local.pubsub.archive import Archive
from local.pubsub.catalog import Subscription
from local.pubsub.errors import already_exists, failed_precondition, not_found
from local.pubsub.pages import page_of
from local.pubsub.protos import Snapshot as SnapshotClass
from local.pubsub.protos import SnapshotProto, seconds_of

MAX_LIFETIME_SECONDS = 7 * 86_400
MIN_LIFETIME_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot as the broker uses it; replaced, never changed."""

    id: int  # the store's, never used twice
    proto: SnapshotProto

    @property
    def topic(self) -> str:
        return str(self.proto.topic)


class Snapshots:
    """Snapshots by name; the caller holds the broker's lock and a transaction."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._snapshots: dict[str, Snapshot] = {}
        for snapshot_id, body in archive.snapshots():
            self.remember(Snapshot(id=snapshot_id, proto=SnapshotClass.FromString(body)))

    def create(
        self, request: Any, subscription: Subscription, now: float, oldest_at: float
    ) -> Snapshot:
        """Keep what a subscription has not acknowledged; `oldest_at` is when its first came.

        The caller remembers it once it is stored for good: publishing refers to it from then on.
        """
        resources.check_name(request.name, "snapshots")
        if request.name in self._snapshots:
            raise already_exists(f"Snapshot already exists ({request.name}).")
        if subscription.proto.topic == resources.DELETED_TOPIC:
            raise failed_precondition("The topic of the subscription was deleted.")
        expires_at = oldest_at + MAX_LIFETIME_SECONDS
        if expires_at < now + MIN_LIFETIME_SECONDS:
            raise failed_precondition(
                "The backlog is so old that the snapshot would expire within an hour."
            )
        proto = SnapshotClass(
            name=request.name, topic=subscription.proto.topic, labels=request.labels
        )
        proto.expire_time.FromMilliseconds(int(expires_at * 1000))
        snapshot_id = self._archive.add_snapshot(
            proto.name, proto.SerializeToString(), subscription.id
        )
        return Snapshot(id=snapshot_id, proto=proto)

    def remember(self, snapshot: Snapshot) -> SnapshotProto:
        self._snapshots[snapshot.proto.name] = snapshot
        return snapshot.proto

    def update(self, update: SnapshotProto, paths: list[str]) -> SnapshotProto:
        current = self.get(update.name)
        proto = resources.apply_update_mask(
            current.proto, update, paths, resources.MUTABLE_SNAPSHOT_FIELDS
        )
        self._archive.save_snapshot(current.id, proto.SerializeToString())
        return self.remember(Snapshot(id=current.id, proto=proto))

    def get(self, name: str) -> Snapshot:
        snapshot = self._snapshots.get(name)
        if snapshot is None:
            raise not_found(f"Snapshot does not exist ({name}).")
        return snapshot

    def delete(self, name: str) -> None:
        self._archive.delete_snapshots([self.get(name).id])
        del self._snapshots[name]

    def expire(self, now: float) -> None:
        """Delete those whose time is over."""
        over = [
            each for each in self._snapshots.values() if seconds_of(each.proto.expire_time) <= now
        ]
        for snapshot in over:
            self.delete(snapshot.proto.name)

    def of_topic(self, topic: str) -> list[Snapshot]:
        return [each for each in self._snapshots.values() if each.topic == topic]

    def orphan(self, topic: str) -> None:
        """The topic is deleted: one that is made with its name later is another."""
        for snapshot in self.of_topic(topic):
            proto = SnapshotClass()
            proto.CopyFrom(snapshot.proto)
            proto.topic = resources.DELETED_TOPIC
            self._archive.save_snapshot(snapshot.id, proto.SerializeToString())
            self.remember(Snapshot(id=snapshot.id, proto=proto))

    def page(
        self, project: str, page_size: int, page_token: str
    ) -> tuple[list[SnapshotProto], str]:
        names = [name for name in self._snapshots if name.startswith(f"{project}/snapshots/")]
        page, next_page_token = page_of(names, page_size, page_token)
        return [self._snapshots[name].proto for name in page], next_page_token

    def page_of_topic(self, topic: str, page_size: int, page_token: str) -> tuple[list[str], str]:
        names = [str(each.proto.name) for each in self.of_topic(topic)]
        return page_of(names, page_size, page_token)
