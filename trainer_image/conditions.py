"""Under which conditions this process trains: what the last bits of its numbers depend on."""

from __future__ import annotations

import contextlib
import importlib.metadata

import torch

from base_model import Placement, device_name
from checkpoints import Conditions

#: Whose versions a result's last bits may depend on.
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")


def conditions_of(placement: Placement, *, micro_batch: int, image: str = "") -> Conditions:
    """This process's conditions, with the given placement."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return Conditions(
        image=image,
        device=device_name(placement.device),
        instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        processes=placement.processes,
        dtype=str(placement.dtype).removeprefix("torch."),
        attention=placement.attention,
        activation_checkpointing=placement.activation_checkpointing,
        micro_batch=micro_batch,
        tokens_at_once=placement.tokens_at_once,
        libraries=versions,
    )
