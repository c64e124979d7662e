"""deploy.sh at length: a failure after every step, the real gcloud, sources on their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.facts import buckets, facts_of
from integration.test_deploy import left_over
from integration.test_deploy_commands import commands, lint
from support.fake_project import FakeProject
from support.pubsub_servers import google_emulator, google_emulator_jar
from support.recording_gcloud import ROOT, RecordingGcloud, recording_gcloud
from support.storage_servers import storage_server

__all__ = ["commands"]  # a fixture

pytestmark = pytest.mark.soak

needs_gcloud = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_failure_after_any_step_is_made_good_by_the_next_run(tmp_path: Path, first: int) -> None:
    """Each run gets three steps further and fails; in the end all is as if it had been one run.

    Beginning at three places, there is a failure after every step.
    """
    runs = 0
    with recording_gcloud(tmp_path) as gcloud:
        gcloud.fail_after = first
        while (done := gcloud.deploy("--yes")).returncode:
            assert "simulated outage" in done.stderr
            gcloud.fail_after = 3
            runs += 1
            assert runs < 60
    assert runs >= 25
    with recording_gcloud(tmp_path / "whole") as whole:
        assert whole.deploy("--yes").returncode == 0
    assert names_in(gcloud.project) == names_in(whole.project)
    assert gcloud.project.policies == whole.project.policies


def names_in(project: FakeProject) -> dict[str, int]:
    return {kind: len(found) for kind, found in project.things.items() if found}


def test_destroying_after_any_step_leaves_nothing(tmp_path: Path) -> None:
    """A deployment that stopped anywhere is taken away whole."""
    for steps in range(1, 92, 13):
        with recording_gcloud(tmp_path / str(steps)) as gcloud:
            gcloud.fail_after = steps
            gcloud.deploy("--yes")
            gcloud.fail_after = None
            assert gcloud.deploy("--yes", "--destroy").returncode == 0
            assert left_over(gcloud.project) == {}, steps


@needs_gcloud
def test_gcloud_takes_every_single_command(commands: list[str], tmp_path: Path) -> None:
    """All of them, where the shorter test reads one of each shape."""
    judged = lint(commands, tmp_path)
    assert {command: said for command, said in judged.items() if said} == {}
    assert len(judged) == len(commands)


# -- the real gcloud against local servers ---------------------------------------------------------

Gcloud = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordingGcloud:
    """A deployment in memory, with the commands that made it."""
    with recording_gcloud(tmp_path_factory.mktemp("recorded")) as gcloud:
        done = gcloud.deploy("--yes")
        assert done.returncode == 0, done.stderr
    return gcloud


@pytest.fixture
def real_gcloud(tmp_path: Path) -> Gcloud:
    """Google's own, without an account; it is told which local server to talk to."""

    def run(*arguments: str, **endpoints: str) -> subprocess.CompletedProcess[str]:
        overrides = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": url
            for name, url in endpoints.items()
        }
        done = subprocess.run(
            ["gcloud", *arguments], capture_output=True, text=True, check=False, cwd=ROOT,
            timeout=120,
            env={
                "PATH": os.environ["PATH"], "HOME": str(tmp_path), **overrides,
                "CLOUDSDK_CONFIG": str(tmp_path / "config"),
                "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
                "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            },
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done

    return run


@pytest.fixture
def pubsub(tmp_path: Path) -> Iterator[str]:
    """Google's own emulator, which speaks REST as gcloud does."""
    jar = google_emulator_jar()
    if jar is None:
        pytest.skip("Google's Pub/Sub emulator or java is not installed")
    with google_emulator(jar, tmp_path / "emulator.log") as endpoint:
        yield f"http://{endpoint}/"


@needs_gcloud
def test_gcloud_makes_the_deliveries_of_adr_1_on_googles_emulator(
    recorded: RecordingGcloud, real_gcloud: Gcloud, pubsub: str, tmp_path: Path
) -> None:
    """The very commands of deploy.sh; what gcloud then lists reads as what deploy.sh wants."""
    made = [each for each in recorded.changed if each[0] == "pubsub" and each[2] == "create"]
    assert len(made) == 9
    for command in made:
        # Google's emulator takes seven days at most; the service takes the 31 of ADR 1.
        real_gcloud(*(word.replace("=31d", "=7d") for word in command), pubsub=pubsub)
    for name in ("topics", "subscriptions"):
        listed = real_gcloud(
            "pubsub", name, "list", "--project=ech0-test", "--format=json", pubsub=pubsub
        )
        (tmp_path / f"{name}@all.json").write_text(listed.stdout)
        (tmp_path / "wanted").mkdir(exist_ok=True)
        kept = list(recorded.project.of(name.rstrip("s")).values())
        wanted = json.dumps(kept).replace(f'"{31 * 86400}s"', f'"{7 * 86400}s"')
        (tmp_path / "wanted" / f"{name}@all.json").write_text(wanted)
    found = dict(facts_of(tmp_path))
    assert found == dict(facts_of(tmp_path / "wanted"))
    assert len(found) == 4 + 2 * 5


@needs_gcloud
def test_gcloud_sends_the_settings_of_the_buckets(
    recorded: RecordingGcloud, real_gcloud: Gcloud, tmp_path: Path
) -> None:
    """What goes over the wire to Cloud Storage has every setting that deploy.sh looks for."""
    made = [each for each in recorded.changed if each[:3] == ["storage", "buckets", "create"]]
    assert len(made) == 4
    wanted = dict(buckets("", list(recorded.project.of("bucket").values())))
    with storage_server(tmp_path / "storage", backend="memory") as endpoint:
        place = f"{endpoint}/storage/v1/"
        for command in made:
            said = real_gcloud(*command, "--log-http", storage=place).stderr
            sent = request_bodies(said)
            name = command[3].removeprefix("gs://")
            facts = dict(buckets("", [sent[0]]))
            assert facts[f"bucket {name}"] == wanted[f"bucket {name}"]
        listed = real_gcloud(
            "storage", "buckets", "list", "--raw", "--project=ech0-test", "--format=json",
            storage=place,
        )  # fmt: skip
        assert {each["name"] for each in json.loads(listed.stdout)} == set(
            recorded.project.of("bucket")
        )
        empty = real_gcloud(
            "storage", "objects", "list", f"{made[0][3]}/**", "--limit=1", "--format=json",
            storage=place,
        )  # fmt: skip
        assert json.loads(empty.stdout) == []


def request_bodies(log: str) -> list[dict[str, Any]]:
    """JSON bodies of the requests that `--log-http` shows."""
    requests = re.findall(r"== body start ==\n(\{.*?\})\n== body end ==\n=+ request end", log, re.S)
    return [json.loads(body) for body in requests]
