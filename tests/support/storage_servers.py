"""fake-gcs-server for tests: the binary that one-machine mode runs, on both of its backends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# As the functions set it: without it each client's first use reads its bucket in the background.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local import gcs
from local.processes import accepts_connections, free_port
from support import wait

BACKENDS = ("memory", "filesystem")


def storage_client(endpoint: str, session: requests.Session | None = None) -> storage.Client:
    """Google's client on a local endpoint; `session` makes its HTTP requests."""
    return storage.Client(
        project="demo-project",
        client_options={"api_endpoint": endpoint},
        credentials=AnonymousCredentials(),
        _http=session,
    )


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
