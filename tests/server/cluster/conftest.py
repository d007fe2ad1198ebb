"""Several servers on one PostgreSQL and one store of heaps."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import Client, connect
from tests.support.server import JAVASCRIPT_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL

LEASE_SECONDS = 2
_CUT_OFF = "Exception closing connection"


class Nodes:
    """The servers of one cluster, each with a client."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.servers: list[Server] = []
        self.clients: list[Client] = []

    def start(self, *flags: str) -> tuple[Server, Client]:
        """Start another one."""
        number = len(self.servers)
        server = Server(
            *JAVASCRIPT_FLAGS,
            *("--cluster", "--cluster-secret", "0123456789" * 3),
            *("--cluster-lease-seconds", str(LEASE_SECONDS)),
            *("--database-url", self.database),
            *("--heap-store", str(self.folder / "heaps")),
            *("--data-dir", str(self.folder / f"data{number}")),
            *flags,
        )
        self.servers.append(server)
        self.clients.append(connect(server))
        return server, self.clients[-1]

    def stop(self) -> None:
        """Stop all that run."""
        for client in self.clients:
            client.close()
        for server in self.servers:
            if not server.errors.closed:
                if server.process.poll() is None:
                    server.process.send_signal(signal.SIGCONT)
                server.stop()
            # Of a session that was cut off, SQLAlchemy logs that it can't be closed.
            wrong = [each for each in server.wrong() if _CUT_OFF not in each]
            assert not wrong, server.said[-3000:]


@pytest.fixture
def nodes(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Nodes]:
    """A cluster without servers yet."""
    made = Nodes(postgresql.database(), tmp_path)
    yield made
    made.stop()


def found(client: Client, context_id: str) -> dict[str, Any]:
    """Ask for a context until it is this server's; what it is then."""

    def ask() -> dict[str, Any] | None:
        answer = client.get(f"/contexts/{context_id}")
        if answer.status_code == 200:
            shown: dict[str, Any] = answer.json()
            return shown
        assert answer.status_code in {502, 503}, answer.text
        return None

    return wait_for(ask)
