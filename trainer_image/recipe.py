"""The LoRA recipe: adapters on a frozen model, trained by transformers' `Trainer`.

What differs from the Trainer's defaults, and why:

- The loss is computed from the hidden states of supervised positions only, so the vocabulary-wide
  logits of prompts and padding never exist: half of the time, and a third of the memory.
- It is divided by the supervised tokens of the whole effective batch: how the batch is cut into
  micro-batches, and over how many processes, does not change the training.
- Rows of like length train together: less padding (`batches.py`). On a CPU they are packed: no
  padding at all, and what they begin with is computed once (`packing.py`).
- The frozen weights may be bfloat16, the adapter is always float32: small updates are not lost.
- Order and dropout have seeds of their own: the same job gives the same adapter, bit for bit, also
  when it was interrupted and goes on from a checkpoint (`checkpoints.py`).
- A micro-batch that does not fit into memory is halved, and the training goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters import adapter_moved
from adapters import add_adapter as add_adapter
from base_model import Placement
from batches import Batch as Batch
from batches import collate as collate
from chat import Encoded
from checkpoints import Checkpoints, Preempted
from failures import TrainerError
from settings import Settings
from supervised_trainer import OnStep
from supervised_trainer import supervised_loss_sum as supervised_loss_sum
from training import OnEpoch, Training
from tuner.training_job import FailureKind


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training run did. Losses are nats per supervised token."""

    applied_steps: int
    first_loss: float
    last_loss: float
    #: What `on_epoch` returned, epoch by epoch.
    epoch_values: tuple[float | None, ...] = ()
    #: The step that this process began at; 0 unless it went on from a checkpoint.
    resumed_at: int = 0


def train(
    model: Any,
    rows: Sequence[Encoded],
    settings: Settings,
    placement: Placement,
    *,
    pad_token_id: int,
    on_step: OnStep,
    on_micro_batch: Callable[[], None],
    checkpoints: Checkpoints | None = None,
    on_epoch: OnEpoch | None = None,
    stop_after_epoch: int | None = None,
) -> Trained:
    """Train the adapter in place, from its present state or from the latest checkpoint.

    `on_micro_batch` is called between the micro-batches of a step, which can take many minutes.
    `on_epoch` may evaluate the model; after an interruption it may be called for an epoch again.
    `stop_after_epoch` (from 1) keeps the schedule of the whole training and ends it early.

    Raises:
        Preempted: a stop was requested, and the state of the last complete step was kept.
        TrainerError: internal, when nothing was learned: float16 scaling skips steps at first, so
            a very short run can end where it began; a kernel without a gradient moves nothing.
    """
    fingerprint = fingerprint_of(rows, settings)
    held = checkpoints.latest(fingerprint) if checkpoints else None
    training = Training(
        model=model,
        rows=rows,
        settings=settings,
        placement=placement,
        pad_token_id=pad_token_id,
        on_step=on_step,
        on_micro_batch=on_micro_batch,
        on_epoch=on_epoch,
        last_epoch=min(stop_after_epoch or settings.epochs, settings.epochs),
        checkpoints=checkpoints,
        fingerprint=fingerprint,
    )
    with checkpoints.stop.followed() if checkpoints else contextlib.nullcontext():
        if held is not None:
            training.go_on_from(held)
        resumed_at = held.manifest.step if held else 0
        training.run()
        if checkpoints and checkpoints.stop.requested:
            raise Preempted(training.kept_step)
    record = training.record
    if record.applied_steps == 0 or not adapter_moved(model):
        raise TrainerError(
            FailureKind.INTERNAL,
            f"Training changed nothing: {record.applied_steps} optimizer steps were applied and "
            "the adapter is as it was. Train for more epochs, or on more rows.",
        )
    return Trained(
        applied_steps=record.applied_steps,
        first_loss=record.first_loss,
        last_loss=record.last_loss,
        epoch_values=tuple(record.epoch_values),
        resumed_at=resumed_at,
    )


def fingerprint_of(rows: Sequence[Encoded], settings: Settings) -> str:
    """What a checkpoint must have been trained on, to go on from it: SHA-256, in hex."""
    preset = settings.preset
    digest = hashlib.sha256()
    chosen = (
        *(preset.base_model, settings.learning_rate, settings.epochs, settings.seed),
        *(settings.rows_per_step, preset.lora_r, preset.lora_alpha, preset.lora_dropout),
        *(preset.lora_target_modules, preset.lora_rslora),
    )
    digest.update(msgspec.json.encode(chosen))
    for row in rows:
        digest.update(msgspec.json.encode((row.input_ids, row.labels)))
    return digest.hexdigest()
