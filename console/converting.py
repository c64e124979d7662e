"""Converts a conversation file on this machine: the converter's own reading, without a deployment.

Touches none of Google's libraries unless the input lies in a bucket.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from console.background_writer import BackgroundWriter
from tuner.conversations import Options, Reading
from tuner.conversations.model import Exchanges
from tuner.conversations.sessions import Cut, Cutter, Example
from tuner.conversations.sources import Source
from tuner.dataset.accounts import sources
from tuner.dataset.receipt import Receipt
from tuner.dataset.rows import Shape, block_encoder
from tuner.dataset.seen import Seen

_TURN_SECONDS = 0.0002


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is asked for."""

    cut: Cut = "sessions"
    shape: Shape = "messages"
    #: The canonical reading only: duplicates stay.
    raw: bool = False
    format_name: str | None = None
    speaker: str | None = None


@dataclass(kw_only=True)
class Converted:
    """What became of it."""

    receipt: Receipt
    examples: int
    warnings: tuple[str, ...]
    truncated: tuple[str, ...]


@dataclass
class _Counts:
    examples: int = 0
    #: Pairs in examples that were written already.
    duplicates: int = 0


def convert(
    source: Source,
    output: Path,
    conversion: Conversion,
    *,
    progress: Callable[[int], None] = lambda read_bytes: None,
) -> Converted:
    """Write the examples of `source` to `output`, which is there whole or not at all.

    `progress` is told how many bytes were read so far. Raises RejectedUpload when no example comes
    out, OSError.
    """
    reading = Reading(
        _Watched(source, progress),
        format_name=conversion.format_name,
        options=Options(speaker=conversion.speaker),
    )
    counts = _Counts()
    cutter = Cutter(conversion.cut)
    with _whole_or_not_at_all(output) as file, _quick_turns():
        _write(reading, cutter, file, conversion, counts)
    found = sources(reading, source)
    pairs = sum(each.pairs for each in found)
    receipt = Receipt(
        persona="",
        dataset_id="",
        sources=found,
        pairs=pairs,
        kept=pairs - counts.duplicates,
        train=pairs - counts.duplicates,
        eval=0,
        dropped={"duplicate": counts.duplicates} if counts.duplicates else {},
        not_checked=("canned", "near-duplicates", "secrets", "names", "language"),
    )
    return Converted(
        receipt=receipt,
        examples=counts.examples,
        warnings=tuple(warning for each in found for warning in each.warnings),
        truncated=tuple(each.truncated for each in found if each.truncated),
    )


def _write(
    reading: Reading, cutter: Cutter, file: BinaryIO, conversion: Conversion, counts: _Counts
) -> None:
    encode_lines = block_encoder(conversion.shape)
    seen = None if conversion.raw else Seen()
    with BackgroundWriter(file) as writer:
        for block in _blocks(cutter.examples(reading.dialogues())):
            lines = encode_lines(block)
            for known in reversed(seen.add_all(lines) if seen is not None else ()):
                del lines[known]
                counts.duplicates += _pairs_in(block, known)
            counts.examples += len(lines)
            writer.write(lines)
    if cutter.too_long:
        reading.parts[0].tally.warnings.append(
            f"{cutter.too_long} × dialogue cut because of its length"
        )


def _blocks(examples: Iterable[Example | Exchanges]) -> Iterator[Exchanges | list[Example]]:
    """Examples that are encoded together: those of one batch, which is small; others alone."""
    block: list[Example] = []
    for example in examples:
        if isinstance(example, Exchanges):
            if block:
                yield block
                block = []
            yield example
        elif block and example.batch is block[0].batch is not None:
            block.append(example)
        else:
            if block:
                yield block
            block = [example]
    if block:
        yield block


def _pairs_in(block: Exchanges | list[Example], number: int) -> int:
    return 1 if isinstance(block, Exchanges) else len(block[number].turns) >> 1


class _Watched:
    """A source that tells how far it was read."""

    def __init__(self, source: Source, progress: Callable[[int], None]) -> None:
        self._source, self._progress = source, progress
        self._read_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._source.chunks():
            self._read_bytes += len(chunk)
            self._progress(self._read_bytes)
            yield chunk


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads that read, hash and write have their turn at once: by Python's own interval they wait
    longer than their work takes.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def _whole_or_not_at_all(output: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is written."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb", buffering=0) as file:
            yield file
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
