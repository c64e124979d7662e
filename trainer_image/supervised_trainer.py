"""transformers' `Trainer`, with our loss, our order of rows, and states that can be kept.

Only what differs from the Trainer stands here:

- the loss is that of supervised positions, over the supervised tokens of the whole effective batch,
  in one process or in several;
- rows come as `MicroBatches` orders them;
- after each step the random states are noted, so that the state of the last complete step can be
  kept at any time, also in the middle of the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from adapters import copy_adapter, load_adapter
from base_model import Placement
from batches import Batch, MicroBatches
from chat import IGNORED
from packing import PACKABLE, packs
from settings import Settings

#: Called after each optimizer step with: step (from 1), loss, learning rate, epoch.
OnStep = Callable[[int, float, float, float], None]

ADAPTER_NAME = "adapter.safetensors"
# These names are transformers' own: it reads the files itself when a training goes on.
OPTIMIZER_NAME = "optimizer.pt"
SCHEDULER_NAME = "scheduler.pt"
SCALER_NAME = "scaler.pt"
STATE_NAME = "trainer_state.json"
#: One process may evaluate for long while the others wait for it.
WAIT_FOR_PROCESSES_SECONDS = 6 * 3600


def supervised_loss_sum(model: Any, batch: Batch) -> torch.Tensor:
    """Summed negative log-likelihood of the batch's supervised tokens, in nats."""
    base = model.get_base_model()
    hidden = base.get_decoder()(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch.get("position_ids"),
        use_cache=False,
    ).last_hidden_state
    targets = batch["labels"][:, 1:]  # the token at i is predicted from position i - 1
    supervised = targets != IGNORED
    logits = base.get_output_embeddings()(hidden[:, :-1][supervised])
    return torch.nn.functional.cross_entropy(logits.float(), targets[supervised], reduction="sum")


class SupervisedTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss looks at supervised positions only."""

    def __init__(self, *, placement: Placement, batches: MicroBatches, **options: Any) -> None:
        super().__init__(**options)
        self._placement = placement
        self._batches = batches
        self._random_states: dict[str, Any] | None = None
        # Ask for the supervised tokens of the whole effective batch, and say that it is the norm.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> Any:
        """This process's micro-batches; nothing of it draws from a global random state."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),
        )

    def training_step(
        self, model: Any, inputs: Batch, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Forward and backward of a micro-batch, in packs where there is a limit.

        The losses are sums over the same norm, so the gradients of the packs add up to those of
        the whole. Several processes exchange gradients at each backward pass, and must agree how
        many there are: they compute a micro-batch at once.
        """
        at_once = self._placement.tokens_at_once
        if at_once is None or self.accelerator.num_processes > 1:
            return super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.unwrap_model(model).get_base_model().config.model_type not in PACKABLE:
            at_once = 0  # each row by itself
        losses = [
            super(SupervisedTrainer, self).training_step(model, each, num_items_in_batch)
            for each in packs(inputs, at_once, self._placement.dtype)
        ]
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # The Trainer puts autocast around `model.forward`, which is not called here.
        with self._placement.autocast(), _forward_is_loss(self.accelerator.unwrap_model(model)):
            # Through the model's own call: with several processes it is wrapped in one that
            # exchanges the gradients, and it must see the forward pass.
            total = model(**inputs)
        assert num_items_in_batch is not None  # counted because model_accepts_loss_kwargs is set
        # Of all processes' tokens; the gradients are averaged over the processes afterwards.
        return total * self.accelerator.num_processes / num_items_in_batch

    def note_random_states(self) -> None:
        """Remember this moment's random states, as those of the last complete step."""
        self._random_states = random_states()

    def state_files(self) -> dict[str, bytes] | None:
        """The state after the last complete step, file by file; None before the first.

        With several processes all of them must call it, and process 0 is given the files; the
        others only take part.
        """
        if self._random_states is None:
            return None
        processes = self.accelerator.num_processes
        if processes > 1:
            every: list[Any] = [None] * processes
            torch.distributed.all_gather_object(every, self._random_states)
            names = [f"rng_state_{number}.pth" for number in range(processes)]
            random_files = dict(zip(names, map(_saved, every), strict=True))
        else:
            random_files = {"rng_state.pth": _saved(self._random_states)}
        state = dataclasses.replace(self.state, log_history=[], stateful_callbacks={})
        files = {
            ADAPTER_NAME: safetensors.torch.save(copy_adapter(self.model)),
            OPTIMIZER_NAME: _saved(self.optimizer.state_dict()),
            SCHEDULER_NAME: _saved(self.lr_scheduler.state_dict()),
            STATE_NAME: json.dumps(dataclasses.asdict(state), sort_keys=True).encode(),
            **random_files,
        }
        if getattr(self.accelerator, "scaler", None) is not None:
            files[SCALER_NAME] = _saved(self.accelerator.scaler.state_dict())
        return files

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # The Trainer would ask PEFT to read a folder of PEFT's, and to make the adapter anew.
        load_adapter(
            self.model, safetensors.torch.load_file(f"{resume_from_checkpoint}/{ADAPTER_NAME}")
        )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        self.note_random_states()  # a stop within the very next step keeps these


@contextlib.contextmanager
def _forward_is_loss(model: Any) -> Iterator[None]:
    """Calling `model` with a batch gives its loss for a while."""
    before = model.__dict__.get("forward")
    model.forward = lambda **batch: supervised_loss_sum(model, batch)
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


def random_states() -> dict[str, Any]:
    """Every random state of this process, as the Trainer's own files hold them."""
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        cuda = torch.cuda.random
        states["cuda"] = cuda.get_rng_state_all() if several else cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put states of `random_states` back."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.random.set_rng_state(states["cpu"])
    if "cuda" in states:
        cuda, found = torch.cuda.random, states["cuda"]
        cuda.set_rng_state_all(found) if isinstance(found, list) else cuda.set_rng_state(found)


def training_arguments(
    settings: Settings,
    placement: Placement,
    output_dir: str,
    *,
    micro_batch: int,
    accumulation_steps: int,
) -> TrainingArguments:
    """The recipe, in the Trainer's words."""
    several = placement.processes > 1
    return TrainingArguments(
        output_dir=output_dir,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=placement.device == "cpu",
        ddp_backend="gloo" if several and placement.device == "cpu" else None,
        ddp_find_unused_parameters=False if several else None,
        ddp_timeout=WAIT_FOR_PROCESSES_SECONDS,
        bf16=False,  # the weights are bfloat16 already, where that pays
        fp16=placement.fp16_autocast,
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_pin_memory=placement.device == "cuda",
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_strategy="no",  # `checkpoints.py` keeps the states
        report_to="none",
        disable_tqdm=True,
    )


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
