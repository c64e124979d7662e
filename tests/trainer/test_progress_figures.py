"""What a row of metrics tells besides the loss, and TensorBoard's view of the rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from progress import Pace, Progress
from report.tensorboard_events import FILE_NAME, event_file


class Watch:
    """A timer that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress_of(watch: Watch, usd_per_hour: float | None = None) -> Progress:
    def clock() -> datetime:
        return datetime(2026, 1, 31, 8, tzinfo=UTC)

    return Progress(lambda rows: None, clock=clock, timer=watch, usd_per_hour=usd_per_hour)


def last(progress: Progress) -> dict[str, Any]:
    return dict(progress.rows[-1])


def test_a_step_tells_speed_time_left_and_cost() -> None:
    """Ten steps over 1,000 tokens: after two in 4 s, 50 tokens a second and 16 s to go."""
    watch = Watch()
    progress = progress_of(watch, usd_per_hour=36.0)
    watch.now += 6
    progress.enter("training", steps=10, tokens=1000)
    for step in (1, 2):
        watch.now += 2
        progress.record_step(step, 2.0, 0.1, 0.2)
    row = last(progress)
    assert (row["tokens_per_second"], row["eta_seconds"]) == (50.0, 16)
    assert row["usd"] == pytest.approx(0.1)


def test_a_resumed_phase_is_judged_by_its_own_steps() -> None:
    watch = Watch()
    progress = progress_of(watch)
    progress.enter("training", steps=100, tokens=1000)
    watch.now += 5
    progress.record_step(91, 2.0, 0.1, 0.9)
    row = last(progress)
    assert (row["tokens_per_second"], row["eta_seconds"]) == (2.0, 45)


def test_without_a_price_no_cost_is_made_up() -> None:
    progress = progress_of(Watch())
    progress.enter("training", steps=1)
    assert "usd" not in last(progress)


def test_the_live_row_carries_what_the_last_step_told() -> None:
    """`tuner show` reads the last row only."""
    published: list[bytes] = []
    watch = Watch()
    progress = Progress(published.append, beat_seconds=60, timer=watch, usd_per_hour=1)
    progress.enter("training", steps=2, tokens=10)
    watch.now += 1
    progress.record_step(1, 2.0, 0.1, 0.5)
    with progress:
        pass
    row = json.loads(published[-1].splitlines()[-1])
    assert {"tokens_per_second", "eta_seconds", "usd", "step", "steps"} <= row.keys()


@pytest.mark.parametrize("tokens", [0, 1, 10**9])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_a_pace_is_never_negative_and_never_fails(tokens: int, steps: int) -> None:
    pace = Pace(tokens=tokens, steps=steps, started=5.0)
    for step, now in [(3, 5.0), (3, 4.0), (2, 6.0), (9, 1e9), (10**6, 7.0)]:
        assert all(isinstance(v, int | float) and v >= 0 for v in pace.at(step, now).values())


def events(content: bytes, folder: Path) -> list[Any]:
    """Read the file with the library's own reader of records, checksums included."""
    import struct

    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found, place = [], 0
    while place < len(content):
        header = content[place : place + 8]
        (length,) = struct.unpack("<Q", header)
        assert struct.unpack("<I", content[place + 8 : place + 12])[0] == masked_crc32c(header)
        data = content[place + 12 : place + 12 + length]
        (told,) = struct.unpack("<I", content[place + 12 + length : place + 16 + length])
        assert told == masked_crc32c(data)
        found.append(Event.FromString(data))
        place += 16 + length
    return found


def test_tensorboard_gets_every_curve(tmp_path: Path) -> None:
    watch = Watch()
    progress = progress_of(watch)
    progress.enter("measuring")
    progress.record_eval(4.0, step=0)
    progress.enter("training", steps=2, tokens=10)
    for step in (1, 2):
        watch.now += 1
        progress.record_step(step, 3.0 - step, 0.1 / step, 0.5)
    progress.enter("measuring")
    progress.record_eval(2.5, step=2)
    first, *rest = events(event_file(progress.rows), tmp_path)
    assert first.file_version == "brain.Event:2"
    points = [(e.summary.value[0].tag, e.step) for e in rest]
    assert sorted(points) == [
        ("held_out/loss", 0),
        ("held_out/loss", 2),
        ("training/learning_rate", 1),
        ("training/learning_rate", 2),
        ("training/loss", 1),
        ("training/loss", 2),
        ("training/tokens_per_second", 1),
        ("training/tokens_per_second", 2),
    ]
    losses = [e.summary.value[0].simple_value for e in rest]
    assert losses[0] == 4.0
    assert rest[-1].wall_time == datetime(2026, 1, 31, 8, tzinfo=UTC).timestamp()


def test_a_long_training_keeps_the_event_file_small() -> None:
    """Completion refuses a file of more than 8 MiB."""
    rows: list[dict[str, object]] = [
        {"phase": "training", "step": n, "loss": 1.0, "learning_rate": 0.1, "tokens_per_second": 2}
        for n in range(40_000)
    ]
    assert len(event_file(rows)) < 2 << 20


def test_the_file_is_where_tensorboard_looks() -> None:
    assert "tfevents" in FILE_NAME
