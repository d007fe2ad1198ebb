"""The connections of clients: how many there may be, and how long one may be idle.

Tornado accepts without a bound and waits an hour for a request. A client that opens
connections and sends nothing, or half of a request, would take all descriptors of the
server. So connections that wait for a request are closed when there are too many, the
longest first, and those that serve one are left alone.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, UnsatisfiableReadError

from isokernel.timeouts import timeout
from isoserver.errors import (
    AddressConnectionLimitError,
    ConnectionLimitError,
    HeadersTooLargeError,
)
from isoserver.http.whole import Peer, ServerConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from structlog.typing import FilteringBoundLogger
    from tornado.web import Application

    from isoserver.errors import ServerError
    from isoserver.settings.server import ServerSettings

__all__ = ["BoundedServer", "Stream"]

_ACCEPTED_AT_ONCE: Final = 128
_NO_DESCRIPTORS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS: Final = 0.2
"""How long nothing is accepted after there was no descriptor for a connection."""
_CLOSED_AT_PAUSE: Final = 16
_DESCRIPTORS_KEPT: Final = 64
"""Descriptors for all else: the database, logs, files; more are for contexts."""
_LINGERING_MAX: Final = 64
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 16
_HEADERS_FACTOR: Final = 4
"""How many times the limit headers are read before they are refused unread."""


def _connections_max(settings: ServerSettings) -> int:
    """Return how many connections there may be; half of the descriptors at most."""
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return settings.connections_max
    return max(1, min(settings.connections_max, (descriptors - _DESCRIPTORS_KEPT) // 2))


class BoundedServer(HTTPServer):
    """Tornado's server with bounds on its connections. In the event loop only.

    A connection calls `wait_for_request` when it begins to wait for one; whoever has
    found its handler calls `begin_request`.

    Attributes:
        application: Finds what answers a request.
        settings: The server's settings.
        sent: A future that is done: of an answer that was written at once.
    """

    # Tornado makes servers by `initialize`, not by `__init__`.
    def initialize(  # type: ignore[override]
        self, application: Any, settings: ServerSettings, log: FilteringBoundLogger
    ) -> None:
        """Make a server that doesn't listen yet.

        Args:
            application: Tornado's application, which serves requests.
            settings: Of the server.
            log: Told when there is no descriptor for a connection.
        """
        super().initialize(
            application,
            max_body_size=settings.request_body_bytes_max,
            max_header_size=_HEADERS_FACTOR * settings.request_header_bytes_max,
        )
        # `_close_late` sees to that: Tornado makes a timer, two futures and a turn of
        # the event loop for each request, a twentieth of what a short one costs.
        self.conn_params.header_timeout = None
        self.application: Application = application
        self.settings = settings
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.set_result(None)
        self._log = log
        self._max = _connections_max(settings)
        self._open: dict[Stream, str] = {}
        self._of_address: Counter[str] = Counter()
        # Streams that wait for a request, and since when: the longest first.
        self._waiting: dict[Stream, float] = {}
        # Since when there is a part of a head.
        self._partial: dict[Stream, float] = {}
        self._held: set[ServerConnection] = set()
        self._lingering: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    # -- from a connection to a request ------------------------------------------------

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections from listening sockets, until `stop`."""
        loop = asyncio.get_running_loop()
        for each in sockets:
            self._sockets[each.fileno()] = each
            self._handlers[each.fileno()] = self._remover(loop, each)
            loop.add_reader(each, self._accept, each)
        self._sweep = loop.call_later(self._interval, self._close_late)

    def _remover(
        self, loop: asyncio.AbstractEventLoop, each: socket.socket
    ) -> Callable[[], None]:
        def remove() -> None:
            loop.remove_reader(each)
            if self._sweep is not None:
                self._sweep.cancel()
                self._sweep = None

        return remove

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                self._pause(listening, error)
                return
            self._admit(connection, address)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Accept nothing for a while: trying again at once would take all the time."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        closed = sum(self._close_longest() for _ in range(_CLOSED_AT_PAUSE))
        self._log.warning(
            "accepting paused",
            reason=error.strerror,
            connections=len(self._open),
            closed=closed,
        )

        def resume() -> None:
            if listening.fileno() in self._handlers:
                loop.add_reader(listening, self._accept, listening)

        loop.call_later(_PAUSE_SECONDS, resume)

    def _admit(self, connection: socket.socket, address: Any) -> None:
        connection.setblocking(False)  # noqa: FBT003 - its name says what
        host = str(address[0])
        per_address = self.settings.connections_per_address_max
        if self._of_address[host] >= per_address and not self._close_longest(host):
            self._refuse(connection, AddressConnectionLimitError(per_address))
            return
        if len(self._open) >= self._max and not self._close_longest():
            self._refuse(connection, ConnectionLimitError(self._max))
            return
        stream = Stream(connection, self)
        self._open[stream] = host
        self._of_address[host] += 1
        made = ServerConnection(stream, self.conn_params, Peer(host), self)
        self._connections.add(made)
        made.start_serving(self)

    def wait_for_request(self, stream: Stream) -> None:
        """Note that a connection waits for a request."""
        if stream in self._open:
            self._waiting[stream] = time.monotonic()

    def hold(self, connection: ServerConnection) -> None:
        """Note that a connection has a head, and waits for a short body.

        That isn't for long: how long a body may take, Tornado sees to.
        """
        self.begin_request(connection.stream)
        self._held.add(connection)

    def begin_request(self, stream: Stream) -> None:
        """Note that the head of a request has come: the connection is in use."""
        self._waiting.pop(stream, None)
        self._partial.pop(stream, None)

    def forget(self, stream: Stream) -> None:
        """Forget a connection; called when its stream is closed."""
        host = self._open.pop(stream, None)
        if host is None:
            return
        self.begin_request(stream)
        self._of_address[host] -= 1
        if not self._of_address[host]:
            del self._of_address[host]

    # -- what is closed ----------------------------------------------------------------

    def _close_longest(self, host: str | None = None) -> bool:
        """Close the connection that has waited longest; False if none waits."""
        found = (each for each in self._waiting if host in (None, self._open[each]))
        stream = next(found, None)
        if stream is None:
            return False
        stream.close()
        return True

    @property
    def _interval(self) -> float:
        settings = self.settings
        shortest = min(
            settings.request_head_timeout_seconds,
            settings.connection_idle_timeout_seconds,
        )
        return min(1.0, shortest / 4)

    def _close_late(self) -> None:
        """Close connections that have been idle, or amid a head, for too long."""
        for stream in list(self._late()):
            stream.close()
        held, self._held = self._held, set()
        for connection in held:
            connection.release()
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._interval, self._close_late)

    def _late(self) -> Iterator[Stream]:
        now = time.monotonic()
        idle_max = self.settings.connection_idle_timeout_seconds
        head_max = self.settings.request_head_timeout_seconds
        for stream, since in self._waiting.items():
            if not stream.buffered:
                self._partial.pop(stream, None)
                if now - since > idle_max:
                    yield stream
            elif now - self._partial.setdefault(stream, now) > head_max:
                yield stream

    # -- what is answered without Tornado ----------------------------------------------

    def refuse_head(self, connection: socket.socket) -> None:
        """Answer a request whose head is far too large; the socket is taken over."""
        limit = self.settings.request_header_bytes_max
        self._refuse(connection, HeadersTooLargeError(limit))

    def _refuse(self, connection: socket.socket, error: ServerError) -> None:
        """Answer an error and close, once the client has read it."""
        status = error.http_status
        body = msgspec.json.encode({"message": str(error)})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "Content-Type: application/json\r\n"
            f"X-Error-Code: {type(error).code}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        if len(self._lingering) >= _LINGERING_MAX:
            connection.close()
            return
        task = asyncio.ensure_future(_linger(connection, head.encode() + body))
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    async def close_all_connections(self) -> None:
        """Close all connections at once; called when the server stops."""
        for task in list(self._lingering):
            task.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)
        await super().close_all_connections()


async def _linger(connection: socket.socket, answer: bytes) -> None:
    """Send an answer, and read on until the client has it: a reset would lose it."""
    loop = asyncio.get_running_loop()

    async def exchange() -> None:
        await loop.sock_sendall(connection, answer)
        connection.shutdown(socket.SHUT_WR)
        for _ in range(_LINGER_BYTES // _CHUNK_BYTES):
            if not await loop.sock_recv(connection, _CHUNK_BYTES):
                return

    with connection:
        try:
            async with timeout(_LINGER_SECONDS):
                await exchange()
        except (OSError, asyncio.TimeoutError):
            return  # it is gone, or reads nothing


class Stream(IOStream):
    """A client's stream, which answers a head that is larger than may be read."""

    def __init__(self, connection: socket.socket, server: BoundedServer) -> None:
        """Own a client's socket.

        Args:
            connection: The socket.
            server: Told when it is closed.
        """
        super().__init__(
            connection,
            max_buffer_size=server.max_buffer_size,
            read_chunk_size=server.read_chunk_size,
        )
        self._server = server
        self._told: Callable[[bytes], bytes] | None = None
        self._has_read = False
        super().set_nodelay(value=True)

    def set_nodelay(self, value: bool) -> None:  # noqa: FBT001 - Tornado's
        """Let it be: Tornado changes it twice for each response."""

    def tell(self, arrived: Callable[[bytes], bytes]) -> None:
        """Have a function called once, with the next bytes that come.

        Those that came already are the next. What it returns of them is for whoever
        reads next.
        """
        self._told = arrived
        if self._read_buffer_size:
            asyncio.get_running_loop().call_soon(self._pass_buffered)

    def give_back(self, data: bytes) -> None:
        """Have whoever reads next get bytes that a function was told, and no other."""
        self._told = None
        self._keep(data)

    def send(self, data: bytes) -> asyncio.Future[None]:
        """Write bytes, at once if the socket takes them."""
        if not self.writing():
            try:
                sent = self.socket.send(data)
            except OSError:  # also if there is no room; else `write` meets it again
                sent = 0
            if sent == len(data):
                return self._server.sent
            return self.write(memoryview(data)[sent:])
        return self.write(data)

    def _handle_read(self) -> None:
        if self._told is None:
            super()._handle_read()
        else:
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
            self._pass(data)
        self._has_read = True

    def _pass(self, data: bytes) -> None:
        told, self._told = self._told, None
        if told is not None:
            self._keep(told(data))

    def _keep(self, data: bytes) -> None:
        if data:
            self._read_buffer += data
            self._read_buffer_size += len(data)

    def _pass_buffered(self) -> None:
        if self._told is not None and not self.closed():
            self._pass(self._consume(self._read_buffer_size))
            self._maybe_add_error_listener()  # it may not have listened for long

    def reading(self) -> bool:
        """Whether to listen; asked by Tornado at each event, after it has read.

        It would stop when a body has come with its head, and begin again a moment
        later: four system calls a request, a twentieth of what a short one costs.
        """
        listens = self._has_read and self._read_buffer_size < _CHUNK_BYTES
        self._has_read = False
        return listens or self._told is not None or super().reading()

    @property
    def buffered(self) -> int:
        """How many bytes have come that nobody has read yet."""
        return self._read_buffer_size

    def close(self, exc_info: Any = False) -> None:  # noqa: FBT002 - Tornado's
        """Close; called by Tornado with the error that it closes for."""
        if isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            self._server.refuse_head(self.socket.dup())
        super().close(exc_info)
        self._server.forget(self)
