"""`tuner promote` as a person types it: which adapter a persona uses, by hand."""

from __future__ import annotations

import pytest

from console import promoting
from console.promoting import promote_run, seen_latest
from support.typing_tuner import Tuner
from tuner.runs import RunState


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


def finished(world, **changes):
    run_id = world.ask(**changes)
    world.tick(minutes=1)
    return world.finish(run_id)


def pointer(world):
    return world.read(world.places.models_bucket_name, "nan/latest.json")


def audit(tuner, run):
    told = tuner("show", run.run_id, "--history", "--json").json["audit"]
    return [(note["action"], note["by"], note["text"]) for note in told]


def held(world, **changes):
    world.trainer("gate_fails")
    run = finished(world, **changes)
    assert run.state is RunState.HELD
    world.trainer("succeed")
    return run


def test_going_back_by_hand_is_recorded_with_who_and_when(world, tuner):
    old, new = finished(world), finished(world, rerun=1)
    before = world.run(old.run_id)
    said = tuner("promote", old.run_id[:8])
    assert said.code == 0, said.err
    assert said.out == f"nan/latest.json points to {old.run_id}; it was {new.run_id}.\n"
    assert pointer(world)["run_id"] == old.run_id
    assert pointer(world)["model_uri"] == old.model.uri
    assert pointer(world)["promoted_by"] == "person:mo"
    at = pointer(world)["promoted_at"].replace("Z", "+00:00")
    assert at == world.clock().isoformat()
    text = f"nan/latest.json moved to it by hand; it pointed to {new.run_id}."
    assert audit(tuner, old) == [("promoted", "person:mo", text)]
    assert world.run(old.run_id) == before, "its record stays"
    assert text in tuner("show", old.run_id, "--history").out


def test_ticks_leave_what_was_chosen_and_a_newer_run_that_passes_moves_it_on(world, tuner):
    old, _ = finished(world), finished(world, rerun=1)
    tuner("promote", old.run_id)
    world.tick(2, minutes=1)
    assert pointer(world)["run_id"] == old.run_id
    newer = finished(world, rerun=2)
    assert pointer(world)["run_id"] == newer.run_id
    assert pointer(world)["promoted_by"] is None


def test_promoting_what_is_used_already_changes_nothing(world, tuner):
    run = finished(world)
    before = pointer(world)
    said = tuner("promote", run.run_id)
    assert (said.code, "already" in said.out) == (0, True)
    assert pointer(world) == before
    assert audit(tuner, run) == []


def test_a_held_run_is_not_promoted_unless_said(world, tuner):
    finished(world)
    run = held(world, rerun=1)
    said = tuner("promote", run.run_id, "--yes")
    assert said.code == 2
    assert "Held-out loss rose from 3.00 to 4.00. Say --although-held" in said.err
    assert pointer(world)["run_id"] != run.run_id


def test_a_held_run_is_promoted_when_it_is_said_and_the_question_answered(world, tuner):
    first, run = finished(world), held(world, rerun=1)
    said = tuner("promote", run.run_id, "--although-held", stdin="n\n")
    assert said.code == 1
    assert "Held: Held-out loss rose from 3.00 to 4.00." in said.err
    assert f"points to {first.run_id}. Move it to {run.run_id}?" in said.err
    assert pointer(world)["run_id"] == first.run_id
    assert tuner("promote", run.run_id, "--although-held", stdin="y\n").code == 0
    assert pointer(world)["run_id"] == run.run_id
    [(action, _, text)] = audit(tuner, run)
    assert (action, "although it is held" in text) == ("promoted", True)


def test_a_program_that_says_yes_is_not_asked(world, tuner):
    run = held(world)
    told = tuner("promote", run.run_id, "--although-held", "--yes", "--json").json
    assert (told["moved"], told["previous_run_id"]) == (True, None)
    assert told["latest"]["run_id"] == pointer(world)["run_id"] == run.run_id


def test_a_run_without_an_adapter_is_not_promoted(world, tuner):
    run_id = world.ask()
    said = tuner("promote", run_id)
    assert (said.code, "is requested and has no adapter" in said.err) == (2, True)


def test_a_run_of_another_persona_is_not_promoted(world, tuner):
    run = finished(world)
    said = tuner("promote", run.run_id, "--persona", "ech0")
    assert (said.code, f"{run.run_id} is of persona nan, not of ech0." in said.err) == (2, True)


def test_an_adapter_that_lies_with_another_persona_is_not_promoted(world, tuner):
    """Only somebody who writes the ledger could have said so."""
    run = finished(world)
    name = f"runs/{run.run_id}.json"
    blob = world.storage.bucket(world.places.runs_bucket_name).blob(name)
    blob.upload_from_string(blob.download_as_bytes().replace(b"-models/nan/", b"-models/ech0/"))
    before = pointer(world)
    said = tuner("promote", run.run_id)
    assert (said.code, "is not a place of persona nan's adapters" in said.err) == (1, True)
    assert pointer(world) == before


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("gone", "adapter/adapter_config.json is gone"),
        ("longer", "adapter/adapter_config.json has {longer} bytes, not {size}"),
        ("anew", "adapter/adapter_config.json was written anew since"),
    ],
)
def test_copies_that_are_gone_or_changed_are_named_and_not_promoted(world, tuner, harm, words):
    old, new = finished(world), finished(world, rerun=1)
    bucket = world.storage.bucket(world.places.models_bucket_name)
    folder = old.model.uri.removeprefix(f"gs://{bucket.name}/")
    blob = bucket.blob(f"{folder}/adapter/adapter_config.json")
    content = blob.download_as_bytes()
    if harm == "gone":
        bucket.delete_blob(blob.name)
    else:
        blob.upload_from_string(content + b" " * (harm == "longer"))
    said = tuner("promote", old.run_id)
    assert said.code == 1
    assert words.format(size=len(content), longer=len(content) + 1) in said.err
    assert said.err.count("adapter_") == 1, "only what is wrong is named"
    assert pointer(world)["run_id"] == new.run_id
    assert audit(tuner, old) == []


def test_a_pointer_that_is_moved_at_the_same_moment_is_left_and_both_are_noted(
    world, tuner, monkeypatch
):
    old, new = finished(world), finished(world, rerun=1)
    third = held(world, rerun=2)
    seen = seen_latest(tuner.connection, "nan")

    def overtaken(connection, persona):
        promote_run(connection, third, third.model, seen)
        return seen

    monkeypatch.setattr("console.promote_command.seen_latest", overtaken)
    said = tuner("promote", old.run_id)
    assert said.code == 1
    assert f"was moved to {third.run_id} at the same moment" in said.err
    assert pointer(world)["run_id"] == third.run_id
    assert [action for action, *_ in audit(tuner, old)] == ["promoted", "not promoted"]
    assert new.run_id in audit(tuner, old)[0][2]


def test_there_is_no_promotion_without_its_note(world, tuner, monkeypatch):
    old, new = finished(world), finished(world, rerun=1)

    def dies(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(promoting, "note", dies)
    with pytest.raises(KeyboardInterrupt):
        promote_run(tuner.connection, old, old.model, seen_latest(tuner.connection, "nan"))
    assert pointer(world)["run_id"] == new.run_id
