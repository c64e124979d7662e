"""An adapter is that of its preset, its numbers are finite, and it changes something."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from support.stand_in_trainer import adapter_config, adapter_weights
from tuner.adapter import AdapterWeights, check_config
from tuner.errors import UntrustedResult
from tuner.presets import PRESETS

PRESET = PRESETS["smollm2-135m"]
REVISION = PRESET.revisions[0]
CONFIG: dict[str, Any] = json.loads(
    adapter_config({"name": PRESET.base_model, "revision": REVISION})
)
#: What PEFT 0.21 writes beside it for an adapter of this preset.
PEFTS_OWN: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None,
    "auto_mapping": None, "corda_config": None, "eva_config": None, "exclude_modules": None,
    "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
    "layer_replication": None, "layers_pattern": None, "layers_to_transform": None,
    "loftq_config": {}, "lora_bias": False, "lora_dropout": 0.05, "megatron_config": None,
    "megatron_core": "megatron.core", "modules_to_save": None, "peft_version": "0.21.2",
    "qalora_group_size": 16, "rank_pattern": {}, "target_parameters": None,
    "trainable_token_indices": None, "use_dora": False, "use_qalora": False, "use_rslora": False,
}  # fmt: skip


def config(**changes: Any) -> bytes:
    return json.dumps(CONFIG | changes).encode()


def check(content: bytes) -> None:
    check_config(content, PRESET, revision=REVISION)


def test_the_presets_own_configuration_is_believed() -> None:
    check(config())
    check(config(**PEFTS_OWN))
    check(config(target_modules=["v_proj", "q_proj"]))


def test_a_configuration_without_a_revision_is_believed() -> None:
    check(config(revision=None))


@pytest.mark.parametrize("content", [b"[" * 60_000, b"\xff", b"{", b""])
def test_a_configuration_that_cannot_be_read_is_not_believed(content: bytes) -> None:
    with pytest.raises(UntrustedResult, match="not JSON"):
        check(content)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'"LORA"', b'{"peft_type": "IA3"}'])
def test_a_configuration_of_anything_else_is_not_believed(content: bytes) -> None:
    with pytest.raises(UntrustedResult, match="not describe a LoRA"):
        check(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"r": 8},
        {"r": 16.0},
        {"lora_alpha": 16},
        {"task_type": "SEQ_CLS"},
        {"base_model_name_or_path": "/tmp/somewhere"},
        {"target_modules": ["q_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj", "o_proj"]},
        {"target_modules": [1, None]},
        {"revision": "main"},
        {"bias": "all"},
        {"rank_pattern": {"q_proj": 64}},
        {"alpha_pattern": {"q_proj": 64}},
        {"use_rslora": True},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"layers_to_transform": [0]},
        {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}},
        {"megatron_config": {"x": 1}},
    ],
    ids=lambda changes: f"{changes}",
)
def test_a_configuration_of_another_adapter_is_not_believed(changes: dict[str, Any]) -> None:
    [name] = changes
    with pytest.raises(UntrustedResult, match=f"not that of the run's preset: {name}"):
        check(config(**changes))


def test_rslora_is_believed_where_the_preset_has_it_and_only_there() -> None:
    """It changes how strongly the same tensors act."""
    preset = msgspec.structs.replace(PRESET, lora_rslora=True)
    check_config(config(use_rslora=True), preset, revision=REVISION)
    for content in (config(), config(use_rslora=False), config(use_rslora=1)):
        with pytest.raises(UntrustedResult, match="use_rslora"):
            check_config(content, preset, revision=REVISION)


def test_why_a_configuration_is_refused_quotes_nothing_of_it() -> None:
    with pytest.raises(UntrustedResult) as refused:
        check(config(bias="told in confidence", r="told in confidence"))
    assert "confidence" not in str(refused.value)


# -- weights ---------------------------------------------------------------------------------------

A = "base_model.model.model.layers.{}.self_attn.{}.lora_A.weight"
B = A.replace("lora_A", "lora_B")


def feed(content: bytes, *, piece_bytes: int = 1 << 20) -> None:
    weights = AdapterWeights(len(content), PRESET)
    for start in range(0, len(content), piece_bytes):
        weights.feed(content[start : start + piece_bytes])
    weights.finish()


def file_of(tensors: dict[str, tuple[list[int], bytes]], *, dtype: str = "F32") -> bytes:
    """A safetensors file of tensors by name, each a shape and its bytes."""
    header, data = {}, b""
    for name, (shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def adapter(
    *, layers: tuple[int, ...] = (0,), element: bytes = struct.pack("<f", 1.0), dtype: str = "F32",
    width: int = 2,
    instead: Mapping[str, tuple[list[int], bytes] | None] | None = None,
) -> bytes:  # fmt: skip
    """An adapter with the same number everywhere; `instead` replaces some, or removes one."""
    made: dict[str, tuple[list[int], bytes]] = {}
    for layer in layers:
        for module in PRESET.lora_target_modules:
            made[A.format(layer, module)] = ([16, width], element * 16 * width)
            made[B.format(layer, module)] = ([width, 16], element * 16 * width)
    for name, tensor in (instead or {}).items():
        if tensor is None:
            del made[name]
        else:
            made[name] = tensor
    return file_of(made, dtype=dtype)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 1 << 20])
def test_an_adapter_of_its_preset_is_believed_however_it_arrives(piece_bytes: int) -> None:
    feed(adapter(layers=(0, 1, 2)), piece_bytes=piece_bytes)


def test_the_order_of_layers_in_the_file_does_not_matter() -> None:
    feed(adapter(layers=(1, 10, 2, 3, 4, 5, 6, 7, 8, 9, 0)))


def test_the_stand_ins_adapters_are_believed() -> None:
    feed(adapter_weights())
    feed(adapter_weights(layers=3))


FLOATS = {"F32": ("<I", 0x3F80_0000), "F16": ("<H", 0x3C00), "BF16": ("<H", 0x3F80)}


@pytest.mark.parametrize("dtype", FLOATS)
def test_each_kind_of_float_may_be_used(dtype: str) -> None:
    form, one = FLOATS[dtype]
    feed(adapter(element=struct.pack(form, one), dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("F32", 0x7F80_0000), ("F32", 0xFF80_0000), ("F32", 0x7FC0_0000), ("F32", 0xFFFF_FFFF),
        ("F32", 0x7F80_0001), ("F16", 0x7C00), ("F16", 0xFC00), ("F16", 0x7C01), ("F16", 0xFFFF),
        ("BF16", 0x7F80), ("BF16", 0xFF80), ("BF16", 0x7F81), ("BF16", 0xFFFF),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece_bytes", [3, 1 << 20])
def test_one_nan_or_infinity_is_found(dtype: str, bits: int, piece_bytes: int) -> None:
    form, one = FLOATS[dtype]
    content = adapter(element=struct.pack(form, one), dtype=dtype)
    content = content[: -struct.calcsize(form)] + struct.pack(form, bits)
    with pytest.raises(UntrustedResult, match="not finite"):
        feed(content, piece_bytes=piece_bytes)


@pytest.mark.parametrize(("dtype", "bits"), [("F32", 0x7F7F_FFFF), ("F16", 0x7BFF), ("F16", 1)])
def test_the_largest_and_smallest_numbers_are_finite(dtype: str, bits: int) -> None:
    feed(adapter(element=struct.pack(FLOATS[dtype][0], bits), dtype=dtype))


ZEROS = bytes(16 * 2 * 4)
MINUS_ZEROS = struct.pack("<f", -0.0) * 32


@pytest.mark.parametrize("nothing", [ZEROS, MINUS_ZEROS], ids=["0", "-0"])
@pytest.mark.parametrize(("name", "shape"), [(A, [16, 2]), (B, [2, 16])], ids=["A", "B"])
def test_an_adapter_that_changes_nothing_is_not_believed(
    name: str, shape: list[int], nothing: bytes
) -> None:
    """LoRA begins with B = 0; with A = 0 it comes to the same."""
    still = {name.format(0, module): (shape, nothing) for module in PRESET.lora_target_modules}
    with pytest.raises(UntrustedResult, match="changes nothing"):
        feed(adapter(instead=still))


def test_a_module_that_did_not_move_is_no_reason_to_refuse() -> None:
    feed(adapter(instead={B.format(0, "q_proj"): ([2, 16], ZEROS)}))


def test_matrices_of_two_modules_do_not_make_one_that_moved() -> None:
    with pytest.raises(UntrustedResult, match="changes nothing"):
        feed(
            adapter(
                instead={
                    B.format(0, "q_proj"): ([2, 16], ZEROS),
                    A.format(0, "v_proj"): ([16, 2], ZEROS),
                }
            )
        )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (adapter_weights(rank=8), "another rank"),
        (adapter_weights(rank=32), "another rank"),
        (adapter_weights(modules=("q_proj", "k_proj")), "none of its preset's modules"),
        (adapter_weights(modules=("q_proj",)), "lacks tensors"),
        (adapter(layers=(1,)), "lacks tensors"),
        (adapter(layers=(0, 2)), "lacks tensors"),
        (adapter(layers=(0, 1), instead={B.format(1, "v_proj"): None}), "lacks tensors"),
        (file_of({}), "lacks tensors"),
        (adapter(instead={A.format(0, "q_proj"): ([2, 16], ZEROS)}), "another rank"),
        (adapter(instead={A.format(0, "q_proj"): ([32], ZEROS)}), "another rank"),
        (adapter(instead={A.format(0, "q_proj"): ([16, 2, 1], ZEROS)}), "another rank"),
        (adapter(width=0), "another rank"),
        (adapter(layers=(0, 1), instead={A.format(1, "q_proj"): ([16, 1], ZEROS[:64])}), "of one"),
        (adapter(dtype="I32"), "another dtype"),
        (adapter(instead={"lm_head.weight": ([1], ZEROS[:4])}), "none of its preset's modules"),
        (adapter(instead={A.format("00", "q_proj"): ([16, 2], ZEROS)}), "none of its preset's"),
        (
            adapter(instead={A.format(0, "q_proj").replace("self", "other"): ([16, 2], ZEROS)}),
            "lacks tensors",
        ),
        (
            adapter(instead={A.format(0, "q_proj").replace("A", "magnitude"): ([16, 2], ZEROS)}),
            "none of its preset's modules",
        ),
        (adapter(instead={A.format(0, "q_proj") + "\n": ([16, 2], ZEROS)}), "none of its preset's"),
    ],
)  # fmt: skip
def test_an_adapter_of_another_shape_is_not_believed(content: bytes, reason: str) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        feed(content)
