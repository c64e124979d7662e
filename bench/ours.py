"""One measurement of our own code, in a process of its own: `python -m bench.ours convert IN OUT`.

Prints JSON with the seconds that the function took, without the start of Python and the imports.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter

from console.converting import Conversion, convert
from tuner.conversations.containers import open_parts
from tuner.conversations.sources import LocalFile

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


OURS: dict[str, Callable[..., Figures]] = {"convert": whole_job, "gzip": gzip_read}


def main(arguments: Sequence[str]) -> None:
    """Measure what the first argument names, on the files that follow it."""
    name, *files = arguments
    print(json.dumps(OURS[name](*files)))


if __name__ == "__main__":
    main(sys.argv[1:])
