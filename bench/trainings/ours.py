"""The product's own recipe, called as the trainer calls it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import recipe
from base_model import Placement, choose_placement, find_source, load_tokenizer
from bench.trainings.orders import Orders
from chat import ChatEncoder, Encoded, encode_all
from dataset import Dataset
from loading import load
from rows import Example, Message
from settings import Settings, resolve_settings
from tuner.training_job import Hyperparameters, JobSpec


class Training:
    """A loaded base model with a fresh adapter."""

    def __init__(self, orders: Orders) -> None:
        self._settings, dataset = _job(orders)
        self._loaded = load(self._settings, dataset, on_part=lambda: None)
        self.rows: Sequence[Encoded] = self._loaded.train_rows

    @property
    def model(self) -> Any:
        """The PEFT model, as it is now."""
        return self._loaded.model

    @property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._loaded.tokenizer

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation that waits for the persona's reply."""
        return self._loaded.encoder.encode_prompt(messages)

    def train(self, rows: Sequence[Encoded], on_step: Callable[[], None]) -> None:
        """Train on rows of `self.rows`."""
        recipe.train(
            self._loaded.model,
            rows,
            self._settings,
            self._loaded.placement,
            pad_token_id=self._loaded.pad_token_id,
            on_step=lambda *_: on_step(),
            on_micro_batch=lambda: None,
        )


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """The rows as our encoder makes them, and how this machine would hold the model."""

    rows: Sequence[Encoded]
    held_out: Sequence[Encoded]
    placement: Placement


def encode(orders: Orders) -> EncodedRows:
    """Encode all rows without loading the model."""
    settings, dataset = _job(orders)
    preset = settings.preset
    encoder = ChatEncoder(load_tokenizer(find_source(preset, os.environ)), preset.system_role)
    rows = encode_all(encoder, dataset.train, preset.max_length_tokens)
    placement = choose_placement(
        preset,
        micro_batch=settings.micro_batch,
        longest_tokens=max(len(row.input_ids) for row in rows),
    )
    held_out = encode_all(encoder, dataset.eval, preset.max_length_tokens)
    return EncodedRows(rows=rows, held_out=held_out, placement=placement)


def _job(orders: Orders) -> tuple[Settings, Dataset]:
    settings = resolve_settings(_spec(orders))
    train, held_out = (
        [_example(number, row) for number, row in enumerate(rows, start=1)]
        for rows in (orders.conversations(), orders.conversations(held_out=True))
    )
    return settings, Dataset(train=train, eval=held_out)


def _example(number: int, messages: list[dict[str, str]]) -> Example:
    turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)  # type: ignore[arg-type]
    return Example(file_name="rows.jsonl", line=number, messages=turns)


def _spec(orders: Orders) -> JobSpec:
    """A job as the submitter writes it; what names a place in it is not used."""
    place = "gs://no-bucket/not-used"
    return JobSpec(
        run_id="bench",
        persona="bench",
        attempt=1,
        claim_id="bench",
        display_name="bench",
        dataset_id="0" * 64,
        train_uri=place,
        eval_uri=place,
        result_uri=place,
        preset="smollm2-135m",
        hyperparameters=Hyperparameters(
            seed=orders.seed,
            epochs=orders.epochs,
            learning_rate=orders.learning_rate,
            effective_batch=orders.effective_batch,
        ),
    )
