"""The persona score of every arm, and of what the persona really said."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from proof import thresholds
from proof.bootstrap import mean_interval, wilson_interval
from proof.plan import Plan
from proof.shipped import foreign_styles
from proof.style import Voice, VoiceClassifier, likeness
from proof.types import ArmName, Interval, PersonaScore, Speech
from proof.types import Voice as VoiceGap

#: So many of the persona's replies are enough to know its voice.
_PERSONA_TEXTS = 200
_ASSIGNMENTS = 2000


@dataclass(frozen=True, kw_only=True)
class Voices:
    """Pair → persona score: of each arm's reply, and of the persona's own."""

    arms: Mapping[ArmName, Mapping[int, float]]
    references: Mapping[int, float]


def hear(
    plan: Plan,
    references: Mapping[int, str],
    replies: Mapping[ArmName, Mapping[int, str]],
    *,
    seed: int,
) -> Voices:
    """Score everything, each part by a classifier that knows none of its prompts.

    `references` are the persona's replies, cut like those of the arms. Only what is trained on
    teaches the classifier the persona's voice.
    """
    trained = _trained_on(plan, seed=seed)
    arms: dict[ArmName, dict[int, float]] = {name: {} for name in replies}
    heard: dict[int, float] = {}
    judged = {*trained, *plan.gate}
    for part in sorted(set(plan.style_fold.values())):
        known: list[tuple[str, Voice]] = [
            *((references[n], "persona") for n in trained if plan.style_fold.get(n, part) != part),
            *((text, "base") for n, text in replies["base"].items() if plan.style_fold[n] != part),
            *((text, "foreign") for text in foreign_styles()),
        ]
        classifier = VoiceClassifier([text for text, _ in known], [voice for _, voice in known])
        for name, said in replies.items():
            here = [n for n in said if plan.style_fold[n] == part]
            scores = classifier.persona_scores([said[n] for n in here])
            arms[name].update(zip(here, scores, strict=True))
        own = [n for n in sorted(judged) if plan.style_fold.get(n) == part]
        heard.update(zip(own, classifier.persona_scores([references[n] for n in own]), strict=True))
    return Voices(arms=arms, references=heard)


def persona_score(
    scores: Mapping[int, float],
    speech: Speech,
    reference: Speech,
    *,
    units: Mapping[int, int],
    seed: int,
) -> PersonaScore:
    """An arm's score, and whether it counts: a collapsed model can sound like nobody else."""
    problems = []
    distinct = speech.distinct_share / reference.distinct_share if reference.distinct_share else 0
    if distinct < thresholds.MIN_DISTINCT_RATIO:
        problems.append(
            f"only {speech.distinct_share:.0%} of its replies differ from one another, "
            f"of the persona's own {reference.distinct_share:.0%}"
        )
    over = wilson_interval(speech.over_limit, speech.replies)
    if over.low > thresholds.REPETITION_EXPECTED_SHARE:
        problems.append(
            f"{speech.over_limit} of {speech.replies} replies repeat themselves more than the "
            "persona's do"
        )
    if speech.empty:
        problems.append(f"{speech.empty} replies are empty")
    return PersonaScore(
        score=_interval(scores, units, seed),
        counts=not problems,
        why_not="; ".join(problems),
    )


def voice_gap(plan: Plan, voices: Voices, *, seed: int) -> VoiceGap:
    """The persona score of replies that are trained on, and of those that the dataset holds out."""
    trained = [s for n, s in voices.references.items() if plan.pairs[n].part == "train"]
    held_out = {n: s for n, s in voices.references.items() if plan.pairs[n].part == "eval"}
    enough = len(held_out) >= thresholds.MIN_VOICE_PAIRS
    if not (enough and trained):
        return VoiceGap(trained_on=sum(trained) / len(trained) if trained else 0.0, held_out=None)
    separation, chance = _told_apart(plan, sorted(held_out), seed=seed)
    return VoiceGap(
        trained_on=sum(trained) / len(trained),
        held_out=_interval(held_out, plan.units, seed),
        separation=separation,
        chance=chance,
    )


def _trained_on(plan: Plan, *, seed: int) -> list[int]:
    """The pairs that are trained on, or as many of them as teach a voice."""
    trained = [n for n, pair in enumerate(plan.pairs) if pair.part == "train"]
    if len(trained) > _PERSONA_TEXTS:
        trained = sorted(random.Random(seed).sample(trained, _PERSONA_TEXTS))
    return trained


def _told_apart(plan: Plan, held_out: Sequence[int], *, seed: int) -> tuple[float, float]:
    """`separated` of how alike to the other trained-on replies the two parts are.

    By whole replies and by spelling alone: the classifier's scores need more text than a small
    dataset has.
    """
    trained = _trained_on(plan, seed=seed)
    alike = likeness([plan.pairs[n].reply for n in (*trained, *held_out)])[:, : len(trained)]
    inside, outside = alike[: len(trained)], alike[len(trained) :]
    others = max(1, len(trained) - 1)
    own = (inside.sum(dim=1) - inside.diagonal()) / others
    return separated(own.tolist(), outside.mean(dim=1).tolist(), seed=seed)


def separated(higher: Sequence[float], lower: Sequence[float], *, seed: int) -> tuple[float, float]:
    """(Probability that one of `higher` is above one of `lower`, chance of as much by accident).

    The first is Mann and Whitney's U over the number of couples, a tie counted half; the second is
    one-sided, over random assignments of the same values to the two groups.
    """
    values = torch.tensor([*higher, *lower], dtype=torch.float64)
    above = (values[:, None] > values).double() + (values[:, None] == values).double() / 2
    couples = len(higher) * len(lower)
    found = float(above[: len(higher), len(higher) :].sum()) / couples
    generator = torch.Generator().manual_seed(seed)
    as_far = 1  # the assignment that was found is one of them
    for _ in range(_ASSIGNMENTS):
        order = torch.randperm(len(values), generator=generator)
        first, second = order[: len(higher)], order[len(higher) :]
        as_far += float(above[first][:, second].sum()) / couples >= found
    return found, as_far / (_ASSIGNMENTS + 1)


def _interval(scores: Mapping[int, float], units: Mapping[int, int], seed: int) -> Interval:
    if not scores:
        return Interval(low=0.0, value=0.0, high=1.0)
    numbers: Sequence[int] = sorted(scores)
    return mean_interval(
        [scores[n] for n in numbers], [units.get(n, -1 - n) for n in numbers], seed=seed
    )
