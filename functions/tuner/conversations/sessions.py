"""Dialogues cut into examples: whole, where time passed, or one exchange at a time.

The cut comes after the canonical reading: however a dialogue is cut, its pairs are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

from tuner.conversations.model import Conversation, Dialogues, Exchanges, Turn
from tuner.conversations.times import seconds

D = TypeVar("D", bound=Dialogues)

#: How a dialogue becomes examples.
Cut = Literal["sessions", "conversations", "pairs"]

#: A pause of more than this between a reply and the next prompt begins another session.
PAUSE_SECONDS = 30 * 60

#: An example that would grow beyond this is cut, at the end of an exchange: no history is too long
#: to be read, and no model reads one this long.
MAX_EXAMPLE_CHARACTERS = 16 << 20


#: What is learned together: alternating turns, user first, assistant last, and a system prompt.
Example = Conversation


class Cutter:
    """Cuts canonical dialogues, pieces of long ones joined again, into examples."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._turns: list[Turn] = []
        self._times: list[Any] = []
        self._characters = 0
        self._system: str | None = None
        self._clock = Pauses()
        #: Dialogues that were cut only because of their length.
        self.too_long = 0

    def examples(self, dialogues: Iterable[D]) -> Iterator[Example | D]:
        """Every pair of every dialogue in exactly one example, in order.

        Exchanges are an example each, however dialogues are cut, and pass as they are.
        """
        one_by_one, pauses = self._cut == "pairs", self._cut == "sessions"
        for dialogue in dialogues:
            if isinstance(dialogue, Exchanges):
                yield from self._give()
                yield dialogue
                continue
            turns = dialogue.turns
            if (dialogue.starts and dialogue.ends) and (
                len(turns) == 2 or not (one_by_one or (pauses and _has_pause(dialogue.times)))
            ):
                yield from self._give()
                yield dialogue
            elif one_by_one:
                times = dialogue.times
                for start in range(0, len(turns), 2):
                    of_pair = None if times is None else times[start : start + 2]
                    yield Example(turns[start : start + 2], of_pair, system=dialogue.system)
            else:
                yield from self._take(dialogue, cut_at_pauses=pauses)
        yield from self._give()

    def _take(self, piece: Conversation, *, cut_at_pauses: bool) -> Iterator[Example]:
        times = piece.times
        if piece.starts:
            yield from self._give()
            self._system, self._clock = piece.system, Pauses()
        for start in range(0, len(piece.turns), 2):
            if (
                cut_at_pauses
                and times is not None
                and self._clock.is_after_a_pause(times[start], times[start + 1])
            ):
                yield from self._give()
            pair = piece.turns[start : start + 2]
            self._turns += pair
            if times is not None:
                self._times += times[start : start + 2]
            self._characters += len(pair[0].content) + len(pair[1].content)
            if self._characters > MAX_EXAMPLE_CHARACTERS:
                self.too_long += 1
                yield from self._give()
        if piece.ends:
            yield from self._give()

    def _give(self) -> Iterator[Example]:
        """What is held, if anything."""
        if self._turns:
            times = self._times if len(self._times) == len(self._turns) else None
            yield Example(self._turns, times, system=self._system)
            self._turns, self._times, self._characters = [], [], 0


def _has_pause(times: list[Any] | None) -> bool:
    """Whether time passed between a reply of a whole dialogue and the next prompt."""
    if times is None:
        return False
    clock = Pauses()
    exchanges = zip(times[::2], times[1::2], strict=True)
    return any(clock.is_after_a_pause(prompt, reply) for prompt, reply in exchanges)


class Pauses:
    """Looks at the exchanges of one history in order, and sees where time passed."""

    def __init__(self) -> None:
        self._ended: float | None = None

    def is_after_a_pause(self, prompt_time: Any, reply_time: Any) -> bool:
        """Whether time passed between the last reply and this prompt."""
        began, ended = seconds(prompt_time), seconds(reply_time)
        before, self._ended = self._ended, began if ended is None else ended
        return began is not None and before is not None and began - before > PAUSE_SECONDS
