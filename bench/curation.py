"""What curation costs, next to the raw conversion of the same file: `make bench-curation`.

CPU seconds of all threads, taken inside a fresh process for each: the raw conversion (canonical
reading and writing), the taking of pairs without and with the search for secrets, and all rules
with near-duplicates and split on the pairs that were taken. Each round runs everything once, every
other round in the opposite order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import contenders
from bench.contenders import Contender, Samples, take_turns
from bench.converter import Corpus, corpus_of, scratch
from bench.figures import MIB, Figure, Spread, peak_memory
from bench.processes import Failed, run_well
from bench.report import describe_machine, show, write_down

# The targets.
RULES_AT_MOST = 8.0
SECRETS_AT_MOST = 10.0
#: At 1 GB: what the libraries and one batch take, and for each pair its hashes and its sketch.
MEMORY_BYTES = 192 * MIB
MEMORY_BYTES_PER_PAIR = 300

ROUNDS = 5
KINDS = ("sharegpt", "chatgpt", "pairs")

_NOTES = """\
Medians [lowest–highest] of CPU seconds; MiB of resident memory (the worst round counts). The
target's corpus is the ShareGPT-like one; the rows without a target are other shapes of file: pairs
of 430 bytes cost most, since rules cost by the pair and the raw conversion by the byte. "secrets"
is what the search for secrets adds to the taking of pairs. The index of near-duplicates takes 48
bytes for each of at most 4,000,000 pairs, and about half a kilobyte for each suspect, at most
250,000; what is beyond them is compared exactly only, and the receipt says of how many pairs that
holds.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write down; a target that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench.curation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files; RESULTS.md stays")
    is_quick: bool = parser.parse_args(arguments).quick
    machine = describe_machine({})
    print(*machine, sep="\n", flush=True)
    try:
        figures = measure(10 if is_quick else 100, 20 if is_quick else 1_000)
    except Failed as error:
        print(f"\nNo result. {error}", file=sys.stderr)
        return 1
    show(figures, _NOTES)
    write_down("curation", figures, machine, _NOTES, is_quick=is_quick)
    return 0


def measure(megabytes: int, large_megabytes: int) -> list[Figure]:
    """Take all figures. Raises Failed."""
    figures = []
    for kind in KINDS:
        figures += _costs(corpus_of(kind, megabytes), has_target=kind == "sharegpt")
    figures.append(_memory(corpus_of("sharegpt", large_megabytes)))
    return figures


def _costs(corpus: Corpus, *, has_target: bool) -> list[Figure]:
    with scratch() as folder:
        pairs = folder / "pairs.jsonl"
        run_well(contenders.ours("take", corpus.path, pairs, "redact"))
        samples = take_turns(
            corpus.path,
            {
                "raw": _process("raw", corpus.path, folder / "raw.jsonl"),
                "allow": _process("take", corpus.path, folder / "allow.jsonl", "allow"),
                "redact": _process("take", corpus.path, folder / "redact.jsonl", "redact"),
                "rules": _process("rules", pairs),
            },
            ROUNDS,
        )
    rules = samples["rules"].own()
    secrets = [
        with_search - without
        for with_search, without in zip(
            samples["redact"].own(), samples["allow"].own(), strict=True
        )
    ]
    return [
        _cost(corpus, "rules", rules, samples, RULES_AT_MOST if has_target else None),
        _cost(corpus, "secrets", secrets, samples, SECRETS_AT_MOST if has_target else None),
    ]


def _process(name: str, *files: Path | str) -> Contender:
    return partial(run_well, contenders.ours(name, *files))


def _cost(
    corpus: Corpus,
    name: str,
    seconds: Sequence[float],
    samples: Mapping[str, Samples],
    at_most: float | None,
) -> Figure:
    """CPU seconds, and at most how many times those of the raw conversion."""
    ours, raw = Spread.of(seconds), Spread.of(samples["raw"].own())
    return Figure(
        id=f"curation.{corpus.kind}.{corpus.megabytes}mb.{name}",
        unit="CPU s",
        ours=ours,
        peer_name="raw conversion",
        peer=raw,
        target=None if at_most is None else f"≤ {at_most:g} × raw conversion",
        holds=None if at_most is None else ours.median <= at_most * raw.median,
    )


def _memory(corpus: Corpus) -> Figure:
    with scratch() as folder:
        pairs = folder / "pairs.jsonl"
        run_well(contenders.ours("take", corpus.path, pairs, "allow"))
        print(f"{corpus.path.name}: rules, once …", file=sys.stderr, flush=True)
        sample = Samples()
        sample.add(run_well(contenders.ours("rules", pairs)))
    count = int(sample.own("pairs")[0])
    limit_bytes = MEMORY_BYTES + MEMORY_BYTES_PER_PAIR * count
    return peak_memory(
        f"curation.{corpus.kind}.{corpus.megabytes}mb.memory",
        sample.peak_bytes,
        limit_bytes,
        f"≤ {MEMORY_BYTES // MIB} MiB + {MEMORY_BYTES_PER_PAIR} bytes × {count:,} pairs = "
        f"{limit_bytes / MIB:,.0f} MiB",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
