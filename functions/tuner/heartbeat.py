"""What a trainer's metrics tell while it trains: when it last got on, and how far it is."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.api_core import exceptions as google_exceptions
from google.cloud import storage

_MAX_METRICS_BYTES = 16 << 20
_MAX_STEP = 1_000_000_000
#: Nothing else that a trainer calls a phase is passed on: it could be anybody's words.
_PHASE = re.compile(r"[a-z]{1,20}(_[a-z]{1,20}){0,3}")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a trainer says that it is. `steps` and `loss` are None where it does not say.

    `seconds`: since the trainer began.
    """

    phase: str
    step: int
    steps: int | None
    loss: float | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """When training last got on, and how far it was then; None where the metrics do not tell."""

    at: datetime
    progress: Progress | None = None


def read_heartbeat(work_bucket: storage.Bucket, prefix: str, *, started: datetime) -> Heartbeat:
    """What an attempt's metrics tell, `started` at the earliest. `prefix` is the attempt's.

    The trainer says itself when it got on, since it beats even while it hangs.
    """
    metrics = work_bucket.get_blob(f"{prefix}/metrics.jsonl")
    if metrics is None:
        return Heartbeat(at=started)
    written: datetime = metrics.updated
    lines = _lines(metrics) if metrics.size <= _MAX_METRICS_BYTES else []
    now = _row(lines[-1]) if lines else {}
    said = _time(now.get("progressed_at"))
    return Heartbeat(at=max(started, min(said or written, written)), progress=_progress(now, lines))


def _lines(metrics: storage.Blob) -> list[bytes]:
    try:
        # Raw: unpacked by the client, it may be a thousand times larger than it was said to be.
        return bytes(metrics.download_as_bytes(raw_download=True)).splitlines()
    except google_exceptions.NotFound:
        return []


def _row(line: bytes) -> dict[str, Any]:
    """A row as an object; an empty one when it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _time(said: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo else None


def _progress(now: dict[str, Any], lines: list[bytes]) -> Progress | None:
    phase, step = now.get("phase"), _count(now.get("step"))
    if not isinstance(phase, str) or not _PHASE.fullmatch(phase) or step is None:
        return None
    return Progress(
        phase=phase,
        step=step,
        steps=_count(now.get("steps")),
        loss=_last_loss(lines, phase),
        seconds=_finite(now.get("seconds")),
    )


def _last_loss(lines: list[bytes], phase: str) -> float | None:
    """Of the phase's latest step that tells one; the live row at the end tells none."""
    for line in reversed(lines):
        if b'"loss"' in line:
            row = _row(line)
            return _finite(row.get("loss")) if row.get("phase") == phase else None
    return None


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_STEP
    return value if is_count and isinstance(value, int) else None


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
