"""The persona's own conversation memory: one file name, three schemas.

A  `{"history": [{"role", "content", "timestamp"}], "last_updated"}`
B  `{"history": [{"timestamp", "speaker", "message"}], …}`      speaker "ECH0" is the persona
C  `{"conversations": [{"user", "ech0", "timestamp"}], "total_interactions"}`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.model import (
    Confidence,
    Conversation,
    Exchanges,
    Match,
    Options,
    Turn,
    View,
)
from tuner.conversations.records import Batch, Records

_ROLES = {"user": "user", "human": "user", "assistant": "assistant"}


class _HistoryRow(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    timestamp: Any = None


class _SpeakerRow(msgspec.Struct, gc=False):
    speaker: Any = None
    message: Any = None
    timestamp: Any = None


class _PairRow(msgspec.Struct, gc=False):
    user: str
    ech0: str
    timestamp: Any = None


class History:
    """Schema A: the whole file is one dialogue, a row is a turn."""

    name = "ech0-history"
    title = "the persona's conversation memory (roles)"

    def recognise(self, view: View) -> Match | None:
        if view.path[-2:] != ("history", "[]") or not view.first_with("role", "content"):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`history` holds rows with `role` and `content`",
            marks=3,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_HistoryRow):
            rows = [(row.role, row.content, row.timestamp) for row in batch.items]
            yield _piece(records, batch, rows, _role_of)


class Speakers:
    """Schema B: as A, and everybody but the persona is the user."""

    name = "ech0-speakers"
    title = "the persona's conversation memory (speakers)"

    def recognise(self, view: View) -> Match | None:
        if view.path[-2:] != ("history", "[]") or not view.first_with("speaker", "message"):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`history` holds rows with `speaker` and `message`",
            marks=3,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        persona = (options.speaker or "ech0").strip().casefold()
        for batch in records.batches(_SpeakerRow):
            rows = [(row.speaker, row.message, row.timestamp) for row in batch.items]
            yield _piece(
                records,
                batch,
                rows,
                lambda speaker: "assistant" if speaker.strip().casefold() == persona else "user",
            )


class Pairs:
    """Schema C: a row is a prompt with its reply, and a dialogue of its own."""

    name = "ech0-pairs"
    title = "the persona's conversation memory (pairs)"

    def recognise(self, view: View) -> Match | None:
        if view.path[-1:] != ("[]",) or not view.first_with("user", "ech0"):
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="`conversations` holds rows with `user` and `ech0`",
            marks=3,
        )

    def read(self, records: Records, options: Options) -> Iterator[Exchanges]:
        for batch in records.batches(_PairRow):
            rows = batch.items
            records.tally.turns += 2 * len(rows)
            yield Exchanges(
                [row.user for row in rows],
                [row.ech0 for row in rows],
                [row.timestamp for row in rows],
                batch,
                range(len(rows)),
            )


def _role_of(name: str) -> str | None:
    return _ROLES.get(name.strip().lower())


def _piece(
    records: Records,
    batch: Batch[Any],
    rows: list[tuple[Any, Any, Any]],
    role_of: Callable[[str], str | None],
) -> Conversation:
    """A batch of (who, text, timestamp) as a piece of the one dialogue."""
    tally = records.tally
    tally.turns += len(rows)
    turns, times, places = [], [], []
    for number, (who, text, timestamp) in enumerate(rows):
        if not isinstance(who, str) or not isinstance(text, str):
            tally.leave_out("not_a_turn", partial(batch.offset, number))
            continue
        role = role_of(who)
        if role is None:
            tally.leave_out("other_role", partial(batch.offset, number))
            continue
        turns.append(Turn(role, text))
        times.append(timestamp)
        places.append(number)
    return Conversation(
        turns=turns, times=times, starts=batch.opens, ends=False, batch=batch, rows=places
    )


FORMATS = (History(), Speakers(), Pairs())
