"""Every command that deploy.sh can issue is one that Google's own gcloud takes."""

from __future__ import annotations

import copy
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.fake_project import FakeProject
from support.recording_gcloud import RecordingGcloud, recording_gcloud


def distinct(commands: Iterable[list[str]]) -> list[str]:
    """Command lines, each once."""
    return sorted({" ".join(["gcloud", *map(quoted, command)]) for command in commands})


def quoted(word: str) -> str:
    """As deploy.sh prints it: of a flag only the value is quoted."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return shlex.quote(word)
    return f"{name}={shlex.quote(value)}" if equals else name


def shape(command: str) -> tuple[str, ...]:
    """What the linter can tell apart: words and flags, without the names of what is made."""
    words = shlex.split(command)
    condition = [word[:22] for word in words if word.startswith("--condition")]
    return (*words[:4], *(word.partition("=")[0] for word in words if word[:2] == "--"), *condition)


def upset(project: FakeProject) -> None:
    """Make everything that can differ differ, so that each is updated."""
    for subscription in project.of("subscription").values():
        subscription["ackDeadlineSeconds"] = 11
    project.of("subscription")["converter"]["filter"] = "attributes.other = 1"
    for tick in project.of("tick").values():
        tick["state"] = "PAUSED"
    for bucket in project.of("bucket").values():
        bucket["softDeletePolicy"] = {}
        bucket.pop("versioning", None)
    for account in project.of("account").values():
        account["disabled"] = True
    for function in project.of("function").values():
        function["state"] = "FAILED"
    for metric in project.of("metric").values():
        metric["description"] = ""
    project.of("sink")["ech0-jobs"]["filter"] = ""
    project.of("log-bucket")["ech0-jobs"]["retentionDays"] = 1
    for alert in project.of("alert").values():
        alert["userLabels"]["ech0-config"] = ""
    for dashboard in project.of("dashboard").values():
        dashboard["labels"] = {"ech0": ""}
    for budget in project.of("budget").values():
        budget["amount"] = {}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All distinct commands of all modes: an empty project, one that differs, one taken away."""
    issued: list[list[str]] = []

    def run(gcloud: RecordingGcloud, *arguments: str, **more: Any) -> None:
        done = gcloud.deploy(*arguments, **more)
        assert done.returncode == 0, done.stderr
        issued.extend(copy.deepcopy(gcloud.commands))

    everything = ("--yes", "--contact", "ada@example.com")
    with recording_gcloud(tmp_path_factory.mktemp("commands")) as gcloud:
        run(gcloud, *everything, DEPLOY_UPLOADERS="user:ada@example.com")
        upset(gcloud.project)
        run(gcloud, *everything)
        gcloud.project.of("job")["77"] = {"name": "x/customJobs/77"}
        gcloud.project.objects = {f"{gcloud.project.project}-runs": 1}
        words = f"delete all data of {gcloud.project.project}"
        answers = {"answers": f"{words}\n", "DEPLOY_ANSWERS_FROM_STDIN": "1"}
        run(gcloud, *everything, "--destroy", **answers)
    return distinct(issued)


@pytest.fixture(scope="module")
def judged(commands: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What gcloud's own linter says of a command of each shape: None, or what is wrong.

    All of them take half a minute; the soak has them checked.
    """
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed, so no command is checked by it")
    shapes = {shape(command): command for command in commands}
    return lint(list(shapes.values()), tmp_path_factory.mktemp("lint"))


def lint(commands: list[str], folder: Path) -> dict[str, str | None]:
    """Error by command, as gcloud's linter finds it."""
    file = folder / "commands.json"
    wrong = "gcloud pubsub topics create t --no-such-flag=1"
    file.write_text(json.dumps([{"command_string": command} for command in [*commands, wrong]]))
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        capture_output=True, text=True, check=True, timeout=300,
        env={**os.environ, "CLOUDSDK_CONFIG": str(folder / "config")},
    )  # fmt: skip
    answers = {each["command_string"]: each["error_message"] for each in json.loads(done.stdout)}
    # The linter always ends well: that it finds something is what shows that it looked.
    assert "no-such-flag" in (answers.pop(wrong) or "")
    return answers


def test_gcloud_takes_every_command(commands: list[str], judged: dict[str, str | None]) -> None:
    """Names of commands, of flags and their values, as gcloud's own linter reads them."""
    assert {command: said for command, said in judged.items() if said} == {}
    assert len(judged) == len({shape(command) for command in commands})


def test_the_commands_are_those_of_every_mode(commands: list[str]) -> None:
    """Creating, updating, replacing, deleting and looking: so that the linter sees each kind."""
    verbs = {
        "enable", "create", "update", "deploy", "submit", "delete", "rm", "cancel", "list",
        "describe", "get-iam-policy", "add-iam-policy-binding", "remove-iam-policy-binding",
        "resume",
    }  # fmt: skip
    seen = {word for command in commands for word in shlex.split(command)}
    assert verbs <= seen
    assert len(commands) > 150


def test_every_command_names_its_project(commands: list[str]) -> None:
    """What the person's gcloud is set to must not decide where anything is made."""
    for command in commands:
        words = shlex.split(command)
        if words[1] not in ("version", "config"):
            assert "ech0-test" in command, command
            assert "--project=ech0-test" in words or words[1] in ("projects", "billing")


def test_no_command_prompts_or_gives_anything_to_everybody(commands: list[str]) -> None:
    """Neither --quiet, which says yes to everything, nor a member that stands for all the world."""
    for command in commands:
        assert "--quiet" not in command
        assert "allUsers" not in command
        assert "allAuthenticatedUsers" not in command
