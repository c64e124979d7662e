"""The programs that are measured, as command lines, and the rounds in which they take turns."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import ROOT, Finished, run_well

TUNER = ROOT / ".venv/bin/tuner"
PRODUCT = ROOT / ".venv/bin/python"
PEERS = ROOT / ".venv-bench/bin/python"
FILTERS = ROOT / "bench/filters"

_BLOCK_BYTES = 1024 * 1024

Contender = Callable[[], Finished]


@dataclass
class Samples:
    """What one contender gave in each round; empty when it was not there."""

    seconds: list[float] = field(default_factory=list)  # of the whole process
    peak_bytes: list[int] = field(default_factory=list)
    printed: list[dict[str, Any]] = field(default_factory=list)  # what it measured itself

    def add(self, finished: Finished) -> None:
        self.seconds.append(finished.seconds)
        self.peak_bytes.append(finished.peak_bytes)
        if finished.stdout.startswith("{"):
            self.printed.append(json.loads(finished.stdout))

    def own(self, name: str = "seconds") -> list[float]:
        """A figure that it measured inside its own process."""
        return [printed[name] for printed in self.printed]


def installed_peers() -> Mapping[str, str]:
    """The versions of the peers that are there. What is missing is said aloud."""
    versions: dict[str, str] = {}
    if jq := shutil.which("jq"):
        versions["jq"] = run_well([jq, "--version"]).stdout.strip().removeprefix("jq-")
    if PEERS.exists():
        versions |= json.loads(run_well(peer("versions")).stdout)
    for name in ("jq", "orjson", "ijson", "pysimdjson"):
        if name not in versions:
            print(f"SKIPPED: {name} is not installed; its rows have no peer.", file=sys.stderr)
    return versions


def tuner(file: Path, output: Path, *options: str) -> list[str]:
    """`tuner convert`, the whole job."""
    return [str(TUNER), "convert", str(file), "-o", str(output), *options]


def ours(name: str, *files: Path | str) -> list[str]:
    """A function of ours, with its time taken inside the process."""
    return [str(PRODUCT), "-m", "bench.ours", name, *map(str, files)]


def peer(name: str, *files: Path) -> list[str]:
    """A peer of .venv-bench."""
    return [str(PEERS), "-m", "bench.peers", name, *map(str, files)]


def standard(name: str, *files: Path) -> list[str]:
    """What Python's standard library can do, on the product's own Python."""
    return [str(PRODUCT), "-m", "bench.peers", name, *map(str, files)]


def jq(kind: str, file: Path) -> list[str]:
    """The bare mapping of a kind of file to the rows that `tuner convert --raw` writes."""
    return ["jq", "-c", "-f", str(FILTERS / f"{kind}.jq"), str(file)]


def take_turns(file: Path, contenders: Mapping[str, Contender], rounds: int) -> dict[str, Samples]:
    """Run every contender once a round, every other round in the opposite order."""
    _warm(file)
    samples = {name: Samples() for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        print(f"{file.name}: round {number + 1} of {rounds} …", file=sys.stderr, flush=True)
        for name in names:
            samples[name].add(contenders[name]())
        names.reverse()
    return samples


def count_lines(file: Path) -> int:
    """The lines of a file, in little memory."""
    return sum(block.count(b"\n") for block in _blocks(file))


def _warm(file: Path) -> None:
    """Have the file in the page cache."""
    for _ in _blocks(file):
        pass


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as opened:
        while block := opened.read(_BLOCK_BYTES):
            yield block
