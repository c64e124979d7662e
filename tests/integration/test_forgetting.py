"""`tuner forget PERSONA`: nothing of it is left, nothing of another is touched, dying or not."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec
import pytest

import console.forgetting_command  # noqa: F401  (so that its `connect` is replaced)
from console.errors import ConsoleError
from console.forgetting import REMAINS, Forgetting
from support.controllers import Death, Killed, _Session
from support.storage_servers import storage_client
from support.typing_tuner import Tuner, connection_of
from support.world import conversation
from tuner.persona_settings import settings_name
from tuner.runs import RunState

#: Words of a persona's texts, and of the names of its files.
TEXT, FILE = "marmalade", "letters-to-anna"


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


def everything(world):
    """Every object's content, by bucket and name."""
    places = world.places
    return {
        (bucket, blob.name): blob.download_as_bytes()
        for bucket in (
            places.uploads_bucket_name, places.work_bucket_name,
            places.models_bucket_name, places.runs_bucket_name,
        )
        for blob in world.storage.list_blobs(bucket)
    }  # fmt: skip


def of_persona(world, persona):
    """What names a persona as a folder or as a whole, or quotes its texts or files."""
    return {
        where: content
        for where, content in everything(world).items()
        if {persona, f"{persona}.json", f"{persona}.toml"} & set(where[1].split("/"))
        or (TEXT.encode() in content or FILE.encode() in content)
    }


def lived(world, persona="ech", *, text=TEXT, file=FILE):
    """A persona that has everything: settings, uploads, a rejection, a run with an adapter."""
    folder = "" if persona == "default" else f"{persona}/"
    runs = world.storage.bucket(world.places.runs_bucket_name)
    runs.blob(settings_name(persona)).upload_from_string('system_prompt = "You are kind."\n')
    converter = world.controller.converter
    converter.convert_upload(world.drop(b"{}", f"{folder}{file}-bad.json"))
    converter.convert_upload(world.drop(b"{}", f"{folder}{file}{'x' * 980}.json"))
    request = converter.convert_upload(world.drop(conversation(text=text), f"{folder}{file}.json"))
    run_id = world.controller.submitter.record(request).run.run_id
    world.tick()
    assert world.finish(run_id).state is RunState.SUCCEEDED
    world.storage.bucket(world.places.work_bucket_name).blob(
        f"runs/{run_id}/checkpoints/1/text"
    ).upload_from_string(text)
    return request, run_id


def without_passes(objects):
    return {where: content for where, content in objects.items() if "passes/" not in where[1]}


def check_forgotten(world, run_id, persona="ech"):
    left = of_persona(world, persona)
    assert left == {}, sorted(left)
    assert [n for n in world.names(world.places.work_bucket_name) if run_id in n] == []
    run = world.run(run_id)
    assert run.state is RunState.SUCCEEDED
    assert run.request.requested_by.reference.startswith("(forgotten)#")
    assert (run.seq, len(run.history)) == (4, 4)


def test_everything_of_a_persona_goes_and_nothing_of_another(world, tuner):
    for other in ("ech0", "e", "default"):
        lived(world, other, text="chess", file="other")
    others = everything(world)
    _, run_id = lived(world)
    said = tuner("forget", "ech", "--yes", "--json")
    assert said.code == 0, said.err
    check_forgotten(world, run_id)
    now = everything(world)
    of_nobody = ("locks/", "lanes/", "quota/", "spend/", "passes/")
    told = {w: c for w, c in others.items() if not w[1].startswith(of_nobody)}
    assert {w: now.get(w) for w in told} == told
    report = said.json
    assert report["removed"].keys() == {
        "uploads", "memory", "datasets", "rejected uploads", "runs", "adapters", "ledger",
    }  # fmt: skip
    assert all(each["objects"] > 0 and each["bytes"] > 0 for each in report["removed"].values())
    assert report["records_stripped"] == 1
    assert report["remains"] == list(REMAINS)


def test_the_persona_without_a_folder_is_forgotten_too(world, tuner):
    lived(world, "ech0", text="chess", file="other")
    others = {w for w in everything(world) if "/" in w[1]}
    lived(world, "default")
    assert tuner("forget", "default", "--yes").code == 0
    left = {w for w, content in of_persona(world, "default").items() if TEXT.encode() in content}
    assert left == set()
    assert world.names(world.places.uploads_bucket_name) == sorted(
        name for bucket, name in others if bucket == world.places.uploads_bucket_name
    )
    assert others <= set(everything(world))


def test_its_name_is_asked_for_and_nothing_goes_without_it(world, tuner):
    _, run_id = lived(world)
    before = everything(world)
    said = tuner("forget", "ech", stdin="ech0\n")
    assert said.code == 2
    assert "nothing was removed" in said.err
    assert everything(world) == before
    said = tuner("forget", "ech", stdin="ech\n")
    assert said.code == 0, said.err
    assert "What remains:" in said.out
    check_forgotten(world, run_id)
    assert "Nothing of ech is left" in tuner("forget", "ech").out


def test_an_open_run_is_in_the_way(world, tuner):
    world.trainer("hang")
    run_id = world.ask("ech")
    before = everything(world)
    said = tuner("forget", "ech", "--yes")
    assert said.code == 2
    assert f"{run_id} of ech has not ended" in said.err
    assert everything(world) == before


def test_cancel_ends_it_first_and_waits(world, tuner):
    world.trainer("hang")
    run_id = world.ask("ech")
    world.tick()
    world.until_training(run_id)
    stop = threading.Event()

    def ticks():
        while not stop.wait(0.1):
            world.tick(seconds=1)

    thread = threading.Thread(target=ticks)
    thread.start()
    try:
        said = tuner("forget", "ech", "--yes", "--cancel")
    finally:
        stop.set()
        thread.join()
    assert said.code == 0, said.err
    assert world.state(run_id) is RunState.CANCELLED
    assert of_persona(world, "ech") == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--upload", "a", "--pair", "0" * 16), "--upload NAME or --pair ID"),
        (("--upload", "a", "--yes"), "whole persona"),
    ],
)
def test_options_that_contradict_are_refused(tuner, words, told):
    said = tuner("forget", "ech", *words)
    assert said.code == 2
    assert told in said.err


def test_a_late_request_does_not_bring_it_back(world, tuner):
    request, run_id = lived(world)
    assert tuner("forget", "ech", "--yes").code == 0
    world.controller.submitter.record(request)
    assert world.state(run_id) is RunState.SUCCEEDED, "it is the run that has ended"
    again = world.controller.submitter.record(msgspec.structs.replace(request, rerun=1)).run.run_id
    world.tick(minutes=1)
    run = world.run(again)
    assert run.state is RunState.REJECTED
    assert "Persona ech has no dataset" in run.reason
    assert world.jobs(again) == []


def test_a_late_notification_does_not_bring_it_back(world, tuner):
    upload = world.drop(conversation(text=TEXT), f"ech/{FILE}.json")
    world.controller.converter.convert_upload(upload)
    assert tuner("forget", "ech", "--yes").code == 0
    assert world.controller.converter.convert_upload(upload) is None
    assert world.controller.sweep.run() == 0
    assert {w for w, c in everything(world).items() if TEXT.encode() in c} == set()


def test_what_comes_in_meanwhile_is_told(world, monkeypatch):
    lived(world)
    forgetting = Forgetting(connection_of(world), "ech")
    delete = forgetting._delete

    def and_one_comes(*arguments):
        delete(*arguments)
        world.drop(conversation(), "ech/more.json")

    monkeypatch.setattr(forgetting, "_delete", and_one_comes)
    with pytest.raises(ConsoleError, match="was added for ech meanwhile"):
        forgetting.forget()


def test_a_run_that_no_record_tells_of_is_found_by_its_orders(world, tuner):
    _, run_id = lived(world)
    world.storage.bucket(world.places.runs_bucket_name).delete_blob(f"runs/{run_id}.json")
    assert tuner("forget", "ech", "--yes").code == 0
    assert of_persona(world, "ech") == {}
    assert [n for n in world.names(world.places.work_bucket_name) if run_id in n] == []


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_it_may_die_at_any_call_and_is_run_again(world, record):
    """One world: each death goes a little further than the one before, from wherever that was."""
    _, run_id = lived(world)
    lived(world, "ech0", text="chess", file="other")
    others = {w for w in everything(world) if "ech0" in w[1].split("/")}
    if record == "lost":  # the orders of its attempts alone tell whose run it is
        world.storage.bucket(world.places.runs_bucket_name).delete_blob(f"runs/{run_id}.json")
    number, died = 0, True
    while died:
        number += 1
        death = Death(at=number)
        client = storage_client(world.shared.storage_endpoint, _Session(death.before))
        connection = replace(connection_of(world), storage=client)
        try:
            Forgetting(connection, "ech").forget()
            died = False
        except Killed:
            pass
    assert number > 15
    if record == "kept":
        check_forgotten(world, run_id)
    assert of_persona(world, "ech") == {}
    assert [n for n in world.names(world.places.work_bucket_name) if run_id in n] == []
    assert others <= set(everything(world))
