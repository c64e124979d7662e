"""Merged weights: what they are, what they cost in precision, and what an interruption leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import merge
from merging import outputs, weights
from merging.adapter_files import Unmergeable, read_adapter
from trainer.harness import TINY_MODEL

MakeAdapter = Callable[..., Path]
ALL_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tiny_model_dir: Path) -> Path:
    return tiny_model_dir


@pytest.fixture
def make_adapter(base: Path, tmp_path: Path) -> MakeAdapter:
    """Adapters as PEFT saves them, with matrices as a training leaves them."""

    def make(**options: Any) -> Path:
        config = LoraConfig(
            **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **options},
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(3)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        folder = tmp_path / "adapter"
        model.save_pretrained(folder, save_embedding_layers=False)
        config_file = folder / "adapter_config.json"
        identity = {"base_model_name_or_path": TINY_MODEL, "revision": "tiny-1"}
        config_file.write_text(json.dumps({**json.loads(config_file.read_text()), **identity}))
        return folder

    return make


def merge_to(base: Path, adapter: Path, out: Path, **options: Any) -> weights.Merged:
    merged = weights.merge(base, adapter, out, **options)
    weights.publish(out)
    return merged


INPUTS = torch.tensor([[1, 50, 600, 7000, 42, 99]])


@torch.no_grad()
def logits_of(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model(input_ids=INPUTS).logits


@torch.no_grad()
def logits_by_peft(base: Path, adapter: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()(INPUTS).logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": ALL_MODULES},
        {"use_rslora": True},
        {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 32}},
    ],
    ids=["plain", "all modules", "rslora", "patterns"],
)
def test_the_merged_model_says_what_peft_says(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path, options: dict[str, Any]
) -> None:
    """In float32, nothing is rounded: both sums are the same."""
    adapter = make_adapter(**options)
    merge_to(base, adapter, tmp_path / "out", dtype=torch.float32)
    expected = logits_by_peft(base, adapter)
    assert torch.allclose(logits_of(tmp_path / "out"), expected, atol=1e-4)
    assert not torch.allclose(logits_of(base), expected, atol=0.1)


def test_shards_hold_together_what_one_file_holds(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    adapter = make_adapter()
    merge_to(base, adapter, tmp_path / "one")
    merge_to(base, adapter, tmp_path / "many", shard_bytes=100_000)
    names = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(names) > 2
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((tmp_path / "many" / weights.INDEX_NAME).read_text())
    assert set(index["weight_map"].values()) == set(names)
    assert torch.equal(logits_of(tmp_path / "many"), logits_of(tmp_path / "one"))
    config = json.loads((tmp_path / "many" / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert {t.dtype for t in load_file(tmp_path / "many" / names[0]).values()} == {torch.float16}
    assert (tmp_path / "many" / "tokenizer.json").is_file()


def test_a_merge_that_was_stopped_goes_on_where_it_was(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """Stopped after the second shard: the first two are kept, and OUT was never there half made."""
    adapter, out = make_adapter(), tmp_path / "out"

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.merge(base, adapter, out, shard_bytes=100_000, on_shard=stop)
    assert not out.exists()
    merged = merge_to(base, adapter, out, shard_bytes=100_000)
    assert merged.kept_shards == 2
    assert len(merged.layers) == 4
    merge_to(base, adapter, tmp_path / "whole", shard_bytes=100_000)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    assert torch.equal(logits_of(out), logits_of(tmp_path / "whole"))


def test_what_another_adapter_left_is_not_kept(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """Nor is a shard that was damaged since."""
    out = tmp_path / "out"
    weights.merge(base, make_adapter(), out, shard_bytes=100_000)
    adapter = make_adapter(use_rslora=True)
    assert weights.merge(base, adapter, out, shard_bytes=100_000).kept_shards == 0
    damaged = sorted(weights.partial_folder(out).glob("*.safetensors"))
    damaged[0].write_bytes(b"torn")
    assert weights.merge(base, adapter, out, shard_bytes=100_000).kept_shards == len(damaged) - 1
    weights.publish(out)
    assert torch.allclose(logits_of(out), logits_by_peft(base, adapter), atol=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"fan_in_fan_out": True},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_more_than_a_plain_lora_is_refused_by_its_name(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path, changes: dict[str, Any]
) -> None:
    adapter = make_adapter()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(Unmergeable, match=next(iter(changes))):
        weights.merge(base, adapter, tmp_path / "out")


def test_an_adapter_of_another_model_is_refused(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    adapter = make_adapter()
    tensors = load_file(adapter / "adapter_model.safetensors")
    deeper = {name.replace("layers.1", "layers.31"): tensor for name, tensor in tensors.items()}
    save_file(deeper, adapter / "adapter_model.safetensors")
    with pytest.raises(Unmergeable, match="adapter of another base model"):
        weights.merge(base, adapter, tmp_path / "out")
    wider = {n: torch.cat([t, t], dim=1) if "lora_A" in n else t for n, t in tensors.items()}
    save_file(wider, adapter / "adapter_model.safetensors")
    with pytest.raises(Unmergeable, match=r"64 x 128|32 x 128"):
        weights.merge(base, adapter, tmp_path / "out")


def test_weights_that_float16_cannot_hold_are_refused(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """Rather than written as infinity."""
    adapter = make_adapter()
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({n: t * 1e4 for n, t in tensors.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(Unmergeable, match="float16 cannot hold"):
        weights.merge(base, adapter, tmp_path / "out")


def test_a_torn_adapter_is_refused_in_words(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    adapter = make_adapter()
    (adapter / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(Unmergeable, match="fetch it again"):
        read_adapter(adapter)
    shutil.rmtree(adapter)
    with pytest.raises(Unmergeable, match="is not there"):
        read_adapter(adapter)


def test_the_report_tells_what_merging_changed(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounding costs far less than the adapter does, and the report says both."""
    out = tmp_path / "out"
    arguments = ["--adapter", str(make_adapter()), "--base", str(base), "--out", str(out)]
    assert merge.main(arguments) == 0
    report = json.loads((out / merge.REPORT_NAME).read_text())
    assert report["layers"]["merged"] == 4
    assert 0 < report["layers"]["worst_share_of_adapter"] < 0.05
    logits = report["logits"]
    assert 0 < logits["mean"] < logits["max"]
    assert logits["mean"] < 0.05 * logits["adapter_mean"]
    assert logits["same_top_token"] > 0.9
    assert set(report["shards"]) == {"model.safetensors"}
    assert "4 weights merged" in capsys.readouterr().out
    assert not weights.partial_folder(out).exists()
    assert merge.main(arguments) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_model_too_large_for_the_memory_is_compared_by_layers(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "_ROOM", 1e9)
    out = tmp_path / "out"
    arguments = ["--adapter", str(make_adapter()), "--base", str(base), "--out", str(out)]
    assert merge.main(arguments) == 0
    report = json.loads((out / merge.REPORT_NAME).read_text())
    assert report["logits"] is None
    assert "does not fit" in report["logits_not_compared"]


def test_another_base_model_than_the_adapters_is_refused_before_any_work(
    base: Path, make_adapter: MakeAdapter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, other = make_adapter(), tmp_path / "other"
    shutil.copytree(base, other)
    (other / "base_model.json").write_text('{"name": "somebody/else", "revision": "tiny-1"}')
    out = tmp_path / "out"
    for wrong, said in [(other, "holds somebody/else"), (tmp_path / "none", "no base model")]:
        (tmp_path / "none").mkdir(exist_ok=True)
        assert merge.main(["--adapter", str(adapter), "--base", str(wrong), "--out", str(out)]) == 1
        assert said in capsys.readouterr().err
    assert not weights.partial_folder(out).exists()
