"""Cloud Storage for tests: fake-gcs-server, as one-machine mode runs it, and our own in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

# As the functions set it: without it each client's first use reads its bucket in the background.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local import gcs
from local.processes import accepts_connections, free_port
from local.simulated.storage import MemoryStorage
from support import wait
from tuner.clock import utc_now

#: fake-gcs-server's.
SERVERS = ("memory", "filesystem")
BACKENDS = (*SERVERS, "simulated")
#: For tests of what happens between a client and a server, or of what a server does differently.
on_a_server = pytest.mark.parametrize("backend", SERVERS, indirect=True)


_clients: WeakSet[storage.Client] = WeakSet()


@dataclass(frozen=True)
class Backend:
    """Where a contract test's buckets lie; `client` makes another client of the same place."""

    name: str
    client: Callable[[], Any]
    #: Of a server; a proxy or a session of one's own gets in between there.
    endpoint: str = ""


@contextmanager
def storage_backend(name: str, state_dir: Path) -> Iterator[Backend]:
    """One of BACKENDS, running."""
    if name == "simulated":
        yield Backend(name, MemoryStorage(utc_now).client)
        return
    with storage_server(state_dir, backend=name) as endpoint:
        yield Backend(name, lambda: storage_client(endpoint), endpoint)


def storage_client(endpoint: str, session: requests.Session | None = None) -> storage.Client:
    """Google's client on a local endpoint; `session` makes its HTTP requests."""
    client = storage.Client(
        project="demo-project",
        client_options={"api_endpoint": endpoint},
        credentials=AnonymousCredentials(),
        _http=session,
    )
    _clients.add(client)
    return client


def close_connections() -> None:
    """Close what the clients hold open; they make new ones when they are used again.

    Left to the garbage collector, a connection may be found open in the midst of another test.
    """
    for client in list(_clients):
        client.close()


@contextmanager
def storage_server(
    state_dir: Path, *, backend: str = "memory", project: str = "demo-project", pubsub: str = ""
) -> Iterator[str]:
    """Run the server and yield its endpoint; with `pubsub` (host:port) it publishes finalizes.

    The filesystem backend runs with the very command of one-machine mode.
    """
    port = free_port()
    objects = state_dir / "objects"
    objects.mkdir(parents=True)
    command = gcs.command(objects=objects, port=port, project=project, topic="storage-events")
    if backend == "memory":
        command = [part for part in command if not part.startswith("-filesystem-root")]
        command[command.index("-backend=filesystem")] = "-backend=memory"
    if not pubsub:
        command = [part for part in command if not part.startswith("-event.")]
    with (
        (state_dir / "storage.log").open("wb") as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PUBSUB_EMULATOR_HOST": pubsub}
        ) as process,
    ):
        try:
            wait.until(lambda: accepts_connections(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
