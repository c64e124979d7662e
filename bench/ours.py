"""One measurement of our own code, in a process of its own: `python -m bench.ours convert IN OUT`.

Prints JSON with the seconds that the function took, without the start of Python and the imports.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter, process_time

from console.converting import Conversion, convert
from tuner.conversations import Reading
from tuner.conversations.containers import open_parts
from tuner.conversations.sources import LocalFile
from tuner.dataset.curation import Policy, Segment, curate
from tuner.dataset.segments import StoredPairs, write_pairs
from tuner.dataset.taking import Taking
from tuner.dataset.tokens import common_words

Figures = dict[str, float | int]


def whole_job(file: str, output: str) -> Figures:
    """What `tuner convert` does between its start and its end."""
    started = perf_counter()
    with closing(LocalFile(Path(file))) as source:
        converted = convert(source, Path(output), Conversion())
    return {"seconds": perf_counter() - started, "examples": converted.examples}


def gzip_read(file: str) -> Figures:
    """What our reader unpacks a gzip file to: detected, bounded, checked and hashed on the way."""
    total_bytes = 0
    started = perf_counter()
    with closing(LocalFile(Path(file))) as source:
        for part in open_parts(source):
            for chunk in part.chunks:
                total_bytes += len(chunk)
    return {"seconds": perf_counter() - started, "bytes": total_bytes}


def raw_conversion(file: str, output: str) -> Figures:
    """The canonical reading, written: what curation is compared with."""
    with _cpu_seconds() as figures, closing(LocalFile(Path(file))) as source:
        convert(source, Path(output), Conversion(raw=True))
    return figures


def take(file: str, output: str, policy: str) -> Figures:
    """Read a file into the pairs of a segment; `policy` says what becomes of secrets."""
    with _cpu_seconds() as figures, closing(LocalFile(Path(file))) as source:
        taking = Taking(Reading(source), policy)  # type: ignore[arg-type]
        with Path(output).open("wb") as written:
            write_pairs(taking, written)
    return {**figures, "found": taking.found.total()}


def apply_rules(pairs_file: str) -> Figures:
    """Decide about every pair of a segment: all rules, near-duplicates, the split."""
    path = Path(pairs_file)
    common_words()
    with _cpu_seconds() as figures:
        stored = StoredPairs(lambda: LocalFile(path), path.stat().st_size)
        curated = curate([Segment(stored, True)], Policy(), common_words=common_words)
    return {**figures, "pairs": curated.pairs, "kept": curated.kept}


@contextmanager
def _cpu_seconds() -> Iterator[Figures]:
    """The CPU seconds of all threads of this process, put in when the block ends."""
    figures: Figures = {}
    started = process_time()
    yield figures
    figures["seconds"] = process_time() - started


OURS: dict[str, Callable[..., Figures]] = {
    "convert": whole_job,
    "gzip": gzip_read,
    "raw": raw_conversion,
    "take": take,
    "rules": apply_rules,
}


def main(arguments: Sequence[str]) -> None:
    """Measure what the first argument names, on the files that follow it."""
    name, *files = arguments
    print(json.dumps(OURS[name](*files)))


if __name__ == "__main__":
    main(sys.argv[1:])
