"""Everything that training works on, made ready: encoded rows and the model with its adapter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import transformers

from adapters import add_adapter
from base_model import Placement, choose_placement, find_source, load_model, load_tokenizer
from chat import ChatEncoder, Encoded, encode_all
from checkpoints import Conditions
from dataset import Dataset
from logs import log
from processes import Processes
from settings import Settings
from tuner.training_job import BaseModel


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with a fresh adapter, on its device, and the rows as token ids."""

    model: Any
    tokenizer: Any
    encoder: ChatEncoder
    placement: Placement
    identity: BaseModel
    train_rows: Sequence[Encoded]
    eval_rows: Sequence[Encoded]

    @property
    def pad_token_id(self) -> int:
        return int(self.tokenizer.pad_token_id)


def load(
    settings: Settings,
    dataset: Dataset,
    *,
    on_part: Callable[[], None],
    held: Conditions | None = None,
    processes: Processes | None = None,
) -> Loaded:
    """Encode the rows, then load the model: bad rows are found before the expensive part.

    `on_part` is called when the rows are encoded, and when the model is there. `held` are the
    conditions of a checkpoint to go on from: on the same kind of machine they are kept.

    Raises:
        TrainerError: bad_settings or bad_data.
    """
    transformers.utils.logging.disable_progress_bar()  # bars are no log lines
    preset = settings.preset
    if not preset.tested:
        log("WARNING", "nobody has tried this preset yet: look closely at what comes out")
    source = find_source(preset, os.environ)
    tokenizer = load_tokenizer(source)
    encoder = ChatEncoder(tokenizer, preset.system_role)
    train_rows = encode_all(encoder, dataset.train, preset.max_length_tokens)
    eval_rows = encode_all(encoder, dataset.eval, preset.max_length_tokens)
    placement = choose_placement(
        preset,
        micro_batch=settings.micro_batch,
        longest_tokens=max(len(row.input_ids) for row in (*train_rows, *eval_rows)),
        held=held,
        processes=processes or Processes(),
    )
    log("INFO", "placement", **vars(placement), base_model=source.identity.name)
    on_part()
    base_model = load_model(source, placement)
    on_part()
    return Loaded(
        model=add_adapter(base_model, settings, source.identity),
        tokenizer=tokenizer,
        encoder=encoder,
        placement=placement,
        identity=source.identity,
        train_rows=train_rows,
        eval_rows=eval_rows,
    )
