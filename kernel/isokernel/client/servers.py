"""The servers of a cluster, as a client sees them: which answer, and how much each has.

Every server takes every request, and passes on what belongs to another one. So which
one is asked is a matter of speed: new contexts go where this client has the fewest,
and later requests go straight to the owner, which answers name in `X-Isokernel-Owner`.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from isokernel.client.errors import (
    ClientError,
    ClientSettingsError,
    LimitReachedError,
    NetworkError,
    StatusError,
    UnavailableError,
)
from isokernel.client.executors import AsyncExecutor
from isokernel.client.requests import pause_before_retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import httpx

    from isokernel.client.requests import Request
    from isokernel.client.settings import ClientSettings

__all__ = ["ClusterExecutor", "Servers"]

_OWNER: Final = "X-Isokernel-Owner"
_REST_SECONDS: Final = 0.5
"""For which a server that gave no answer isn't asked; twice as long each time."""
_REST_SECONDS_MAX: Final = 15.0
_LOOK_SECONDS: Final = 10.0
"""After which it is looked again which servers there are; sooner if one fails."""
_LOOK_SECONDS_MIN: Final = 0.5
_TRIES_MAX: Final = 1000
_MISDIRECTED: Final = 421
"""The status by which a server refuses what belongs to another one."""
_PAUSE_SECONDS: Final = 0.25
_ORDER: Final = random.Random()  # noqa: S311 -- only so that not all take the same one


@dataclass(eq=False)
class _Server:
    """One server.

    Attributes:
        executor: Its connections, which all contexts share.
        contexts: How many contexts of this client are at it.
        rests_until: When it may be asked again, by the monotonic clock.
        failed: How often it has given no answer since it last gave one.
    """

    executor: AsyncExecutor
    contexts: int = 0
    rests_until: float = 0.0
    failed: int = 0

    @property
    def url(self) -> str:
        """Its URL."""
        return self.executor.settings.url

    def rest(self) -> None:
        """Ask others for a while: it gave no answer."""
        seconds = min(_REST_SECONDS * 2.0**self.failed, _REST_SECONDS_MAX)
        self.rests_until = time.monotonic() + seconds
        self.failed += 1

    def answered(self) -> None:
        """Note that it works."""
        self.failed, self.rests_until = 0, 0.0


class Servers:
    """All servers that are known.

    Attributes:
        settings: How they are reached, but for the URL.
        patience: Seconds for which a request is tried at one server after another.
    """

    def __init__(
        self,
        settings: ClientSettings,
        find: Callable[[], Awaitable[Iterable[str]]],
        patience: float,
    ) -> None:
        """Note how to find them; nothing is looked for yet.

        Args:
            settings: How they are reached, but for the URL.
            find: Returns their URLs, as they are now.
            patience: Seconds for which a request is tried at one after another.
        """
        self.settings = settings
        self.patience = patience
        self._find = find
        self._known: dict[str, _Server] = {}
        self._gone: list[_Server] = []
        self._looked = float("-inf")
        self._failed = False

    @property
    def urls(self) -> list[str]:
        """The URLs of those that are known."""
        return list(self._known)

    async def look(self) -> None:
        """Look which there are, unless that was done just now."""
        pause = _LOOK_SECONDS_MIN if self._failed or not self._known else _LOOK_SECONDS
        if time.monotonic() - self._looked < pause:
            return
        self._looked, self._failed = time.monotonic(), False
        try:
            found = {url.rstrip("/") for url in await self._find()}
        except ClientError:
            if not self._known:
                raise
            return  # those that are known may well be there
        if not found and self._known:
            return
        for url in found - self._known.keys():
            executor = AsyncExecutor(replace(self.settings, url=url))
            self._known[url] = _Server(executor)
        for url in self._known.keys() - found:
            # Contexts that are at it stay there until it gives no answer.
            self._gone.append(self._known.pop(url))

    def choose(self, besides: set[_Server]) -> _Server:
        """Return the one with the fewest contexts, of those that answer.

        Args:
            besides: Those that were tried, and are only tried again if all were.

        Raises:
            ClientSettingsError: There are none.
        """
        servers = [one for one in self._known.values() if one not in besides]
        servers = servers or list(self._known.values())
        if not servers:
            message = "the cluster has no servers"
            raise ClientSettingsError(message)
        now = time.monotonic()
        _ORDER.shuffle(servers)
        return min(
            servers, key=lambda one: (max(one.rests_until - now, 0), one.contexts)
        )

    def named(self, url: str) -> _Server | None:
        """Return the one with a URL, if it is known and answers.

        A key isn't sent to an address only because an answer names it.
        """
        server = self._known.get(url.rstrip("/"))
        if server is None or server.rests_until > time.monotonic():
            return None
        return server

    def has_others(self, tried: set[_Server]) -> bool:
        """Whether there are some that weren't tried."""
        return any(one not in tried for one in self._known.values())

    def note_failure(self) -> None:
        """Look soon which there are: one gave no answer."""
        self._failed = True

    async def close(self) -> None:
        """Close all connections."""
        for server in (*self._known.values(), *self._gone):
            await server.executor.close()
        self._gone.clear()


class ClusterExecutor(AsyncExecutor):
    """Sends the requests of one context: to its owner, else to a server that answers.

    A request that can't be answered is sent to another server, where that is safe: if
    it only reads, replaces or deletes; if it has a name by which it is done once; or if
    it wasn't sent, or refused.
    """

    def __init__(self, servers: Servers) -> None:
        """Begin at no server.

        Args:
            servers: The servers that there are.
        """
        super().__init__(servers.settings)
        self._servers = servers
        self._at: _Server | None = None

    async def close(self) -> None:
        """Be at no server any more; the connections are all contexts'."""
        self._move(None)

    def _move(self, server: _Server | None) -> None:
        if server is not self._at:
            if self._at is not None:
                self._at.contexts -= 1
            if server is not None:
                server.contexts += 1
            self._at = server

    async def _sent(self, request: Request) -> httpx.Response:
        import anyio  # noqa: PLC0415 -- httpx needs it

        end = time.monotonic() + self._servers.patience
        tried: set[_Server] = set()
        turns = 0
        while True:
            await self._servers.look()
            if self._at is None:
                self._move(self._servers.choose(tried))
            server = self._at
            assert server is not None  # noqa: S101 -- for type checkers
            try:
                response = await server.executor.send(request)
            except ClientError as error:
                pause = _pause(request, error, turns)
                if isinstance(error, NetworkError):
                    server.rest()
                    self._servers.note_failure()
                if _is_of_server(error):
                    tried.add(server)
                    self._move(None)
                if pause is None or time.monotonic() + pause > end:
                    raise
                if self._servers.has_others(tried):
                    pause = 0
                else:
                    tried.clear()
                    turns += 1
            else:
                server.answered()
                self._follow(response)
                return response
            await anyio.sleep(pause)

    def _follow(self, response: httpx.Response) -> None:
        """Go straight to the owner from now on, if the answer names another server."""
        owner = self._servers.named(response.headers.get(_OWNER, ""))
        if owner is not None:
            self._move(owner)


def _is_misdirected(error: ClientError) -> bool:
    return isinstance(error, StatusError) and error.status == _MISDIRECTED


def _is_of_server(error: ClientError) -> bool:
    """Whether another server may answer otherwise."""
    return _is_misdirected(error) or isinstance(
        error, (NetworkError, UnavailableError, LimitReachedError)
    )


def _pause(request: Request, error: ClientError, turns: int) -> float | None:
    """Return after how many seconds to try again; None if that isn't safe."""
    if _is_misdirected(error):
        # Nothing was done. If the owner is gone, another one takes over in a while.
        return _PAUSE_SECONDS
    return pause_before_retry(request, error, turns, _TRIES_MAX)
