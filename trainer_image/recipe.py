"""The LoRA recipe: adapters on a frozen model, trained by transformers' `Trainer`.

What differs from the Trainer's defaults, and why:

- The loss is computed from the hidden states of supervised positions only, so the vocabulary-wide
  logits of prompts and padding never exist: half of the time, and a third of the memory.
- It is divided by the supervised tokens of the whole effective batch: how the batch is cut into
  micro-batches does not change the training.
- The frozen weights may be bfloat16, the adapter is always float32: small updates are not lost.
- Order and dropout have seeds of their own: the same job gives the same adapter, bit for bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from base_model import Placement
from chat import IGNORED, Encoded
from failures import TrainerError
from settings import Settings
from tuner.training_job import BaseModel, FailureKind

Batch = dict[str, torch.Tensor]
#: Called after each optimizer step with: step (from 1), loss, learning rate, epoch.
OnStep = Callable[[int, float, float, float], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training run did. Losses are nats per supervised token."""

    applied_steps: int
    first_loss: float
    last_loss: float


def add_adapter(model: Any, settings: Settings, identity: BaseModel) -> Any:
    """Put a fresh LoRA adapter on a frozen model; its first output is the base model's own."""
    set_seed(settings.seed)
    preset = settings.preset
    config = LoraConfig(
        r=preset.lora_r,
        lora_alpha=preset.lora_alpha,
        lora_dropout=preset.lora_dropout,
        target_modules=list(preset.lora_target_modules),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)  # adapters are float32, whatever the weights are
    # PEFT writes the name that the model was loaded under, which may be a local path.
    adapted.active_peft_config.base_model_name_or_path = identity.name
    adapted.active_peft_config.revision = identity.revision
    return adapted


def train(
    model: Any,
    rows: Sequence[Encoded],
    settings: Settings,
    placement: Placement,
    *,
    pad_token_id: int,
    on_step: OnStep,
    on_micro_batch: Callable[[], None],
) -> Trained:
    """Train the adapter in place.

    `on_micro_batch` is called between the micro-batches of a step, which can take many minutes.

    Raises:
        TrainerError: internal, when nothing was learned: float16 scaling skips steps at first, so
            a very short run can end where it began; a kernel without a gradient moves nothing.
    """
    follower = _Follower(on_step, on_micro_batch)
    with tempfile.TemporaryDirectory() as unused_dir:
        trainer = _SupervisedTrainer(
            placement=placement,
            model=model,
            args=_arguments(settings, placement, unused_dir),
            train_dataset=list(rows),
            data_collator=lambda batch: collate(batch, pad_token_id),
            callbacks=[follower],
        )
        trainer.remove_callback(PrinterCallback)  # it prints dicts among our JSON lines
        follower.step_was_skipped = lambda: trainer.accelerator.optimizer_step_was_skipped
        # Resuming from a checkpoint will begin here: `resume_from_checkpoint`, and a
        # `save_strategy` with the run's checkpoints/ as its destination.
        trainer.train()
    if follower.applied_steps == 0 or not adapter_moved(model):
        raise TrainerError(
            FailureKind.INTERNAL,
            f"Training changed nothing: {follower.applied_steps} optimizer steps were applied and "
            "the adapter is as it was. Train for more epochs, or on more rows.",
        )
    return Trained(
        applied_steps=follower.applied_steps,
        first_loss=follower.losses[0],
        last_loss=follower.losses[-1],
    )


def adapter_moved(model: Any) -> bool:
    """Whether an adapter differs from a fresh one, whose B matrices are all zeros."""
    return any(
        bool(parameter.any()) for name, parameter in model.named_parameters() if "lora_B" in name
    )


def collate(rows: Sequence[Encoded], pad_token_id: int) -> Batch:
    """Rows as one batch, padded on the right."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (width - len(values))

    return {
        "input_ids": torch.tensor([padded(row.input_ids, pad_token_id) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row.input_ids), 0) for row in rows]),
        "labels": torch.tensor([padded(row.labels, IGNORED) for row in rows]),
    }


def supervised_loss_sum(model: Any, batch: Batch) -> torch.Tensor:
    """Summed negative log-likelihood of the batch's supervised tokens, in nats."""
    base = model.get_base_model()
    hidden = base.get_decoder()(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state
    targets = batch["labels"][:, 1:]  # the token at i is predicted from position i - 1
    supervised = targets != IGNORED
    logits = base.get_output_embeddings()(hidden[:, :-1][supervised])
    return torch.nn.functional.cross_entropy(logits.float(), targets[supervised], reduction="sum")


class _SupervisedTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss looks at supervised positions only."""

    def __init__(self, *, placement: Placement, **options: Any) -> None:
        super().__init__(**options)
        self._placement = placement
        # Ask for the supervised tokens of the whole effective batch, and say that it is the norm.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # The Trainer puts autocast around `model.forward`, which is not called here.
        with self._placement.autocast():
            total = supervised_loss_sum(self.accelerator.unwrap_model(model), inputs)
        assert num_items_in_batch is not None  # counted because model_accepts_loss_kwargs is set
        return total / num_items_in_batch


class _Follower(TrainerCallback):  # type: ignore[misc]
    """Counts applied steps and passes each step's numbers on."""

    def __init__(self, on_step: OnStep, on_micro_batch: Callable[[], None]) -> None:
        self._on_step = on_step
        self._on_micro_batch = on_micro_batch
        self.step_was_skipped: Callable[[], bool] = lambda: False
        self.applied_steps = 0
        self.losses: list[float] = []

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._on_micro_batch()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.applied_steps += not self.step_was_skipped()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return  # the summary at the end
        self.losses.append(float(logs["loss"]))
        self._on_step(
            int(state.global_step),
            float(logs["loss"]),
            float(logs["learning_rate"]),
            float(state.epoch),
        )


def _arguments(settings: Settings, placement: Placement, output_dir: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=output_dir,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=placement.device == "cpu",
        bf16=False,  # the weights are bfloat16 already, where that pays
        fp16=placement.fp16_autocast,
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_pin_memory=placement.device == "cuda",
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
