"""Which pairs are held out: chosen by content, so that the same pairs always split alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tuner.conversations.sessions import Example

#: Fewer pairs than this teach nothing and prove nothing.
MIN_PAIRS = 8
MIN_HELD_OUT = 3
_HELD_OUT_FRACTION = 0.1


def position(pair: Example) -> float:
    """Where a pair falls on [0, 1), from what was said alone."""
    text = "\0".join(turn.content for turn in pair.turns)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def is_held_out(position: float) -> bool:
    """Whether a pair of a large corpus is held out: below 10 %, and it stays so as that grows."""
    return position < _HELD_OUT_FRACTION


def held_out(positions: Sequence[float]) -> set[int]:
    """Which pairs of a whole corpus are held out, as indices into `positions`.

    What is below 10 %, filled up by the lowest positions to at least three pairs.
    """
    by_position = sorted(range(len(positions)), key=positions.__getitem__)
    below = sum(1 for found in positions if is_held_out(found))
    return set(by_position[: max(below, MIN_HELD_OUT)])
