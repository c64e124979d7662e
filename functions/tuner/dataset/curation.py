"""Decides about every pair of a corpus: trained on, held out, or dropped with a named reason.

A corpus is read twice: once to learn its habits (`survey.py`), once to decide. What was decided is
one byte for each pair, so that memory does not grow with what was said.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tuner.dataset.languages import Languages
from tuner.dataset.near import MAX_SUSPECTS, Sketches, Suspects
from tuner.dataset.pairs import FEW, Pair, identity, text_key
from tuner.dataset.rule_names import OTHER_REASONS, RULE_NAMES, WARNINGS, Action, actions
from tuner.dataset.rules import own_reasons
from tuner.dataset.seen import KeySet
from tuner.dataset.split import Split
from tuner.dataset.survey import CommonWords, Survey

REASONS = (*RULE_NAMES, *OTHER_REASONS)
_TRAIN, _HELD_OUT, _FIRST_REASON = 0, 1, 2
_CODES = {reason: _FIRST_REASON + number for number, reason in enumerate(REASONS)}

#: Examples that are kept for each rule.
_SHOWN = 5


class Segment(NamedTuple):
    """The pairs of one upload, as often as they are asked for."""

    pairs: Callable[[], Iterable[Pair]]
    #: Whether its sessions are the units of the split; else its pairs are.
    splits_by_session: bool


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a persona's settings say about its pairs."""

    rules: dict[str, Action] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    #: A pair as it can be trained on: itself, shortened, or None when it is too long.
    fit: Callable[[Pair], Pair | None] = lambda pair: pair


class Example(NamedTuple):
    """A pair that a rule named, for the person who looks."""

    pair: Pair
    why: str


@dataclass(kw_only=True)
class Curated:
    """What was decided. `codes` has a byte for each pair, in the corpus' order."""

    codes: bytearray
    pairs: int
    kept: int
    train: int
    held_out: int
    #: Kept pairs of segments from this index on are new.
    kept_by_segment: list[int]
    dropped: dict[str, int]
    warned: dict[str, int]
    redacted: dict[str, int]
    #: Identities of what is held out; it stays so.
    held_out_ids: array[int]
    examples: dict[str, list[Example]]
    not_checked: tuple[str, ...]
    #: What its replies are in; see `Languages.spoken`.
    languages: dict[str, int]

    def is_kept(self, number: int) -> bool:
        return self.codes[number] < _FIRST_REASON

    def is_held_out(self, number: int) -> bool:
        return self.codes[number] == _HELD_OUT


def curate(
    segments: Sequence[Segment],
    policy: Policy,
    *,
    common_words: CommonWords = frozenset,
    forgotten: frozenset[int] = frozenset(),
    stays_held_out: frozenset[int] = frozenset(),
    max_suspects: int = MAX_SUSPECTS,
) -> Curated:
    """Read the corpus twice and decide.

    `forgotten` and `stays_held_out` are identities of pairs; at most `max_suspects` are looked at
    for near-duplicates.
    """
    survey, sketches = Survey(common_words), Sketches()
    languages = Languages(policy.languages)
    for segment in segments:
        for pair in segment.pairs():
            survey.see(pair)
            languages.see(pair)
            sketches.see(pair)
    survey.finish()
    languages.finish()
    judge = _Judge(policy, survey, languages, forgotten, sketches.suspects(max_suspects))
    return judge.judge(segments, stays_held_out)


class Earlier:
    """The identities of the pairs of earlier segments, eight bytes each."""

    def __init__(self, identities: array[int]) -> None:
        self._sorted = _in_order(identities)

    def __contains__(self, identity: int) -> bool:
        found = bisect_left(self._sorted, identity)
        return found < len(self._sorted) and self._sorted[found] == identity


def _in_order(identities: array[int]) -> array[int]:
    if len(identities) <= FEW:
        return array("Q", sorted(identities))
    import numpy as np

    ordered = np.sort(np.frombuffer(identities.tobytes(), dtype=np.uint64))
    return array("Q", ordered.tobytes())


class _Judge:
    def __init__(
        self,
        policy: Policy,
        survey: Survey,
        languages: Languages,
        forgotten: frozenset[int],
        suspects: Suspects,
    ) -> None:
        self._actions = actions(policy.rules, languages=bool(policy.languages))
        self._policy = policy
        self._survey = survey
        self._languages = languages
        self._forgotten = forgotten
        self._suspects = suspects
        self._texts = KeySet()
        #: Where duplicates are kept: what each text's first pair was, to see bridges.
        self._first_with: dict[int, int] = {}
        self._likes: list[tuple[int, int]] = []
        self._warned: Counter[str] = Counter()
        self._examples: dict[str, list[Example]] = {}

    def judge(self, segments: Sequence[Segment], stays_held_out: frozenset[int]) -> Curated:
        codes = bytearray()
        split = Split()
        ids = array("Q")
        redacted: Counter[str] = Counter()
        for segment in segments:
            split.begin(by_session=segment.splits_by_session)
            earlier = Earlier(ids)
            for pair in segment.pairs():
                text = text_key(pair)
                own = identity(pair, text)
                reason = self._reason(pair, text, own, earlier, len(codes))
                kept = reason is None
                codes.append(_TRAIN if reason is None else _CODES[reason])
                ids.append(own)
                split.add(pair.session, text, kept=kept, sticky=own in stays_held_out)
                if kept and pair.redacted:
                    redacted.update(pair.redacted)
        sides = split.decide()
        held_out_ids = array("Q")
        for number, held_out in enumerate(sides):
            if held_out and codes[number] == _TRAIN:
                codes[number] = _HELD_OUT
        for number, like in self._likes:
            if codes[number] < _FIRST_REASON and codes[number] != codes[like]:
                codes[number] = _CODES["bridges_split"]
        for number, own in enumerate(ids):
            if codes[number] == _HELD_OUT:
                held_out_ids.append(own)
        return self._curated(codes, split.segment_spans(), held_out_ids, redacted)

    def _reason(self, pair: Pair, text: int, own: int, earlier: Earlier, number: int) -> str | None:
        """Why a pair is dropped, or None; counts what is only warned of."""
        if own in earlier:
            return "overlap"
        if own in self._forgotten:
            return "forgotten"
        for name in self._names(number, pair):
            if reason := self._named(name, pair):
                return reason
        fitted = self._policy.fit(pair)
        if fitted is None:
            self._show("over_long", pair, OTHER_REASONS["over_long"])
            return "over_long"
        reason = self._duplicate(pair, text, number)
        if reason is None and fitted is not pair:
            self._show("shortened", pair, WARNINGS["shortened"])
            self._warned["shortened"] += 1
        return reason

    def _names(self, number: int, pair: Pair) -> list[str]:
        """The rules that name a pair, gravest first."""
        names = own_reasons(pair)
        if self._survey.is_canned(pair):
            names.append("canned")
        if self._survey.is_cut(number, pair.assistant):
            names.append("cut")
        if self._languages.is_foreign(number, pair):
            names.append("language")
        return names

    def _duplicate(self, pair: Pair, text: int, number: int) -> str | None:
        if self._actions["duplicate"] == "drop":
            if not self._texts.add(text):
                return self._named("duplicate", pair)
        elif text in self._first_with:
            self._named("duplicate", pair)
            self._likes.append((number, self._first_with[text]))
            return None
        else:
            self._first_with[text] = number
        like = self._suspects.find(number, pair)
        if like is None:
            return None
        if reason := self._named("near_duplicate", pair):
            return reason
        self._likes.append((number, like))
        return None

    def _named(self, rule: str, pair: Pair) -> str | None:
        """What comes of a pair that a rule names: the reason to drop it, or None."""
        action = self._actions[rule]
        if action == "off":
            return None
        self._show(rule, pair, RULE_NAMES[rule])
        if action == "warn":
            self._warned[rule] += 1
            return None
        return rule

    def _show(self, rule: str, pair: Pair, why: str) -> None:
        shown = self._examples.setdefault(rule, [])
        if len(shown) < _SHOWN:
            shown.append(Example(pair, why))

    def _curated(
        self,
        codes: bytearray,
        segment_spans: Sequence[tuple[int, int]],
        held_out_ids: array[int],
        redacted: Counter[str],
    ) -> Curated:
        counts = Counter(codes)
        train, held_out = counts.pop(_TRAIN, 0), counts.pop(_HELD_OUT, 0)
        by_segment = [
            sum(1 for code in codes[start:end] if code < _FIRST_REASON)
            for start, end in segment_spans
        ]
        not_checked = []
        if self._suspects.beyond:
            not_checked.append(f"near-duplicates of {self._suspects.beyond} pairs")
        if self._languages.unchecked:
            not_checked.append(f"language of {self._languages.unchecked} pairs")
        return Curated(
            codes=codes,
            pairs=len(codes),
            kept=train + held_out,
            train=train,
            held_out=held_out,
            kept_by_segment=by_segment,
            dropped={REASONS[code - _FIRST_REASON]: n for code, n in sorted(counts.items())},
            warned=dict(self._warned),
            redacted=dict(redacted),
            held_out_ids=held_out_ids,
            examples=self._examples,
            not_checked=tuple(not_checked),
            languages=self._languages.spoken,
        )
