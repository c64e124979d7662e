"""The LoRA adapter on a frozen model: made, made anew, copied out and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from transformers import set_seed

from settings import Settings
from tuner.training_job import BaseModel

#: PEFT's name of the only adapter that a model has here.
ADAPTER = "default"


def add_adapter(model: Any, settings: Settings, identity: BaseModel) -> Any:
    """Put a fresh LoRA adapter on a frozen model; its first output is the base model's own."""
    preset = settings.preset
    modules = preset.lora_target_modules
    config = LoraConfig(
        r=preset.lora_r,
        lora_alpha=preset.lora_alpha,
        lora_dropout=preset.lora_dropout,
        target_modules=linear_layers(model) if modules == "all-linear" else list(modules),
        use_rslora=preset.lora_rslora,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)  # adapters are float32, whatever the weights are
    # PEFT writes the name that the model was loaded under, which may be a local path.
    adapted.active_peft_config.base_model_name_or_path = identity.name
    adapted.active_peft_config.revision = identity.revision
    reset_adapter(adapted, settings)
    return adapted


def linear_layers(model: Any) -> list[str]:
    """Names of the linear modules in the model's layers, once each; the head is none of them.

    PEFT's own "all-linear" writes each layer's whole path into the adapter's configuration, and
    the controller believes only names of modules.
    """
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    )


def reset_adapter(model: Any, settings: Settings) -> None:
    """Make the adapter fresh again, with the bits of a newly added one."""
    set_seed(settings.seed)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters(ADAPTER, init_lora_weights=True)
    # Gradients of an earlier training belong to weights that are gone.
    model.zero_grad(set_to_none=True)


def copy_adapter(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors on the CPU, by PEFT's names; later training does not change them."""
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def load_adapter(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors of `copy_adapter` back, bit for bit.

    Raises:
        ValueError: they are of an adapter with other modules.
    """
    ours = get_peft_model_state_dict(model, save_embedding_layers=False)
    if ours.keys() != tensors.keys():
        raise ValueError("these tensors belong to an adapter with other modules")
    set_peft_model_state_dict(model, dict(tensors))


def adapter_moved(model: Any) -> bool:
    """Whether an adapter differs from a fresh one, whose B matrices are all zeros."""
    return any(
        bool(parameter.any()) for name, parameter in model.named_parameters() if "lora_B" in name
    )
