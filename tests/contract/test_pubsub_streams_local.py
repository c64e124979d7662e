"""What streams of our Pub/Sub server cost, and that they outlive it.

Google's emulator takes no clock, keeps nothing across a restart and bounds nothing.
"""

import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import bidi, exceptions
from google.cloud import pubsub_v1

from local.pubsub import PubSubServer, streaming
from local.pubsub.broker import MAX_RESPONSE_BYTES, Broker
from local.pubsub.outstanding import Allowance
from local.pubsub.protos import PubsubMessage, Subscription, Topic
from local.pubsub.store import Store
from support import wait
from support.pubsub_servers import ManualClock, connect, payloads, server_process
from support.pubsub_streams import open_stream

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

throttle = bidi._Throttle

TOPIC = "projects/p/topics/letters"
SUBSCRIPTION = "projects/p/subscriptions/reader"


def broker_with(tmp_path: Path, clock: ManualClock, *data: bytes) -> Broker:
    """A broker whose one subscription waits for messages with that data."""
    broker = Broker(Store(tmp_path), clock)
    broker.catalog.create_topic(Topic(name=TOPIC))
    broker.catalog.create_subscription(Subscription(name=SUBSCRIPTION, topic=TOPIC))
    broker.publish(TOPIC, [PubsubMessage(data=each) for each in data])
    return broker


def test_ten_thousand_waiting_messages_and_twenty_streams_stay_small(tmp_path: Path) -> None:
    """A stream takes two threads and no more messages than it may hold."""

    def status(field: str) -> int:
        lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        [line] = [each for each in lines if each.startswith(f"{field}:")]
        return int(line.split()[1])

    with (
        server_process(tmp_path / "state") as server,
        connect("ours", server.endpoint, "local") as pubsub,
        ExitStack() as stack,
    ):
        pubsub.create_topic()
        subscription = pubsub.create_subscription()
        pubsub.publish({"data": b"the first call makes the threads of gRPC itself"})
        kibibytes_before, threads_before = status("VmRSS"), status("Threads")
        for _ in range(10):
            pubsub.publish(*({"data": b"x" * 1000} for _ in range(1000)))
        streams = [
            stack.enter_context(open_stream(pubsub, subscription, max_outstanding_messages=10))
            for _ in range(20)
        ]
        for stream in streams:
            stream.wait_for(10)
        assert [len(stream.received) for stream in streams] == [10] * 20
        assert status("Threads") - threads_before <= 2 * 20 + 4
        assert status("VmRSS") - kibibytes_before < 48 * 1024
        # All of them go on: what one acknowledges makes room for others of the backlog.
        for stream in streams:
            stream.acknowledge(stream.received[:10])
        for stream in streams:
            stream.wait_for(20)
        seen = {each.message.message_id for stream in streams for each in stream.received}
        assert len(seen) == 400


def test_an_answer_is_bounded_in_bytes_whatever_was_asked_for(tmp_path: Path) -> None:
    data = b"x" * (MAX_RESPONSE_BYTES // 2)
    broker = broker_with(tmp_path, ManualClock(), data, data, data)
    assert len(broker.take(SUBSCRIPTION, 1000)) == 2
    assert len(broker.take(SUBSCRIPTION, 1000)) == 1


def test_a_full_stream_sleeps_until_a_lease_ends_though_messages_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is due already: by that, it would never sleep."""
    broker = broker_with(tmp_path, ManualClock(), b"held", b"waits")
    broker.take(SUBSCRIPTION, 10, 30.0, Allowance(max_messages=1))
    sleeps: list[float | None] = []
    monkeypatch.setattr(broker.changed, "wait", sleeps.append)
    with broker.changed:
        broker.wait_for_room(SUBSCRIPTION)
    assert sleeps == [30.0]


def test_streams_that_wake_for_nothing_do_not_search_the_backlog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    broker = broker_with(tmp_path, clock, b"x")
    broker.take(SUBSCRIPTION, 10, 30.0)
    assert broker.take(SUBSCRIPTION, 10) == []
    searches: list[int] = []
    search = broker.store.waiting

    def counted(*arguments: Any) -> Any:
        searches.append(1)
        return search(*arguments)

    monkeypatch.setattr(broker.store, "waiting", counted)
    for _ in range(20):
        assert broker.take(SUBSCRIPTION, 10) == []
    assert searches == []
    clock.advance(30)
    assert payloads(broker.take(SUBSCRIPTION, 10)) == [b"x"]


def test_a_stream_has_room_again_when_a_lease_ends(tmp_path: Path) -> None:
    """Acknowledged, given back, run out or too old: each frees its place."""
    clock = ManualClock()
    broker = broker_with(tmp_path, clock, *(b"1", b"2", b"3", b"4"))
    allowance = Allowance(max_messages=4)
    first, second, *_ = broker.take(SUBSCRIPTION, 10, 30.0, allowance)
    broker.acknowledge(SUBSCRIPTION, [first.ack_id])
    assert len(allowance.held) == 3
    broker.modify_ack_deadline(SUBSCRIPTION, [second.ack_id], 0)
    assert len(allowance.held) == 2
    clock.advance(30)
    assert len(broker.take(SUBSCRIPTION, 10, 600.0, allowance)) == 3
    assert len(allowance.held) == 3
    clock.advance(7 * 86_400 + 1)
    broker.publish(TOPIC, [PubsubMessage(data=b"new")])
    assert payloads(broker.take(SUBSCRIPTION, 10, 30.0, allowance)) == [b"new"]
    assert len(allowance.held) == 1
    assert len(broker.outstanding) == 1
    assert allowance.held_bytes == sum(allowance.held.values()) > 0


def test_a_stream_that_ended_leaves_nothing_in_memory(tmp_path: Path) -> None:
    with PubSubServer(tmp_path) as server, connect("ours", server.endpoint, "local") as pubsub:
        pubsub.create_topic()
        subscription = pubsub.create_subscription()
        outstanding = server._broker.outstanding
        with open_stream(pubsub, subscription) as stream:
            pubsub.publish({"data": b"x"})
            stream.wait_for(1)
            assert len(outstanding) == 1
        wait.until(lambda: len(outstanding) == 0)


def test_more_streams_than_there_may_be_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that acknowledge find a thread, and streams that ended make room."""
    monkeypatch.setattr(streaming, "MAX_STREAMS", 2)
    with PubSubServer(tmp_path) as server, connect("ours", server.endpoint, "local") as pubsub:
        pubsub.create_topic()
        subscription = pubsub.create_subscription()
        for _ in range(3):
            pubsub.publish({"data": b"1"}, {"data": b"2"})
            with (
                open_stream(pubsub, subscription, max_outstanding_messages=1) as first,
                open_stream(pubsub, subscription, max_outstanding_messages=1) as second,
            ):
                first.wait_for(1)
                second.wait_for(1)
                with open_stream(pubsub, subscription) as third:
                    assert isinstance(third.wait_for_end(), exceptions.ResourceExhausted)
                pubsub.acknowledge(subscription, first.received + second.received)
            wait.until(server_streams_ended)


def server_streams_ended() -> bool:
    """Whether no thread of this process reads a stream any more."""
    return not any(each.name == "pubsub-stream" for each in threading.enumerate())


def test_the_client_goes_on_by_itself_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    def callback(message: Any) -> None:
        seen.append(message.data)
        message.ack()

    # The client tries five times at once and then pauses for ten seconds.
    monkeypatch.setattr(
        bidi, "_Throttle", lambda access_limit, time_window: throttle(1, timedelta(seconds=0.1))
    )
    with ExitStack() as clients:
        with (
            PubSubServer(tmp_path) as server,
            connect("ours", server.endpoint, "local") as pubsub,
        ):
            pubsub.create_topic()
            subscription = pubsub.create_subscription()
            monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
            subscriber = clients.enter_context(pubsub_v1.SubscriberClient())
            future = subscriber.subscribe(subscription, callback)
            pubsub.publish({"data": b"before"})
            wait.until(lambda: seen == [b"before"])
        with (
            PubSubServer(tmp_path, server.port) as server,
            connect("ours", server.endpoint, "local") as pubsub,
        ):
            pubsub.publish({"data": b"after"})
            wait.until(lambda: seen == [b"before", b"after"])
            future.cancel()
            future.result(timeout=10)
