"""What survives a restart: one table of documents in SQLite, each write a transaction."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from pathlib import Path

STORE_VERSION = 1


class StateInUse(Exception):
    """Another server holds the state directory."""


class Store:
    """Documents by kind and key. Safe to use from any thread."""

    def __init__(self, state_dir: Path) -> None:
        """Open the store and take the directory's lock.

        Raises:
            StateInUse: another process has it open.
            ValueError: a newer version of this code wrote it.
        """
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        self._lock = threading.Lock()
        self._lock_file = os.open(state_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_file)
            raise StateInUse(f"another server uses {state_dir}") from None
        # The lock is ours, so no second connection can ever be waiting.
        self._connection = sqlite3.connect(
            state_dir / "state.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > STORE_VERSION:
            self.close()
            raise ValueError(f"{state_dir} was written by a newer version ({version})")
        self._connection.execute(f"PRAGMA user_version={STORE_VERSION}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS documents "
            "(kind TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, key))"
        )

    def put(self, kind: str, key: str, body: bytes) -> None:
        """Write a document, in place of the one there was."""
        with self._lock:
            self._connection.execute("REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, body))

    def delete(self, kind: str, key: str) -> None:
        """Remove a document if it is there."""
        with self._lock:
            self._connection.execute(
                "DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key)
            )

    def bodies(self, kind: str) -> list[bytes]:
        """Read every document of a kind."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT body FROM documents WHERE kind = ? ORDER BY key", (kind,)
            )
            return [row[0] for row in rows]

    def close(self) -> None:
        """Close the file and give the directory up."""
        with self._lock:
            self._connection.close()
            os.close(self._lock_file)
