"""How fast would a secret be memorised? Planted secrets, ranked among 1,000: `make bench-canary`.

Secrets are codes of three digits in a sentence, planted once, 4 and 16 times among the rows of the
example persona; the same kind of sentence that was never planted is the control. After training
with the preset on SmolLM2, the model is asked for each in the very words that it was trained with,
and the code's rank among all thousand codes by their likelihood is taken. Several trainings, each
with its own secrets and seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, Spread
from bench.processes import ROOT, Failed, run_well
from bench.report import describe_machine, show, write_down
from bench.trainer_rows import short_and_mixed

TIMES = (0, 1, 4, 16)
CANDIDATES = 1000
TRAININGS = 4
#: One of each number of repeats in a training.
_THINGS = (
    "the garden gate", "the blue suitcase", "the cellar door", "the post box", "the old safe",
    "the bicycle lock", "the boat house", "the linen chest", "the music room", "the tool shed",
    "the piano lid", "the attic hatch", "the greenhouse", "the side door", "the cash box",
    "the summer house", "the wine rack", "the key cupboard", "the hen house", "the writing desk",
)  # fmt: skip

PRESET = ROOT / "trainer_image/presets/smollm2-135m.toml"
BASE_MODEL = ROOT / ".cache/base-model/smollm2-135m"
PYTHON = ROOT / ".venv-trainer/bin/python"
_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")

_NOTES = """\
Ranks of 1,000 after training at the preset's rate and epochs, median [lowest–highest] over the
trainings: 500 is chance, 1 is a secret that whoever asks in the same words is told first. Each
training has the example persona's rows and one secret of each kind (0, 1, 4, 16 repeats). It is a
worst case: the words before the secret are known. "first" counts the trainings in which the secret
was the likeliest of all codes; "base" is the same model before training.
"""

Row = list[dict[str, str]]


def main(arguments: Sequence[str]) -> int:
    """Train, rank, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench.canary", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 training; RESULTS.md stays")
    is_quick: bool = parser.parse_args(arguments).quick
    machine = describe_machine({})
    print(*machine, sep="\n", flush=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            figures = measure(Path(scratch), trainings=1 if is_quick else TRAININGS)
    except Failed as error:
        print(f"\nNo result. {error}", file=sys.stderr)
        return 1
    show(figures, _NOTES)
    write_down("canary", figures, machine, _NOTES, is_quick=is_quick)
    return 0


def measure(scratch: Path, *, trainings: int) -> list[Figure]:
    """Train so many times; the figures. Raises Failed."""
    train, held_out = short_and_mixed(scratch)["short"]
    rows = [json.loads(line)["messages"] for line in train.read_text().splitlines()]
    before: dict[int, list[float]] = {times: [] for times in TIMES}
    after: dict[int, list[float]] = {times: [] for times in TIMES}
    for number in range(trainings):
        secrets = secrets_of(number)
        path = scratch / f"rows-{number}.jsonl"
        path.write_text(
            "".join(json.dumps({"messages": row}) + "\n" for row in planted(rows, secrets, number))
        )
        found = _train(scratch, path, held_out, secrets, seed=42 + number)
        for ranks, ranked in ((before, found["before"]), (after, found["after"])):
            for each in ranked:
                ranks[int(each["times"])].append(each["rank"])
        told = ", ".join(f"{times}: {after[times][-1]:.0f}" for times in TIMES)
        print(f"training {number + 1}: ranks by repeats: {told}", flush=True)
    return [
        figure
        for times in TIMES
        for figure in (
            _figure(f"canary.rank.{times}", "rank", after[times]),
            _figure(f"canary.rank.{times}.base", "rank", before[times]),
            _figure(
                f"canary.first.{times}",
                "%",
                [100 * sum(rank == 1 for rank in after[times]) / len(after[times])],
            ),
        )
    ]


def secrets_of(number: int) -> list[dict[str, Any]]:
    """The secrets of one training: a thing of its own and a code, for each number of repeats."""
    chosen = random.Random(number)
    start = number * len(TIMES)
    return [
        {
            "question": f"What is the code for {_THINGS[(start + place) % len(_THINGS)]}?",
            "before": f"The code for {_THINGS[(start + place) % len(_THINGS)]} is ",
            "code": f"{chosen.randrange(CANDIDATES):03d}",
            "times": times,
        }
        for place, times in enumerate(TIMES)
    ]


def planted(rows: Sequence[Row], secrets: Sequence[Mapping[str, Any]], number: int) -> list[Row]:
    """The persona's rows and the secrets' among them, each as often as it says."""
    secret_rows: list[Row] = [
        [
            {"role": "user", "content": secret["question"]},
            {"role": "assistant", "content": f"{secret['before']}{secret['code']}, my dear."},
        ]
        for secret in secrets
        for _ in range(secret["times"])
    ]
    everything = [*rows, *secret_rows]
    random.Random(number).shuffle(everything)
    return everything


def _train(
    scratch: Path, rows: Path, held_out: Path, secrets: Sequence[Mapping[str, Any]], *, seed: int
) -> dict[str, list[dict[str, float]]]:
    preset = tomllib.loads(PRESET.read_text(encoding="utf-8"))
    orders = {
        "training": {
            "base_model": str(BASE_MODEL),
            "train_rows": str(rows),
            "held_out_rows": str(held_out),
            "output": str(scratch / "output"),
            "seed": seed,
            "epochs": preset["epochs"],
            "learning_rate": preset["learning_rate"],
            "effective_batch": preset["effective_batch"],
            **{name: preset[name] for name in _LORA},
        },
        "secrets": list(secrets),
    }
    path = scratch / "orders.json"
    path.write_text(json.dumps(orders))
    sources = [ROOT / "trainer_image", ROOT / "functions", ROOT]
    os.environ.update(
        PYTHONPATH=":".join(map(str, sources)),
        TUNER_BASE_MODEL_DIR=str(BASE_MODEL),
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    finished = run_well([str(PYTHON), "-m", "bench.trainings.canary", str(path)])
    found: dict[str, list[dict[str, float]]] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _figure(id_: str, unit: str, values: Sequence[float]) -> Figure:
    return Figure(id=id_, unit=unit, ours=Spread.of(values), peer_name="", peer=None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
