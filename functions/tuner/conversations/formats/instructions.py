"""Rows of one prompt and one reply, under the many names that these have.

alpaca            `{"instruction", "input"?, "output"|"response", "history"?: [[q, a]], "system"?}`
prompt-response   `{"prompt", "response"|"completion", "system"?}`; either may be chat messages
user-assistant    `{"user", "assistant", "system"?}`
question-answer   `{"question", "answer"}`
input-output      `{"input", "output"}`

An `input` follows its instruction after a blank line. A row whose prompt or reply is no text is no
pair and counts as two turns left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from tuner.conversations.formats.openai import Dialogue, are_messages, messages_of
from tuner.conversations.model import (
    Confidence,
    Conversation,
    Dialogues,
    Exchanges,
    Match,
    Options,
    Tally,
    Turn,
    View,
)
from tuner.conversations.records import Batch, Records


class _Row(msgspec.Struct, gc=False):
    instruction: Any = None
    input: Any = None
    output: Any = None
    prompt: Any = None
    response: Any = None
    completion: Any = None
    user: Any = None
    assistant: Any = None
    question: Any = None
    answer: Any = None
    system: Any = None
    history: Any = None


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """A row is a dialogue of one exchange, or of several where it has a history."""

    name: str
    title: str
    prompt: str
    replies: tuple[str, ...]
    confidence: Confidence
    marks: int

    def recognise(self, view: View) -> Match | None:
        if view.text is not None:
            return None
        for reply in self.replies:
            row = view.first_with(self.prompt, reply)
            if row is not None and _is_said(row[self.prompt]) and not _has_more(row):
                return Match(
                    confidence=self.confidence,
                    evidence=f"rows have `{self.prompt}` and `{reply}`",
                    marks=self.marks,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Dialogues]:
        for batch in records.batches(_Row):
            prompts, replies = self._columns(batch.items)
            if _are_plain(prompts, replies, batch.items):
                records.tally.turns += 2 * len(prompts)
                yield Exchanges(prompts, replies, None, batch, range(len(prompts)))
                continue
            for number, row in enumerate(batch.items):
                if dialogue := _dialogue(
                    prompts[number], replies[number], row, batch, number, records.tally
                ):
                    yield dialogue

    def _columns(self, rows: list[_Row]) -> tuple[list[Any], list[Any]]:
        """The prompt and the reply of each row."""
        prompts = [*map(attrgetter(self.prompt), rows)]
        if self.prompt == "instruction" and any(map(attrgetter("input"), rows)):
            prompts = [_with_input(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
        replies = [*map(attrgetter(self.replies[0]), rows)]
        for key in self.replies[1:]:
            if None in replies:
                others = map(attrgetter(key), rows)
                replies = [
                    other if reply is None else reply
                    for reply, other in zip(replies, others, strict=True)
                ]
        return prompts, replies


def _with_input(instruction: Any, row: _Row) -> Any:
    """What is asked: the instruction and, after a blank line, what it is about."""
    if isinstance(instruction, str) and isinstance(row.input, str) and row.input.strip():
        return f"{instruction}\n\n{row.input}"
    return instruction


def _are_plain(prompts: list[Any], replies: list[Any], rows: list[_Row]) -> bool:
    """Whether every row is just two texts."""
    kinds = {*map(type, prompts), *map(type, replies)}
    return kinds == {str} and not any(row.system or row.history for row in rows)


def _dialogue(
    prompt: Any, reply: Any, row: _Row, batch: Batch[_Row], number: int, tally: Tally
) -> Conversation | None:
    """A row that is not just two texts."""
    system = row.system.strip() if isinstance(row.system, str) else ""
    if are_messages(prompt) or are_messages(reply):
        return _of_messages(prompt, reply, system, batch, number, tally)
    turns = [*_history(row.history, tally, partial(batch.offset, number))]
    tally.turns += 2
    if isinstance(prompt, str) and isinstance(reply, str):
        turns += [Turn("user", prompt), Turn("assistant", reply)]
    else:
        tally.leave_out("not_a_pair", partial(batch.offset, number), count=2)
    return Conversation(turns, None, system or None, batch=batch, rows=number) if turns else None


def _history(history: Any, tally: Tally, offset: Any) -> Iterator[Turn]:
    """Earlier exchanges, `[[prompt, reply], …]`."""
    for pair in history if isinstance(history, list) else []:
        tally.turns += 2
        match pair:
            case [str(prompt), str(reply)]:
                yield Turn("user", prompt)
                yield Turn("assistant", reply)
            case _:
                tally.leave_out("not_a_pair", offset, count=2)


def _of_messages(
    prompt: Any, reply: Any, system: str, batch: Batch[_Row], number: int, tally: Tally
) -> Conversation:
    dialogue = Dialogue(tally)
    for value, role in ((prompt, "user"), (reply, "assistant")):
        said = value if isinstance(value, list) else [{"role": role, "content": value}]
        for message in messages_of(said):
            dialogue.add(message, partial(batch.offset, number))
    return Conversation(
        dialogue.turns, None, dialogue.system_prompt(system), batch=batch, rows=number
    )


def _is_said(value: Any) -> bool:
    return isinstance(value, str) or are_messages(value)


def _has_more(row: dict[str, Any]) -> bool:
    """Whether a row says which of two replies is the better one. A row of logs, or of one judged
    reply, is claimed by its own format with more marks; a label or an id alone may mean anything.
    """
    return "rejected" in row or "chosen" in row


FORMATS = (
    Instructions(
        name="alpaca",
        title="Alpaca instructions",
        prompt="instruction",
        replies=("output", "response"),
        confidence=Confidence.CERTAIN,
        marks=2,
    ),
    Instructions(
        name="prompt-response",
        title="rows of prompt and response",
        prompt="prompt",
        replies=("response", "completion"),
        confidence=Confidence.LIKELY,
        marks=2,
    ),
    Instructions(
        name="user-assistant",
        title="rows of user and assistant",
        prompt="user",
        replies=("assistant",),
        confidence=Confidence.LIKELY,
        marks=2,
    ),
    Instructions(
        name="question-answer",
        title="rows of question and answer",
        prompt="question",
        replies=("answer",),
        confidence=Confidence.LIKELY,
        marks=2,
    ),
    Instructions(
        name="input-output",
        title="rows of input and output",
        prompt="input",
        replies=("output",),
        confidence=Confidence.POSSIBLE,
        marks=1,
    ),
)
