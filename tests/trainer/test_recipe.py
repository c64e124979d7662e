"""What the recipe promises beside going on: its options, its placement, its dtype on this CPU."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM

import base_model
import recipe
from adapters import add_adapter
from artifacts import adapter_config, adapter_weights
from base_model import choose_placement
from chat import Encoded
from conditions import conditions_of
from processes import Processes
from settings import PRESETS_DIR, Preset, load_preset, resolve_settings
from trainer.nf4 import needs_nf4, run_with_nf4
from tuner.adapter import AdapterWeights, check_config
from tuner.errors import UntrustedResult
from tuner.presets import ALL_LINEAR, PRESETS
from tuner.training_job import BaseModel, Hyperparameters, JobSpec

IDENTITY = BaseModel(name="HuggingFaceTB/SmolLM2-135M-Instruct", revision="tiny-1")


@pytest.fixture
def preset() -> Preset:
    return load_preset(PRESETS_DIR / "smollm2-135m.toml")


def settings_of(preset: Preset) -> Any:
    spec = JobSpec(
        run_id="r",
        persona="gran",
        attempt=1,
        claim_id="c",
        display_name="Gran",
        dataset_id="0" * 64,
        train_uri="gs://work/t",
        eval_uri="gs://work/e",
        preset="smollm2-135m",
        hyperparameters=Hyperparameters(epochs=1, learning_rate=0.05),
        result_uri="gs://work/r",
    )
    return replace(resolve_settings(spec), preset=preset)


def some_rows() -> list[Encoded]:
    return [
        Encoded(input_ids=[9, n, n + 1, n + 2], labels=[-100, -100, n + 1, n + 2])
        for n in range(20, 28)
    ]


# -- options --------------------------------------------------------------------------------------


def test_rslora_on_every_linear_layer_trains_and_is_believed(
    preset: Preset, tiny_model_dir: Path
) -> None:
    """PEFT's word for the modules is written out in the files, as completion expects them."""
    wide = msgspec.structs.replace(preset, lora_target_modules="all-linear", lora_rslora=True)
    settings = settings_of(wide)
    placement = choose_placement(wide, micro_batch=4, longest_tokens=4)
    model = add_adapter(AutoModelForCausalLM.from_pretrained(tiny_model_dir), settings, IDENTITY)
    recipe.train(
        model,
        some_rows(),
        settings,
        placement,
        pad_token_id=0,
        on_step=lambda *_: None,
        on_micro_batch=lambda: None,
    )
    expected = msgspec.structs.replace(
        PRESETS["smollm2-135m"], lora_target_modules=ALL_LINEAR, lora_rslora=True
    )
    config = adapter_config(model)
    assert sorted(json.loads(config)["target_modules"]) == sorted(ALL_LINEAR)
    check_config(config, expected, revision=IDENTITY.revision)
    content = adapter_weights(model)
    weights = AdapterWeights(len(content), expected)
    weights.feed(content)
    weights.finish()
    with pytest.raises(UntrustedResult):
        check_config(config, PRESETS["smollm2-135m"], revision=IDENTITY.revision)


def test_rslora_scales_by_the_root_of_the_rank(preset: Preset, tiny_model_dir: Path) -> None:
    """alpha / sqrt(r), which is what lets a large rank learn."""
    scales = []
    for rslora in (False, True):
        settings = settings_of(msgspec.structs.replace(preset, lora_rslora=rslora))
        base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        model = add_adapter(base, settings, IDENTITY)
        [layer] = {module.scaling["default"] for module in model.modules() if is_lora(module)}
        scales.append(layer)
    assert scales == [32 / 16, 32 / 4]


def is_lora(module: Any) -> bool:
    return hasattr(module, "scaling") and hasattr(module, "lora_A")


# -- dtype ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bf16_seconds", "fp32_seconds", "pays"),
    [(0.001, 0.002, True), (0.002, 0.001, False), (0.00095, 0.001, False)],
)
def test_bfloat16_is_chosen_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, fp32_seconds: float, pays: bool
) -> None:
    """A CPU may have the instructions and be slow at them; a tie goes to float32."""
    took = {torch.bfloat16: bf16_seconds, torch.float32: fp32_seconds}
    monkeypatch.setattr(base_model, "cpu_computes_bf16", lambda: True)
    monkeypatch.setattr(base_model, "probe_seconds", lambda dtype, clock: took[dtype])
    assert base_model.bf16_pays() is pays


def test_the_probe_takes_its_shortest_measurement_and_ends_in_time() -> None:
    """Another process may disturb any of them; two dtypes are probed in less than 50 ms."""
    reads = iter([0.0, 0.001, 0.004, 0.004, 0.006, 0.006, 0.021, 9.0])
    found = base_model.probe_seconds(torch.float32, lambda: next(reads))
    assert found == pytest.approx(0.002)
    assert 2 * base_model.PROBE_SECONDS < 0.05


def test_a_cpu_without_bfloat16_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to measure: it would be emulated."""
    monkeypatch.setattr(base_model, "cpu_computes_bf16", lambda: False)

    def clock() -> float:
        raise AssertionError("probed")

    assert not base_model.bf16_pays(clock)


# -- placement ------------------------------------------------------------------------------------


def test_a_training_that_goes_on_keeps_dtype_and_attention(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same kind of machine; elsewhere the machine's own are chosen."""
    here = choose_placement(preset, micro_batch=4, longest_tokens=64)
    held = conditions_of(here, micro_batch=4)
    other = msgspec.structs.replace(held, dtype="bfloat16", attention="sdpa")

    def kept(conditions: Any) -> tuple[torch.dtype, str]:
        found = choose_placement(preset, micro_batch=4, longest_tokens=64, held=conditions)
        return found.dtype, found.attention

    assert kept(other) == (torch.bfloat16, "sdpa")
    own = (here.dtype, here.attention)
    assert kept(msgspec.structs.replace(other, device="NVIDIA L4")) == own
    assert kept(msgspec.structs.replace(other, instructions="another")) == own
    assert kept(msgspec.structs.replace(other, dtype="int3")) == own


def test_each_process_takes_the_gpu_of_its_number(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all would load their model onto the first."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    share = Processes(number=3, count=4, local_number=1)
    placement = choose_placement(preset, micro_batch=4, longest_tokens=64, processes=share)
    assert taken == [1]
    assert (placement.process, placement.processes) == (3, 4)


# -- NF4 ------------------------------------------------------------------------------------------


@needs_nf4
def test_nf4_weights_train_on_a_cpu_as_on_a_gpu(tiny_model_dir: Path) -> None:
    """Twice quantised, four bits a weight, frozen, under a float32 adapter, with recomputation."""
    found = run_with_nf4("nf4_training.py", str(tiny_model_dir))
    losses = found.pop("losses")
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
    assert found == {
        "steps": 4,
        "kind": "nf4",
        "doubly_quantised": True,
        "bits_of_a_weight": 4.0,
        "frozen_is_as_it_was": True,
        "adapter_dtypes": ["torch.float32"],
    }
