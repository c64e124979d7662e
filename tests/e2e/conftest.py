"""One run of the whole pipeline with real training, shared by the tests that look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from console.operations import upload_file
from support import wait
from support.finished_run import Finished
from support.stacks import EXAMPLE, Tap, running_stack
from tuner.conversion import UploadRecord, upload_record_name
from tuner.persona_settings import settings_name
from tuner.requests import run_id_of
from tuner.runs import RunState


@contextmanager
def least_proofs() -> Iterator[None]:
    """What surrounds the proof is tested here, so it measures the least; it holds the adapter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_PROOF", "held-out")
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    state_dir = tmp_path_factory.mktemp("stack") / "state"
    with least_proofs(), running_stack(state_dir, ["--gpus=0", "--tick-seconds=1"]) as stack:
        topics = ("storage-events", "training-requests", "run-events", "dead-letters")
        taps = {topic: Tap(stack, topic) for topic in topics}
        # One epoch: how well it learns is shown elsewhere.
        settings = stack.connection.bucket(stack.connection.places.runs_bucket_name)
        settings.blob(settings_name("ech0")).upload_from_string("[hyperparameters]\nepochs = 1\n")
        upload = upload_file(stack.connection, EXAMPLE, "ech0")
        ledger = stack.connection.ledger
        record = wait.until(
            lambda: ledger.read_document(upload_record_name(upload), UploadRecord), 30
        )
        assert record[0].request is not None
        run_id = run_id_of(record[0].request)

        def reasons_while_waiting() -> list[str]:
            stored = ledger.read(run_id)
            changes = stored.run.history if stored else ()
            reasons = [c.reason for c in changes if c.state is RunState.WAITING]
            return reasons if len(reasons) == 2 else []

        waited_for = wait.until(reasons_while_waiting, 30)
        stack.set_gpus(1)
        ended = wait.until(lambda: ledger.read_finished(run_id), 400)
        wait.until(lambda: ledger.read_open(run_id) is None, 30)
        yield Finished(stack, upload, ended.run, waited_for, taps)
