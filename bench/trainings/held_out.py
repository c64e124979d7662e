"""Held-out loss, taken alike of everyone's adapter: float32, one row at a time."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench.trainings import ours
from bench.trainings.orders import Orders

_IGNORED = -100


@torch.no_grad()  # type: ignore[untyped-decorator]
def held_out_loss(orders: Orders, adapter: Path | None) -> float:
    """Mean negative log-likelihood of the held-out replies, in nats per token."""
    model = AutoModelForCausalLM.from_pretrained(orders.base_model, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    total, tokens = 0.0, 0
    for row in ours.encode(orders).held_out:
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].float()
        targets = torch.tensor(row.labels[1:])
        total += torch.nn.functional.cross_entropy(
            logits, targets, ignore_index=_IGNORED, reduction="sum"
        ).item()
        tokens += int((targets != _IGNORED).sum())
    return total / tokens
