"""The machine goes down in the middle of training, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.following import progress_of
from console.operations import list_runs, upload_file
from local import control
from local.layout import Layout
from support import wait
from support.stacks import EXAMPLE, WHY_NOT, Tap, processes_naming, running_stack
from tuner.runs import Run, RunState

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def test_a_stack_stopped_while_training_finishes_the_run_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is lost with its machine; the run waits, and its second attempt has an adapter."""
    # The least proof; of so few held-out pairs it is too thin to promote the adapter.
    monkeypatch.setenv("TUNER_PROOF", "held-out")
    state_dir = tmp_path / "state"
    arguments = ["--gpus=1", "--tick-seconds=1"]
    with running_stack(state_dir, arguments) as stack:
        upload_file(stack.connection, EXAMPLE, "ech0")

        def training() -> Run | None:
            runs = list_runs(stack.connection, 10)
            progress = progress_of(stack.connection, runs[0]) if runs else None
            return runs[0] if progress and progress.phase == "training" else None

        run_id = wait.until(training, 120).run_id
        control.down(Layout(state_dir))
        wait.until(lambda: not processes_naming(str(state_dir)), 30)

    with running_stack(state_dir, arguments) as stack:
        tap = Tap(stack, "run-events")
        ended = wait.until(lambda: stack.connection.ledger.read_finished(run_id), 240).run
        assert ended.state is RunState.HELD, ended.reason
        first, second = ended.attempts
        assert first.end_reason
        assert "ended without a result" in first.end_reason
        assert second.end_reason == "succeeded"
        assert [change.seq for change in ended.history] == list(range(1, ended.seq + 1))
        wait.until(lambda: any(m.attributes.get("seq") == str(ended.seq) for m in tap.drain()), 20)
