"""The LoRA recipe: adapters on a frozen model, trained by transformers' `Trainer`.

What differs from the Trainer's defaults, and why:

- The loss is computed from the hidden states of supervised positions only, so the vocabulary-wide
  logits of prompts and padding never exist: half of the time, and a third of the memory.
- It is divided by the supervised tokens of the whole effective batch: how the batch is cut into
  micro-batches, and over how many processes, does not change the training.
- Rows of like length train together: less padding (`batches.py`).
- The frozen weights may be bfloat16, the adapter is always float32: small updates are not lost.
- Order and dropout have seeds of their own: the same job gives the same adapter, bit for bit, also
  when it was interrupted and goes on from a checkpoint (`checkpoints.py`).
- A micro-batch that does not fit into memory is halved, and the training goes on where it was.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.metadata
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from transformers import PrinterCallback, TrainerCallback

from adapters import adapter_moved, load_adapter
from adapters import add_adapter as add_adapter
from base_model import Placement
from batches import Batch as Batch
from batches import MicroBatches
from batches import collate as collate
from chat import Encoded
from checkpoints import Checkpoint, Checkpoints, Conditions, Preempted, recordable
from failures import TrainerError, is_out_of_memory
from logs import log
from settings import Settings
from supervised_trainer import (
    ADAPTER_NAME,
    OnStep,
    SupervisedTrainer,
    random_states,
    restore_random_states,
    training_arguments,
)
from supervised_trainer import supervised_loss_sum as supervised_loss_sum
from tuner.training_job import FailureKind

#: Called at each epoch's end with its number (from 1); what it returns is kept in `Trained`.
OnEpoch = Callable[[int], float | None]

#: Whose versions a result's last bits may depend on.
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")


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


@dataclass(kw_only=True)
class _Record:
    """What is known of the training so far, across interruptions."""

    applied_steps: int = 0
    first_loss: float = math.nan
    last_loss: float = math.nan
    losses: int = 0
    epoch_values: list[float | None] = field(default_factory=list)


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
    training = _Training(
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
            raise Preempted
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


def conditions_of(placement: Placement, *, micro_batch: int, image: str = "") -> Conditions:
    """This process's conditions, with the given placement."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    on_gpu = placement.device == "cuda"
    return Conditions(
        image=image,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        processes=placement.processes,
        dtype=str(placement.dtype).removeprefix("torch."),
        attention=placement.attention,
        activation_checkpointing=placement.activation_checkpointing,
        micro_batch=micro_batch,
        libraries=versions,
    )


class _Training:
    """One training, over all the Trainers that it takes when memory does not suffice."""

    def __init__(
        self,
        *,
        model: Any,
        rows: Sequence[Encoded],
        settings: Settings,
        placement: Placement,
        pad_token_id: int,
        on_step: OnStep,
        on_micro_batch: Callable[[], None],
        on_epoch: OnEpoch | None,
        last_epoch: int,
        checkpoints: Checkpoints | None,
        fingerprint: str,
    ) -> None:
        self.model, self.rows, self.settings = model, rows, settings
        self.placement, self.pad_token_id = placement, pad_token_id
        self.on_step, self.on_micro_batch, self.on_epoch = on_step, on_micro_batch, on_epoch
        self.last_epoch = last_epoch
        self.checkpoints = checkpoints
        self.record = _Record()
        self.micro_batch = settings.micro_batch
        self._fingerprint = fingerprint
        self._held: Checkpoint | None = None

    def go_on_from(self, held: Checkpoint) -> None:
        """Begin where `held` ends, with its micro-batch if that fits the settings."""
        manifest = held.manifest
        self._held = held
        # A smaller one was asked for since: the checkpoint's did not fit.
        self.micro_batch = min(self.micro_batch, manifest.conditions.micro_batch)
        self.record = _Record(
            applied_steps=manifest.applied_steps,
            first_loss=_loss(manifest.first_loss),
            last_loss=_loss(manifest.last_loss),
            losses=manifest.step,
            epoch_values=list(manifest.epoch_values),
        )
        log("INFO", "training goes on from a checkpoint", step=manifest.step)
        differences = manifest.conditions.differences(self._conditions())
        if differences:
            log(
                "WARNING",
                "the conditions are not those of the checkpoint: the adapter may differ in its "
                "last bits from that of an uninterrupted training",
                differences=differences,
            )

    def run(self) -> None:
        """Train to the end, with smaller micro-batches where memory does not suffice."""
        while (failed := self._run_once()) is not None:
            follower, micro_batch = failed, self.micro_batch
            self._held = follower.kept() or self._held
            self.micro_batch = max(1, micro_batch // 2)
            del follower, failed
            gc.collect()
            if self.placement.device == "cuda":
                torch.cuda.empty_cache()
            log(
                "WARNING",
                "the memory does not suffice: the micro-batch is halved and training goes on",
                micro_batch=self.micro_batch,
                before=micro_batch,
            )

    def _run_once(self) -> _Follower | None:
        """Train; the follower if the memory did not suffice and a smaller micro-batch is left."""
        steps = self.batches().steps
        if self._held is not None and self._held.manifest.step >= steps * self.last_epoch:
            # Nothing is left to train: the Trainer would begin the next epoch.
            load_adapter(self.model, safetensors.torch.load(self._held.files[ADAPTER_NAME]))
            if len(self.record.epoch_values) < self.last_epoch:
                self.end_of_epoch(self.last_epoch)
            return None
        with self._trainer() as (trainer, follower, folder):
            try:
                trainer.train(resume_from_checkpoint=folder)
            except Exception as exc:
                # The other processes would wait for this one's gradients for ever.
                alone = self.placement.processes == 1
                if not (alone and self.micro_batch > 1 and is_out_of_memory(exc)):
                    raise
                return follower
        return None

    @contextlib.contextmanager
    def _trainer(self) -> Iterator[tuple[SupervisedTrainer, _Follower, str | None]]:
        batches = self.batches()
        with tempfile.TemporaryDirectory() as work_dir:
            trainer = SupervisedTrainer(
                placement=self.placement,
                batches=batches,
                model=self.model,
                args=training_arguments(
                    self.settings,
                    self.placement,
                    work_dir,
                    micro_batch=self.micro_batch,
                    accumulation_steps=batches.accumulation_steps,
                ),
                train_dataset=list(self.rows),
                data_collator=lambda batch: collate(batch, self.pad_token_id),
            )
            trainer.remove_callback(PrinterCallback)  # it prints dicts among our JSON lines
            follower = _Follower(self, trainer, batches)
            trainer.add_callback(follower)
            folder = None
            if self._held is not None:
                folder = f"{work_dir}/held"
                _write_files(Path(folder), self._held)
            try:
                yield trainer, follower, folder
            finally:
                # float16 autocast was put around the model's own forward pass.
                trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)

    def batches(self) -> MicroBatches:
        """This process's micro-batches, of the present size."""
        return MicroBatches(
            [len(row.input_ids) for row in self.rows],
            rows_per_step=self.settings.rows_per_step,
            micro_batch=self.micro_batch,
            seed=self.settings.seed,
            process=self.placement.process,
            processes=self.placement.processes,
        )

    def checkpoint(self, step: int, files: dict[str, bytes]) -> Checkpoint:
        """The state after `step` as a checkpoint."""
        record = self.record
        return Checkpoint.of(
            files,
            fingerprint=self._fingerprint,
            step=step,
            applied_steps=record.applied_steps,
            first_loss=recordable(record.first_loss),
            last_loss=recordable(record.last_loss),
            epoch_values=tuple(record.epoch_values),
            conditions=self._conditions(),
        )

    def end_of_epoch(self, epoch: int) -> None:
        """Let the caller look at the model; no random state moves by that."""
        if self.on_epoch is None:
            return
        states = random_states()
        value = self.on_epoch(epoch)
        restore_random_states(states)
        del self.record.epoch_values[epoch - 1 :]
        self.record.epoch_values.append(value)

    def _conditions(self) -> Conditions:
        image = self.checkpoints.image if self.checkpoints else ""
        return conditions_of(self.placement, micro_batch=self.micro_batch, image=image)


class _Follower(TrainerCallback):  # type: ignore[misc]
    """Counts applied steps, passes each step's numbers on, and keeps states when it is time."""

    def __init__(
        self, training: _Training, trainer: SupervisedTrainer, batches: MicroBatches
    ) -> None:
        self._training = training
        self._trainer = trainer
        self._batches = batches

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The checkpoint may be of an epoch's last step, before the caller looked at the model.
        epochs, within = divmod(state.global_step, self._batches.steps)
        if epochs and not within and len(self._training.record.epoch_values) < epochs:
            self._training.end_of_epoch(epochs)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._batches.epoch = state.global_step // self._batches.steps

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._training.on_micro_batch()
        # With several processes, all must agree, and they do at the end of a step.
        if self._training.placement.processes == 1 and self._is_stopped():
            self._keep()
            raise Preempted

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        record = self._training.record
        record.applied_steps += not self._trainer.accelerator.optimizer_step_was_skipped

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return  # the summary at the end
        training, record, loss = self._training, self._training.record, float(logs["loss"])
        if not record.losses:
            record.first_loss = loss
        record.losses += 1
        record.last_loss = loss
        self._trainer.note_random_states()
        training.on_step(
            int(state.global_step), loss, float(logs["learning_rate"]), float(state.epoch)
        )
        is_last = state.global_step == self._batches.steps * training.last_epoch
        stopped, due = self._agreed(self._is_stopped(), self._is_due() or is_last)
        if stopped or due:
            self._keep()
        if stopped:
            raise Preempted

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = state.global_step // self._batches.steps
        self._training.end_of_epoch(epoch)
        if epoch >= self._training.last_epoch:
            control.should_training_stop = True

    def kept(self) -> Checkpoint | None:
        """The state after the last complete step, held in memory; None before the first."""
        files = self._trainer.state_files()
        step = int(self._trainer.state.global_step)
        return None if files is None else self._training.checkpoint(step, files)

    def _keep(self) -> None:
        state, checkpoints = self.kept(), self._training.checkpoints
        if state is not None and checkpoints is not None and self._training.placement.process == 0:
            checkpoints.save(state)

    def _is_stopped(self) -> bool:
        checkpoints = self._training.checkpoints
        return checkpoints is not None and checkpoints.stop.requested

    def _is_due(self) -> bool:
        checkpoints = self._training.checkpoints
        first = self._training.placement.process == 0
        return checkpoints is not None and first and checkpoints.due()

    def _agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """The wishes of all processes together: one process's wish is enough."""
        if self._training.placement.processes == 1:
            return wishes
        together = torch.tensor(wishes, dtype=torch.int32, device=self._trainer.args.device)
        torch.distributed.all_reduce(together, op=torch.distributed.ReduceOp.MAX)
        return tuple(bool(wish) for wish in together.tolist())


def _write_files(folder: Path, held: Checkpoint) -> None:
    folder.mkdir()
    for name, content in held.files.items():
        # A manifest is checked by hash alone: its names must not leave the folder.
        (folder / Path(name).name).write_bytes(content)


def _loss(recorded: float | None) -> float:
    return math.nan if recorded is None else recorded
