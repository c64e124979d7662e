"""LlamaIndex's chat store: `{"store": {session: [{"role", "content"|"blocks"}]}, "class_name"}`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import ROLES, SYSTEM_ROLES
from tuner.conversations.model import Confidence, Conversation, Match, Options, Tally, Turn, View
from tuner.conversations.records import Records


class _Row(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    blocks: Any = None


class LlamaIndex:
    """A row is a turn, a session a dialogue."""

    name = "llamaindex"
    title = "LlamaIndex chat stores"

    def recognise(self, view: View) -> Match | None:
        if view.path[-3:] != ("store", "*", "[]"):
            return None
        if not (view.first_with("role", "content") or view.first_with("role", "blocks")):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`store` holds lists of messages by their sessions",
            marks=4,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Row):
            turns, places, system = [], [], []
            for number, row in enumerate(batch.items):
                name = row.role.lower() if isinstance(row.role, str) else ""
                role = "assistant" if name == "chatbot" else ROLES.get(name)
                text = _text(row, tally)
                if name in SYSTEM_ROLES:
                    system += [text.strip()] if text and text.strip() else []
                    continue
                tally.turns += 1
                if role is not None and text is not None:
                    turns.append(Turn(role, text))
                    places.append(number)
                else:
                    reason = "no_text" if role else "other_role"
                    reason = "tool_result" if name in ("tool", "function") else reason
                    tally.leave_out(reason, partial(batch.offset, number))
            yield Conversation(
                turns, None, "\n\n".join(system) or None, batch.opens, False, batch, places
            )


def _text(row: _Row, tally: Tally) -> str | None:
    blocks = row.blocks if isinstance(row.blocks, list) else []
    if isinstance(row.content, str) and (row.content.strip() or not blocks):
        return row.content
    texts = []
    for block in blocks:
        fields = block if isinstance(block, dict) else {}
        if fields.get("block_type", "text") == "text" and isinstance(fields.get("text"), str):
            texts.append(fields["text"])
        else:
            kind = fields.get("block_type")
            tally.leave_out_part(kind if kind in ("image", "audio", "video") else "other")
    return "\n\n".join(texts) if texts else None


FORMATS = (LlamaIndex(),)
