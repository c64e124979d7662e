"""Everything that must survive a kill, in one SQLite file.

A delivery is one message that one subscription has not acknowledged yet. Its `due_at` (Unix
seconds) means: while `leased`, when the lease ends; otherwise, the earliest next delivery.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from local.pubsub.errors import StartError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE topics (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, publish_time REAL NOT NULL, body BLOB NOT NULL
);
CREATE INDEX messages_by_time ON messages (publish_time);
CREATE TABLE deliveries (
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    ordering_key TEXT NOT NULL,
    delivery_count INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL,
    PRIMARY KEY (subscription_id, message_id)
) WITHOUT ROWID;
CREATE INDEX deliveries_by_message ON deliveries (message_id);
CREATE INDEX deliveries_by_key ON deliveries (subscription_id, ordering_key, message_id);
CREATE INDEX leases ON deliveries (subscription_id, due_at) WHERE leased;
CREATE TRIGGER forget_settled_message AFTER DELETE ON deliveries
WHEN NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = OLD.message_id)
BEGIN
    DELETE FROM messages WHERE id = OLD.message_id;
END;
"""

# Only the oldest unacknowledged message of an ordering key may be delivered; the empty key is none.
_IS_FIRST_OF_KEY = """(
    waiting.ordering_key = '' OR NOT EXISTS (
        SELECT 1 FROM deliveries AS earlier
        WHERE earlier.subscription_id = waiting.subscription_id
          AND earlier.ordering_key = waiting.ordering_key
          AND earlier.message_id < waiting.message_id
    )
)"""


class StoredDelivery(NamedTuple):
    message_id: int
    delivery_count: int


class Store:
    """The SQLite file; the caller serialises all access to it."""

    def __init__(self, state_dir: Path) -> None:
        """Open or create the file in a directory, for this process alone.

        Raises:
            StartError: the directory cannot be written, is in use, or holds a newer version.
        """
        self._depth = 0
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                state_dir / "pubsub.sqlite3",
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as exc:
            raise StartError(f"The state directory {state_dir} cannot be written: {exc}.") from exc
        try:
            self._prepare()
        except sqlite3.Error as exc:
            self._connection.close()
            raise StartError(f"The state in {state_dir} cannot be opened: {exc}.") from exc
        except StartError:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        # EXCLUSIVE: two servers on one directory would deliver everything twice.
        # FULL: a publish that was answered survives a power cut, not only a kill.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("PRAGMA foreign_keys=ON")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StartError(f"The state was written by a newer version ({version}).")
        if version == 0:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        else:
            # Takes the exclusive lock now rather than at the first publish.
            self._connection.executescript("BEGIN IMMEDIATE; COMMIT;")

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it returns; a nested one joins the outer one."""
        self._depth += 1
        try:
            if self._depth > 1:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        finally:
            self._depth -= 1

    # Topics and subscriptions

    def topics(self) -> list[tuple[str, bytes]]:
        return self._connection.execute("SELECT name, body FROM topics").fetchall()

    def save_topic(self, name: str, body: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO topics VALUES (?, ?)", (name, body))

    def delete_topic(self, name: str) -> None:
        self._connection.execute("DELETE FROM topics WHERE name = ?", (name,))

    def subscriptions(self) -> list[tuple[int, bytes]]:
        return self._connection.execute("SELECT id, body FROM subscriptions").fetchall()

    def add_subscription(self, name: str, body: bytes) -> int:
        """Store a new subscription; returns its id, which is never used again."""
        cursor = self._connection.execute(
            "INSERT INTO subscriptions (name, body) VALUES (?, ?)", (name, body)
        )
        return int(cursor.lastrowid or 0)

    def save_subscription(self, subscription_id: int, body: bytes) -> None:
        self._connection.execute(
            "UPDATE subscriptions SET body = ? WHERE id = ?", (body, subscription_id)
        )

    def delete_subscription(self, subscription_id: int) -> None:
        self._connection.execute("DELETE FROM subscriptions WHERE id = ?", (subscription_id,))

    # Messages

    def add_message(self, publish_time: float, body: bytes) -> int:
        """Store a message; its id is greater than every earlier one, also after a restart."""
        cursor = self._connection.execute(
            "INSERT INTO messages (publish_time, body) VALUES (?, ?)", (publish_time, body)
        )
        return int(cursor.lastrowid or 0)

    def delete_message(self, message_id: int) -> None:
        self._connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))

    def message(self, message_id: int) -> bytes:
        row = self._connection.execute(
            "SELECT body FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        return bytes(row[0])

    # Deliveries

    def add_delivery(
        self, subscription_id: int, message_id: int, ordering_key: str, due_at: float
    ) -> None:
        self._connection.execute(
            "INSERT INTO deliveries (subscription_id, message_id, ordering_key, due_at) "
            "VALUES (?, ?, ?, ?)",
            (subscription_id, message_id, ordering_key, due_at),
        )

    def delete_delivery(self, subscription_id: int, message_id: int, delivery_count: int) -> None:
        """Forget a delivery, unless it has been delivered again since."""
        self._connection.execute(
            "DELETE FROM deliveries "
            "WHERE subscription_id = ? AND message_id = ? AND delivery_count = ?",
            (subscription_id, message_id, delivery_count),
        )

    def delete_published_before(self, subscription_id: int, publish_time: float) -> None:
        self._connection.execute(
            "DELETE FROM deliveries WHERE subscription_id = ? "
            "AND message_id IN (SELECT id FROM messages WHERE publish_time < ?)",
            (subscription_id, publish_time),
        )

    def deliverable(self, subscription_id: int, now: float, limit: int) -> list[StoredDelivery]:
        """What may be delivered now, oldest first."""
        rows = self._connection.execute(
            "SELECT message_id, delivery_count FROM deliveries AS waiting "
            f"WHERE subscription_id = ? AND NOT leased AND due_at <= ? AND {_IS_FIRST_OF_KEY} "
            "ORDER BY message_id LIMIT ?",
            (subscription_id, now, limit),
        )
        return [StoredDelivery(*row) for row in rows]

    def lease(self, subscription_id: int, message_id: int, expires_at: float) -> None:
        """Count one more delivery, outstanding until `expires_at`."""
        self._connection.execute(
            "UPDATE deliveries SET leased = 1, due_at = ?, delivery_count = delivery_count + 1 "
            "WHERE subscription_id = ? AND message_id = ?",
            (expires_at, subscription_id, message_id),
        )

    def is_leased(self, subscription_id: int, message_id: int, delivery_count: int) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM deliveries WHERE subscription_id = ? AND message_id = ? "
            "AND delivery_count = ? AND leased",
            (subscription_id, message_id, delivery_count),
        ).fetchone()
        return row is not None

    def extend_lease(self, subscription_id: int, message_id: int, expires_at: float) -> None:
        self._connection.execute(
            "UPDATE deliveries SET due_at = ? WHERE subscription_id = ? AND message_id = ?",
            (expires_at, subscription_id, message_id),
        )

    def release(self, subscription_id: int, message_id: int, due_at: float) -> None:
        """End a lease; the message may be delivered again from `due_at`."""
        self._connection.execute(
            "UPDATE deliveries SET leased = 0, due_at = ? "
            "WHERE subscription_id = ? AND message_id = ?",
            (due_at, subscription_id, message_id),
        )

    def release_all(self, subscription_ids: Sequence[int], due_at: float) -> None:
        self._connection.executemany(
            "UPDATE deliveries SET leased = 0, due_at = ? WHERE subscription_id = ? AND leased",
            [(due_at, subscription_id) for subscription_id in subscription_ids],
        )

    def expired_leases(self, subscription_id: int, now: float) -> list[StoredDelivery]:
        rows = self._connection.execute(
            "SELECT message_id, delivery_count FROM deliveries "
            "WHERE subscription_id = ? AND leased AND due_at <= ? ORDER BY message_id",
            (subscription_id, now),
        )
        return [StoredDelivery(*row) for row in rows]

    def next_due_at(self, subscription_id: int) -> float | None:
        """When a lease ends or a delivery becomes possible next; None while nothing waits."""
        row = self._connection.execute(
            "SELECT MIN(due_at) FROM deliveries AS waiting "
            f"WHERE subscription_id = ? AND (leased OR {_IS_FIRST_OF_KEY})",
            (subscription_id,),
        ).fetchone()
        return None if row[0] is None else float(row[0])
