"""Of all jobs that start for an attempt, one trains: the trainer's election, and its stand-in's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import train
from trainer.harness import Job
from tuner.training_job import CONTROLLER, Owner, decode, encode

NewJob = Callable[..., Job]
Run = Callable[[Job, str], int]

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in_trainer.py"

pytestmark = pytest.mark.usefixtures("default_sigterm")


def run_trainer(job: Job) -> int:
    return train.main(job.arguments())


def run_stand_in(job: Job) -> int:
    command = [sys.executable, str(STAND_IN), *job.arguments()]
    return subprocess.run(command).returncode


@pytest.fixture(params=[run_trainer, run_stand_in], ids=["trainer", "stand-in"])
def run(
    request: pytest.FixtureRequest,
    storage_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs a job under one of the platform's ids ("" when it has none); its exit code."""
    (tmp_path / "modes.json").write_text('{"default": "succeed"}')
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    monkeypatch.setenv("STAND_IN_DIR", str(tmp_path))

    def start(job: Job, job_id: str) -> int:
        if job_id:
            monkeypatch.setenv("CLOUD_ML_JOB_ID", job_id)
        code: int = request.param(job)
        return code

    return start


@pytest.mark.parametrize("job_id", ["1001", ""])
def test_the_owner_names_the_claim_and_the_job(new_job: NewJob, run: Run, job_id: str) -> None:
    job = new_job()
    assert run(job, job_id) == 0
    owner = decode(job.get(f"{job.attempt_prefix}/owner"), Owner)
    assert owner == Owner(claim_id=job.claim_id, job_id=job_id)


@pytest.mark.parametrize(
    "holder",
    [
        pytest.param(Owner(claim_id="claim-b", job_id="1001"), id="another-claim"),
        pytest.param(Owner(claim_id="claim-b"), id="another-claim-of-an-unknown-job"),
        pytest.param(Owner(claim_id=CONTROLLER), id="the-controller"),
        pytest.param(Owner(claim_id="claim-a", job_id="1002"), id="another-job-of-this-claim"),
    ],
)
def test_a_superseded_job_writes_nothing(new_job: NewJob, run: Run, holder: Owner) -> None:
    job = new_job(claim_id="claim-a")
    job.put(f"{job.attempt_prefix}/owner", encode(holder))
    before = {name: job.bucket.get_blob(name).generation for name in job.written()}
    assert run(job, "1001") == 3
    assert {name: job.bucket.get_blob(name).generation for name in job.written()} == before


@pytest.mark.parametrize(
    ("holder_id", "job_id"),
    [
        pytest.param("1001", "1001", id="restarted"),
        pytest.param("", "1001", id="holder-unknown"),
        pytest.param("1001", "", id="this-job-unknown"),
        pytest.param("", "", id="both-unknown"),
    ],
)
def test_a_job_that_may_be_the_owner_continues(
    new_job: NewJob, run: Run, holder_id: str, job_id: str
) -> None:
    job = new_job(claim_id="claim-a")
    owner = encode(Owner(claim_id="claim-a", job_id=holder_id))
    job.put(f"{job.attempt_prefix}/owner", owner)
    assert run(job, job_id) == 0
    assert job.exists(job.result_name)
    assert job.get(f"{job.attempt_prefix}/owner") == owner


def test_of_two_jobs_made_of_one_create_call_one_trains(new_job: NewJob, run: Run) -> None:
    job = new_job()
    assert [run(job, job_id) for job_id in ("1001", "1002", "1001")].count(3) == 1
