"""The log of simonw/llm, a SQLite database, as JSON Lines.

The database may be anybody's work: it is read in memory, its own code (views, triggers, functions
in columns) is not run, and a query that takes too long is ended.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing

from tuner.conversations.signatures import NotText
from tuner.conversations.streams import Damaged
from tuner.errors import RejectedUpload

#: The columns that are read; a database may lack the first three.
_COLUMNS = ("conversation_id", "datetime_utc", "system", "prompt", "response")
_NEEDED = {"prompt", "response"}

#: Steps of SQLite's machine after which a query is ended; a log of 256 MiB takes a tenth of them.
_MAX_STEPS = 2_000_000_000
_STEPS_BETWEEN_LOOKS = 1_000_000

#: What sqlite3 raises for a damaged database: its message may repeat what is no text, and it is
#: out of memory where a row says that it has gigabytes.
_ERRORS = (sqlite3.Error, UnicodeDecodeError, TypeError, OverflowError, MemoryError)

#: Bytes of the header that say how the file is written and read; 2 is write-ahead, 1 is not.
_WRITE_AHEAD = b"\2\2"


def collect(chunks: Iterator[bytes], max_bytes: int, place: str) -> bytearray:
    """A whole database. Raises RejectedUpload for a large one."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > max_bytes:
            raise RejectedUpload(
                f"The database has more than {max_bytes:,} bytes",
                place=place,
                fix="Export it with `llm logs list -n 0 --json` and upload the output.",
            )
    return data


def as_json_lines(data: bytearray, warnings: list[str], place: str) -> Iterator[bytes]:
    """A line for each reply that was logged, ordered by conversation and then by time.

    `data` is changed. Raises RejectedUpload for another database and for one whose rows cannot be
    put in order, and Damaged behind the good rows when one of them cannot be read.
    """
    if data[18:20] == _WRITE_AHEAD:
        data[18:20] = b"\1\1"  # the other way cannot be read in memory
        warnings.append("the newest rows may be missing: they stand in the database's -wal file")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        _harden(database, len(data))
        try:
            database.deserialize(data)
            columns = _columns(database)
            places = _in_order(database, columns) if columns.issuperset(_NEEDED) else None
        except _ERRORS as error:
            raise _unreadable(error, place) from error
        if places is None:
            raise NotText(
                "The database holds no log of conversations",
                place=f"{place}, which should have a table `responses`",
                fix="Upload the logs.db of `llm`, or export the conversations as JSON.",
            )
        try:
            yield from _lines(database, columns, places)
        except _ERRORS as error:
            raise Damaged("the database is damaged") from error


def _harden(database: sqlite3.Connection, size_bytes: int) -> None:
    steps_left = _MAX_STEPS

    def takes_too_long() -> bool:
        nonlocal steps_left
        steps_left -= _STEPS_BETWEEN_LOOKS
        return steps_left < 0

    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA cell_size_check = ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size_bytes, 1_000_000))
    database.set_progress_handler(takes_too_long, _STEPS_BETWEEN_LOOKS)
    database.text_factory = lambda text: text.decode("utf-8", "replace")


def _columns(database: sqlite3.Connection) -> set[str]:
    """The stored columns of the table `responses`; none where that is no ordinary table."""
    tables = database.execute("PRAGMA main.table_list('responses')").fetchall()
    if [row[2] for row in tables] != ["table"]:
        return set()
    rows = database.execute("PRAGMA main.table_xinfo('responses')").fetchall()
    return {row[1] for row in rows if row[6] == 0}  # 2 and 3: computed by the database's own code


def _in_order(database: sqlite3.Connection, columns: set[str]) -> array[int]:
    """The rows' numbers: to sort them takes less memory than to sort the rows."""
    order = [name for name in ("conversation_id", "datetime_utc") if name in columns]
    query = f"SELECT _rowid_ FROM main.responses ORDER BY {', '.join([*order, '_rowid_'])}"
    return array("q", (number for (number,) in database.execute(query)))


def _lines(database: sqlite3.Connection, columns: set[str], places: array[int]) -> Iterator[bytes]:
    selected = ", ".join(name if name in columns else "NULL" for name in _COLUMNS)
    query = f"SELECT {selected} FROM main.responses WHERE _rowid_ = ?"
    for number in places:
        for row in database.execute(query, (number,)):
            values = (value if isinstance(value, str) else None for value in row)
            line = json.dumps(dict(zip(_COLUMNS, values, strict=True)), ensure_ascii=False)
            yield line.encode() + b"\n"


def _unreadable(error: Exception, place: str) -> RejectedUpload:
    if "interrupted" in str(error):
        return RejectedUpload(
            "The database takes far longer to read than a log of conversations",
            place=place,
            fix="Export it with `llm logs list -n 0 --json` and upload the output.",
        )
    return RejectedUpload(
        "The database is damaged or ends in the middle",
        place=place,
        fix="Copy it again while no program writes to it, or export the conversations as JSON.",
    )
