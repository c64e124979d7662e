"""What the store keeps for replay: acknowledged messages, topics' messages, snapshots."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from local.pubsub.store import Store

# Ids grow with time, so the newest old message bounds the search: what is kept on is not looked at.
_IS_OLD = """
    message_id <= (
        SELECT id FROM messages WHERE publish_time < :time ORDER BY publish_time DESC LIMIT 1
    ) AND (SELECT publish_time FROM messages WHERE id = message_id) < :time"""


class Archive:
    """The rows beside the deliveries that keep a message; the caller serialises all access."""

    def __init__(self, store: Store) -> None:
        self._execute = store.execute

    # Deliveries, many at once

    def unacknowledged_before(self, subscription_id: int, time: float) -> list[int]:
        return self._ids(
            f"SELECT message_id FROM deliveries WHERE subscription_id = :id AND {_IS_OLD}",
            {"id": subscription_id, "time": time},
        )

    def oldest_unacknowledged(self, subscription_id: int) -> int | None:
        (message_id,) = self._execute(
            "SELECT MIN(message_id) FROM deliveries WHERE subscription_id = ?", (subscription_id,)
        ).fetchone()
        return None if message_id is None else int(message_id)

    def forget_unacknowledged(self, subscription_id: int, before: float) -> list[int]:
        """Drop deliveries of messages published before a time; returns which."""
        return self._ids(
            f"DELETE FROM deliveries WHERE subscription_id = :id AND {_IS_OLD} "
            "RETURNING message_id",
            {"id": subscription_id, "time": before},
        )

    # Acknowledged messages of a subscription

    def retain(self, subscription_id: int, message_id: int) -> None:
        self._execute("INSERT OR IGNORE INTO retained VALUES (?, ?)", (subscription_id, message_id))

    def forget_retained(self, subscription_id: int, before: float | None = None) -> None:
        """Drop what was published before a time; without one, everything."""
        self._forget("retained", "subscription_id", subscription_id, before)

    def release_retained(self, subscription_id: int, message_id: int) -> None:
        """End the retention of one message that has become unacknowledged again."""
        self._execute(
            "DELETE FROM retained WHERE subscription_id = ? AND message_id = ?",
            (subscription_id, message_id),
        )

    # Messages of a topic

    def keep_for_topic(self, topic: str, message_id: int) -> None:
        self._execute("INSERT INTO topic_messages VALUES (?, ?)", (topic, message_id))

    def forget_topic_messages(self, topic: str, before: float | None = None) -> None:
        """Drop what was published before a time; without one, everything."""
        self._forget("topic_messages", "topic", topic, before)

    def replayable(self, subscription_id: int, topic: str, since: float) -> list[int]:
        """What was published at a time or later, and is kept but not unacknowledged."""
        return self._ids(
            "SELECT message_id FROM (SELECT message_id FROM retained WHERE subscription_id = :id "
            "UNION SELECT message_id FROM topic_messages WHERE topic = :topic) "
            "JOIN messages ON messages.id = message_id WHERE publish_time >= :since "
            "EXCEPT SELECT message_id FROM deliveries WHERE subscription_id = :id ORDER BY 1",
            {"id": subscription_id, "topic": topic, "since": since},
        )

    # Snapshots

    def snapshots(self) -> list[tuple[int, bytes]]:
        return self._execute("SELECT id, body FROM snapshots").fetchall()

    def add_snapshot(self, name: str, body: bytes, subscription_id: int) -> int:
        """Store a snapshot of what a subscription has not acknowledged; returns its id."""
        cursor = self._execute("INSERT INTO snapshots (name, body) VALUES (?, ?)", (name, body))
        self._execute(
            "INSERT INTO snapshot_messages "
            "SELECT ?, message_id FROM deliveries WHERE subscription_id = ?",
            (cursor.lastrowid, subscription_id),
        )
        return int(cursor.lastrowid or 0)

    def save_snapshot(self, snapshot_id: int, body: bytes) -> None:
        self._execute("UPDATE snapshots SET body = ? WHERE id = ?", (body, snapshot_id))

    def delete_snapshots(self, snapshot_ids: Iterable[int]) -> None:
        for snapshot_id in snapshot_ids:
            self._execute("DELETE FROM snapshots WHERE id = ?", (snapshot_id,))

    def keep_for_snapshot(self, snapshot_id: int, message_id: int) -> None:
        self._execute("INSERT INTO snapshot_messages VALUES (?, ?)", (snapshot_id, message_id))

    def unacknowledged_outside(self, subscription_id: int, snapshot_id: int) -> list[int]:
        """What a subscription has not acknowledged and the snapshot had."""
        return self._ids(
            "SELECT message_id FROM deliveries WHERE subscription_id = ? "
            "EXCEPT SELECT message_id FROM snapshot_messages WHERE snapshot_id = ?",
            (subscription_id, snapshot_id),
        )

    def snapshot_outside(self, snapshot_id: int, subscription_id: int) -> list[int]:
        """What the snapshot had not acknowledged and a subscription has."""
        return self._ids(
            "SELECT message_id FROM snapshot_messages WHERE snapshot_id = ? "
            "EXCEPT SELECT message_id FROM deliveries WHERE subscription_id = ? ORDER BY 1",
            (snapshot_id, subscription_id),
        )

    def start_seek(self, subscription_id: int) -> int:
        """Number a seek of a subscription, from 1."""
        (number,) = self._execute(
            "UPDATE subscriptions SET seek = seek + 1 WHERE id = ? RETURNING seek",
            (subscription_id,),
        ).fetchall()[0]
        return int(number)

    def _forget(self, table: str, column: str, owner: int | str, before: float | None) -> None:
        old = "" if before is None else f" AND {_IS_OLD}"
        self._execute(
            f"DELETE FROM {table} WHERE {column} = :owner{old}", {"owner": owner, "time": before}
        )

    def _ids(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[int]:
        return [int(row[0]) for row in self._execute(statement, parameters).fetchall()]
