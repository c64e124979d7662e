"""The tables of the SQLite file, and the steps from each version of them to the next.

A message is kept for as long as one row of these says so: a delivery that is due or outstanding, an
acknowledged one that its subscription retains, its topic's retention, or a snapshot.
"""

_FIRST = """
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

_KEEPERS = ("deliveries", "retained", "topic_messages", "snapshot_messages")


def _forgetting(table: str) -> str:
    """The trigger that forgets a message with the last row that kept it."""
    unkept = " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {keeper} WHERE message_id = OLD.message_id)"
        for keeper in _KEEPERS
    )
    return f"""
CREATE TRIGGER forget_after_{table} AFTER DELETE ON {table} WHEN {unkept}
BEGIN
    DELETE FROM messages WHERE id = OLD.message_id;
END;
"""


# `seek` numbers the seeks of a subscription: an acknowledgement of a delivery from before one must
# not settle the message's delivery after it.
_REPLAY = """
ALTER TABLE subscriptions ADD COLUMN seek INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN seek INTEGER NOT NULL DEFAULT 0;
CREATE INDEX waiting_by_message ON deliveries (subscription_id, message_id) WHERE NOT leased;
CREATE INDEX waiting_by_time ON deliveries (subscription_id, due_at) WHERE NOT leased;
CREATE TABLE retained (
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (subscription_id, message_id)
) WITHOUT ROWID;
CREATE INDEX retained_by_message ON retained (message_id);
CREATE TABLE topic_messages (
    topic TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (topic, message_id)
) WITHOUT ROWID;
CREATE INDEX topic_messages_by_message ON topic_messages (message_id);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL
);
CREATE TABLE snapshot_messages (
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (snapshot_id, message_id)
) WITHOUT ROWID;
CREATE INDEX snapshot_messages_by_message ON snapshot_messages (message_id);
DROP TRIGGER forget_settled_message;
""" + "".join(map(_forgetting, _KEEPERS))

# The state of version N becomes that of N + 1 by the step at index N; an empty file is version 0.
STEPS = (_FIRST, _REPLAY)
SCHEMA_VERSION = len(STEPS)


def script_from(version: int) -> str:
    """One transaction that brings a file from a version to the current one, if it is not there."""
    steps = "".join(STEPS[version:])
    return f"BEGIN IMMEDIATE; {steps} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
