"""One file, dropped once, with real training: what a user is promised, on the real stack."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from console.operations import cancel_run, upload_file
from local import deliveries
from local.topics import to_subscription
from support import wait
from support.finished_run import Finished
from support.stacks import BASE_MODEL, EXAMPLE, TRAINER_PYTHON, WHY_NOT
from tuner.conversion import UploadRecord, rejection_name, upload_record_name
from tuner.events import DeadLetter, RunEvent, UploadRejected
from tuner.requests import run_id_of
from tuner.runs import RunState
from tuner.training_job import decode

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

_CHANGES_LOGITS = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base_dir, adapter_dir = sys.argv[1:]
tokens = AutoTokenizer.from_pretrained(base_dir)("I can't sleep.", return_tensors="pt")
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_dir), adapter_dir)
with torch.no_grad():
    tuned = model(**tokens).logits
    with model.disable_adapter():
        plain = model(**tokens).logits
print("largest difference", (tuned - plain).abs().max().item())
assert torch.isfinite(tuned).all()
sys.exit(0 if (tuned - plain).abs().max() > 0.1 else 1)
"""


def test_the_run_waited_for_quota_and_said_why(finished: Finished) -> None:
    """First Google's own refusal, then what is needed and what there is, in words."""
    refused, explained = finished.waited_for
    assert "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus" in refused
    assert explained.startswith("Needs 4 training CPUs and 1 T4 GPU in us-central1")


def test_the_adapter_is_verified_and_the_record_complete(finished: Finished) -> None:
    """Everything that a user or an auditor asks for later stands in the terminal record."""
    run = finished.run
    assert run.state is RunState.HELD, run.reason
    assert run.model is not None
    assert run.model.metrics.held_out_loss_after < run.model.metrics.held_out_loss_before
    gate = run.model.gate
    assert (gate.passed, gate.verdict) == (False, "too thin")
    assert "Too little to judge: 4 pairs" in run.reason
    assert {"drop_prompted_low", "improved_share", "forgetting_low"} <= gate.figures.keys()
    assert "proof.json" in {artifact.name for artifact in run.model.artifacts}
    assert [change.seq for change in run.history] == list(range(1, run.seq + 1))
    (attempt,) = run.attempts
    assert attempt.job_name
    assert attempt.started_at
    assert attempt.ended_at
    assert attempt.display_name.startswith("ech0-smollm2-finetune-")
    assert run.request.requested_by.reference.endswith(f"#{finished.upload.generation}")
    assert not finished.stack.connection.models_bucket.blob("ech0/latest.json").exists()


def test_the_adapter_loads_in_peft_and_changes_the_logits(finished: Finished) -> None:
    assert finished.run.model is not None
    bucket, _, folder = finished.run.model.uri.removeprefix("gs://").partition("/")
    adapter = finished.stack.layout.objects / bucket / folder / "adapter"
    loaded = subprocess.run(
        [TRAINER_PYTHON, "-c", _CHANGES_LOGITS, BASE_MODEL, adapter],
        env={"HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr


def test_events_are_gapless_by_seq_after_deduplication(finished: Finished) -> None:
    def complete() -> bool:
        messages = finished.taps["run-events"].drain()
        events = [
            msgspec.json.decode(m.data, type=RunEvent) for m in messages if "seq" in m.attributes
        ]
        changes = {e.seq: e.state for e in events if e.run_id == finished.run.run_id}
        return changes == {c.seq: c.state for c in finished.run.history}

    wait.until(complete, 20)


def test_a_redelivery_of_every_message_changes_nothing(finished: Finished) -> None:
    """At-least-once delivery is a fact of life: no second dataset, run, job or adapter."""
    finished.wait_until_all_is_handled("before")
    objects, jobs = finished.objects(), finished.jobs()
    for topic in ("storage-events", "training-requests"):
        finished.taps[topic].publish_again()
    finished.wait_until_all_is_handled("after")
    assert finished.jobs() == jobs
    assert finished.objects() == objects


def test_the_same_file_dropped_twice_starts_one_job(finished: Finished, tmp_path: Path) -> None:
    """Another name and another generation, but the same pairs: we pay once."""
    copy = tmp_path / "the same once more.json"
    copy.write_bytes(EXAMPLE.read_bytes())
    jobs = finished.jobs()
    upload = upload_file(finished.stack.connection, copy, "ech0")
    ledger = finished.stack.connection.ledger
    record = wait.until(lambda: ledger.read_document(upload_record_name(upload), UploadRecord), 30)
    assert record[0].request is None
    assert record[0].kept is not None
    assert record[0].kept.reason.startswith("Nothing new")
    finished.wait_until_all_is_handled("twice")
    assert finished.jobs() == jobs
    assert ledger.read_open(finished.run.run_id) is None


def test_two_personas_with_the_same_file_share_nothing(finished: Finished) -> None:
    """Own dataset, own run, own job; and a cancelled run ends its job before it says so."""
    connection = finished.stack.connection
    upload = upload_file(connection, EXAMPLE, "other")
    record = wait.until(
        lambda: connection.ledger.read_document(upload_record_name(upload), UploadRecord), 30
    )
    assert record[0].request is not None
    run_id = run_id_of(record[0].request)
    assert run_id != finished.run.run_id
    dataset = f"datasets/other/{record[0].request.dataset_id}/receipt.json"
    assert connection.work_bucket.get_blob(dataset) is not None

    def running() -> bool:
        stored = connection.ledger.read(run_id)
        return stored is not None and stored.run.state is RunState.RUNNING

    wait.until(running, 60)
    job_spec = connection.work_bucket.blob(f"runs/{run_id}/attempts/1/job.json")
    assert "/datasets/other/" in json.loads(job_spec.download_as_bytes())["train_uri"]
    cancel_run(connection, run_id)
    ended = wait.until(lambda: connection.ledger.read_finished(run_id), 60)
    assert ended.run.state is RunState.CANCELLED
    states: dict[str | None, str] = {
        job.name: job.state for job in finished.stack.vertex.snapshot().jobs
    }
    assert ended.run.attempt is not None
    assert states[ended.run.attempt.job_name] == "JOB_STATE_CANCELLED"
    assert not list(connection.models_bucket.list_blobs(prefix="other/"))


def test_a_file_that_is_no_conversation_is_refused_with_reason_and_fix(
    finished: Finished, tmp_path: Path
) -> None:
    bad = tmp_path / "holiday.json"
    bad.write_text('{"photos": 12}', encoding="utf-8")
    connection = finished.stack.connection
    upload = upload_file(connection, bad, "ech0")
    blob = wait.until(lambda: connection.work_bucket.get_blob(rejection_name(upload)), 30)
    assert blob.name == f"rejected/ech0/holiday.json.{upload.generation}.json"
    rejected = decode(blob.download_as_bytes(), UploadRejected)
    assert rejected.reason
    assert rejected.place
    assert rejected.fix
    tap = finished.taps["run-events"]
    wait.until(
        lambda: any(
            m.attributes["ce-type"] == "upload.rejected" and b"holiday.json" in m.data
            for m in tap.drain()
        ),
        20,
    )


def test_a_malformed_request_goes_to_dead_letters_with_the_reason(finished: Finished) -> None:
    publisher, _ = finished.stack.clients()
    topic = finished.stack.connection.places.topic("training-requests")
    publisher.publish(topic=topic, messages=[{"data": b'{"schema_version": 7}'}])

    def letter() -> DeadLetter | None:
        for message in finished.taps["dead-letters"].drain():
            found = msgspec.json.decode(message.data, type=DeadLetter)
            if '"schema_version": 7' in found.body:
                return found
        return None

    assert "schema_version 7" in wait.until(letter, 20).reason


def test_no_log_carries_conversation_text(finished: Finished) -> None:
    """Ids and counts only, in every server's log and every job's."""
    turns = [row["content"] for row in json.loads(EXAMPLE.read_text())["history"]]
    logs = [*finished.stack.layout.logs.glob("*"), *finished.stack.layout.root.rglob("*.log")]
    assert len(logs) > 5
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not [turn for turn in turns if len(turn) > 20 and turn in text], log


def test_state_is_for_its_owner_only(finished: Finished) -> None:
    assert finished.stack.layout.root.stat().st_mode & 0o777 == 0o700


def test_the_running_servers_hold_what_the_table_of_deliveries_says(finished: Finished) -> None:
    """Every topic and subscription of ADR 0001, with its settings, and none besides."""
    places = finished.stack.connection.places
    table = deliveries.load(project=places.project, prefix=places.prefix)
    publisher, subscriber = finished.stack.clients()
    project = f"projects/{places.project}"
    topics = {topic.name for topic in publisher.list_topics(project=project)}
    assert topics == {places.topic(name) for name in table.topics}
    held = {
        found.name: found
        for found in subscriber.list_subscriptions(project=project)
        if "/tap-" not in found.name and "/console-" not in found.name
    }
    ports = finished.stack.description["ports"]
    expected = [
        to_subscription(
            row, places, table.push_account, lambda name: f"http://127.0.0.1:{ports[name]}"
        )
        for row in table.subscriptions
    ]
    assert set(held) == {subscription.name for subscription in expected}
    for subscription in expected:
        found = held[subscription.name]
        for field in (
            "topic", "filter", "ack_deadline_seconds", "push_config", "retry_policy",
            "dead_letter_policy", "message_retention_duration",
        ):  # fmt: skip
            assert getattr(found, field) == getattr(subscription, field), (found.name, field)
