"""From what the stages measured to the figures of a proof."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proof import thresholds
from proof.bootstrap import ratio_interval, wilson_interval
from proof.measuring import Conversations, General, Losses, Tuned, UntunedReplies
from proof.options import ProofOptions
from proof.plan import Plan
from proof.prompts import Origin
from proof.recall import recall_of
from proof.safety import safety_of
from proof.shipped import red_team
from proof.speech import common_words, normalised, percentile, repetition, speech_of, words_of
from proof.types import (
    ARMS,
    Arm,
    ArmName,
    Drop,
    Forgetting,
    Interval,
    Measured,
    PairRow,
    PromptUse,
    Repetition,
    SideBySide,
)
from proof.voices import hear, persona_score, voice_gap


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Everything that the stages found. `references` are all pairs' own replies, cut like others.

    `general_base` is the base model's loss on the neutral items.
    """

    base: Losses
    prompted: Losses
    examples: Losses
    examples_in_prompt: int
    tuned: Sequence[Tuned]
    untuned_replies: UntunedReplies
    neutral_base: Sequence[tuple[float, int]]
    general_tuned: General
    references: Mapping[int, str]
    shipped_epoch: int
    epochs_ordered: bool
    seconds: float


def measured(
    raw: Raw,
    plan: Plan,
    talks: Conversations,
    options: ProofOptions,
    *,
    persona_prompt: str,
    prompt_origin: Origin,
) -> Measured:
    """All figures with their intervals."""
    tuned = _joined([each.losses for each in raw.tuned])
    losses: dict[ArmName, Losses] = {
        "base": raw.base,
        "prompted": raw.prompted,
        "examples": raw.examples,
        "tuned": tuned,
    }
    replies: dict[ArmName, dict[int, str]] = {
        "base": raw.untuned_replies.base,
        "prompted": raw.untuned_replies.prompted,
        "examples": raw.untuned_replies.examples,
        "tuned": {n: text for each in raw.tuned for n, text in each.replies.items()},
    }
    own = [raw.references[n] for n in plan.gate]
    limit = percentile([repetition(text) for text in own], thresholds.REPETITION_PERCENTILE)
    common = common_words([pair.reply for pair in plan.pairs])
    reference = speech_of([raw.references[n] for n in talks.prompts], limit=limit, common=common)
    voices = hear(plan, raw.references, replies, seed=options.seed)
    arms = []
    for name in ARMS:
        speech = speech_of([replies[name][n] for n in talks.prompts], limit=limit, common=common)
        score = persona_score(
            voices.arms[name], speech, reference, units=plan.units, seed=options.seed
        )
        nll = _ratio(plan, {n: loss[0] for n, loss in losses[name].own.items()}, tuned, options)
        arms.append(Arm(name=name, nll=nll, speech=speech, persona=score))
    said = arms[-1].speech
    judged = {n: voices.references[n] for n in talks.prompts}
    return Measured(
        evidence=plan.evidence,
        judged=_judged(plan),
        unit_kind=plan.unit_kind,
        units=plan.unit_count,
        pairs=len(plan.gate),
        persona_prompt=persona_prompt,
        prompt_origin=prompt_origin,
        examples_in_prompt=raw.examples_in_prompt,
        max_new_tokens=options.max_new_tokens,
        repetition_penalty=thresholds.REPETITION_PENALTY,
        arms=tuple(arms),
        reference=reference,
        reference_persona=persona_score(
            judged, reference, reference, units=plan.units, seed=options.seed
        ).score,
        reference_distinct_share=_distinct([plan.pairs[n].reply for n in plan.gate]),
        reference_median_words=statistics.median(
            len(words_of(plan.pairs[n].reply)) for n in plan.gate
        ),
        drops=tuple(
            _drop(plan, name, losses[name], tuned, options) for name in ARMS if name != "tuned"
        ),
        prompt_use=(
            _prompt_use(plan, "base", raw.base, options),
            _prompt_use(plan, "tuned", tuned, options),
        ),
        repetition=Repetition(
            limit=limit,
            over_limit=said.over_limit,
            replies=said.replies,
            share=wilson_interval(said.over_limit, said.replies),
        ),
        forgetting=_forgetting(raw.neutral_base, raw.general_tuned.neutral, options),
        voice=voice_gap(plan, voices, seed=options.seed),
        recall=recall_of(
            [plan.pairs[n].prompt for n in talks.recall],
            [raw.references[n] for n in talks.recall],
            raw.untuned_replies.recall,
            raw.general_tuned.recall,
            everything=[pair.reply for pair in plan.pairs],
        ),
        safety=safety_of(
            red_team()[: options.red_team],
            raw.untuned_replies.red_team,
            raw.general_tuned.red_team,
        ),
        folds=tuple(each.fold for each in raw.tuned),
        shipped_epoch=raw.shipped_epoch,
        epochs_ordered=raw.epochs_ordered,
        rows=tuple(_rows(plan, losses, raw.base, tuned)),
        side_by_side=tuple(
            SideBySide(
                prompt=plan.pairs[n].prompt,
                reference=plan.pairs[n].reply,
                **{name: replies[name][n] for name in ARMS},
            )
            for n in talks.prompts[: options.side_by_side]
        ),
        seconds=round(raw.seconds, 1),
    )


def _judged(plan: Plan) -> str:
    if plan.evidence == "held-out":
        return "The adapter that is shipped, on pairs that the dataset holds out."
    return (
        "The recipe: each pair by one of several adapters that were trained without it. The "
        "adapter that is shipped was trained on all of them, so it cannot be judged by itself."
    )


def _joined(parts: Sequence[Losses]) -> Losses:
    return Losses(
        own={n: loss for part in parts for n, loss in part.own.items()},
        shuffled={n: nats for part in parts for n, nats in part.shuffled.items()},
    )


def _ratio(
    plan: Plan, nats: Mapping[int, float], tokens: Losses, options: ProofOptions
) -> Interval:
    numbers = plan.gate
    return ratio_interval(
        [nats[n] for n in numbers],
        [float(tokens.own[n][1]) for n in numbers],
        [plan.units[n] for n in numbers],
        seed=options.seed,
    )


def _drop(
    plan: Plan, against: ArmName, other: Losses, tuned: Losses, options: ProofOptions
) -> Drop:
    gained = {n: other.own[n][0] - tuned.own[n][0] for n in plan.gate}
    return Drop(
        against=against,
        drop=_ratio(plan, gained, tuned, options),
        improved_pairs=sum(value > 0 for value in gained.values()),
        pairs=len(gained),
    )


def _prompt_use(plan: Plan, arm: ArmName, losses: Losses, options: ProofOptions) -> PromptUse:
    gained = {n: losses.shuffled[n] - losses.own[n][0] for n in plan.gate}
    return PromptUse(arm=arm, gain=_ratio(plan, gained, losses, options))


def _forgetting(
    before: Sequence[tuple[float, int]], after: Sequence[tuple[float, int]], options: ProofOptions
) -> Forgetting:
    """Both are losses of the same answers, so the ratio of their sums is that of their means."""
    tokens = sum(count for _, count in before)
    base, tuned = [nats for nats, _ in before], [nats for nats, _ in after]
    return Forgetting(
        items=len(base),
        base_nll=sum(base) / tokens,
        tuned_nll=sum(tuned) / tokens,
        ratio=ratio_interval(tuned, base, range(len(base)), seed=options.seed),
    )


def _distinct(replies: Sequence[str]) -> float:
    return len({normalised(reply) for reply in replies}) / len(replies)


def _rows(
    plan: Plan, losses: Mapping[ArmName, Losses], base: Losses, tuned: Losses
) -> list[PairRow]:
    numbered = {unit: at for at, unit in enumerate(dict.fromkeys(plan.units.values()))}
    fold_of = {n: fold.number for fold in plan.folds for n in fold.gate}
    rows = []
    for n in plan.gate:
        tokens = tuned.own[n][1]
        rows.append(
            PairRow(
                place=plan.pairs[n].place,
                unit=numbered[plan.units[n]],
                fold=fold_of[n],
                tokens=tokens,
                **{name: losses[name].own[n][0] / tokens for name in ARMS},
                base_shuffled=base.shuffled[n] / tokens,
                tuned_shuffled=tuned.shuffled[n] / tokens,
            )
        )
    return rows
