"""The canonical reading: the same turns, whichever program exported them.

1. The format's reader gave the turns of the current branch, as a person would see them, in order.
2. White space at both ends of a turn is stripped, and empty turns are dropped. 3. Consecutive turns
of one role are joined with a blank line. 4. Leading assistant turns and a trailing user turn are
dropped: what is left alternates, begins with user and ends with assistant. Whatever is not a turn
of its own any more is counted, so that turns in = 2 × pairs + turns left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from tuner.conversations.model import Conversation, Dialogues, Exchanges, Tally, Turn
from tuner.errors import RejectedUpload

#: Joined turns of one role may not grow beyond this: the only text that is held without a bound.
MAX_TURN_CHARACTERS = 32 << 20
_JOINT = "\n\n"


def canonical(dialogues: Iterable[Dialogues], tally: Tally) -> Iterator[Dialogues]:
    """Read every dialogue canonically, a piece at a time where it comes in pieces.

    Each yielded piece begins with a user's turn and ends with an assistant's. Of a piece with
    `ends=False` more follows; an empty last piece is yielded too, since it says that it has ended.
    """
    held: _Held | None = None
    for dialogue in dialogues:
        if isinstance(dialogue, Exchanges):
            if held is not None:
                yield from held.finish(tally)
                held = None
            yield from _exchanges(dialogue, tally)
            continue
        if held is not None and dialogue.starts:
            yield from held.finish(tally)
            held = None
        if held is None and dialogue.starts and dialogue.ends:
            if whole := _whole(dialogue, tally):
                yield whole
            continue
        held = held or _Held(dialogue)
        yield from held.take(dialogue, tally)
        if dialogue.ends:
            yield from held.finish(tally)
            held = None
    if held is not None:
        yield from held.finish(tally)


def _exchanges(exchanges: Exchanges, tally: Tally) -> Iterator[Dialogues]:
    """Exchanges of which none is empty are canonical once they are stripped."""
    exchanges.prompts = [*map(str.strip, exchanges.prompts)]
    exchanges.replies = [*map(str.strip, exchanges.replies)]
    if "" not in exchanges.prompts and "" not in exchanges.replies:
        yield exchanges
        return
    for dialogue in exchanges.each():
        if whole := _whole(dialogue, tally):
            yield whole


def _whole(conversation: Conversation, tally: Tally) -> Conversation | None:
    """The canonical form of a dialogue that is all here, or None when nothing is left of it."""
    turns = conversation.turns
    role = "assistant"
    for turn in turns:
        text = turn.content.strip()
        if not text or turn.role == role:
            return _mended(conversation, tally)
        role = turn.role
        turn.content = text
    if role != "assistant" or not turns:
        return _mended(conversation, tally)
    return conversation


def _mended(conversation: Conversation, tally: Tally) -> Conversation | None:
    """`_whole` for a dialogue in which something is to be dropped or joined."""
    held = _Held(conversation)
    pieces = [*held.take(conversation, tally), *held.finish(tally)]
    turns = [turn for piece in pieces for turn in piece.turns]
    if not turns:
        return None
    conversation.turns = turns
    if conversation.times is not None:
        conversation.times = [time for piece in pieces for time in piece.times or ()]
    return conversation


class _Held:
    """A dialogue under way: what came last may still be joined by what comes next."""

    def __init__(self, first: Conversation) -> None:
        self._starts = True
        self._system = first.system
        self._timed = first.times is not None
        #: Turns that are begun: the last one or two may go on, those before cannot.
        self._turns: list[_Growing] = []

    def take(self, piece: Conversation, tally: Tally) -> Iterator[Conversation]:
        """Add a piece; yield the pairs that nothing can change any more."""
        turns, times = self._turns, piece.times
        for number, turn in enumerate(piece.turns):
            text = turn.content.strip()
            if not text:
                tally.leave_out("empty_turn", partial(piece.offset, number))
            elif turns and turns[-1].role == turn.role:
                turns[-1].join(text, times[number] if times is not None else None)
                tally.leave_out("joined_turn", partial(piece.offset, number))
            elif not turns and self._starts and turn.role == "assistant":
                tally.leave_out("leading_assistant", partial(piece.offset, number))
            else:
                time = times[number] if times is not None else None
                turns.append(_Growing(turn.role, text, time, piece, number))
        # An assistant's turn may still grow, and then its user's turn must wait with it.
        settled = len(turns) - (2 if turns and turns[-1].role == "assistant" else 1)
        if settled > 0:
            yield self._piece(settled, ends=False)

    def finish(self, tally: Tally) -> Iterator[Conversation]:
        """Yield what is left, now that nothing follows; nothing for a dialogue without a pair."""
        turns = self._turns
        if turns and turns[-1].role == "user":
            tally.leave_out("trailing_user", turns.pop().offset)
        if turns or not self._starts:
            yield self._piece(len(turns), ends=True)

    def _piece(self, count: int, *, ends: bool) -> Conversation:
        taken, self._turns = self._turns[:count], self._turns[count:]
        starts, self._starts = self._starts, False
        return Conversation(
            turns=[Turn(turn.role, turn.text()) for turn in taken],
            times=[turn.time for turn in taken] if self._timed else None,
            system=self._system,
            starts=starts,
            ends=ends,
        )


class _Growing:
    """A turn that consecutive turns of its role may still join."""

    __slots__ = ("_bytes", "_number", "_parts", "_piece", "role", "time")

    def __init__(self, role: str, text: str, time: Any, piece: Conversation, number: int) -> None:
        self.role = role
        #: A user's turn has the time of its beginning, an assistant's that of its end: what lies
        #: between these two is the pause between two exchanges.
        self.time = time
        self._parts = [text]
        self._bytes = len(text)
        self._piece, self._number = piece, number

    def join(self, text: str, time: Any) -> None:
        self._parts.append(text)
        self._bytes += len(text)
        if self._bytes > MAX_TURN_CHARACTERS:
            raise RejectedUpload(
                f"One side speaks {MAX_TURN_CHARACTERS:,} characters on end without a reply",
                place=f"turns of the {self.role}, joined",
                fix="Check whose voice is learned (`speaker`), or split the file.",
            )
        if time is not None and (self.role == "assistant" or self.time is None):
            self.time = time

    def text(self) -> str:
        return self._parts[0] if len(self._parts) == 1 else _JOINT.join(self._parts)

    def offset(self) -> int | None:
        return self._piece.offset(self._number)
