"""The backends that every contract test of Vertex AI and Cloud Quotas holds for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from support import simulated_vertex, vertex_servers
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
