"""Rows that say which of two replies is the better one (DPO), or whether one is good (KTO).

`{"prompt"?, "chosen", "rejected"}`              texts or lists of messages
`{"conversations", "chosen", "rejected"}`        ShareGPT's messages
`{"chosen_messages", "rejected_messages"}`       whole dialogues
`{"instruction", "input"?, "chosen", "rejected"}`, also with `question`
`{"messages"|"conversations"|a prompt and its reply, "label"|"kto_tag"}`   only what is true
`{"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected"}`   Anthropic HH: a dialogue as one text

What is chosen is learned. What is rejected is counted and left out. Many files repeat the prompt in
what is chosen, or the chosen dialogue beside it: that is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import Dialogue, Message, messages_of
from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Batch, Records

_HH_MARK = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?: |$|(?=\n))")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


class _Row(msgspec.Struct, gc=False):
    prompt: Any = None
    conversations: Any = None
    messages: Any = None
    instruction: Any = None
    input: Any = None
    question: Any = None
    completion: Any = None
    response: Any = None
    output: Any = None
    chosen: Any = None
    rejected: Any = None
    chosen_messages: Any = None
    rejected_messages: Any = None
    label: Any = None
    kto_tag: Any = None
    system: Any = None


#: What a label may be about, in the words of KTO; under other names a number is a class of texts.
_KTO_KEYS = ("messages", "conversations", "completion")
_LABELLED = (*_KTO_KEYS, "response", "output")


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
            if said := next((key for key in _LABELLED if _is_judged(row, key)), None):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"rows have `{said}` and a label of true or false",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                yield _dialogue(row, batch, number, records)


def _is_judged(row: dict[str, Any], said: str) -> bool:
    """Whether a row says of what stands under `said` that it is good, or that it is not."""
    labels = [row.get(key) for key in ("label", "kto_tag")]
    kinds = (bool, int) if said in _KTO_KEYS else bool
    return said in row and any(isinstance(x, kinds) and x in (0, 1) for x in labels)


def _dialogue(row: _Row, batch: Batch[_Row], number: int, records: Records) -> Conversation:
    tally, offset = records.tally, partial(batch.offset, number)
    dialogue = Dialogue(tally)
    chosen = row.chosen_messages or row.chosen or row.completion or row.response or row.output
    for message in _once(_messages(_before(row), "user"), _messages(chosen, "assistant")):
        dialogue.add(message, offset)
    if row.rejected is not None or row.rejected_messages is not None:
        tally.turns += 1
        tally.leave_out("rejected_reply", offset)
    label = row.label if row.label is not None else row.kto_tag
    if label is not None and not label:
        tally.leave_out("rejected_reply", offset, count=len(dialogue.turns))
        dialogue.turns.clear()
    return Conversation(
        dialogue.turns, None, dialogue.system_prompt(row.system), batch=batch, rows=number
    )


def _before(row: _Row) -> Any:
    """What was said before the reply that is judged."""
    before = row.messages or row.conversations or row.prompt or row.instruction or row.question
    if before is row.instruction and isinstance(before, str) and isinstance(row.input, str):
        return f"{before}\n\n{row.input}" if row.input.strip() else before
    return before


def _messages(value: Any, role: str) -> list[Message]:
    """What one side or both said, as messages; a text is said by `role`."""
    if value is None:
        return []
    if isinstance(value, list):
        return messages_of(value)
    return messages_of([value if isinstance(value, dict) else {"role": role, "content": value}])


def _once(before: list[Message], chosen: list[Message]) -> list[Message]:
    """The dialogue without what stands in both of its halves."""
    if before and before[-len(chosen) :] == chosen:
        return before
    repeats = chosen[: len(before)] == before or (
        len(before) == 1
        and any(
            message.role in ("user", "human") and _same(message, before[0]) for message in chosen
        )
    )
    return chosen if repeats else before + chosen


def _same(one: Message, other: Message) -> bool:
    texts = (one.content, other.content)
    return all(isinstance(text, str) for text in texts) and texts[0].strip() == texts[1].strip()


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
                offset = partial(batch.offset, number)
                turns, is_all = _hh_turns(row.chosen)
                tally.turns += len(turns)
                if not is_all:
                    tally.turns += 1
                    tally.leave_out("not_a_turn", offset)
                if row.rejected is not None:
                    tally.turns += 1
                    tally.leave_out("rejected_reply", offset)
                yield Conversation(turns, batch=batch, rows=number)


def _is_hh(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("\n\nHuman:", "\n\nAssistant:"))


def _hh_turns(text: Any) -> tuple[list[Turn], bool]:
    """The turns of a dialogue in one text, and whether no text is without a side."""
    if not isinstance(text, str):
        return [], False
    first, *pieces = _HH_MARK.split(text)
    said = zip(pieces[::2], pieces[1::2], strict=True)
    return [Turn(_HH_ROLES[name], text) for name, text in said], bool(pieces) and not first.strip()


FORMATS = (Preferences(), AnthropicHh())
