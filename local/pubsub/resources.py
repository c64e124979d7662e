"""Rules for topics, subscriptions and messages: names, bounds, defaults, update masks."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from local.pubsub.errors import invalid_argument, out_of_range, unimplemented
from local.pubsub.protos import MessageProto, SubscriptionProto, TopicProto, seconds_of

DELETED_TOPIC = "_deleted-topic_"

DEFAULT_ACK_DEADLINE_SECONDS = 10
DEFAULT_RETENTION_SECONDS = 7 * 86_400
DEFAULT_EXPIRATION_SECONDS = 31 * 86_400
MIN_EXPIRATION_SECONDS = 86_400
DEFAULT_MIN_BACKOFF_SECONDS = 10
DEFAULT_MAX_BACKOFF_SECONDS = 600
DEFAULT_MAX_DELIVERY_ATTEMPTS = 5

MAX_PUBLISH_BYTES = 10_000_000
MAX_PUBLISH_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024

MUTABLE_TOPIC_FIELDS = frozenset({"labels", "message_retention_duration"})
MUTABLE_SUBSCRIPTION_FIELDS = frozenset(
    {
        "push_config",
        "ack_deadline_seconds",
        "retain_acked_messages",
        "message_retention_duration",
        "labels",
        "expiration_policy",
        "dead_letter_policy",
        "retry_policy",
        "enable_exactly_once_delivery",
    }
)
MUTABLE_SNAPSHOT_FIELDS = frozenset({"labels"})

_UNSUPPORTED_TOPIC_FIELDS = ("schema_settings", "ingestion_data_source_settings")
_UNSUPPORTED_SUBSCRIPTION_FIELDS = ("bigquery_config", "cloud_storage_config", "bigtable_config")

_NAME = re.compile(
    r"projects/(?P<project>[^/]+)/(?P<collection>topics|subscriptions|snapshots)"
    r"/(?!goog)(?P<id>[A-Za-z][A-Za-z0-9\-_.~+%]{2,254})"
)


def check_name(name: str, collection: str) -> None:
    """Refuse a name that is not `projects/<project>/<collection>/<id>`."""
    match = _NAME.fullmatch(name)
    if match is None or match["collection"] != collection:
        raise invalid_argument(f"Invalid [{collection}] name: (name={name})")


def split_name(name: str) -> tuple[str, str]:
    """The project and the last part of a checked name."""
    parts = name.split("/")
    return parts[1], parts[3]


def check_topic(topic: TopicProto) -> None:
    check_name(topic.name, "topics")
    for field in _UNSUPPORTED_TOPIC_FIELDS:
        if topic.HasField(field):
            raise unimplemented(f"the topic field {field}")
    if topic.message_transforms:
        raise unimplemented("message transforms")
    if topic.HasField("message_retention_duration"):
        _check_retention(topic.message_retention_duration)


def complete_subscription(subscription: SubscriptionProto) -> None:
    """Check a subscription's fields and fill in Google's defaults, in place."""
    check_name(subscription.name, "subscriptions")
    _refuse_unsupported(subscription)
    _check_endpoint(subscription.push_config.push_endpoint)
    if subscription.enable_exactly_once_delivery and subscription.push_config.push_endpoint:
        raise invalid_argument("A push subscription cannot have exactly-once delivery.")
    subscription.push_config.SetInParent()
    subscription.ClearField("topic_message_retention_duration")  # the topic's, in answers only

    if subscription.ack_deadline_seconds == 0:
        subscription.ack_deadline_seconds = DEFAULT_ACK_DEADLINE_SECONDS
    if not 10 <= subscription.ack_deadline_seconds <= 600:
        raise invalid_argument("ack_deadline_seconds must be between 10 and 600.")
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.seconds = DEFAULT_RETENTION_SECONDS
    _check_retention(subscription.message_retention_duration)
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.seconds = DEFAULT_EXPIRATION_SECONDS
    if subscription.expiration_policy.HasField("ttl"):  # without one it never expires
        _check_expiration(subscription.expiration_policy.ttl)
    if subscription.HasField("retry_policy"):
        _complete_retry_policy(subscription.retry_policy)
    if subscription.HasField("dead_letter_policy"):
        _complete_dead_letter_policy(subscription.dead_letter_policy)


def _refuse_unsupported(subscription: SubscriptionProto) -> None:
    for field in _UNSUPPORTED_SUBSCRIPTION_FIELDS:
        if subscription.HasField(field):
            raise unimplemented(f"the subscription field {field}")
    if subscription.message_transforms:
        raise unimplemented("message transforms")
    if subscription.push_config.HasField("no_wrapper"):
        raise unimplemented("unwrapped push")


def _check_endpoint(endpoint: str) -> None:
    if not endpoint:
        return
    try:
        url = urlsplit(endpoint)
        host, _ = url.hostname, url.port
    except ValueError as exc:
        raise invalid_argument(f"Unsupported push_endpoint: {endpoint}") from exc
    if url.scheme not in ("http", "https") or not host:
        raise invalid_argument(f"Unsupported push_endpoint: {endpoint}")
    # One-machine mode promises that no connection leaves the machine.
    if not _is_loopback(host):
        raise invalid_argument(
            f"The local Pub/Sub server pushes to loopback addresses only, not to {host}."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_retention(duration: Any) -> None:
    if not 600 <= seconds_of(duration) <= 31 * 86_400:
        raise invalid_argument("message_retention_duration must be 10 minutes to 31 days.")


def _check_expiration(ttl: Any) -> None:
    if seconds_of(ttl) < MIN_EXPIRATION_SECONDS:
        raise invalid_argument("expiration_policy.ttl must be at least a day.")


def _complete_retry_policy(policy: Any) -> None:
    for field, default in (
        ("minimum_backoff", DEFAULT_MIN_BACKOFF_SECONDS),
        ("maximum_backoff", DEFAULT_MAX_BACKOFF_SECONDS),
    ):
        if not policy.HasField(field):
            getattr(policy, field).seconds = default
        if not 0 <= seconds_of(getattr(policy, field)) <= 600:
            raise invalid_argument(f"{field} must be between 0 and 600 seconds.")
    if seconds_of(policy.minimum_backoff) > seconds_of(policy.maximum_backoff):
        raise invalid_argument("minimum_backoff must not be greater than maximum_backoff.")


def _complete_dead_letter_policy(policy: Any) -> None:
    if not policy.dead_letter_topic:
        raise invalid_argument("dead_letter_policy needs a dead_letter_topic.")
    check_name(policy.dead_letter_topic, "topics")
    if policy.max_delivery_attempts == 0:
        policy.max_delivery_attempts = DEFAULT_MAX_DELIVERY_ATTEMPTS
    if not 5 <= policy.max_delivery_attempts <= 100:
        raise out_of_range("max_delivery_attempts must be between 5 and 100.")


def check_messages(messages: Sequence[MessageProto]) -> None:
    """Refuse a publish request that is empty, too large, or holds a bad message."""
    if not messages:
        raise invalid_argument("A publish request needs at least one message.")
    if len(messages) > MAX_PUBLISH_MESSAGES:
        raise invalid_argument(f"A publish request holds {MAX_PUBLISH_MESSAGES} messages at most.")
    if sum(message.ByteSize() for message in messages) > MAX_PUBLISH_BYTES:
        raise invalid_argument(f"A publish request holds {MAX_PUBLISH_BYTES} bytes at most.")
    for message in messages:
        _check_message(message)


def _check_message(message: MessageProto) -> None:
    if not message.data and not message.attributes:
        raise invalid_argument("A message needs data or at least one attribute.")
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise invalid_argument(f"An ordering key has {MAX_ORDERING_KEY_BYTES} bytes at most.")
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise invalid_argument(f"A message has {MAX_ATTRIBUTES} attributes at most.")
    for key, value in message.attributes.items():
        if not key or key.startswith("goog") or len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES:
            raise invalid_argument(f"Invalid attribute key: {key}")
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise invalid_argument(
                f"The value of attribute {key} is longer than {MAX_ATTRIBUTE_VALUE_BYTES} bytes."
            )


def apply_update_mask(
    current: Any, update: Any, paths: Sequence[str], mutable_fields: frozenset[str]
) -> Any:
    """A copy of `current` in which the fields that the mask names are those of `update`."""
    if not paths:
        raise invalid_argument("The update_mask must be set and name at least one field.")
    for path in paths:
        if path not in current.DESCRIPTOR.fields_by_name:
            raise invalid_argument(f"Invalid update_mask: {path} is not a known field.")
        if path not in mutable_fields:
            raise invalid_argument(f"Invalid update_mask: the field {path} is not mutable.")
    changes = type(current)()
    changes.CopyFrom(update)
    for descriptor, _ in changes.ListFields():
        if descriptor.name not in paths:
            changes.ClearField(descriptor.name)
    updated = type(current)()
    updated.CopyFrom(current)
    for path in paths:
        updated.ClearField(path)
    updated.MergeFrom(changes)
    return updated
