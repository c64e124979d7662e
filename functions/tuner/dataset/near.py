"""Pairs that say nearly the same: MinHash finds suspects, their words decide.

Broder, "On the resemblance and containment of documents" (1997). Two pairs are near-duplicates when
at least 0.9 of their words are the same, and never when numbers or names differ: "your birthday is
May 3" and "your birthday is May 8" are two facts.

A sketch sees every pair once and keeps 48 bytes of it. It is made of shingles: the twelve bytes
that follow the beginning of each word, so that two texts of the same common words share next to
none. Only pairs whose sketches meet somewhere are suspects, and only these are compared, word by
word, in the second pass over the corpus.
"""

from __future__ import annotations

import re
from array import array

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash
from xxhash import xxh3_64_intdigest

from tuner.dataset.pairs import Pair
from tuner.dataset.words import NUMBER_WORDS, STARTERS

THRESHOLD = 0.9
#: Twelve bands of five: of pairs that are just 0.9 alike in words, some 0.82 in shingles, 99 %
#: become suspects; of pairs that share one shingle in fifty, one in 26 million.
_BANDS = 12
_ROWS = 5
_SEED = 1
_BLOCK = 512
_SHINGLE_BYTES = 12
#: Odd numbers that mix what a hash is made of into 64 bits.
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
     0x85EBCA77C2B2AE63],
    dtype=np.uint64,
)  # fmt: skip

#: A sketch takes 48 bytes; pairs beyond this many are not looked at.
MAX_PAIRS = 4_000_000
#: A suspect takes about half a kilobyte; beyond this many only exact duplicates are found.
MAX_SUSPECTS = 250_000
#: So many suspects are compared with one at most.
_MAX_CANDIDATES = 32
#: Fewer words than these differ by one in ten only when they are the same.
_MIN_WORDS = 5

_NOT_A_WORD = str.maketrans(dict.fromkeys('\n\t.,;:!?"()[]{}<>*_~`#|/\\+=…—–“”„«»', " "))
_FACTS = re.compile(r"\b(?:\d[\w.,:/]*|[^\W\d_a-z]\w*)", re.UNICODE)


class Sketches:
    """What is kept of every pair of a corpus, in order; then, which of them are suspects."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._waiting: list[bytes] = []
        self._blocks: list[NDArray[np.uint32]] = []
        self.seen = 0

    def see(self, pair: Pair) -> None:
        self.seen += 1
        if self.seen <= self._max_pairs:
            text = f"{pair.user}\n{pair.assistant}"
            self._waiting.append(text.lower().encode("utf-8", "surrogatepass"))
            if len(self._waiting) >= _BLOCK:
                self._sketch()

    def _sketch(self) -> None:
        hashes, ends = _shingles(self._waiting)
        digests = RMinHash.digest_matrix_from_flat_token_hashes(
            hashes, ends, num_perm=_BANDS * _ROWS, seed=_SEED
        )
        rows = np.array(digests.to_rows(), dtype=np.uint64).reshape(-1, _BANDS, _ROWS)
        bands = ((rows + np.uint64(1)) * _MIX).sum(axis=2, dtype=np.uint64)
        bands >>= np.uint64(32)
        bands[np.diff(ends) < _MIN_WORDS] = 0
        self._blocks.append(bands.astype(np.uint32))
        self._waiting = []

    def suspects(self, max_suspects: int = MAX_SUSPECTS) -> Suspects:
        """The pairs whose sketch meets another's in a band."""
        if self._waiting:
            self._sketch()
        bands = np.concatenate(self._blocks) if self._blocks else np.empty((0, _BANDS), np.uint32)
        self._blocks = []
        meets = np.zeros(len(bands), dtype=bool)
        for band in range(_BANDS):
            column = bands[:, band]
            ordered = np.sort(column)
            repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            meets |= np.isin(column, repeated) & (column != 0)
        numbers = np.flatnonzero(meets)
        taken = numbers[:max_suspects]
        return Suspects(
            numbers=taken.tolist(),
            bands=bands[taken],
            beyond=len(numbers) - len(taken) + max(0, self.seen - self._max_pairs),
        )


class Suspects:
    """Compares the suspects of a corpus, each with those before it that were kept."""

    def __init__(self, *, numbers: list[int], bands: NDArray[np.uint32], beyond: int) -> None:
        #: Pairs that are not compared, since they are too many.
        self.beyond = beyond
        self._place = {number: place for place, number in enumerate(numbers)}
        self._bands = bands
        #: Kept suspects by band and what stands in it.
        self._meeting: dict[int, list[int]] = {}
        self._words: dict[int, tuple[array[int], int]] = {}

    def find(self, number: int, pair: Pair) -> int | None:
        """The number of a kept pair that says nearly the same; else this one is kept."""
        place = self._place.get(number)
        if place is None:
            return None
        words = _words(pair)
        own = set(map(hash, words))
        facts = _facts(pair, words)
        keys = [(band << 32) | value for band, value in enumerate(self._bands[place].tolist())]
        compared: set[int] = set()
        for key in keys:
            for other in self._meeting.get(key, ())[-_MAX_CANDIDATES:]:
                if other in compared:
                    continue
                compared.add(other)
                their_words, their_facts = self._words[other]
                if their_facts == facts and _alike(own, their_words):
                    return other
        self._words[number] = (array("q", own), facts)
        for key in keys:
            self._meeting.setdefault(key, []).append(number)
        return None


def _shingles(texts: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """A hash for each word's beginning and what follows it; and where each text's begin and end."""
    gap = bytes(_SHINGLE_BYTES)  # no shingle reaches into the next text
    joined = gap.join((b"", *texts, b""))
    is_space = np.frombuffer(joined, dtype=np.uint8) <= 32
    begins = np.flatnonzero(is_space[:-1] & ~is_space[1:]) + 1
    # Eight bytes from every place on, and another eight that overlap them.
    eights = np.ndarray((len(joined) - 7,), dtype="<u8", buffer=joined, strides=(1,))
    hashes = eights[begins] * _MIX[0] + eights[begins + (_SHINGLE_BYTES - 8)] * _MIX[1]
    lengths = np.array([len(text) + _SHINGLE_BYTES for text in texts])
    ends = np.searchsorted(begins, np.concatenate(([0], lengths.cumsum())) + _SHINGLE_BYTES)
    return hashes ^ (hashes >> np.uint64(29)), ends.astype(np.uint64)


def _alike(words: set[int], others: array[int]) -> bool:
    smaller, larger = sorted((len(words), len(others)))
    if smaller < THRESHOLD * larger:
        return False
    common = len(words.intersection(others))
    return common >= THRESHOLD * (len(words) + len(others) - common)


def _words(pair: Pair) -> set[str]:
    return set(f"{pair.user}\n{pair.assistant}".lower().translate(_NOT_A_WORD).split())


def _facts(pair: Pair, words: set[str]) -> int:
    """A hash of the numbers and names of a pair, and of the small words that change its sense."""
    text = f"{pair.user}\n{pair.assistant}"
    found = {fact.lower().rstrip(".,:") for fact in _FACTS.findall(text)} - STARTERS
    facts = "\0".join(sorted(found | (words & NUMBER_WORDS)))
    return xxh3_64_intdigest(facts.encode("utf-8", "surrogatepass"))
