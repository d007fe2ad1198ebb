"""Tests of the API whose every request goes to any of three servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.client import Client, connect
from tests.support.clusters import AnyServer
from tests.support.server import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgresql import PostgreSQL

NUMBER = 3


@pytest.fixture(scope="session")
def all_servers(postgresql: PostgreSQL) -> Iterator[AnyServer]:
    """Three servers on one database."""
    servers = AnyServer(
        NUMBER, postgresql.database(), *BOUNDS, "--interrupt-grace-seconds", "1"
    )
    yield servers
    assert servers.stop() == 0, servers.said[-2000:]
    assert not [line for server in servers.servers for line in server.wrong()]


@pytest.fixture
def server(all_servers: AnyServer) -> Iterator[AnyServer]:
    """Them, without a context of the test afterwards."""
    yield all_servers
    with connect(all_servers) as client:
        client.clean()


@pytest.fixture
def client(server: AnyServer) -> Iterator[Client]:
    """A client of any of them."""
    with connect(server) as made:
        yield made


@pytest.fixture
def database_flags() -> None:
    """Nothing: these servers have their database."""


@pytest.fixture
def api(client: Client, database_flags: None) -> Client:
    """The same, for what is under /api."""
    del database_flags
    return client


@pytest.fixture
def stateful(api: Client) -> Client:
    """The same, where executions yield heaps."""
    return api


FAST = frozenset(
    {
        "test_a_cell[v1-javascript]",
        "test_a_cell[javascript-v1]",
        "test_a_fork_has_the_state_and_a_life_of_its_own",
        "test_a_run_goes_on_without_its_client[asyncio]",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have most of them be slow: each has run on one server."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.name not in FAST:
            item.add_marker(pytest.mark.slow)
