"""LangChain's messages, a list of them a dialogue, in three dialects.

`{"type": "human", "data": {"content"}}`                                   messages_to_dict
`{"lc": 1, "id": [..., "HumanMessage"], "kwargs": {"content"}}`            dumps
`{"type": "human", "content"}`                                             model_dump
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import text_of
from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Records

_KINDS = {"human": "user", "ai": "assistant", "system": "system"}
_OTHER_KINDS = ("tool", "function", "chat", "generic", "developer")


class _Row(msgspec.Struct, gc=False):
    type: Any = None
    id: Any = None
    data: Any = None
    kwargs: Any = None
    content: Any = None
    role: Any = None


class LangChain:
    """A row is a message."""

    name = "langchain"
    title = "LangChain messages"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            fields = _fields(row.get("data"), row.get("kwargs"), row)
            kind = _kind(row.get("type"), row.get("id"))
            if (kind in _KINDS or kind in _OTHER_KINDS) and "content" in fields:
                key = next((key for key in ("data", "kwargs") if fields is row.get(key)), "")
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="rows are messages by their type, with "
                    f"`{key}{'.' if key else ''}content`",
                    marks=3,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Row):
            turns, places, system = [], [], []
            for number, row in enumerate(batch.items):
                fields = _fields(row.data, row.kwargs, {"content": row.content, "role": row.role})
                kind = _kind(row.type, row.id)
                text = text_of(fields.get("content"), tally)
                role = _KINDS.get(kind) or _chat_role(kind, fields)
                if role == "system":
                    system += [text.strip()] if text and text.strip() else []
                    continue
                tally.turns += 1
                if role is not None and text is not None:
                    turns.append(Turn(role, text))
                    places.append(number)
                else:
                    reason = "tool_result" if kind in ("tool", "function") else "other_role"
                    reason = "no_text" if role else reason
                    tally.leave_out(reason, partial(batch.offset, number))
            yield Conversation(
                turns, None, "\n\n".join(system) or None, batch.opens, False, batch, places
            )


def _fields(data: Any, kwargs: Any, itself: dict[str, Any]) -> dict[str, Any]:
    """Where a message's content stands."""
    return next((value for value in (data, kwargs) if isinstance(value, dict)), itself)


def _kind(type_: Any, id_: Any) -> str:
    """human, ai, system, …, however it is written: HumanMessage, AIMessageChunk."""
    name = id_[-1] if type_ in (None, "constructor") and isinstance(id_, list) and id_ else type_
    if not isinstance(name, str):
        return ""
    return name.removesuffix("Chunk").removesuffix("Message").lower()


def _chat_role(kind: str, fields: dict[str, Any]) -> str | None:
    """A ChatMessage names its role."""
    role = fields.get("role") if kind == "chat" else None
    return {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}.get(
        role if isinstance(role, str) else ""
    )


FORMATS = (LangChain(),)
