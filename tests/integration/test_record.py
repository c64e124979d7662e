"""What is told of a run afterwards: inputs, attempts, time, dollars, warnings."""

from __future__ import annotations

import hashlib
import json

import pytest

from support.typing_tuner import Tuner, connection_of
from tuner.accounts import Summary, summary_of
from tuner.publication import ModelCard
from tuner.runs import RunState
from tuner.training_job import decode


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


def finished(world, **changes):
    run_id = world.ask(**changes)
    world.tick()
    return world.finish(run_id)


def card(world, run):
    bucket = world.storage.bucket(world.places.models_bucket_name)
    folder = run.model.uri.removeprefix(f"gs://{bucket.name}/")
    return decode(bucket.blob(f"{folder}/run.json").download_as_bytes(), ModelCard)


def test_the_record_holds_the_digest_of_the_receipt_that_it_was_accepted_with(world):
    run = finished(world)
    prefix = world.places.dataset_prefix(run.persona, run.request.dataset_id)
    receipt = world.storage.bucket(world.places.work_bucket_name).blob(f"{prefix}/receipt.json")
    assert run.receipt_sha256 == hashlib.sha256(receipt.download_as_bytes()).hexdigest()
    assert card(world, run).receipt_sha256 == run.receipt_sha256


def test_run_json_tells_what_the_record_tells(world):
    world.trainer("succeed", _1="no_result")
    run = finished(world)
    told = card(world, run)
    assert told.summary == summary_of(run, world.clock())
    assert [attempt.end_reason for attempt in told.summary.attempts][-1] == "succeeded"
    assert len(told.summary.attempts) == 2
    assert (told.gate, told.metrics) == (run.model.gate, run.model.metrics)


def test_the_last_event_tells_the_time_and_the_dollars_of_the_record(world):
    run = finished(world)
    took = summary_of(run, world.clock())
    last = world.events(run.run_id)[-1]
    told = (last.seconds_waited, last.seconds_trained, last.usd)
    assert told == (took.seconds_waited, took.seconds_trained, took.usd)


def test_completing_again_after_run_json_was_written_uses_the_same_folder(world):
    """It is created before the copies, by a completion that may die then, of an earlier release."""
    run_id = world.ask()
    world.launch()
    world.until_jobs_end()
    stored, completion = world.open_run(run_id), world.controller.completion
    completion._records.save = None
    with pytest.raises(TypeError):
        completion._reconcile(stored)
    models = world.places.models_bucket_name
    [name] = [name for name in world.names(models) if name.endswith("/run.json")]
    known = ("schema_version", "run_id", "persona", "attempt", "dataset_id", "display_name")
    old = {field: value for field, value in world.read(models, name).items() if field in known}
    world.storage.bucket(models).blob(name).upload_from_string(json.dumps(old))
    world.clock.advance(hours=1)
    world.controller = world.new_controller()
    run = world.finish(run_id)
    assert run.state is RunState.SUCCEEDED
    assert not run.model.uri.endswith(run_id), "the folder with the run's id is for strangers"
    assert card(world, run).summary is None, "it stays as it was written"


def test_a_gate_that_warns_promotes_and_says_so_everywhere(world, tuner):
    world.trainer("warns")
    run = finished(world)
    warning = "Two replies of eight are cut short."
    assert run.state is RunState.SUCCEEDED
    assert run.reason.startswith(f"Verified, with a warning: {warning} Held-out loss fell")
    pointer = world.read(world.places.models_bucket_name, "nan/latest.json")
    assert pointer["run_id"] == run.run_id
    assert card(world, run).gate.warnings == (warning,)
    assert world.events(run.run_id)[-1].gate.warnings == (warning,)
    assert f"warning: {warning}" in tuner("show", run.run_id).out


# -- tuner show ------------------------------------------------------------------------------------


def test_show_tells_inputs_attempts_time_and_dollars(world, tuner):
    run = finished(world)
    said = tuner("show", run.run_id[:8])
    assert "asked for by system test: smollm2-135m on dataset" in said.out
    assert f"receipt {run.receipt_sha256[:12]}…" in said.out
    assert "attempt 1: vertex-t4 in us-central1, job " in said.out
    assert "of an estimated $" in said.out
    assert "cost $" in said.out
    assert "https://" not in said.out, "Google's console shows nothing of this machine"


def test_show_links_to_the_job_and_its_logs_on_google_cloud(world, tuner):
    run = finished(world)
    tuner.talk_to(connection_of(world, TUNER_VERTEX_ENDPOINT=""))
    _, project, *_, job_id = run.attempt.job_name.split("/")
    out = tuner("show", run.run_id).out
    assert f"vertex-ai/locations/us-central1/training/{job_id}?project={project}" in out
    assert f"job_id%3D%22{job_id}%22" in out


def test_show_as_json_is_the_record_with_its_summary(world, tuner):
    run = finished(world)
    told = tuner("show", run.run_id, "--json").json
    assert told["run_id"] == run.run_id
    assert "audit" not in told
    expected = summary_of(run, world.clock(), links=False)
    assert told["summary"]["seconds_waited"] == expected.seconds_waited
    assert set(told["summary"]) == set(Summary.__struct_fields__)


# -- history ---------------------------------------------------------------------------------------


def test_the_history_tells_what_operators_did_and_who(world, tuner):
    world.shut_quota()
    run_id = world.ask()
    world.tick()
    for words in (("priority", run_id, "5"), ("wake", run_id), ("cancel", run_id)):
        world.clock.advance(minutes=1)
        assert tuner(*words).code == 0
    world.tick(minutes=1)
    world.clock.advance(minutes=1)
    assert tuner("retry", run_id).code == 0
    out = tuner("show", run_id, "--history").out
    told = [
        "Priority set to 5 by mo",
        "To be looked at afresh at the next pass.",
        "Cancelled by its owner",
        "Asked for again, as run ",
    ]
    places = [out.index(text) for text in told]
    assert places == sorted(places), "by time"
    assert out.count("(person:mo)") == 4
    assert "To be looked at" not in tuner("show", run_id).out


def test_the_history_of_an_ended_run_grows_while_its_record_stays(world, tuner):
    run = finished(world)
    before = world.generations()
    tuner("retry", run.run_id)
    after = world.generations()
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert {name.split("/")[0] for name in added} == {"audit"}
    [note] = tuner("show", run.run_id, "--history", "--json").json["audit"]
    assert (note["action"], note["by"]) == ("retried", "person:mo")
    assert note["text"].startswith("Asked for again, as run ")


def test_a_parked_run_that_is_taken_up_with_all_others_is_noted(world, tuner):
    run_id = world.ask()
    stored = world.open_run(run_id)
    world.controller.ledger.replace(stored, stored.run.evolve(parked=True, errors=5))
    tuner("wake")
    [note] = tuner("show", run_id, "--history", "--json").json["audit"]
    assert (note["action"], note["by"]) == ("woken", "person:mo")


def test_a_note_that_cannot_be_read_is_named_and_hides_nothing(world, tuner):
    run_id = world.ask()
    tuner("wake", run_id)
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    bucket.blob(f"audit/{run_id}/19990101-x.json").upload_from_string(b"{")
    said = tuner("show", run_id, "--history")
    assert said.code == 0, said.err
    assert f"The note audit/{run_id}/19990101-x.json cannot be read." in said.out
    assert "To be looked at afresh" in said.out
