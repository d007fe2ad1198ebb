"""Servers over each database, and a client for what is under /api."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.support.client import Client, connect
from tests.support.server import AT_REST, RUN_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgresql import PostgreSQL


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_flags(request: pytest.FixtureRequest) -> Callable[[], tuple[str, ...]]:
    """Makes flags for a new database of one kind or the other."""
    if request.param == "sqlite":
        return lambda: ()
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return lambda: ("--database-url", server.database())


@pytest.fixture(scope="session")
def exec_server(
    database_flags: Callable[[], tuple[str, ...]],
) -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(*RUN_FLAGS, "--data-dir", folder, *database_flags())
        try:
            with connect(server) as client:
                client.done("console.log(1)", session="warm")
                client.clean()
            yield server
        finally:
            status = server.stop()
        assert status == 0
        assert not server.wrong()


@pytest.fixture
def api(exec_server: Server) -> Iterator[Client]:
    """A client of the shared server, which has no process left of the test."""
    with connect(exec_server) as client:
        yield client
        client.clean()
    wait_for(lambda: len(exec_server.children()) <= AT_REST)


@pytest.fixture
def stateful(api: Client) -> Client:
    """The same, where executions yield heaps."""
    info = api.done("1")
    if info["heap"] is None and info["heap_error"] is None:
        pytest.fail("the server yields no heaps")
    return api
