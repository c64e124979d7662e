"""The converter streams: what an upload may be, and that the way of a large one changes nothing."""

import gc
import gzip
import hashlib
import json
import tracemalloc

import pytest

from support.controllers import Death, Killed
from support.reading import jsonl
from support.world import conversation
from tuner.conversations.sources import CHUNK_BYTES
from tuner.dataset import draft
from tuner.persona_settings import PersonaSettings, read_persona_settings, settings_name
from tuner.training_job import dataset_digest

CHAT = "\n".join(
    f"[2026-03-01, 10:{minute:02}:00] {name}: {text} {minute}"
    for minute in range(0, 40, 2)
    for name, text in (("Ada", "and what about"), ("Grandma", "well, dear,"))
)


@pytest.fixture
def small_limits(monkeypatch):
    """What is held, and sent at once, is small: so is an upload that is large."""
    monkeypatch.setattr(draft.Drafting.__init__, "__defaults__", (256 << 10,))
    monkeypatch.setattr("tuner.dataset.segments._HELD_BYTES", 256 << 10)
    monkeypatch.setattr("tuner.dataset.upload._CHUNK_BYTES", 256 << 10)


def large_upload(pairs: int = 3_000, start: int = 0) -> bytes:
    """About 1.2 MB: more than `small_limits` lets a draft hold."""
    return upload_of(pairs, start, words="and so it goes, with tea and a little rain, " * 4)


def upload_of(pairs: int, start: int, *, words: str) -> bytes:
    rows = [
        {"user": f"Question {n}? {words}", "ech0": f"Answer {n}: {words}.", "timestamp": "t"}
        for n in range(start, start + pairs)
    ]
    return json.dumps({"conversations": rows, "total_interactions": pairs}).encode()


def dataset_of(world, request):
    """(train, eval, receipt) of a request's dataset."""
    bucket = world.storage.bucket(world.places.work_bucket_name)
    prefix = world.places.dataset_prefix(request.persona, request.dataset_id)
    train, held_out, receipt = (
        bucket.blob(f"{prefix}/{name}").download_as_bytes()
        for name in ("train.jsonl", "eval.jsonl", "receipt.json")
    )
    return train, held_out, json.loads(receipt)


def settle(world, persona, text):
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    bucket.blob(settings_name(persona)).upload_from_string(text)


def rejection_of(world, upload):
    assert world.controller.converter.convert_upload(upload) is None
    [name] = world.names(world.places.work_bucket_name, "rejected/")
    return world.read(world.places.work_bucket_name, name)


def test_a_large_upload_makes_the_dataset_that_it_would_make_if_it_were_held(
    world, small_limits, monkeypatch
):
    upload = world.drop(large_upload())
    streamed = world.controller.converter.convert_upload(upload)
    train, held_out, receipt = dataset_of(world, streamed)
    assert len(train) > 2 * (256 << 10)
    assert dataset_digest(train, held_out) == streamed.dataset_id
    assert receipt["pairs"] == receipt["kept"] == receipt["train"] + receipt["eval"] == 3_000
    assert (train.count(b"\n"), held_out.count(b"\n")) == (receipt["train"], receipt["eval"])

    monkeypatch.setattr(draft.Drafting.__init__, "__defaults__", (1 << 30,))
    held = world.controller.converter.convert_upload(world.drop(large_upload(), "other/x.json"))
    assert held.dataset_id == streamed.dataset_id
    assert dataset_of(world, held)[:2] == (train, held_out)


def test_a_dataset_that_is_there_already_is_not_written_again(world, small_limits):
    first = world.controller.converter.convert_upload(world.drop(large_upload()))
    made = world.names(world.places.work_bucket_name, "datasets/")
    death = Death()
    controller = world.new_controller(death)
    copy = world.drop(large_upload(), "nan/copy.json")
    assert first is not None
    assert controller.converter.convert_upload(copy) is None
    assert world.names(world.places.work_bucket_name, "datasets/") == made
    assert not any("resumable" in call and "datasets" in call for call in death.calls)


def test_a_large_upload_is_never_half_written_wherever_the_converter_dies(make_world, small_limits):
    """Before every call in turn; whatever is there under a dataset's name is whole."""
    content = large_upload()
    whole: dict[str, str] = {}
    number = 0
    died = True
    while died:
        number += 5
        world = make_world()
        upload = world.drop(content)
        try:
            world.new_controller(Death(at=number)).converter.convert_upload(upload)
            died = False
        except Killed:
            bucket = world.storage.bucket(world.places.work_bucket_name)
            for name in world.names(bucket.name, "datasets/"):
                digest = hashlib.sha256(bucket.blob(name).download_as_bytes()).hexdigest()
                if name.endswith(".jsonl"):
                    assert whole.setdefault(name.rsplit("/", 1)[-1], digest) == digest
        request = world.controller.converter.convert_upload(upload)
        train, held_out, _ = dataset_of(world, request)
        assert dataset_digest(train, held_out) == request.dataset_id
        world.close()
    assert number > 9


def test_the_memory_of_a_conversion_does_not_grow_with_the_upload(world, small_limits, monkeypatch):
    """Beyond what is remembered of each pair, its sketch included, and a limited index."""
    monkeypatch.setattr(world.controller.converter._keeper, "_max_suspects", 1_000)
    uploads, peaks = [], []
    # Both are longer than what is read ahead: a buffer more is held at most.
    for pairs in (2_500, 5_000):
        uploads.append(upload_of(pairs, 0, words="and so on, with tea and a little rain, " * 24))
        upload = world.drop(uploads[-1], f"nan-{pairs}/memory.json")
        gc.collect()
        tracemalloc.start()
        assert world.controller.converter.convert_upload(upload) is not None
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    allowed = 2_500 * 300 + CHUNK_BYTES
    assert allowed < (len(uploads[1]) - len(uploads[0])) / 2
    assert peaks[1] - peaks[0] < allowed


def test_a_gzipped_upload_makes_the_same_dataset(world):
    plain = world.controller.converter.convert_upload(world.drop(conversation()))
    packed = world.controller.converter.convert_upload(
        world.drop(gzip.compress(conversation()), "other/memory.json.gz")
    )
    assert packed.dataset_id == plain.dataset_id


def test_a_system_prompt_is_kept_in_every_row(world):
    rows = [
        {"messages": [
            {"role": "system", "content": "You are Grandma."},
            {"role": "user", "content": f"Question {n}?"},
            {"role": "assistant", "content": f"Answer {n}."},
        ]}
        for n in range(12)
    ]  # fmt: skip
    request = world.controller.converter.convert_upload(world.drop(jsonl(*rows)))
    train, held_out, _ = dataset_of(world, request)
    messages = [json.loads(line)["messages"] for line in (train + held_out).splitlines()]
    assert {m[0]["role"] for m in messages} == {"system"}
    assert {m[0]["content"] for m in messages} == {"You are Grandma."}


def test_a_file_that_is_cut_off_gives_its_whole_rows_and_a_receipt_that_says_so(world):
    content = conversation(20)
    request = world.controller.converter.convert_upload(world.drop(content[: len(content) - 40]))
    _, _, receipt = dataset_of(world, request)
    [source] = receipt["sources"]
    assert "ends in the middle at byte" in source["truncated"]
    assert source["pairs"] == receipt["pairs"] == 19
    assert source["turns"] == 2 * source["pairs"] + sum(source["turns_left_out"].values())


def test_the_receipt_knows_the_upload_by_its_bytes(world):
    content = conversation()
    upload = world.drop(content)
    _, _, receipt = dataset_of(world, world.controller.converter.convert_upload(upload))
    [source] = receipt["sources"]
    assert source["sha256"] == hashlib.sha256(content).hexdigest()
    assert source["bytes"] == len(content)
    assert (source["name"], source["generation"]) == (upload.name, upload.generation)


def test_a_chat_between_people_is_refused_with_its_speakers(world):
    rejected = rejection_of(world, world.drop(CHAT.encode(), "nan/chat.txt"))
    assert "Ada" in rejected["fix"]
    assert "20" in rejected["fix"]
    assert "Ada" not in rejected["reason"] + rejected["place"]


def test_the_personas_settings_say_whose_voice_is_learned(world):
    settle(world, "nan", 'speaker = "grandma"')
    request = world.controller.converter.convert_upload(world.drop(CHAT.encode(), "nan/chat.txt"))
    train, held_out, _ = dataset_of(world, request)
    messages = [m for line in (train + held_out).splitlines() for m in json.loads(line)["messages"]]
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    assert len(replies) == len(set(replies)) == 20
    assert all(reply.startswith("well, dear,") for reply in replies)


def test_another_personas_settings_do_not_count(world):
    settle(world, "pop", 'speaker = "Grandma"')
    assert "Ada" in rejection_of(world, world.drop(CHAT.encode(), "nan/chat.txt"))["fix"]


@pytest.mark.parametrize("text", ["speaker = ", "spaeker = 'x'", "speaker = 7", b"# \xff"])
def test_settings_that_cannot_be_read_refuse_the_upload(world, text):
    """Guessing whose voice is meant would train the wrong one."""
    settle(world, "nan", text)
    rejected = rejection_of(world, world.drop(conversation()))
    assert "settings" in rejected["reason"]
    assert "config/nan.toml" in rejected["place"]
    assert "line 1: " in rejected["place"]
    assert "tuner config check --persona nan" in rejected["fix"]


def test_a_rejection_names_every_problem_of_the_settings_but_not_without_end(world):
    settle(world, "nan", "\n".join(f"x{number} = 1" for number in range(30)))
    rejected = rejection_of(world, world.drop(conversation()))
    assert "line 1: x0 is no setting" in rejected["place"]
    assert "line 20: x19" in rejected["place"]
    assert rejected["place"].endswith("And 10 more.")


def test_without_a_file_the_defaults_hold(world):
    assert read_persona_settings(world.controller.ledger, "nan") == PersonaSettings()
