"""Which pairs are held out: chosen by content, so that the same pairs always split alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tuner.dataset.curation import Pair

#: Fewer pairs than this teach nothing and prove nothing.
MIN_PAIRS = 8
_MIN_HELD_OUT = 3
_HELD_OUT_FRACTION = 0.1


def _position(pair: Pair) -> float:
    """Where a pair falls on [0, 1), from its text alone."""
    digest = hashlib.sha256("\0".join(pair).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """(train, held out), both in the order of `pairs`.

    Held out is what hashes below 10 %, filled up by lowest hash to at least three pairs. As a
    persona's corpus grows, what was held out below 10 % stays held out.
    """
    by_hash = sorted(pairs, key=_position)
    below = sum(1 for pair in by_hash if _position(pair) < _HELD_OUT_FRACTION)
    held_out = set(by_hash[: max(below, _MIN_HELD_OUT)])
    train = [pair for pair in pairs if pair not in held_out]
    return train, [pair for pair in pairs if pair in held_out]
