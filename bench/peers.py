"""One measurement of a peer, in a process of its own: `python -m bench.peers orjson FILE`.

Prints JSON with the seconds that the peer itself took, without the start of Python. Runs in
.venv-bench, where the peers are; what needs only the standard library runs anywhere.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

#: As many bytes as our own reader takes at a time.
CHUNK_BYTES = 256 * 1024

PACKAGES = ("orjson", "ijson", "pysimdjson")

Figures = dict[str, float | int | str]


def orjson_loads(file: str) -> Figures:
    """All of the file's bytes into Python objects; once as anyone would, once at its very best."""
    loads: Callable[[bytes], Any] = import_module("orjson").loads
    content = Path(file).read_bytes()
    started = perf_counter()
    value = loads(content)
    seconds = perf_counter() - started
    del value
    # At its best: memory is already there, and nobody looks for cycles.
    gc.collect()
    gc.disable()
    started = perf_counter()
    value = loads(content)
    best_seconds = perf_counter() - started
    del value
    return {"seconds": seconds, "best_seconds": best_seconds}


def ijson_items(file: str) -> Figures:
    """Every conversation of a ChatGPT export, one after the other, and what was said in it."""
    ijson: Any = import_module("ijson")
    backend = next(name for name in ("yajl2_c", "yajl2_cffi", "yajl2", "python") if _has(name))
    items = ijson.get_backend(backend).items
    turns = 0
    started = perf_counter()
    with open(file, "rb") as opened:
        for conversation in items(opened, "item", use_float=True):
            turns += sum(1 for _ in _said(conversation))
    return {"seconds": perf_counter() - started, "turns": turns, "backend": backend}


def _has(backend: str) -> bool:
    with suppress(ImportError):
        import_module(f"ijson.backends.{backend}")
        return True
    return False


def _said(conversation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Role and text of the current branch, newest first."""
    nodes = conversation["mapping"]
    here = conversation["current_node"]
    while here is not None:
        node = nodes[here]
        here = node["parent"]
        message = node["message"]
        if message is None or message["recipient"] != "all":
            continue
        role, content = message["author"]["role"], message["content"]
        if role in ("user", "assistant") and content["content_type"] == "text":
            yield role, "".join(content["parts"])


def simdjson_parse(file: str) -> Figures:
    """The file's bytes into simdjson's own form, without any Python object."""
    parser = import_module("simdjson").Parser()
    content = Path(file).read_bytes()
    started = perf_counter()
    parsed = parser.parse(content)
    seconds = perf_counter() - started
    del parsed
    return {"seconds": seconds}


def gzip_read(file: str) -> Figures:
    """What Python's own gzip unpacks the file to."""
    total_bytes = 0
    started = perf_counter()
    with gzip.open(file, "rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            total_bytes += len(chunk)
    return {"seconds": perf_counter() - started, "bytes": total_bytes}


def copy(file: str, to: str) -> Figures:
    """Read and write the bytes, and nothing else."""
    started = perf_counter()
    with open(file, "rb", buffering=0) as opened, open(to, "wb", buffering=0) as written:
        while chunk := opened.read(CHUNK_BYTES):
            written.write(chunk)
    return {"seconds": perf_counter() - started}


def sha256(file: str) -> Figures:
    """Read and hash the bytes, and nothing else."""
    digest = hashlib.sha256()
    started = perf_counter()
    with open(file, "rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return {"seconds": perf_counter() - started, "sha256": digest.hexdigest()}


def versions() -> Figures:
    """Which peers are installed here."""
    found: Figures = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


PEERS: dict[str, Callable[..., Figures]] = {
    "orjson": orjson_loads,
    "ijson": ijson_items,
    "simdjson": simdjson_parse,
    "gzip": gzip_read,
    "copy": copy,
    "sha256": sha256,
    "versions": versions,
}


def main(arguments: Sequence[str]) -> None:
    """Measure what the first argument names, on the files that follow it."""
    name, *files = arguments
    print(json.dumps(PEERS[name](*files)))


if __name__ == "__main__":
    main(sys.argv[1:])
