"""Open WebUI: a chat `{history: {messages: {id: {parentId, role, content}}, currentId}}`, or an
export `[{chat: {…}}]`.

The messages are a tree, read as ChatGPT's: the branch that ends at `currentId`, or at the latest
leaf when that is missing. Thoughts, tool calls and code that was run stand inside a reply as
`<details type="…">`: folded away for the reader, they are left out as parts; one that is not
closed goes on to the end of the reply. Newer chats have `output` items too, which are read when
`content` is empty.
"""

from __future__ import annotations

import re
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
from tuner.conversations.records import Batch, Records
from tuner.conversations.trees import branch, latest_leaf


class _Message(msgspec.Struct):
    parent: Any = msgspec.field(name="parentId", default=None)
    role: Any = None
    content: Any = None
    output: Any = None
    files: Any = None
    timestamp: Any = None


class _History(msgspec.Struct):
    messages: dict[str, _Message | NotAnObject]
    current: Any = msgspec.field(name="currentId", default=None)


class _Params(msgspec.Struct, gc=False):
    system: Any = None


class _Chat(msgspec.Struct):
    history: _History
    params: _Params | NotAnObject = None


class _Row(msgspec.Struct):
    """Either of the two: a chat, or what an export wraps around it."""

    chat: _Chat | NotAnObject = None
    history: _History | NotAnObject = None
    params: _Params | NotAnObject = None


_ROLES = {"user": "user", "assistant": "assistant"}
_FOLDED = {"reasoning": "thought", "tool_calls": "tool_call", "code_interpreter": "tool_call"}
# It always matches from where it begins, so that no text is looked at twice.
_DETAILS = re.compile(
    r'<details type="(reasoning|tool_calls|code_interpreter)".*?(?:</details>|\Z)', re.S
)
_OUTPUTS = {"reasoning": "thought", "function_call_output": "tool_result"}


class OpenWebUi:
    """A row is a dialogue: a tree of messages."""

    name = "open-webui"
    title = "Open WebUI chats"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            chat = row.get("chat", row)
            history = chat.get("history") if isinstance(chat, dict) else None
            messages = history.get("messages") if isinstance(history, dict) else None
            if isinstance(messages, dict) and any(map(_is_message, messages.values())):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="`history` has `messages` by their ids, with `parentId` and `role`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                chat = row.chat if isinstance(row.chat, _Chat) else row
                if isinstance(chat.history, _History):
                    yield _dialogue(chat.history, chat.params, batch, number, tally)
                else:
                    tally.drop_row("no_history", partial(batch.offset, number))


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and "parentId" in message and "role" in message


def _dialogue(
    history: _History,
    params: _Params | NotAnObject,
    batch: Batch[_Row],
    number: int,
    tally: Tally,
) -> Conversation:
    place = partial(batch.offset, number)
    known = {id_: m for id_, m in history.messages.items() if isinstance(m, _Message)}
    system = [params.system] if isinstance(params, _Params) else []
    turns: list[Turn] = []
    times: list[Any] = []
    path = _branch(history, known)
    for id_ in path:
        message = known[id_]
        if message.role == "system":
            system.append(message.content)
            continue
        tally.turns += 1
        role = _ROLES.get(message.role) if isinstance(message.role, str) else None
        text = _text(message, tally) if role is not None else None
        if role is None or text is None:
            tally.leave_out("other_role" if role is None else "no_text", place)
            continue
        turns.append(Turn(role, text))
        times.append(message.timestamp)
    _count_others(history, set(path), tally)
    return Conversation(turns, times, system=_joined(system), batch=batch, rows=number)


def _branch(history: _History, known: dict[str, _Message]) -> list[str]:
    parent_of = {id_: message.parent for id_, message in known.items()}
    if path := branch(parent_of, history.current):
        return path
    time_of = {id_: message.timestamp for id_, message in known.items()}
    return branch(parent_of, latest_leaf(parent_of, time_of))


def _count_others(history: _History, seen: set[str], tally: Tally) -> None:
    for id_, message in history.messages.items():
        if id_ not in seen and message is not None:
            tally.turns += 1
            tally.leave_out("other_branch" if isinstance(message, _Message) else "no_text")


def _joined(system: list[Any]) -> str | None:
    texts = [text.strip() for text in system if isinstance(text, str)]
    return "\n\n".join(text for text in texts if text) or None


def _text(message: _Message, tally: Tally) -> str | None:
    """What a person sees of a message; None when it has no text."""
    for file in message.files if isinstance(message.files, list) else ():
        kind = file.get("type") if isinstance(file, dict) else None
        tally.leave_out_part("image" if kind == "image" else "file")
    text = message.content
    if isinstance(text, list):
        text = _blocks(text, tally)
    if isinstance(message.output, list) and (not isinstance(text, str) or not text.strip()):
        text = _output(message.output, tally)
    if not isinstance(text, str):
        return None
    if message.role == "assistant" and "<details" in text:
        shown = _DETAILS.sub(partial(_left_out, tally), text)
        return shown if shown.strip() else None
    return text if text.strip() or not message.files else None


def _left_out(tally: Tally, details: re.Match[str]) -> str:
    tally.leave_out_part(_FOLDED[details[1]])
    return ""


def _blocks(blocks: list[Any], tally: Tally) -> str | None:
    """Content as the interface to models has it: `[{type: "text", text}, {type: "image_url"}]`."""
    texts = []
    for block in blocks:
        text = block.get("text") if isinstance(block, dict) else block
        if isinstance(text, str):
            texts.append(text)
        else:
            tally.leave_out_part("image")
    return "\n\n".join(texts) if texts else None


def _output(items: list[Any], tally: Tally) -> str | None:
    """The text of `[{type: "message", content: [{type: "output_text", text}]}, {type: …}]`."""
    texts = []
    for item in items:
        if not isinstance(item, dict):
            continue
        kind, content = item.get("type"), item.get("content")
        if kind != "message":
            tally.leave_out_part(
                _OUTPUTS.get(kind, "tool_call") if isinstance(kind, str) else "other"
            )
            continue
        for block in content if isinstance(content, list) else ():
            text = block.get("text") if isinstance(block, dict) else None
            if isinstance(text, str):
                texts.append(text)
    return "".join(texts) if texts else None


FORMATS = (OpenWebUi(),)
