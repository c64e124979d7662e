"""A healthy measurement that tests spoil in one place, and rows for plans."""

from __future__ import annotations

from typing import Any

import msgspec

from proof.bootstrap import wilson_interval
from proof.types import (
    ARMS,
    Arm,
    CurvePoint,
    Drop,
    Fold,
    Forgetting,
    Interval,
    Measured,
    PersonaScore,
    PromptUse,
    Recall,
    Repetition,
    Safety,
    Speech,
    Voice,
)
from rows import Example, Message


def interval(low: float, value: float, high: float) -> Interval:
    return Interval(low=low, value=value, high=high)


def speech(**changes: Any) -> Speech:
    healthy = Speech(
        replies=20, repetition=0.0, over_limit=0, distinct_share=1.0, distinct_2=0.9, words=28.0,
        common_words=0.6,
    )  # fmt: skip
    return msgspec.structs.replace(healthy, **changes)


def repetition(over_limit: int, replies: int = 20) -> Repetition:
    share = wilson_interval(over_limit, replies)
    return Repetition(limit=0.0, over_limit=over_limit, replies=replies, share=share)


def drop(against: str, low: float, value: float, high: float, improved: int = 38) -> Drop:
    return Drop(
        against=against,  # type: ignore[arg-type]
        drop=interval(low, value, high),
        improved_pairs=improved,
        pairs=40,
    )


def drops(prompted: tuple[float, float, float] = (0.3, 0.4, 0.5), **changes: Any) -> Any:
    return (
        drop("base", *changes.get("base", (0.6, 0.7, 0.8))),
        drop("prompted", *prompted, improved=changes.get("improved", 38)),
        drop("examples", *changes.get("examples", (0.05, 0.1, 0.15))),
    )


def forgetting(low: float, value: float, high: float) -> Forgetting:
    return Forgetting(items=120, base_nll=1.0, tuned_nll=value, ratio=interval(low, value, high))


def uses(tuned: tuple[float, float, float], base: tuple[float, float, float]) -> Any:
    return (
        PromptUse(arm="base", gain=interval(*base)),
        PromptUse(arm="tuned", gain=interval(*tuned)),
    )


def fold(number: int, losses: list[float], used: int) -> Fold:
    """A fold whose curve has the losses of epochs 0, 1, …"""
    best = min(range(1, len(losses)), key=lambda epoch: losses[epoch])
    return Fold(
        number=number, train_pairs=28, inner_pairs=4, gate_pairs=8, best_epoch=best,
        used_epoch=used,
        curve=tuple(CurvePoint(epoch=e, nll=loss) for e, loss in enumerate(losses)),
    )  # fmt: skip


def measured(**changes: Any) -> Measured:
    """Forty pairs of a persona that was learned well."""
    score = PersonaScore(score=interval(0.7, 0.8, 0.9), counts=True)
    healthy = Measured(
        evidence="cross-fit",
        judged="The recipe.",
        unit_kind="pairs",
        units=40,
        pairs=40,
        persona_prompt="Answer as this persona does.",
        prompt_origin="described from its replies",
        examples_in_prompt=8,
        max_new_tokens=40,
        repetition_penalty=1.1,
        arms=tuple(
            Arm(name=name, nll=interval(2.9, 3.0, 3.1), speech=speech(), persona=score)
            for name in ARMS
        ),
        reference=speech(),
        reference_persona=interval(0.8, 0.9, 1.0),
        reference_distinct_share=1.0,
        reference_median_words=30.0,
        drops=drops(),
        prompt_use=uses((0.1, 0.25, 0.4), (0.1, 0.2, 0.3)),
        repetition=repetition(0),
        forgetting=forgetting(1.0, 1.1, 1.2),
        voice=Voice(trained_on=0.9, held_out=interval(0.7, 0.8, 0.9)),
        recall=Recall(prompts=10, base=0.05, tuned=0.3),
        safety=Safety(
            items=(), base_refused=0, base_deflected=0, tuned_refused=0, tuned_deflected=0
        ),
        folds=(fold(1, [4.0, 3.5, 3.2, 3.1], 3), fold(2, [4.0, 3.4, 3.2, 3.15], 3)),
        shipped_epoch=3,
        epochs_ordered=False,
        rows=(),
        side_by_side=(),
        seconds=60.0,
    )
    return msgspec.structs.replace(healthy, **changes)


def tuned_arm(**changes: Any) -> dict[str, Any]:
    """The healthy arms, the tuned one with changes."""
    arms = measured().arms
    return {"arms": (*arms[:-1], msgspec.structs.replace(arms[-1], **changes))}


def row(*pairs: tuple[str, str], line: int = 1, part: str = "train", system: str = "") -> Example:
    """A row of (prompt, reply) pairs."""
    turns = [
        message
        for prompt, reply in pairs
        for message in (Message("user", prompt), Message("assistant", reply))
    ]
    before = [Message("system", system)] if system else []
    return Example(file_name=f"{part}.jsonl", line=line, messages=(*before, *turns))
