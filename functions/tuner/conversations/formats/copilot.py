"""Microsoft Copilot's activity export: CSV with the columns Conversation, Time, Author, Message.

It is newest first, and its times are too coarse to sort by: rows are held and read from the last to
the first, grouped by conversation. One that begins with its oldest row keeps its order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from tuner.conversations.feed import MAX_ROW_BYTES
from tuner.conversations.held import Held
from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Records
from tuner.conversations.times import seconds

_COLUMNS = ["conversation", "time", "author", "message"]
_ROLES = {
    "human": "user",
    "user": "user",
    "you": "user",
    "ai": "assistant",
    "copilot": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
}


class Copilot:
    """A row is a turn."""

    name = "copilot-csv"
    title = "Microsoft Copilot activity (CSV)"

    def recognise(self, view: View) -> Match | None:
        if view.text is None:
            return None
        header = view.text.lstrip("\ufeff").split("\n", 1)[0]
        if [name.strip().lower().strip('"') for name in header.split(",")] != _COLUMNS:
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="the columns are Conversation, Time, Author and Message",
            marks=4,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        held = Held()
        rows: list[tuple[str, str, str, Any]] = []
        for row in _rows(records):
            if not row:
                continue  # a blank line
            tally.rows += 1
            if len(row) != len(_COLUMNS):
                tally.drop_row("wrong_columns")
                continue
            held.add(sum(map(len, row)))
            conversation, time, author, text = row
            rows.append((conversation, author, text, time))
        if rows and _is_before(rows[0][3], rows[-1][3]):
            rows.reverse()
        dialogues: dict[str, Conversation] = {}
        while rows:
            conversation, author, text, time = rows.pop()
            role = _ROLES.get(author.strip().lower())
            tally.turns += 1
            if role is None:
                tally.leave_out("other_role")
                continue
            dialogue = dialogues.setdefault(conversation, Conversation([], []))
            dialogue.turns.append(Turn(role, text))
            assert dialogue.times is not None
            dialogue.times.append(time)
        yield from dialogues.values()


def _is_before(first: Any, last: Any) -> bool:
    began, ended = seconds(first), seconds(last)
    return began is not None and ended is not None and began < ended


def _rows(records: Records) -> Iterator[list[str]]:
    """The rows behind the header; what is no row of CSV is dropped and counted."""
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(records.text_lines())
    next(reader, None)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            records.tally.rows += 1
            records.tally.drop_row("not_csv")


FORMATS = (Copilot(),)
