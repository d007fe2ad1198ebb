"""Connections to other servers, kept while they are used now and then."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from tornado.iostream import IOStream, StreamClosedError

from isokernel.timeouts import timeout
from isoserver.errors import PeerUnreachableError

__all__ = ["Upstream", "Upstreams"]

_CONNECT_SECONDS: Final = 3.0
_IDLE_SECONDS: Final = 60.0
"""Far less than after which servers close such connections: none is closed by one side
while the other one begins to write."""
_CHUNK_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 1 << 14
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d{1,9})(?:\r\n|\Z)", re.IGNORECASE)
_NOT_PLAIN: Final = re.compile(
    rb"\r\n(?:Connection|Transfer-Encoding|Trailer|Upgrade|Keep-Alive):", re.IGNORECASE
)
_NO_BODY: Final = frozenset({b"204", b"304"})
_IDLE_MAX: Final = 256
"""Connections to one server that wait to be used."""
_DROPPED_MAX: Final = 1000
"""Servers that are gone and known to be; the oldest are forgotten."""
_OPTIONS: Final = (
    # Who can't be reached any more is noticed by the kernel, also amid a long answer.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
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
        super().__init__(connection, read_chunk_size=_CHUNK_BYTES)
        self.peer_id = peer_id
        self.used = 0
        self.since = 0.0
        self._awaited: asyncio.Future[bytes] | None = None

    async def reach(self, address: Any) -> None:
        """Connect.

        Raises:
            StreamClosedError: There is nothing that listens.
            OSError: Likewise.
        """
        for level, name, value in _OPTIONS:
            self.socket.setsockopt(level, name, value)
        await self.connect(address)

    def set_nodelay(self, value: bool) -> None:  # noqa: FBT001 - Tornado's
        """Let it be: Tornado changes it with each request."""

    async def exchange(self, request: bytes) -> bytes:
        """Send a request; return its answer, if that is short and of the plainest form.

        Most are, and Tornado takes four times as long to read them. Else nothing is
        returned, and what has come is there to be read.

        Raises:
            StreamClosedError: The connection has ended.
        """
        if self.closed():
            raise StreamClosedError
        self._awaited = asyncio.get_running_loop().create_future()
        try:
            self._add_io_state(self.io_loop.READ)
            try:
                sent = self.socket.send(request)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.close(exc_info=error)
                raise StreamClosedError from None
            if sent < len(request):
                self.write(memoryview(request)[sent:])
            return await self._awaited
        finally:
            self._awaited = None

    def _handle_read(self) -> None:
        if self._awaited is None or self._awaited.done():
            super()._handle_read()
            return
        try:
            data = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(exc_info=error)
            return
        if not data:
            self.close()
            return
        self._read_buffer += data
        self._read_buffer_size += len(data)
        size = _size_of(self._read_buffer)
        if size == self._read_buffer_size:
            self._awaited.set_result(self._consume(size))
        elif size is None or self._read_buffer_size > size:
            self._awaited.set_result(b"")

    def reading(self) -> bool:
        """Whether to listen; asked by Tornado at each event."""
        return self._awaited is not None or super().reading()

    def close(self, exc_info: Any = False) -> None:  # noqa: FBT002 - Tornado's
        """Close; who waits for an answer learns that."""
        super().close(exc_info)
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(StreamClosedError())


def _size_of(data: bytearray) -> int | None:
    """Return how large an answer is that begins so; None if it isn't short and plain.

    While its head isn't there, that is more than what is there.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return len(data) + 1 if len(data) < _HEAD_BYTES else None
    head = bytes(data[:end])
    status = _STATUS.match(head)
    if status is None or _NOT_PLAIN.search(head) is not None:
        return None
    length = _LENGTH.search(head)
    if length is None:
        return end + 4 if status[1] in _NO_BODY else None
    size = end + 4 + int(length[1])
    return size if size <= _CHUNK_BYTES else None


async def _addresses(host: str, port: int) -> Any:
    """Look up a name, in a thread; what is an address waits for none."""
    try:
        flags = socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Upstreams:
    """The connections of one server to all others. In the event loop only."""

    def __init__(self) -> None:
        """Begin with none."""
        self._idle: dict[str, dict[Upstream, None]] = {}
        self._open: dict[str, set[Upstream]] = {}
        self._dropped: OrderedDict[str, None] = OrderedDict()

    async def open(self, peer_id: str, url: str, *, new: bool = False) -> Upstream:
        """Return a connection that nobody uses.

        Args:
            peer_id: The server's id.
            url: Where it is reached.
            new: Whether it must be one that has had no request yet.

        Raises:
            PeerUnreachableError: There is none, and none can be made, or nothing is
                asked of that server any more.
        """
        if peer_id in self._dropped:
            raise PeerUnreachableError
        if not new:
            waiting = self._idle.get(peer_id, {})
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
        stream = None
        with suppress(OSError, asyncio.TimeoutError):
            async with timeout(_CONNECT_SECONDS):
                found = await _addresses(host, port)
                for family, kind, protocol, _, address in found:
                    made = Upstream(socket.socket(family, kind, protocol), peer_id)
                    try:
                        await made.reach(address)
                    except StreamClosedError:
                        continue
                    except BaseException:
                        made.close()
                        raise
                    stream = made
                    break
        if stream is not None and peer_id in self._dropped:
            # It may be stopped, and never answer: nobody will drop that any more.
            stream.close()
            stream = None
        if stream is None:
            raise PeerUnreachableError
        self._open.setdefault(peer_id, set()).add(stream)
        return stream

    def keep(self, stream: Upstream) -> None:
        """Have a connection wait for its next request."""
        if stream.closed() or len(self._idle.get(stream.peer_id, ())) >= _IDLE_MAX:
            self.end(stream)
            return
        stream.used += 1
        stream.since = time.monotonic()
        self._idle.setdefault(stream.peer_id, {})[stream] = None
        # Tornado listens for its end as long as there is a callback.
        stream.set_close_callback(lambda: self.end(stream))

    def end(self, stream: Upstream) -> None:
        """Close a connection."""
        stream.set_close_callback(None)
        self._idle.get(stream.peer_id, {}).pop(stream, None)
        self._open.get(stream.peer_id, set()).discard(stream)
        stream.close()

    def drop(self, peer_id: str) -> None:
        """Close all connections to a server that is gone, also amid answers."""
        self._dropped[peer_id] = None
        if len(self._dropped) > _DROPPED_MAX:
            self._dropped.popitem(last=False)
        for stream in list(self._open.pop(peer_id, ())):
            stream.close()
        self._idle.pop(peer_id, None)

    def close(self) -> None:
        """Close all connections."""
        for peer_id in list(self._open):
            self.drop(peer_id)
