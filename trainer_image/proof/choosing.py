"""Which epoch of a fold is used: chosen on none of the pairs that it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proof.plan import FoldPlan, Plan
from proof.types import CurvePoint, Fold


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A fold's loss before training and after each epoch, on the pairs that vote for an epoch.

    No values where there are no such pairs.
    """

    epochs: int
    before: float | None
    values: tuple[float, ...]


def choose_epoch(
    plan: Plan,
    fold: FoldPlan,
    curves: Mapping[int, Curve],
    tokens: Mapping[int, int],
    *,
    ordered: bool,
) -> Fold:
    """The epoch to use for a fold, chosen on none of the pairs that it is judged on.

    Cross-fit: on the pairs of all other folds, which this one is trained on, each as its own fold
    predicts it, weighed by tokens. Held-out: on the pairs set aside from its training rows.
    """
    held_out = plan.evidence == "held-out"
    voters = [fold] if held_out else [other for other in plan.folds if other != fold]
    voters = [voter for voter in voters if curves[voter.number].values]
    weight = sum(tokens[voter.number] for voter in voters)

    def mean(losses: Sequence[float | None]) -> float:
        weighed = zip(losses, voters, strict=True)
        return sum((loss or 0.0) * tokens[voter.number] for loss, voter in weighed) / weight

    points: list[CurvePoint] = []
    if voters:
        points.append(
            CurvePoint(epoch=0, nll=mean([curves[voter.number].before for voter in voters]))
        )
        by_epoch = zip(*(curves[voter.number].values for voter in voters), strict=True)
        points += [CurvePoint(epoch=n, nll=mean(each)) for n, each in enumerate(by_epoch, start=1)]
    last = curves[fold.number].epochs
    best = min(points[1:], key=lambda point: point.nll).epoch if points[1:] else last
    return Fold(
        number=fold.number,
        train_pairs=len(fold.train_pairs),
        inner_pairs=sum(len(voting_pairs(plan, voter)) for voter in voters),
        gate_pairs=len(fold.gate),
        best_epoch=best,
        used_epoch=last if ordered else best,
        curve=tuple(points),
    )


def voting_pairs(plan: Plan, fold: FoldPlan) -> tuple[int, ...]:
    """The pairs that a fold's loss is followed on while it trains."""
    return fold.inner if plan.evidence == "held-out" else fold.gate
