"""Trainings that are killed again and again, each attempt in a process that is forked for it.

    python lost_trainings.py BASE_MODEL_DIR RUN_URI KILLS FEWEST MOST EPOCHS ROWS

Runs in the trainer's environment, with the trainer and the library on PYTHONPATH, against the
storage server of STORAGE_EMULATOR_HOST. A fork has the loaded model at once, so that a kill costs a
second and not a start. Prints one JSON line: the first step of each attempt, and the SHA-256 of the
adapter beside that of a training which nobody disturbed. An attempt does FEWEST to MOST steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from google.cloud import storage

import recipe
from artifacts import adapter_weights
from checkpoints import Checkpoints
from dataset import Dataset
from loading import Loaded, load
from rows import Example, Message
from settings import resolve_settings
from storage_io import ObjectStore
from tuner.training_job import Hyperparameters, JobSpec

#: Draws the steps, and the moments within them, at which attempts are killed.
SEED = 20


def rows_of(count: int) -> list[Example]:
    """Short conversations, no two alike, of unequal length."""
    return [
        Example(
            file_name="train.jsonl",
            line=number,
            messages=(
                Message("user", f"What is on shelf {number}?"),
                Message("assistant", f"Ah dear, {'so ' * (number % 5)}{number} spoons."),
            ),
        )
        for number in range(1, count + 1)
    ]


class Trainings:
    """One run's training, to be tried as often as it takes."""

    def __init__(self, run_uri: str, epochs: int, rows: int) -> None:
        self._run_uri = run_uri
        spec = JobSpec(
            run_id="lost",
            persona="gran",
            attempt=1,
            claim_id="lost",
            display_name="Gran",
            dataset_id="0" * 64,
            train_uri=f"{run_uri}/train.jsonl",
            eval_uri=f"{run_uri}/eval.jsonl",
            preset="smollm2-135m",
            hyperparameters=Hyperparameters(epochs=epochs),
            micro_batch_divisor=2,
            result_uri=f"{run_uri}/1.json",
        )
        self._settings = resolve_settings(spec)
        examples = rows_of(rows)
        dataset = Dataset(train=examples, eval=examples[:1])
        self._loaded: Loaded = load(self._settings, dataset, on_part=lambda: None)

    def train(self, stage: str, on_step: Callable[[int], None]) -> recipe.Trained:
        """One attempt, to its end; without a stage nothing is kept."""
        checkpoints = Checkpoints(
            ObjectStore(storage.Client(), self._run_uri),
            f"{self._run_uri}/checkpoints/{stage}",
            interval_seconds=0,
            clock=lambda: 0.0,
        )
        return recipe.train(
            self._loaded.model,
            self._loaded.train_rows,
            self._settings,
            self._loaded.placement,
            pad_token_id=self._loaded.pad_token_id,
            on_step=lambda step, *_: on_step(step),
            on_micro_batch=lambda: None,
            checkpoints=checkpoints if stage else None,
        )

    def sha256(self) -> str:
        return hashlib.sha256(adapter_weights(self._loaded.model)).hexdigest()


def in_a_fork(work: Callable[[Callable[[dict[str, Any]], None]], None]) -> tuple[int, int]:
    """Run `work` in a forked process; its id, and where its lines can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        os.close(reading)
        # What the code under test logs is not what this program prints.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work(lambda line: _write(writing, line))
        code = 0
    finally:
        os._exit(code)


def _write(pipe: int, line: dict[str, Any]) -> None:
    os.write(pipe, json.dumps(line).encode() + b"\n")


def attempt(
    trainings: Trainings,
    stage: str,
    *,
    draw: random.Random | None = None,
    steps: tuple[int, int] = (0, 0),
) -> Any:
    """One attempt in a fork, killed at a random moment if `draw` is given; what it said."""

    def work(say: Callable[[dict[str, Any]], None]) -> None:
        trained = trainings.train(stage, lambda step: say({"step": step}))
        say({"resumed_at": trained.resumed_at, "sha256": trainings.sha256()})

    child, reading = in_a_fork(work)
    steps_left = draw.randint(*steps) if draw else -1
    lines: list[dict[str, Any]] = []
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        for raw in pipe:
            lines.append(json.loads(raw))
            steps_left -= 1
            if draw and not steps_left:
                # At some moment of what follows: a step, or the writing of a checkpoint.
                select.select([], [], [], draw.uniform(0, 0.06))
                os.kill(child, signal.SIGKILL)
                break
    _, status = os.waitpid(child, 0)
    return {"lines": lines, "killed": os.WIFSIGNALED(status)}


def main(arguments: list[str]) -> int:
    """Train undisturbed, then with kills; print what came of it."""
    base_model_dir, run_uri, kills, fewest, most, epochs, rows = arguments
    os.environ["TUNER_BASE_MODEL_DIR"] = base_model_dir
    # A forked process has no threads but its own.
    torch.set_num_threads(1)
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    trainings = Trainings(run_uri, int(epochs), int(rows))
    undisturbed = attempt(trainings, "")
    draw = random.Random(SEED)
    first_steps, killed = [], 0
    for _ in range(int(kills)):
        tried = attempt(trainings, "lost", draw=draw, steps=(int(fewest), int(most)))
        first_steps.append(tried["lines"][0]["step"])
        killed += tried["killed"]
    last = attempt(trainings, "lost")
    found = {
        "killed": killed,
        "first_steps": first_steps,
        "resumed_at": last["lines"][-1]["resumed_at"],
        "sha256": last["lines"][-1]["sha256"],
        "undisturbed_sha256": undisturbed["lines"][-1]["sha256"],
    }
    os.write(output, json.dumps(found).encode() + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
