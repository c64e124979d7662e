"""Several processes under `accelerate launch` train what one trains, and one of them writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import settings
import train
from processes import Processes
from trainer import without_dropout
from trainer.harness import Job, jsonl, pairs
from tuner.training_job import Hyperparameters

NewJob = Callable[..., Job]

pytestmark = pytest.mark.usefixtures("default_sigterm")

SCRIPT = Path(__file__).parent / "without_dropout.py"


def launched(job: Job, processes: int) -> list[str]:
    """The command line that a machine with so many GPUs would get, on the CPU."""
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"),
        *("--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--main_process_port", "0", "--num_cpu_threads_per_process", "1"),
        *(str(SCRIPT), *job.arguments()),
    ]


def tensors(job: Job) -> dict[str, torch.Tensor]:
    content = job.get(f"{job.attempt_prefix}/adapter/adapter_model.safetensors")
    loaded: dict[str, torch.Tensor] = safetensors.torch.load(content)
    return loaded


def test_two_processes_learn_what_one_does_at_the_same_effective_batch(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, without dropout; 9 rows, so that the last step has a row for one of the two."""
    values = {
        "train_jsonl": jsonl(pairs(9)),
        "hyperparameters": Hyperparameters(epochs=2, learning_rate=0.01),
    }
    alone, together = new_job(**values), new_job(**values)
    monkeypatch.setattr(settings, "load_preset", without_dropout.load_preset)
    assert train.main(alone.arguments()) == 0
    monkeypatch.setenv("TUNER_CHECKPOINT_SECONDS", "0")
    done = subprocess.run(
        launched(together, 2), env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = tensors(alone), tensors(together)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)

    first, second = alone.result().metrics, together.result().metrics
    assert first is not None
    assert second is not None
    assert (second.steps, second.supervised_tokens) == (first.steps, first.supervised_tokens)
    assert second.train_loss_last == pytest.approx(first.train_loss_last, abs=1e-5)
    # One process tells what happens, and each object has one generation but the beats.
    assert done.stdout.count('"message": "phase: training"') == 1
    random_states = {name for name in together.checkpoints() if "rng_state" in name}
    assert {name.split("/")[1] for name in random_states} == {"rng_state_0.pth", "rng_state_1.pth"}


def test_without_a_launcher_there_is_one_process() -> None:
    """The launcher's variables say which process this is; each has the GPU of its number."""
    assert Processes.of({}) == Processes(number=0, count=1, local_number=0)
    third = Processes.of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert third == Processes(number=3, count=4, local_number=1)
    assert not third.is_first
