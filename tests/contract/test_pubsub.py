"""What our Pub/Sub server and Google's emulator both do; one body for both.

Where Google's emulator is known to differ from Google's service, its case is skipped with the
reason (`GOOGLE_EMULATOR_DIFFERENCES`); everything else must hold on both.
"""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf.field_mask_pb2 import FieldMask

from support import wait
from support.pubsub_servers import PubSub, PushedRequest, PushEndpoint, payloads

# The flag is the only way to ask what can be delivered at this moment.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


# Topics


def test_a_topic_that_exists_cannot_be_created_again(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    assert pubsub.publisher.get_topic(topic=topic).name == topic


def test_a_topic_that_is_missing_is_not_found(pubsub: PubSub) -> None:
    topic = pubsub.topic_name("missing")
    with pytest.raises(exceptions.NotFound):
        pubsub.publisher.get_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        pubsub.publisher.delete_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        pubsub.publish({"data": b"x"}, topic_id="missing")
    with pytest.raises(exceptions.NotFound):
        pubsub.create_subscription(topic_id="missing")


@pytest.mark.parametrize("topic_id", ["1abc", "ab", "googabc", "a" * 256, "a/b", "a b c"])
def test_a_topic_name_outside_the_rules_is_refused(pubsub: PubSub, topic_id: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_topic(topic_id)


def test_topics_are_listed_in_pages(pubsub: PubSub) -> None:
    names = [pubsub.create_topic(f"topic-{number}") for number in range(5)]
    pages = list(
        pubsub.publisher.list_topics(request={"project": pubsub.project, "page_size": 2}).pages
    )
    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert sorted(topic.name for page in pages for topic in page.topics) == names


def test_a_deleted_topic_leaves_its_subscriptions_what_they_hold(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"kept"})
    pubsub.publisher.delete_topic(topic=topic)
    assert pubsub.subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert payloads(pubsub.pull_some(subscription)) == [b"kept"]


# Publishing


def test_a_message_arrives_whole(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    [message_id] = pubsub.publish(
        {"data": b"\x00\xff", "attributes": {"a": "1", "b": "é"}, "ordering_key": "k"}
    )
    [received] = pubsub.pull_some(subscription)
    assert received.message.data == b"\x00\xff"
    assert dict(received.message.attributes) == {"a": "1", "b": "é"}
    assert received.message.ordering_key == "k"
    assert received.message.message_id == message_id
    assert received.message.publish_time.timestamp() > 0


def test_every_subscription_gets_its_own_copy(pubsub: PubSub) -> None:
    pubsub.create_topic()
    first, second = pubsub.create_subscription("first"), pubsub.create_subscription("second")
    pubsub.publish({"data": b"x"})
    pubsub.acknowledge(first, pubsub.pull_some(first))
    assert payloads(pubsub.pull_some(second)) == [b"x"]


def test_a_message_without_data_and_attributes_is_refused(pubsub: PubSub) -> None:
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.publish({"ordering_key": "k"})
    pubsub.publish({"attributes": {"a": "1"}})


def test_more_than_ten_megabytes_are_refused(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("publish_size")
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.publish({"data": bytes(10 * 1024 * 1024 + 1)})
    pubsub.publish({"data": bytes(9_900_000)})


# Subscriptions


def test_a_subscription_that_exists_cannot_be_created_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    pubsub.create_subscription()
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.create_subscription()


def test_a_deleted_subscription_is_not_found(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        pubsub.subscriber.get_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        pubsub.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        pubsub.pull_now(subscription)


def test_subscriptions_are_listed_in_pages(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    names = [pubsub.create_subscription(f"reader-{number}") for number in range(3)]
    in_project = pubsub.subscriber.list_subscriptions(
        request={"project": pubsub.project, "page_size": 2}
    )
    assert sorted(each.name for each in in_project) == names
    of_topic = pubsub.publisher.list_topic_subscriptions(request={"topic": topic, "page_size": 2})
    assert sorted(of_topic) == names


def test_a_new_subscription_has_googles_defaults(pubsub: PubSub) -> None:
    pubsub.create_topic()
    name = pubsub.create_subscription(
        retry_policy={}, dead_letter_policy={"dead_letter_topic": pubsub.topic_name()}
    )
    subscription = pubsub.subscriber.get_subscription(subscription=name)
    assert subscription.ack_deadline_seconds == 10
    assert subscription.message_retention_duration.total_seconds() == 7 * 86_400
    assert subscription.retry_policy.minimum_backoff.total_seconds() == 10
    assert subscription.retry_policy.maximum_backoff.total_seconds() == 600
    assert subscription.dead_letter_policy.max_delivery_attempts == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": {"seconds": 599}},
        {"retry_policy": {"minimum_backoff": {"seconds": 601}}},
        {"dead_letter_policy": {"dead_letter_topic": "TOPIC", "max_delivery_attempts": 4}},
        {"dead_letter_policy": {"dead_letter_topic": "TOPIC", "max_delivery_attempts": 101}},
        {"push_config": {"push_endpoint": "ftp://127.0.0.1/"}},
    ],
    ids=str,
)
def test_a_subscription_outside_the_bounds_is_refused(
    pubsub: PubSub, fields: dict[str, Any]
) -> None:
    topic = pubsub.create_topic()
    if "dead_letter_policy" in fields:
        fields = {"dead_letter_policy": fields["dead_letter_policy"] | {"dead_letter_topic": topic}}
    with pytest.raises(exceptions.BadRequest):
        pubsub.create_subscription(**fields)


def test_an_ack_deadline_below_ten_seconds_is_refused(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("ack_deadline_minimum")
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_subscription(ack_deadline_seconds=9)


def test_a_missing_dead_letter_topic_is_not_found(pubsub: PubSub) -> None:
    pubsub.create_topic()
    with pytest.raises(exceptions.NotFound):
        pubsub.create_subscription(
            dead_letter_policy={"dead_letter_topic": pubsub.topic_name("missing")}
        )


def update(pubsub: PubSub, fields: dict[str, Any], paths: list[str]) -> Any:
    return pubsub.subscriber.update_subscription(
        request={
            "subscription": {"name": pubsub.subscription_name(), **fields},
            "update_mask": FieldMask(paths=paths),
        }
    )


def test_an_update_changes_only_what_its_mask_names(pubsub: PubSub) -> None:
    pubsub.create_topic()
    pubsub.create_subscription(ack_deadline_seconds=20, retry_policy={})
    updated = update(
        pubsub,
        {"ack_deadline_seconds": 30, "message_retention_duration": {"seconds": 600}},
        ["ack_deadline_seconds", "retry_policy"],
    )
    assert updated.ack_deadline_seconds == 30
    assert "retry_policy" not in updated
    assert updated.message_retention_duration.total_seconds() == 7 * 86_400


@pytest.mark.parametrize("paths", [[], ["nonsense"], ["topic"], ["enable_message_ordering"]])
def test_an_update_mask_must_name_fields_that_can_change(pubsub: PubSub, paths: list[str]) -> None:
    pubsub.create_topic()
    pubsub.create_subscription()
    with pytest.raises(exceptions.InvalidArgument):
        update(pubsub, {"enable_message_ordering": True}, paths)


def test_a_malformed_filter_is_refused(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("filters")
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_subscription(filter="attributes.color = red")


def test_a_filter_lets_through_only_what_matches(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("filters")
    pubsub.create_topic()
    subscription = pubsub.create_subscription(
        filter='hasPrefix(attributes.name, "results/") AND NOT attributes:draft'
    )
    pubsub.publish(
        {"data": b"1", "attributes": {"name": "results/1"}},
        {"data": b"2", "attributes": {"name": "runs/1"}},
        {"data": b"3", "attributes": {"name": "results/2", "draft": ""}},
        {"data": b"4"},
    )
    assert payloads(pubsub.pull_some(subscription)) == [b"1"]


# Pulling


def test_a_pull_waits_for_a_message(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(pubsub.subscriber.pull, subscription=subscription, max_messages=1)
        pubsub.publish({"data": b"x"})
        assert payloads(pull.result(timeout=10).received_messages) == [b"x"]


def test_a_pull_can_return_immediately(pubsub: PubSub) -> None:
    pubsub.create_topic()
    assert pubsub.pull_now(pubsub.create_subscription()) == []


def test_a_pull_gets_at_most_what_it_asks_for(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish(*({"data": b"x"} for _ in range(5)))
    assert len(pubsub.pull_some(subscription, max_messages=2)) <= 2
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.pull_now(subscription, max_messages=0)


def test_an_acknowledged_message_does_not_come_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"done"})
    received = pubsub.pull_some(subscription)
    pubsub.acknowledge(subscription, received)
    pubsub.nack(subscription, received)
    pubsub.publish({"data": b"next"})
    assert payloads(pubsub.pull_some(subscription)) == [b"next"]


def test_a_nacked_message_comes_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    first = pubsub.pull_some(subscription)
    assert pubsub.pull_now(subscription) == []
    pubsub.nack(subscription, first)
    second = pubsub.pull_some(subscription)
    assert second[0].message == first[0].message
    assert second[0].ack_id != first[0].ack_id


def test_a_message_comes_again_when_its_lease_ends(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    pubsub.set_deadline(subscription, pubsub.pull_some(subscription), seconds=1)
    assert payloads(pubsub.pull_some(subscription)) == [b"x"]


def test_a_malformed_ack_id_is_refused(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=["nonsense"])
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=[])


def test_a_push_subscription_cannot_be_pulled_from(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("pull_from_push")
    pubsub.create_topic()
    endpoint = {"push_endpoint": "http://127.0.0.1:1/"}
    with pytest.raises(exceptions.FailedPrecondition):
        pubsub.pull_now(pubsub.create_subscription(push_config=endpoint))


def test_messages_of_one_key_come_in_order(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(enable_message_ordering=True)
    for number in range(4):
        pubsub.publish(
            *({"data": f"{key}{number}".encode(), "ordering_key": key} for key in ("a", "b"))
        )
    seen: list[bytes] = []
    while len(seen) < 8:
        received = pubsub.pull_some(subscription)
        seen += payloads(received)
        pubsub.acknowledge(subscription, received)
    for key in (b"a", b"b"):
        of_key = [each for each in seen if each.startswith(key)]
        assert of_key == [key + str(number).encode() for number in range(4)]


def test_a_redelivery_does_not_let_later_messages_of_its_key_pass(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("ordered_redelivery")
    pubsub.create_topic()
    subscription = pubsub.create_subscription(enable_message_ordering=True)
    pubsub.publish(*({"data": data, "ordering_key": "k"} for data in (b"1", b"2")))
    first = pubsub.pull_some(subscription, max_messages=1)
    pubsub.nack(subscription, first)
    again = pubsub.pull_some(subscription, max_messages=1)
    assert payloads(first) == payloads(again) == [b"1"]


def test_a_message_that_keeps_failing_becomes_a_dead_letter(pubsub: PubSub) -> None:
    pubsub.create_topic()
    dead_letters = pubsub.create_topic("dead")
    graveyard = pubsub.create_subscription("graveyard", "dead")
    subscription = pubsub.create_subscription(
        dead_letter_policy={"dead_letter_topic": dead_letters}
    )
    pubsub.publish({"data": b"poison", "attributes": {"kept": "yes"}})
    attempts = []
    for _ in range(5):
        received = pubsub.pull_some(subscription)
        attempts.append(received[0].delivery_attempt)
        pubsub.nack(subscription, received)
    assert attempts == [1, 2, 3, 4, 5]
    assert pubsub.pull_now(subscription) == []  # only now does Google's emulator move it
    [letter] = pubsub.pull_some(graveyard)
    attributes = dict(letter.message.attributes)
    assert letter.message.data == b"poison"
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").endswith("Z")
    assert attributes == {
        "kept": "yes",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "reader",
        "CloudPubSubDeadLetterSourceSubscriptionProject": pubsub.project.split("/")[1],
    }


def test_attempts_are_not_told_without_a_dead_letter_policy(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    assert pubsub.pull_some(subscription)[0].delivery_attempt == 0


def test_the_high_level_clients_publish_and_subscribe_unmodified(
    pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clients find the server by PUBSUB_EMULATOR_HOST, batch, stream and extend leases."""
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.endpoint)
    lock = threading.Lock()
    seen: list[bytes] = []

    def callback(message: Any) -> None:
        with lock:
            is_first_delivery = message.data not in seen
            seen.append(message.data)
        if message.data == b"7" and is_first_delivery:
            message.nack()
        else:
            message.ack()

    with pubsub_v1.SubscriberClient() as subscriber:
        stream = subscriber.subscribe(subscription, callback)
        publisher = pubsub_v1.PublisherClient()
        sent = [str(number).encode() for number in range(20)]
        for future in [publisher.publish(pubsub.topic_name(), data) for data in sent]:
            future.result(timeout=10)
        publisher.stop()
        wait.until(lambda: len(seen) >= 21)
        stream.cancel()
        stream.result(timeout=10)
    assert sorted(seen) == sorted([*sent, b"7"])


# Pushing


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_push_has_googles_wrapped_shape(pubsub: PubSub) -> None:
    pubsub.create_topic()
    with PushEndpoint() as endpoint:
        subscription = pubsub.create_subscription(push_config={"push_endpoint": endpoint.url})
        [message_id] = pubsub.publish({"data": b"hi", "attributes": {"a": "1"}})
        [request] = endpoint.wait_for(1)
    assert request.path == "/push?token=1"
    assert request.headers["Content-Type"] == "application/json"
    publish_time = request.body["message"]["publishTime"]
    assert request.body == {
        "subscription": subscription,
        "message": {
            "data": encoded(b"hi"),
            "attributes": {"a": "1"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": publish_time,
            "publish_time": publish_time,
        },
    }


def test_a_push_names_the_ordering_key(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("push_ordering_key")
    pubsub.create_topic()
    with PushEndpoint() as endpoint:
        pubsub.create_subscription(push_config={"push_endpoint": endpoint.url})
        pubsub.publish({"data": b"hi", "ordering_key": "k"})
        [request] = endpoint.wait_for(1)
    assert request.body["message"]["orderingKey"] == "k"


@pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
def test_a_successful_answer_acknowledges_a_push(pubsub: PubSub, status: int) -> None:
    """A sentinel that fails once comes twice; by then the first message would have, too."""
    if status in (102, 202):
        pubsub.skip_known_difference("push_status_102_202")
    pubsub.create_topic()

    def answer(request: PushedRequest) -> int:
        if request.data == encoded(b"first"):
            return status
        return 500 if len(endpoint.requests) == 2 else 200

    with PushEndpoint(answer) as endpoint:
        pubsub.create_subscription(push_config={"push_endpoint": endpoint.url})
        pubsub.publish({"data": b"first"})
        endpoint.wait_for(1)
        pubsub.publish({"data": b"sentinel"})
        requests = endpoint.wait_for(3)
    assert [each.data for each in requests] == [
        encoded(b"first"),
        encoded(b"sentinel"),
        encoded(b"sentinel"),
    ]


@pytest.mark.parametrize("status", [203, 302, 400, 503])
def test_any_other_answer_brings_a_push_again(pubsub: PubSub, status: int) -> None:
    if status == 203:
        pubsub.skip_known_difference("push_status_203")
    pubsub.create_topic()
    with PushEndpoint(lambda _: status if len(endpoint.requests) == 1 else 200) as endpoint:
        pubsub.create_subscription(push_config={"push_endpoint": endpoint.url})
        pubsub.publish({"data": b"x"})
        first, second = endpoint.wait_for(2)
    assert first.body == second.body


def test_pushing_starts_and_stops_with_the_push_config(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"pushed"})
    with PushEndpoint() as endpoint:
        pubsub.subscriber.modify_push_config(
            subscription=subscription, push_config={"push_endpoint": endpoint.url}
        )
        endpoint.wait_for(1)
        pubsub.subscriber.modify_push_config(subscription=subscription, push_config={})
        pubsub.publish({"data": b"pulled"})
        assert b"pulled" in payloads(pubsub.pull_some(subscription))
    assert [each.data for each in endpoint.requests] == [encoded(b"pushed")]


def test_a_push_counts_attempts_under_a_dead_letter_policy(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("push_delivery_attempt")
    pubsub.create_topic()
    dead_letters = pubsub.create_topic("dead")
    graveyard = pubsub.create_subscription("graveyard", "dead")
    with PushEndpoint(lambda _: 500) as endpoint:
        pubsub.create_subscription(
            push_config={"push_endpoint": endpoint.url},
            dead_letter_policy={"dead_letter_topic": dead_letters},
        )
        pubsub.publish({"data": b"poison"})
        assert payloads(pubsub.pull_some(graveyard)) == [b"poison"]
    assert [each.body["deliveryAttempt"] for each in endpoint.requests] == [1, 2, 3, 4, 5]
