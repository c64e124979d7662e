"""Which topics and subscriptions there are: kept in memory, written through to the store."""

from dataclasses import dataclass, field
from typing import Any

from local.pubsub import resources
from local.pubsub.errors import already_exists, invalid_argument, not_found
from local.pubsub.filter import FilterError, Matcher, compile_filter
from local.pubsub.pages import page_of
from local.pubsub.protos import Subscription as SubscriptionClass
from local.pubsub.protos import SubscriptionProto, Topic, TopicProto, seconds_of
from local.pubsub.store import Store


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription as the broker uses it; replaced, never changed."""

    id: int  # the store's, never used twice
    proto: SubscriptionProto
    matches: Matcher = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.proto.name)

    @property
    def is_push(self) -> bool:
        return bool(self.proto.push_config.push_endpoint)

    @property
    def retention_seconds(self) -> float:
        return seconds_of(self.proto.message_retention_duration)

    @property
    def is_exactly_once(self) -> bool:
        return bool(self.proto.enable_exactly_once_delivery)


class Catalog:
    """Topics and subscriptions by name; the caller holds the broker's lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[str, TopicProto] = {
            name: Topic.FromString(body) for name, body in store.topics()
        }
        self._subscriptions: dict[str, Subscription] = {}
        for subscription_id, body in store.subscriptions():
            self._remember(subscription_id, SubscriptionClass.FromString(body))

    # Topics

    def create_topic(self, topic: TopicProto) -> TopicProto:
        resources.check_topic(topic)
        if topic.name in self._topics:
            raise already_exists(f"Topic already exists ({topic.name}).")
        return self._save_topic(topic)

    def update_topic(self, update: TopicProto, paths: list[str]) -> TopicProto:
        current = self.topic(update.name)
        updated = resources.apply_update_mask(
            current, update, paths, resources.MUTABLE_TOPIC_FIELDS
        )
        resources.check_topic(updated)
        return self._save_topic(updated)

    def topic(self, name: str) -> TopicProto:
        topic = self._topics.get(name)
        if topic is None:
            raise not_found(f"Topic not found ({name}).")
        return topic

    def has_topic(self, name: str) -> bool:
        return name in self._topics

    def topics(self) -> list[TopicProto]:
        return list(self._topics.values())

    def topic_retention_seconds(self, name: str) -> float:
        """How long a topic itself keeps messages; 0 where it does not, or is no more."""
        topic = self._topics.get(name)
        return 0.0 if topic is None else seconds_of(topic.message_retention_duration)

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay and keep what they have."""
        self.topic(name)
        orphans = []
        for subscription in self.subscriptions_of(name):
            proto = _copy(subscription.proto)
            proto.topic = resources.DELETED_TOPIC
            orphans.append((subscription.id, proto))
        with self._store.transaction():
            self._store.delete_topic(name)
            for subscription_id, proto in orphans:
                self._store.save_subscription(subscription_id, proto.SerializeToString())
        del self._topics[name]
        for subscription_id, proto in orphans:
            self._remember(subscription_id, proto)

    def list_topics(
        self, project: str, page_size: int, page_token: str
    ) -> tuple[list[TopicProto], str]:
        names = [name for name in self._topics if name.startswith(f"{project}/topics/")]
        page, next_page_token = page_of(names, page_size, page_token)
        return [self._topics[name] for name in page], next_page_token

    def list_topic_subscriptions(
        self, topic: str, page_size: int, page_token: str
    ) -> tuple[list[str], str]:
        self.topic(topic)
        names = [subscription.name for subscription in self.subscriptions_of(topic)]
        return page_of(names, page_size, page_token)

    def _save_topic(self, topic: TopicProto) -> TopicProto:
        with self._store.transaction():
            self._store.save_topic(topic.name, topic.SerializeToString())
        self._topics[topic.name] = topic
        return topic

    # Subscriptions

    def create_subscription(self, proto: SubscriptionProto) -> SubscriptionProto:
        resources.complete_subscription(proto)
        matches = _compile(proto.filter)
        if proto.name in self._subscriptions:
            raise already_exists(f"Subscription already exists ({proto.name}).")
        if proto.topic not in self._topics:
            raise not_found(f"Subscription topic does not exist ({proto.topic}).")
        self._check_dead_letter_topic(proto)
        with self._store.transaction():
            subscription_id = self._store.add_subscription(proto.name, proto.SerializeToString())
        self._subscriptions[proto.name] = Subscription(
            id=subscription_id, proto=proto, matches=matches
        )
        return self.describe(proto)

    def update_subscription(self, update: SubscriptionProto, paths: list[str]) -> SubscriptionProto:
        current = self.subscription(update.name)
        proto = resources.apply_update_mask(
            current.proto, update, paths, resources.MUTABLE_SUBSCRIPTION_FIELDS
        )
        resources.complete_subscription(proto)
        if "dead_letter_policy" in paths:
            self._check_dead_letter_topic(proto)
        with self._store.transaction():
            self._store.save_subscription(current.id, proto.SerializeToString())
        self._remember(current.id, proto)
        return self.describe(proto)

    def modify_push_config(self, name: str, push_config: Any) -> None:
        update = SubscriptionClass(name=name, push_config=push_config)
        self.update_subscription(update, ["push_config"])

    def subscription(self, name: str) -> Subscription:
        subscription = self._subscriptions.get(name)
        if subscription is None:
            raise not_found(f"Subscription does not exist ({name}).")
        return subscription

    def delete_subscription(self, name: str) -> None:
        subscription = self.subscription(name)
        with self._store.transaction():
            self._store.delete_subscription(subscription.id)
        del self._subscriptions[name]

    def list_subscriptions(
        self, project: str, page_size: int, page_token: str
    ) -> tuple[list[SubscriptionProto], str]:
        prefix = f"{project}/subscriptions/"
        names = [name for name in self._subscriptions if name.startswith(prefix)]
        page, next_page_token = page_of(names, page_size, page_token)
        return [self.describe(self._subscriptions[name].proto) for name in page], next_page_token

    def describe(self, proto: SubscriptionProto) -> SubscriptionProto:
        """A subscription as it is answered: with what its topic keeps."""
        topic = self._topics.get(proto.topic)
        if topic is None or not topic.HasField("message_retention_duration"):
            return proto
        described = _copy(proto)
        described.topic_message_retention_duration.CopyFrom(topic.message_retention_duration)
        return described

    def subscriptions(self) -> list[Subscription]:
        return list(self._subscriptions.values())

    def subscriptions_of(self, topic: str) -> list[Subscription]:
        return [each for each in self._subscriptions.values() if each.proto.topic == topic]

    def push_subscriptions(self) -> list[Subscription]:
        return [each for each in self._subscriptions.values() if each.is_push]

    def _check_dead_letter_topic(self, proto: SubscriptionProto) -> None:
        topic = proto.dead_letter_policy.dead_letter_topic
        if topic and topic not in self._topics:
            raise not_found(f"Dead letter topic not found ({topic}).")

    def _remember(self, subscription_id: int, proto: SubscriptionProto) -> None:
        self._subscriptions[proto.name] = Subscription(
            id=subscription_id, proto=proto, matches=_compile(proto.filter)
        )


def _compile(text: str) -> Matcher:
    try:
        return compile_filter(text)
    except FilterError as exc:
        raise invalid_argument(str(exc)) from exc


def _copy(proto: SubscriptionProto) -> SubscriptionProto:
    copy = SubscriptionClass()
    copy.CopyFrom(proto)
    return copy
