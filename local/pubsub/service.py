"""The gRPC methods: each takes the wire's request, asks the broker, and builds the answer."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from local.pubsub.broker import Broker, Delivery
from local.pubsub.errors import (
    PubSubError,
    invalid_argument,
    lost_leases,
    unavailable,
    unimplemented,
)
from local.pubsub.protos import Subscription, Topic
from local.pubsub.replay import Replay
from local.pubsub.streaming import Streams, received_message, refuse_push

# A pull that finds nothing is answered after this long, or a little before its own deadline.
_MAX_PULL_WAIT_SECONDS = 20.0
_SHARE_OF_DEADLINE = 0.9

_Method = Callable[[Any, Any], Any]


class PubSubService:
    """Publisher and Subscriber over one broker; a method takes (request, gRPC context)."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._catalog = broker.catalog
        self._replay = Replay(broker)
        self._streams = Streams(broker)

    def generic_handlers(self) -> list[Any]:
        """What to hand to `grpc.Server.add_generic_rpc_handlers`; the order matters."""
        subscriber = self._unary_handlers(self._subscriber_methods())
        subscriber["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            self._streaming_pull,
            request_deserializer=types.StreamingPullRequest.pb().FromString,
            response_serializer=_serialize,
        )
        publisher = self._unary_handlers(self._publisher_methods())
        return [
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
            _EverythingElse(),
        ]

    def _publisher_methods(self) -> Mapping[str, tuple[Any, _Method]]:
        catalog = self._catalog

        def list_topics(request: Any, _: Any) -> Any:
            topics, token = catalog.list_topics(
                request.project, request.page_size, request.page_token
            )
            return types.ListTopicsResponse.pb()(topics=topics, next_page_token=token)

        def list_topic_subscriptions(request: Any, _: Any) -> Any:
            names, token = catalog.list_topic_subscriptions(
                request.topic, request.page_size, request.page_token
            )
            return types.ListTopicSubscriptionsResponse.pb()(
                subscriptions=names, next_page_token=token
            )

        def list_topic_snapshots(request: Any, _: Any) -> Any:
            catalog.topic(request.topic)
            with self._replay.present_snapshots() as snapshots:
                names, token = snapshots.page_of_topic(
                    request.topic, request.page_size, request.page_token
                )
            return types.ListTopicSnapshotsResponse.pb()(snapshots=names, next_page_token=token)

        def publish(request: Any, _: Any) -> Any:
            message_ids = self._broker.publish(request.topic, request.messages)
            return types.PublishResponse.pb()(message_ids=message_ids)

        return {
            "CreateTopic": (Topic, lambda request, _: catalog.create_topic(request)),
            "GetTopic": (
                types.GetTopicRequest.pb(),
                lambda request, _: catalog.topic(request.topic),
            ),
            "UpdateTopic": (
                types.UpdateTopicRequest.pb(),
                lambda request, _: catalog.update_topic(
                    request.topic, list(request.update_mask.paths)
                ),
            ),
            "DeleteTopic": (
                types.DeleteTopicRequest.pb(),
                lambda request, _: self._broker.delete_topic(request.topic),
            ),
            "ListTopics": (types.ListTopicsRequest.pb(), list_topics),
            "ListTopicSubscriptions": (
                types.ListTopicSubscriptionsRequest.pb(),
                list_topic_subscriptions,
            ),
            "ListTopicSnapshots": (types.ListTopicSnapshotsRequest.pb(), list_topic_snapshots),
            "Publish": (types.PublishRequest.pb(), publish),
        }

    def _subscriber_methods(self) -> Mapping[str, tuple[Any, _Method]]:
        catalog, broker = self._catalog, self._broker

        def list_subscriptions(request: Any, _: Any) -> Any:
            subscriptions, token = catalog.list_subscriptions(
                request.project, request.page_size, request.page_token
            )
            return types.ListSubscriptionsResponse.pb()(
                subscriptions=subscriptions, next_page_token=token
            )

        def modify_ack_deadline(request: Any, _: Any) -> None:
            _require_ack_ids(request)
            refused = broker.modify_ack_deadline(
                request.subscription, request.ack_ids, request.ack_deadline_seconds
            )
            if refused:
                raise lost_leases(refused)

        def acknowledge(request: Any, _: Any) -> None:
            _require_ack_ids(request)
            refused = broker.acknowledge(request.subscription, request.ack_ids)
            if refused:
                raise lost_leases(refused)

        return {
            "CreateSubscription": (
                Subscription,
                lambda request, _: catalog.create_subscription(request),
            ),
            "GetSubscription": (
                types.GetSubscriptionRequest.pb(),
                lambda request, _: catalog.describe(
                    catalog.subscription(request.subscription).proto
                ),
            ),
            "UpdateSubscription": (
                types.UpdateSubscriptionRequest.pb(),
                lambda request, _: catalog.update_subscription(
                    request.subscription, list(request.update_mask.paths)
                ),
            ),
            "DeleteSubscription": (
                types.DeleteSubscriptionRequest.pb(),
                lambda request, _: catalog.delete_subscription(request.subscription),
            ),
            "ListSubscriptions": (types.ListSubscriptionsRequest.pb(), list_subscriptions),
            "ModifyPushConfig": (
                types.ModifyPushConfigRequest.pb(),
                lambda request, _: catalog.modify_push_config(
                    request.subscription, request.push_config
                ),
            ),
            "Pull": (types.PullRequest.pb(), self._pull),
            "Acknowledge": (types.AcknowledgeRequest.pb(), acknowledge),
            "ModifyAckDeadline": (types.ModifyAckDeadlineRequest.pb(), modify_ack_deadline),
            **self._replay_methods(),
        }

    def _replay_methods(self) -> Mapping[str, tuple[Any, _Method]]:
        replay = self._replay

        def seek(request: Any, _: Any) -> Any:
            replay.seek(request)
            return types.SeekResponse.pb()()

        def get_snapshot(request: Any, _: Any) -> Any:
            with replay.present_snapshots() as snapshots:
                return snapshots.get(request.snapshot).proto

        def update_snapshot(request: Any, _: Any) -> Any:
            with replay.present_snapshots() as snapshots:
                return snapshots.update(request.snapshot, list(request.update_mask.paths))

        def delete_snapshot(request: Any, _: Any) -> None:
            with replay.present_snapshots() as snapshots:
                snapshots.delete(request.snapshot)

        def list_snapshots(request: Any, _: Any) -> Any:
            with replay.present_snapshots() as snapshots:
                page, token = snapshots.page(request.project, request.page_size, request.page_token)
            return types.ListSnapshotsResponse.pb()(snapshots=page, next_page_token=token)

        return {
            "Seek": (types.SeekRequest.pb(), seek),
            "CreateSnapshot": (
                types.CreateSnapshotRequest.pb(),
                lambda request, _: replay.create_snapshot(request),
            ),
            "GetSnapshot": (types.GetSnapshotRequest.pb(), get_snapshot),
            "UpdateSnapshot": (types.UpdateSnapshotRequest.pb(), update_snapshot),
            "DeleteSnapshot": (types.DeleteSnapshotRequest.pb(), delete_snapshot),
            "ListSnapshots": (types.ListSnapshotsRequest.pb(), list_snapshots),
        }

    def _pull(self, request: Any, context: Any) -> Any:
        if request.max_messages <= 0:
            raise invalid_argument("max_messages must be greater than zero.")
        context.add_callback(self._wake)
        deliveries = self._wait_for_deliveries(request, context)
        subscription = self._catalog.subscription(request.subscription)
        return types.PullResponse.pb()(
            received_messages=[received_message(subscription, each) for each in deliveries]
        )

    def _wait_for_deliveries(self, request: Any, context: Any) -> list[Delivery]:
        remaining_seconds = context.time_remaining()
        patience_seconds = _MAX_PULL_WAIT_SECONDS
        if remaining_seconds is not None:
            patience_seconds = min(patience_seconds, remaining_seconds * _SHARE_OF_DEADLINE)
        if request.return_immediately:
            patience_seconds = 0.0
        give_up_at = time.monotonic() + patience_seconds
        with self._broker.changed:
            while True:
                refuse_push(self._broker, request.subscription)
                # Nobody would acknowledge what is leased to a client that has gone.
                if self._broker.closed or not context.is_active():
                    raise unavailable("The server is stopping, or the client has gone.")
                deliveries = self._broker.take(request.subscription, request.max_messages)
                left_seconds = give_up_at - time.monotonic()
                if deliveries or left_seconds <= 0:
                    return deliveries
                self._broker.wait([request.subscription], left_seconds)

    def _wake(self) -> None:
        with self._broker.changed:
            self._broker.changed.notify_all()

    def _unary_handlers(self, methods: Mapping[str, tuple[Any, _Method]]) -> dict[str, Any]:
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._unary(method),
                request_deserializer=request_type.FromString,
                response_serializer=_serialize,
            )
            for name, (request_type, method) in methods.items()
        }

    def _unary(self, method: _Method) -> _Method:
        def handle(request: Any, context: Any) -> Any:
            try:
                # The catalogue has no lock of its own; the condition's is reentrant, and waiting
                # on it lets others in.
                with self._broker.changed:
                    answer = method(request, context)
                    self._broker.changed.notify_all()
            except (PubSubError, sqlite3.Error) as exc:
                _abort(context, exc)
            return empty_pb2.Empty() if answer is None else answer

        return handle

    def _streaming_pull(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        try:
            yield from self._streams.pull(requests, context)
        except (PubSubError, sqlite3.Error) as exc:
            _abort(context, exc)


class _EverythingElse:
    """Answers the methods that are not offered by name, rather than with a bare status."""

    def service(self, call: Any) -> Any:
        def refuse(_: Any, context: Any) -> None:
            _abort(context, unimplemented(call.method))

        return grpc.unary_unary_rpc_method_handler(refuse)


def _require_ack_ids(request: Any) -> None:
    if not request.ack_ids:
        raise invalid_argument("No ack ids specified.")


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _abort(context: Any, error: PubSubError | sqlite3.Error) -> None:
    if isinstance(error, PubSubError):
        if error.ack_ids:
            context.abort_with_status(_exactly_once_status(error))
        context.abort(error.code, error.message)
    context.abort(grpc.StatusCode.UNAVAILABLE, f"The state could not be stored: {error}")


def _exactly_once_status(error: PubSubError) -> Any:
    """What Google's clients read the fate of each acknowledgement id from."""
    reason = error_details_pb2.ErrorInfo(
        reason="EXACTLY_ONCE_ACKID_FAILURE",
        domain="pubsub.googleapis.com",
        metadata=error.ack_ids,
    )
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    status.details.add().Pack(reason)
    return rpc_status.to_status(status)
