"""Rows for the trainer: windows over sessions, in which every reply is learned once.

A window holds consecutive pairs of one session, as many as the base model is trained on at once;
the next one begins where it ends, so that no reply is learned twice. Pairs that are held out end a
window: nothing of them stands in what is learned. A held-out pair is a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from tuner.conversations.model import Turn
from tuner.conversations.sessions import Example
from tuner.dataset.curation import Curated, Segment
from tuner.dataset.draft import Part
from tuner.dataset.pairs import Pair, text_key
from tuner.dataset.tokens import AROUND_A_PAIR, AROUND_AN_EXAMPLE, Tokens

_TWELFTHS = 12

#: Stands where the beginning of a prompt was cut off.
_CUT = "… "

#: Windows hold at most this many pairs: more make no better example, and take long to encode.
_MAX_PAIRS = 64


class Size(NamedTuple):
    """Tokens of a pair, and those of them that are learned."""

    all: int
    supervised: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How rows are made."""

    tokens: Tokens
    max_length_tokens: int
    by: Literal["sessions", "pairs"] = "sessions"
    #: Whether the beginning of a prompt is cut off when its pair is too long.
    cuts_prompts: bool = False
    #: Goes into half of the rows, by their hash.
    system_prompt: str | None = None

    @cached_property
    def room_tokens(self) -> int:
        """What is left for pairs in a row."""
        system = self.tokens.count(self.system_prompt) if self.system_prompt else 0
        return self.max_length_tokens - AROUND_AN_EXAMPLE - system

    def fit(self, pair: Pair) -> Pair | None:
        """The pair as a row can hold it: mostly as it is, with the beginning of its prompt cut off
        where that is asked for, or None. A reply is never cut: it would teach to break off.
        """
        # No tokenizer makes more tokens than there are bytes: most pairs need not be counted.
        size_bytes = sum(_utf8_bytes(text) for text in (pair.user, pair.assistant, pair.system))
        if size_bytes + AROUND_A_PAIR < self.room_tokens:
            return pair
        size, room = self.measure(pair).all, self.room_tokens
        if size <= room:
            return pair
        prompt_tokens = self.tokens.count(pair.user)
        left_tokens = room - (size - prompt_tokens)
        if not self.cuts_prompts or left_tokens < room // 8:
            return None
        characters = len(pair.user) * left_tokens // prompt_tokens
        while self.tokens.count(prompt := _CUT + _end_of(pair.user, characters)) > left_tokens:
            characters = characters * 9 // 10
        return msgspec.structs.replace(pair, user=prompt)

    def measure(self, pair: Pair) -> Size:
        """The tokens that a pair takes in a row."""
        reply = self.tokens.count(pair.assistant) + 1  # the token that ends it is learned too
        around = AROUND_A_PAIR + (self.tokens.count(pair.system) if pair.system else 0)
        return Size(self.tokens.count(pair.user) + reply + around, reply)


@dataclass(kw_only=True)
class Totals:
    """What was counted while rows were made."""

    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    longest_tokens: int = 0
    #: Rows by length, in twelfths of the greatest length that is trained on.
    lengths: list[int] = field(default_factory=lambda: [0] * _TWELFTHS)

    def add(self, tokens: int, supervised: int, max_length: int) -> None:
        """One row for training."""
        self.rows += 1
        self.tokens += tokens
        self.supervised_tokens += supervised
        self.longest_tokens = max(self.longest_tokens, tokens)
        self.lengths[min(_TWELFTHS - 1, max(0, tokens - 1) * _TWELFTHS // max_length)] += 1

    def histogram(self, max_length: int) -> tuple[tuple[int, int], ...]:
        """(tokens at most, rows) for each twelfth of the greatest length."""
        return tuple(
            (max_length * (number + 1) // _TWELFTHS, count)
            for number, count in enumerate(self.lengths)
        )


def rows(
    segments: Sequence[Segment], curated: Curated, shape: Shape, totals: Totals
) -> Iterator[tuple[Part, Example]]:
    """Every row of a dataset, in the corpus' order."""
    number = -1
    for segment in segments:
        window = _Window(shape, totals)
        session: int | None = None
        for pair in segment.pairs():
            number += 1
            if pair.session != session or curated.is_held_out(number):
                yield from window.give()
                session = pair.session
            if not curated.is_kept(number):
                continue
            fitted = shape.fit(pair)
            assert fitted is not None, "what does not fit is dropped"
            if curated.is_held_out(number):
                yield "eval", _example([fitted], shape)
            else:
                yield from window.take(fitted)
        yield from window.give()


class _Window:
    """Consecutive pairs that are learned together."""

    def __init__(self, shape: Shape, totals: Totals) -> None:
        self._shape = shape
        self._totals = totals
        self._pairs: list[Pair] = []
        self._tokens = self._supervised = 0

    def take(self, pair: Pair) -> Iterator[tuple[Part, Example]]:
        size = self._shape.measure(pair)
        if self._pairs and (
            self._shape.by == "pairs"
            or self._tokens + size.all > self._shape.room_tokens
            or len(self._pairs) >= _MAX_PAIRS
            or pair.system != self._pairs[0].system
        ):
            yield from self.give()
        self._pairs.append(pair)
        self._tokens += size.all
        self._supervised += size.supervised

    def give(self) -> Iterator[tuple[Part, Example]]:
        if not self._pairs:
            return
        self._totals.add(self._tokens, self._supervised, self._shape.max_length_tokens)
        yield "train", _example(self._pairs, self._shape)
        self._pairs, self._tokens, self._supervised = [], 0, 0


def _example(pairs: Sequence[Pair], shape: Shape) -> Example:
    turns = [
        turn
        for pair in pairs
        for turn in (Turn("user", pair.user), Turn("assistant", pair.assistant))
    ]
    system = pairs[0].system
    if system is None and shape.system_prompt and text_key(pairs[0]) & 1:
        system = shape.system_prompt
    return Example(turns, system=system)


def _end_of(text: str, characters: int) -> str:
    """The last characters of a text, from a word's beginning where there is one nearby."""
    end = text[-characters:] if characters else ""
    space = end.find(" ", 0, 40)
    return end[space + 1 :]


def _utf8_bytes(text: str | None) -> int:
    """At least as many bytes as a text has in UTF-8."""
    if text is None:
        return 0
    return len(text) if text.isascii() else 4 * len(text)
