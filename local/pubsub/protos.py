"""The wire messages as plain protobuf classes: faster than proto-plus, and presence is exact.

The classes come without types, so signatures use the aliases, which say what is meant.
"""

from typing import Any, TypeAlias

from google.pubsub_v1 import types

TopicProto: TypeAlias = Any
SubscriptionProto: TypeAlias = Any
SnapshotProto: TypeAlias = Any
MessageProto: TypeAlias = Any

Topic: Any = types.Topic.pb()
Subscription: Any = types.Subscription.pb()
Snapshot: Any = types.Snapshot.pb()
PubsubMessage: Any = types.PubsubMessage.pb()
ReceivedMessage: Any = types.ReceivedMessage.pb()


def seconds_of(moment: Any) -> float:
    """A protobuf Duration in seconds, a Timestamp in Unix seconds."""
    return float(moment.seconds + moment.nanos / 1e9)


def rfc3339(timestamp: Any) -> str:
    """A protobuf Timestamp as Google writes it in JSON, for example 2026-01-31T12:00:00.250Z."""
    return str(timestamp.ToJsonString())
