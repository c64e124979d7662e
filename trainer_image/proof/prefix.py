"""Many rows that begin alike are computed from where they differ: the beginning is read once.

Eight examples in a prompt are some 700 tokens; before twenty pairs of 90 tokens they would cost
eight times what the pairs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from base_model import Placement


def common_length(rows: Sequence[Sequence[int]], limit: int) -> int:
    """How many first tokens all rows share, `limit` at most."""
    first, last = min(map(list, rows)), max(map(list, rows))  # what these share, all share
    length = 0
    while length < min(limit, len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length


@dataclass(kw_only=True)
class Reader:
    """A model that reads batches of token ids, with what it has read before them."""

    model: Any
    placement: Placement
    pad_token_id: int
    #: What each row's cache holds so far: 1 where a token counts.
    _mask: torch.Tensor = field(default_factory=lambda: torch.zeros((1, 0), dtype=torch.long))
    _cache: Any = None

    def begin(self, prefixes: Sequence[Sequence[int]], owners: Sequence[int]) -> None:
        """Read the prefixes; row n goes on from prefix `owners[n]`. One empty prefix: none."""
        self._cache = DynamicCache(config=self._base.config)
        self._mask = torch.zeros((len(prefixes), 0), dtype=torch.long, device=self.placement.device)
        if all(prefixes):
            self.read(*left_padded(prefixes, self.pad_token_id))
            self._cache.batch_select_indices(
                torch.tensor(owners, dtype=torch.long, device=self.placement.device)
            )
        self._mask = self._mask[list(owners)]

    def read(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Read the next tokens of every row; their hidden states (rows x tokens x width)."""
        device = self.placement.device
        self._mask = torch.cat([self._mask, mask.to(device)], dim=1)
        width = input_ids.shape[1]
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        with self.placement.autocast():
            output = self._base.get_decoder()(
                input_ids=input_ids.to(device),
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The vocabulary's logits in float32."""
        with self.placement.autocast():
            scores: torch.Tensor = self._base.get_output_embeddings()(hidden)
        return scores.float()

    @property
    def _base(self) -> Any:
        return self.model.get_base_model()


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask (rows x longest) of rows that end together."""
    width = max(map(len, rows))
    input_ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return input_ids, mask
