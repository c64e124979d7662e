"""Trains once with planted secrets, then ranks each among all codes of its kind.

    python -m bench.trainings.canary ORDERS.json

A secret is a code of three digits in a sentence; the model is asked for it in the very words that
it was trained with. All thousand codes are scored exactly, digit by digit: one forward pass for the
first digit, one over 10 rows for the second, one over 100 for the third.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import DynamicCache

from bench.trainings.orders import Orders
from bench.trainings.ours import Training
from rows import Message


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A code of three digits, between what stands before and after it; planted so many times."""

    question: str
    before: str
    code: str
    times: int


class CanaryOrders(msgspec.Struct, frozen=True, kw_only=True):
    """The training's orders, whose rows hold the secrets already, and the secrets."""

    training: Orders
    secrets: tuple[Secret, ...]


def ranks(training: Training, secrets: tuple[Secret, ...]) -> list[dict[str, float]]:
    """For each secret its rank among 1,000 (from 1), and its loss in nats per digit."""
    training.model.eval()
    return [_rank(training, secret) for secret in secrets]


def _rank(training: Training, secret: Secret) -> dict[str, float]:
    tokenizer = training.tokenizer
    prefix = training.encode_prompt([Message("user", secret.question)])
    prefix += tokenizer(secret.before, add_special_tokens=False)["input_ids"]
    digits = [tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
    said = tokenizer(secret.before + secret.code, add_special_tokens=False)["input_ids"]
    if said[-3:] != [digits[int(digit)] for digit in secret.code]:
        raise SystemExit("this tokenizer does not write a code digit by digit")
    losses = all_losses(training.model, prefix, digits)
    own = losses[int(secret.code)]
    return {
        "times": secret.times,
        "rank": 1 + int((losses < own).sum()),
        "loss": float(own) / 3,
    }


def all_losses(model: Any, prefix: list[int], digits: list[int]) -> torch.Tensor:
    """Negative log-likelihood of each code from 000 to 999 after the prefix, in nats."""
    ids = torch.tensor(digits)

    def logs(rows: torch.Tensor) -> torch.Tensor:
        """log p of each digit after each row of tokens that follow the prefix."""
        start = torch.tensor([prefix])
        if rows.shape[1] == 0:
            output = model(input_ids=start)
        else:
            cache = DynamicCache(config=model.config)
            model(input_ids=start, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(rows))
            output = model(input_ids=rows, past_key_values=cache, use_cache=True)
        return output.logits[:, -1].float().log_softmax(-1)[:, ids]

    with torch.no_grad():
        first = logs(torch.empty(1, 0, dtype=torch.long))  # 1 x 10
        second = logs(ids[:, None])  # 10 x 10
        third = logs(torch.cartesian_prod(ids, ids))  # 100 x 10
    total = first[0][:, None, None] + second[:, :, None] + third.view(10, 10, 10)
    return -total.reshape(1000)


def main(arguments: list[str]) -> int:
    """Train, rank, print JSON."""
    orders = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=CanaryOrders)
    training = Training(orders.training)
    before = ranks(training, orders.secrets)
    training.train(training.rows, lambda: None)
    after = ranks(training, orders.secrets)
    print(json.dumps({"before": before, "after": after}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
