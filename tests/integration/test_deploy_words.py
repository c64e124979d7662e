"""What deploy.sh says when something is missing, and what the documentation shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_project import FakeProject
from support.recording_gcloud import ROOT, RecordingGcloud, recording_gcloud


@pytest.fixture
def gcloud(tmp_path: Path) -> Iterator[RecordingGcloud]:
    with recording_gcloud(tmp_path) as recording:
        yield recording


def refusal(gcloud: RecordingGcloud, *arguments: str, **environment: str) -> str:
    """What it says when it stops; by then nothing was changed."""
    done = gcloud.deploy(*arguments, **environment)
    assert done.returncode == 1, done.stdout
    assert gcloud.changed == []
    return done.stderr


def test_without_a_login_it_says_how_to_log_in(gcloud: RecordingGcloud) -> None:
    """The fix is a command."""
    gcloud.project.logged_in = False
    assert "gcloud auth login" in refusal(gcloud, "--yes")


def test_an_old_gcloud_is_told(gcloud: RecordingGcloud) -> None:
    """Before a flag that it does not know fails in the middle."""
    gcloud.project.version = "412.0.0"
    said = refusal(gcloud, "--yes")
    assert "gcloud 412.0.0 is older than 500" in said
    assert "gcloud components update" in said


def test_a_project_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the command that makes it."""
    with recording_gcloud(tmp_path, FakeProject(project="my-project")) as gcloud:
        said = refusal(gcloud, "--yes", "--project", "my-projekt")
    assert "gcloud projects create my-projekt" in said


def test_a_project_without_billing_is_told(gcloud: RecordingGcloud) -> None:
    """With the command that links an account."""
    gcloud.project.billing = False
    assert "gcloud billing projects link ech0-test" in refusal(gcloud, "--yes")


def test_every_problem_of_the_settings_is_told_at_once(gcloud: RecordingGcloud) -> None:
    """And what each must be."""
    said = refusal(
        gcloud, "--yes", "--region", "Iowa", "--contact", "nobody",
        TUNER_DAILY_CAP_USD="much", DEPLOY_UPLOADERS="ada@example.com", DEPLOY_MONTHLY_BUDGET="-1",
    )  # fmt: skip
    for name in (
        "DEPLOY_REGION", "TUNER_CONTACT", "TUNER_DAILY_CAP_USD", "DEPLOY_UPLOADERS",
        "DEPLOY_MONTHLY_BUDGET",
    ):  # fmt: skip
        assert f"{name} is '" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TUNER_CONTACT ada@example.com\n", "deploy.env:1 is not NAME=value"),
        ("# a\n\nTUNER_PROJEKT=x\n", "deploy.env:3 sets TUNER_PROJEKT"),
        ("PATH=/tmp\n", "deploy.env:1 sets PATH"),
    ],
)
def test_a_line_of_the_settings_file_that_is_none_is_named(
    gcloud: RecordingGcloud, tmp_path: Path, text: str, words: str
) -> None:
    """With the file and the number of the line."""
    file = tmp_path / "deploy.env"
    file.write_text(text)
    assert words in refusal(gcloud, "--yes", "--env", str(file))


def test_a_settings_file_is_read_and_not_executed(gcloud: RecordingGcloud, tmp_path: Path) -> None:
    """It is data, as every other file of settings is."""
    file = tmp_path / "deploy.env"
    file.write_text(f"TUNER_CONTACT=$(touch {tmp_path}/executed)\n")
    refusal(gcloud, "--yes", "--env", str(file))
    assert not (tmp_path / "executed").exists()


def test_a_flag_outweighs_the_environment_and_that_the_file(
    gcloud: RecordingGcloud, tmp_path: Path
) -> None:
    """In this order, as the example file says."""
    file = tmp_path / "deploy.env"
    file.write_text("TUNER_CONTACT=file@example.com\nTUNER_KEEP_DAYS=9\nTUNER_DAILY_CAP_USD=7\n")
    arguments = ("--dry-run", "--env", str(file), "--contact", "flag@example.com")
    plan = gcloud.deploy(*arguments, TUNER_KEEP_DAYS="8").stdout
    assert "TUNER_CONTACT=flag@example.com;" in plan
    assert "TUNER_KEEP_DAYS=8" in plan
    assert "TUNER_DAILY_CAP_USD=7" in plan


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--project",), ("--env", "/not/there")])
def test_a_wrong_option_is_named(gcloud: RecordingGcloud, arguments: tuple[str, ...]) -> None:
    """With where to look."""
    said = refusal(gcloud, *arguments)
    assert arguments[-1] in said or "needs a value" in said


def masked(text: str) -> str:
    """Without what changes with each change of the sources: hashes."""
    text = re.sub(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b", "HASH", text)
    return re.sub(r"ech0-config=[0-9]+", "ech0-config=HASH", text)


def test_the_documentation_shows_what_a_dry_run_prints(tmp_path: Path) -> None:
    """docs/examples/deploy-dry-run.txt is real output, and docs/deploy.md quotes from it."""
    with recording_gcloud(tmp_path, FakeProject(logged_in=False)) as gcloud:
        done = gcloud.deploy("--project", "demo", "--dry-run")
    printed = done.stdout.replace(str(tmp_path / "build"), "build/deploy")
    example = (ROOT / "docs/examples/deploy-dry-run.txt").read_text("utf-8")
    assert masked(printed) == masked(example), "make it anew as docs/deploy.md says"
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    quoted = page.split("$ ./deploy.sh --project demo --dry-run\n", 1)[1].split("\n```", 1)[0]
    for line in masked(quoted).splitlines():
        assert line.rstrip(" …") in masked(example), line
