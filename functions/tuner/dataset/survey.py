"""What only the whole corpus shows: replies that come back, replies that are cut, its languages.

A survey sees every pair once, in a few bytes for each, and then judges single pairs. What is said
of a persona's habits here decides what counts as unusual: a full stop at the end proves nothing
about somebody who never writes one.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property

from xxhash import xxh3_64_intdigest

from tuner.dataset.endings import Ending, ending
from tuner.dataset.pairs import FEW, Pair
from tuner.dataset.words import SHORT_FOR

#: One reply to so many different prompts is no reply to any of them.
_CANNED_PROMPTS = 3
#: A short reply ("love you too") is a habit unless it makes up so much of the corpus.
_SHORT_WORDS = 4
_SHORT_SHARE = 0.05
#: Replies of exactly the greatest length, from which on a limit has cut them.
_MANY_AT_THE_LIMIT = 5
#: An ending of a kind that more replies than this have is this persona's habit.
_HABIT_SHARE = 0.25
#: The corpus' own words are learned from so many pairs, to tell a cut word from a rare one.
_VOCABULARY_PAIRS = 2_000

_WORDS = re.compile(r"[^\W\d_]{2,}")

#: A language's common words, in lower case; asked for only when a reply may be cut within a word.
CommonWords = Callable[[], frozenset[str]]


class Survey:
    """Takes every pair of a corpus once; then says what is canned and what is cut."""

    def __init__(self, common_words: CommonWords = frozenset) -> None:
        """`common_words` are known beside those of the corpus."""
        self.pairs = 0
        self._replies = array("Q")
        self._prompts = array("Q")
        self._endings: Counter[int] = Counter()
        #: How each reply ends, a byte each.
        self._kinds = bytearray()
        self._common_words = common_words
        self._words: Counter[str] = Counter()
        self._longest = 0
        #: How the longest ones end: what a limit cuts ends anywhere, unlike a form letter.
        self._last_endings: set[str] = set()
        #: Replies to many prompts, and how often each was given.
        self._canned: dict[int, int] = {}

    def see(self, pair: Pair) -> None:
        """Remember what matters of one pair."""
        reply = pair.assistant
        self.pairs += 1
        self._replies.append(_same(reply))
        self._prompts.append(_same(pair.user))
        kind = ending(reply)
        self._endings[kind] += 1
        self._kinds.append(kind)
        if len(reply) >= self._longest:
            if len(reply) > self._longest:
                self._longest = len(reply)
                self._last_endings.clear()
            if len(self._last_endings) < _MANY_AT_THE_LIMIT:
                self._last_endings.add(reply[-12:])
        if self.pairs <= _VOCABULARY_PAIRS:
            self._words.update(_WORDS.findall(reply.lower()))
            self._words.update(_WORDS.findall(pair.user.lower()))

    def finish(self) -> None:
        """All pairs were seen."""
        self._canned = _replies_to_many(self._replies, self._prompts)
        self._replies = self._prompts = array("Q")

    def is_canned(self, pair: Pair) -> bool:
        """Whether the reply was given to at least three different prompts."""
        if not self._canned or (key := _same(pair.assistant)) not in self._canned:
            return False
        words = len(pair.assistant.split())
        if words == 1:
            return False
        if words >= _SHORT_WORDS:
            return True
        return self._canned[key] >= _SHORT_SHARE * self.pairs

    def is_cut(self, number: int, reply: str) -> bool:
        """Whether a reply breaks off: in a way that is unusual here, or at a limit.

        `number` counts the pairs in the order in which they were seen.
        """
        if len(reply) == self._longest > 80 and len(self._last_endings) >= _MANY_AT_THE_LIMIT:
            return True
        kind = self._kinds[number]
        if kind <= Ending.CLOSED:
            return False
        if kind == Ending.MID_CLAUSE:
            return self._share(Ending.MID_CLAUSE) <= _HABIT_SHARE
        return self._share(Ending.OPEN) <= _HABIT_SHARE and self._is_cut_word(reply)

    def _share(self, kind: Ending) -> float:
        return self._endings[kind] / max(1, self.pairs)

    def _is_cut_word(self, reply: str) -> bool:
        """Whether the last word is none, and the beginning of one."""
        word = last_word(reply)
        if word is None or len(word) < 3 or not word.islower() or word in SHORT_FOR:
            return False
        if word in self._known or self._words[word] > 1:
            return False
        return word in self._beginnings

    @cached_property
    def _known(self) -> set[str]:
        return {*self._common_words(), *(word for word, n in self._words.items() if n > 1)}

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        """A word that was cut is the beginning of a word that was not."""
        return _beginnings({*self._known, *self._words})


def last_word(reply: str) -> str | None:
    """The last word when it has only letters, and a sentence stands before it."""
    words = reply.rsplit(None, 1)
    return words[1] if len(words) == 2 and words[1].isalpha() and len(reply) >= 40 else None


def _same(text: str) -> int:
    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def _beginnings(words: Iterable[str]) -> frozenset[str]:
    """Every proper beginning, of three letters and more, of the words."""
    return frozenset(word[:end] for word in words for end in range(3, len(word)))


def _replies_to_many(replies: array[int], prompts: array[int]) -> dict[int, int]:
    """Replies that answer at least three different prompts, and how often each was given."""
    often = _often(replies)
    answered: dict[int, set[int]] = {}
    for reply, prompt in zip(replies, prompts, strict=True) if often else ():
        if reply in often:
            asked = answered.setdefault(reply, set())
            if len(asked) < _CANNED_PROMPTS:
                asked.add(prompt)
    return {r: often[r] for r, asked in answered.items() if len(asked) >= _CANNED_PROMPTS}


def _often(replies: array[int]) -> dict[int, int]:
    """Replies that were given at least three times, and how often."""
    if len(replies) <= FEW:
        counts = Counter(replies)
        return {reply: times for reply, times in counts.items() if times >= _CANNED_PROMPTS}
    import numpy as np

    found, times = np.unique(np.frombuffer(replies, dtype=np.uint64), return_counts=True)
    is_often = times >= _CANNED_PROMPTS
    return dict(zip(found[is_often].tolist(), times[is_often].tolist(), strict=True))
