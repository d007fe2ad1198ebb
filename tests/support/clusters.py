"""Several servers on one database, as one: each request goes to any of them."""

from __future__ import annotations

import random
import signal
import tempfile
from typing import TYPE_CHECKING, Any

import httpx
from tests.support.client import NO_TLS, connect
from tests.support.server import AT_REST, Server
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from tests.support.client import Client

SECRET = "what servers of the tests tell each other".replace(" ", "-")


class AnyServer(Server):
    """Servers that share a database and heaps; what is asked of one, any may get.

    Attributes:
        servers: All of them.
        database_url: Their database.
    """

    def __init__(
        self,
        number: int,
        database_url: str,
        *flags: str,
        key: str = "",
        heap_store: str = "",
        **options: Any,
    ) -> None:
        """Start them.

        Args:
            number: How many.
            database_url: On which database.
            flags: Of each; one's `--data-dir` is a folder in the one that is given.
            key: With which a context may be made, where there are keys.
            heap_store: Where heaps are; else in a folder.
            options: Of each, as of `Server`.
        """
        self.database_url = database_url
        self._folder = tempfile.TemporaryDirectory()
        self._random = random.Random(number)  # noqa: S311 - the same in each run
        self.flags = (
            *("--cluster", "--cluster-secret", SECRET, "--database-url", database_url),
            *("--heap-store", heap_store or self._folder.name, *flags),
        )
        self._headers = {"X-API-Key": key} if key else {}
        self.files_at_rest = 0
        self.said = ""
        self.servers: list[Server] = []
        try:
            for place in range(number):
                self.servers.append(Server(*_own(self.flags, place), **options))
            self.wait_acquainted()
        except BaseException:
            self.stop()
            raise
        self.process = self.servers[0].process
        self.errors = self.servers[0].errors

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where one of them listens, another one each time."""
        return self._random.choice(self.servers).url

    def transport(self) -> httpx.BaseTransport:
        """What sends each request to one of them."""
        return _ToAny(self)

    def clients(self, **headers: str) -> list[Client]:
        """A client of each."""
        return [connect(server, **headers) for server in self.servers]

    def wait_acquainted(self) -> None:
        """Wait until each knows all others, so that lists are complete."""
        clients = self.clients(**self._headers)
        try:
            if clients[0].get("/metrics").status_code == 200:
                count = f"isokernel_cluster_servers {len(clients):.1f}\n"
                wait_for(
                    lambda: all(count in each.get("/metrics").text for each in clients)
                )
                return
            made = [client.create() for client in clients]

            def known() -> bool:
                lists = [client.get("/contexts").json()["items"] for client in clients]
                return all({one["id"] for one in each} >= {*made} for each in lists)

            wait_for(known)
            clients[0].clean()
        finally:
            for client in clients:
                client.close()

    def stop(
        self, number: int = signal.SIGTERM, seconds: float | None = DEADLINE
    ) -> int:
        """Stop all, one after the other; the worst exit status."""
        running = [server for server in self.servers if not server.errors.closed]
        statuses = [server.stop(number, seconds) for server in running]
        self.said = "".join(server.said for server in self.servers)
        self._folder.cleanup()
        return max(statuses, key=abs, default=0)

    def log(self) -> str:
        """What they have logged so far."""
        return "".join(server.log() for server in self.servers)

    def children(self) -> set[int]:
        """Their processes."""
        return set().union(*(server.children() for server in self.servers))

    def is_at_rest(self, processes: int = AT_REST) -> bool:
        """Whether they have no more processes; to each other they stay connected."""
        return len(self.children()) <= processes * len(self.servers)

    def files(self) -> int:
        """How many descriptors they have open."""
        return sum(server.files() for server in self.servers)


def _own(flags: tuple[str, ...], number: int) -> list[str]:
    """Return the flags of one server."""
    own = list(flags)
    if "--data-dir" in own:
        place = own.index("--data-dir") + 1
        own[place] += f"/server{number}"
    return own


class _ToAny(httpx.BaseTransport):
    """Sends each request to one of several servers, whatever its URL says."""

    def __init__(self, servers: AnyServer) -> None:
        self._servers = servers
        limits = httpx.Limits(max_connections=None)
        self._transport = httpx.HTTPTransport(limits=limits, verify=NO_TLS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpx.URL(self._servers.url)
        request.url = request.url.copy_with(host=url.host, port=url.port)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()
