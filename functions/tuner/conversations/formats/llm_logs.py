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
                if not isinstance(row.prompt, str) or not isinstance(row.response, str):
                    tally.leave_out("not_a_pair", partial(batch.offset, number), count=2)
                    continue
                held.add(len(row.prompt) + len(row.response))
                name = row.conversation_id
                # A row without a conversation is one of its own.
                rows.setdefault(name if isinstance(name, str) else object(), []).append(row)
        for exchanges in rows.values():
            exchanges.sort(
                key=lambda row: row.datetime_utc if isinstance(row.datetime_utc, str) else ""
            )
            yield Conversation(
                [turn for row in exchanges for turn in _turns(row)],
                [row.datetime_utc for row in exchanges for _ in range(2)],
                next((text for row in exchanges if (text := _system(row))), None),
            )


def _turns(row: _Row) -> tuple[Turn, Turn]:
    return Turn("user", row.prompt), Turn("assistant", row.response)


def _system(row: _Row) -> str:
    return row.system.strip() if isinstance(row.system, str) else ""


FORMATS = (LlmLogs(),)
