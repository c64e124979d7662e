"""The servers that every integration test shares, and a fresh deployment on them for each."""

from collections.abc import Iterator

import pytest

from support.shared_servers import Servers, servers
from support.storage_servers import close_connections
from support.world import World


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture
def make_world(shared_servers):
    """Build worlds with settings of their own; closed at the end of the test."""
    made: list[World] = []

    def make(**settings: str) -> World:
        made.append(World(shared_servers, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()
    close_connections()


@pytest.fixture
def world(make_world):
    return make_world()
