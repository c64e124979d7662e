"""Telegram Desktop's `result.json`: one chat `{"name", "type", "messages": [...]}`, or all of them.

`text` is a text, or a list of texts and entities that are joined as they are. What was forwarded is
not the speaker's own and is left out; so are notices. Each chat is a dialogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.loose import NotAnObject
from tuner.conversations.model import Confidence, Conversation, Match, Options, View
from tuner.conversations.people import Cast, Messages
from tuner.conversations.records import Batch, Records

#: Telegram gives no name for an account that was deleted.
_NOBODY = "Deleted Account"
_PARTS = {"photo": "image", "file": "file", "poll": "poll", "location_information": "location"}


class _Message(msgspec.Struct, gc=False):
    type: Any = None
    date: Any = None
    date_unixtime: Any = None
    sender: Any = msgspec.field(name="from", default=None)
    text: Any = None
    #: Null for somebody who hides his name, absent where nothing was forwarded.
    forwarded_from: Any = msgspec.UNSET
    photo: Any = None
    file: Any = None
    poll: Any = None
    location_information: Any = None


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Message | NotAnObject]


class Telegram:
    """A row is a message, or a chat of the whole export."""

    name = "telegram"
    title = "Telegram (result.json)"

    def recognise(self, view: View) -> Match | None:
        if view.path[-2:] == ("messages", "[]") and _are_messages(view.rows):
            return Match(
                confidence=Confidence.CERTAIN,
                evidence="`messages` holds rows with `type`, `from` and `text`",
                marks=4,
            )
        if view.path[-2:] == ("list", "[]") and any(
            _are_messages(row.get("messages")) for row in view.objects()
        ):
            return Match(
                confidence=Confidence.CERTAIN,
                evidence="`chats` holds a list of chats with `messages` of `type` and `text`",
                marks=5,
            )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        cast = Cast(options)
        messages = Messages(cast, records.tally)
        if records.path[-2:] == ("list", "[]"):
            for chats in records.batches(_Chat):
                for number, chat in enumerate(chats.items):
                    cast.begin_chat()
                    _take(chat.messages, messages, records, chats, number)
                    yield from messages.piece(starts=True, ends=True, batch=chats)
        else:
            for batch in records.batches(_Message):
                _take(batch.items, messages, records, batch, None)
                yield from messages.piece(starts=batch.opens, batch=batch)
        cast.check()


def _take(
    rows: Iterable[_Message | NotAnObject],
    messages: Messages,
    records: Records,
    batch: Batch[Any],
    row: int | None,
) -> None:
    """Take messages; `row` is the chat's row, or None where each message is a row."""
    tally = records.tally
    for number, message in enumerate(rows):
        place = number if row is None else row
        reason = "no_text"
        if isinstance(message, _Message):
            for field, kind in _PARTS.items():
                if getattr(message, field) is not None:
                    tally.leave_out_part(kind)
            text = _text(message.text)
            if message.type != "message":
                reason = "system_message"
            elif message.forwarded_from is not msgspec.UNSET:
                reason = "forwarded"
            elif text is not None:
                sender = message.sender if isinstance(message.sender, str) else _NOBODY
                time = message.date_unixtime or message.date
                messages.add((sender or _NOBODY,), text, time, place)
                continue
        tally.turns += 1
        tally.leave_out(reason, partial(batch.offset, place))


def _text(value: Any) -> str | None:
    """A message's text; None for what is none."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    pieces = [piece.get("text") if isinstance(piece, dict) else piece for piece in value]
    return "".join(piece for piece in pieces if isinstance(piece, str))


def _are_messages(rows: Any) -> bool:
    return isinstance(rows, list | tuple) and any(
        isinstance(row, dict) and row.get("type") in ("message", "service") and "text" in row
        and ("from" in row or "actor" in row or "date_unixtime" in row)
        for row in rows
    )  # fmt: skip


FORMATS = (Telegram(),)
