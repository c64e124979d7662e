"""simonw/llm: rows of `llm logs --json`, or of its SQLite file, which is read as the same rows.

`{"conversation_id", "prompt", "system", "response", "datetime_utc"}`. Rows of one conversation may
lie among others and in any order: they are held, grouped, and sorted by their times.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.held import Held
from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Records


class _Row(msgspec.Struct, gc=False):
    conversation_id: Any = None
    prompt: Any = None
    system: Any = None
    response: Any = None
    datetime_utc: Any = None


class LlmLogs:
    """A row is an exchange."""

    name = "llm-logs"
    title = "simonw/llm logs"

    def recognise(self, view: View) -> Match | None:
        if not view.first_with("conversation_id", "prompt", "response"):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="rows have `conversation_id`, `prompt` and `response`",
            marks=4,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally, held = records.tally, Held()
        rows: dict[Any, list[_Row]] = {}
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                tally.turns += 2
                for text in (row.prompt, row.response):
                    if not isinstance(text, str):
                        tally.leave_out("no_text", partial(batch.offset, number))
                held.add(sum(len(t) for t in (row.prompt, row.response, row.system) if _is_text(t)))
                name = row.conversation_id
                # A row without a conversation is one of its own.
                rows.setdefault(name if isinstance(name, str | int) else object(), []).append(row)
        for found in rows.values():
            yield _dialogue(_by_time(found))


def _dialogue(rows: list[_Row]) -> Conversation:
    turns: list[Turn] = []
    times: list[Any] = []
    for row in rows:
        for role, text in (("user", row.prompt), ("assistant", row.response)):
            if isinstance(text, str):
                turns.append(Turn(role, text))
                times.append(row.datetime_utc)
    systems = dict.fromkeys(row.system.strip() for row in rows if _is_text(row.system))
    return Conversation(turns, times, "\n\n".join(filter(None, systems)) or None)


def _by_time(rows: list[_Row]) -> list[_Row]:
    """Oldest first; a row without a time stays behind the one before it."""
    keys, last = [], ""
    for row in rows:
        last = row.datetime_utc if isinstance(row.datetime_utc, str) else last
        keys.append(last)
    order = sorted(range(len(rows)), key=keys.__getitem__)
    return [rows[number] for number in order]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


FORMATS = (LlmLogs(),)
