"""transformers' Trainer with our recipe and nothing around it: what our own code may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

from bench.trainings import ours
from bench.trainings.common import StepCallback, lora_config
from bench.trainings.orders import Orders

_IGNORED = -100
_PAD = 2


class Training:
    """The rows come from our encoder, the placement is ours; the training is the Trainer's."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        encoded = ours.encode(orders)
        self.rows: Sequence[dict[str, list[int]]] = [
            {"input_ids": row.input_ids, "labels": row.labels} for row in encoded.rows
        ]
        set_seed(orders.seed)
        base = AutoModelForCausalLM.from_pretrained(
            orders.base_model,
            dtype=encoded.placement.dtype,
            attn_implementation=encoded.placement.attention,
        )
        self.model: Any = get_peft_model(base, lora_config(orders))

    def train(self, rows: Sequence[dict[str, list[int]]], on_step: Callable[[], None]) -> None:
        """Train on rows of `self.rows`."""
        orders = self._orders
        arguments = TrainingArguments(
            output_dir=orders.output,
            num_train_epochs=orders.epochs,
            per_device_train_batch_size=orders.effective_batch,
            learning_rate=orders.learning_rate,
            train_sampling_strategy="group_by_length",
            seed=orders.seed,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
            remove_unused_columns=False,
        )
        _Supervised(
            model=self.model,
            args=arguments,
            train_dataset=list(rows),
            data_collator=_collate,
            callbacks=[StepCallback(on_step)],
        ).train()


class _Supervised(Trainer):  # type: ignore[misc]
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        base = model.get_base_model()
        hidden = base.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        targets = inputs["labels"][:, 1:]
        supervised = targets != _IGNORED
        logits = base.lm_head(hidden[:, :-1][supervised])
        return torch.nn.functional.cross_entropy(logits.float(), targets[supervised])


def _collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (width - len(values))

    return {
        "input_ids": torch.tensor([padded(row["input_ids"], _PAD) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([padded(row["labels"], _IGNORED) for row in rows]),
    }
