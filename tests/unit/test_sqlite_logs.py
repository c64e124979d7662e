"""The log of simonw/llm is read from its database, whoever made that."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.memory_source import MemorySource
from tuner.conversations import sqlite_logs
from tuner.conversations.containers import Damaged, Limits, open_parts
from tuner.errors import RejectedUpload

SECRET = "the owl sleeps at noon"

#: As `llm` 0.26 makes it; its tables of attachments, tools and fragments are left out.
SCHEMA = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
CREATE TABLE responses (
   id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT, options_json TEXT,
   response TEXT, response_json TEXT, conversation_id TEXT REFERENCES conversations(id),
   duration_ms INTEGER, datetime_utc TEXT, input_tokens INTEGER
);
"""

Build = Callable[..., bytes]


@pytest.fixture
def database(tmp_path: Path) -> Build:
    def build(*statements: str, rows: int = 0) -> bytes:
        path = tmp_path / "logs.db"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.executescript(statement)
        for number in range(rows):
            log(connection, "c", f"2026-01-01T{number:06}", f"{SECRET} {number}", "Indeed.")
        connection.commit()
        connection.close()
        return path.read_bytes()

    return build


def log(
    connection: sqlite3.Connection, conversation: Any, at: str, prompt: Any, reply: Any
) -> None:
    connection.execute(
        "INSERT INTO responses (conversation_id, datetime_utc, prompt, response) VALUES (?,?,?,?)",
        (conversation, at, prompt, reply),
    )


def lines_until_damage(content: bytes) -> list[bytes]:
    [part] = open_parts(MemorySource(content))
    found = b""
    with suppress(Damaged):
        for chunk in part.chunks:
            found += chunk
    return found.splitlines(keepends=True)


def rows(content: bytes, limits: Limits | None = None) -> list[dict[str, Any]]:
    [part] = open_parts(MemorySource(content), limits)
    return [json.loads(line) for line in b"".join(part.chunks).splitlines()]


def refusal(content: bytes, limits: Limits | None = None) -> RejectedUpload:
    with pytest.raises(RejectedUpload) as refused:
        rows(content, limits)
    assert SECRET not in str(refused.value)
    assert refused.value.fix.endswith(".")
    return refused.value


def test_replies_come_by_conversation_and_then_by_time(database: Build) -> None:
    content = database(
        SCHEMA,
        "INSERT INTO responses (conversation_id, datetime_utc, system, prompt, response) VALUES"
        "('b', '2', 'S', 'p3', 'r3'), ('a', '9', NULL, 'p2', 'r2'), ('a', '1', NULL, 'p1', 'r1')",
    )
    columns = ("conversation_id", "datetime_utc", "system", "prompt", "response")
    assert rows(content) == [
        dict(zip(columns, row, strict=True))
        for row in (
            ("a", "1", None, "p1", "r1"),
            ("a", "9", None, "p2", "r2"),
            ("b", "2", "S", "p3", "r3"),
        )
    ]


def test_a_database_is_read_in_a_container_too(database: Build) -> None:
    content = gzip.compress(database(SCHEMA, rows=2))
    [part] = open_parts(MemorySource(content, [100, 5]))
    assert part.container == "SQLite in gzip"
    assert len(b"".join(part.chunks).splitlines()) == 2


def test_what_is_no_text_is_null_and_what_is_no_utf8_is_replaced(database: Build) -> None:
    insert = "INSERT INTO responses (prompt, response) VALUES (x'00ff', CAST(x'41ff' AS TEXT))"
    [row] = rows(database(SCHEMA, insert))
    assert (row["prompt"], row["response"]) == (None, "A\ufffd")


def test_a_write_ahead_database_is_read_with_a_warning(database: Build) -> None:
    content = database("PRAGMA journal_mode = WAL", SCHEMA, rows=1)
    assert content[18:20] == b"\2\2"
    [part] = open_parts(MemorySource(content))
    assert b"Indeed." in b"".join(part.chunks)
    assert part.warnings == [
        "the newest rows may be missing: they stand in the database's -wal file"
    ]


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE messages (prompt TEXT, response TEXT)",
        "CREATE TABLE responses (prompt TEXT, reply TEXT)",
        "CREATE TABLE r (prompt, response); CREATE VIEW responses AS SELECT * FROM r",
        "CREATE VIRTUAL TABLE responses USING fts5(prompt, response)",
        "CREATE TABLE responses (id, prompt, response AS (hex(zeroblob(100000000))))",
    ],
)
def test_a_database_without_a_real_table_of_replies_is_refused(
    database: Build, schema: str
) -> None:
    assert refusal(database(schema)).reason == "The database holds no log of conversations"


def test_a_table_without_row_numbers_is_refused(database: Build) -> None:
    content = database("CREATE TABLE responses (prompt PRIMARY KEY, response) WITHOUT ROWID")
    assert refusal(content).reason == "The database is damaged or ends in the middle"


def test_a_large_database_is_refused(database: Build) -> None:
    content = database(SCHEMA, rows=1)
    assert "more than 5,000 bytes" in refusal(content, Limits(sqlite_bytes=5000)).reason
    assert len(rows(content, Limits(sqlite_bytes=len(content)))) == 1


def test_a_query_that_takes_too_long_is_ended(
    database: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_logs, "_MAX_STEPS", 1000)
    monkeypatch.setattr(sqlite_logs, "_STEPS_BETWEEN_LOOKS", 100)
    assert refusal(database(SCHEMA, rows=500)).reason.startswith("The database takes far longer")


def test_a_damaged_database_yields_its_good_rows_first(database: Build) -> None:
    long_reply = f"INSERT INTO responses (prompt, response) VALUES ('x', hex(zeroblob({40_000})))"
    content = bytearray(database(SCHEMA, *[long_reply] * 50))
    place = len(content) - 4096 * 40
    content[place : place + 8192] = b"\xff" * 8192
    found = lines_until_damage(bytes(content))
    assert 0 < len(found) < 50
    assert {json.loads(line)["response"] for line in found} == {"0" * 80_000}


def test_a_database_with_damage_where_its_order_stands_is_refused(database: Build) -> None:
    content = bytearray(database(SCHEMA, rows=2000))
    content[-8192:] = b"\xff" * 8192
    assert refusal(bytes(content)).reason == "The database is damaged or ends in the middle"


def test_a_database_that_was_cut_is_refused(database: Build) -> None:
    content = database(SCHEMA, rows=2000)
    for size in (16, 100, 4096):
        assert refusal(content[:size]).reason == "The database is damaged or ends in the middle"


def test_a_damaged_schema_is_refused_whatever_is_in_it(database: Build) -> None:
    """SQLite's own message repeats it, in no encoding at all."""
    content = database(SCHEMA, rows=1).replace(b"CREATE TABLE conv", b"CREA\xff TABLE con")
    assert refusal(content).reason == "The database is damaged or ends in the middle"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_corruption_is_survived(database: Build, data: st.DataObject) -> None:
    content = bytearray(database(SCHEMA, rows=20))
    for place in data.draw(st.lists(st.integers(16, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        [part] = open_parts(MemorySource(bytes(content)))
        list(part.chunks)
    except (RejectedUpload, Damaged):
        pass
