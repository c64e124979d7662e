"""Discord, as DiscordChatExporter writes it: `{"guild", "channel", "messages": [{"author", …}]}`.

A speaker may be named by name or nickname. Bots are speakers like others: a persona may be one.
Joins, pins and calls are notices of the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.loose import NotAnObject
from tuner.conversations.model import Confidence, Conversation, Match, Options, View
from tuner.conversations.people import Cast, Messages
from tuner.conversations.records import Records

# As text in the exporter's files, as numbers in Discord's own.
_SAID = ("Default", "Reply", 0, 19, None)
_PARTS = {"attachments": "file", "embeds": "embed", "stickers": "sticker"}


class _Author(msgspec.Struct, gc=False):
    name: Any = None
    nickname: Any = None


class _Message(msgspec.Struct, gc=False):
    type: Any = None
    timestamp: Any = None
    content: Any = None
    author: _Author | NotAnObject = None
    attachments: Any = None
    embeds: Any = None
    stickers: Any = None


class Discord:
    """A row is a message, the channel a dialogue."""

    name = "discord"
    title = "Discord (DiscordChatExporter)"

    def recognise(self, view: View) -> Match | None:
        row = view.first_with("author", "content", "timestamp")
        if view.path[-2:] != ("messages", "[]") or row is None:
            return None
        if not isinstance(row["author"], dict) or "name" not in row["author"]:
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`messages` holds rows with `author` and `content`",
            marks=4,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        cast, tally = Cast(options), records.tally
        messages = Messages(cast, tally)
        for batch in records.batches(_Message):
            for number, row in enumerate(batch.items):
                names = _names(row.author)
                for field, kind in _PARTS.items():
                    value = getattr(row, field)
                    for _ in value if isinstance(value, list) else ():
                        tally.leave_out_part(kind)
                if isinstance(row.type, str | int | None) and row.type in _SAID:
                    if names and isinstance(row.content, str):
                        messages.add(names, row.content, row.timestamp, number)
                        continue
                    reason = "no_text"
                else:
                    reason = "system_message"
                tally.turns += 1
                tally.leave_out(reason, partial(batch.offset, number))
            yield from messages.piece(starts=batch.opens, batch=batch)
        cast.check()


def _names(author: _Author | NotAnObject) -> tuple[str, ...]:
    found = (author.name, author.nickname) if isinstance(author, _Author) else ()
    return tuple(name for name in found if isinstance(name, str) and name)


FORMATS = (Discord(),)
