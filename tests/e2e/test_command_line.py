"""`tuner`, as a person or a program types it, against the running stack."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.operations import upload_file
from local.layout import Layout
from support import wait
from support.finished_run import Finished
from support.stacks import EXAMPLE, WHY_NOT, processes_naming
from tuner.runs import RunState

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

TUNER = Path(sys.executable).parent / "tuner"


def _tuner(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    return subprocess.run(
        [TUNER, *words],
        env={**kept, "TUNER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_runs_lists_the_run_with_its_state_and_reason(finished: Finished) -> None:
    listed = _tuner(finished.stack.layout.root, "runs")
    assert listed.returncode == 0, listed.stderr
    assert finished.run.run_id in listed.stdout
    assert "promoted by hand only" in " ".join(listed.stdout.split())


def test_show_tells_everything_of_one_run_from_the_start_of_its_id(finished: Finished) -> None:
    run = finished.run
    shown = _tuner(finished.stack.layout.root, "show", run.run_id[:6], "--history")
    assert shown.returncode == 0, shown.stderr
    assert run.model is not None
    for told in (run.model.uri, "attempt 1: vertex-t4 in us-central1", "Needs 4 training CPUs"):
        assert told in shown.stdout


def test_fetch_brings_the_verified_adapter_and_never_overwrites(
    finished: Finished, tmp_path: Path
) -> None:
    home, target = finished.stack.layout.root, tmp_path / "mine" / "ech0"
    words = ("fetch", finished.run.run_id, "--to", str(target))
    fetched = _tuner(home, *words)
    assert fetched.returncode == 0, fetched.stderr
    assert finished.run.model is not None
    for artifact in finished.run.model.artifacts:
        assert hashlib.sha256((target / artifact.name).read_bytes()).hexdigest() == artifact.sha256
    again = _tuner(home, *words)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert [path.name for path in target.parent.iterdir()] == ["ech0"]


def test_a_merged_export_is_a_model_of_its_own_with_its_change_measured(
    finished: Finished, tmp_path: Path
) -> None:
    """Rounding to float16 costs a small part of what the adapter does."""
    target = tmp_path / "merged"
    # Of the layers alone: the whole model's replies are compared in the trainer's tests.
    merged = ("--merged", "--layers-only", "--out", str(target), "--json")
    words = ("export", finished.run.run_id, *merged)
    exported = _tuner(finished.stack.layout.root, *words)
    assert exported.returncode == 0, exported.stderr
    report = json.loads(exported.stdout)["report"]
    assert report["layers"]["merged"] == 60
    assert json.loads((target / "config.json").read_text())["dtype"] == "float16"
    assert (target / "model.safetensors").stat().st_size > 200e6
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_json_is_the_stored_record(finished: Finished) -> None:
    shown = _tuner(finished.stack.layout.root, "show", finished.run.run_id, "--json")
    assert json.loads(shown.stdout)["write_id"] == finished.run.write_id
    listed = _tuner(finished.stack.layout.root, "runs", "--json")
    assert finished.run.run_id in [run["run_id"] for run in json.loads(listed.stdout)]


def test_following_a_drop_that_adds_nothing_ends_at_once_and_says_so(finished: Finished) -> None:
    """The same file again: one JSON object a line, exit 0."""
    dropped = _tuner(
        finished.stack.layout.root,
        "drop", str(EXAMPLE), "--persona", "ech0", "--follow", "--json",
    )  # fmt: skip
    assert dropped.returncode == 0, dropped.stderr
    lines = [json.loads(line) for line in dropped.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["uploaded", "kept"]
    assert lines[1]["reason"].startswith("Nothing new")


def test_check_compares_a_file_with_what_is_remembered(finished: Finished, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    checked = _tuner(
        finished.stack.layout.root,
        "check", str(EXAMPLE), "--persona", "ech0", "--html", str(page),
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "0 new" in checked.stdout
    assert page.read_text().startswith("<!doctype html>")


def test_memory_lists_finds_forgets(finished: Finished) -> None:
    """Of a persona that is trained by hand: no job is made."""
    root = finished.stack.layout.root
    assert _tuner(root, "config", "set", "forgetful", "train_when", "by-hand").returncode == 0
    upload_file(finished.stack.connection, EXAMPLE, "forgetful")
    listed = wait.until(lambda: _listed(root, "forgetful"), 60)
    assert "ech0_conversation_memory.json#" in listed
    found = _tuner(root, "memory", "forgetful", "--find", "manager").stdout
    pair = found.split()[0]
    forgotten = _tuner(root, "forget", "forgetful", "--pair", pair)
    assert forgotten.returncode == 0, forgotten.stderr
    assert _tuner(root, "memory", "forgetful", "--find", "manager").stdout.find(pair) == -1
    finished.wait_until_all_is_handled("forget")


def _listed(root: Path, persona: str) -> str:
    listed = _tuner(root, "memory", persona).stdout
    return listed if "#" in listed else ""


def test_a_refused_drop_says_why_on_stderr_and_exits_with_3(
    finished: Finished, tmp_path: Path
) -> None:
    page = tmp_path / "export.json"
    page.write_text("<html>Sign in</html>", encoding="utf-8")
    refused = _tuner(finished.stack.layout.root, "drop", str(page), "--follow")
    assert refused.returncode == 3
    assert "web page" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "zzzzzz"), "No run starts with 'zzzzzz'"),
        (("cancel", "{run}"), "is {state}: there is nothing to cancel"),
        (("wake", "{run}"), "is {state} and not parked"),
        (("drop", str(EXAMPLE), "--persona", "Not A Name"), "cannot be a persona's name"),
    ],
    ids=["show", "cancel", "wake", "drop"],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    finished: Finished, words: tuple[str, ...], sentence: str
) -> None:
    spoken = [word.replace("{run}", finished.run.run_id) for word in words]
    answer = _tuner(finished.stack.layout.root, *spoken)
    assert answer.returncode == 2
    assert sentence.replace("{state}", finished.run.state) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_retry_is_a_new_run_that_can_be_followed_to_its_end(finished: Finished) -> None:
    """Its number is the first that is free. It is cancelled: the adapter stays the latest."""
    home, old = finished.stack.layout.root, finished.run
    ledger = finished.stack.connection.ledger
    with subprocess.Popen(
        [TUNER, "retry", old.run_id, "--follow", "--json"],
        env={**os.environ, "TUNER_HOME": str(home)}, stdout=subprocess.PIPE, text=True,
    ) as following:  # fmt: skip
        assert following.stdout is not None
        requested = json.loads(following.stdout.readline())
        new = wait.until(lambda: ledger.read(requested["run_id"]), 60).run
        refused = _tuner(home, "retry", new.run_id)
        cancelled = _tuner(home, "cancel", new.run_id)
        news = [json.loads(line) for line in following.stdout]
        assert following.wait(60) == 1
    assert (refused.returncode, "has not ended" in refused.stderr) == (2, True), refused
    assert cancelled.returncode == 0, cancelled.stderr
    assert [line["state"] for line in news if line["event"] == "changed"][-1] == "cancelled"
    assert new.request.rerun == old.request.rerun + 1
    assert new.request.requested_by.reference == f"tuner retry {old.run_id}"


def test_a_retry_of_a_run_that_has_an_adapter_says_so(finished: Finished) -> None:
    home, ledger = finished.stack.layout.root, finished.stack.connection.ledger
    retried = _tuner(home, "retry", finished.run.run_id)
    assert retried.returncode == 0, retried.stderr
    if finished.run.state is RunState.SUCCEEDED:
        assert f"{finished.run.run_id} has succeeded" in retried.stdout
    new_id = retried.stdout.split()[-1]
    wait.until(lambda: ledger.read(new_id), 60)
    assert _tuner(home, "cancel", new_id).returncode == 0
    wait.until(lambda: ledger.read_finished(new_id), 60)


def test_without_a_stack_or_a_project_it_says_how_to_get_one(tmp_path: Path) -> None:
    answer = _tuner(tmp_path / "nowhere", "runs")
    assert answer.returncode == 2
    assert "tuner local up" in answer.stderr


def test_the_quota_of_the_local_stack_can_be_changed(finished: Finished) -> None:
    home = finished.stack.layout.root
    assert _tuner(home, "local", "quota", "2").returncode == 0
    limits = finished.stack.vertex.snapshot()
    assert limits is not None
    assert json.loads(_tuner(home, "local", "quota", "1", "--json").stdout) == {"gpus": 1}


def test_a_stack_goes_up_and_down_and_is_purged(tmp_path: Path) -> None:
    """Its state outlives `down`, and nothing outlives `purge`."""
    home = tmp_path / "home"
    try:
        up = json.loads(_tuner(home, "local", "up", "--json").stdout)
        assert up["up"]
        assert _tuner(home, "local", "up").returncode == 0, "a second up changes nothing"
        dropped = _tuner(home, "drop", str(EXAMPLE), "--persona", "ech0", "--json")
        assert json.loads(dropped.stdout)["event"] == "uploaded"
        assert json.loads(_tuner(home, "local", "down", "--json").stdout) == {"stopped": True}
        assert not processes_naming(str(home))
        assert list(home.rglob(EXAMPLE.name))
    finally:
        purged = _tuner(home, "local", "purge", "--yes")
    assert purged.returncode == 0
    assert not home.exists()


def test_a_stack_that_cannot_start_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Layout(home).make()
    (home / "objects").rmdir()
    (home / "objects").write_text("a file where a folder must be", encoding="utf-8")
    failed = _tuner(home, "local", "up")
    assert failed.returncode == 1
    assert "could not be started" in failed.stderr
    assert "objects" in failed.stderr
    assert not processes_naming(str(home))
