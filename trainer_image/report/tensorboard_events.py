"""The metrics of an attempt as TensorBoard reads them: one event file, made at the end.

    tensorboard --logdir FOLDER        after `tuner fetch RUN --to FOLDER`

The rows are the truth (`metrics.jsonl`), the events a view of them: nothing is measured twice, and
a preempted attempt leaves no half of a file.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

FILE_NAME = "tensorboard/events.out.tfevents.1.trainer"

#: What of a row becomes a curve.
_CURVES = ("loss", "learning_rate", "tokens_per_second", "eval_loss")
#: A curve has no more points than a screen can show ten times over.
_MAX_POINTS = 5000


def event_file(rows: Sequence[Mapping[str, object]]) -> bytes:
    """An event file of every curve in `rows`, those of `Progress`; equal for equal rows."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        started = _seconds(rows[0]) if rows else 0.0
        writer.write(Event(wall_time=started, file_version="brain.Event:2").SerializeToString())
        for curve, step, value, at in _points(rows):
            summary = Summary(value=[Summary.Value(tag=curve, simple_value=value)])
            writer.write(Event(wall_time=at, step=step, summary=summary).SerializeToString())
        writer.close()
        return path.read_bytes()


def _points(rows: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, int, float, float]]:
    """(curve, step, value, time) in the order of the rows, long curves thinned evenly."""
    found: dict[str, list[tuple[int, int, float, float]]] = {}
    for place, row in enumerate(rows):
        for name in _CURVES:
            value, step = row.get(name), row.get("step")
            if isinstance(value, int | float) and isinstance(step, int):
                tag = _tag(str(row.get("phase", "")), name)
                found.setdefault(tag, []).append((place, step, float(value), _seconds(row)))
    points = [
        (place, tag, step, value, at)
        for tag, curve in found.items()
        for place, step, value, at in curve[:: -(-len(curve) // _MAX_POINTS)]
    ]
    for _, tag, step, value, at in sorted(points):
        yield tag, step, value, at


def _tag(phase: str, name: str) -> str:
    """`training/loss`; all looks at the held-out rows, before training and after, are one curve."""
    if name == "eval_loss" and not phase.startswith("training_"):
        return "held_out/loss"
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', phase) or 'training'}/{name}"


def _seconds(row: Mapping[str, object]) -> float:
    """When a row was written, as seconds since 1970; 0 where it does not say."""
    try:
        return datetime.fromisoformat(str(row.get("at"))).timestamp()
    except ValueError:
        return 0.0
