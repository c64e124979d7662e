"""What replies look like: how they repeat themselves, how many differ, how long they are.

All of it works on words of any script with spaces; a script without them (Chinese, Japanese, Thai)
is cut into characters instead, so that repetition is still seen there.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from proof.types import Speech

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_REPEATED_WORDS = 4
_MOST_COMMON = 100


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; single characters in scripts without spaces."""
    words: list[str] = []
    for word in _WORD.findall(text.lower()):
        words.extend(word if _UNSPACED.search(word) else [word])
    return words


def repetition(text: str) -> float:
    """Part of the word 4-grams that stood in the text before; of a short text, of its words.

    "dear dear dear" has too few words for a 4-gram and repeats itself all the same.
    """
    words = words_of(text)
    size = _REPEATED_WORDS
    if len(words) < 2 * size:
        run = _longest_run(words)
        return (run - 1) / len(words) if run >= 3 else 0.0
    grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    return 1 - len(set(grams)) / len(grams)


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile by linear interpolation between the sorted values."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def common_words(replies: Sequence[str]) -> frozenset[str]:
    """The persona's most common words: what its language is made of."""
    counts = Counter(word for reply in replies for word in words_of(reply))
    return frozenset(word for word, _ in counts.most_common(_MOST_COMMON))


def normalised(text: str) -> str:
    """A text as it is compared with others: letters and digits, in lower case."""
    return " ".join(words_of(text))


def speech_of(replies: Sequence[str], *, limit: float, common: frozenset[str]) -> Speech:
    """Figures of replies; `limit` is the persona's own percentile of repetition."""
    repetitions = [repetition(reply) for reply in replies]
    words = [words_of(reply) for reply in replies]
    flat = [word for each in words for word in each]
    pairs = [pair for each in words for pair in itertools.pairwise(each)]
    return Speech(
        replies=len(replies),
        repetition=_mean(repetitions),
        over_limit=sum(value > limit for value in repetitions),
        distinct_share=len({" ".join(each) for each in words}) / max(1, len(replies)),
        distinct_2=len(set(pairs)) / max(1, len(pairs)),
        words=_mean([float(len(each)) for each in words]),
        common_words=sum(word in common for word in flat) / max(1, len(flat)),
        empty=sum(not reply.strip() for reply in replies),
    )


def _longest_run(words: Sequence[str]) -> int:
    longest = run = 1 if words else 0
    for before, word in itertools.pairwise(words):
        run = run + 1 if word == before else 1
        longest = max(longest, run)
    return longest


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
