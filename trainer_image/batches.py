"""Which rows train together and in which order: rows of like length, by a seed of their own.

The order depends on the rows' lengths, the seed and the epoch, and on no library's random state:
a training that goes on after an interruption, with another micro-batch or with more processes,
takes the same rows in the same steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch

from chat import IGNORED, Encoded

Batch = dict[str, torch.Tensor]

#: Optimizer steps whose rows are sorted by length together; more would tie each row to its
#: neighbours for good, fewer would pad more.
POOL_STEPS = 50
#: Lengths are compared with up to this error, so that neighbours differ from epoch to epoch.
LENGTH_JITTER = 0.15


def steps_of_epoch(
    lengths: Sequence[int], rows_per_step: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """The rows (by index) of each optimizer step of an epoch, counted from 0.

    Each row is in one step. Where they do not divide evenly, the last step is the smaller one. The
    widest of the whole steps comes first: what does not fit into memory shows at once.
    """
    draw = random.Random(f"rows of epoch {epoch} by seed {seed}")
    order = list(range(len(lengths)))
    draw.shuffle(order)
    whole = len(order) - len(order) % rows_per_step
    steps: list[list[int]] = []
    for start in range(0, whole, rows_per_step * POOL_STEPS):
        pool = order[start : min(start + rows_per_step * POOL_STEPS, whole)]
        about = {row: lengths[row] * draw.uniform(1, 1 + LENGTH_JITTER) for row in pool}
        pool.sort(key=lambda row: -about[row])
        steps += [pool[at : at + rows_per_step] for at in range(0, len(pool), rows_per_step)]
    draw.shuffle(steps)
    if steps:
        widest = max(range(len(steps)), key=lambda at: max(lengths[row] for row in steps[at]))
        steps.insert(0, steps.pop(widest))
    return steps + [order[whole:]] * (whole < len(order))


def micro_batches(
    step: Sequence[int], lengths: Sequence[int], *, micro_batch: int, processes: int
) -> list[list[list[int]]]:
    """A step's rows, cut for each process into as many micro-batches as for every other.

    By process, then by micro-batch. Rows of like length share one. Where there are too few, a
    micro-batch is empty: every process takes part in every exchange of gradients.
    """
    rows = sorted(step, key=lambda row: (-lengths[row], row))
    # Few rows are spread over the processes rather than given to the first.
    size = min(micro_batch, -(-len(rows) // processes))
    cut = [rows[at : at + size] for at in range(0, len(rows), size)]
    cut += [[]] * (-len(cut) % processes)
    return [cut[process::processes] for process in range(processes)]


class MicroBatches:
    """The micro-batches of one process, epoch by epoch; torch's `DataLoader` takes it.

    Set `epoch` (from 0) before each pass. Every step but an epoch's last has `accumulation_steps`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        rows_per_step: int,
        micro_batch: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self._lengths = lengths
        self._rows_per_step = rows_per_step
        self._micro_batch = micro_batch
        self._seed = seed
        self._process, self._processes = process, processes
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self._lengths) // self._rows_per_step)

    @property
    def accumulation_steps(self) -> int:
        """This process's micro-batches in an optimizer step."""
        rows = min(self._rows_per_step, len(self._lengths))
        return len(self._cut(list(range(rows))))

    def __len__(self) -> int:
        """This process's micro-batches of an epoch; the same in every epoch."""
        left = len(self._lengths) % self._rows_per_step
        whole = (len(self._lengths) // self._rows_per_step) * self.accumulation_steps
        return whole + (len(self._cut(list(range(left)))) if left else 0)

    def __iter__(self) -> Iterator[list[int]]:
        steps = steps_of_epoch(
            self._lengths, self._rows_per_step, seed=self._seed, epoch=self.epoch
        )
        for step in steps:
            yield from self._cut(step)

    def _cut(self, step: Sequence[int]) -> list[list[int]]:
        return micro_batches(
            step, self._lengths, micro_batch=self._micro_batch, processes=self._processes
        )[self._process]


def collate(rows: Sequence[Encoded], pad_token_id: int) -> Batch:
    """Rows as one batch, padded on the right; no rows become one without a token to learn from."""
    if not rows:
        rows = [Encoded(input_ids=[pad_token_id] * 2, labels=[IGNORED] * 2)]
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (width - len(values))

    return {
        "input_ids": torch.tensor([padded(row.input_ids, pad_token_id) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row.input_ids), 0) for row in rows]),
        "labels": torch.tensor([padded(row.labels, IGNORED) for row in rows]),
    }
