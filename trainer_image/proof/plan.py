"""Which pairs are judged, and what each of them is predicted from.

Few pairs: cross-fit. Each pair is judged by a model that was trained without it, without the rest
of its session where there are sessions enough, and without any pair of the same prompt. What the
dataset holds out is judged too and is trained on by none. Many pairs: what the dataset holds out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from proof import thresholds
from proof.speech import normalised
from proof.types import Evidence, UnitKind
from rows import Example, Message


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One prompt with its reply, judged alone: without what was said before it.

    `row` is the pair's row in its file (from 0), `position` its place among the row's pairs.
    """

    part: Literal["train", "eval"]
    row: int
    position: int
    place: str
    system: str | None
    prompt: str
    reply: str


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """One training: on `train_rows`, judged on `gate`.

    Where a single model is judged, its epoch is chosen on `inner`; folds choose for one another.
    `inner` and `gate` are numbers of pairs, in order; `train_pairs` are those in `train_rows`.
    """

    number: int
    train_rows: tuple[Example, ...]
    train_pairs: tuple[int, ...]
    inner: tuple[int, ...]
    gate: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All pairs, the folds, and for each pair that is judged its unit."""

    evidence: Evidence
    pairs: tuple[Pair, ...]
    folds: tuple[FoldPlan, ...]
    #: Pair → unit of the bootstrap (from 0).
    units: dict[int, int]
    unit_kind: UnitKind
    #: What the classifier of voices is fitted on, in parts, so that it never knows what it judges.
    style_fold: dict[int, int]

    @property
    def gate(self) -> tuple[int, ...]:
        """Every pair that is judged, in order."""
        return tuple(sorted(number for fold in self.folds for number in fold.gate))

    @property
    def unit_count(self) -> int:
        return len(set(self.units.values()))

    @property
    def too_thin(self) -> bool:
        return self.unit_count < thresholds.MIN_UNITS


def pairs_of(part: Literal["train", "eval"], rows: Sequence[Example]) -> list[Pair]:
    """Every pair of every row, in order."""
    found = []
    for number, row in enumerate(rows):
        system = row.messages[0].content if row.messages[0].role == "system" else None
        turns = row.messages[system is not None :]
        for position, (asked, said) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
            pair = Pair(
                part=part,
                row=number,
                position=position,
                place=f"{row.place} reply {position + 1}",
                system=system,
                prompt=asked.content,
                reply=said.content,
            )
            found.append(pair)
    return found


def fold_plan(
    train: Sequence[Example],
    held_out: Sequence[Example],
    *,
    seed: int,
    epochs: int,
    folds: int = thresholds.FOLDS,
    max_gate_pairs: int = thresholds.MAX_GATE_PAIRS,
) -> Plan:
    """The proof's plan for a dataset; the same dataset and seed give the same plan.

    One epoch needs no choice, so nothing is set aside to choose it. Without `folds`, only what is
    held out is judged.
    """
    pairs = tuple([*pairs_of("train", train), *pairs_of("eval", held_out)])
    draw = random.Random(seed)
    maker = _Maker(train, pairs, draw, chooses_epoch=epochs > 1)
    if folds and len(pairs) < thresholds.CROSS_FIT_BELOW_PAIRS:
        return maker.cross_fit(folds)
    return maker.held_out(max_gate_pairs)


class _Maker:
    def __init__(
        self,
        train: Sequence[Example],
        pairs: tuple[Pair, ...],
        draw: random.Random,
        *,
        chooses_epoch: bool,
    ) -> None:
        self._train = train
        self._pairs = pairs
        self._draw = draw
        self._chooses_epoch = chooses_epoch

    def cross_fit(self, folds: int) -> Plan:
        everything = range(len(self._pairs))
        alone = self._linked(everything, by_row=False)
        group = self._linked(everything, by_row=True)
        sizes = Counter(group.values())
        sessions = (
            len(sizes) >= folds
            and max(sizes.values()) <= thresholds.MAX_GROUP_SHARE * len(self._pairs)
            and max(Counter((p.part, p.row) for p in self._pairs).values()) > 1
        )
        if not sessions:
            group = alone
        if len(set(group.values())) < 2:  # one prompt for everything: nothing can be kept apart
            group = {number: number for number in everything}
        by_sessions = sessions and len(set(group.values())) >= thresholds.MIN_UNITS
        parts = self._dealt(group, folds)
        found = [
            self._fold(number, gate, group, everything) for number, gate in enumerate(parts, 1)
        ]
        made = [fold for fold in found if fold.train_pairs]
        if not made:  # next to nothing
            return self.held_out(thresholds.MAX_GATE_PAIRS)
        style = {pair: fold.number for fold in made for pair in fold.gate}
        return Plan(
            evidence="cross-fit",
            pairs=self._pairs,
            folds=tuple(made),
            units={n: (group if by_sessions else alone)[n] for n in style},
            unit_kind="sessions" if by_sessions else "pairs",
            style_fold=style,
        )

    def held_out(self, max_gate_pairs: int) -> Plan:
        numbers = [n for n, pair in enumerate(self._pairs) if pair.part == "eval"]
        trained = [n for n, pair in enumerate(self._pairs) if pair.part == "train"]
        prompts = {normalised(self._pairs[number].prompt) for number in trained}
        unseen = [n for n in numbers if normalised(self._pairs[n].prompt) not in prompts]
        # A greeting that is trained on proves nothing, unless nothing else is held out.
        gate = unseen if len(unseen) >= thresholds.MIN_UNITS else numbers
        gate = sorted(self._draw.sample(gate, min(len(gate), max_gate_pairs)))
        group = self._linked(trained, by_row=True)
        kept_apart = {**group, **{n: -1 - n for n in gate}}
        fold = self._fold(1, gate, kept_apart, [*trained, *gate], sets_aside=self._chooses_epoch)
        units = self._linked(gate, by_row=False)
        style_group = {**self._linked(trained, by_row=False), **{n: -1 - units[n] for n in gate}}
        style = {
            pair: number
            for number, dealt in enumerate(self._dealt(style_group, thresholds.FOLDS), start=1)
            for pair in dealt
        }
        return Plan(
            evidence="held-out",
            pairs=self._pairs,
            folds=(fold,),
            units=units,
            unit_kind="pairs",
            style_fold=style,
        )

    def _fold(
        self,
        number: int,
        gate: Sequence[int],
        group: dict[int, int],
        among: Iterable[int],
        *,
        sets_aside: bool = False,
    ) -> FoldPlan:
        judged = {group[pair] for pair in gate}
        free = [
            pair
            for pair in among
            if self._pairs[pair].part == "train" and group[pair] not in judged
        ]
        inner = self._inner(free, group) if sets_aside else set()
        kept = [pair for pair in free if pair not in inner]
        return FoldPlan(
            number=number,
            train_rows=tuple(self._rows(kept)),
            train_pairs=tuple(kept),
            inner=tuple(sorted(inner)),
            gate=tuple(sorted(gate)),
        )

    def _inner(self, free: Sequence[int], group: dict[int, int]) -> set[int]:
        """Whole groups, until there are pairs enough to choose an epoch on; never most of them."""
        wanted = max(thresholds.MIN_INNER_PAIRS, round(thresholds.INNER_SHARE * len(free)))
        members: dict[int, list[int]] = {}
        for pair in free:
            members.setdefault(group[pair], []).append(pair)
        order = sorted(members)
        self._draw.shuffle(order)
        inner: set[int] = set()
        for name in sorted(order, key=lambda name: len(members[name]) > wanted):
            if len(inner) >= wanted:
                break
            if len(inner) + len(members[name]) <= len(free) // 3:
                inner.update(members[name])
        return inner

    def _rows(self, kept: Sequence[int]) -> Iterable[Example]:
        """The windows of the dataset without the pairs that are left out, which end a window."""
        run: list[Pair] = []
        for number in kept:
            pair = self._pairs[number]
            if run and (pair.row, pair.position) != (run[-1].row, run[-1].position + 1):
                yield self._window(run)
                run = []
            run.append(pair)
        if run:
            yield self._window(run)

    def _window(self, run: Sequence[Pair]) -> Example:
        row = self._train[run[0].row]
        system = [Message("system", run[0].system)] if run[0].system is not None else []
        turns = [
            message
            for pair in run
            for message in (Message("user", pair.prompt), Message("assistant", pair.reply))
        ]
        return Example(file_name=row.file_name, line=row.line, messages=(*system, *turns))

    def _linked(self, numbers: Iterable[int], *, by_row: bool) -> dict[int, int]:
        """Pair → the smallest pair that it is linked to, by an equal prompt or by its row."""
        parent: dict[int, int] = {}

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        first: dict[object, int] = {}
        for number in numbers:
            pair = self._pairs[number]
            parent[number] = number
            keys: list[object] = [normalised(pair.prompt)]
            if by_row:
                keys.append((pair.part, pair.row))
            for key in keys:
                other = root(first.setdefault(key, number))
                here = root(number)
                parent[max(here, other)] = min(here, other)
        return {number: root(number) for number in parent}

    def _dealt(self, group: dict[int, int], count: int) -> list[list[int]]:
        """The pairs in `count` parts of about equal size; a group is never cut."""
        members: dict[int, list[int]] = {}
        for pair, name in group.items():
            members.setdefault(name, []).append(pair)
        order = sorted(members)
        self._draw.shuffle(order)
        order.sort(key=lambda name: -len(members[name]))
        parts: list[list[int]] = [[] for _ in range(min(count, len(order)))]
        for name in order:
            min(parts, key=len).extend(members[name])
        return parts
