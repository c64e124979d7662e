"""The trainer beside TRL's SFTTrainer and a plain transformers Trainer: `make bench-trainer`.

Everyone trains the same rows of the example persona on SmolLM2-135M, with the same LoRA shape,
seed, effective batch, learning rate and number of epochs, on one thread. Each measurement is a
process of its own, in the environment that it needs; each round runs everyone once, every other
round in the opposite order. A first round warms the page cache and is thrown away, and so is a
small training at the start of each process. Speed counts CPU seconds: on one thread they are the
wall seconds of a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.figures import MIB, Figure, Spread
from bench.processes import ROOT, Failed, Finished, run_well
from bench.report import describe_machine, show, write_down
from bench.trainer_rows import short_and_mixed

# The targets. Speeds and memory are multiples of the peer's.
TRL_SHORT_AT_LEAST = 2.5
TRL_MIXED_AT_LEAST = 3.0
PLAIN_AT_LEAST = 0.97
MEMORY_SHORT_AT_MOST = 0.85
MEMORY_MIXED_AT_MOST = 1.0
QUALITY_AT_LEAST = 0.95

ROUNDS = 5
#: Rounds of a contender whose single step takes minutes: it misses its target by a factor.
SLOW_ROUNDS = 1
SEEDS = (42, 43, 44)
EFFECTIVE_BATCH = 4

PRESET = ROOT / "trainer_image/presets/smollm2-135m.toml"
BASE_MODEL = ROOT / ".cache/base-model/smollm2-135m"
#: The same versions of everything that they have in common; TRL needs more.
TRAINER_PYTHON = ROOT / ".venv-trainer/bin/python"
TRL_PYTHON = ROOT / ".venv-bench-trainer/bin/python"

OURS, TRL, TRL_FP32, PLAIN = "ours", "trl_defaults", "trl_fp32", "plain_trainer"
_TITLES = {
    TRL: "TRL SFTTrainer, defaults",
    TRL_FP32: "TRL SFTTrainer, bf16 off",
    PLAIN: "HF Trainer, our recipe",
}
#: A processor without one of these emulates bfloat16, which TRL's defaults then compute in.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}

_NOTES = """\
Speed is trained tokens per CPU second on one thread, a training of one epoch after a small one that
warms up; a ratio is the median over the rounds of ours / peer's within a round. Memory is the
largest resident size of the whole process, the loading included. Quality is the fall of the
held-out loss (float32, taken alike for both) at the preset's learning rate and epochs, mean of
three seeds. "start" is from the process's being asked for to the end of its first optimizer step,
wall time: Python's imports, the tokenizer, the base model, one step. "plain" is transformers'
Trainer with our compute_loss, placement and grouping by length, and nothing else of ours. Ours and
"plain" run in the trainer's environment, TRL in one with what it needs (datasets, pandas, pyarrow);
what they have in common is of the same versions.
"""
_EMULATED = """\
This processor has no bfloat16. TRL's defaults compute in it all the same, emulated, a minute a
step: they were given one round, and in it one step of four rows, the longest among them; "TRL, bf16
off" stands beside them as what a person would do about it. Quality and start are against that one.
Our own placement takes float32 here; on a processor with bfloat16 it takes that, and gains by it.
"""
_NO_GPU = """\
OPEN: Mistral-7B's shape on a GPU (NF4, 14.6 GB, batch 4 x 512 / 1024 / 2048, beside TRL and
Unsloth) was not measured: this machine has no GPU.
"""


@dataclass
class Samples:
    """What one contender gave, a value for each round."""

    tokens_per_second: list[float] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write down; a target that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds, one seed; RESULTS.md stays as it is"
    )
    is_quick: bool = parser.parse_args(arguments).quick
    try:
        machine = describe_machine(_versions())
        print(*machine, sep="\n", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            figures = measure(
                Path(scratch), rounds=2 if is_quick else ROUNDS, seeds=SEEDS[: 1 if is_quick else 3]
            )
    except Failed as error:
        print(f"\nNo result. {error}", file=sys.stderr)
        return 1
    notes = "\n".join((_NOTES, *([] if has_bf16() else [_EMULATED]), _NO_GPU))
    show(figures, notes)
    write_down("trainer", figures, machine, notes, is_quick=is_quick)
    return 0


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16. True where that cannot be told."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else _BF16_FLAGS
    return bool(flags & _BF16_FLAGS)


def measure(scratch: Path, *, rounds: int, seeds: Sequence[int]) -> list[Figure]:
    """Take all figures. Raises Failed."""
    rows = short_and_mixed(scratch)
    figures: list[Figure] = []
    for kind, at_least, memory_at_most in (
        ("short", TRL_SHORT_AT_LEAST, MEMORY_SHORT_AT_MOST),
        ("mixed", TRL_MIXED_AT_LEAST, MEMORY_MIXED_AT_MOST),
    ):
        orders = _orders(scratch, *rows[kind], epochs=1)
        samples = _take_turns(kind, orders, rounds)
        figures += [
            _speed(f"trainer.speed.{kind}.trl", samples, TRL, at_least),
            _speed(f"trainer.speed.{kind}.plain", samples, PLAIN, PLAIN_AT_LEAST),
            _memory(f"trainer.memory.{kind}.trl", samples, TRL, memory_at_most),
        ]
        if TRL_FP32 in samples:
            figures += [
                _speed(f"trainer.speed.{kind}.trl_fp32", samples, TRL_FP32),
                _memory(f"trainer.memory.{kind}.trl_fp32", samples, TRL_FP32),
            ]
    short = rows["short"]
    peer = TRL if has_bf16() else TRL_FP32
    return [
        *figures,
        _quality(scratch, short, peer, seeds),
        _start(scratch, short, peer, rounds),
    ]


# -- the measurements ------------------------------------------------------------------------------


def _take_turns(kind: str, orders: dict[str, Any], rounds: int) -> dict[str, Samples]:
    slow = () if has_bf16() else (TRL,)
    names = [OURS, PLAIN, TRL_FP32 if slow else TRL, *slow]
    samples = {name: Samples() for name in names}
    for number in range(rounds + 1):
        for name in names:
            if name in slow and not 1 <= number <= SLOW_ROUNDS:
                continue
            told = {**orders, "is_slow": name in slow}
            finished, printed = _run(name, "speed", told)
            _say(f"{kind}, round {number} of {rounds}, {name}: {printed['cpu_seconds']:.1f} CPU s")
            if number == 0:
                continue  # warms up, and is thrown away
            tokens = printed["tokens"] / printed["cpu_seconds"]
            samples[name].tokens_per_second.append(tokens)
            samples[name].peak_bytes.append(finished.peak_bytes)
        names.reverse()
    return samples


def _speed(
    id_: str, samples: Mapping[str, Samples], peer: str, at_least: float | None = None
) -> Figure:
    ours, theirs = samples[OURS].tokens_per_second, samples[peer].tokens_per_second
    # A slow peer took part in the first rounds alone.
    ratio = median(a / b for a, b in zip(ours, theirs, strict=False))
    return Figure(
        id=id_,
        unit="tokens/CPU s",
        ours=Spread.of(ours),
        peer_name=_TITLES[peer],
        peer=Spread.of(theirs),
        target=None if at_least is None else f"≥ {at_least:g} × {_TITLES[peer]}",
        holds=None if at_least is None else ratio >= at_least,
    )


def _memory(
    id_: str, samples: Mapping[str, Samples], peer: str, at_most: float | None = None
) -> Figure:
    ours, theirs = samples[OURS].peak_bytes, samples[peer].peak_bytes
    return Figure(
        id=id_,
        unit="MiB",
        ours=Spread.of([peak / MIB for peak in ours]),
        peer_name=_TITLES[peer],
        peer=Spread.of([peak / MIB for peak in theirs]),
        target=None if at_most is None else f"≤ {at_most:g} × {_TITLES[peer]}",
        holds=None if at_most is None else median(ours) <= at_most * median(theirs),
    )


def _quality(scratch: Path, rows: tuple[Path, Path], peer: str, seeds: Sequence[int]) -> Figure:
    drops: dict[str, list[float]] = {OURS: [], peer: []}
    for seed in seeds:
        for name, values in drops.items():
            printed = _run(name, "quality", _orders(scratch, *rows, seed=seed))[1]
            values.append(printed["before"] - printed["after"])
            _say(f"quality, seed {seed}, {name}: {printed['before']:.3f} → {printed['after']:.3f}")
    return Figure(
        id="trainer.quality.trl",
        unit="nats/token",
        ours=Spread.of(drops[OURS]),
        peer_name=_TITLES[peer],
        peer=Spread.of(drops[peer]),
        target=f"≥ {QUALITY_AT_LEAST:g} × the fall of TRL's held-out loss, mean of 3 seeds",
        holds=mean(drops[OURS]) >= QUALITY_AT_LEAST * mean(drops[peer]),
        value=mean(drops[OURS]),
    )


def _start(scratch: Path, rows: tuple[Path, Path], peer: str, rounds: int) -> Figure:
    seconds: dict[str, list[float]] = {OURS: [], peer: []}
    for _ in range(rounds):
        for name, values in seconds.items():
            orders = {**_orders(scratch, *rows), "asked_at": time.monotonic()}
            values.append(_run(name, "start", orders)[1]["first_step"])
            _say(f"start, {name}: {values[-1]:.1f} s")
    return Figure(
        id="trainer.start.trl",
        unit="s",
        ours=Spread.of(seconds[OURS]),
        peer_name=_TITLES[peer],
        peer=Spread.of(seconds[peer]),
    )


# -- how they are run ------------------------------------------------------------------------------


def _orders(
    scratch: Path, train: Path, held_out: Path, *, seed: int = SEEDS[0], epochs: int | None = None
) -> dict[str, Any]:
    preset = tomllib.loads(PRESET.read_text(encoding="utf-8"))
    return {
        "base_model": str(BASE_MODEL),
        "train_rows": str(train),
        "held_out_rows": str(held_out),
        "output": str(scratch / "output"),
        "seed": seed,
        "epochs": epochs or preset["epochs"],
        "learning_rate": preset["learning_rate"],
        "effective_batch": EFFECTIVE_BATCH,
        **{name: preset[name] for name in preset if name in _LORA},
    }


_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


def _run(name: str, task: str, orders: Mapping[str, Any]) -> tuple[Finished, dict[str, float]]:
    with _environment(), tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(orders, file)
        file.flush()
        python = TRAINER_PYTHON if name in (OURS, PLAIN) else TRL_PYTHON
        finished = run_well([str(python), "-m", "bench.trainings", name, task, file.name])
    printed: dict[str, float] = json.loads(finished.stdout)
    return finished, printed


@contextmanager
def _environment() -> Iterator[None]:
    """One thread, the trainer's sources, the base model on this disk."""
    sources = [ROOT / "trainer_image", ROOT / "functions", ROOT]
    kept = dict(os.environ)
    os.environ.update(
        OMP_NUM_THREADS="1",
        PYTHONPATH=":".join(map(str, sources)),
        TUNER_BASE_MODEL_DIR=str(BASE_MODEL),
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "trl")
    code = (
        f"import importlib.metadata as m, json; print(json.dumps([m.version(n) for n in {names}]))"
    )
    found: list[str] = json.loads(run_well([str(TRL_PYTHON), "-c", code]).stdout)
    return dict(zip(names, found, strict=True))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
