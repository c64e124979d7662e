"""What happens to a message that was delivered and not acknowledged; pure."""

from local.pubsub.catalog import Subscription
from local.pubsub.protos import MessageProto, PubsubMessage, rfc3339, seconds_of
from local.pubsub.resources import split_name

# Google's push without a retry policy: quick at first, never slower than a minute.
_PUSH_MIN_BACKOFF_SECONDS = 0.1
_PUSH_MAX_BACKOFF_SECONDS = 60.0

_DEAD_LETTER_PREFIX = "CloudPubSubDeadLetterSource"


def backoff_seconds(subscription: Subscription, delivery_count: int) -> float:
    """The wait after the given number of deliveries (from 1): exponential, within bounds."""
    if subscription.proto.HasField("retry_policy"):
        shortest = seconds_of(subscription.proto.retry_policy.minimum_backoff)
        longest = seconds_of(subscription.proto.retry_policy.maximum_backoff)
    elif subscription.is_push:
        shortest, longest = _PUSH_MIN_BACKOFF_SECONDS, _PUSH_MAX_BACKOFF_SECONDS
    else:
        return 0.0
    # The exponent is bounded because a float is: 2 ** 1024 overflows.
    return float(min(longest, shortest * 2 ** min(delivery_count - 1, 64)))


def is_exhausted(subscription: Subscription, delivery_count: int) -> bool:
    """Whether a dead letter policy allows no further delivery."""
    if not subscription.proto.HasField("dead_letter_policy"):
        return False
    limit = int(subscription.proto.dead_letter_policy.max_delivery_attempts)
    return delivery_count >= limit


def dead_letter(
    subscription: Subscription, message: MessageProto, delivery_count: int
) -> MessageProto:
    """The message as it is published to the dead letter topic."""
    project, subscription_id = split_name(subscription.name)
    letter = PubsubMessage()
    letter.CopyFrom(message)
    letter.attributes[f"{_DEAD_LETTER_PREFIX}DeliveryCount"] = str(delivery_count)
    letter.attributes[f"{_DEAD_LETTER_PREFIX}Subscription"] = subscription_id
    letter.attributes[f"{_DEAD_LETTER_PREFIX}SubscriptionProject"] = project
    letter.attributes[f"{_DEAD_LETTER_PREFIX}TopicPublishTime"] = rfc3339(message.publish_time)
    return letter
