"""OpenAI's chat messages: `{"messages": [{"role", "content"}]}` a row, or only a list of messages.

`content` is a text, null, or a list of parts; a dialect calls a part's text `value`. Decided is:

- `developer` is a system prompt; several system messages are joined with a blank line.
- An assistant's turn with `weight` 0 is not to be learned, and a row cannot say that of one turn:
  it is left out, and what was said around it moves together.
- Tool calls and their results are left out; the text beside a call stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

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

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
}
SYSTEM_ROLES = ("system", "developer")
_TOOL_ROLES = ("tool", "function", "ipython")
_TEXT_TYPES = ("text", "input_text", "output_text")
#: What parts are counted as that are no text.
_KINDS = {
    "reasoning": "thought",
    "thinking": "thought",
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "file": "file",
    "input_file": "file",
    "tool_use": "tool_call",
    "tool_call": "tool_call",
    "tool_result": "tool_result",
}


class Message(msgspec.Struct, gc=False):
    """One message, whatever its fields hold."""

    role: Any = None
    content: Any = None
    tool_calls: Any = None
    weight: Any = None
    timestamp: Any = None


class Row(msgspec.Struct):
    """A dialogue."""

    messages: list[Message | NotAnObject]
    system: Any = None


class Dialogue:
    """Collects the turns of one list of messages, and accounts for the rest."""

    __slots__ = ("_places", "_tally", "system", "times", "turns")

    def __init__(self, tally: Tally) -> None:
        self.turns: list[Turn] = []
        self.times: list[Any] = []
        self.system: list[str] = []
        self._places: list[int] = []
        self._tally = tally

    def add(self, message: Message | NotAnObject, offset: Any) -> bool:
        """Take one message; whether it is a turn. `offset` says where it stands."""
        tally = self._tally
        if not isinstance(message, Message):
            tally.turns += 1
            tally.leave_out("no_text", offset)
            return False
        role = message.role
        known = ROLES.get(role) if isinstance(role, str) else None
        content = message.content
        if known is not None and type(content) is str and message.weight is None:
            tally.turns += 1
            self.turns.append(Turn(known, content))
            self.times.append(message.timestamp)
            return True
        text = text_of(content, tally)
        if role in SYSTEM_ROLES:
            self.system += [text] if text else []
            return False
        tally.turns += 1
        if known is None:
            reason = "tool_result" if role in _TOOL_ROLES else "other_role"
        elif known == "assistant" and message.weight == 0:
            reason = "weight_zero"
        elif text is None:
            reason = "tool_call" if message.tool_calls else "no_text"
        else:
            self.turns.append(Turn(known, text))
            self.times.append(message.timestamp)
            return True
        tally.leave_out(reason, offset)
        return False

    def system_prompt(self, more: Any = None) -> str | None:
        """The system prompt, with one that stands beside the messages before it."""
        beside = [more] if isinstance(more, str) else []
        texts = [text.strip() for text in (*beside, *self.system)]
        return "\n\n".join(dict.fromkeys(text for text in texts if text)) or None


def text_of(content: Any, tally: Tally) -> str | None:
    """The text of a message's content; None when there is none. Other parts are counted."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        text = (part.get("text") or part.get("value")) if isinstance(part, dict) else None
        if kind in _TEXT_TYPES and isinstance(text, str):
            texts.append(text)
        elif kind not in _TEXT_TYPES:
            tally.leave_out_part(_KINDS.get(kind, "other") if isinstance(kind, str) else "other")
    return "\n\n".join(texts) if texts else None


def messages_of(values: list[Any]) -> list[Message]:
    """Messages from plain JSON values, ShareGPT's `from` and `value` too."""
    found = []
    for value in values:
        fields = value if isinstance(value, dict) else {}
        role = fields.get("role", fields.get("from"))
        found.append(
            Message(
                "assistant" if role in ("gpt", "chatgpt") else role,
                fields.get("content", fields.get("value")),
                fields.get("tool_calls"),
                fields.get("weight"),
            )
        )
    return found


def are_messages(value: Any) -> bool:
    """Whether a sample's value is a list of messages."""
    return isinstance(value, list) and any(_is_message(message) for message in value)


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and ("content" in value or "tool_calls" in value)
    )


class Messages:
    """A row is a dialogue."""

    name = "openai-messages"
    title = "OpenAI chat messages"

    def recognise(self, view: View) -> Match | None:
        if view.text is not None or not any(
            are_messages(r.get("messages")) for r in view.objects()
        ):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="rows have `messages` of `role` and `content`",
            marks=3,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(Row):
            for number, row in enumerate(batch.items):
                dialogue = Dialogue(records.tally)
                offset = partial(batch.offset, number)
                for message in row.messages:
                    dialogue.add(message, offset)
                yield Conversation(
                    dialogue.turns,
                    dialogue.times if any(dialogue.times) else None,
                    dialogue.system_prompt(row.system),
                    batch=batch,
                    rows=number,
                )


class MessageList:
    """A row is a turn, the list a dialogue."""

    name = "message-list"
    title = "a list of messages with role and content"

    def recognise(self, view: View) -> Match | None:
        if view.text is not None or not any(_is_message(row) for row in view.objects()):
            return None
        if "timestamp" in view.objects()[0] and "speaker" in view.objects()[0]:
            return None
        return Match(
            confidence=Confidence.LIKELY, evidence="rows have `role` and `content`", marks=2
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(Message):
            dialogue = Dialogue(records.tally)
            places = [
                number
                for number, message in enumerate(batch.items)
                if dialogue.add(message, partial(batch.offset, number))
            ]
            yield Conversation(
                dialogue.turns,
                dialogue.times,
                dialogue.system_prompt(),
                starts=batch.opens,
                ends=False,
                batch=batch,
                rows=places,
            )


FORMATS = (Messages(), MessageList())
