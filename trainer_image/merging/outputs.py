"""How much merging changed what the model says: logits of base + adapter beside the merged ones."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

#: Neutral, so that the report may be shown to anybody.
PROMPTS = (
    "What is a good breakfast for a cold morning?",
    "Tell me about the town where you grew up.",
    "I am tired today. What should I do?",
    "How do I keep a pot of basil alive?",
    "What makes a friend a good friend?",
    "Name three things to take along on a long walk.",
)
#: The whole model in float32, and what computing with it needs besides.
_ROOM = 1.3


@dataclass(frozen=True, kw_only=True)
class LogitChange:
    """Absolute differences of logits over all positions of all prompts, computed in float32.

    `adapter_mean` is how much the adapter itself changes the base model's logits; `same_top_token`
    the share of positions at which both models say the same next token.
    """

    prompts: int
    positions: int
    max: float
    mean: float
    adapter_mean: float
    same_top_token: float


def fits(base: Path) -> bool:
    """Whether one copy of the model in float32 fits into the memory that is free."""
    config = json.loads((base / "config.json").read_text())
    each = 4 if str(config.get("dtype", config.get("torch_dtype"))) == "float32" else 2
    stored = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    return bool(psutil.virtual_memory().available > stored / each * 4 * _ROOM)


def compare(
    base: Path, adapter: Path, merged: Path, prompts: Sequence[str] = PROMPTS
) -> LogitChange:
    """Run both, one after the other: never are two models in memory."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [
        tokenizer(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            ),
            add_special_tokens=False,
            return_tensors="pt",
        ).input_ids
        for prompt in prompts
    ]
    model = PeftModel.from_pretrained(_load(base), str(adapter)).eval()
    with_adapter = _logits(model, rows)
    with model.disable_adapter():
        without = _logits(model, rows)
    del model
    gc.collect()
    after = _logits(_load(merged), rows)
    return LogitChange(
        prompts=len(rows),
        positions=len(after),
        max=float((after - with_adapter).abs().max()),
        mean=float((after - with_adapter).abs().mean()),
        adapter_mean=float((with_adapter - without).abs().mean()),
        same_top_token=float((after.argmax(-1) == with_adapter.argmax(-1)).float().mean()),
    )


def _load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _logits(model: Any, rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """All positions of all rows, one below the other."""
    with torch.no_grad():
        return torch.cat([model(input_ids=row).logits[0].float() for row in rows])
