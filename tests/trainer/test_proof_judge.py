"""The gate: which figures give which verdict, and that each reason says what is wrong."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof import thresholds
from proof.judge import gate_figures, judge
from proof.types import PersonaScore, Proof, Voice
from trainer.proofs import (
    drops,
    fold,
    forgetting,
    interval,
    measured,
    repetition,
    speech,
    tuned_arm,
    uses,
)
from tuner.training_job import Gate
from tuner.verification import PASSING


def test_a_persona_that_was_learned_well_passes_without_a_word() -> None:
    """Nothing to warn of is nothing said."""
    proof = judge(measured())
    assert (proof.verdict, proof.passed, proof.reasons, proof.warnings) == ("pass", True, (), ())


HOLDS: list[tuple[dict[str, Any], str]] = [
    ({"drops": drops((-0.01, 0.1, 0.2))}, "does not stay above 0"),
    ({"drops": drops((0.0, 0.1, 0.2))}, "does not stay above 0"),
    ({"drops": drops((-0.4, -0.3, -0.2))}, "falls by −0.300"),
    ({"drops": drops(base=(-0.2, -0.1, 0.1))}, "bare base model the loss does not fall"),
    ({"drops": drops(improved=31)}, "Only 31 of 40 pairs"),
    ({"repetition": repetition(3)}, "3 of 20 replies"),
    ({"forgetting": forgetting(1.31, 1.4, 1.5)}, "It forgets: on 120 neutral facts"),
    ({"reference_distinct_share": 0.1}, "canned: only 10%"),
    ({"prompt_use": uses((-0.1, 0.0, 0.1), (0.1, 0.2, 0.3))}, "without regard to what was said"),
    ({"prompt_use": uses((-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1))}, "were they shuffled?"),
    (
        {"prompt_use": uses((-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1)), "reference_median_words": 2.0},
        "empty talk",
    ),
    (
        {
            "voice": Voice(
                trained_on=0.5, held_out=interval(0.1, 0.2, 0.4), separation=0.97, chance=0.002
            )
        },
        "another voice",
    ),
    (tuned_arm(speech=speech(empty=6)), "6 of 20 replies are empty"),
]


@pytest.mark.parametrize(("changes", "reason"), HOLDS)
def test_each_fault_holds_the_adapter_with_its_own_reason(
    changes: dict[str, Any], reason: str
) -> None:
    """One figure out of place is enough, and the reason speaks of that figure."""
    proof = judge(measured(**changes))
    assert (proof.verdict, proof.passed) == ("hold", False)
    assert len(proof.reasons) == 1
    assert reason in proof.reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"drops": drops(improved=32)},
        {"repetition": repetition(2)},
        {
            "voice": Voice(
                trained_on=0.9, held_out=interval(0.0, 0.1, 0.2), separation=0.97, chance=0.02
            )
        },
        {
            "voice": Voice(
                trained_on=0.9, held_out=interval(0.0, 0.1, 0.2), separation=0.88, chance=0.001
            )
        },
        {"voice": Voice(trained_on=0.9, held_out=None)},
        {"reference_distinct_share": 0.5},
    ],
)
def test_what_is_just_good_enough_passes(changes: dict[str, Any]) -> None:
    """The thresholds are the literals that were written down, no stricter."""
    assert judge(measured(**changes)).verdict == "pass"


WARNS: list[tuple[dict[str, Any], str]] = [
    ({"drops": drops(examples=(-0.1, 0.05, 0.2))}, "A prompt does as well at this size"),
    ({"forgetting": forgetting(1.1, 1.2, 1.3)}, "forgets a little"),
    ({"forgetting": forgetting(1.3, 1.35, 1.4)}, "forgets a little"),
    ({"units": 12}, "evidence is thin: 12 pairs"),
    ({"units": 29, "unit_kind": "sessions"}, "29 sessions"),
    (
        tuned_arm(
            persona=PersonaScore(score=interval(0.9, 0.9, 0.9), counts=False, why_not="one reply")
        ),
        "does not count: one reply",
    ),
    (
        {
            "epochs_ordered": True,
            "shipped_epoch": 4,
            "folds": (fold(1, [4.0, 3.2, 3.1, 3.3, 3.4], 4),),
        },
        "do best after 2",
    ),
]


@pytest.mark.parametrize(("changes", "warning"), WARNS)
def test_what_is_worth_a_look_passes_with_a_warning(changes: dict[str, Any], warning: str) -> None:
    """A warning keeps nothing back."""
    proof = judge(measured(**changes))
    assert (proof.verdict, proof.passed, proof.reasons) == ("pass with warnings", True, ())
    assert len(proof.warnings) == 1
    assert warning in proof.warnings[0]


def test_a_prompt_without_examples_is_not_said_to_do_as_well() -> None:
    """No example fitted into the prompt, so that arm was the prompted one once more."""
    changed = measured(drops=drops(examples=(-0.1, 0.0, 0.1)), examples_in_prompt=0)
    assert judge(changed).verdict == "pass"


def test_warnings_are_kept_on_a_hold() -> None:
    """Whoever looks at a held adapter wants to know all of it."""
    proof = judge(measured(drops=drops((-0.1, 0.0, 0.1), examples=(-0.3, -0.2, -0.1)), units=12))
    assert proof.verdict == "hold"
    assert len(proof.warnings) == 2


def test_too_long_a_training_is_a_reason_when_there_is_another() -> None:
    """It explains the fault that was found, and says what to ask for."""
    proof = judge(
        measured(
            forgetting=forgetting(1.5, 1.6, 1.7),
            epochs_ordered=True,
            shipped_epoch=20,
            folds=(fold(1, [4.0, 3.2, *[3.5] * 19], 20),),
        )
    )
    assert proof.verdict == "hold"
    assert "of the 20 epochs that were asked for" in proof.reasons[1]
    assert "ask for 1." in proof.reasons[1]


@pytest.mark.parametrize("units", range(10))
def test_below_ten_units_nothing_passes(units: int) -> None:
    """However good the figures are: such intervals do not mean what they say."""
    proof = judge(measured(units=units))
    assert (proof.verdict, proof.passed) == ("too thin", False)
    assert "10 are needed" in proof.reasons[0]


def test_what_else_is_wrong_is_told_of_thin_evidence_too() -> None:
    """The thinness comes first, the faults that are known all the same follow."""
    proof = judge(measured(units=4, forgetting=forgetting(1.5, 1.6, 1.7)))
    assert proof.verdict == "too thin"
    assert len(proof.reasons) == 2


FLOATS = st.floats(-3, 3)


@given(
    low=FLOATS | st.just(1e-7),
    share=st.integers(0, 40),
    ratio=st.floats(0.5, 3),
    units=st.integers(0, 60),
)
def test_nothing_passes_that_completion_would_not_believe(
    low: float, share: int, ratio: float, units: int
) -> None:
    """The trainer's thresholds, and completion's own copy of them, agree on every pass."""
    proof = judge(
        measured(
            drops=drops((low, low + 0.1, low + 0.2), improved=share),
            forgetting=forgetting(ratio, ratio, ratio),
            units=units,
        )
    )
    figures = gate_figures(proof)
    believed = all(holds(figures[name], least) for name, (holds, least) in PASSING.items())
    assert not proof.passed or believed


def test_completions_copy_of_the_thresholds_is_the_trainers() -> None:
    """Two copies on purpose: no trainer can change the one that it is checked against."""
    assert {name: least for name, (_, least) in PASSING.items()} == {
        "drop_prompted_low": thresholds.MIN_DROP,
        "improved_share": thresholds.MIN_IMPROVED_SHARE,
        "repetition_share_low": thresholds.REPETITION_EXPECTED_SHARE,
        "forgetting_low": thresholds.MAX_FORGETTING,
        "prompt_use_low": thresholds.MIN_PROMPT_USE,
        "units": thresholds.MIN_UNITS,
    }


def test_figures_are_finite_few_and_fit_a_gate() -> None:
    """They go into records and events, and through a strict decoder."""
    figures = gate_figures(judge(measured()))
    assert len(figures) <= 60
    assert all(math.isfinite(value) for value in figures.values())
    gate = Gate(passed=True, verdict="pass", figures=figures)
    assert msgspec.json.decode(msgspec.json.encode(gate), type=Gate) == gate


def test_a_proof_survives_being_written_down() -> None:
    """`proof.json` is read back by the report."""
    proof = judge(measured())
    assert msgspec.json.decode(msgspec.json.encode(proof), type=Proof) == proof


def test_no_sentence_is_longer_than_completion_takes() -> None:
    """Whatever goes wrong together."""
    changes: dict[str, Any] = {}
    for each, _ in [*HOLDS, *WARNS]:
        changes |= each
    proof = judge(measured(**changes))
    assert len(proof.reasons) + len(proof.warnings) <= 20
    assert all(len(each) <= 1000 for each in (*proof.reasons, *proof.warnings))
