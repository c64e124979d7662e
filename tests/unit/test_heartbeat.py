"""A trainer's metrics: what they say of progress is taken with care, and never ends a pass."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.simulated.storage import MemoryStorage
from tuner.heartbeat import Heartbeat, Progress, read_heartbeat

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITTEN = STARTED + timedelta(minutes=10)
PROGRESSED = "2026-03-01T12:09:00Z"


def read(content: bytes | None) -> Heartbeat:
    storage = MemoryStorage(lambda: WRITTEN)
    storage.create_bucket("work")
    bucket: Any = storage.bucket("work")
    if content is not None:
        bucket.blob("a/metrics.jsonl").upload_from_string(content)
    return read_heartbeat(bucket, "a", started=STARTED)


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_the_live_row_and_the_latest_loss_make_the_progress() -> None:
    heartbeat = read(
        lines(
            {"phase": "training", "step": 0, "steps": 40, "seconds": 3},
            {"phase": "training", "step": 11, "steps": 40, "loss": 2.75, "seconds": 50},
            {"phase": "training", "step": 12, "steps": 40, "loss": 2.5, "seconds": 60},
            {"phase": "training", "step": 12, "steps": 40, "seconds": 61.5}
            | {"progressed_at": PROGRESSED},
        )
    )
    assert heartbeat.at == datetime(2026, 3, 1, 12, 9, tzinfo=UTC)
    assert heartbeat.progress == Progress(
        phase="training", step=12, steps=40, loss=2.5, seconds=61.5
    )


def test_a_loss_of_another_phase_is_not_this_ones() -> None:
    heartbeat = read(
        lines(
            {"phase": "training", "step": 40, "loss": 2.0},
            {"phase": "evaluating_after", "step": 1, "steps": 3},
        )
    )
    assert heartbeat.progress == Progress(
        phase="evaluating_after", step=1, steps=3, loss=None, seconds=None
    )


def test_no_metrics_are_no_progress_since_the_start() -> None:
    assert read(None) == Heartbeat(at=STARTED)


@pytest.mark.parametrize(
    "now",
    [
        {"step": 1},
        {"phase": "She told me in confidence", "step": 1},
        {"phase": ["training"], "step": 1},
        {"phase": "training"},
        {"phase": "training", "step": -1},
        {"phase": "training", "step": True},
        {"phase": "training", "step": 1.5},
        {"phase": "training", "step": 10**40},
    ],
)
def test_what_no_trainer_of_ours_says_is_not_passed_on(now: dict[str, Any]) -> None:
    """A trainer's words may be anybody's: only a phase's name and figures are published."""
    assert read(lines(now)).progress is None


@pytest.mark.parametrize("loss", ["NaN", "1e999", '"low"', "true", f"1{'0' * 400}"])
def test_a_loss_that_is_no_finite_number_is_left_out(loss: str) -> None:
    row = f'{{"phase": "training", "step": 1, "loss": {loss}}}\n'
    progress = read(row.encode()).progress
    assert progress is not None
    assert progress.loss is None


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    """A trainer writes what it likes; the pass over its run goes on."""
    assert STARTED <= read(content).at <= WRITTEN


@given(
    row=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["phase", "step", "steps", "loss", "seconds", "progressed_at"]),
                inner,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_row_is_read_without_an_error(row: Any) -> None:
    assert STARTED <= read(json.dumps(row).encode()).at <= WRITTEN
