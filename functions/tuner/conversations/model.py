"""The canonical reading of a conversation, the same for every format.

1. Turns of user and assistant, as a person would see them. 2. White space at both ends stripped,
empty turns dropped. 3. Consecutive turns of one role joined with a blank line. 4. Leading assistant
turns and a trailing user turn dropped: what is left alternates, begins with user and ends with
assistant. Whatever is dropped is counted under its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    text: str
    #: As the file gives it; None where the format has none.
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Alternating turns, user first, assistant last."""

    turns: tuple[Turn, ...]

    def pairs(self) -> Iterable[tuple[Turn, Turn]]:
        return zip(self.turns[::2], self.turns[1::2], strict=True)


@dataclass(frozen=True)
class Reading:
    """A file that was read: its conversations, and an account of what is not in them."""

    format: str
    evidence: str
    conversations: tuple[Conversation, ...]
    #: Rows of the file, before anything was left out.
    turns: int
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Format:
    """One export format: `recognise` returns the evidence in words, or "" when it is another."""

    name: str
    recognise: Callable[[Any], str]
    read: Callable[[Any, str], Reading]


def canonical(turns: Iterable[Turn], left_out: Counter[str]) -> Conversation | None:
    """The canonical reading of one dialogue, or None when nothing is left of it."""
    joined: list[Turn] = []
    for turn in turns:
        text = turn.text.strip()
        if not text:
            left_out["empty_turn"] += 1
        elif joined and joined[-1].role == turn.role:
            last = joined[-1]
            joined[-1] = Turn(turn.role, f"{last.text}\n\n{text}", last.timestamp)
            left_out["joined_turn"] += 1
        else:
            joined.append(Turn(turn.role, text, turn.timestamp))
    if joined and joined[0].role == "assistant":
        left_out["leading_assistant"] += 1
        del joined[0]
    if joined and joined[-1].role == "user":
        left_out["trailing_user"] += 1
        del joined[-1]
    return Conversation(tuple(joined)) if joined else None
