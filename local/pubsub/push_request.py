"""One push: the HTTP request in Google's wrapped shape, and what its answer means."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from local.pubsub.broker import Delivery
from local.pubsub.catalog import Subscription
from local.pubsub.oidc import TokenSigner
from local.pubsub.protos import rfc3339

ACKNOWLEDGING_STATUSES = frozenset({102, 200, 201, 202, 204})


def push_body(subscription: Subscription, delivery: Delivery) -> bytes:
    """The JSON document that an endpoint receives."""
    message = delivery.message
    publish_time = rfc3339(message.publish_time)
    wrapped: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": publish_time,
        "publish_time": publish_time,
    }
    if message.attributes:
        wrapped["attributes"] = dict(message.attributes)
    if message.ordering_key:
        wrapped["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": wrapped, "subscription": subscription.name}
    if subscription.proto.HasField("dead_letter_policy"):
        body["deliveryAttempt"] = delivery.delivery_count
    return json.dumps(body).encode()


def push_headers(subscription: Subscription, signer: TokenSigner) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google"}
    push_config = subscription.proto.push_config
    email = push_config.oidc_token.service_account_email
    if email:
        audience = push_config.oidc_token.audience or push_config.push_endpoint
        headers["Authorization"] = f"Bearer {signer.token(email, audience)}"
    return headers


class PushSender:
    """Posts messages to endpoints; every request still open can be cut off at once."""

    def __init__(self, signer: TokenSigner) -> None:
        self._signer = signer
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._aborted = False

    def post(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Whether the endpoint acknowledged the message within the acknowledgement deadline."""
        url = urlsplit(subscription.proto.push_config.push_endpoint)
        is_https = url.scheme == "https"
        connection_type = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        connection = connection_type(
            url.hostname or "", url.port, timeout=subscription.proto.ack_deadline_seconds
        )
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        try:
            connection.connect()
            if not self._register(connection):
                return False
            connection.request(
                "POST",
                target,
                body=push_body(subscription, delivery),
                headers=push_headers(subscription, self._signer),
            )
            return connection.getresponse().status in ACKNOWLEDGING_STATUSES
        except (OSError, http.client.HTTPException):
            return False
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def abort(self) -> None:
        """Fail every open request now, and every later one."""
        with self._lock:
            self._aborted = True
            for connection in self._open:
                _shut_down(connection)

    def _register(self, connection: http.client.HTTPConnection) -> bool:
        with self._lock:
            if not self._aborted:
                self._open.add(connection)
            return not self._aborted


def _shut_down(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError):  # the endpoint was faster
        connection.sock.shutdown(socket.SHUT_RDWR)
