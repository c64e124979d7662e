"""A mirror in four bits, made and loaded; prints one JSON line of what came.

python nf4_mirror.py BASE_MODEL_DIR OUT
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import torch

import prepare_mirror
from base_model import Placement, Source, load_model
from failures import TrainerError
from settings import PRESETS_DIR, load_preset
from tuner.training_job import BaseModel


def main(base_model_dir: str, out: str) -> None:
    """Store the model in four bits; load it so, quantise it while it is loaded, load it whole."""
    preset = load_preset(PRESETS_DIR / "smollm2-135m.toml")
    quantised = msgspec.structs.replace(preset, quantization="nf4")
    base, mirror = Path(base_model_dir), Path(out)
    # No preset of a model this small is trained in four bits.
    with mock.patch.object(prepare_mirror, "load_preset", return_value=quantised):
        manifest = prepare_mirror.prepare("smollm2-135m", mirror, base=base, plain=False)
    identity = BaseModel(name=manifest.name, revision=manifest.revision)
    in_four_bits = Placement(
        device="cpu", dtype=torch.float32, nf4=True, fp16_autocast=False,
        attention="sdpa", activation_checkpointing=False,
    )  # fmt: skip
    whole = dataclasses.replace(in_four_bits, nf4=False)

    def loaded(folder: Path, placement: Placement) -> Any:
        source = Source(location=str(folder), hub_revision=None, identity=identity)
        return load_model(source, placement)

    stored = loaded(mirror, in_four_bits)
    of_mirror = logits_of(stored)
    of_quantised = logits_of(loaded(base, in_four_bits))
    of_whole = logits_of(loaded(base, whole))
    try:
        loaded(mirror, whole)
        refused = ""
    except TrainerError as exc:
        refused = str(exc)
    found = {
        "quantization": manifest.quantization,
        "made_with": sorted(manifest.made_with),
        "embedding": str(stored.model.embed_tokens.weight.dtype),
        "off_by": float((of_mirror - of_quantised).abs().mean()),
        "lost_to_four_bits": float((of_quantised - of_whole).abs().mean()),
        "without_four_bits": refused,
    }
    print(json.dumps(found))


def logits_of(model: Any) -> torch.Tensor:
    """The logits of a few tokens."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([[1, 50, 600, 7000]])).logits
    return logits.float()


if __name__ == "__main__":
    main(*sys.argv[1:])
