"""How good the model is: held-out loss, replies to held-out prompts, and the gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from loading import Loaded
from recipe import collate, supervised_loss_sum
from rows import Example
from tuner.training_job import Gate

SAMPLE_MAX_NEW_TOKENS = 60


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out loss in nats per supervised token, and the replies to the sampled prompts."""

    loss: float
    replies: list[str]


def evaluate(
    loaded: Loaded, sampled: Sequence[Example], *, batch_size: int, on_batch: Callable[[int], None]
) -> Evaluation:
    """Evaluate the model as it is now; `on_batch` is told how many batches are done."""
    loaded.model.eval()  # no dropout
    with torch.no_grad(), loaded.placement.autocast():
        return Evaluation(
            loss=_held_out_loss(loaded, batch_size, on_batch), replies=_replies(loaded, sampled)
        )


def _held_out_loss(loaded: Loaded, batch_size: int, on_batch: Callable[[int], None]) -> float:
    rows = loaded.eval_rows
    total = 0.0
    for number, start in enumerate(range(0, len(rows), batch_size), start=1):
        batch = collate(rows[start : start + batch_size], loaded.pad_token_id)
        on_device = {name: tensor.to(loaded.placement.device) for name, tensor in batch.items()}
        total += supervised_loss_sum(loaded.model, on_device).item()
        on_batch(number)
    return total / sum(row.supervised_tokens for row in rows)


def _replies(loaded: Loaded, sampled: Sequence[Example]) -> list[str]:
    """The model's greedy reply in place of each example's last one, all in one batch."""
    prompts = [loaded.encoder.encode_prompt(example.messages[:-1]) for example in sampled]
    width = max(len(prompt) for prompt in prompts)
    padding = [width - len(prompt) for prompt in prompts]  # on the left: replies begin together
    pad, device = loaded.pad_token_id, loaded.placement.device
    input_ids = torch.tensor([[pad] * n + ids for n, ids in zip(padding, prompts, strict=True)])
    mask = torch.tensor([[0] * n + [1] * (width - n) for n in padding])
    output = loaded.model.generate(
        input_ids=input_ids.to(device),
        attention_mask=mask.to(device),
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=SAMPLE_MAX_NEW_TOKENS,
            eos_token_id=loaded.tokenizer.eos_token_id,
            pad_token_id=pad,
        ),
    )
    texts = loaded.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return [text.strip() for text in texts]


def judge(before: Evaluation, after: Evaluation) -> Gate:
    """Whether the adapter may be promoted."""
    reasons: list[str] = []
    if not math.isfinite(after.loss):
        reasons.append("The held-out loss after training is not a finite number.")
    elif not after.loss < before.loss:
        reasons.append(
            f"The held-out loss did not fall: {before.loss:.3f} before, {after.loss:.3f} after."
        )
    if not any(after.replies):
        reasons.append("Every reply after training is empty.")
    return Gate(passed=not reasons, reasons=tuple(reasons))
