"""Connections to other servers, kept while they are used now and then."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from typing import Final
from urllib.parse import urlsplit

from tornado.iostream import IOStream, StreamClosedError

from isokernel.timeouts import timeout
from isoserver.errors import PeerUnreachableError

__all__ = ["Upstream", "Upstreams"]

_CONNECT_SECONDS: Final = 3.0
_IDLE_SECONDS: Final = 60.0
"""Far less than after which servers close such connections: none is closed by one side
while the other one begins to write."""
_IDLE_MAX: Final = 256
"""Connections to one server that wait to be used."""
_KEEPALIVE: Final = (
    # Who can't be reached any more is noticed by the kernel, also amid a long answer.
    (socket.SO_KEEPALIVE, 1),
)
_TCP: Final = (
    (socket.TCP_NODELAY, 1),
    (socket.TCP_KEEPIDLE, 5),
    (socket.TCP_KEEPINTVL, 3),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 15_000),
)


class Upstream(IOStream):
    """A connection to another server.

    Attributes:
        peer_id: The server's id.
        used: How many requests it has had.
        since: When it began to wait for the next one, by the monotonic clock.
    """

    def __init__(self, connection: socket.socket, peer_id: str) -> None:
        """Own a socket that isn't connected yet."""
        super().__init__(connection)
        self.peer_id = peer_id
        self.used = 0
        self.since = 0.0

    def set_nodelay(self, value: bool) -> None:  # noqa: FBT001 - Tornado's
        """Let it be: Tornado changes it with each request."""


class Upstreams:
    """The connections of one server to all others. In the event loop only."""

    def __init__(self) -> None:
        """Begin with none."""
        self._idle: defaultdict[str, dict[Upstream, None]] = defaultdict(dict)
        self._open: defaultdict[str, set[Upstream]] = defaultdict(set)

    async def open(self, peer_id: str, url: str, *, new: bool = False) -> Upstream:
        """Return a connection that nobody uses.

        Args:
            peer_id: The server's id.
            url: Where it is reached.
            new: Whether it must be one that has had no request yet.

        Raises:
            PeerUnreachableError: There is none, and none can be made.
        """
        if not new:
            waiting = self._idle[peer_id]
            while waiting:
                stream, _ = waiting.popitem()  # the one that was used last
                if not stream.closed():
                    if time.monotonic() - stream.since < _IDLE_SECONDS:
                        return stream
                    stream.close()
        return await self._connect(peer_id, url)

    async def _connect(self, peer_id: str, url: str) -> Upstream:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        try:
            async with timeout(_CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                family, kind, protocol, _, address = found[0]
                stream = Upstream(socket.socket(family, kind, protocol), peer_id)
                try:
                    for name, value in _KEEPALIVE:
                        stream.socket.setsockopt(socket.SOL_SOCKET, name, value)
                    for name, value in _TCP:
                        stream.socket.setsockopt(socket.IPPROTO_TCP, name, value)
                    await stream.connect(address)
                except BaseException:
                    stream.close()
                    raise
        except (OSError, StreamClosedError, asyncio.TimeoutError):
            raise PeerUnreachableError from None
        self._open[peer_id].add(stream)
        return stream

    def keep(self, stream: Upstream) -> None:
        """Have a connection wait for its next request."""
        waiting = self._idle[stream.peer_id]
        if stream.closed() or len(waiting) >= _IDLE_MAX:
            self.end(stream)
            return
        stream.used += 1
        stream.since = time.monotonic()
        waiting[stream] = None
        # Tornado listens for its end as long as there is a callback.
        stream.set_close_callback(lambda: self.end(stream))

    def end(self, stream: Upstream) -> None:
        """Close a connection."""
        stream.set_close_callback(None)
        self._idle[stream.peer_id].pop(stream, None)
        self._open[stream.peer_id].discard(stream)
        stream.close()

    def drop(self, peer_id: str) -> None:
        """Close all connections to a server, also amid answers."""
        for stream in list(self._open.pop(peer_id, ())):
            stream.close()
        self._idle.pop(peer_id, None)

    def close(self) -> None:
        """Close all connections."""
        for peer_id in list(self._open):
            self.drop(peer_id)
