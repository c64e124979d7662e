"""What our Pub/Sub server keeps for replay, by an injected clock and across restarts.

Google's emulator takes no clock and keeps nothing across a restart.
"""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions

from local.pubsub import PubSubServer
from local.pubsub.schema import STEPS
from support.pubsub_servers import ManualClock, PubSub, connect, payloads

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

DAY = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pubsub(tmp_path: Path, clock: ManualClock) -> Iterator[PubSub]:
    with (
        PubSubServer(tmp_path / "state", clock=clock) as server,
        connect("ours", server.endpoint, "local") as clients,
    ):
        clients.create_topic()
        yield clients


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def take_all(pubsub: PubSub, subscription: str) -> list[bytes]:
    """Pull and acknowledge whatever can be delivered."""
    seen: list[bytes] = []
    while received := pubsub.pull_now(subscription):
        pubsub.acknowledge(subscription, received)
        seen += payloads(received)
    return seen


def rows_in(state_dir: Path, table: str) -> int:
    """How many there are after the server has stopped."""
    with sqlite3.connect(state_dir / "pubsub.sqlite3") as database:
        (count,) = database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    database.close()
    return int(count)


# Retention


def test_retained_messages_are_kept_as_long_as_the_subscription_says(
    pubsub: PubSub, clock: ManualClock
) -> None:
    subscription = pubsub.create_subscription(
        retain_acked_messages=True, message_retention_duration={"seconds": 600}
    )
    start = clock.now
    pubsub.publish({"data": b"old"})
    clock.advance(300)
    pubsub.publish({"data": b"new"})
    assert take_all(pubsub, subscription) == [b"old", b"new"]
    clock.advance(301)
    pubsub.seek(subscription, at(start))
    assert take_all(pubsub, subscription) == [b"new"]


def test_what_is_retained_is_given_up_with_the_wish_to_retain(
    pubsub: PubSub, clock: ManualClock
) -> None:
    subscription = pubsub.create_subscription(retain_acked_messages=True)
    pubsub.publish({"data": b"x"})
    take_all(pubsub, subscription)
    pubsub.subscriber.update_subscription(
        request={
            "subscription": {"name": subscription},
            "update_mask": {"paths": ["retain_acked_messages"]},
        }
    )
    pubsub.seek(subscription, at(clock.now - 60))
    assert take_all(pubsub, subscription) == []


def test_an_unacknowledged_message_is_kept_for_the_longer_of_both_retentions(
    pubsub: PubSub, clock: ManualClock
) -> None:
    pubsub.publisher.create_topic(
        request={"name": pubsub.topic_name("keeps"), "message_retention_duration": {"seconds": 900}}
    )
    subscription = pubsub.create_subscription(
        topic_id="keeps", message_retention_duration={"seconds": 600}
    )
    pubsub.publish({"data": b"x"}, topic_id="keeps")
    clock.advance(900)
    received = pubsub.pull_now(subscription)
    assert payloads(received) == [b"x"]
    pubsub.nack(subscription, received)
    clock.advance(1)
    assert pubsub.pull_now(subscription) == []


def test_a_topic_keeps_messages_as_long_as_it_says(pubsub: PubSub, clock: ManualClock) -> None:
    pubsub.publisher.create_topic(
        request={"name": pubsub.topic_name("keeps"), "message_retention_duration": {"seconds": 600}}
    )
    start = clock.now
    pubsub.publish({"data": b"old"}, topic_id="keeps")
    clock.advance(300)
    pubsub.publish({"data": b"new"}, topic_id="keeps")
    clock.advance(301)
    subscription = pubsub.create_subscription(topic_id="keeps")
    pubsub.seek(subscription, at(start))
    assert take_all(pubsub, subscription) == [b"new"]


def test_what_a_topic_keeps_is_given_up_with_its_retention(
    pubsub: PubSub, clock: ManualClock
) -> None:
    topic = {"name": pubsub.topic_name("keeps"), "message_retention_duration": {"seconds": 600}}
    pubsub.publisher.create_topic(request=topic)
    pubsub.publish({"data": b"x"}, topic_id="keeps")
    pubsub.publisher.update_topic(
        request={
            "topic": {"name": topic["name"]},
            "update_mask": {"paths": ["message_retention_duration"]},
        }
    )
    subscription = pubsub.create_subscription(topic_id="keeps")
    pubsub.seek(subscription, at(clock.now - 60))
    assert take_all(pubsub, subscription) == []


def test_a_topic_made_again_has_nothing_of_its_predecessor(
    pubsub: PubSub, clock: ManualClock
) -> None:
    topic = {"name": pubsub.topic_name("keeps"), "message_retention_duration": {"seconds": 600}}
    pubsub.publisher.create_topic(request=topic)
    pubsub.publish({"data": b"x"}, topic_id="keeps")
    pubsub.publisher.delete_topic(topic=topic["name"])
    pubsub.publisher.create_topic(request=topic)
    subscription = pubsub.create_subscription(topic_id="keeps")
    pubsub.seek(subscription, at(clock.now - 60))
    assert take_all(pubsub, subscription) == []


def test_what_nobody_asks_for_is_forgotten_in_time(tmp_path: Path, clock: ManualClock) -> None:
    with (
        PubSubServer(tmp_path, clock=clock) as server,
        connect("ours", server.endpoint, "local") as pubsub,
    ):
        pubsub.publisher.create_topic(
            request={"name": pubsub.topic_name(), "message_retention_duration": {"seconds": 600}}
        )
        unread = pubsub.create_subscription("unread", message_retention_duration={"seconds": 600})
        pubsub.create_snapshot(unread)
        read = pubsub.create_subscription("read", retain_acked_messages=True)
        pubsub.publish({"data": b"x"}, {"data": b"y"})
        take_all(pubsub, read)
        clock.advance(7 * DAY + 1)
        pubsub.create_topic("other")
        pubsub.publish({"data": b"z"}, topic_id="other")
    assert rows_in(tmp_path, "messages") == 0


# Seek


def test_a_seek_parts_messages_at_their_publish_time(pubsub: PubSub, clock: ManualClock) -> None:
    """What was published at the very time is delivered again."""
    subscription = pubsub.create_subscription(retain_acked_messages=True)
    clock.advance(0.123456)
    for data in (b"1", b"2", b"3"):
        pubsub.publish({"data": data})
        clock.advance(1)
    received = pubsub.pull_now(subscription)
    pubsub.acknowledge(subscription, received[1:])
    pubsub.seek(subscription, received[1].message.publish_time)
    assert take_all(pubsub, subscription) == [b"2", b"3"]
    # What counts is the time that the message tells, in whole milliseconds.
    just_after = received[1].message.publish_time + timedelta(microseconds=200)
    pubsub.seek(subscription, just_after)
    assert take_all(pubsub, subscription) == [b"3"]


def test_a_seek_leaves_what_stays_unacknowledged_with_its_holder(
    pubsub: PubSub, clock: ManualClock
) -> None:
    pubsub.publisher.create_topic(
        request={"name": pubsub.topic_name("keeps"), "message_retention_duration": {"seconds": 600}}
    )
    subscription = pubsub.create_subscription(topic_id="keeps")
    pubsub.publish({"data": b"held"}, topic_id="keeps")
    held = pubsub.pull_now(subscription)
    pubsub.seek(subscription, at(clock.now - 60))
    assert pubsub.pull_now(subscription) == []
    pubsub.acknowledge(subscription, held)
    clock.advance(11)
    assert pubsub.pull_now(subscription) == []


def test_an_acknowledgement_from_before_a_seek_does_not_settle_after_it(
    pubsub: PubSub, clock: ManualClock
) -> None:
    subscription = pubsub.create_subscription(retain_acked_messages=True)
    pubsub.publish({"data": b"x"})
    before = pubsub.pull_now(subscription)
    pubsub.acknowledge(subscription, before)
    pubsub.seek(subscription, at(clock.now - 60))
    assert payloads(pubsub.pull_now(subscription)) == [b"x"]
    pubsub.acknowledge(subscription, before)
    clock.advance(10)
    assert payloads(pubsub.pull_now(subscription)) == [b"x"]


def test_a_seek_respects_the_filter(pubsub: PubSub) -> None:
    everything = pubsub.create_subscription("everything")
    red = pubsub.create_subscription("red", filter='attributes.color = "red"')
    snapshot = pubsub.create_snapshot(everything)
    pubsub.publish(
        {"data": b"1", "attributes": {"color": "red"}},
        {"data": b"2", "attributes": {"color": "blue"}},
    )
    take_all(pubsub, red)
    pubsub.seek(red, snapshot)
    assert take_all(pubsub, red) == [b"1"]


def test_a_seek_respects_the_order_of_a_key(pubsub: PubSub, clock: ManualClock) -> None:
    subscription = pubsub.create_subscription(
        enable_message_ordering=True, retain_acked_messages=True
    )
    pubsub.publish(*({"data": data, "ordering_key": "k"} for data in (b"1", b"2", b"3")))
    for _ in range(2):
        pubsub.acknowledge(subscription, pubsub.pull_now(subscription))
    pubsub.seek(subscription, at(clock.now - 60))
    assert take_all(pubsub, subscription) == [b"1", b"2", b"3"]


# Snapshots


def test_a_snapshot_expires_a_week_after_its_oldest_message(
    pubsub: PubSub, clock: ManualClock
) -> None:
    subscription = pubsub.create_subscription()
    published_at = clock.now
    pubsub.publish({"data": b"x"})
    clock.advance(3 * DAY)
    snapshot = pubsub.create_snapshot(subscription)
    expire_time = pubsub.subscriber.get_snapshot(snapshot=snapshot).expire_time
    assert expire_time.timestamp() == published_at + 7 * DAY
    clock.advance(4 * DAY - 1)
    pubsub.subscriber.get_snapshot(snapshot=snapshot)
    clock.advance(1)
    with pytest.raises(exceptions.NotFound):
        pubsub.subscriber.get_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        pubsub.seek(subscription, snapshot)
    assert list(pubsub.subscriber.list_snapshots(project=pubsub.project)) == []


def test_a_snapshot_that_would_expire_within_an_hour_is_refused(
    pubsub: PubSub, clock: ManualClock
) -> None:
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    clock.advance(7 * DAY - 3599)
    with pytest.raises(exceptions.FailedPrecondition):
        pubsub.create_snapshot(subscription)


# The state


def test_what_is_kept_for_replay_survives_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    with (
        PubSubServer(tmp_path, clock=clock) as server,
        connect("ours", server.endpoint, "local") as pubsub,
    ):
        pubsub.create_topic()
        retaining = pubsub.create_subscription("retaining", retain_acked_messages=True)
        plain = pubsub.create_subscription("plain")
        snapshot = pubsub.create_snapshot(plain)
        pubsub.publish({"data": b"x"})
        for subscription in (retaining, plain):
            take_all(pubsub, subscription)

    with (
        PubSubServer(tmp_path, clock=clock) as server,
        connect("ours", server.endpoint, "local") as pubsub,
    ):
        assert take_all(pubsub, retaining) == take_all(pubsub, plain) == []
        pubsub.publish({"data": b"y"})
        pubsub.seek(retaining, at(clock.now - 60))
        pubsub.seek(plain, snapshot)
        assert take_all(pubsub, retaining) == [b"x", b"y"]
        assert take_all(pubsub, plain) == [b"x", b"y"]


def test_nothing_is_left_when_nothing_keeps_it(tmp_path: Path, clock: ManualClock) -> None:
    with (
        PubSubServer(tmp_path, clock=clock) as server,
        connect("ours", server.endpoint, "local") as pubsub,
    ):
        topic = str(
            pubsub.publisher.create_topic(
                request={
                    "name": pubsub.topic_name(),
                    "message_retention_duration": {"seconds": 600},
                }
            ).name
        )
        subscription = pubsub.create_subscription(retain_acked_messages=True)
        snapshot = pubsub.create_snapshot(subscription)
        pubsub.publish({"data": b"x"}, {"data": b"y"})
        pubsub.acknowledge(subscription, pubsub.pull_now(subscription, max_messages=1))
        pubsub.subscriber.delete_snapshot(snapshot=snapshot)
        pubsub.subscriber.delete_subscription(subscription=subscription)
        pubsub.publisher.delete_topic(topic=topic)
    assert rows_in(tmp_path, "messages") == 0


def test_the_state_of_the_first_version_is_brought_forward(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "pubsub.sqlite3") as database:
        database.executescript(STEPS[0] + "PRAGMA user_version=1;")
    database.close()
    with PubSubServer(tmp_path) as server, connect("ours", server.endpoint, "local") as pubsub:
        pubsub.create_topic()
        subscription = pubsub.create_subscription(retain_acked_messages=True)
        pubsub.publish({"data": b"x"})
        assert take_all(pubsub, subscription) == [b"x"]
        pubsub.seek(subscription, datetime.fromtimestamp(0, UTC))
        assert take_all(pubsub, subscription) == [b"x"]
