"""A persona's memory: it grows with each drop, loses nothing, and forgets what it is told to."""

from __future__ import annotations

import json
import threading

import pytest

from console.checking import check
from console.connection import Connection
from console.errors import UsageError
from console.remembering import Remembering
from support.controllers import Death, Killed
from support.memory_source import MemorySource
from support.persona_memory import PAIRS, PASSWORD, memory_file
from support.planted_secrets import PLANTED
from tuner.dataset.build import Plan
from tuner.errors import RejectedUpload
from tuner.memory import Memory, memory_name
from tuner.persona_settings import settings_name
from tuner.places import RUN_EVENTS_TOPIC


def drop(world, content, key="nan/memory.json"):
    """Convert an upload: the request that it made, or None."""
    return world.controller.converter.convert_upload(world.drop(content, key))


def memory(world, persona="nan"):
    return world.controller.ledger.read_document(memory_name(persona), Memory)[0]


def dataset(world, dataset_id, persona="nan"):
    """(rows to train on, rows held out, receipt)."""
    bucket = world.storage.bucket(world.places.work_bucket_name)
    prefix = world.places.dataset_prefix(persona, dataset_id)
    train, held_out, receipt = (
        bucket.blob(f"{prefix}/{name}").download_as_bytes()
        for name in ("train.jsonl", "eval.jsonl", "receipt.json")
    )
    rows = ([json.loads(x)["messages"] for x in part.splitlines()] for part in (train, held_out))
    return (*rows, json.loads(receipt))


def replies(rows):
    return {m["content"] for row in rows for m in row if m["role"] == "assistant"}


def said(count, start=0):
    return [
        (f"Question {n}, was it?", f"Answer {n}: it was the one by the river, and no other.")
        for n in range(start, start + count)
    ]


def settle(world, text, persona="nan"):
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    bucket.blob(settings_name(persona)).upload_from_string(text)


def kept_events(world):
    return [
        json.loads(message.data)
        for message in world.pull(RUN_EVENTS_TOPIC)
        if message.attributes["ce-type"] == "upload.kept"
    ]


def test_an_overlapping_window_adds_only_what_is_new(world):
    first = drop(world, memory_file(said(30)))
    second = drop(world, memory_file(said(30, 10), first=10))
    _, _, before = dataset(world, first.dataset_id)
    train, held_out, after = dataset(world, second.dataset_id)
    assert (before["kept"], before["new_pairs"]) == (30, 30)
    assert (after["kept"], after["new_pairs"]) == (40, 10)
    assert after["dropped"] == {"overlap": 20}
    assert after["parent"] == first.dataset_id
    assert replies(train) | replies(held_out) == {reply for _, reply in said(40)}


def test_the_personas_own_window_dropped_again_later_adds_only_the_new_pairs(world):
    first = drop(world, memory_file())
    window = [*PAIRS[10:], ("And tomorrow?", "Tomorrow we mend the fence, if the rain lets us.")]
    second = drop(world, memory_file(window, first=10))
    _, _, before = dataset(world, first.dataset_id)
    _, _, after = dataset(world, second.dataset_id)
    assert before["dropped"] == {"canned": 4, "cut": 3, "duplicate": 1}
    assert before["pairs"] == 25 == before["kept"] + sum(before["dropped"].values())
    assert after["pairs"] == 41 == after["kept"] + sum(after["dropped"].values())
    assert after["new_pairs"] == 1


def test_the_same_file_again_says_so_and_starts_nothing(world):
    drop(world, memory_file(said(30)))
    held = world.generations()
    assert drop(world, memory_file(said(30)), "nan/again.json") is None
    [kept] = kept_events(world)
    assert kept["new_pairs"] == 0
    assert kept["reason"].startswith("Nothing new")
    assert len(memory(world).segments) == 1
    assert {name for name in world.generations() if name not in held} == {
        name for name in world.generations() if name.startswith("uploads/")
    } - {*held}


def test_what_was_held_out_stays_held_out_as_the_corpus_grows(world):
    seen: set[str] = set()
    for count in range(12, 120, 12):
        made = drop(world, memory_file(said(count)), f"nan/{count}.json")
        train, held_out, _ = dataset(world, made.dataset_id)
        assert seen <= replies(held_out)
        assert not seen & replies(train)
        seen = replies(held_out)


def test_two_drops_at_the_same_moment_lose_nothing(world):
    """Both read the memory before either writes it."""
    both_have_read = threading.Barrier(2, timeout=60)
    controllers = [world.new_controller(), world.new_controller()]
    for controller in controllers:
        keeper = controller.converter._keeper
        read, waits = keeper.read, [True]

        def read_together(persona, read=read, waits=waits):
            found = read(persona)
            if waits:
                waits.pop()
                both_have_read.wait()
            return found

        keeper.read = read_together
    uploads = [
        world.drop(memory_file(said(20)), "nan/one.json"),
        world.drop(memory_file(said(20, 100), first=100), "nan/two.json"),
    ]
    made = []
    threads = [
        threading.Thread(target=lambda c=c, u=u: made.append(c.converter.convert_upload(u)))
        for c, u in zip(controllers, uploads, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(memory(world).segments) == 2
    train, held_out, receipt = dataset(world, memory(world).dataset_id)
    assert receipt["kept"] == 40
    assert replies(train) | replies(held_out) == {r for _, r in [*said(20), *said(20, 100)]}
    assert sorted(dataset(world, each.dataset_id)[2]["kept"] for each in made) == [20, 40]


def test_wherever_the_converter_dies_the_next_delivery_ends_the_same(make_world):
    number, died, expected = 0, True, None
    while died:
        number += 1
        world = make_world()
        drop(world, memory_file(said(12)))
        upload = world.drop(memory_file(said(12, 12), first=12), "nan/two.json")
        try:
            world.new_controller(Death(at=number)).converter.convert_upload(upload)
            died = False
        except Killed:
            pass
        request = world.controller.converter.convert_upload(upload)
        expected = expected or request.dataset_id
        assert request.dataset_id == expected
        assert dataset(world, request.dataset_id)[2]["kept"] == 24
        assert len(memory(world).segments) == 2
        assert memory(world).requested == tuple(s.key for s in memory(world).segments)
        world.close()
    assert number > 8


def test_a_drop_that_is_too_small_is_kept_until_there_is_enough(world):
    assert drop(world, memory_file(said(5)), "nan/one.json") is None
    [name] = world.names(world.places.work_bucket_name, "rejected/")
    assert "is kept" in world.read(world.places.work_bucket_name, name)["fix"]
    made = drop(world, memory_file(said(5, 5), first=5), "nan/two.json")
    assert dataset(world, made.dataset_id)[2]["kept"] == 10


def test_two_personas_share_nothing(world):
    drop(world, memory_file(said(20)))
    made = drop(world, memory_file(said(20)), "pop/memory.json")
    assert made.persona == "pop"
    assert dataset(world, made.dataset_id, "pop")[2]["new_pairs"] == 20


# -- when to train ---------------------------------------------------------------------------------


def test_by_hand_a_drop_is_kept_and_starts_nothing(world):
    settle(world, 'train_when = "by-hand"')
    assert drop(world, memory_file(said(20))) is None
    [kept] = kept_events(world)
    assert "tuner train nan" in kept["reason"]
    assert (kept["new_pairs"], kept["waiting_pairs"], kept["kept_pairs"]) == (20, 20, 20)
    assert dataset(world, kept["dataset_id"])[2]["kept"] == 20


def test_a_run_is_asked_for_when_enough_new_pairs_wait(world):
    settle(world, "train_when = 25")
    assert drop(world, memory_file(said(20)), "nan/one.json") is None
    assert drop(world, memory_file(said(20)), "nan/again.json") is None
    made = drop(world, memory_file(said(10, 20), first=20), "nan/two.json")
    assert dataset(world, made.dataset_id)[2]["kept"] == 30
    assert drop(world, memory_file(said(20, 30), first=30), "nan/three.json") is None
    waits = [event["waiting_pairs"] for event in kept_events(world)]
    assert waits == [20, 20, 20], "what was asked for waits no more"


def test_a_kept_upload_that_is_delivered_again_is_told_of_again_and_read_once(world):
    settle(world, 'train_when = "by-hand"')
    upload = world.drop(memory_file(said(20)))
    for _ in range(2):
        assert world.controller.converter.convert_upload(upload) is None
    first, second = kept_events(world)
    assert first == second


def test_an_old_upload_that_is_delivered_again_takes_no_request_back(world):
    settle(world, "train_when = 10")
    upload = world.drop(memory_file(said(10)), "nan/one.json")
    assert world.controller.converter.convert_upload(upload) is not None
    assert drop(world, memory_file(said(10, 10), first=10), "nan/two.json") is not None
    assert world.controller.converter.convert_upload(upload) is not None
    assert drop(world, memory_file(said(5, 20), first=20), "nan/three.json") is None
    assert kept_events(world)[-1]["waiting_pairs"] == 5


def test_the_settings_of_a_persona_go_into_its_request(world):
    settle(world, "budget_usd = 3.5\nbase_model = 'mistral-7b'\n[hyperparameters]\nepochs = 7")
    request = drop(world, memory_file(said(20)))
    assert (request.budget_usd, request.preset) == (3.5, "mistral-7b")
    assert request.hyperparameters.epochs == 7


def test_a_run_above_the_budget_is_refused_with_the_figure_before_anything_is_spent(world):
    settle(world, "budget_usd = 0.01\nbase_model = 'mistral-7b'")
    run_id = world.controller.submitter.record(drop(world, memory_file(said(20)))).run.run_id
    world.tick()
    assert world.state(run_id).value == "rejected"
    assert "$0.01" in world.run(run_id).reason
    assert world.jobs() == []


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["redact", "drop"])
def test_a_spoken_password_is_nowhere_in_what_we_store(world, policy):
    settle(world, f'secrets = "{policy}"')
    made = drop(world, memory_file())
    _, _, receipt = dataset(world, made.dataset_id)
    if policy == "redact":
        assert receipt["redacted"] == {"spoken_password": 1}
    else:
        assert receipt["dropped"]["secret"] == 1
    assert receipt["pairs"] == 25 == receipt["kept"] + sum(receipt["dropped"].values())
    for bucket_name in (world.places.work_bucket_name, world.places.runs_bucket_name):
        for blob in world.storage.list_blobs(bucket_name):
            assert PASSWORD.encode() not in blob.download_as_bytes(), blob.name


def test_names_are_not_checked_and_the_receipt_says_so(world):
    made = drop(world, memory_file())
    assert "names" in dataset(world, made.dataset_id)[2]["not_checked"]


# -- what a persona's owner does -------------------------------------------------------------------


@pytest.fixture
def remembering(world):
    connection = Connection("a test", world.places, world.storage, world.shared.pubsub_endpoint)
    return Remembering(connection, "nan")


def test_what_is_said_is_found_with_an_id_and_forgotten_for_good(world, remembering):
    drop(world, memory_file(said(20)))
    [(found, pair)] = remembering.find("ANSWER 7:")
    assert pair.user == "Question 7, was it?"
    version = remembering.forget_pair(found)
    assert version.receipt.dropped == {"forgotten": 1}
    assert list(remembering.find("answer 7:")) == []
    made = drop(world, memory_file(said(25)), "nan/more.json")
    train, held_out, receipt = dataset(world, made.dataset_id)
    assert "Answer 7" not in str(train + held_out)
    assert receipt["kept"] == 24


def test_an_upload_is_forgotten_by_its_name_and_its_pairs_that_others_brought_stay(
    world, remembering
):
    drop(world, memory_file(said(20)), "nan/one.json")
    drop(world, memory_file(said(20, 10), first=10), "nan/two.json")
    version = remembering.forget_uploads("one.json")
    assert version.receipt.kept == 20
    assert {segment.name for segment in memory(world).segments} == {"nan/two.json"}


def test_a_memory_is_replaced_by_one_upload(world, remembering):
    drop(world, memory_file(said(20)), "nan/one.json")
    drop(world, memory_file(said(20, 30), first=30), "nan/two.json")
    version = remembering.keep_only("two.json")
    train, held_out, _ = dataset(world, version.receipt.dataset_id)
    assert replies(train) | replies(held_out) == {reply for _, reply in said(20, 30)}


def test_what_was_held_out_stays_held_out_when_its_upload_is_forgotten(world, remembering):
    made = drop(world, memory_file(said(30)), "nan/one.json")
    before = replies(dataset(world, made.dataset_id)[1])
    drop(world, memory_file(said(45)), "nan/two.json")
    version = remembering.forget_uploads("one.json")
    train, held_out, _ = dataset(world, version.receipt.dataset_id)
    assert before <= replies(held_out)
    assert not before & replies(train)


def test_a_name_that_no_upload_has_is_told(remembering):
    with pytest.raises(UsageError, match="no upload other"):
        remembering.forget_uploads("other.json")


def test_forgetting_too_much_is_done_and_told(world, remembering):
    drop(world, memory_file(said(20)))
    with pytest.raises(RejectedUpload, match="Only 0 usable pairs"):
        remembering.forget_uploads("memory.json")
    assert memory(world).segments == ()


def test_train_asks_for_a_run_of_what_waits_and_for_another_when_it_is_asked_again(
    world, remembering
):
    settle(world, 'train_when = "by-hand"')
    drop(world, memory_file(said(20)))
    first = remembering.train()
    assert world.published_requests() == [first]
    world.controller.submitter.record(first)
    assert memory(world).requested == tuple(s.key for s in memory(world).segments)
    second = remembering.train()
    assert (first.rerun, second.rerun) == (0, 1)
    assert second.dataset_id == first.dataset_id


def test_there_is_nothing_to_train_before_the_first_drop(remembering):
    with pytest.raises(UsageError, match="no conversations yet"):
        remembering.train()


def test_a_check_changes_nothing(world, remembering):
    drop(world, memory_file(said(20)))
    held, names = world.generations(), world.names(world.places.work_bucket_name)
    plan = Plan(settings=remembering.settings(), preset=remembering.preset())
    findings = check(MemorySource(memory_file(said(25))), plan, before=remembering.before())
    assert (findings.new_pairs, findings.known_pairs) == (5, 20)
    assert findings.compared_with == memory(world).dataset_id
    assert (world.generations(), world.names(world.places.work_bucket_name)) == (held, names)


def test_no_planted_secret_of_any_kind_is_stored_published_or_logged(world, caplog):
    planted = [each for examples in PLANTED.values() for each in examples]
    rows = [(f"Remember it for me, number {n}?", each.text) for n, each in enumerate(planted)]
    caplog.set_level("DEBUG")
    made = drop(world, memory_file(rows))
    assert len(PLANTED) >= 60
    assert sum(dataset(world, made.dataset_id)[2]["redacted"].values()) > len(PLANTED) / 2
    text = caplog.text + str([vars(record) for record in caplog.records])
    for bucket_name in (world.places.work_bucket_name, world.places.runs_bucket_name):
        for blob in world.storage.list_blobs(bucket_name):
            if not blob.name.endswith(".bin"):
                text += blob.download_as_bytes().decode()
    text += str([message.data for message in world.pull(RUN_EVENTS_TOPIC)])
    for each in planted:
        # A few digits stand in any number; that they are found, a unit test shows.
        assert len(each.secret) < 6 or each.secret not in text, each.sentence


def test_names_cannot_be_redacted_without_a_model_and_the_upload_says_so(world):
    settle(world, 'names = "redact"')
    assert drop(world, memory_file()) is None
    [name] = world.names(world.places.work_bucket_name, "rejected/")
    assert "TUNER_NAMES_MODEL" in str(world.read(world.places.work_bucket_name, name))
