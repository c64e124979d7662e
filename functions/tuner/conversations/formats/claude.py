"""Claude: its export `[{uuid, name, chat_messages: [{sender, text, content}]}]`, and the snapshot
of a shared chat `{snapshot_name, chat_messages: [{index, sender, text}]}`.

What is decided:

- In the export the text blocks of `content` are what was said, joined with a blank line, and
  `text` only where there is no `content`: it is a copy that also names what cannot be shown. In a
  snapshot it is the other way round.
- Thoughts, tool calls and tool results are parts that are left out; a message of nothing else is
  left out under that reason, also when it came as the person's (tool results do).
- What an attachment holds was not typed: it is left out as a part.
- Messages are read in the order of their times, snapshots by `index`. Where they name their
  parents (`parent_message_uuid`) and there are several branches, the one of
  `current_leaf_message_uuid` is read, or the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from tuner.conversations.records import Batch, Records
from tuner.conversations.trees import by_time, reading_order


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Message(msgspec.Struct):
    sender: Any = None
    text: Any = None
    content: list[_Block | NotAnObject] | dict[str, Any] | str | int | float | bool | None = None
    created_at: Any = None
    index: Any = None
    uuid: Any = None
    parent_message_uuid: Any = None
    attachments: Any = None
    files: Any = None


class _Row(msgspec.Struct):
    chat_messages: list[_Message | NotAnObject]
    current_leaf_message_uuid: Any = None


_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}
_PARTS = {
    "thinking": "thought",
    "redacted_thinking": "thought",
    "tool_use": "tool_call",
    "tool_result": "tool_result",
    "image": "image",
    "document": "file",
}
#: What a message of one kind of part is left out as; the most telling first.
_REASONS = ("tool_result", "tool_call", "thought")


class Claude:
    """A row is a dialogue."""

    name = "claude"
    title = "Claude export"

    def recognise(self, view: View) -> Match | None:
        rows = [row for row in view.objects() if "snapshot_name" not in row]
        if _has_messages(rows):
            return Match(
                confidence=Confidence.CERTAIN,
                evidence="rows have `chat_messages` with `sender`",
                marks=3,
            )
        # Chats without a message are common, and the first ones may all be.
        if any(row.get("chat_messages") == [] and "uuid" in row and "name" in row for row in rows):
            return Match(
                confidence=Confidence.LIKELY,
                evidence="rows have `uuid`, `name` and an empty `chat_messages`",
                marks=2,
            )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                if not row.chat_messages:
                    continue
                messages = [m for m in row.chat_messages if isinstance(m, _Message)]
                order = reading_order(
                    [message.uuid for message in messages],
                    [message.parent_message_uuid for message in messages],
                    [message.created_at for message in messages],
                    row.current_leaf_message_uuid,
                )
                others = len(messages) - len(order)
                if others:
                    records.tally.turns += others
                    records.tally.leave_out("other_branch", count=others)
                ordered = [messages[position] for position in order]
                yield _dialogue(row, ordered, batch, number, records.tally, _exported)


class ClaudeShare:
    """A row is a dialogue, as a page for everybody shows it."""

    name = "claude-share"
    title = "snapshot of a shared Claude chat"

    def recognise(self, view: View) -> Match | None:
        if not _has_messages([row for row in view.objects() if "snapshot_name" in row]):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`snapshot_name` beside `chat_messages` with `sender`",
            marks=4,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                messages = [m for m in row.chat_messages if isinstance(m, _Message)]
                order = by_time([message.index for message in messages])
                ordered = [messages[position] for position in order]
                yield _dialogue(row, ordered, batch, number, records.tally, _shared)


def _has_messages(rows: list[dict[str, Any]]) -> bool:
    for row in rows:
        messages = row.get("chat_messages")
        if isinstance(messages, list) and any(
            isinstance(message, dict) and "sender" in message for message in messages
        ):
            return True
    return False


def _dialogue(
    row: _Row,
    messages: list[_Message],
    batch: Batch[_Row],
    number: int,
    tally: Tally,
    text_of: Callable[[_Message, Tally], tuple[str | None, str]],
) -> Conversation:
    place = partial(batch.offset, number)
    turns: list[Turn] = []
    times: list[Any] = []
    odd = sum(not isinstance(message, _Message) for message in row.chat_messages)
    tally.turns += len(messages) + odd
    if odd:
        tally.leave_out("no_text", place, count=odd)
    for message in messages:
        role = _ROLES.get(message.sender.lower()) if isinstance(message.sender, str) else None
        if role is None:
            tally.leave_out("other_role", place)
            continue
        text, reason = text_of(message, tally)
        if text is None:
            tally.leave_out(reason, place)
            continue
        turns.append(Turn(role, text))
        times.append(message.created_at)
    return Conversation(turns, times, batch=batch, rows=number)


def _exported(message: _Message, tally: Tally) -> tuple[str | None, str]:
    """What a message of an export says, or None and why it says nothing."""
    kinds = _attached(message, tally)
    text = _joined(message, kinds, tally) if message.content else message.text
    return _said(text, kinds)


def _shared(message: _Message, tally: Tally) -> tuple[str | None, str]:
    """What a message of a snapshot says, or None and why it says nothing."""
    kinds = _attached(message, tally)
    text = message.text
    if message.content and not (isinstance(text, str) and text.strip()):
        text = _joined(message, kinds, tally)
    return _said(text, kinds)


def _said(text: Any, kinds: set[str]) -> tuple[str | None, str]:
    if isinstance(text, str) and (text.strip() or not kinds):
        return text, ""
    return None, next((reason for reason in _REASONS if reason in kinds), "no_text")


def _attached(message: _Message, tally: Tally) -> set[str]:
    """Count what is attached; the kinds of it."""
    kinds = set()
    for kind, attached in (("attachment", message.attachments), ("file", message.files)):
        for _ in attached if isinstance(attached, list) else ():
            tally.leave_out_part(kind)
            kinds.add(kind)
    return kinds


def _joined(message: _Message, kinds: set[str], tally: Tally) -> str | None:
    """The text blocks of a message; the others are counted, and added to `kinds`."""
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content if isinstance(message.content, list) else ():
        kind = block.type if isinstance(block, _Block) else None
        if isinstance(block, _Block) and kind == "text" and isinstance(block.text, str):
            texts.append(block.text)
        elif kind != "token_budget":  # the program's own, about no message
            part = _PARTS.get(kind, "other") if isinstance(kind, str) else "other"
            tally.leave_out_part(part)
            kinds.add(part)
    return "\n\n".join(texts) if texts else None


FORMATS = (Claude(), ClaudeShare())
