"""The trainer's smaller promises: failures, progress, the gate, placement, conversion."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from google.api_core.exceptions import Forbidden

import base_model
import convert_base_model
from failures import TrainerError, classify
from progress import Progress
from settings import load_preset
from support.wait import until
from tuner.training_job import FailureKind

PRESETS = Path(convert_base_model.__file__).parent / "presets"


def allocation_too_large() -> BaseException:
    """What PyTorch really raises when the CPU's memory does not suffice."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), FailureKind.OUT_OF_MEMORY),
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (allocation_too_large(), FailureKind.OUT_OF_MEMORY),
        (Forbidden("no"), FailureKind.NO_PERMISSION),
        (TrainerError(FailureKind.BAD_DATA, "a reason"), FailureKind.BAD_DATA),
        (RuntimeError("something else"), FailureKind.INTERNAL),
    ],
)
def test_exceptions_are_classified(exc: BaseException, kind: FailureKind) -> None:
    assert classify(exc).kind is kind


def test_an_unexpected_exception_is_named_but_not_quoted() -> None:
    failure = classify(ValueError("what a marmalade said"))
    assert "ValueError" in failure.message
    assert "marmalade" not in failure.message


def test_progress_is_rewritten_while_nothing_happens() -> None:
    published: list[bytes] = []
    with Progress(published.append, beat_seconds=0.01) as progress:
        progress.enter("loading")
        until(lambda: len(published) >= 5)
    assert b'"loading"' in published[-1]


class Beats:
    """A `Progress` with a clock that stands still until it is moved, and the rows it publishes."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 8, tzinfo=UTC)
        self._published: list[bytes] = []
        self.progress = Progress(self._published.append, beat_seconds=0.001, clock=lambda: self.now)

    def next_row(self) -> dict[str, object]:
        """The live row of a beat that began after this call."""
        count = len(self._published)
        until(lambda: len(self._published) >= count + 2)
        row: dict[str, object] = json.loads(self._published[-1].splitlines()[-1])
        return row


PROGRESS: dict[str, Callable[[Progress], None]] = {
    "enter": lambda progress: progress.enter("saving"),
    "advance": lambda progress: progress.advance(1),
    "touch": lambda progress: progress.touch(),
    "record_step": lambda progress: progress.record_step(1, 2.0, 0.1, 1.0),
}


@pytest.mark.parametrize("kind", PROGRESS)
def test_a_beat_does_not_count_as_progress_and_work_does(kind: str) -> None:
    beats = Beats()
    with beats.progress as progress:
        progress.enter("training", steps=2)
        first = beats.next_row()
        beats.now += timedelta(minutes=1)
        second = beats.next_row()
        PROGRESS[kind](progress)
        third = beats.next_row()
    assert [first["at"], second["at"]] == ["2026-01-31T08:00:00.000Z", "2026-01-31T08:01:00.000Z"]
    assert first["progressed_at"] == second["progressed_at"] == "2026-01-31T08:00:00.000Z"
    assert third["progressed_at"] == "2026-01-31T08:01:00.000Z"


def test_the_first_beat_counts_from_the_beginning() -> None:
    beats = Beats()
    with beats.progress:
        assert beats.next_row()["progressed_at"] == "2026-01-31T08:00:00.000Z"


def test_a_failing_heartbeat_does_not_stop_training() -> None:
    beats = threading.Semaphore(0)

    def publish(rows: bytes) -> None:
        beats.release()
        raise ConnectionError("storage hiccup")

    with Progress(publish, beat_seconds=0.01) as progress:
        progress.enter("training", steps=1)
        progress.record_step(1, 2.0, 0.1, 1.0)
        for _ in range(3):
            assert beats.acquire(timeout=10)
        rows = progress.finish()
    assert rows.count(b"\n") == 2


def test_nothing_is_published_after_the_final_rows() -> None:
    published: list[bytes] = []
    with Progress(published.append, beat_seconds=0.001) as progress:
        until(lambda: len(published) >= 3)
        progress.finish()
        count = len(published)
    assert len(published) == count
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def place(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], preset: str, tokens: int):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    return base_model.choose_placement(
        load_preset(PRESETS / f"{preset}.toml"), micro_batch=4, longest_tokens=tokens
    )


def test_a_t4_computes_in_float16_over_nf4_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = place(monkeypatch, (7, 5), "mistral-7b", 512)
    assert placement.nf4
    assert placement.fp16_autocast
    assert placement.dtype is torch.float16
    assert placement.attention == "sdpa"
    assert placement.activation_checkpointing


def test_a_newer_gpu_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = place(monkeypatch, (8, 9), "mistral-7b", 128)
    assert placement.dtype is torch.bfloat16
    assert not placement.fp16_autocast
    assert not placement.activation_checkpointing


def test_on_a_cpu_only_short_rows_use_eager_attention() -> None:
    preset = load_preset(PRESETS / "smollm2-135m.toml")
    limit = base_model.EAGER_MAX_TOKENS
    chosen = [
        base_model.choose_placement(preset, micro_batch=4, longest_tokens=tokens).attention
        for tokens in (limit, limit + 1)
    ]
    assert chosen == ["eager", "sdpa"]


def test_without_a_local_directory_the_hub_is_used_at_the_presets_commit() -> None:
    preset = load_preset(PRESETS / "mistral-7b.toml")
    source = base_model.find_source(preset, {})
    assert (source.location, source.hub_revision) == (preset.base_model, preset.revision)


def test_a_local_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    preset = load_preset(PRESETS / "smollm2-135m.toml")
    with pytest.raises(TrainerError, match=r"no readable base_model\.json"):
        base_model.find_source(preset, {base_model.DIR_VARIABLE: str(tmp_path)})


def test_a_converted_model_is_found_again(tmp_path: Path) -> None:
    manifest = convert_base_model.manifest_for(convert_base_model.find_gguf())
    assert not convert_base_model.is_converted(tmp_path, manifest)
    (tmp_path / "base_model.json").write_text("{")
    assert not convert_base_model.is_converted(tmp_path, manifest)
