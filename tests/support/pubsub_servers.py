"""The Pub/Sub servers that the contract tests run on, and what the tests need around them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from support import wait

REPOSITORY = Path(__file__).parents[2]

# What Google's emulator (0.8.20) does otherwise than Google's service and our server.
GOOGLE_EMULATOR_DIFFERENCES = {
    "filters": "Google's emulator stores filters, checks none and applies none",
    "backoff": "Google's emulator ignores the minimum backoff of a retry policy",
    "push_delivery_attempt": "Google's emulator sends no deliveryAttempt on push",
    "push_oidc": "Google's emulator sends no Authorization header on push",
    "push_ordering_key": "Google's emulator sends no orderingKey on push",
    "push_status_102_202": "Google's emulator does not acknowledge on status 102 or 202",
    "push_status_203": "Google's emulator acknowledges on status 203",
    "publish_size": "Google's emulator accepts more than 10 MB",
    "ordered_redelivery": "Google's emulator lets a later message of a key pass a nacked one",
    "pull_from_push": "Google's emulator lets a push subscription be pulled from",
    "ack_deadline_minimum": "Google's emulator accepts acknowledgement deadlines below 10 seconds",
    "stream_flow_control": "Google's emulator sends all there is, whatever a stream can hold",
    "stream_settings": "Google's emulator lets a stream change its flow control",
    "update_snapshot": "Google's emulator does not offer UpdateSnapshot",
    "topic_retention_told": "Google's emulator does not tell a subscription's topic's retention",
    "retained_at_once": "Google's emulator gives a new subscription what its topic retains unasked",
    "left_stream": "Google's emulator goes on sending to a stream that its client has left",
    "topic_made_again": "Google's emulator tells topics apart by name, also a deleted one's",
    "expiration_minimum": "Google's emulator accepts expiration policies below a day",
    "exactly_once_push": "Google's emulator accepts exactly-once delivery for push",
    "persistence": "Google's emulator keeps nothing across a restart",
}


@dataclass(kw_only=True)
class PubSub:
    """One server and its clients; `project` is unused by any other test."""

    kind: str
    endpoint: str
    project: str
    publisher: PublisherClient
    subscriber: SubscriberClient

    def skip_known_difference(self, name: str) -> None:
        """Skip, visibly, where Google's emulator is known to differ."""
        reason = GOOGLE_EMULATOR_DIFFERENCES[name]
        if self.kind == "google":
            pytest.skip(f"known difference: {reason}")

    def topic_name(self, topic_id: str = "letters") -> str:
        return f"{self.project}/topics/{topic_id}"

    def subscription_name(self, subscription_id: str = "reader") -> str:
        return f"{self.project}/subscriptions/{subscription_id}"

    def create_topic(self, topic_id: str = "letters") -> str:
        return str(self.publisher.create_topic(name=self.topic_name(topic_id)).name)

    def create_subscription(
        self, subscription_id: str = "reader", topic_id: str = "letters", **fields: Any
    ) -> str:
        request = {
            "name": self.subscription_name(subscription_id),
            "topic": self.topic_name(topic_id),
            **fields,
        }
        return str(self.subscriber.create_subscription(request=request).name)

    def publish(self, *messages: dict[str, Any], topic_id: str = "letters") -> list[str]:
        topic = self.topic_name(topic_id)
        return list(self.publisher.publish(topic=topic, messages=list(messages)).message_ids)

    def pull_now(self, subscription: str, max_messages: int = 100) -> list[Any]:
        """What can be delivered at this moment."""
        request = {
            "subscription": subscription,
            "max_messages": max_messages,
            "return_immediately": True,
        }
        return list(self.subscriber.pull(request=request).received_messages)

    def pull_some(self, subscription: str, max_messages: int = 100) -> list[Any]:
        """The next deliveries, at least one."""
        return wait.until(lambda: self.pull_now(subscription, max_messages))

    def acknowledge(self, subscription: str, received: list[Any]) -> None:
        self.subscriber.acknowledge(
            subscription=subscription, ack_ids=[each.ack_id for each in received]
        )

    def set_deadline(self, subscription: str, received: list[Any], seconds: int) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[each.ack_id for each in received],
            ack_deadline_seconds=seconds,
        )

    def seek(self, subscription: str, target: datetime | str) -> None:
        """Seek to a time, or to a snapshot by name."""
        field = "snapshot" if isinstance(target, str) else "time"
        self.subscriber.seek(request={"subscription": subscription, field: target})

    def create_snapshot(self, subscription: str, snapshot_id: str = "before") -> str:
        name = f"{self.project}/snapshots/{snapshot_id}"
        return str(self.subscriber.create_snapshot(name=name, subscription=subscription).name)

    def nack(self, subscription: str, received: list[Any]) -> None:
        self.set_deadline(subscription, received, 0)


def payloads(received: Iterable[Any]) -> list[bytes]:
    return [each.message.data for each in received]


@contextmanager
def connect(kind: str, endpoint: str, project_id: str) -> Iterator[PubSub]:
    """Clients of a server, over one channel that is closed at the end."""
    with grpc.insecure_channel(endpoint, [("grpc.max_send_message_length", -1)]) as channel:
        yield PubSub(
            kind=kind,
            endpoint=endpoint,
            project=f"projects/{project_id}",
            publisher=PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            subscriber=SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )


def google_emulator_jar() -> Path | None:
    """The emulator's jar in the installed Cloud SDK, if java can run it."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    sdk = Path(gcloud).resolve().parents[1]
    jars = sorted(sdk.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"))
    return jars[-1] if jars else None


@contextmanager
def google_emulator(jar: Path, log_file: Path) -> Iterator[str]:
    """Run Google's emulator and yield its endpoint."""
    port = free_port()
    # java itself, not gcloud: ending gcloud would leave java running.
    command = ["java", "-Xmx512m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    with log_file.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait.until(lambda: accepts_connections(port), seconds=30)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


@dataclass(kw_only=True)
class ServerProcess:
    """Our server as a process of its own."""

    process: subprocess.Popen[str]
    endpoint: str

    def kill(self) -> int:
        """SIGKILL; returns the exit status."""
        self.process.kill()
        return self.process.wait()


@contextmanager
def server_process(state_dir: Path) -> Iterator[ServerProcess]:
    """Run our server on a state directory; it is killed at the end unless it has ended."""
    ready_file = state_dir.with_name(f"{state_dir.name}.ready.json")
    ready_file.unlink(missing_ok=True)
    with subprocess.Popen(
        [*SERVER_COMMAND, "--state-dir", state_dir, "--ready-file", ready_file],
        cwd=REPOSITORY,
        text=True,
    ) as process:
        try:
            wait.until(lambda: ready_file.exists() or process.poll() is not None, seconds=20)
            ready = json.loads(ready_file.read_text())
            assert ready["pid"] == process.pid
            yield ServerProcess(process=process, endpoint=f"127.0.0.1:{ready['port']}")
        finally:
            process.kill()


SERVER_COMMAND = [sys.executable, "-m", "local.pubsub"]


def run_server(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run our server's command where it is expected to fail."""
    return subprocess.run(
        [*SERVER_COMMAND, *arguments], cwd=REPOSITORY, text=True, capture_output=True, timeout=20
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class ManualClock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True, kw_only=True)
class PushedRequest:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> str:
        """The message's payload as it travels, in base64."""
        return str(self.body["message"]["data"])


@dataclass
class PushEndpoint:
    """An HTTP server that records pushes and answers each as `answer` says (200 at first)."""

    answer: Callable[[PushedRequest], int] = lambda _: 200
    requests: list[PushedRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = PushedRequest(
                    path=self.path, headers=dict(self.headers), body=json.loads(body)
                )
                endpoint.requests.append(request)
                self.send_response(endpoint.answer(request))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a server that was killed does not wait for the answer

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/push?token=1"

    def wait_for(self, count: int) -> list[PushedRequest]:
        """The requests, as soon as there are so many."""
        wait.until(lambda: len(self.requests) >= count)
        return list(self.requests)
