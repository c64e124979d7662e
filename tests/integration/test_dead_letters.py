"""`tuner deadletters`: looking takes nothing, and what is sent again goes where it came from."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from google.pubsub_v1 import types

from console import deadletters
from console.deadletters import letter_of, list_letters, replay
from support import functions, wait
from support.typing_tuner import Tuner
from tuner.entrypoint import Message
from tuner.errors import MalformedMessage
from tuner.events import MAX_BODY_BYTES, DeadLetter
from tuner.places import DEAD_LETTERS_TOPIC, STORAGE_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC
from tuner.requests import decode_request

REQUEST = b'{"persona": "Nan!"}'


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    monkeypatch.setattr(deadletters, "PATIENCE_SECONDS", 0.5)
    return Tuner(world, monkeypatch, capsys)


@pytest.fixture
def function(monkeypatch):
    yield lambda name, environment: functions.load(name, environment, monkeypatch)
    functions.restore_logging()


def bury(world, body, source="submitter", reason="It cannot be read."):
    """What a function does with a message that it cannot read."""
    world.controller.records._events.publish_dead_letter(
        DeadLetter.of(
            Message(data=body), source=source, error=MalformedMessage(reason), at=world.clock()
        )
    )


def give_up(world, data, subscription="submitter", **attributes):
    """What Pub/Sub publishes after ten deliveries in vain."""
    world.shared.publisher.publish(
        topic=world.places.topic(DEAD_LETTERS_TOPIC),
        messages=[
            types.PubsubMessage(
                data=data,
                attributes={
                    "CloudPubSubDeadLetterSourceSubscription": subscription,
                    "CloudPubSubDeadLetterSourceSubscriptionProject": world.project,
                    "CloudPubSubDeadLetterSourceDeliveryCount": "10",
                    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-03-01T00:00:00Z",
                    **attributes,
                },
            )
        ],
    )


def storage_events(world):
    """Have the topic, with a subscription that a test can pull."""
    world.shared.publisher.create_topic(name=world.places.topic(STORAGE_EVENTS_TOPIC))
    world.shared.subscriber.create_subscription(
        name=f"projects/{world.project}/subscriptions/{STORAGE_EVENTS_TOPIC}",
        topic=world.places.topic(STORAGE_EVENTS_TOPIC),
    )


def left(world):
    """Dead letters that are still there, acknowledged now."""
    return world.pull(DEAD_LETTERS_TOPIC)


def test_without_dead_letters_it_says_so(tuner):
    assert tuner("deadletters", "list").out == "No dead letters.\n"
    assert tuner("deadletters", "list", "--json").json == []
    assert tuner("deadletters", "replay", "--all", "--yes").out == "No dead letters.\n"


def test_listing_shows_source_reason_and_request_and_takes_nothing(world, tuner, function):
    function("submitter", world.environment).submit(functions.push(REQUEST))
    for _ in range(2):
        said = tuner("deadletters", "list")
        assert said.code == 0, said.err
        assert "  submitter  Not a training request" in said.out
        assert REQUEST.decode() in said.out
    assert len(left(world)) == 1, "it was given back at once"


def test_every_letter_is_listed_however_many(world, tuner):
    for number in range(130):
        bury(world, f'{{"n": {number}}}'.encode())
    assert len(list_letters(tuner.connection)) == 130
    assert len(left(world)) == 130


def test_what_pubsub_gave_up_on_names_its_subscription(world, tuner):
    give_up(world, REQUEST, "submitter")
    give_up(world, b'{"name": "nan/private.json"}', "converter")
    said = tuner("deadletters", "list")
    assert "submitter  Failed 10 deliveries in a row; the log of submitter says why." in said.out
    assert "Nan!" in said.out
    assert "private" not in said.out, "only of requests is anything shown"


def test_of_a_notification_nothing_is_shown(world, tuner):
    bury(world, b'{"name": "nan/private.json"}', "converter")
    assert "private" not in tuner("deadletters", "list").out
    assert "private" not in tuner("deadletters", "list", "--json").out


def test_a_letter_cannot_act_on_the_terminal(world, tuner):
    bury(world, b"[red]\x1b[2J", reason="\x1b[31mbad\nreason")
    said = tuner("deadletters", "list")
    assert "\x1b" not in said.out
    assert "[red]" in said.out


def test_a_replayed_request_starts_its_run(world, tuner):
    """It could not be carried out then; now it can."""
    request = world.request()
    world.published_requests()
    give_up(world, msgspec.json.encode(request), persona="nan")
    [letter] = list_letters(tuner.connection)
    said = tuner("deadletters", "replay", letter.id)
    assert said.code == 0, said.err
    assert said.out == f"{letter.id} is sent to the submitter again.\n"
    [message] = world.pull(TRAINING_REQUESTS_TOPIC)
    assert decode_request(message.data) == request
    assert dict(message.attributes) == {"persona": "nan"}, "Pub/Sub's own are left behind"
    assert left(world) == []


def test_what_our_own_functions_buried_is_sent_as_it_was(world, tuner):
    bury(world, REQUEST)
    assert tuner("deadletters", "replay", "--all", "--yes").code == 0
    [message] = world.pull(TRAINING_REQUESTS_TOPIC)
    assert message.data == REQUEST
    assert left(world) == []


@pytest.mark.parametrize(
    ("source", "name"), [("converter", "nan/a.json"), ("completion", "results/run/1.json")]
)
def test_a_notification_is_sent_with_what_its_subscription_filters_by(world, tuner, source, name):
    storage_events(world)
    body = msgspec.json.encode({"bucket": "b", "name": name, "generation": "1"})
    bury(world, body, source)
    assert tuner("deadletters", "replay", "--all", "--yes").code == 0
    [message] = world.pull(STORAGE_EVENTS_TOPIC)
    places = world.places
    buckets = {"converter": places.uploads_bucket_name, "completion": places.work_bucket_name}
    assert message.data == body
    assert dict(message.attributes) == {
        "bucketId": buckets[source], "eventType": "OBJECT_FINALIZE", "objectId": name,
    }  # fmt: skip


def test_only_the_letters_that_are_named_are_sent(world, tuner):
    for number in range(3):
        bury(world, f'{{"n": {number}}}'.encode())
    letters = {letter.body: letter.id for letter in list_letters(tuner.connection)}
    assert tuner("deadletters", "replay", letters['{"n": 1}'], letters['{"n": 1}']).code == 0
    assert [m.data for m in world.pull(TRAINING_REQUESTS_TOPIC)] == [b'{"n": 1}']
    assert len(left(world)) == 2


def test_an_id_that_is_not_there_sends_nothing(world, tuner):
    bury(world, REQUEST)
    [letter] = list_letters(tuner.connection)
    said = tuner("deadletters", "replay", letter.id, "nobody")
    assert said.code == 2
    assert "No dead letter has the id nobody" in said.err
    assert world.pull(TRAINING_REQUESTS_TOPIC) == []
    assert len(left(world)) == 1


def test_all_is_asked_about(world, tuner):
    bury(world, REQUEST)
    refused = tuner("deadletters", "replay", "--all", stdin="n\n")
    assert refused.code == 1
    assert "Send 1 dead letters again?" in refused.out
    assert world.pull(TRAINING_REQUESTS_TOPIC) == []
    assert tuner("deadletters", "replay", "--all", stdin="y\n").code == 0
    assert len(world.pull(TRAINING_REQUESTS_TOPIC)) == 1


@pytest.mark.parametrize("words", [(), ("some-id", "--all")])
def test_what_is_to_be_sent_must_be_said(tuner, words):
    said = tuner("deadletters", "replay", *words)
    assert (said.code, "ID..., or --all" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("body", "source", "why"),
    [
        (b"x" * (MAX_BODY_BYTES + 1), "submitter", "longer than 1 MB"),
        ("é".encode() * (MAX_BODY_BYTES // 2 + 1), "submitter", "longer than 1 MB"),
        (b"\xff{}", "submitter", "not all text"),
        (b"{}", "somebody", "'somebody', which takes no messages"),
    ],
    ids=["long", "long, cut in a character", "not text", "stranger"],
)
def test_what_is_not_whole_stays_with_the_reason(world, tuner, body, source, why):
    bury(world, body, source)
    bury(world, REQUEST)
    assert why in tuner("deadletters", "list").out
    said = tuner("deadletters", "replay", "--all", "--yes", "--json")
    assert said.code == 1
    assert [letter["source"] for letter in said.json["refused"]] == [source]
    assert len(said.json["sent"]) == 1
    assert why in said.err
    assert [m.data for m in world.pull(TRAINING_REQUESTS_TOPIC)] == [REQUEST]
    assert len(left(world)) == 1


def test_what_is_no_dead_letter_at_all_is_listed_and_stays(world, tuner):
    world.shared.publisher.publish(
        topic=world.places.topic(DEAD_LETTERS_TOPIC), messages=[types.PubsubMessage(data=b"{")]
    )
    assert "nobody knows where it came from" in tuner("deadletters", "list").out
    assert tuner("deadletters", "replay", "--all", "--yes").code == 1
    assert len(left(world)) == 1


def test_a_replay_that_dies_before_it_acknowledges_loses_nothing(world, tuner, monkeypatch):
    """Delivered twice at worst."""
    bury(world, REQUEST)

    class Died(Exception):
        pass

    def die(*_):
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(deadletters._Inbox, "acknowledge", die)
        with pytest.raises(Died):
            replay(tuner.connection, None)
    assert len(world.pull(TRAINING_REQUESTS_TOPIC)) == 1
    assert len(wait.until(lambda: list_letters(tuner.connection))) == 1


def test_a_replay_that_cannot_publish_keeps_the_letter(world, tuner):
    bury(world, b"{}", "converter")  # there is no such topic in this world
    said = tuner("deadletters", "replay", "--all", "--yes")
    assert said.code == 1
    assert "Google Cloud refused" in said.err
    assert len(left(world)) == 1


def test_a_missing_subscription_is_one_sentence(world, tuner):
    world.shared.subscriber.delete_subscription(
        subscription=f"projects/{world.project}/subscriptions/{DEAD_LETTERS_TOPIC}"
    )
    said = tuner("deadletters", "list")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1, said.err


def test_a_full_name_of_a_subscription_is_understood(world):
    message = types.PubsubMessage(
        data=b"{}",
        message_id="7",
        publish_time=datetime(2026, 3, 1, tzinfo=UTC),
        attributes={
            "CloudPubSubDeadLetterSourceSubscription": "projects/p/subscriptions/submitter"
        },
    )
    assert letter_of(message, world.places)[0].source == "submitter"
