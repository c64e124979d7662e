"""Whether an adapter is the one that was asked for: its configuration, and its tensors.

PEFT loads an adapter by its configuration, so nothing there may ask for more than a LoRA of the
preset. The tensors are those of the preset's modules, in layers counted from 0 without a gap, and
of its rank. How many layers there are, and how wide, is the base model's and is not known here.
Every number is finite, and one pair of matrices at least is not zero: LoRA begins with B = 0, so an
adapter that was never trained changes nothing.

Imports numpy; completion comes here only with a result that needs to be verified.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tuner.errors import UntrustedResult
from tuner.presets import Preset
from tuner.tensor_file import Tensor, TensorFile

#: By dtype: how an element is seen as a whole number, and the bits of its exponent. All of these
#: bits set is how IEEE 754, and bfloat16 like it, write NaN and infinity.
_BITS = {
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_WEIGHT = re.compile(
    r"base_model\.model\.(?P<layers>[a-z_.]{1,80})\.(?P<layer>0|[1-9][0-9]{0,3})\."
    r"(?P<path>[a-z_.]{0,80}?)(?P<module>[a-z0-9_]{1,40})\.lora_(?P<matrix>[AB])\.weight"
)
#: What would have PEFT load, or compute, something else than a plain LoRA. Names that PEFT may add
#: are not here: an image with a newer PEFT comes with a release that knows it.
_PLAIN = (
    "alora_invocation_tokens", "alpha_pattern", "auto_mapping", "exclude_modules",
    "fan_in_fan_out", "layer_replication", "layers_pattern", "layers_to_transform", "lora_bias",
    "megatron_config", "modules_to_save", "rank_pattern", "target_parameters",
    "trainable_token_indices", "use_dora", "use_qalora",
)  # fmt: skip


def check_config(content: bytes, preset: Preset, *, revision: str) -> None:
    """`adapter_config.json` describes the preset's LoRA, and nothing more.

    Raises UntrustedResult.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UntrustedResult("adapter_config.json is not JSON.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UntrustedResult("adapter_config.json does not describe a LoRA adapter.")
    expected = {
        "task_type": "CAUSAL_LM",
        "r": preset.lora_r,
        "lora_alpha": preset.lora_alpha,
        "base_model_name_or_path": preset.base_model,
    }
    wrong = [name for name, value in expected.items() if not _is(config.get(name), value)]
    if not _are_modules(config.get("target_modules"), preset):
        wrong.append("target_modules")
    # PEFT scales by it: an adapter of the other kind would be several times too strong or weak.
    if not _is(config.get("use_rslora", False), preset.lora_rslora):
        wrong.append("use_rslora")
    if config.get("revision") not in (None, revision):
        wrong.append("revision")
    if config.get("bias", "none") != "none":
        wrong.append("bias")
    wrong += [name for name in _PLAIN if config.get(name)]
    if wrong:
        raise UntrustedResult(
            f"adapter_config.json is not that of the run's preset: {', '.join(wrong)}."
        )


def _is(found: Any, expected: object) -> bool:
    """Equal and of one type: to Python, 16.0 and True would do for 16 and 1."""
    return type(found) is type(expected) and found == expected


def _are_modules(found: Any, preset: Preset) -> bool:
    return (
        isinstance(found, list)
        and all(isinstance(name, str) for name in found)
        and sorted(found) == sorted(preset.lora_target_modules)
    )


class AdapterWeights:
    """Takes the bytes of `adapter_model.safetensors` in order; keeps none. Raises UntrustedResult.

    Use `feed` for each piece, then `finish`.
    """

    def __init__(self, size_bytes: int, preset: Preset) -> None:
        self._preset = preset
        self._file = TensorFile(
            size_bytes, on_header=self._check_names, on_elements=self._check_elements
        )
        self.feed = self._file.feed
        #: Module of a layer → its matrices that are not zero.
        self._moved: dict[str, set[str]] = {}

    def finish(self) -> None:
        self._file.finish()
        if not any(matrices == {"A", "B"} for matrices in self._moved.values()):
            raise UntrustedResult("The adapter changes nothing: it was never trained.")

    def _check_names(self, tensors: tuple[Tensor, ...]) -> None:
        """Every layer has both matrices of every module, each of one shape throughout."""
        shapes: dict[tuple[str, str], set[tuple[int, ...]]] = {}
        matrices: set[tuple[int, str, str]] = set()
        for tensor in tensors:
            match = _WEIGHT.fullmatch(tensor.name)
            if match is None or match["module"] not in self._preset.lora_target_modules:
                raise UntrustedResult("The adapter has a tensor of none of its preset's modules.")
            if tensor.dtype not in _BITS:
                raise UntrustedResult("The adapter has a tensor of another dtype than floats.")
            matrices.add((int(match["layer"]), match["module"], match["matrix"]))
            shapes.setdefault((match["module"], match["matrix"]), set()).add(tensor.shape)
        layers = {layer for layer, _, _ in matrices}
        wanted = {
            (layer, module, matrix)
            for layer in range(len(layers))
            for module in self._preset.lora_target_modules
            for matrix in "AB"
        }
        # As many as names: two paths may not lead to one layer's module.
        if not layers or matrices != wanted or len(tensors) != len(wanted):
            raise UntrustedResult("The adapter lacks tensors of its preset's modules.")
        self._check_shapes(shapes)

    def _check_shapes(self, shapes: Mapping[tuple[str, str], set[tuple[int, ...]]]) -> None:
        """A is rank × inputs, B outputs × rank."""
        for (_, matrix), found in shapes.items():
            if len(found) != 1:
                raise UntrustedResult("The adapter's layers are not of one shape.")
            [shape] = found
            of_rank = shape[:1] if matrix == "A" else shape[1:]
            if len(shape) != 2 or of_rank != (self._preset.lora_r,) or 0 in shape:
                raise UntrustedResult("The adapter is of another rank than its preset's.")

    def _check_elements(self, tensor: Tensor, block: bytes) -> None:
        view, exponent = _BITS[tensor.dtype]
        elements = np.frombuffer(block, dtype=view)
        if ((elements & exponent) == exponent).any():
            raise UntrustedResult("The adapter has weights that are not finite numbers.")
        # Twice a number is 0 for 0 and -0 alike: the sign's bit is shifted out.
        if (elements << 1).any():
            module, _, rest = tensor.name.rpartition(".lora_")
            self._moved.setdefault(module, set()).add(rest[0])
