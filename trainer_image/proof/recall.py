"""Whether what the persona said comes back when it is asked the same again; shown, never gated.

A memory is more than words: a reply may tell the same story in others, and this says it forgot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from proof.speech import words_of
from proof.types import Recall

#: Shorter words carry no memory.
_LETTERS = 4
#: A word in more of the replies than this is the persona's manner, not one of its memories.
_MOST_REPLIES = 2


def recall_of(
    prompts: Sequence[str],
    references: Sequence[str],
    base: Sequence[str],
    tuned: Sequence[str],
    *,
    everything: Sequence[str],
) -> Recall:
    """Mean part of each reference's particular words (those that few of `everything`, the persona's
    replies, have and the prompt has not) in the replies of base and tuned.
    """
    common = Counter(word for reply in everything for word in set(words_of(reply)))
    found: list[tuple[float, float]] = []
    for prompt, reference, before, after in zip(prompts, references, base, tuned, strict=True):
        particular = {
            word
            for word in words_of(reference)
            if len(word) >= _LETTERS and common[word] <= _MOST_REPLIES
        } - set(words_of(prompt))
        if particular:
            found.append(
                (_part_of(particular, words_of(before)), _part_of(particular, words_of(after)))
            )
    count = max(1, len(found))
    return Recall(
        prompts=len(found),
        base=sum(before for before, _ in found) / count,
        tuned=sum(after for _, after in found) / count,
    )


def _part_of(particular: set[str], words: Sequence[str]) -> float:
    return len(particular & set(words)) / len(particular)
