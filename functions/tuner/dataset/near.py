"""Pairs that say nearly the same: MinHash finds suspects, their words decide.

Two pairs are near-duplicates when at least 0.9 of their words are the same, and 0.8 of their words
with the next one: who loves whom is in the order. Never when numbers or names differ: "your
birthday is May 3" and "your birthday is May 8" are two facts.

Of a large corpus a sketch is kept of every pair, 48 bytes. Only pairs whose sketches meet somewhere
are suspects, and only these are compared, word by word, in the second pass over the corpus. Of a
small one every pair is a suspect of every other.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from tuner.dataset.pairs import FEW, Pair
from tuner.dataset.words import NUMBER_WORDS, STARTERS

if TYPE_CHECKING:
    from tuner.dataset.sketching import Bands

THRESHOLD = 0.9
#: One word in twenty that differs, all apart, leaves 0.81 of the neighbours.
_NEIGHBOURS = 0.8
_BLOCK = 512

#: A sketch takes 48 bytes; pairs beyond this many are not looked at.
MAX_PAIRS = 4_000_000
#: A suspect takes about half a kilobyte; beyond this many only exact duplicates are found.
MAX_SUSPECTS = 250_000
#: So many suspects are compared with one at most.
_MAX_CANDIDATES = 32
#: Fewer words than these differ by one in ten only when they are the same.
MIN_WORDS = 5

_NOT_A_WORD = str.maketrans(dict.fromkeys('\n\t.,;:!?"()[]{}<>*_~`#|/\\+=…—–“”„«»', " "))
_FACTS = re.compile(r"\b(?:\d[\w.,:/]*|[^\W\d_a-z]\w*)", re.UNICODE)


class Sketches:
    """What is kept of every pair of a corpus, in order; then, which of them are suspects."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._waiting: list[bytes] = []
        self._blocks: list[Bands] = []
        self.seen = 0

    def see(self, pair: Pair) -> None:
        self.seen += 1
        if self.seen <= self._max_pairs:
            text = f"{pair.user}\n{pair.assistant}"
            self._waiting.append(text.lower().encode("utf-8", "surrogatepass"))
            if len(self._waiting) >= _BLOCK:
                self._sketch()

    def _sketch(self) -> None:
        from tuner.dataset.sketching import sketch  # numpy costs a start a tenth of a second

        self._blocks.append(sketch(self._waiting))
        self._waiting = []

    def suspects(self, max_suspects: int = MAX_SUSPECTS) -> Suspects:
        """The pairs whose sketch meets another's in a band; of few pairs, all."""
        unseen = max(0, self.seen - self._max_pairs)
        if self.seen <= min(FEW, max_suspects):
            texts, self._waiting = self._waiting, []
            return Suspects(
                numbers=[n for n, text in enumerate(texts) if len(text.split()) >= MIN_WORDS],
                meets_at=None,
                beyond=unseen,
            )
        if self._waiting:
            self._sketch()
        if not self._blocks:
            return Suspects(numbers=[], meets_at=None, beyond=unseen)
        from tuner.dataset.sketching import meeting

        blocks, self._blocks = self._blocks, []
        numbers, bands, beyond = meeting(blocks, max_suspects)
        return Suspects(numbers=numbers, meets_at=bands, beyond=beyond + unseen)


class Suspects:
    """Compares the suspects of a corpus, each with those before it that were kept."""

    def __init__(self, *, numbers: Sequence[int], meets_at: Bands | None, beyond: int) -> None:
        """`meets_at` are the suspects' bands; None: each meets all others."""
        #: Pairs that are not compared, since they are too many.
        self.beyond = beyond
        self._place = {number: place for place, number in enumerate(numbers)}
        self._bands = meets_at
        self._most = len(numbers) if meets_at is None else _MAX_CANDIDATES
        #: Kept suspects by band and what stands in it.
        self._meeting: dict[int, list[int]] = {}
        #: Of each: hashes of its words, of its words with the next one, and of its facts.
        self._kept: dict[int, tuple[array[int], array[int], int]] = {}

    def find(self, number: int, pair: Pair) -> int | None:
        """The number of a kept pair that says nearly the same; else this one is kept."""
        place = self._place.get(number)
        if place is None:
            return None
        words = _words(pair)
        own, neighbours = _hashes(words), _hashes(pairwise(words))
        facts = _facts(pair, set(words))
        keys = self._keys(place)
        compared: set[int] = set()
        for key in keys:
            for other in self._meeting.get(key, ())[-self._most :]:
                if other in compared:
                    continue
                compared.add(other)
                their_words, their_neighbours, their_facts = self._kept[other]
                if (
                    their_facts == facts
                    and _alike(own, their_words, THRESHOLD)
                    and _alike(neighbours, their_neighbours, _NEIGHBOURS)
                ):
                    return other
        self._kept[number] = (array("I", own), array("I", neighbours), facts)
        for key in keys:
            self._meeting.setdefault(key, []).append(number)
        return None

    def _keys(self, place: int) -> list[int]:
        if self._bands is None:
            return [0]
        return [(band << 32) | value for band, value in enumerate(self._bands[place].tolist())]


def _hashes(items: Iterable[Hashable]) -> set[int]:
    """32 bits of each, which is plenty among the words of two pairs."""
    return {hash(item) & 0xFFFFFFFF for item in items}


def _alike(these: set[int], others: array[int], at_least: float) -> bool:
    smaller, larger = sorted((len(these), len(others)))
    if smaller < at_least * larger:
        return False
    common = len(these.intersection(others))
    return common >= at_least * (len(these) + len(others) - common)


def _words(pair: Pair) -> list[str]:
    return f"{pair.user}\n{pair.assistant}".lower().translate(_NOT_A_WORD).split()


def _facts(pair: Pair, words: set[str]) -> int:
    """A hash of the numbers and names of a pair, and of the small words that change its sense."""
    text = f"{pair.user}\n{pair.assistant}"
    found = {fact.lower().rstrip(".,:") for fact in _FACTS.findall(text)} - STARTERS
    facts = "\0".join(sorted(found | (words & NUMBER_WORDS)))
    return xxh3_64_intdigest(facts.encode("utf-8", "surrogatepass"))
