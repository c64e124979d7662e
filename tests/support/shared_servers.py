"""The servers that all worlds of a test run share, and the clock that each has for itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.pubsub_v1 import PublisherClient, SubscriberClient

from local.pubsub import PubSubServer
from local.vertex.tls import ensure_certificate
from support import pubsub_servers
from support.storage_servers import storage_server


class Clock:
    """Stands still until a test moves it. It starts at the real time: storage stamps by that."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Servers:
    """What all worlds share: one Cloud Storage, one Pub/Sub, one certificate."""

    folder: Path
    storage_endpoint: str
    pubsub_endpoint: str
    publisher: PublisherClient
    subscriber: SubscriberClient
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run the shared servers."""
    ensure_certificate(folder / "certificate.pem", folder / "private-key.pem")
    with (
        PubSubServer(folder / "pubsub") as pubsub,
        storage_server(folder / "storage") as storage_endpoint,
        pubsub_servers.connect("ours", pubsub.endpoint, "unused") as connected,
    ):
        yield Servers(
            folder, storage_endpoint, pubsub.endpoint, connected.publisher, connected.subscriber
        )
