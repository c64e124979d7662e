"""Requests and runs for tests: sound as they are, with whatever a test changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from tuner.requests import RequestedBy, TrainingRequest
from tuner.runs import Run

#: The time in tests.
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

DATASET_ID = "5d" * 32


def a_request(**changes: Any) -> TrainingRequest:
    """An upload's request; `changes` are fields of TrainingRequest."""
    request = TrainingRequest(
        persona="ech0",
        dataset_id=DATASET_ID,
        preset="smollm2-135m",
        requested_by=RequestedBy(kind="upload", reference="gs://p-training-data/ech0/a.json#1"),
    )
    return msgspec.structs.replace(request, **changes)


def a_run(**changes: Any) -> Run:
    """A run requested at NOW; `changes` are fields of Run, its state included."""
    return msgspec.structs.replace(Run.requested(a_request(), at=NOW), **changes)
