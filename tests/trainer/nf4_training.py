"""A few steps over NF4 weights on a CPU, as a T4 holds them; prints one JSON line of what came.

    python nf4_training.py BASE_MODEL_DIR

Runs with bitsandbytes on PYTHONPATH, which the trainer's own environment does without on a CPU.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

import msgspec
import torch

import recipe
from adapters import add_adapter
from base_model import Placement, find_source, load_model
from chat import Encoded
from settings import PRESETS_DIR, load_preset, resolve_settings
from tuner.training_job import Hyperparameters, JobSpec


def main(base_model_dir: str) -> None:
    """Load, train two epochs of two steps, and look at the weights."""
    preset = msgspec.structs.replace(
        load_preset(PRESETS_DIR / "smollm2-135m.toml"), quantization="nf4"
    )
    spec = JobSpec(
        run_id="nf4",
        persona="gran",
        attempt=1,
        claim_id="nf4",
        display_name="Gran",
        dataset_id="0" * 64,
        train_uri="gs://work/train.jsonl",
        eval_uri="gs://work/eval.jsonl",
        preset="smollm2-135m",
        hyperparameters=Hyperparameters(epochs=2, learning_rate=0.01),
        result_uri="gs://work/1.json",
    )
    settings = replace(resolve_settings(spec), preset=preset)
    placement = Placement(
        device="cpu",
        dtype=torch.float32,
        nf4=True,
        fp16_autocast=False,
        attention="sdpa",
        activation_checkpointing=True,
    )
    source = find_source(preset, {**os.environ, "TUNER_BASE_MODEL_DIR": base_model_dir})
    base = load_model(source, placement)
    frozen = next(m for m in base.modules() if type(m).__name__ == "Linear4bit").weight
    before = frozen.data.clone()
    model = add_adapter(base, settings, source.identity)
    rows = [
        Encoded(input_ids=[9, n, n + 1, n + 2], labels=[-100, -100, n + 1, n + 2])
        for n in range(20, 28)
    ]
    losses: list[float] = []
    trained = recipe.train(
        model,
        rows,
        settings,
        placement,
        pad_token_id=0,
        on_step=lambda step, loss, *_: losses.append(loss),
        on_micro_batch=lambda: None,
    )
    state = frozen.quant_state
    found = {
        "steps": trained.applied_steps,
        "losses": losses,
        "kind": state.quant_type,
        "doubly_quantised": state.nested,
        "bits_of_a_weight": 8
        * frozen.data.element_size()
        * frozen.data.numel()
        / state.shape.numel(),
        "frozen_is_as_it_was": torch.equal(before, frozen.data),
        "adapter_dtypes": sorted(
            {str(p.dtype) for name, p in model.named_parameters() if p.requires_grad}
        ),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
