"""The whole stack for tests: started on a state directory of its own, stopped whatever happens."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from console.connection import Connection, connect_local
from local import control
from local.layout import Layout
from local.vertex.control import VertexControl

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINER_PYTHON = REPOSITORY / ".venv-trainer/bin/python"
BASE_MODEL = REPOSITORY / ".cache/base-model/smollm2-135m"
EXAMPLE = REPOSITORY / "local/example/ech0_conversation_memory.json"

WHY_NOT = (
    "needs the trainer's environment and the base model: `make environments`"
    if not (TRAINER_PYTHON.exists() and BASE_MODEL.exists())
    else ""
)


@dataclass
class RunningStack:
    layout: Layout
    description: dict[str, Any]
    connection: Connection
    vertex: VertexControl

    def clients(self) -> tuple[PublisherClient, SubscriberClient]:
        channel = grpc.insecure_channel(self.description["environment"]["PUBSUB_EMULATOR_HOST"])
        return (
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )

    def set_gpus(self, gpus: int) -> None:
        control.set_gpu_quota(self.description, gpus)


class Tap:
    """A subscription of the test's own: every message of a topic from now on."""

    def __init__(self, stack: RunningStack, topic: str) -> None:
        self._publisher, self._subscriber = stack.clients()
        self._topic = stack.connection.places.topic(topic)
        self._name = f"projects/{stack.connection.places.project}/subscriptions/tap-{topic}"
        self._subscriber.create_subscription(
            types.Subscription(name=self._name, topic=self._topic, ack_deadline_seconds=60)
        )
        self.messages: list[types.PubsubMessage] = []

    def drain(self) -> list[types.PubsubMessage]:
        """Take what has arrived; all messages so far."""
        while True:
            with warnings.catch_warnings():
                # Discouraged for consumers, right for a test that asks what is there now.
                warnings.simplefilter("ignore", DeprecationWarning)
                reply = self._subscriber.pull(
                    subscription=self._name, max_messages=1000, return_immediately=True, timeout=10
                )
            if not reply.received_messages:
                return self.messages
            self.messages += [received.message for received in reply.received_messages]
            self._subscriber.acknowledge(
                subscription=self._name, ack_ids=[r.ack_id for r in reply.received_messages]
            )

    def publish_again(self) -> None:
        """Publish every message so far once more, as a redelivery would."""
        for message in list(self.drain()):
            again = types.PubsubMessage(data=message.data, attributes=dict(message.attributes))
            self._publisher.publish(topic=self._topic, messages=[again])


@contextmanager
def running_stack(state_dir: Path, arguments: Sequence[str] = ()) -> Iterator[RunningStack]:
    layout = Layout(state_dir)
    description = control.up(layout, arguments=arguments, die_with_parent=True)
    try:
        with VertexControl(
            description["environment"]["TUNER_VERTEX_ENDPOINT"], Path(description["certificate"])
        ) as vertex:
            yield RunningStack(layout, description, connect_local(layout), vertex)
    finally:
        control.down(layout)


def processes_naming(text: str) -> list[str]:
    """Command lines of running processes that contain `text` (Linux), this process excluded."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended while we looked
        if any(text in word for word in words):
            found.append(" ".join(words))
    return found
