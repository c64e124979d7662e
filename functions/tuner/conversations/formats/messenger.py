"""Messenger, Instagram: `{"participants", "messages": [{"sender_name", …}]}`, newest first.

Texts are mojibake: the bytes of UTF-8, each written as a character. One is repaired where that
gives valid UTF-8. The newer export of encrypted chats has `senderName` and `text`, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.held import Held
from tuner.conversations.model import Confidence, Conversation, Match, Options, View
from tuner.conversations.people import Cast, Messages
from tuner.conversations.records import Records
from tuner.conversations.times import seconds

_PARTS = {
    "photos": "image", "gifs": "image", "videos": "video", "audio_files": "audio",
    "files": "file", "sticker": "sticker", "share": "link", "media": "file",
}  # fmt: skip


_NOTICES = ("Call", "Subscribe", "Unsubscribe")
# What the program writes in a person's name, in English; `[^\n]` since it is still mojibake.
_REACTION = re.compile(r"Reacted [^\n]{1,30} to your message\s*")
_ATTACHMENT = re.compile(r"[^\n]{1,100} sent an attachment\.\s*")


class _Message(msgspec.Struct, gc=False):
    sender_name: Any = None
    senderName: Any = None
    timestamp_ms: Any = None
    timestamp: Any = None
    content: Any = None
    text: Any = None
    is_unsent: Any = None
    isUnsent: Any = None
    type: Any = None
    call_duration: Any = None
    photos: Any = None
    gifs: Any = None
    videos: Any = None
    audio_files: Any = None
    files: Any = None
    sticker: Any = None
    share: Any = None
    media: Any = None


class Messenger:
    """A row is a message, the file a dialogue."""

    name = "messenger"
    title = "Messenger or Instagram messages"

    def recognise(self, view: View) -> Match | None:
        if view.path[-2:] != ("messages", "[]") or "participants" not in view.outer:
            return None
        for sender, time in (("sender_name", "timestamp_ms"), ("senderName", "timestamp")):
            if view.first_with(sender, time):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"`messages` holds rows with `{sender}`, beside `participants`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        cast, tally, held = Cast(options), records.tally, Held()
        rows: list[tuple[str, str, Any]] = []
        for batch in records.batches(_Message):
            if batch.opens and rows:
                yield from _dialogue(rows, cast, records)
                rows = []
            for number, row in enumerate(batch.items):
                reason = _not_said(row)
                for field, kind in _PARTS.items():
                    if getattr(row, field):
                        tally.leave_out_part(kind)
                if reason is not None:
                    tally.turns += 1
                    tally.leave_out(reason, partial(batch.offset, number))
                    continue
                name, text = (_repaired(value) for value in _said(row))
                held.add(len(text) + len(name))
                rows.append((name, text, row.timestamp_ms or row.timestamp))
        yield from _dialogue(rows, cast, records)
        cast.check()


def _said(row: _Message) -> tuple[Any, Any]:
    name = row.sender_name if row.sender_name is not None else row.senderName
    return name, row.content if row.content is not None else row.text


def _not_said(row: _Message) -> str | None:
    """Why a row is no turn, or None."""
    if row.is_unsent is True or row.isUnsent is True or row.type == "placeholder":
        return "deleted"
    if row.type in _NOTICES or row.call_duration is not None:
        return "system_message"
    name, text = _said(row)
    if not isinstance(name, str) or not isinstance(text, str):
        return "no_text"
    if _REACTION.fullmatch(text):
        return "system_message"
    return "no_text" if _ATTACHMENT.fullmatch(text) and _has_part(row) else None


def _has_part(row: _Message) -> bool:
    return any(getattr(row, field) for field in _PARTS)


def _dialogue(
    rows: list[tuple[str, str, Any]], cast: Cast, records: Records
) -> Iterator[Conversation]:
    """What was held, oldest first."""
    first, last = (seconds(row[2]) for row in (rows[0], rows[-1])) if rows else (None, None)
    is_oldest_first = first is not None and last is not None and first < last
    messages = Messages(cast, records.tally)
    for name, text, time in rows if is_oldest_first else reversed(rows):
        messages.add((name,), text, time)
    yield from messages.piece(starts=True, ends=True)


def _repaired(text: str) -> str:
    """The text that the bytes spell which stand in it as characters."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


FORMATS = (Messenger(),)
