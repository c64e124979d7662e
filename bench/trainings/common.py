"""What the contenders have in common; needs the trainer's environment alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peft import LoraConfig
from transformers import TrainerCallback

from bench.trainings.orders import Orders


def lora_config(orders: Orders) -> LoraConfig:
    """The same adapter for everyone."""
    return LoraConfig(
        r=orders.lora_r,
        lora_alpha=orders.lora_alpha,
        lora_dropout=orders.lora_dropout,
        target_modules=orders.lora_target_modules,
        task_type="CAUSAL_LM",
    )


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Calls a function after each optimizer step."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._on_step()
