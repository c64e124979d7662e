"""From what a reading counted to a receipt's sources."""

from __future__ import annotations

from tuner.conversations import PartAccount, Reading
from tuner.conversations.sources import Source as File
from tuner.dataset.receipt import Source


def sources(reading: Reading, file: File, *, generation: str = "") -> tuple[Source, ...]:
    """One source for each file that was read: of an archive, every file in it."""
    return tuple(_source(part, file, generation) for part in reading.parts)


def _source(part: PartAccount, file: File, generation: str) -> Source:
    tally = part.tally
    return Source(
        name=_printable(f"{file.name}!{part.name}" if part.name else file.name),
        generation=generation,
        sha256=file.sha256,
        bytes=file.size_bytes,
        format=part.detection.format.name,
        evidence=part.evidence,
        conversations=part.conversations,
        turns=tally.turns,
        pairs=part.pairs,
        truncated=tally.truncated,
        warnings=part.warnings,
        rows=tally.rows,
        rows_dropped=dict(tally.rows_dropped),
        turns_left_out=dict(tally.turns_left_out),
        first_offsets={reason: tuple(found) for reason, found in tally.first_offsets.items()},
    )


def _printable(name: str) -> str:
    """A name from an archive is a stranger's: it must not steer the terminal that shows it."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)
