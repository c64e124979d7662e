"""SillyTavern: JSON Lines of `{"name", "is_user", "is_system", "mes", "swipes", "swipe_id"}`.

The first line is a header (`user_name`, `character_name`). Of several swipes the chosen one counts,
`swipes[swipe_id]`; `mes` where there is none. What the program or a narrator says (`is_system`) is
left out. In a group everybody but the user is the assistant, unless a speaker is named: then the
other characters are users.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Records


class _Row(msgspec.Struct, gc=False):
    name: Any = None
    is_user: Any = None
    is_system: Any = None
    mes: Any = None
    swipes: Any = None
    swipe_id: Any = None
    send_date: Any = None
    user_name: Any = None
    chat_metadata: Any = None
    extra: Any = None


class SillyTavern:
    """A row is a turn, the file a dialogue."""

    name = "sillytavern"
    title = "SillyTavern chats"

    def recognise(self, view: View) -> Match | None:
        if view.first_with("mes", "is_user") is None:
            return None
        return Match(
            confidence=Confidence.CERTAIN, evidence="rows have `mes` and `is_user`", marks=3
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        speaker = options.speaker.strip().casefold() if options.speaker else None
        for batch in records.batches(_Row):
            turns, times, places = [], [], []
            for number, row in enumerate(batch.items):
                if row.mes is None and (row.user_name is not None or row.chat_metadata is not None):
                    continue  # the header
                tally.turns += 1
                text = _chosen(row)
                if row.is_system is True or _is_narrator(row.extra):
                    tally.leave_out("system_message", partial(batch.offset, number))
                elif text is None:
                    tally.leave_out("no_text", partial(batch.offset, number))
                else:
                    turns.append(Turn(_role(row, speaker), text))
                    times.append(row.send_date)
                    places.append(number)
            yield Conversation(
                turns, times, starts=batch.opens, ends=False, batch=batch, rows=places
            )


def _is_narrator(extra: Any) -> bool:
    return isinstance(extra, dict) and extra.get("type") == "narrator"


def _chosen(row: _Row) -> str | None:
    """The swipe that was chosen, or the message."""
    swipes, chosen = row.swipes, row.swipe_id
    if (
        isinstance(swipes, list)
        and isinstance(chosen, int)
        and not isinstance(chosen, bool)
        and 0 <= chosen < len(swipes)
        and isinstance(swipes[chosen], str)
    ):
        return str(swipes[chosen])
    return row.mes if isinstance(row.mes, str) else None


def _role(row: _Row, speaker: str | None) -> str:
    if row.is_user is True:
        return "user"
    if speaker is None:
        return "assistant"
    is_speaker = isinstance(row.name, str) and row.name.strip().casefold() == speaker
    return "assistant" if is_speaker else "user"


FORMATS = (SillyTavern(),)
