"""`tuner mirror` as a person types it; what the trainer makes of it stands in tests/trainer."""

from __future__ import annotations

import json

import pytest

from support.stacks import TRAINER_PYTHON
from support.typing_tuner import Tuner
from tuner.base_mirror import mirror_prefix
from tuner.presets import PRESETS
from tuner.training_job import JobSpec, decode

PRESET = PRESETS["smollm2-135m"]
PREFIX = mirror_prefix(PRESET.base_model, PRESET.revisions[0])

needs_trainer = pytest.mark.skipif(
    not TRAINER_PYTHON.exists(), reason="no .venv-trainer: make environments"
)


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


@pytest.fixture
def base(tmp_path):
    """A folder as `make environments` leaves it, but for the size of its weights."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "code.py"):
        (folder / name).write_text(f"{name}\n")
    identity = {"name": PRESET.base_model, "revision": PRESET.revisions[-1]}
    (folder / "base_model.json").write_text(json.dumps(identity))
    return folder


def held(world):
    blobs = world.storage.list_blobs(world.places.models_bucket_name, prefix="base-models/")
    return sorted(blob.name.removeprefix(f"{PREFIX}/") for blob in blobs)


@needs_trainer
def test_the_base_model_is_stored_where_the_next_job_looks(world, tuner, base, tmp_path):
    said = tuner(
        "mirror", "smollm2-135m", "--base", str(base), "--work", str(tmp_path / "w"), "--json"
    )
    assert said.code == 0, said.err
    assert held(world) == ["config.json", "manifest.json", "model.safetensors", "tokenizer.json"]
    assert not (tmp_path / "w").exists()
    run_id = world.ask()
    world.tick(minutes=1)
    name = f"{world.places.attempt_prefix(run_id, 1)}/job.json"
    orders = world.storage.bucket(world.places.work_bucket_name).blob(name).download_as_bytes()
    assert decode(orders, JobSpec).base_model_uri == said.json["uri"]
    assert said.json["manifest"]["revision"] == PRESET.revisions[-1]
    again = tuner("mirror", "smollm2-135m", "--base", str(base), "--work", str(tmp_path / "w"))
    assert again.code == 0, again.err
    assert "(there already)" in again.out


@needs_trainer
@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        ({"name": "some/body", "revision": "1"}, "holds some/body"),
        ({"name": PRESET.base_model, "revision": "1"}, "no result of it would be believed"),
    ],
)
def test_another_model_is_refused_and_nothing_is_stored(
    world, tuner, base, tmp_path, identity, sentence
):
    (base / "base_model.json").write_text(json.dumps(identity))
    said = tuner("mirror", "smollm2-135m", "--base", str(base), "--work", str(tmp_path / "w"))
    assert said.code in (1, 2)
    assert sentence in said.err
    assert held(world) == []


def test_an_unknown_preset_is_refused_with_those_that_there_are(tuner):
    said = tuner("mirror", "gpt-9")
    assert said.code == 2
    assert "mistral-7b, smollm2-135m" in said.err


def test_no_persona_may_have_the_mirrors_name(tuner, tmp_path):
    """`tuner forget` would take the base models along."""
    file = tmp_path / "x.json"
    file.write_text("[]")
    said = tuner("drop", str(file), "--persona", "base-models")
    assert said.code == 2
    assert "cannot be a persona's name" in said.err
