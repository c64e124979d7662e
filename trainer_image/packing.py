"""A micro-batch in packs: rows one after the other, and what they begin with only once.

The rows of a persona begin alike, with its system prompt or the template's own. In a pack that
beginning is computed once, nothing is padded, and each row sees the beginning and itself: losses
and gradients are those of the rows one by one. Only dropout differs, which is drawn once for the
beginning, too.

For models whose layers see tokens by attention alone, and by `position_ids` where they are; a
model with a state from token to token would mix the rows.
"""

from __future__ import annotations

import torch

from batches import Batch
from chat import IGNORED

#: transformers' names of the architectures that were seen to compute packs as they compute rows.
PACKABLE = frozenset({"llama", "mistral"})


def packs(batch: Batch, most_tokens: int, dtype: torch.dtype) -> list[Batch]:
    """A batch's rows in packs of at most so many tokens, but a row at least.

    `dtype` is what the model computes in. A pack of several rows has "position_ids" and, in the
    place of the mask of its tokens, one of 1 x 1 x tokens x tokens that is added to the scores.
    """
    widths: list[int] = batch["attention_mask"].sum(dim=1).tolist()
    shared = _shared(batch, widths)
    cut: list[list[int]] = []
    sizes: list[int] = []
    for row in sorted(range(len(widths)), key=lambda row: -widths[row]):
        own = widths[row] - shared
        fits = (number for number, size in enumerate(sizes) if size + own <= most_tokens)
        number = next(fits, None)
        if number is None:
            cut.append([row])
            sizes.append(shared + own)
        else:
            cut[number].append(row)
            sizes[number] += own
    return [_pack(batch, rows, widths, shared, dtype) for rows in cut]


def _shared(batch: Batch, widths: list[int]) -> int:
    """How many first tokens all rows have in common, without the one that predicts a reply's first:
    what it predicts differs from row to row.
    """
    ids, labels = batch["input_ids"], batch["labels"]
    alike = _leading((ids == ids[0]).all(dim=0))
    before_replies = _leading((labels == IGNORED).all(dim=0))
    return max(0, min(alike, before_replies - 1, min(widths) - 1))


def _leading(true: torch.Tensor) -> int:
    """How many of a vector's first values are true."""
    return int(true.long().cumprod(dim=0).sum())


def _pack(
    batch: Batch, rows: list[int], widths: list[int], shared: int, dtype: torch.dtype
) -> Batch:
    if len(rows) == 1:
        return {name: tensor[rows, : widths[rows[0]]] for name, tensor in batch.items()}
    ends = [widths[row] for row in rows]

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        own = [tensor[row, shared:end] for row, end in zip(rows, ends, strict=True)]
        return torch.cat([tensor[rows[0], :shared], *own])

    owners = torch.cat(
        [
            torch.zeros(shared, dtype=torch.long),
            *(torch.full((end - shared,), number) for number, end in enumerate(ends, start=1)),
        ]
    )
    positions = torch.cat([torch.arange(shared), *(torch.arange(shared, end) for end in ends)])
    is_seen = (owners[:, None] == owners[None, :]) | (owners[None, :] == 0)
    is_seen &= torch.ones(len(owners), len(owners), dtype=torch.bool).tril()
    mask = torch.zeros(is_seen.shape, dtype=dtype).masked_fill(~is_seen, torch.finfo(dtype).min)
    return {
        "input_ids": packed(batch["input_ids"])[None],
        "labels": packed(batch["labels"])[None],
        "attention_mask": mask[None, None],
        "position_ids": positions[None],
    }
