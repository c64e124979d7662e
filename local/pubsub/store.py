"""Everything that must survive a kill, in one SQLite file.

A delivery is one message that one subscription has not acknowledged yet. Its `due_at` (Unix
seconds) means: while `leased`, when the lease ends; otherwise, the earliest next delivery.
"""

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from local.pubsub.errors import StartError
from local.pubsub.schema import SCHEMA_VERSION, script_from

# Only the oldest unacknowledged message of an ordering key may be delivered; the empty key is none.
# The list of the oldest is made once for a query, and is empty where nothing is ordered.
_IS_FIRST_OF_KEY = """(
    ordering_key = '' OR message_id IN (
        SELECT MIN(message_id) FROM deliveries
        WHERE subscription_id = :subscription_id AND ordering_key > '' GROUP BY ordering_key
    )
)"""


class StoredDelivery(NamedTuple):
    """A delivery as its acknowledgement names it: `seek` tells those after a seek from before."""

    message_id: int
    seek: int
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
        # Also where nothing changes: takes the exclusive lock now, not at the first publish.
        self._connection.executescript(script_from(version))

    def close(self) -> None:
        self._connection.close()

    def execute(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> sqlite3.Cursor:
        """Run one statement on the file: for the neighbours that know more tables."""
        return self._connection.execute(statement, parameters)

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

    def publish_time(self, message_id: int) -> float:
        (seconds,) = self._connection.execute(
            "SELECT publish_time FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        return float(seconds)

    # Deliveries

    def add_delivery(
        self,
        subscription_id: int,
        message_id: int,
        ordering_key: str,
        due_at: float,
        seek: int = 0,
    ) -> None:
        self._connection.execute(
            "INSERT INTO deliveries (subscription_id, message_id, ordering_key, due_at, seek) "
            "VALUES (?, ?, ?, ?, ?)",
            (subscription_id, message_id, ordering_key, due_at, seek),
        )

    def delete_delivery(self, subscription_id: int, message_id: int) -> None:
        self._connection.execute(
            "DELETE FROM deliveries WHERE subscription_id = ? AND message_id = ?",
            (subscription_id, message_id),
        )

    def has_delivery(self, subscription_id: int, delivery: StoredDelivery) -> bool:
        """Whether it is unacknowledged, and was not delivered again since."""
        row = self._connection.execute(
            "SELECT 1 FROM deliveries WHERE subscription_id = ? AND message_id = ? "
            "AND seek = ? AND delivery_count = ?",
            (subscription_id, *delivery),
        ).fetchone()
        return row is not None

    def is_leased(self, subscription_id: int, delivery: StoredDelivery) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM deliveries WHERE subscription_id = ? AND message_id = ? "
            "AND seek = ? AND delivery_count = ? AND leased",
            (subscription_id, *delivery),
        ).fetchone()
        return row is not None

    def waiting(self, subscription_id: int, now: float, limit: int) -> list[StoredDelivery]:
        """What may be delivered now, oldest first; the count is of deliveries so far."""
        rows = self._connection.execute(
            "SELECT message_id, seek, delivery_count FROM deliveries "
            "WHERE subscription_id = :subscription_id AND NOT leased AND due_at <= :now "
            f"AND {_IS_FIRST_OF_KEY} ORDER BY message_id LIMIT :limit",
            {"subscription_id": subscription_id, "now": now, "limit": limit},
        )
        return [StoredDelivery(*row) for row in rows]

    def lease(self, subscription_id: int, message_id: int, expires_at: float) -> None:
        """Count one more delivery, outstanding until `expires_at`."""
        self._connection.execute(
            "UPDATE deliveries SET leased = 1, due_at = ?, delivery_count = delivery_count + 1 "
            "WHERE subscription_id = ? AND message_id = ?",
            (expires_at, subscription_id, message_id),
        )

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
            "SELECT message_id, seek, delivery_count FROM deliveries "
            "WHERE subscription_id = ? AND leased AND due_at <= ? ORDER BY message_id",
            (subscription_id, now),
        )
        return [StoredDelivery(*row) for row in rows]

    def next_lease_end(self, subscription_id: int) -> float:
        """When the first lease ends; never, where there is none."""
        (due_at,) = self._connection.execute(
            "SELECT MIN(due_at) FROM deliveries WHERE subscription_id = ? AND leased",
            (subscription_id,),
        ).fetchone()
        return math.inf if due_at is None else float(due_at)

    def next_due_at(self, subscription_id: int) -> float:
        """When a lease ends or a delivery becomes possible next; never, while nothing waits."""
        row = self._connection.execute(
            "SELECT due_at FROM deliveries WHERE subscription_id = :subscription_id "
            f"AND NOT leased AND {_IS_FIRST_OF_KEY} ORDER BY due_at LIMIT 1",
            {"subscription_id": subscription_id},
        ).fetchone()
        next_delivery = math.inf if row is None else float(row[0])
        return min(next_delivery, self.next_lease_end(subscription_id))
