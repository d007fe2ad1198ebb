"""Requests that come whole, as most do: read at once, and answered by one write.

Tornado reads a request in three steps, each with a future and turns of the event loop,
and parses it header by header; that is a third of what a short request costs. Here the
bytes that a client's socket has given are taken as a request if they are one to its end
and of the plainest form. Many clients write a head and its body apart: a short body is
waited for, if it comes next. Everything else is Tornado's, from its first byte: long
bodies, those in pieces or chunks, HTTP/1.0, websockets, and whatever is malformed.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPOutputError,
    HTTPServerRequest,
    RequestStartLine,
)
from tornado.iostream import StreamClosedError, UnsatisfiableReadError
from tornado.log import app_log, gen_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tornado.http1connection import HTTP1ConnectionParameters
    from tornado.httputil import HTTPMessageDelegate, ResponseStartLine

    from isoserver.http.connections import BoundedServer, Stream

__all__ = ["Peer", "ServerConnection", "WholeRequest"]

_HEAD_BYTES_MAX: Final = 8192
"""Of a head that is read here; longer ones are rare."""
_LENGTH: Final = re.compile("[0-9]{1,9}")
_REST_BYTES_MAX: Final = 1 << 16
"""Of a request whose body is waited for."""
_HEAD: Final = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|OPTIONS) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
_NOT_PLAIN: Final = frozenset({"expect", "transfer-encoding", "upgrade"})
_KEEPS: Final = "keep-alive"
_NO_CONTENT: Final = {HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value}


class Peer(NamedTuple):
    """Where a connection comes from; what Tornado calls its context."""

    remote_ip: str
    protocol: str = "http"

    def __str__(self) -> str:
        """Return the address, as Tornado logs it."""
        return self.remote_ip


class ServerConnection(HTTP1ServerConnection):
    """A client's connection: one request after the other. In the event loop only."""

    stream: Stream

    def __init__(
        self,
        stream: Stream,
        params: HTTP1ConnectionParameters,
        peer: Peer,
        server: BoundedServer,
    ) -> None:
        """Own a client's stream.

        Args:
            stream: The stream.
            params: Tornado's, for requests that it reads.
            peer: Where it comes from.
            server: Finds what answers.
        """
        super().__init__(stream, params, peer)
        self.peer = peer
        self._server = server
        self._reading: asyncio.Task[bool] | None = None  # by Tornado
        self._answering: HTTPConnection | None = None
        self._feeding: set[asyncio.Task[None]] = set()
        self._held = b""  # a head whose body is waited for
        self._ended = False

    def start_serving(self, delegate: object) -> None:
        """Serve requests; called by Tornado."""
        del delegate  # the server, which is known
        self._wait()

    async def close(self) -> None:
        """Close the connection; called by Tornado when the server stops."""
        self.stream.close()
        if self._reading is not None:
            with suppress(Exception):
                await self._reading
        self._closed()

    def _wait(self) -> None:
        """Wait for the next request."""
        if self.stream.closed():
            self._end()
            return
        self._answering = None
        self.stream.set_close_callback(self._closed)
        self._server.wait_for_request(self.stream)
        self.stream.tell(self._arrived)

    def _arrived(self, data: bytes) -> bytes:
        """Begin to serve what has come; what is left to Tornado is returned."""
        head = _read_head(data)
        if head is None or not self._takes(head):
            self._read_by_tornado()
            return data
        if head.end > len(data):
            self._held = data
            self._server.hold(self)
            self.stream.tell(partial(self._came_next, head))
            return b""
        return self._begin(head, data)

    def _came_next(self, head: _Head, data: bytes) -> bytes:
        """Go on with a request of which only the head had come."""
        data, self._held = self._held + data, b""
        if len(data) != head.end:
            self._read_by_tornado()
            return data
        return self._begin(head, data)

    def _begin(self, head: _Head, data: bytes) -> bytes:
        try:
            return self._serve(head, data)
        except Exception:  # noqa: BLE001 - a defect ends this connection, not others
            app_log.error("Uncaught exception", exc_info=True)
            self.stream.close()
            return b""

    def release(self) -> None:
        """Leave what has come to Tornado, if the rest of it hasn't."""
        held, self._held = self._held, b""
        if held and not self.stream.closed():
            self._read_by_tornado()
            self.stream.give_back(held)

    def _takes(self, head: _Head) -> bool:
        """Tell whether a request is short, and within the limits of the settings."""
        settings = self._server.settings
        return (
            head.end <= _REST_BYTES_MAX
            and head.end - head.start <= settings.request_body_bytes_max
            and head.start <= settings.request_header_bytes_max
        )

    def _read_by_tornado(self) -> None:
        self._reading = asyncio.ensure_future(self._read())
        self._reading.add_done_callback(self._was_read)

    def _read(self) -> Any:
        connection = HTTP1Connection(self.stream, False, self.params, self.peer)  # noqa: FBT003
        return connection.read_response(self._server.start_request(self, connection))

    def _was_read(self, reading: asyncio.Task[bool]) -> None:
        self._reading = None
        if reading.cancelled():
            self._end()
        elif (error := reading.exception()) is not None:
            if not isinstance(error, (StreamClosedError, UnsatisfiableReadError)):
                gen_log.error("Uncaught exception", exc_info=error)
            self.stream.close()
            self._end()
        elif reading.result():
            self._wait()
        else:
            self._end()

    def _serve(self, head: _Head, data: bytes) -> bytes:
        headers = HTTPHeaders()
        for name, value in head.fields.items():
            headers[name] = value
        try:
            request = HTTPServerRequest(
                connection=WholeRequest(self),
                server_connection=self,
                start_line=head.line,
                headers=headers,
                body=data[head.start :],
            )
        except HTTPInputError:  # which Tornado answers
            self._read_by_tornado()
            return data
        self._answering = request.connection
        delegate = self._server.application.find_handler(request)
        waits = delegate.headers_received(head.line, headers)
        if waits is None:
            if request.body:
                delegate.data_received(request.body)
            delegate.finish()
        else:
            feeding = asyncio.ensure_future(_feed(delegate, waits, request.body))
            self._feeding.add(feeding)
            feeding.add_done_callback(self._feeding.discard)
        return b""

    def answered(self, request: WholeRequest) -> None:
        """Go on, as a request has its answer."""
        if self._answering is request:
            self._wait()

    def detached(self) -> None:
        """Serve nothing more: the stream is somebody else's."""
        self.stream.set_close_callback(None)
        self._end()

    def _closed(self) -> None:
        """Tell the request that is served that its client is gone."""
        request, self._answering = self._answering, None
        if isinstance(request, WholeRequest):
            request.lose()
        if self._reading is None:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._answering = None
            self._server.on_close(self)


class _Head(NamedTuple):
    """The first line and the headers of a request.

    Attributes:
        line: The first line.
        fields: The headers, by names in lower case.
        start: Where the body begins.
        end: Where it ends, with what has not come yet.
    """

    line: RequestStartLine
    fields: dict[str, str]
    start: int
    end: int


def _read_head(data: bytes) -> _Head | None:
    """Read a request's head; None if it isn't plain, or more follows than its body."""
    found = _HEAD.match(data, 0, _HEAD_BYTES_MAX)
    if found is None:
        return None
    fields = {}
    lines = found[3].decode("latin-1").split("\r\n")[:-1]
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip(" \t")
    length = fields.get("content-length", "0")
    start = found.end()
    if (
        len(fields) != len(lines)  # one is there twice
        or not _NOT_PLAIN.isdisjoint(fields)
        or fields.get("connection", _KEEPS).lower() != _KEEPS
        or not _LENGTH.fullmatch(length)
        or start + int(length) < len(data)
    ):
        return None
    line = RequestStartLine(found[1].decode(), found[2].decode(), "HTTP/1.1")
    return _Head(line, fields, start, start + int(length))


class WholeRequest(HTTPConnection):
    """What Tornado's handlers write the answer of one request to.

    Its head and body are within the limits of the settings.
    """

    def __init__(self, connection: ServerConnection) -> None:
        """Answer a request of a connection."""
        self.stream = connection.stream
        self.context = connection.peer
        self._connection = connection
        self._on_close: Callable[[], None] | None = None
        self._chunked = False
        self._left: int | None = None
        self._written: asyncio.Future[None] | None = None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have a function called when the client is gone before it has its answer."""
        self._on_close = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        """Let it be: the body is here."""

    def set_body_timeout(self, timeout: float) -> None:
        """Let it be, likewise."""

    def lose(self) -> None:
        """Tell the handler that the client is gone."""
        call, self._on_close = self._on_close, None
        if call is not None:
            call()

    def detach(self) -> Stream:
        """Give up the stream, for good."""
        self._on_close = None
        self._connection.detached()
        return self.stream

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Send the head of the answer, and what there is of its body."""
        _, code, reason = start_line
        length = headers.get("Content-Length")
        self._left = None if length is None else int(length)
        self._chunked = length is None and code not in _NO_CONTENT
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        if code == HTTPStatus.NOT_MODIFIED:
            self._left = 0
        lines = [f"HTTP/1.1 {code} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        head = "\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count("\n") != breaks or head.count("\r") != breaks:
            message = f"a header of the answer has a line break: {lines!r}"
            raise ValueError(message)
        data = f"{head}\r\n\r\n".encode("latin-1")
        return self._send(data + self._framed(chunk) if chunk else data)

    def write_whole(self, answer: bytes) -> None:
        """Send an answer as it is, with its head and all of its body, and end it."""
        self._send(answer)
        self.finish()

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send more of the body."""
        return self._send(self._framed(chunk))

    def _framed(self, chunk: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                self.stream.close()
                message = "the answer has more bytes than its Content-Length"
                raise HTTPOutputError(message)
        if not self._chunked or not chunk:
            return chunk
        return b"%x\r\n%b\r\n" % (len(chunk), chunk)

    def _send(self, data: bytes) -> asyncio.Future[None]:
        if self.stream.closed():
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            lost.set_exception(StreamClosedError())
            lost.exception()  # nobody need look at it
            return lost
        self._written = self.stream.send(data)
        return self._written

    def finish(self) -> None:
        """End the answer; the next request is served once it is written."""
        if self.stream.closed():
            return
        if self._left:
            self.stream.close()
            message = f"the answer lacks {self._left} bytes of its Content-Length"
            raise HTTPOutputError(message)
        if self._chunked:
            self._send(b"0\r\n\r\n")
        if self._written is None or self._written.done():
            self._connection.answered(self)
        else:
            self._written.add_done_callback(
                lambda _written: self._connection.answered(self)
            )


async def _feed(
    delegate: HTTPMessageDelegate, ready: Awaitable[None], body: bytes
) -> None:
    """Give a body to a handler that takes it in pieces, once it is ready for it."""
    await ready
    if body:
        waits = delegate.data_received(body)
        if waits is not None:
            await waits
    delegate.finish()
