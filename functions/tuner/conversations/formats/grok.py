"""Grok: `{conversations: [{conversation, responses: [{response: {message, sender, …}}]}]}`.

What is decided: a sender is told by its name in any case (`human`, `ASSISTANT`). Responses name
the one that they answer (`parent_response_id`); where that gives several branches, the one that
ends at the latest response is read, otherwise all of them by time. Cards that the program draws
inside a reply (`<grok:render …>`: citations, pictures) are removed. A thinking trace is left out
as a part.
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
from tuner.conversations.trees import reading_order


class _Response(msgspec.Struct):
    id: Any = msgspec.field(name="_id", default=None)
    parent: Any = msgspec.field(name="parent_response_id", default=None)
    sender: Any = None
    message: Any = None
    create_time: Any = None
    thinking_trace: Any = None
    file_attachments: Any = None


class _Item(msgspec.Struct):
    response: _Response | NotAnObject = None


class _Row(msgspec.Struct):
    responses: list[_Item | NotAnObject]


_ROLES = {"human": "user", "user": "user", "assistant": "assistant", "grok": "assistant"}
_CARD_END = "</grok:render>"
_CARD = re.compile(r"<grok:render.*?</grok:render>", re.S)


class Grok:
    """A row is a dialogue: a tree of responses, of both sides."""

    name = "grok"
    title = "Grok export"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            responses = row.get("responses")
            if isinstance(responses, list) and any(map(_is_response, responses)):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="rows have `responses` of a `response` with `sender` and `message`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Row):
            for number, row in enumerate(batch.items):
                yield _dialogue(row, batch, number, records.tally)


def _is_response(item: object) -> bool:
    response = item.get("response") if isinstance(item, dict) else None
    return isinstance(response, dict) and "sender" in response and "message" in response


def _dialogue(row: _Row, batch: Batch[_Row], number: int, tally: Tally) -> Conversation:
    place = partial(batch.offset, number)
    items = [item.response if isinstance(item, _Item) else None for item in row.responses]
    responses = [response for response in items if isinstance(response, _Response)]
    moments = [_moment(response.create_time) for response in responses]
    order = reading_order(
        [response.id for response in responses],
        [response.parent for response in responses],
        moments,
    )
    tally.turns += len(items)
    if odd := len(items) - len(responses):
        tally.leave_out("no_text", place, count=odd)
    if others := len(responses) - len(order):
        tally.leave_out("other_branch", count=others)
    turns: list[Turn] = []
    times: list[Any] = []
    for position in order:
        response = responses[position]
        sender = response.sender
        role = _ROLES.get(sender.strip().lower()) if isinstance(sender, str) else None
        if role is None:
            tally.leave_out("other_role", place)
            continue
        text = _text(response, tally)
        if text is None:
            tally.leave_out("no_text", place)
            continue
        turns.append(Turn(role, text))
        times.append(moments[position])
    return Conversation(turns, times, batch=batch, rows=number)


def _text(response: _Response, tally: Tally) -> str | None:
    """What a person sees of a response; None when it has no text."""
    if isinstance(response.thinking_trace, str) and response.thinking_trace:
        tally.leave_out_part("thought")
    files = response.file_attachments
    for _ in files if isinstance(files, list) else ():
        tally.leave_out_part("file")
    text = response.message
    if not isinstance(text, str) or (files and not text.strip()):
        return None
    # Up to the last end every card is closed, so that no text is looked at twice.
    end = text.rfind(_CARD_END)
    return (
        text
        if end < 0
        else _CARD.sub("", text[: end + len(_CARD_END)]) + text[end + len(_CARD_END) :]
    )


def _moment(time: Any) -> Any:
    """A time in seconds out of `{"$date": {"$numberLong": "1700000000000"}}`, or as it is."""
    if not isinstance(time, dict):
        return time
    date = time.get("$date")
    value = date.get("$numberLong") if isinstance(date, dict) else date
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    return value / 1000 if isinstance(value, int) and abs(value) < 1 << 63 else value


FORMATS = (Grok(),)
