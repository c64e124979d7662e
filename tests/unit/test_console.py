"""What the command line says: the sentence for each error, and when a run is looked at again."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as google_exceptions
from google.auth import exceptions as auth_exceptions
from rich.console import Console

from console import views
from console.connection import NothingToTalkTo
from console.errors import UsageError, explain
from console.following import NeverConverted, Progress
from support.factories import NOW, a_run
from tuner.accounts import summary_of
from tuner.errors import LedgerConflict
from tuner.runs import RunState, Wait

LOGIN = "gcloud auth application-default login"


@pytest.mark.parametrize(
    ("error", "words", "exit_code"),
    [
        (UsageError("No run starts with 'x'."), "No run starts with 'x'.", 2),
        (NothingToTalkTo("No stack runs."), "No stack runs.", 2),
        (auth_exceptions.DefaultCredentialsError("long advice"), LOGIN, 2),
        (auth_exceptions.RefreshError("invalid_grant"), LOGIN, 2),
        (NeverConverted("Stored, no answer."), "Stored, no answer.", 1),
        (LedgerConflict("changed"), "changed", 1),
        (requests.ConnectionError("refused"), "cannot be reached", 1),
        (auth_exceptions.TransportError("no route"), "cannot be reached", 1),
        (google_exceptions.RetryError("timeout", ConnectionError()), "cannot be reached", 1),
        (google_exceptions.Forbidden("no access"), "refused: no access", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_that_is_no_defect_is_one_sentence(
    error: Exception, words: str, exit_code: int
) -> None:
    explained = explain(error)
    assert explained is not None
    assert words in explained[0]
    assert "\n" not in explained[0]
    assert explained[1] == exit_code


@pytest.mark.parametrize("defect", [KeyError("field"), ValueError("x"), LookupError("y")])
def test_a_defect_is_not_explained_away(defect: Exception) -> None:
    assert explain(defect) is None


def test_without_a_login_it_names_the_command_that_logs_in(tmp_path: Path) -> None:
    answer = subprocess.run(
        [Path(sys.executable).parent / "tuner", "runs"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CLOUDSDK_CONFIG": str(tmp_path),
            "NO_GCE_CHECK": "true",
            "TUNER_PROJECT": "p",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2
    assert LOGIN in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr


# -- what `tuner show` prints ----------------------------------------------------------------------


def shown(**changes: Any) -> str:
    console = Console(file=StringIO(), width=200)
    run = a_run(**changes)
    views.print_run(console, run, summary_of(run, NOW), now=NOW)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def waiting(check_in: timedelta) -> dict[str, Any]:
    wait = Wait(
        lane="vertex-t4", region="us-central1", needs={"x/cpus": 4}, has={"x/cpus": 0},
        next_check_at=NOW + check_in,
    )  # fmt: skip
    return {"state": RunState.WAITING, "wait": wait}


def test_a_waiting_run_says_what_is_left_and_when_it_is_looked_at() -> None:
    text = shown(**waiting(timedelta(minutes=5)))
    assert "cpus: needs 4, 0 left" in text
    assert "next check 12:05:00 UTC" in text


def test_a_check_on_another_day_has_its_date() -> None:
    assert "next check 2026-03-02 12:00:00 UTC" in shown(**waiting(timedelta(days=1)))


@pytest.mark.parametrize(
    "changes",
    [waiting(timedelta(seconds=-1)), {"state": RunState.WAITING}, {"state": RunState.RUNNING}],
    ids=["overdue", "no wait", "running"],
)
def test_without_a_time_to_come_it_is_the_next_tick(changes: dict[str, Any]) -> None:
    text = shown(**changes)
    assert "looked at again at the next tick (each minute)" in text
    assert "next check" not in text


def test_a_parked_run_is_not_promised_a_look() -> None:
    text = shown(state=RunState.WAITING, parked=True)
    assert "next tick" not in text
    assert "tuner wake" in text


def test_a_run_that_has_ended_is_not_looked_at_again() -> None:
    assert "looked at" not in shown(state=RunState.FAILED)


def test_a_running_run_shows_how_far_it_is() -> None:
    """The phase is the trainer's word: it is no markup."""
    console = Console(file=StringIO(), width=200)
    run = a_run(state=RunState.RUNNING)
    progress = Progress("[bold]training", 3, 9, 1.5, 200.0, 60, 0.25)
    views.print_run(console, run, summary_of(run, NOW), now=NOW, progress=progress)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    line = "now: [bold]training 3/9, loss 1.50, 200 tokens/s, about 1 min left, $0.25 so far"
    assert line in text
