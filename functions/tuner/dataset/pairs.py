"""A persona's memory, one pair after the other: what was asked, what was replied, when, and where.

The lines of a segment (`segments.py`) are these. A pair is itself, whichever upload brought it: its
identity is its time and its text where there is a time, else its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from xxhash import xxh3_64_intdigest

from tuner.conversations.model import Dialogues, Exchanges
from tuner.conversations.sessions import Cutter, Pauses
from tuner.conversations.times import seconds

#: Up to so many pairs, plain Python is done before numpy is imported.
FEW = 256

_64_BITS = (1 << 64) - 1
#: Spreads whole milliseconds over 64 bits (2^64 divided by the golden ratio).
_SPREAD = 0x9E3779B97F4A7C15


class Pair(msgspec.Struct, gc=False, omit_defaults=True):
    """A prompt and its reply, canonical; `session` numbers the sessions of its upload from 0."""

    user: str
    assistant: str
    session: int = 0
    #: When the prompt was said: seconds since 1970; None where the export does not say.
    time: float | None = None
    system: str | None = None
    #: What was redacted in it: kind of secret and how many.
    redacted: dict[str, int] | None = None


def text_key(pair: Pair) -> int:
    """64 bits of a hash of what was said."""
    return xxh3_64_intdigest(f"{pair.user}\0{pair.assistant}".encode("utf-8", "surrogatepass"))


def identity(pair: Pair, text: int) -> int:
    """64 bits that stand for the pair; `text` is its `text_key`."""
    if pair.time is None:
        return text
    return text ^ (round(pair.time * 1000) * _SPREAD & _64_BITS)


def pair_id(identity: int) -> str:
    """An identity as people and `tuner forget` write it: 16 hexadecimal digits."""
    return f"{identity:016x}"


def pairs_of(dialogues: Iterable[Dialogues]) -> Iterator[Pair]:
    """Every pair of canonical dialogues, in order, with the session that it belongs to.

    A session ends where a dialogue does, and where more than 30 minutes passed. Exchanges that have
    times are one history: they are a log of what was said one after the other.
    """
    session, clock = -1, Pauses()
    for example in Cutter("sessions").examples(dialogues):
        if isinstance(example, Exchanges):
            for number, (prompt, reply) in enumerate(
                zip(example.prompts, example.replies, strict=True)
            ):
                time = None if example.times is None else seconds(example.times[number])
                if time is None or session < 0 or clock.is_after_a_pause(time, time):
                    session += 1
                yield Pair(prompt, reply, session, time)
            continue
        session, clock = session + 1, Pauses()
        turns, times = example.turns, example.times
        for start in range(0, len(turns), 2):
            time = None if times is None else seconds(times[start])
            yield Pair(
                turns[start].content, turns[start + 1].content, session, time, example.system
            )
