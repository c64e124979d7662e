"""How fast and how small `tuner convert` is, next to its peers: `make bench-converter`.

What is measured is the whole job: reading and hashing the file, recognising its format, reading it
canonically, dropping duplicates and writing JSON Lines; once as a function in a fresh process, and
once as the whole process that a person starts. The peers do less: jq maps the same rows, ijson
reads the same fields and writes nothing, orjson only parses. Each round runs everything once, every
other round in the opposite order, so that a busy moment meets all alike; the file is in the page
cache.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import contenders
from bench.contenders import Contender, Samples, count_lines, take_turns
from bench.figures import MIB, Figure, peak_memory, speed
from bench.processes import ROOT, Failed, Finished, run, run_well
from bench.report import describe_machine, table, write_down

# The targets. Speeds are multiples of the peer's, for the same bytes.
JQ_AT_LEAST = 5.0
ORJSON_AT_LEAST = 0.8
IJSON_AT_LEAST = 1.5
GZIP_AT_LEAST = 2.0
MEMORY_BYTES = 64 * MIB
MEMORY_BYTES_PER_EXAMPLE = 100
LONG_STRING_BYTES = 500_000_000
LONG_STRING_MEMORY_BYTES = 200 * MIB

KINDS = ("sharegpt", "chatgpt", "pairs")
CACHE = ROOT / ".cache/bench"


class Void(Exception):
    """What was measured is not what the benchmark says it is: there is no figure."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of the files and numbers of rounds."""

    small_megabytes: int
    small_rounds: int
    large_megabytes: int
    large_rounds: int


FULL = Plan(small_megabytes=100, small_rounds=5, large_megabytes=1_000, large_rounds=3)
QUICK = Plan(small_megabytes=10, small_rounds=2, large_megabytes=20, large_rounds=2)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A file of conversations, and what it holds."""

    kind: str
    megabytes: int
    path: Path
    bytes: int
    dialogues: int
    unique_dialogues: int

    @property
    def prefix(self) -> str:
        """Of the ids of its figures."""
        return f"converter.{self.kind}.{self.megabytes}mb"


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write down; a target that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench.converter", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small files and 2 rounds, to try it out; RESULTS.md stays as it is",
    )
    is_quick: bool = parser.parse_args(arguments).quick
    try:
        versions = contenders.installed_peers()
        machine = describe_machine(versions)
        print(*machine, sep="\n", flush=True)
        figures = measure(QUICK if is_quick else FULL, versions)
    except (Failed, Void) as error:
        print(f"\nNo result. {error}", file=sys.stderr)
        return 1
    _print(figures)
    if is_quick:
        print("--quick: on files this small the start of Python weighs most. Targets are for make")
        print("bench-converter without it; bench/RESULTS.md stays as it is.")
    write_down("converter", figures, machine, _NOTES, is_quick=is_quick)
    return 0


def measure(plan: Plan, peers: Mapping[str, str]) -> list[Figure]:
    """Take all figures. Raises Failed and Void."""
    for kind in KINDS:
        _check_same_rows(corpus_of(kind, 1), peers)
    figures: list[Figure] = []
    for kind in KINDS:
        small = corpus_of(kind, plan.small_megabytes, "--gzip")
        figures += _against_everything(small, plan.small_rounds, peers)
        figures.append(_unpacking(small, plan.small_rounds))
    for kind in KINDS:
        figures += _on_large(corpus_of(kind, plan.large_megabytes), plan.large_rounds, peers)
    figures += _long_strings()
    return figures


# -- what is compared ------------------------------------------------------------------------------


def _against_everything(corpus: Corpus, rounds: int, peers: Mapping[str, str]) -> list[Figure]:
    """Every peer, and how far it is to the limits."""
    file = corpus.path
    with scratch() as folder:
        taking_part = _parsers(corpus, folder, peers)
        taking_part["copy"] = partial(run_well, contenders.standard("copy", file, folder / "copy"))
        taking_part["sha256"] = partial(run_well, contenders.standard("sha256", file))
        if "pysimdjson" in peers:
            taking_part["simdjson"] = partial(run_well, contenders.peer("simdjson", file))
        samples = defaultdict(Samples, take_turns(file, taking_part, rounds))
        _check_counts(corpus, folder, peers)
    whole = partial(_speed, corpus, samples["ours"].seconds)
    return [
        *_against_parsers(corpus, samples),
        whole("copy", "copy", samples["copy"].own()),
        whole("simdjson", "simdjson", samples["simdjson"].own()),
        whole("sha256", "sha256", samples["sha256"].own()),
    ]


def _on_large(corpus: Corpus, rounds: int, peers: Mapping[str, str]) -> list[Figure]:
    """The peers again, and memory that does not grow with the file."""
    with scratch() as folder:
        taking_part = _parsers(corpus, folder, peers)
        samples = defaultdict(Samples, take_turns(corpus.path, taking_part, rounds))
        _check_counts(corpus, folder, peers)
    limit_bytes = MEMORY_BYTES + MEMORY_BYTES_PER_EXAMPLE * corpus.unique_dialogues
    memory = peak_memory(
        f"{corpus.prefix}.memory",
        samples["ours"].peak_bytes,
        limit_bytes,
        f"≤ {MEMORY_BYTES // MIB} MiB + {MEMORY_BYTES_PER_EXAMPLE} bytes × "
        f"{corpus.unique_dialogues:,} examples = {limit_bytes / MIB:,.1f} MiB",
        peer_name="orjson",
        peer_bytes=samples["orjson"].peak_bytes,
    )
    return [*_against_parsers(corpus, samples), memory]


def _parsers(corpus: Corpus, folder: Path, peers: Mapping[str, str]) -> dict[str, Contender]:
    """Ours, as a process and as a function, and the peers that are there."""
    file = corpus.path
    taking_part: dict[str, Contender] = {
        "ours": partial(run_well, contenders.tuner(file, folder / "ours.jsonl")),
        "function": partial(run_well, contenders.ours("convert", file, folder / "function")),
    }
    if "orjson" in peers:
        taking_part["orjson"] = partial(run_well, contenders.peer("orjson", file))
    if "ijson" in peers and corpus.kind == "chatgpt":
        taking_part["ijson"] = partial(run_well, contenders.peer("ijson", file))
    if "jq" in peers:
        mapping = contenders.jq(corpus.kind, file)
        taking_part["jq"] = partial(run_well, mapping, stdout_to=folder / "jq.jsonl")
    return taking_part


def _check_counts(corpus: Corpus, folder: Path, peers: Mapping[str, str]) -> None:
    _check_count("tuner convert", folder / "ours.jsonl", corpus.unique_dialogues)
    if "jq" in peers:
        _check_count("jq", folder / "jq.jsonl", corpus.dialogues)


def _against_parsers(corpus: Corpus, samples: Mapping[str, Samples]) -> list[Figure]:
    """The job against what each peer does; and our whole process, its start included."""
    whole = partial(_speed, corpus, samples["ours"].seconds)
    job = partial(_speed, corpus, samples["function"].own())
    orjson = samples["orjson"]
    figures = [
        job("jq", "jq", samples["jq"].seconds, at_least=JQ_AT_LEAST),
        whole("process.jq", "jq", samples["jq"].seconds),
        job("orjson", "orjson", orjson.own(), at_least=ORJSON_AT_LEAST),
        job("orjson-at-best", "orjson, again", orjson.own("best_seconds")),
        whole("process.orjson", "orjson", orjson.own()),
    ]
    if corpus.kind == "chatgpt":
        figures.append(job("ijson", "ijson", samples["ijson"].own(), at_least=IJSON_AT_LEAST))
        figures.append(whole("process.ijson", "ijson", samples["ijson"].own()))
    return figures


def _speed(
    corpus: Corpus,
    ours_seconds: Sequence[float],
    name: str,
    peer_name: str,
    peer_seconds: Sequence[float],
    *,
    at_least: float | None = None,
) -> Figure:
    return speed(
        f"{corpus.prefix}.{name}",
        corpus.bytes,
        ours_seconds,
        peer_name,
        peer_seconds,
        at_least=at_least,
    )


def _unpacking(corpus: Corpus, rounds: int) -> Figure:
    """Reading gzip in chunks, without what is made of it."""
    packed = corpus.path.with_suffix(".json.gz")
    samples = take_turns(
        packed,
        {
            "ours": partial(run_well, contenders.ours("gzip", packed)),
            "gzip": partial(run_well, contenders.standard("gzip", packed)),
        },
        rounds,
    )
    for name, sample in samples.items():
        if any(size_bytes != corpus.bytes for size_bytes in sample.own("bytes")):
            raise Void(f"{name} unpacked other bytes of {packed.name} than were packed.")
    return _speed(
        corpus,
        samples["ours"].own(),
        "gzip",
        "Python's gzip",
        samples["gzip"].own(),
        at_least=GZIP_AT_LEAST,
    )


def _long_strings() -> Iterator[Figure]:
    """Files that are one string, which must be refused before they fill the memory."""
    files = {
        "one-turn": (b'[{"conversations": [{"from": "human", "value": "', b'"}]}]'),
        "bare-string": (b'"', b'"'),
    }
    for name, (before, after) in files.items():
        file = CACHE / f"refused-{name}.json"
        _write_long_string(file, before, after)
        print(f"{file.name}: once …", file=sys.stderr, flush=True)
        with scratch() as folder:
            finished = run(contenders.tuner(file, folder / "ours.jsonl"))
        yield peak_memory(
            f"converter.refused.{name}.memory",
            [finished.peak_bytes],
            LONG_STRING_MEMORY_BYTES,
            f"refused, ≤ {LONG_STRING_MEMORY_BYTES // MIB} MiB",
            otherwise_right=_is_refusal(finished),
        )


def _is_refusal(finished: Finished) -> bool:
    """Whether it ended with an error in words, not with a crash."""
    return finished.exit_code > 0 and "Traceback" not in finished.stderr


def _write_long_string(file: Path, before: bytes, after: bytes) -> None:
    words = b"It goes on and on and on and on. " * 32_000
    if file.exists() and file.stat().st_size > LONG_STRING_BYTES:
        return
    with file.open("wb", buffering=0) as opened:
        opened.write(before)
        for _ in range(LONG_STRING_BYTES // len(words) + 1):
            opened.write(words)
        opened.write(after)


# -- what makes a figure void ----------------------------------------------------------------------


def _check_same_rows(corpus: Corpus, peers: Mapping[str, str]) -> None:
    """The first run of everything: jq must write the very rows that we write."""
    with scratch() as folder:
        output, jq_output = folder / "ours.jsonl", folder / "jq.jsonl"
        run_well(contenders.tuner(corpus.path, output, "--raw"))
        if "jq" not in peers:
            return
        run_well(contenders.jq(corpus.kind, corpus.path), stdout_to=jq_output)
        rows, jq_rows = (
            [json.loads(line) for line in file.read_bytes().splitlines()]
            for file in (output, jq_output)
        )
    if rows != jq_rows:
        raise Void(f"jq's rows of a {corpus.kind} file are not ours.")
    print(f"{corpus.kind}: jq and `tuner convert --raw` write the same {len(rows):,} rows")


def _check_count(name: str, output: Path, expected: int) -> None:
    found = count_lines(output)
    if found != expected:
        raise Void(f"{name} wrote {found:,} rows of {expected:,}.")


# -- files -----------------------------------------------------------------------------------------


def corpus_of(kind: str, megabytes: int, *options: str) -> Corpus:
    """A corpus file, made when it is missing by another process: this one must stay small."""
    command = [str(contenders.PRODUCT), "-m", "bench.corpus", kind, str(megabytes)]
    made = json.loads(run_well([*command, *options, "--folder", str(CACHE)]).stdout)
    return Corpus(
        kind=kind,
        megabytes=megabytes,
        path=Path(made["path"]),
        bytes=made["bytes"],
        dialogues=made["dialogues"],
        unique_dialogues=made["dialogues"] - made["duplicates"],
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what the programs write, on the disk that the corpora are on."""
    folder = CACHE / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# -- what a person sees ----------------------------------------------------------------------------

_LIMITS = {
    "copy": "reading and writing the same bytes",
    "simdjson": "parsing them without making Python objects",
    "sha256": "hashing them",
}

_NOTES = """\
Medians [lowest–highest]; MB/s of the input, MiB of resident memory (the worst round counts).
A target speaks of the job: reading and hashing the file, recognising it, the canonical reading,
dropping duplicates, statistics and writing, timed inside a fresh process without the start of
Python. The "process" rows are the whole process of `tuner convert` all the same, as memory is; its
start takes a fifth of a second, which weighs at 100 MB. jq is its whole process (it starts in some
milliseconds); other peers are timed inside a fresh process and write nothing. "orjson, again" is a
second parse in the same process without garbage collection: its best case. copy, simdjson and
sha256 only read and write, parse, or hash the same bytes: the ratio is how far it is to that limit.
"""


def _print(figures: Sequence[Figure]) -> None:
    print(f"\n{table(figures)}\n\n{_NOTES}")
    for figure in figures:
        if figure.peer_name in _LIMITS and figure.ratio is not None:
            print(f"{figure.id}: {figure.ratio:.3f} x of the limit: {_LIMITS[figure.peer_name]}")
    own_peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"(The measuring process took {own_peak_bytes / MIB:.0f} MiB; no peak can show less.)")
    missed = [figure for figure in figures if figure.holds is False]
    skipped = [figure for figure in figures if figure.target and figure.holds is None]
    for figure in missed:
        ratio = "" if figure.ratio is None else f", {figure.ratio:.2f} × {figure.peer_name}"
        print(f"DOES NOT HOLD: {figure.id}: {figure.ours} {figure.unit}{ratio}; {figure.target}")
    for figure in skipped:
        print(f"SKIPPED: {figure.id}: {figure.peer_name} is not installed")
    if not missed and not skipped:
        print("Every target holds.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
