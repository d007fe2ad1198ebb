"""A real server in a process of its own, and a client; what leaks there is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import Client, connect
from tests.support.outages import Away
from tests.support.postgresql import PostgreSQL
from tests.support.server import BOUNDS, Server
from tests.support.starts import end_starter, starter
from tests.support.waiting import wait_for

from isokernel.sandbox.syscalls import be_subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _reaps_no_orphans() -> None:
    """Let orphans of killed servers go to init, whatever ran here before."""
    be_subreaper(on=False)


@pytest.fixture(scope="session", autouse=True)
def _starts() -> Iterator[None]:
    """Import what servers need, once, beside the first tests."""
    starter()
    yield
    end_starter()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server, one for all tests of this process."""
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture
def away(postgresql: PostgreSQL) -> Iterator[Away]:
    """A database of the test's own."""
    made = Away(postgresql)
    yield made
    made.come_back()


@pytest.fixture(scope="session", autouse=True)
def _postgresql_first(request: pytest.FixtureRequest) -> None:
    """Start PostgreSQL, if it is needed, before a test counts what it leaves."""
    if any("postgresql" in item.nodeid for item in request.session.items):
        request.getfixturevalue("postgresql")


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests that need nothing special of it."""
    server = Server(*BOUNDS)
    try:
        # What it makes once, with its first contexts, is no leak.
        with connect(server) as client:
            for language in client.get("/languages").json()["items"]:
                client.run("1", language=language["name"])
            client.clean()
        server.files_at_rest = wait_for(server.files)
        yield server
    finally:
        status = server.stop()
    assert status == 0, server.said[-2000:]
    assert not server.wrong()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, which has no context left of another test."""
    _clean(shared_server)  # one may have been made late, for a client that had gone
    yield shared_server
    _clean(shared_server)
    try:
        # Sockets of clients close when the server has noticed.
        wait_for(shared_server.is_at_rest)
    except AssertionError:
        pytest.fail(
            "\n".join(map(str, [shared_server.files_at_rest, *shared_server.held()]))
        )
    # A request whose client had gone may have made one meanwhile.
    _clean(shared_server)


def _clean(server: Server) -> None:
    with connect(server) as client:
        client.clean()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with connect(server) as made:
        yield made


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Starts servers with flags of one's own; stops them at the end."""
    started: list[Server] = []

    def start(*flags: str, **options: Any) -> Server:
        started.append(Server(*flags, **options))
        return started[-1]

    yield start
    for server in started:
        if not server.errors.closed:
            server.stop()
        assert not server.wrong()
