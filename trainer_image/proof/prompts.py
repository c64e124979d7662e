"""The prompt that an adapter must beat: the persona's own system text, or a description of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from proof.plan import Pair
from proof.shipped import foreign_styles, neutral_items
from proof.speech import words_of

Origin = Literal["the persona's own", "described from its replies"]

#: Words that are named in a description.
_NAMED_WORDS = 6
#: A word is the persona's own only when so many of its replies have it.
_MIN_REPLIES = 2


def persona_prompt(pairs: Sequence[Pair]) -> tuple[str, Origin]:
    """The system text that most rows carry; else one sentence about length and words.

    The description knows all pairs, also those that are judged: where that helps, it helps the
    prompt against the adapter.
    """
    systems = Counter(pair.system for pair in pairs if pair.system)
    if systems:
        return systems.most_common(1)[0][0], "the persona's own"
    return _described([pair.reply for pair in pairs]), "described from its replies"


def _described(replies: Sequence[str]) -> str:
    lengths = sorted(len(words_of(reply)) for reply in replies)
    middle = lengths[len(lengths) // 2]
    sentence = f"Answer as this persona does, in about {max(1, middle)} words"
    named = _own_words(replies)
    if named:
        sentence += f", with words such as {', '.join(named)}"
    return sentence + "."


def _own_words(replies: Sequence[str]) -> list[str]:
    """Words that the persona's replies have and plain texts have not, the most telling first."""
    plain = Counter(
        word
        for text in (*foreign_styles(), *(answer for _, answer in neutral_items()))
        for word in set(words_of(text))
    )
    own = Counter(word for reply in replies for word in set(words_of(reply)) if len(word) > 2)

    def telling(word: str) -> float:
        return own[word] * math.log(1 + own[word] / (1 + plain[word]))

    known = [word for word, count in own.items() if count >= _MIN_REPLIES]
    return sorted(known, key=lambda word: (-telling(word), word))[:_NAMED_WORDS]
