"""One training from its first step to its last: interruptions, checkpoints, lack of memory."""

from __future__ import annotations

import contextlib
import gc
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import PrinterCallback, TrainerCallback

from adapters import load_adapter
from base_model import Placement
from batches import MicroBatches, collate
from chat import Encoded
from checkpoints import Checkpoint, Checkpoints, Conditions, Preempted, recordable
from conditions import conditions_of
from failures import is_out_of_memory
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

#: Called at each epoch's end with its number (from 1); what it returns is kept in `Trained`.
OnEpoch = Callable[[int], float | None]


@dataclass(kw_only=True)
class Record:
    """What is known of the training so far, across interruptions."""

    applied_steps: int = 0
    first_loss: float = math.nan
    last_loss: float = math.nan
    losses: int = 0
    epoch_values: list[float | None] = field(default_factory=list)


class Training:
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
        self.record = Record()
        self.micro_batch = settings.micro_batch
        #: The last step that a checkpoint holds; 0 without any.
        self.kept_step = 0
        self._fingerprint = fingerprint
        self._held: Checkpoint | None = None

    def go_on_from(self, held: Checkpoint) -> None:
        """Begin where `held` ends, with its micro-batch if that fits the settings."""
        manifest = held.manifest
        self._held = held
        # A smaller one was asked for since: the checkpoint's did not fit.
        self.micro_batch = min(self.micro_batch, manifest.conditions.micro_batch)
        self.record = Record(
            applied_steps=manifest.applied_steps,
            first_loss=_loss(manifest.first_loss),
            last_loss=_loss(manifest.last_loss),
            losses=manifest.step,
            epoch_values=list(manifest.epoch_values),
        )
        self.kept_step = manifest.step
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

    def _run_once(self) -> Follower | None:
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
    def _trainer(self) -> Iterator[tuple[SupervisedTrainer, Follower, str | None]]:
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
            follower = Follower(self, trainer, batches)
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


class Follower(TrainerCallback):  # type: ignore[misc]
    """Counts applied steps, passes each step's numbers on, and keeps states when it is time."""

    def __init__(
        self, training: Training, trainer: SupervisedTrainer, batches: MicroBatches
    ) -> None:
        self._training = training
        self._trainer = trainer
        self._batches = batches

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        log(
            "INFO",
            "training begins",
            after_step=state.global_step,
            steps=self._batches.steps * self._training.last_epoch,
            micro_batch=self._training.micro_batch,
            accumulation_steps=self._batches.accumulation_steps,
        )
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
            raise Preempted(self._training.kept_step)

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
            raise Preempted(training.kept_step)

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
        if state is None or checkpoints is None or self._training.placement.process != 0:
            return
        if checkpoints.save(state):
            self._training.kept_step = state.manifest.step

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
