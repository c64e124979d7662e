"""Seek, snapshots and retention, on our Pub/Sub server and on Google's emulator: one body."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core import exceptions

from support.pubsub_servers import PubSub, payloads
from support.pubsub_streams import open_stream

# The flag is the only way to ask what can be delivered at this moment.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def acknowledge_all(pubsub: PubSub, subscription: str, count: int) -> None:
    """Acknowledge that many messages, all that there are."""
    while count:
        received = pubsub.pull_some(subscription)
        pubsub.acknowledge(subscription, received)
        count -= len(received)
    assert pubsub.pull_now(subscription) == []


def pull_payloads(pubsub: PubSub, subscription: str, count: int) -> list[bytes]:
    """The payloads of that many messages, sorted, and no others."""
    seen: list[bytes] = []
    while len(seen) < count:
        received = pubsub.pull_some(subscription)
        pubsub.acknowledge(subscription, received)
        seen += payloads(received)
    assert pubsub.pull_now(subscription) == []
    return sorted(seen)


# To a time


def test_a_seek_to_the_past_brings_retained_messages_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(retain_acked_messages=True)
    pubsub.publish({"data": b"1"}, {"data": b"2"})
    acknowledge_all(pubsub, subscription, 2)
    pubsub.seek(subscription, now() - HOUR)
    assert pull_payloads(pubsub, subscription, 2) == [b"1", b"2"]


def test_without_retention_a_seek_to_the_past_brings_nothing_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"gone"})
    acknowledge_all(pubsub, subscription, 1)
    pubsub.publish({"data": b"kept"})
    pubsub.seek(subscription, now() - HOUR)
    assert pull_payloads(pubsub, subscription, 1) == [b"kept"]


def test_a_seek_to_the_future_acknowledges_what_there_is_and_nothing_later(
    pubsub: PubSub,
) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"waiting"})
    pubsub.seek(subscription, now() + HOUR)
    assert pubsub.pull_now(subscription) == []
    pubsub.publish({"data": b"later"})
    assert pull_payloads(pubsub, subscription, 1) == [b"later"]


def test_a_topic_that_retains_replays_to_a_subscription_made_later(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("retained_at_once")
    pubsub.publisher.create_topic(
        request={"name": pubsub.topic_name(), "message_retention_duration": {"seconds": 600}}
    )
    pubsub.publish({"data": b"early"})
    subscription = pubsub.create_subscription()
    assert pubsub.pull_now(subscription) == []
    pubsub.seek(subscription, now() - HOUR)
    assert pull_payloads(pubsub, subscription, 1) == [b"early"]


def test_a_subscription_tells_what_its_topic_retains(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("topic_retention_told")
    pubsub.publisher.create_topic(
        request={"name": pubsub.topic_name(), "message_retention_duration": {"seconds": 600}}
    )
    name = pubsub.create_subscription()
    subscription = pubsub.subscriber.get_subscription(subscription=name)
    assert subscription.topic_message_retention_duration == timedelta(seconds=600)


def test_an_open_stream_receives_what_a_seek_brings_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(retain_acked_messages=True)
    with open_stream(pubsub, subscription) as stream:
        pubsub.publish({"data": b"x"})
        stream.wait_for(1)
        pubsub.acknowledge(subscription, stream.received)
        pubsub.seek(subscription, now() - HOUR)
        assert stream.wait_for(2) == [b"x", b"x"]


# To a snapshot


def test_a_snapshot_holds_what_was_not_acknowledged_and_what_came_since(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"done"})
    acknowledge_all(pubsub, subscription, 1)
    pubsub.publish({"data": b"open"})
    snapshot = pubsub.create_snapshot(subscription)
    pubsub.publish({"data": b"since"})
    acknowledge_all(pubsub, subscription, 2)
    for _ in range(2):  # a snapshot can be used again and again
        pubsub.seek(subscription, snapshot)
        assert pull_payloads(pubsub, subscription, 2) == [b"open", b"since"]


def test_a_seek_to_a_snapshot_acknowledges_what_was_acknowledged_then(pubsub: PubSub) -> None:
    """It gives another subscription of the topic the same state."""
    pubsub.create_topic()
    first, second = pubsub.create_subscription("first"), pubsub.create_subscription("second")
    pubsub.publish({"data": b"done"})
    acknowledge_all(pubsub, first, 1)
    pubsub.publish({"data": b"open"})
    pubsub.seek(second, pubsub.create_snapshot(first))
    assert pull_payloads(pubsub, second, 1) == [b"open"]


def test_a_snapshot_outlives_its_subscription(pubsub: PubSub) -> None:
    pubsub.create_topic()
    first, second = pubsub.create_subscription("first"), pubsub.create_subscription("second")
    pubsub.publish({"data": b"x"})
    snapshot = pubsub.create_snapshot(first)
    pubsub.subscriber.delete_subscription(subscription=first)
    acknowledge_all(pubsub, second, 1)
    pubsub.seek(second, snapshot)
    assert pull_payloads(pubsub, second, 1) == [b"x"]


def test_a_snapshot_lives_for_a_week_less_the_age_of_its_backlog(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    before = now()
    name = pubsub.create_snapshot(pubsub.create_subscription())
    snapshot = pubsub.subscriber.get_snapshot(snapshot=name)
    assert snapshot.topic == topic
    assert abs(snapshot.expire_time - before - timedelta(days=7)) < timedelta(minutes=1)


def test_snapshots_are_listed_in_pages(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    subscription = pubsub.create_subscription()
    names = [pubsub.create_snapshot(subscription, f"snap-{number}") for number in range(3)]
    request = {"project": pubsub.project, "page_size": 2}
    pages = list(pubsub.subscriber.list_snapshots(request=request).pages)
    assert [len(page.snapshots) for page in pages] == [2, 1]
    assert sorted(each.name for page in pages for each in page.snapshots) == names
    assert sorted(pubsub.publisher.list_topic_snapshots(topic=topic)) == names


def test_a_snapshots_labels_can_be_changed(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("update_snapshot")
    pubsub.create_topic()
    name = pubsub.create_snapshot(pubsub.create_subscription())
    request = {
        "snapshot": {"name": name, "labels": {"a": "b"}},
        "update_mask": {"paths": ["labels"]},
    }
    pubsub.subscriber.update_snapshot(request=request)
    assert dict(pubsub.subscriber.get_snapshot(snapshot=name).labels) == {"a": "b"}


def test_a_deleted_snapshot_is_not_found(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    snapshot = pubsub.create_snapshot(subscription)
    pubsub.subscriber.delete_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        pubsub.subscriber.get_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        pubsub.subscriber.delete_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        pubsub.seek(subscription, snapshot)


def test_a_snapshot_that_exists_cannot_be_created_again(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.create_snapshot(subscription)
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.create_snapshot(subscription)


@pytest.mark.parametrize("snapshot_id", ["1abc", "ab", "googabc", "a/b"])
def test_a_snapshot_name_outside_the_rules_is_refused(pubsub: PubSub, snapshot_id: str) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_snapshot(subscription, snapshot_id)


def test_a_seek_needs_a_target_and_a_subscription_that_exists(pubsub: PubSub) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.subscriber.seek(request={"subscription": subscription})
    missing = pubsub.subscription_name("missing")
    with pytest.raises(exceptions.NotFound):
        pubsub.seek(missing, now())
    with pytest.raises(exceptions.NotFound):
        pubsub.create_snapshot(missing)


def test_a_snapshot_of_another_topic_is_refused(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    pubsub.create_topic("other")
    snapshot = pubsub.create_snapshot(pubsub.create_subscription())
    with pytest.raises(exceptions.FailedPrecondition):
        pubsub.seek(pubsub.create_subscription("stranger", "other"), snapshot)
    pubsub.publisher.delete_topic(topic=topic)
    with pytest.raises(exceptions.FailedPrecondition):
        pubsub.seek(pubsub.subscription_name(), snapshot)


def test_a_topic_made_again_with_a_deleted_ones_name_is_another(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("topic_made_again")
    topic = pubsub.create_topic()
    snapshot = pubsub.create_snapshot(pubsub.create_subscription())
    pubsub.publisher.delete_topic(topic=topic)
    pubsub.create_topic()
    with pytest.raises(exceptions.FailedPrecondition):
        pubsub.seek(pubsub.create_subscription("later"), snapshot)


# What is accepted


@pytest.mark.parametrize("policy", [{}, {"ttl": {"seconds": 86_400}}], ids=str)
def test_an_expiration_policy_is_kept_as_it_was_given(
    pubsub: PubSub, policy: dict[str, Any]
) -> None:
    """One without a time means that the subscription never expires."""
    pubsub.create_topic()
    name = pubsub.create_subscription(expiration_policy=policy)
    kept = pubsub.subscriber.get_subscription(subscription=name).expiration_policy
    assert ("ttl" in kept) == bool(policy)


def test_an_expiration_policy_below_a_day_is_refused(pubsub: PubSub) -> None:
    pubsub.skip_known_difference("expiration_minimum")
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.create_subscription(expiration_policy={"ttl": {"seconds": 86_399}})
