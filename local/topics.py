"""Topics and subscriptions of ADR 0001, made on a Pub/Sub server; safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import grpc
from google.api_core import exceptions as google_exceptions
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.deliveries import Deliveries, Subscription
from tuner.places import Places


def connect_topics(
    table: Deliveries, places: Places, *, pubsub_host: str, endpoint: Callable[[str], str]
) -> None:
    """Make what is missing; point push subscriptions to where the functions listen now.

    `endpoint` gives a function's URL.
    """
    with grpc.insecure_channel(pubsub_host) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic in table.topics:
            try:
                publisher.create_topic(name=places.topic(topic))
            except google_exceptions.AlreadyExists:
                continue
        for row in table.subscriptions:
            subscription = to_subscription(row, places, table.push_account, endpoint)
            try:
                subscriber.create_subscription(subscription)
            except google_exceptions.AlreadyExists:
                if row.is_push:
                    subscriber.modify_push_config(
                        subscription=subscription.name, push_config=subscription.push_config
                    )


def to_subscription(
    row: Subscription, places: Places, push_account: str, endpoint: Callable[[str], str]
) -> types.Subscription:
    """A row of the table as the API's resource."""
    subscription = types.Subscription(
        name=f"projects/{places.project}/subscriptions/{row.name}",
        topic=places.topic(row.topic),
        filter=row.filter,
        ack_deadline_seconds=row.ack_deadline_seconds,
        message_retention_duration=timedelta(days=row.retention_days),
        expiration_policy=types.ExpirationPolicy(),
    )
    if row.is_push:
        url = endpoint(row.function)
        # The path tells functions-framework which topic a message came from.
        subscription.push_config = types.PushConfig(
            push_endpoint=f"{url}/{places.topic(row.topic)}",
            oidc_token=types.PushConfig.OidcToken(service_account_email=push_account, audience=url),
        )
    if row.maximum_backoff_seconds:
        subscription.retry_policy = types.RetryPolicy(
            minimum_backoff=timedelta(seconds=row.minimum_backoff_seconds),
            maximum_backoff=timedelta(seconds=row.maximum_backoff_seconds),
        )
    if row.dead_letter_topic:
        subscription.dead_letter_policy = types.DeadLetterPolicy(
            dead_letter_topic=places.topic(row.dead_letter_topic),
            max_delivery_attempts=row.max_delivery_attempts,
        )
    return subscription
