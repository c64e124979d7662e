"""When a trainer last got on, as its metrics tell."""

from __future__ import annotations

import json
from datetime import datetime

from google.api_core import exceptions as google_exceptions
from google.cloud import storage

_MAX_METRICS_BYTES = 16 << 20


def last_progress(work_bucket: storage.Bucket, prefix: str, *, started: datetime) -> datetime:
    """When training last got on, `started` at the earliest. `prefix` is the attempt's.

    The trainer says so itself, since it beats even while it hangs.
    """
    metrics = work_bucket.get_blob(f"{prefix}/metrics.jsonl")
    if metrics is None:
        return started
    written: datetime = metrics.updated
    said = _progressed_at(metrics) if metrics.size <= _MAX_METRICS_BYTES else None
    return max(started, min(said or written, written))


def _progressed_at(metrics: storage.Blob) -> datetime | None:
    """`progressed_at` of the last row of a trainer's metrics; None when it says nothing usable."""
    try:
        # Raw: unpacked by the client, it may be a thousand times larger than it was said to be.
        row = json.loads(metrics.download_as_bytes(raw_download=True).splitlines()[-1])
        said = datetime.fromisoformat(row["progressed_at"])
    except (google_exceptions.NotFound, ValueError, TypeError, LookupError, RecursionError):
        return None
    return said if said.tzinfo else None
