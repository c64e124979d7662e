"""The backends that the contract tests hold for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from local.pubsub import PubSubServer
from support import simulated_vertex, vertex_servers
from support.pubsub_servers import PubSub, connect, google_emulator, google_emulator_jar
from support.vertex_servers import Clients

OpenVertex = Callable[..., AbstractContextManager[Clients]]
_BACKENDS: dict[str, OpenVertex] = {
    "sockets": vertex_servers.vertex,
    "simulated": simulated_vertex.vertex,
}


@pytest.fixture(scope="module", params=list(_BACKENDS))
def vertex_backend(request: Any) -> str:
    """Which one it is."""
    return str(request.param)


@pytest.fixture(scope="module")
def open_vertex(vertex_backend: str) -> OpenVertex:
    """Opens a server with clients: takes a state directory and the options of both servers."""
    return _BACKENDS[vertex_backend]


@pytest.fixture
def processes(vertex_backend: str) -> None:
    """Jobs that are processes, with code, an environment, signals and a log."""
    if vertex_backend == "simulated":
        pytest.skip("a simulated job is no process: it has no code, environment, signals or log")


@pytest.fixture
def threads(vertex_backend: str) -> None:
    """A server that many threads may call."""
    if vertex_backend == "simulated":
        pytest.skip("the simulated Vertex AI is for one thread")


@pytest.fixture(scope="session")
def google_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Google's own Pub/Sub emulator."""
    jar = google_emulator_jar()
    if jar is None:
        pytest.skip("Google's Pub/Sub emulator or java is not installed")
    with google_emulator(jar, tmp_path_factory.mktemp("emulator") / "log.txt") as endpoint:
        yield endpoint


@pytest.fixture(params=["ours", pytest.param("google", marks=pytest.mark.emulator)])
def pubsub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PubSub]:
    """A project of its own on our Pub/Sub server, then on Google's emulator."""
    project_id = f"p-{uuid.uuid4().hex[:12]}"
    if request.param == "google":
        endpoint = request.getfixturevalue("google_endpoint")
        with connect("google", endpoint, project_id) as clients:
            yield clients
    else:
        with (
            PubSubServer(tmp_path / "state") as server,
            connect("ours", server.endpoint, project_id) as clients,
        ):
            yield clients
