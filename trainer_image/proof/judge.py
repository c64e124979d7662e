"""The gate: from what was measured to a verdict, with each reason in words and numbers."""

from __future__ import annotations

import math

import msgspec

from proof import thresholds
from proof.bootstrap import wilson_interval
from proof.types import Fold, Interval, Measured, Proof, Verdict


def judge(measured: Measured) -> Proof:
    """The verdict over everything that was measured."""
    held = _holds(measured)
    warnings = _warnings(measured)
    too_long = _trained_too_long(measured)
    if too_long:
        (held if held else warnings).append(too_long)
    verdict: Verdict
    if measured.units < thresholds.MIN_UNITS:
        verdict = "too thin"
        held.insert(0, _too_thin(measured))
    elif held:
        verdict = "hold"
    else:
        verdict = "pass with warnings" if warnings else "pass"
    fields = {name: getattr(measured, name) for name in measured.__struct_fields__}
    return Proof(
        thresholds_version=thresholds.VERSION,
        verdict=verdict,
        passed=verdict in ("pass", "pass with warnings"),
        reasons=tuple(held),
        warnings=tuple(warnings),
        **fields,
    )


def _too_thin(measured: Measured) -> str:
    what = "session" if measured.unit_kind == "sessions" else "pair"
    return (
        f"Too little to judge: {_count(measured.units, what)} to measure on, "
        f"{thresholds.MIN_UNITS} are needed for an interval that means what it says. Add more "
        "conversations; until then the adapter is promoted by hand only."
    )


def _holds(measured: Measured) -> list[str]:
    found = [
        _gain(measured),
        _improved(measured),
        _repeats(measured),
        _forgets(measured),
        _is_canned(measured),
        _ignores_prompts(measured),
        _has_two_voices(measured),
        _is_empty(measured),
    ]
    return [reason for reason in found if reason]


def _gain(measured: Measured) -> str:
    prompted, base = measured.drop("prompted").drop, measured.drop("base").drop
    if not prompted.low > thresholds.MIN_DROP:
        return (
            "Against the base model with the persona's prompt, the loss on pairs that were not "
            f"trained on falls by {_nats(prompted)}: the interval does not stay above 0, so a "
            "sentence of prompt may do as well or better."
        )
    if not base.value > 0:
        return f"Against the bare base model the loss does not fall: {_nats(base)}."
    return ""


def _improved(measured: Measured) -> str:
    drop = measured.drop("prompted")
    if drop.improved_share >= thresholds.MIN_IMPROVED_SHARE:
        return ""
    return (
        f"Only {drop.improved_pairs} of {drop.pairs} pairs ({drop.improved_share:.0%}) improve on "
        f"the base model with the persona's prompt; {thresholds.MIN_IMPROVED_SHARE:.0%} must."
    )


def _repeats(measured: Measured) -> str:
    found = measured.repetition
    if not found.share.low > thresholds.REPETITION_EXPECTED_SHARE:
        return ""
    return (
        f"{found.over_limit} of {found.replies} replies ({_percent(found.share)}) repeat "
        f"themselves more than the persona's {thresholds.REPETITION_PERCENTILE}th percentile "
        f"({found.limit:.2f}); {thresholds.REPETITION_EXPECTED_SHARE:.0%} would be its own share."
    )


def _forgets(measured: Measured) -> str:
    ratio = measured.forgetting.ratio
    if not ratio.low > thresholds.MAX_FORGETTING:
        return ""
    return (
        f"It forgets: on {measured.forgetting.items} neutral facts the loss is {_times(ratio)} "
        f"that of the base model, and more than {thresholds.MAX_FORGETTING:.2f} × is too much. "
        "Train for fewer epochs, or with a lower learning rate."
    )


def _is_canned(measured: Measured) -> str:
    share = measured.reference_distinct_share
    if share >= thresholds.MIN_DISTINCT_REFERENCES:
        return ""
    return (
        f"The replies to learn from are canned: only {share:.0%} of the {measured.pairs} differ "
        f"from one another. A persona needs {thresholds.MIN_DISTINCT_REFERENCES:.0%} at least."
    )


def _ignores_prompts(measured: Measured) -> str:
    tuned, base = measured.use_of_prompt("tuned"), measured.use_of_prompt("base")
    if tuned.low > thresholds.MIN_PROMPT_USE:
        return ""
    figures = f"A reply costs {_nats(tuned)} more under another pair's prompt than under its own."
    if measured.reference_distinct_share < thresholds.MIN_DISTINCT_REFERENCES:
        why = "The same is said to everything."
    elif measured.reference_median_words <= thresholds.EMPTY_TALK_WORDS:
        why = (
            "The replies to learn from are empty talk, in the middle "
            f"{_count(round(measured.reference_median_words), 'word')} long, and fit any prompt."
        )
    elif not base.low > thresholds.MIN_PROMPT_USE:
        why = "The replies to learn from do not belong to their prompts: were they shuffled?"
    else:
        why = "The adapter answers without regard to what was said."
    return f"{why} {figures}"


def _has_two_voices(measured: Measured) -> str:
    voice = measured.voice
    far = voice.separation > thresholds.MAX_VOICE_SEPARATION
    if voice.held_out is None or not far or voice.chance > thresholds.VOICE_CHANCE:
        return ""
    return (
        "What was held out is in another voice than what was trained on (spelt less like it in "
        f"{voice.separation:.0%} of the couples; by chance {voice.chance:.1%}): are there another "
        "persona's replies in the dataset?"
    )


def _is_empty(measured: Measured) -> str:
    speech = measured.arm("tuned").speech
    share = wilson_interval(speech.empty, speech.replies)
    if not share.low > thresholds.REPETITION_EXPECTED_SHARE:
        return ""
    return f"{speech.empty} of {speech.replies} replies are empty."


def _trained_too_long(measured: Measured) -> str:
    """What the folds say about epochs that the request ordered; empty when they agree."""
    folds = [fold for fold in measured.folds if fold.curve]
    if not measured.epochs_ordered or not folds:
        return ""
    best, last = _mean_at(folds, best=True), _mean_at(folds, best=False)
    epochs = sorted(fold.best_epoch for fold in folds)
    middle = epochs[len(epochs) // 2]
    if middle >= measured.shipped_epoch or not last > best:
        return ""
    return (
        f"Trained for too long: of the {_count(measured.shipped_epoch, 'epoch')} that were asked "
        f"for, the folds do best after {middle} ({best:.2f} nats per token on pairs set aside, "
        f"{last:.2f} at the end). Leave the number of epochs to the preset, or ask for {middle}."
    )


def _mean_at(folds: list[Fold], *, best: bool) -> float:
    losses = []
    for fold in folds:
        curve = {point.epoch: point.nll for point in fold.curve}
        losses.append(curve[fold.best_epoch if best else max(curve)])
    return sum(losses) / len(losses)


def _warnings(measured: Measured) -> list[str]:
    found = []
    examples = measured.drop("examples").drop
    if measured.examples_in_prompt and not examples.low > 0:
        found.append(
            "A prompt does as well at this size: against the base model with "
            f"{_count(measured.examples_in_prompt, 'example')} in its prompt the loss falls by "
            f"{_nats(examples)}."
        )
    ratio = measured.forgetting.ratio
    if ratio.value > thresholds.WARN_FORGETTING and not ratio.low > thresholds.MAX_FORGETTING:
        found.append(
            f"It forgets a little: on {measured.forgetting.items} neutral facts the loss is "
            f"{_times(ratio)} that of the base model."
        )
    if thresholds.MIN_UNITS <= measured.units < thresholds.THIN_UNITS:
        what = "session" if measured.unit_kind == "sessions" else "pair"
        found.append(
            f"The evidence is thin: {_count(measured.units, what)}; from {thresholds.THIN_UNITS} "
            "on it is not."
        )
    tuned = measured.arm("tuned").persona
    if not tuned.counts:
        found.append(f"The persona score does not count: {tuned.why_not}.")
    return found


def gate_figures(proof: Proof) -> dict[str, float]:
    """The figures that go with the verdict into the result, by name; nats per token and shares."""
    figures: dict[str, float] = {
        "units": proof.units,
        "pairs": proof.pairs,
        "epoch": proof.shipped_epoch,
        "improved_share": proof.drop("prompted").improved_share,
        "persona_reference": proof.reference_persona.value,
        "repetition_limit": proof.repetition.limit,
        "recall_base": proof.recall.base,
        "recall_tuned": proof.recall.tuned,
        "red_team": len(proof.safety.items),
        "refused_base": proof.safety.base_refused,
        "refused_tuned": proof.safety.tuned_refused,
        "deflected_base": proof.safety.base_deflected,
        "deflected_tuned": proof.safety.tuned_deflected,
    }
    intervals = {
        "repetition_share": proof.repetition.share,
        "forgetting": proof.forgetting.ratio,
        "prompt_use": proof.use_of_prompt("tuned"),
        **{f"drop_{drop.against}": drop.drop for drop in proof.drops},
        **{f"nll_{arm.name}": arm.nll for arm in proof.arms},
        **{f"persona_{arm.name}": arm.persona.score for arm in proof.arms},
    }
    for name, interval in intervals.items():
        for end, value in msgspec.structs.asdict(interval).items():
            figures[name if end == "value" else f"{name}_{end}"] = value
    # Unrounded: a lower end just above 0 must not become 0.
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _nats(interval: Interval) -> str:
    return (
        f"{_signed(interval.value)} nats per token "
        f"[{_signed(interval.low)}, {_signed(interval.high)}]"
    )


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _times(interval: Interval) -> str:
    return f"{interval.value:.2f} × [{interval.low:.2f}, {interval.high:.2f}]"


def _percent(interval: Interval) -> str:
    return f"{interval.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
