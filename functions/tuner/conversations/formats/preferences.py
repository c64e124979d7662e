"""Rows that say which of two replies is the better one (DPO), or whether one is good (KTO).

`{"prompt"?, "chosen", "rejected"}`              texts or lists of messages
`{"conversations", "chosen", "rejected"}`        ShareGPT's messages
`{"chosen_messages", "rejected_messages"}`       whole dialogues
`{"messages"|"conversations"|"prompt"+"completion", "label"}`   only rows whose label is true
`{"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected"}`   Anthropic HH: a dialogue as one text

What is chosen is learned. What is rejected is counted and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import Dialogue, messages_of
from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Batch, Records

_HH_MARK = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?: |$|(?=\n))")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


class _Row(msgspec.Struct, gc=False):
    prompt: Any = None
    conversations: Any = None
    messages: Any = None
    completion: Any = None
    chosen: Any = None
    rejected: Any = None
    chosen_messages: Any = None
    rejected_messages: Any = None
    label: Any = None
    system: Any = None


class Preferences:
    """A row is a dialogue that ends with the chosen reply."""

    name = "preferences"
    title = "DPO and KTO preferences"

    def recognise(self, view: View) -> Match | None:
        if view.text is not None:
            return None
        for row in view.objects():
            for keys in (("chosen", "rejected"), ("chosen_messages", "rejected_messages")):
                if all(key in row for key in keys) and not _is_hh(row.get("chosen")):
                    return Match(
                        confidence=Confidence.CERTAIN,
                        evidence=f"rows have `{keys[0]}` and `{keys[1]}`",
                        marks=4,
                    )
            said = next((k for k in ("messages", "conversations", "completion") if k in row), None)
            if said and isinstance(row.get("label"), bool):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"rows have `{said}` and a `label` of true or false",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                yield _dialogue(row, batch, number, records)


def _dialogue(row: _Row, batch: Batch[_Row], number: int, records: Records) -> Conversation:
    tally, offset = records.tally, partial(batch.offset, number)
    dialogue = Dialogue(tally)
    before = row.messages or row.conversations or row.prompt
    for message in messages_of(_as_messages(before, "user")):
        dialogue.add(message, offset)
    chosen = row.chosen_messages or row.chosen or row.completion
    begins_anew = before is not None and _begins_with(chosen, before)
    for message in messages_of(_as_messages(chosen, "assistant"))[_length(before) * begins_anew :]:
        dialogue.add(message, offset)
    if row.rejected is not None or row.rejected_messages is not None:
        tally.turns += 1
        tally.leave_out("rejected_reply", offset)
    if row.label is not None and not row.label:
        tally.leave_out("rejected_reply", offset, count=len(dialogue.turns))
        dialogue.turns.clear()
    return Conversation(
        dialogue.turns, None, dialogue.system_prompt(row.system), batch=batch, rows=number
    )


def _as_messages(value: Any, role: str) -> list[Any]:
    """What one side or both said, as a list of messages."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value if isinstance(value, dict) else _message(role, value)]


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _begins_with(chosen: Any, before: Any) -> bool:
    """Whether the chosen dialogue repeats the prompt that stands beside it."""
    return (
        isinstance(chosen, list)
        and isinstance(before, list)
        and len(chosen) > len(before)
        and chosen[: len(before)] == before
    )


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


class AnthropicHh:
    """A row is a dialogue as one text, its sides told by `Human:` and `Assistant:`."""

    name = "anthropic-hh"
    title = "Anthropic HH"

    def recognise(self, view: View) -> Match | None:
        if view.text is not None or not any(_is_hh(row.get("chosen")) for row in view.objects()):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="rows have a `chosen` text with the marks of two sides",
            marks=5,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                turns = [*_hh_turns(row.chosen)]
                tally.turns += len(turns) + 1
                tally.leave_out("rejected_reply", partial(batch.offset, number))
                yield Conversation(turns, batch=batch, rows=number)


def _is_hh(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("\n\nHuman:", "\n\nAssistant:"))


def _hh_turns(text: Any) -> Iterator[Turn]:
    if not isinstance(text, str):
        return
    _, *pieces = _HH_MARK.split(text)
    for name, said in zip(pieces[::2], pieces[1::2], strict=True):
        yield Turn(_HH_ROLES[name], said)


FORMATS = (Preferences(), AnthropicHh())
