"""Who is judged by whom: no pair, and no pair of the same prompt, by a model that knows it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proof.plan import Plan, fold_plan, pairs_of
from proof.prompts import persona_prompt
from proof.speech import normalised
from rows import Example
from trainer.proofs import row

PROMPTS = st.sampled_from([f"Question {n}?" for n in range(14)])
ROWS = st.lists(st.lists(PROMPTS, min_size=1, max_size=5), min_size=1, max_size=16)


def _dataset(prompts: list[list[str]], part: str) -> list[Example]:
    return [
        row(*((p, f"{part} reply {n} {at}") for at, p in enumerate(each)), line=n + 1, part=part)
        for n, each in enumerate(prompts)
    ]


def _plan(train: list[list[str]], held_out: list[str], seed: int = 1) -> Plan:
    singles = [[prompt] for prompt in held_out]
    return fold_plan(_dataset(train, "train"), _dataset(singles, "eval"), seed=seed, epochs=3)


def _prompts(plan: Plan, numbers: tuple[int, ...]) -> set[str]:
    return {normalised(plan.pairs[number].prompt) for number in numbers}


@settings(deadline=None)
@given(train=ROWS, held_out=st.lists(PROMPTS, min_size=1, max_size=8), seed=st.integers(0, 9))
def test_no_prompt_is_on_both_sides_of_a_fold(
    train: list[list[str]], held_out: list[str], seed: int
) -> None:
    """Training, the choice of the epoch and the gate share none, where prompts differ at all."""
    plan = _plan(train, held_out, seed)
    everything = _prompts(plan, tuple(range(len(plan.pairs))))
    for fold in plan.folds:
        sides = (fold.train_pairs, fold.inner, fold.gate)
        assert len(set(sides[0]) | set(sides[1]) | set(sides[2])) == sum(map(len, sides))
        if plan.evidence == "cross-fit" and len(everything) > 1:
            trained, inner, gate = (_prompts(plan, side) for side in sides)
            assert not gate & trained
            assert not gate & inner
            assert not inner & trained


@settings(deadline=None)
@given(train=ROWS, held_out=st.lists(PROMPTS, min_size=1, max_size=8), seed=st.integers(0, 9))
def test_every_pair_is_judged_once_and_what_is_held_out_is_never_trained_on(
    train: list[list[str]], held_out: list[str], seed: int
) -> None:
    """Cross-fit: all pairs, those that the dataset holds out among them."""
    plan = _plan(train, held_out, seed)
    judged = [number for fold in plan.folds for number in fold.gate]
    assert len(judged) == len(set(judged))
    assert set(plan.units) == set(judged)
    for fold in plan.folds:
        assert fold.train_pairs
        assert all(plan.pairs[n].part == "train" for n in (*fold.train_pairs, *fold.inner))


@settings(deadline=None)
@given(train=ROWS, seed=st.integers(0, 9))
def test_a_folds_rows_are_the_datasets_windows_without_what_is_left_out(
    train: list[list[str]], seed: int
) -> None:
    """Each of its pairs is learned once, after its own predecessors, and nothing else is."""
    plan = _plan(train, ["Something else?"], seed)
    for fold in plan.folds:
        learned = [pair.reply for pair in pairs_of("train", fold.train_rows)]
        assert learned == [plan.pairs[number].reply for number in fold.train_pairs]


@given(seed=st.integers(0, 99))
def test_the_same_dataset_and_seed_give_the_same_plan(seed: int) -> None:
    """A later attempt goes on with the plan of the earlier one."""
    train = [[f"Question {n}?", f"More {n}?"] for n in range(9)]
    assert _plan(train, ["Else?"], seed) == _plan(train, ["Else?"], seed)


def test_sessions_are_units_where_there_are_enough_of_them() -> None:
    """Ten rows of two pairs: pairs of a conversation are no independent evidence."""
    plan = _plan([[f"Question {n}?", f"More {n}?"] for n in range(10)], ["Else?"])
    assert (plan.unit_kind, plan.unit_count) == ("sessions", 11)
    assert not plan.too_thin
    for fold in plan.folds:
        gate_rows = {plan.pairs[n].row for n in fold.gate if plan.pairs[n].part == "train"}
        assert not gate_rows & {plan.pairs[n].row for n in fold.train_pairs}


def test_pairs_are_units_in_one_long_history() -> None:
    """A session that is most of the dataset cannot be a fold."""
    plan = _plan([[f"Question {n}?" for n in range(18)]], ["Else?", "What?"])
    assert (plan.evidence, plan.unit_kind, plan.unit_count) == ("cross-fit", "pairs", 20)
    assert len(plan.folds) == 5


def test_fewer_than_ten_units_are_too_thin() -> None:
    """One prompt asked over and over is one unit, however many replies it has."""
    assert _plan([[f"Question {n}?"] for n in range(8)], ["Else?"]).too_thin
    assert _plan([["Hello?"] for _ in range(30)], ["Hello?"]).too_thin


def test_from_200_pairs_on_the_adapter_itself_is_judged() -> None:
    """On what the dataset holds out, less what was asked in training too."""
    train = [[f"Question {n}?"] for n in range(190)]
    held_out = [f"Other {n}?" for n in range(14)] + ["Question 5?"]
    plan = _plan(train, held_out)
    (fold,) = plan.folds
    assert plan.evidence == "held-out"
    assert len(fold.gate) == 14
    assert len(fold.train_pairs) + len(fold.inner) == 190
    assert not _prompts(plan, fold.gate) & _prompts(plan, fold.train_pairs)


def test_one_epoch_sets_nothing_aside_to_choose_it() -> None:
    """There is nothing to choose."""
    train = _dataset([[f"Question {n}?"] for n in range(20)], "train")
    plan = fold_plan(train, _dataset([["Else?"]], "eval"), seed=1, epochs=1)
    assert all(not fold.inner for fold in plan.folds)


def test_the_personas_own_system_text_is_the_prompt_to_beat() -> None:
    """Where rows carry one; a description in one sentence else."""
    pairs = pairs_of("train", [row(("a", "b"), system="You are Gran."), row(("c", "d"))])
    assert persona_prompt(pairs) == ("You are Gran.", "the persona's own")
    text, origin = persona_prompt(pairs_of("train", [row(("a", "Yes, dearie."))] * 3))
    assert origin == "described from its replies"
    assert "dearie" in text
    assert text.count(". ") == 0


def test_without_folds_only_what_is_held_out_is_judged() -> None:
    """The least that can be measured; so few pairs are too thin, whatever they say."""
    train = _dataset([[f"Question {n}?"] for n in range(20)], "train")
    held_out = _dataset([["Else?"], ["What?"], ["Who?"]], "eval")
    plan = fold_plan(train, held_out, seed=1, epochs=3, folds=0)
    (fold,) = plan.folds
    assert (plan.evidence, len(fold.gate), plan.too_thin) == ("held-out", 3, True)
    assert len(fold.train_pairs) + len(fold.inner) == 20
