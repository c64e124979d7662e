"""TRL's SFTTrainer with its own defaults: bfloat16 autocast and gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from datasets import Dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from bench.trainings.common import StepCallback, lora_config
from bench.trainings.orders import Orders


class Training:
    """A trainer that makes its own model from the base model's folder."""

    #: What differs from TRL's defaults, beside what everyone has in common.
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        # Prompt and completion: TRL then supervises the reply alone, as we do.
        self.rows: Sequence[dict[str, Any]] = [
            {"prompt": row[:-1], "completion": row[-1:]} for row in orders.conversations()
        ]
        self._tokenizer = AutoTokenizer.from_pretrained(orders.base_model)
        self.model: Any = orders.base_model

    def train(self, rows: Sequence[dict[str, Any]], on_step: Callable[[], None]) -> None:
        """Train on rows of `self.rows`."""
        orders = self._orders
        is_fresh = isinstance(self.model, str)
        trainer = SFTTrainer(
            model=self.model,
            args=SFTConfig(
                output_dir=orders.output,
                num_train_epochs=orders.epochs,
                per_device_train_batch_size=orders.effective_batch,
                learning_rate=orders.learning_rate,
                seed=orders.seed,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_steps=1,
                **self.options,
            ),
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=self._tokenizer,
            peft_config=lora_config(orders) if is_fresh else None,
            callbacks=[StepCallback(on_step)],
        )
        trainer.train()
        self.model = trainer.model
