"""A database that can be cut off, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL


class Away:
    """A database that can be cut off.

    Attributes:
        url: Where it is.
        name: What it is called.
    """

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self.url = server.database()
        self.name = self.url.partition("?")[0].rpartition("/")[2]

    def leave(self) -> None:
        """Refuse new connections, end those that there are."""
        self._allow(connections=False)
        self.end_sessions()

    def end_sessions(self) -> None:
        """End the connections that there are; new ones are taken as before."""
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
        self._server.query(f"{end} '{self.name}'")

    def come_back(self) -> None:
        """Take connections again."""
        self._allow(connections=True)

    def _allow(self, *, connections: bool) -> None:
        query = f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS {connections}"
        self._server.query(query)
