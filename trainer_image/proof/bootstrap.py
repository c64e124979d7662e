"""Intervals: the paired percentile bootstrap over units, and Wilson's for a share.

A unit (a session, or a pair) is drawn whole: what belongs together is never taken for independent
evidence. Draws have a seed of their own, so the same figures give the same interval.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13; Wilson, JASA 22 (1927).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch

from proof.thresholds import CONFIDENCE, RESAMPLES
from proof.types import Interval

#: Draws in memory at once, of all resamples and units together.
_CHUNK = 4_000_000


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    units: Sequence[int],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), e.g. of nats over tokens.

    Observations with equal numbers in `units` are drawn together. Raises ValueError when there are
    no observations, or the lengths differ.
    """
    if not numerators or len({len(numerators), len(denominators), len(units)}) != 1:
        raise ValueError("one unit and one denominator for each of at least one numerator")
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    index = torch.tensor([numbers[unit] for unit in units])
    tops = torch.zeros(len(numbers), dtype=torch.float64)
    bottoms = torch.zeros(len(numbers), dtype=torch.float64)
    tops.index_add_(0, index, torch.tensor(numerators, dtype=torch.float64))
    bottoms.index_add_(0, index, torch.tensor(denominators, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    estimates = []
    at_once = max(1, _CHUNK // len(numbers))
    for start in range(0, resamples, at_once):
        size = (min(at_once, resamples - start), len(numbers))
        drawn = torch.randint(len(numbers), size, generator=generator)
        estimates.append(tops[drawn].sum(1) / bottoms[drawn].sum(1))
    tail = (1 - CONFIDENCE) / 2
    ends = torch.quantile(torch.cat(estimates), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    value = float(tops.sum() / bottoms.sum())
    # So few units may never have been drawn to the estimate itself.
    return Interval(low=min(float(ends[0]), value), value=value, high=max(float(ends[1]), value))


def mean_interval(
    values: Sequence[float], units: Sequence[int], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Interval of the mean of `values`."""
    return ratio_interval(values, [1.0] * len(values), units, seed=seed, resamples=resamples)


def wilson_interval(found: int, of: int) -> Interval:
    """Interval of the share `found / of`; the whole range when there is nothing to count."""
    if of == 0:
        return Interval(low=0.0, value=0.0, high=1.0)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    share = found / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Interval(
        low=min(share, max(0.0, (middle - spread) / scale)),
        value=share,
        high=max(share, min(1.0, (middle + spread) / scale)),
    )
