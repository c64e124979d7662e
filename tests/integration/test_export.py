"""`tuner export` as a person types it; merging itself is the trainer's (tests/trainer)."""

from __future__ import annotations

import json
import math
import struct

import pytest

from support.stacks import TRAINER_PYTHON
from support.typing_tuner import Tuner


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


@pytest.fixture
def run_id(world):
    run_id = world.ask()
    world.tick(minutes=1)
    world.finish(run_id)
    return run_id


def test_the_adapter_alone_is_exported_as_a_folder_for_peft(tuner, run_id, tmp_path):
    target = tmp_path / "mine"
    said = tuner("export", run_id, "--out", str(target))
    assert said.code == 0, said.err
    assert sorted(path.name for path in target.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    again = tuner("export", run_id, "--out", str(target))
    assert (again.code, "is there already" in again.err) == (2, True)


def test_a_run_without_an_adapter_cannot_be_exported(world, tuner, tmp_path):
    run_id = world.ask()
    said = tuner("export", run_id, "--merged", "--out", str(tmp_path / "x"))
    assert said.code == 2
    assert "has no adapter" in said.err


def test_without_the_trainers_environment_merging_says_what_it_needs(
    tuner, run_id, tmp_path, monkeypatch
):
    """Before anything is downloaded."""
    monkeypatch.setenv("TUNER_TRAINER_PYTHON", str(tmp_path / "no-python"))
    said = tuner("export", run_id, "--merged", "--out", str(tmp_path / "x"))
    assert said.code == 2
    assert "make environments" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not TRAINER_PYTHON.exists(), reason="no .venv-trainer: make environments")
def test_a_base_model_that_is_another_is_refused_and_nothing_is_left(tuner, run_id, tmp_path):
    base, target = tmp_path / "base", tmp_path / "x"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "base_model.json").write_text(json.dumps({"name": "some/body", "revision": "1"}))
    said = tuner("export", run_id, "--merged", "--base", str(base), "--out", str(target))
    assert said.code == 1
    assert "holds some/body" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def tensors(shapes):
    """A safetensors file of float32 ones."""
    header, data = {}, b""
    for name, shape in shapes.items():
        content = struct.pack("<f", 1.0) * math.prod(shape)
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.skipif(not TRAINER_PYTHON.exists(), reason="no .venv-trainer: make environments")
def test_a_merged_model_is_exported_with_its_report(world, tuner, run_id, tmp_path):
    """1 + 2 x 0.25 x 0.5 x 16 = 5: the stand-in's adapter, of rank 16 and alpha 32."""
    base, target = tmp_path / "base", tmp_path / "merged"
    base.mkdir()
    held = world.run(run_id).model.base_model
    (base / "base_model.json").write_text(
        json.dumps({"name": held.name, "revision": held.revision})
    )
    (base / "config.json").write_text('{"model_type": "llama", "dtype": "float32"}')
    (base / "tokenizer.json").write_text("{}")
    attention = "model.layers.0.self_attn"
    shapes = {f"{attention}.q_proj.weight": [1, 1], f"{attention}.v_proj.weight": [1, 1]}
    content = tensors({**shapes, "model.norm.weight": [3]})
    (base / "model.safetensors").write_bytes(content)
    words = ("--merged", "--layers-only", "--base", str(base), "--out", str(target), "--json")
    said = tuner("export", run_id, *words)
    assert said.code == 0, said.err
    assert said.json["report"]["layers"]["merged"] == 2
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "merge_report.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    merged = (target / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", merged[:8])
    header = json.loads(merged[8 : 8 + length])
    start, end = header[f"{attention}.q_proj.weight"]["data_offsets"]
    assert header[f"{attention}.q_proj.weight"]["dtype"] == "F16"
    assert struct.unpack("<e", merged[8 + length + start : 8 + length + end]) == (5.0,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "merged"]
