"""What is published: event bodies, CloudEvent attributes, and what Pub/Sub would refuse."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from google.api_core.retry import Retry
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given
from hypothesis import strategies as st

from support.factories import NOW, a_request, a_run
from tuner.entrypoint import Message
from tuner.errors import MalformedMessage
from tuner.events import (
    AlarmRaised,
    DeadLetter,
    Events,
    ModelPromoted,
    RunEvent,
    RunProgress,
    UploadRejected,
    event_of,
)
from tuner.places import Places
from tuner.requests import decode_request
from tuner.runs import Attempt, Model, Run, RunState, Wait
from tuner.training_job import Artifact, BaseModel, Gate, Metrics

JOB_NAME = "projects/p/locations/us-central1/customJobs/1"
METRICS = Metrics(
    train_examples=16, eval_examples=3, steps=6, supervised_tokens=900, train_seconds=60.0,
    total_seconds=80.0, train_loss_first=3.0, train_loss_last=2.0, held_out_loss_before=3.1,
    held_out_loss_after=2.5, peak_memory_bytes=1 << 30,
)  # fmt: skip


class RecordingPublisher:
    """Keeps what is published, by topic."""

    def __init__(self) -> None:
        self.published: list[tuple[str, PubsubMessage]] = []

    def publish(
        self, *, topic: str, messages: list[PubsubMessage], retry: Retry, timeout: float
    ) -> object:
        # Without a bounded retry of ours the client goes on for ten minutes in an outage.
        assert 0 < timeout <= 10
        assert retry.timeout <= 10
        assert len(messages) <= 1000, "Pub/Sub refuses more in one call"
        self.published += [(topic, message) for message in messages]
        return None


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def events(publisher: RecordingPublisher) -> Events:
    return Events(publisher, Places(project="proj", prefix="p"), deployment="prod")


def a_finished_run() -> Run:
    attempt = Attempt(
        number=1, lane="vertex-t4", region="us-central1", claim_id="c", intended_at=NOW,
        display_name="ech0-smollm2-finetune-20260301-120000", job_name=JOB_NAME,
    )  # fmt: skip
    model = Model(
        uri="gs://p-models/ech0/x/",
        base_model=BaseModel(name="smollm2", revision="1"),
        artifacts=(Artifact(name="a", generation=1, size_bytes=1, sha256="0" * 64),),
        metrics=METRICS,
        gate=Gate(passed=True),
    )
    run = a_run().advance(
        RunState.SUBMITTING, at=NOW + timedelta(minutes=1), reason="Asking.", by="submitter"
    )
    run = run.with_attempt(attempt).advance(
        RunState.RUNNING, at=NOW + timedelta(minutes=2), reason="Launched.", by="submitter"
    )
    return run.advance(
        RunState.SUCCEEDED, at=NOW + timedelta(hours=1), reason="Done.", by="c", model=model
    )


def test_the_latest_event_tells_what_the_run_holds_now() -> None:
    run = a_finished_run()
    event = event_of(run, run.history[-1])
    assert (event.seq, event.state, event.previous) == (4, "succeeded", "running")
    assert (event.attempt, event.job_name) == (1, JOB_NAME)
    assert event.model_uri == "gs://p-models/ech0/x/"
    assert (event.metrics, event.gate) == (METRICS, Gate(passed=True))


def test_the_last_event_tells_what_the_run_took() -> None:
    run = a_finished_run()
    event = event_of(run, run.history[-1])
    assert (event.seconds_waited, event.seconds_trained, event.usd) == (3600, 0, 0)


def test_no_earlier_event_tells_what_the_run_took() -> None:
    run = a_finished_run()
    running = event_of(run, run.history[2])
    open_run = event_of(a_run(), a_run().history[0])
    for event in (running, open_run):
        assert {event.seconds_waited, event.seconds_trained, event.usd} == {None}


def test_an_older_event_does_not_tell_what_came_later() -> None:
    run = a_finished_run()
    event = event_of(run, run.history[1])
    assert (event.seq, event.state, event.previous) == (2, "submitting", "requested")
    assert (event.reason, event.at) == ("Asking.", NOW + timedelta(minutes=1))
    assert {event.attempt, event.job_name, event.wait, event.model_uri, event.metrics} == {None}


def test_a_waiting_run_tells_why_in_figures() -> None:
    wait = Wait(
        lane="vertex-t4", region="us-central1", needs={"m": 1}, has={"m": 0}, next_check_at=NOW
    )
    run = a_run().advance(RunState.WAITING, at=NOW, reason="Full.", by="submitter", wait=wait)
    assert event_of(run, run.history[-1]).wait == wait


def test_the_unpublished_changes_are_published_in_order(
    events: Events, publisher: RecordingPublisher
) -> None:
    events.publish_changes(a_finished_run().evolve(published_seq=2))
    assert [topic for topic, _ in publisher.published] == ["projects/proj/topics/run-events"] * 2
    assert [message.attributes["seq"] for _, message in publisher.published] == ["3", "4"]
    bodies = [msgspec.json.decode(m.data, type=RunEvent) for _, m in publisher.published]
    assert [body.state for body in bodies] == ["running", "succeeded"]


def test_nothing_new_publishes_nothing(events: Events, publisher: RecordingPublisher) -> None:
    events.publish_changes(a_run(published_seq=1))
    assert publisher.published == []


def test_a_run_event_is_a_complete_cloud_event(
    events: Events, publisher: RecordingPublisher
) -> None:
    run = a_run()
    events.publish_changes(run)
    [(_, message)] = publisher.published
    assert dict(message.attributes) == {
        "ce-specversion": "1.0",
        "ce-type": "run.requested",
        "ce-id": f"{run.run_id}-1",
        "ce-source": "//ech0-tuner/prod",
        "ce-subject": f"runs/{run.run_id}",
        "ce-time": "2026-03-01T12:00:00+00:00",
        "content-type": "application/json",
        "run_id": run.run_id,
        "persona": "ech0",
        "state": "requested",
        "seq": "1",
    }


def some_progress(**changes: Any) -> RunProgress:
    progress = RunProgress(
        run_id="r1", persona="ech0", attempt=2, after_seq=4, phase="training", step=12, steps=40,
        loss=2.5, seconds=61.5, at=NOW,
    )  # fmt: skip
    return msgspec.structs.replace(progress, **changes)


def test_progress_is_a_complete_cloud_event_without_a_number_of_its_own(
    events: Events, publisher: RecordingPublisher
) -> None:
    """It is no state change: a consumer that counts `seq` must not miss one for it."""
    events.publish_progress([some_progress()])
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/run-events"
    assert dict(message.attributes) == {
        "ce-specversion": "1.0",
        "ce-type": "run.progress",
        "ce-id": "r1-2-training-12",
        "ce-source": "//ech0-tuner/prod",
        "ce-subject": "runs/r1",
        "ce-time": "2026-03-01T12:00:00+00:00",
        "content-type": "application/json",
        "run_id": "r1",
        "persona": "ech0",
    }
    assert msgspec.json.decode(message.data, type=RunProgress) == some_progress()


def test_no_progress_publishes_nothing(events: Events, publisher: RecordingPublisher) -> None:
    events.publish_progress([])
    assert publisher.published == []


def test_ordered_events_carry_their_runs_id_as_the_key_and_others_none(
    publisher: RecordingPublisher,
) -> None:
    events = Events(publisher, Places(project="proj", prefix="p"), deployment="prod", ordered=True)
    run = a_run()
    events.publish_changes(run)
    events.publish_progress([some_progress()])
    events.publish_rejection(a_rejection())
    events.publish_request(a_request())
    keys = [message.ordering_key for _, message in publisher.published]
    assert keys == [run.run_id, "r1", "", ""]


def test_events_are_not_ordered_unless_that_is_asked_for(
    events: Events, publisher: RecordingPublisher
) -> None:
    """A key holds up the delivery of all that follow: only who wants that pays for it."""
    events.publish_changes(a_run())
    assert [message.ordering_key for _, message in publisher.published] == [""]


def test_a_promotion_is_a_complete_cloud_event(
    events: Events, publisher: RecordingPublisher
) -> None:
    move = ModelPromoted(
        persona="ech0", run_id="r1", model_uri="gs://p-models/ech0/x", previous_run_id=None,
        move=3, by="person:mo", at=NOW,
    )  # fmt: skip
    events.publish_promotions([move])
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/run-events"
    assert dict(message.attributes) == {
        "ce-specversion": "1.0",
        "ce-type": "model.promoted",
        "ce-id": "promoted-ech0-r1-3",
        "ce-source": "//ech0-tuner/prod",
        "ce-subject": "models/ech0",
        "ce-time": "2026-03-01T12:00:00+00:00",
        "content-type": "application/json",
        "run_id": "r1",
        "persona": "ech0",
    }
    assert msgspec.json.decode(message.data, type=ModelPromoted) == move


def a_rejection(**changes: Any) -> UploadRejected:
    rejected = UploadRejected(
        persona="ech0", name="a.json", generation="7", reason="The file is empty",
        place="the file", fix="Export it again.", at=NOW,
    )  # fmt: skip
    return msgspec.structs.replace(rejected, **changes)


def test_a_rejection_is_a_complete_cloud_event(
    events: Events, publisher: RecordingPublisher
) -> None:
    events.publish_rejection(a_rejection())
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/run-events"
    assert dict(message.attributes) == {
        "ce-specversion": "1.0",
        "ce-type": "upload.rejected",
        "ce-id": "ech0/a.json-7",
        "ce-source": "//ech0-tuner/prod",
        "ce-subject": "uploads/ech0",
        "ce-time": "2026-03-01T12:00:00+00:00",
        "content-type": "application/json",
        "persona": "ech0",
    }
    assert msgspec.json.decode(message.data, type=UploadRejected) == a_rejection()


def an_alarm(**changes: Any) -> AlarmRaised:
    alarm = AlarmRaised(
        name="untrusted-result", run_id="r1", persona="ech0", attempt=2, reason="No.", at=NOW
    )
    return msgspec.structs.replace(alarm, **changes)


def test_an_alarm_is_a_complete_cloud_event(events: Events, publisher: RecordingPublisher) -> None:
    events.publish_alarm(an_alarm(), cause="r1-2")
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/run-events"
    assert dict(message.attributes) == {
        "ce-specversion": "1.0",
        "ce-type": "alarm.raised",
        "ce-id": "alarm-untrusted-result-r1-2",
        "ce-source": "//ech0-tuner/prod",
        "ce-subject": "runs/r1",
        "ce-time": "2026-03-01T12:00:00+00:00",
        "content-type": "application/json",
        "run_id": "r1",
        "persona": "ech0",
    }
    assert msgspec.json.decode(message.data, type=AlarmRaised) == an_alarm()


def test_an_alarm_of_no_known_run_names_no_persona(
    events: Events, publisher: RecordingPublisher
) -> None:
    """Pub/Sub takes no empty attribute."""
    events.publish_alarm(an_alarm(persona=None, attempt=None), cause="r1")
    [(_, message)] = publisher.published
    assert "persona" not in message.attributes
    assert message.attributes["ce-id"] == "alarm-untrusted-result-r1"


def test_an_alarm_of_no_run_has_no_empty_attribute(
    events: Events, publisher: RecordingPublisher
) -> None:
    """Pub/Sub takes none; a consumer finds an empty `run_id` in the body."""
    events.publish_alarm(an_alarm(name="no-tick", run_id="", persona=None), cause="submitter-1")
    [(_, message)] = publisher.published
    assert all(message.attributes.values())
    assert message.attributes["ce-subject"] == "alarms/no-tick"
    assert message.attributes["ce-id"] == "alarm-no-tick-submitter-1"
    assert json.loads(message.data)["run_id"] == ""


def test_a_request_is_published_as_the_contract_reads_it(
    events: Events, publisher: RecordingPublisher
) -> None:
    events.publish_request(a_request())
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/training-requests"
    assert decode_request(message.data) == a_request()
    assert dict(message.attributes) == {"persona": "ech0"}


def a_letter(body: bytes, reason: str = "No.") -> DeadLetter:
    return DeadLetter.of(
        Message(data=body), source="submitter", error=MalformedMessage(reason), at=NOW
    )


def test_a_dead_letter_keeps_the_body_and_the_reason(
    events: Events, publisher: RecordingPublisher
) -> None:
    events.publish_dead_letter(a_letter(b'{"persona": 7}', "Expected `str` - at `$.persona`."))
    [(topic, message)] = publisher.published
    assert topic == "projects/proj/topics/dead-letters"
    letter = msgspec.json.decode(message.data, type=DeadLetter)
    assert (letter.body, letter.source) == ('{"persona": 7}', "submitter")
    assert dict(message.attributes) == {
        "source": "submitter",
        "reason": "Expected `str` - at `$.persona`.",
    }


@given(body=st.binary(max_size=100), reason=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_body_and_reason_make_a_dead_letter_that_pubsub_takes(body: bytes, reason: str) -> None:
    publisher = RecordingPublisher()
    events = Events(publisher, Places(project="proj", prefix="p"), deployment="prod")
    events.publish_dead_letter(a_letter(body * 20_000, reason * 500))
    [(_, message)] = publisher.published
    json.loads(message.data)
    assert len(message.data) < 10_000_000
    assert all(len(value.encode()) <= 1024 for value in message.attributes.values())


def test_a_long_reason_is_cut_between_characters(
    events: Events, publisher: RecordingPublisher
) -> None:
    """Pub/Sub refuses attributes above 1024 bytes: the letter would be lost, and its reason."""
    events.publish_dead_letter(a_letter(b"", "unknown field " + "é" * 5_000_000))
    [(_, message)] = publisher.published
    assert len(message.attributes["reason"].encode()) == 1024
    assert message.attributes["reason"].endswith("é")
    assert len(message.data) < 10_000


def test_the_longest_object_name_fits_the_attributes_of_a_rejection(
    events: Events, publisher: RecordingPublisher
) -> None:
    events.publish_rejection(a_rejection(persona="é" * 500, name="ü" * 500))
    [(_, message)] = publisher.published
    assert all(len(value.encode()) <= 1024 for value in message.attributes.values())


@pytest.mark.parametrize(
    "type_", [RunEvent, RunProgress, ModelPromoted, UploadRejected, AlarmRaised]
)
def test_events_have_no_field_for_conversation_text(type_: type[msgspec.Struct]) -> None:
    """A new field here is a decision: may every consumer of events see it?"""
    known = {
        "schema_version", "run_id", "persona", "seq", "state", "previous", "reason", "at",
        "attempt", "job_name", "wait", "model_uri", "metrics", "gate",
        "seconds_waited", "seconds_trained", "usd",
        "name", "generation", "place", "fix",
        "previous_run_id", "move", "by", "although_held", "warnings",
        "after_seq", "phase", "step", "steps", "loss", "seconds",
    }  # fmt: skip
    assert set(type_.__struct_fields__) <= known


def test_a_long_history_is_published_in_calls_that_pubsub_takes(
    events: Events, publisher: RecordingPublisher
) -> None:
    """A run that waited for weeks may have more changes than one call may carry."""
    run = a_run()
    for number in range(1200):
        run = run.remark(at=NOW, reason=f"reason {number}", by="submitter", wait=None)
    events.publish_changes(run)
    seqs = [int(message.attributes["seq"]) for _, message in publisher.published]
    assert seqs == list(range(1, 1202))
