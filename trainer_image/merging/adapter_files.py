"""A PEFT adapter's two files, read for what it adds to the base model's weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
_PREFIX = "base_model.model."

#: What of PEFT is more than W + scale x B A.
_MORE_THAN_LORA = (
    "alora_invocation_tokens", "fan_in_fan_out", "layer_replication", "lora_bias",
    "modules_to_save", "target_parameters", "trainable_token_indices", "use_dora", "use_qalora",
)  # fmt: skip


class Unmergeable(Exception):
    """This adapter cannot be merged into this base model; the text says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What is added to one weight: `scale` x `b` @ `a`; a is rank x inputs, b outputs x rank."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A whole adapter in float32, by module: `model.layers.0.self_attn.q_proj`."""

    deltas: Mapping[str, Delta]
    base_model: str
    revision: str | None
    #: Of both files.
    sha256: str

    def delta_of(self, weight_name: str) -> Delta | None:
        """What is added to the weight `<module>.weight`, or None."""
        module, _, kind = weight_name.rpartition(".")
        return self.deltas.get(module) if kind == "weight" else None

    def check_covers(self, names: set[str]) -> None:
        """Every module of the adapter is one of the base's. Raises Unmergeable."""
        strange = [module for module in self.deltas if f"{module}.weight" not in names]
        if strange:
            raise Unmergeable(
                f"The base model has no {strange[0]}.weight, which the adapter changes"
                f"{f', and {len(strange) - 1} more' if len(strange) > 1 else ''}: it is an adapter "
                f"of another base model ({self.base_model})."
            )


def read_adapter(folder: Path) -> Adapter:
    """Read and check both files.

    Raises:
        Unmergeable: a file is missing or cannot be read, or the adapter is more than a plain LoRA.
    """
    try:
        raw_config = (folder / CONFIG_NAME).read_bytes()
        config = json.loads(raw_config)
        raw_weights = (folder / WEIGHTS_NAME).read_bytes()
        tensors = load_file(folder / WEIGHTS_NAME)
    except FileNotFoundError as exc:
        raise Unmergeable(f"{exc.filename or folder} is not there.") from exc
    except Exception as exc:  # the library's own classes are not public
        raise Unmergeable(f"The adapter in {folder} cannot be read; fetch it again.") from exc
    _check_kind(config)
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, half = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".lora_")
        if not name.startswith(_PREFIX) or half not in ("A", "B") or tensor.dim() != 2:
            raise Unmergeable(f"{WEIGHTS_NAME} holds {name}, which is no matrix of a linear layer.")
        halves.setdefault(module, {})[half] = tensor.float()
    deltas = {}
    for module, found in sorted(halves.items()):
        if found.keys() != {"A", "B"} or found["A"].shape[0] != found["B"].shape[1]:
            raise Unmergeable(f"{WEIGHTS_NAME} does not hold two fitting matrices for {module}.")
        scale = _scale(config, module, rank=found["A"].shape[0])
        deltas[module] = Delta(a=found["A"], b=found["B"], scale=scale)
    if not deltas:
        raise Unmergeable(f"{WEIGHTS_NAME} holds no matrix.")
    return Adapter(
        deltas=deltas,
        base_model=str(config.get("base_model_name_or_path") or ""),
        revision=config.get("revision"),
        sha256=hashlib.sha256(hashlib.sha256(raw_config).digest() + raw_weights).hexdigest(),
    )


def _check_kind(config: Any) -> None:
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise Unmergeable(f"{CONFIG_NAME} does not describe a LoRA adapter.")
    more = [name for name in _MORE_THAN_LORA if config.get(name)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if more:
        raise Unmergeable(
            f"The adapter uses {', '.join(more)}, which is more than a plain LoRA; "
            "load it with PEFT, it cannot be merged here."
        )


def _scale(config: Mapping[str, Any], module: str, *, rank: int) -> float:
    """As PEFT scales: alpha / rank, or alpha / sqrt(rank) for rsLoRA, by pattern where given."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    stated = ranks.get(get_pattern_key(ranks.keys(), module), config["r"])
    if stated != rank:
        raise Unmergeable(
            f"{CONFIG_NAME} says rank {stated} for {module}, its matrices have {rank}."
        )
    alpha = float(alphas.get(get_pattern_key(alphas.keys(), module), config["lora_alpha"]))
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
