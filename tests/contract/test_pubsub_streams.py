"""Streaming pull, on our Pub/Sub server and on Google's emulator: one body.

First request by request, then through Google's high-level client, which streams, extends leases and
connects again by itself.
"""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError, AcknowledgeStatus

from support import wait
from support.pubsub_servers import PubSub, payloads
from support.pubsub_streams import Stream, first_request, open_stream

# The flag is the only way to ask what can be delivered at this moment.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


@pytest.fixture
def subscription(pubsub: PubSub) -> str:
    pubsub.create_topic()
    return pubsub.create_subscription()


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"data": str(number).encode()} for number in range(count)]


# Request by request


def test_a_stream_receives_what_waits_and_what_comes(pubsub: PubSub, subscription: str) -> None:
    pubsub.publish({"data": b"waits"})
    with open_stream(pubsub, subscription) as stream:
        assert stream.wait_for(1) == [b"waits"]
        stream.send()  # a heartbeat, as clients send one every half minute
        pubsub.publish({"data": b"comes"})
        assert stream.wait_for(2) == [b"waits", b"comes"]


@pytest.mark.parametrize("way", ["stream", "unary"])
def test_a_nacked_message_comes_again_and_an_acknowledged_one_does_not(
    pubsub: PubSub, subscription: str, way: str
) -> None:
    with open_stream(pubsub, subscription) as stream:
        pubsub.publish({"data": b"done"}, {"data": b"again"})
        stream.wait_for(2)
        done, again = sorted(stream.received, key=lambda each: str(each.message.data), reverse=True)
        if way == "stream":
            stream.acknowledge([done])
            stream.set_deadline([done, again], 0)
        else:
            pubsub.acknowledge(subscription, [done])
            pubsub.nack(subscription, [done, again])
        assert stream.wait_for(3)[2] == b"again"
        stream.acknowledge(stream.received[2:])
        pubsub.publish({"data": b"next"})
        assert stream.wait_for(4)[3] == b"next"


def test_a_message_comes_again_when_the_deadline_set_on_the_stream_ends(
    pubsub: PubSub, subscription: str
) -> None:
    with open_stream(pubsub, subscription) as stream:
        pubsub.publish({"data": b"x"})
        stream.wait_for(1)
        stream.set_deadline(stream.received, 1)
        assert stream.wait_for(2) == [b"x", b"x"]


def test_streams_share_the_messages_of_their_subscription(
    pubsub: PubSub, subscription: str
) -> None:
    with (
        open_stream(pubsub, subscription, max_outstanding_messages=10) as first,
        open_stream(pubsub, subscription, max_outstanding_messages=10) as second,
    ):
        pubsub.publish(*numbered(40))
        settled = {first: 0, second: 0}

        def settle() -> bool:
            for stream in settled:
                unsettled = stream.received[settled[stream] :]
                settled[stream] += len(unsettled)
                if unsettled:
                    stream.acknowledge(unsettled)
            return sum(settled.values()) >= 40

        wait.until(settle)
        seen = payloads(first.received + second.received)
    assert sorted(seen, key=int) == [each["data"] for each in numbered(40)]


def test_a_stream_has_no_more_messages_outstanding_than_it_may(
    pubsub: PubSub, subscription: str
) -> None:
    pubsub.skip_known_difference("stream_flow_control")
    pubsub.publish(*numbered(5))
    with open_stream(pubsub, subscription, max_outstanding_messages=2) as stream:
        assert stream.wait_for(2) == [b"0", b"1"]
        stream.acknowledge(stream.received[:1])
        assert stream.wait_for(3) == [b"0", b"1", b"2"]
        pubsub.nack(subscription, stream.received[1:2])
        assert stream.wait_for(4)[3] == b"1"
        # The rest was not sent: it can be pulled.
        assert payloads(pubsub.pull_now(subscription)) == [b"3", b"4"]


def test_a_stream_is_sent_no_more_once_it_holds_the_bytes_it_may(
    pubsub: PubSub, subscription: str
) -> None:
    pubsub.skip_known_difference("stream_flow_control")
    pubsub.publish(*({"data": data * 100} for data in (b"a", b"b", b"c", b"d")))
    with open_stream(pubsub, subscription, max_outstanding_bytes=150) as stream:
        assert stream.wait_for(2) == [b"a" * 100, b"b" * 100]
        stream.acknowledge(stream.received[:1])
        assert stream.wait_for(3)[2] == b"c" * 100
        assert payloads(pubsub.pull_now(subscription)) == [b"d" * 100]


def test_a_later_stream_may_settle_what_an_earlier_one_received(
    pubsub: PubSub, subscription: str
) -> None:
    pubsub.skip_known_difference("left_stream")
    pubsub.publish({"data": b"done"}, {"data": b"again"})
    with open_stream(pubsub, subscription) as earlier:
        earlier.wait_for(2)
    done, again = sorted(earlier.received, key=lambda each: str(each.message.data), reverse=True)
    with open_stream(pubsub, subscription) as later:
        later.acknowledge([done])
        later.set_deadline([done, again], 0)
        assert later.wait_for(1) == [b"again"]


def test_a_stream_that_its_client_has_left_takes_no_messages(
    pubsub: PubSub, subscription: str
) -> None:
    pubsub.skip_known_difference("left_stream")
    stream = Stream(pubsub, first_request(subscription))
    pubsub.publish({"data": b"first"})
    stream.wait_for(1)
    stream.close()
    with open_stream(pubsub, subscription) as other:
        other.acknowledge(stream.received)
        pubsub.publish({"data": b"second"})
        assert other.wait_for(1) == [b"second"]


def test_a_stream_ends_with_its_subscription(pubsub: PubSub, subscription: str) -> None:
    with open_stream(pubsub, subscription) as stream:
        pubsub.publish({"data": b"x"})
        stream.wait_for(1)
        pubsub.subscriber.delete_subscription(subscription=subscription)
        assert isinstance(stream.wait_for_end(), exceptions.NotFound)


@pytest.mark.parametrize(
    "change",
    [
        {"subscription": ""},
        {"stream_ack_deadline_seconds": 0},
        {"stream_ack_deadline_seconds": 9},
        {"stream_ack_deadline_seconds": 601},
    ],
    ids=str,
)
def test_a_stream_must_start_with_a_subscription_and_a_deadline(
    pubsub: PubSub, subscription: str, change: dict[str, Any]
) -> None:
    with open_stream(pubsub, **{**first_request(subscription), **change}) as stream:
        assert isinstance(stream.wait_for_end(), exceptions.InvalidArgument)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"subscription": "projects/p/subscriptions/reader"},
        {"ack_ids": ["nonsense"]},
        {"modify_deadline_ack_ids": ["1-1-1-1"], "modify_deadline_seconds": []},
        {"stream_ack_deadline_seconds": 601},
    ],
    ids=str,
)
def test_a_malformed_request_ends_a_stream(
    pubsub: PubSub, subscription: str, request_fields: dict[str, Any]
) -> None:
    with open_stream(pubsub, subscription) as stream:
        stream.send(**request_fields)
        assert isinstance(stream.wait_for_end(), exceptions.InvalidArgument)


@pytest.mark.parametrize("field", ["max_outstanding_messages", "max_outstanding_bytes"])
def test_a_streams_flow_control_cannot_be_changed(
    pubsub: PubSub, subscription: str, field: str
) -> None:
    pubsub.skip_known_difference("stream_settings")
    with open_stream(pubsub, subscription) as stream:
        stream.send(**{field: 1})
        assert isinstance(stream.wait_for_end(), exceptions.InvalidArgument)


# Exactly once


def test_exactly_once_delivery_refuses_an_acknowledgement_that_is_too_late(
    pubsub: PubSub,
) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(enable_exactly_once_delivery=True)
    pubsub.publish({"data": b"x"})
    first = pubsub.pull_some(subscription)
    pubsub.nack(subscription, first)
    for settle in (pubsub.acknowledge, pubsub.nack):
        with pytest.raises(exceptions.BadRequest) as refused:
            settle(subscription, first)
        assert refused.value.reason == "EXACTLY_ONCE_ACKID_FAILURE"
        assert refused.value.metadata == {first[0].ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    pubsub.acknowledge(subscription, pubsub.pull_some(subscription))
    assert pubsub.pull_now(subscription) == []


def test_exactly_once_delivery_is_for_pulling(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("exactly_once_push")
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_subscription(
            enable_exactly_once_delivery=True, push_config={"push_endpoint": "http://127.0.0.1:1/"}
        )


# Google's high-level client


@contextmanager
def subscribed(
    pubsub: PubSub,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[Any], None],
    **options: Any,
) -> Iterator[Any]:
    """Google's `subscribe()`, found by PUBSUB_EMULATOR_HOST as users have it."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.endpoint)
    with pubsub_v1.SubscriberClient() as subscriber:
        future = subscriber.subscribe(pubsub.subscription_name(), callback, **options)
        yield future
        future.cancel()
        future.result(timeout=10)


def test_the_client_has_no_more_messages_at_hand_than_its_flow_control_allows(
    pubsub: PubSub, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()
    at_hand = most_at_hand = 0
    handed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def callback(message: Any) -> None:
        nonlocal at_hand, most_at_hand
        with lock:
            at_hand += 1
            most_at_hand = max(most_at_hand, at_hand)
        handed.put(message)

    seen: list[bytes] = []
    flow_control = pubsub_v1.types.FlowControl(max_messages=3)
    pubsub.publish(*numbered(30))
    with subscribed(pubsub, monkeypatch, callback, flow_control=flow_control):
        while len(seen) < 30:
            message = handed.get(timeout=10)
            seen.append(message.data)
            with lock:
                at_hand -= 1
            message.ack()
    assert sorted(seen, key=int) == [each["data"] for each in numbered(30)]
    assert most_at_hand <= 3
    assert pubsub.pull_now(subscription) == []


def test_the_client_sees_the_messages_of_a_key_in_order(
    pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pubsub.create_topic()
    pubsub.create_subscription(enable_message_ordering=True)
    lock = threading.Lock()
    seen: dict[str, list[bytes]] = defaultdict(list)

    def callback(message: Any) -> None:
        with lock:
            seen[message.ordering_key].append(message.data)
        message.ack()

    for message in numbered(5):
        pubsub.publish(*({**message, "ordering_key": key} for key in ("a", "b", "c")))
    with subscribed(pubsub, monkeypatch, callback):
        wait.until(lambda: sum(map(len, seen.values())) >= 15)
    in_order = [each["data"] for each in numbered(5)]
    assert seen == {"a": in_order, "b": in_order, "c": in_order}


def test_the_client_is_told_which_acknowledgements_counted(
    pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(enable_exactly_once_delivery=True)
    messages: list[Any] = []
    with subscribed(pubsub, monkeypatch, messages.append):
        pubsub.publish({"data": b"in time"}, {"data": b"too late"})
        wait.until(lambda: len(messages) >= 2)
        late, timely = sorted(messages, key=lambda each: str(each.data), reverse=True)
        assert timely.ack_with_response().result(timeout=10) == AcknowledgeStatus.SUCCESS
        pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=[late.ack_id])
        with pytest.raises(AcknowledgeError) as refused:
            late.ack_with_response().result(timeout=10)
    assert refused.value.error_code == AcknowledgeStatus.INVALID_ACK_ID


def test_the_client_is_told_that_its_subscription_was_deleted(
    pubsub: PubSub, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[Any] = []
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.endpoint)
    with pubsub_v1.SubscriberClient() as subscriber:
        future = subscriber.subscribe(subscription, messages.append)
        pubsub.publish({"data": b"x"})
        wait.until(lambda: messages)
        pubsub.subscriber.delete_subscription(subscription=subscription)
        with pytest.raises(exceptions.NotFound):
            future.result(timeout=10)
