"""Which rows train together: every row once, rows of like length, the same whoever trains."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from batches import MicroBatches, collate, steps_of_epoch
from chat import IGNORED

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=90)
SIZES = st.integers(1, 9)


@settings(deadline=None)
@given(lengths=LENGTHS, rows_per_step=SIZES, seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_each_row_is_in_one_step_and_only_the_last_is_smaller(
    lengths: list[int], rows_per_step: int, seed: int, epoch: int
) -> None:
    """An epoch learns from every row once, in steps of the effective batch."""
    steps = steps_of_epoch(lengths, rows_per_step, seed=seed, epoch=epoch)
    assert Counter(row for step in steps for row in step) == Counter(range(len(lengths)))
    assert all(len(step) == rows_per_step for step in steps[:-1])
    assert 0 < len(steps[-1]) <= rows_per_step


@settings(deadline=None)
@given(lengths=LENGTHS, rows_per_step=SIZES, micro_batch=SIZES, processes=st.integers(1, 4))
def test_the_same_rows_are_in_a_step_however_it_is_cut(
    lengths: list[int], rows_per_step: int, micro_batch: int, processes: int
) -> None:
    """Neither the micro-batch nor the number of processes changes what a step learns from."""
    whole = steps_of_epoch(lengths, rows_per_step, seed=3, epoch=1)
    shares = [
        MicroBatches(
            lengths,
            rows_per_step=rows_per_step,
            micro_batch=micro_batch,
            seed=3,
            process=process,
            processes=processes,
        )
        for process in range(processes)
    ]
    for share in shares:
        share.epoch = 1
    cut = [list(share) for share in shares]
    count, per_step = len(cut[0]), shares[0].accumulation_steps
    assert all(
        len(share) == count == len(batches) for share, batches in zip(cut, shares, strict=True)
    )
    assert shares[0].steps == len(whole) == -(-count // per_step)
    assert all(len(batch) <= micro_batch for share in cut for batch in share)
    for number, step in enumerate(whole):
        parts = [share[number * per_step : (number + 1) * per_step] for share in cut]
        assert sorted(row for part in parts for batch in part for row in batch) == sorted(step)


def test_rows_of_like_length_train_together_and_the_widest_step_is_first() -> None:
    """Padding costs what training costs; what does not fit must show at the start."""
    lengths = [10 + 37 * (n * 7919 % 64) for n in range(64)]
    steps = steps_of_epoch(lengths, 4, seed=1, epoch=0)
    padded = sum(4 * max(lengths[row] for row in step) for step in steps)
    assert padded < 1.15 * sum(lengths)
    assert max(lengths) in [lengths[row] for row in steps[0]]


def test_each_epoch_has_an_order_of_its_own() -> None:
    """The same neighbours in the same order would be the same three lessons thrice."""
    lengths = [50] * 40
    orders = [steps_of_epoch(lengths, 4, seed=1, epoch=epoch) for epoch in (0, 1, 0)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_an_empty_micro_batch_has_nothing_to_learn_from() -> None:
    """A process without rows of a small step still takes part in the exchange of gradients."""
    batch = collate([], pad_token_id=7)
    assert batch["input_ids"].shape == (1, 2)
    assert bool((batch["labels"] == IGNORED).all())
