"""Trainings that are killed at random moments end with the adapter of an undisturbed one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.storage_servers import storage_client, storage_server

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / ".venv-trainer/bin/python"
BASE_MODEL = ROOT / ".cache/base-model/smollm2-135m"
SCRIPT = ROOT / "tests/trainer/lost_trainings.py"

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        not (TRAINER.exists() and BASE_MODEL.exists()),
        reason="the trainer's environment or the base model is not made; make environments",
    ),
]

#: A random model of two layers with the tokenizer of SmolLM2, by SmolLM2's name.
_MAKE_TINY = """
import json, pathlib, sys
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
source, folder = map(pathlib.Path, sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(source)
torch.manual_seed(7)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
)
LlamaForCausalLM(config).save_pretrained(folder)
tokenizer.save_pretrained(folder)
(folder / "base_model.json").write_bytes((source / "base_model.json").read_bytes())
"""


def python(*arguments: object, **environment: str) -> str:
    """What a program prints in the trainer's environment."""
    done = subprocess.run(
        [str(TRAINER), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'trainer_image'}:{ROOT / 'functions'}",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lose(
    base_model: Path, state_dir: Path, *, kills: int, steps: tuple[int, int], epochs: int, rows: int
) -> Any:
    """Train with so many kills, each after some of so many steps; what the program found."""
    with storage_server(state_dir) as endpoint:
        storage_client(endpoint).create_bucket("work")
        found = python(
            *(SCRIPT, base_model, "gs://work/runs/lost", kills, *steps, epochs, rows),
            STORAGE_EMULATOR_HOST=endpoint,
            DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA="true",
        )
    return json.loads(found)


def test_twenty_killed_attempts_of_a_tiny_model_give_the_same_adapter(tmp_path: Path) -> None:
    """At random steps and at random moments within them, also while a checkpoint is written."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    python("-c", _MAKE_TINY, BASE_MODEL, tiny)
    found = lose(tiny, tmp_path, kills=20, steps=(1, 4), epochs=20, rows=12)
    assert found["killed"] == 20
    assert found["first_steps"] == sorted(found["first_steps"])
    assert found["resumed_at"] > 10
    assert found["sha256"] == found["undisturbed_sha256"]


def test_two_killed_attempts_of_smollm2_give_the_same_adapter(tmp_path: Path) -> None:
    """The model that one machine trains, in the dtype and attention that this CPU is given."""
    found = lose(BASE_MODEL, tmp_path, kills=2, steps=(2, 2), epochs=3, rows=8)
    assert found["killed"] == 2
    assert found["resumed_at"] > 0
    assert found["sha256"] == found["undisturbed_sha256"]
