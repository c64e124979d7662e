"""ChatGPT exports: `[{mapping: {id: {parent, children, message}}, current_node}]`, or one of them.

What counts as said: the branch that ends at `current_node`; of it the messages of user and
assistant that are shown, addressed to everybody (`recipient` "all") and made of text. What is
decided:

- Without a usable `current_node` the branch of the latest leaf is read (`trees.latest_leaf`).
- Of `multimodal_text` the strings are read and what was spoken (`audio_transcription`); images and
  sound are left out as parts, as are attached files.
- `code` is written for a tool even when it is addressed to "all": a tool call.
- Citations (`【12†source】`, and private-use characters around `cite`, `filecite` and others) are
  removed. A name (`entity`) or a link's title (`url`) in such characters is a word of the sentence
  that the reader sees, so that it stays.
- A system message is the system prompt when it is shown; the custom instructions are not.
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


class _Author(msgspec.Struct, gc=False):
    role: Any = None


class _Content(msgspec.Struct):
    content_type: Any = None
    parts: Any = None


class _Metadata(msgspec.Struct):
    is_visually_hidden_from_conversation: Any = None
    attachments: Any = None


class _Message(msgspec.Struct):
    author: _Author | NotAnObject = None
    content: _Content | NotAnObject = None
    metadata: _Metadata | NotAnObject = None
    recipient: Any = None
    channel: Any = None
    weight: Any = None
    create_time: Any = None

    @property
    def role(self) -> Any:
        return self.author.role if isinstance(self.author, _Author) else None


class _Node(msgspec.Struct):
    message: _Message | NotAnObject = None
    parent: Any = None


class _Row(msgspec.Struct):
    mapping: dict[str, _Node | NotAnObject]
    current_node: Any = None


#: Content that is not what anybody said, and the reason for leaving it out.
_OTHER_CONTENT = {
    "code": "tool_call",
    "execution_output": "tool_result",
    "system_error": "tool_result",
    "computer_output": "tool_result",
    "thoughts": "thought",
    "reasoning_recap": "thought",
    "user_editable_context": "hidden",
    "model_editable_context": "hidden",
}
_PARTS = {
    "image_asset_pointer": "image",
    "audio_asset_pointer": "audio",
    "real_time_user_audio_video_asset_pointer": "audio",
    "video_container_asset_pointer": "video",
}


class ChatGpt:
    """A row is a dialogue: a tree of messages."""

    name = "chatgpt"
    title = "ChatGPT export"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            mapping = row.get("mapping")
            if isinstance(mapping, dict) and any(map(_is_node_with_message, mapping.values())):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="rows have a `mapping` of nodes whose `message` has `author` and "
                    "`content`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                yield _dialogue(row, batch, number, records.tally)


def _is_node_with_message(node: object) -> bool:
    message = node.get("message") if isinstance(node, dict) else None
    return isinstance(message, dict) and "author" in message and "content" in message


def _dialogue(row: _Row, batch: Batch[_Row], number: int, tally: Tally) -> Conversation:
    place = partial(batch.offset, number)
    nodes = {id_: node for id_, node in row.mapping.items() if isinstance(node, _Node)}
    path = _branch(row, nodes)
    turns: list[Turn] = []
    times: list[Any] = []
    system: list[str] = []
    for id_ in path:
        message = nodes[id_].message
        if message is None:
            continue
        if isinstance(message, _Message) and message.role == "system":
            _read_system(message, system, tally)
            continue
        tally.turns += 1
        reason = _why_not(message)
        text = None
        if reason is None and isinstance(message, _Message):
            text = _text(message, tally)
        if text is None or not isinstance(message, _Message):
            tally.leave_out(reason or "no_text", place)
            continue
        turns.append(Turn(message.role, text))
        times.append(message.create_time)
    if len(path) < len(row.mapping):
        _count_others(row, set(path), tally)
    return Conversation(turns, times, system="\n\n".join(system) or None, batch=batch, rows=number)


def _branch(row: _Row, nodes: dict[str, _Node]) -> list[str]:
    parent_of = {id_: node.parent for id_, node in nodes.items()}
    if path := branch(parent_of, row.current_node):
        return path
    time_of = {
        id_: node.message.create_time
        for id_, node in nodes.items()
        if isinstance(node.message, _Message)
    }
    return branch(parent_of, latest_leaf(parent_of, time_of))


def _count_others(row: _Row, seen: set[str], tally: Tally) -> None:
    """Count the messages beside the branch; of system messages there is one at every root."""
    for id_, node in row.mapping.items():
        if id_ in seen or node is None:
            continue
        if isinstance(node, _Node):
            message = node.message
            if message is None or (isinstance(message, _Message) and message.role == "system"):
                continue
            tally.turns += 1
            tally.leave_out("other_branch")
        else:
            tally.turns += 1
            tally.leave_out("no_text")


def _why_not(message: _Message | NotAnObject) -> str | None:
    """Why a message is not what anybody said; None when it may be."""
    if not isinstance(message, _Message) or not isinstance(message.content, _Content):
        return "no_text"
    if _is_hidden(message):
        return "hidden"
    if message.role not in ("user", "assistant"):
        return "other_role"
    if message.weight == 0:
        return "weight_zero"
    if message.recipient not in ("all", None):
        return "tool_call"
    kind = message.content.content_type
    if message.channel == "analysis":
        return "thought"
    if kind in ("text", "multimodal_text"):
        return None
    if not isinstance(kind, str):
        return "no_text"
    return "tool_result" if kind.startswith("tether_") else _OTHER_CONTENT.get(kind, "no_text")


def _is_hidden(message: _Message) -> bool:
    metadata = message.metadata
    return isinstance(metadata, _Metadata) and metadata.is_visually_hidden_from_conversation is True


def _read_system(message: _Message, system: list[str], tally: Tally) -> None:
    """The system prompt, if it is shown. Every dialogue has an empty one, which is nothing."""
    content = message.content
    parts = content.parts if isinstance(content, _Content) else None
    texts = [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    text = "".join(texts).strip()
    if text and _is_hidden(message):
        tally.turns += 1
        tally.leave_out("hidden")
    elif text:
        system.append(text)


def _text(message: _Message, tally: Tally) -> str | None:
    """What a person sees of a message, its parts joined as they are; None when it has no text."""
    content = message.content
    parts = content.parts if isinstance(content, _Content) else None
    if not isinstance(parts, list):
        return None
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            kind, text = part.get("content_type"), part.get("text")
            if kind == "audio_transcription" and isinstance(text, str):
                texts.append(text)
            else:
                tally.leave_out_part(
                    _PARTS.get(kind, "other") if isinstance(kind, str) else "other"
                )
    metadata = message.metadata
    if isinstance(metadata, _Metadata) and metadata.attachments is not None:
        _count_files(metadata.attachments, tally)
    text = "".join(texts)
    if len(texts) < len(parts) and not text.strip():
        return None
    return text if text.isascii() else _without_citations(text)


def _count_files(attached: Any, tally: Tally) -> None:
    """Attached files; attached images are parts of the message already."""
    for file in attached if isinstance(attached, list) else ():
        kind = file.get("mime_type") if isinstance(file, dict) else None
        if not (isinstance(kind, str) and kind.startswith("image/")):
            tally.leave_out_part("file")


# A mark is U+E200, its kind, and fields, each after U+E202, to U+E201. U+E203 and U+E204 are around
# the words that a citation speaks of. In a reply that was cut off a mark may lack its end.
_MARKS = "\ue200\ue201\ue202\ue203\ue204\ue205\ue206【"
_MARKED = re.compile(
    "\ue200([^\ue200\ue201]*)\ue201"
    "|\ue200[a-z_]*(?:\ue202[\\w-]*)*"
    "|\ue202turn[0-9]+[a-z]+[0-9]+"
    "|[\ue200-\ue206]"
    "|【[0-9]+(?::[0-9]+)?†[^【】\n]{0,200}】"
)


def _without_citations(text: str) -> str:
    # Looking for each character is many times faster than for all of them at once.
    return _MARKED.sub(_shown, text) if any(mark in text for mark in _MARKS) else text


def _shown(mark: re.Match[str]) -> str:
    """What a reader sees in the place of a mark."""
    kind, *fields = (mark[1] or "").split("\ue202")
    if kind == "url" and fields:
        return fields[0]
    if kind == "entity" and fields:
        return _name(fields[0])
    return ""


def _name(field: str) -> str:
    """The name in an entity's `["kind", "name", …]`, or the field itself when it is plain."""
    try:
        values = msgspec.json.decode(field.encode("utf-8", "replace"), type=list[Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "" if field.startswith("[") else field
    names = [value for value in values[:2] if isinstance(value, str)]
    return names[-1] if names else ""


FORMATS = (ChatGpt(),)
