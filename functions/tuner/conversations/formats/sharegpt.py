"""ShareGPT: `{"conversations": [{"from", "value"}], "system"?}`, also with `role` and `content`.

Fragments that begin with a reply are kept from their first prompt on, by the canonical reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import text_of
from tuner.conversations.loose import NotAnObject
from tuner.conversations.model import (
    Confidence,
    Conversation,
    Match,
    Options,
    Tally,
    Turn,
    View,
)
from tuner.conversations.records import Records

_ROLES: dict[Any, str] = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "assistant": "assistant",
    "model": "assistant",
}
_TOOLS = {"function_call": "tool_call", "observation": "tool_result", "tool": "tool_result"}


class _Message(msgspec.Struct, gc=False):
    sender: Any = msgspec.field(name="from", default=None)
    value: Any = None
    role: Any = None
    content: Any = None


class _Row(msgspec.Struct, gc=False):
    conversations: list[_Message | NotAnObject]
    system: Any = None


class ShareGpt:
    """A row is a dialogue."""

    name = "sharegpt"
    title = "ShareGPT"

    def recognise(self, view: View) -> Match | None:
        for keys in (("from", "value"), ("role", "content")):
            if any(_has_messages(row.get("conversations"), keys) for row in view.objects()):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"rows have `conversations` of `{keys[0]}` and `{keys[1]}`",
                    marks=3,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally, roles = records.tally, _ROLES
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                turns: list[Turn] = []
                others = None
                for message in row.conversations:
                    if type(message) is _Message:
                        text = message.value
                        # Roles are looked up as they are: what is no text is no role.
                        if type(text) is str and type(message.sender) is str:
                            role = roles.get(message.sender)
                            if role is not None:
                                turns.append(Turn(role, text))
                                continue
                    others = others or _Others(turns, tally, partial(batch.offset, number))
                    others.add(message)
                tally.turns += len(turns)
                system = row.system
                if system is not None or others is not None:
                    system = _system(system, others)
                yield Conversation(turns, None, system, batch=batch, rows=number)


class _Others:
    """What is not simply a turn: other spellings of one, system prompts, tools."""

    def __init__(self, turns: list[Turn], tally: Tally, offset: Any) -> None:
        self.system: list[str] = []
        self._turns, self._tally, self._offset = turns, tally, offset

    def add(self, message: _Message | NotAnObject) -> None:
        if not isinstance(message, _Message):
            message = _Message()
        sender = message.sender if message.sender is not None else message.role
        text = text_of(message.value if message.value is not None else message.content, self._tally)
        name = sender.strip().lower() if isinstance(sender, str) else None
        role = _ROLES.get(name)
        if name == "system":
            self.system += [text] if text is not None else []
        elif role is not None and text is not None:
            self._turns.append(Turn(role, text))
        else:
            self._tally.turns += 1
            reason = "no_text" if role is not None else _TOOLS.get(name or "", "other_role")
            self._tally.leave_out(reason, self._offset)


def _system(beside: Any, others: _Others | None) -> str | None:
    texts = [beside] if isinstance(beside, str) else []
    texts += others.system if others is not None else []
    return "\n\n".join(stripped for text in texts if (stripped := text.strip())) or None


def _has_messages(value: Any, keys: tuple[str, str]) -> bool:
    return isinstance(value, list) and any(
        isinstance(message, dict) and all(key in message for key in keys) for message in value
    )


FORMATS = (ShareGpt(),)
