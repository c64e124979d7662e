"""What is held out to prove the adapter with, so that nothing of it is ever trained on.

The unit is a session: one that began is never on both sides. Where an upload is one long history
(a rolling window), the unit is the pair. A unit is held out when its hash falls below 10 %, so that
the same unit is held out as the corpus grows; at least three pairs are, by the lowest hashes. What
was held out once stays held out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise

#: Fewer pairs than this teach nothing and prove nothing.
MIN_PAIRS = 8
MIN_HELD_OUT = 3
_HELD_OUT_FRACTION = 0.1
#: A session with a greater part of its upload's pairs than this is never held out.
_MAX_UNIT_SHARE = 0.25


def splits_by_session(sizes: Iterable[int]) -> bool:
    """Whether an upload with sessions of these sizes, in pairs, can be split between sessions.

    Not when each of them is too large a part of it: then it is a rolling history.
    """
    found = list(sizes)
    return bool(found) and min(found) <= _MAX_UNIT_SHARE * sum(found)


class Split:
    """Takes the pairs of a corpus in order, then says for each whether it is held out."""

    def __init__(self) -> None:
        self.segment_starts: list[int] = []
        self._by_session = False
        self._session: int | None = None
        self._unit_of = array("I")
        self._positions = array("d")
        self._kept = array("I")
        self._sticky = bytearray()
        self._segment_of = array("I")

    def begin(self, *, by_session: bool) -> None:
        """The pairs that follow are another segment's."""
        self.segment_starts.append(len(self._unit_of))
        self._by_session, self._session = by_session, None

    def add(self, session: int, text: int, *, kept: bool, sticky: bool) -> None:
        """One pair; `text` is its `text_key`, `sticky` whether it was held out before."""
        if not self._by_session or session != self._session:
            self._session = session
            self._positions.append(text / 2**64)
            self._kept.append(0)
            self._sticky.append(0)
            self._segment_of.append(len(self.segment_starts) - 1)
        unit = len(self._positions) - 1
        self._unit_of.append(unit)
        self._kept[unit] += kept
        self._sticky[unit] |= sticky

    def decide(self) -> bytearray:
        """For each pair 1 if its unit is held out, else 0."""
        sizes = self._segment_sizes()
        held_out = bytearray(self._sticky)
        found = 0
        spare: list[tuple[float, int]] = []
        for unit, position in enumerate(self._positions):
            kept = self._kept[unit]
            too_large = self._is_too_large(unit, kept, sizes)
            if not too_large and position < _HELD_OUT_FRACTION:
                held_out[unit] = 1
            if held_out[unit]:
                found += kept
            elif kept and not too_large:
                spare.append((position, unit))
        if found < MIN_HELD_OUT:
            for _, unit in sorted(spare):
                held_out[unit] = 1
                found += self._kept[unit]
                if found >= MIN_HELD_OUT:
                    break
        return bytearray(held_out[unit] for unit in self._unit_of)

    def segment_spans(self) -> list[tuple[int, int]]:
        """Where each segment's pairs begin and end."""
        bounds = (*self.segment_starts, len(self._unit_of))
        return list(pairwise(bounds))

    def _segment_sizes(self) -> list[int]:
        return [end - start for start, end in self.segment_spans()]

    def _is_too_large(self, unit: int, kept: int, sizes: list[int]) -> bool:
        return kept > 1 and kept > _MAX_UNIT_SHARE * sizes[self._segment_of[unit]]
