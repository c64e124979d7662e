"""Pairs that say nearly the same: MinHash finds candidates, their words decide.

Broder, "On the resemblance and containment of documents" (1997). Two pairs are near-duplicates when
at least 0.9 of their words are the same, and never when numbers or names differ: "your birthday is
May 3" and "your birthday is May 8" are two facts.
"""

from __future__ import annotations

import re
from array import array

from rensa import RMinHash, RMinHashLSH
from xxhash import xxh3_64_hexdigest

from tuner.dataset.pairs import Pair
from tuner.dataset.words import NUMBER_WORDS, STARTERS

THRESHOLD = 0.9
#: Twelve bands of eight: 99.9 % of the pairs that are 0.9 alike become candidates.
_PERMUTATIONS = 96
_BANDS = 12
_SEED = 1
#: Each pair in the index takes about a kilobyte; beyond this many, only exact duplicates are found.
MAX_PAIRS = 250_000
#: So many pairs are compared with one at most.
_MAX_CANDIDATES = 32
_NO_WORDS = array("q")
#: Fewer words than these differ by one in ten only when they are the same.
_MIN_WORDS = 5

_WORDS = re.compile(r"\w+(?:['’]\w+)?")
_FACTS = re.compile(r"\b(?:\d[\w.,:/]*|[^\W\d_a-z]\w*)", re.UNICODE)


class NearDuplicates:
    """An index of the pairs that were kept."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._index = RMinHashLSH(threshold=THRESHOLD, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        self._words: list[array[int]] = []
        #: Pairs that were not compared, since the index was full.
        self.beyond = 0

    def find(self, pair: Pair) -> int | None:
        """Which pair that was added before says nearly the same, by its number; else add it."""
        if len(self._words) >= self._max_pairs:
            self.beyond += 1
            return None
        text = f"{pair.user}\n{pair.assistant}"
        words = set(_WORDS.findall(text.lower()))
        if len(words) < _MIN_WORDS:
            self._words.append(_NO_WORDS)
            return None
        facts = _facts(text, words)
        minhash = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        # With the facts in every word, texts of other facts never become candidates: a form letter
        # with a thousand numbers costs no more than a thousand letters.
        minhash.update([facts + word for word in words])
        candidates = self._index.query(minhash)
        own = set(map(hash, words))
        for number in sorted(candidates)[:_MAX_CANDIDATES]:
            if _alike(own, self._words[number]):
                return int(number)
        self._index.insert(len(self._words), minhash)
        self._words.append(array("q", own))
        return None


def _alike(words: set[int], others: array[int]) -> bool:
    smaller, larger = sorted((len(words), len(others)))
    if smaller < THRESHOLD * larger:
        return False
    common = len(words.intersection(others))
    return common >= THRESHOLD * (len(words) + len(others) - common)


def _facts(text: str, words: set[str]) -> str:
    """The numbers and names of a text, and the small words that change its sense, hashed."""
    found = {fact.lower().rstrip(".,:") for fact in _FACTS.findall(text)} - STARTERS
    facts = "\0".join(sorted(found | (words & NUMBER_WORDS)))
    return xxh3_64_hexdigest(facts.encode("utf-8", "surrogatepass"))
