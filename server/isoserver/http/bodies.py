"""Bodies and headers larger than the server takes: refused in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tornado.httputil import HTTPMessageDelegate
from tornado.web import stream_request_body

from isoserver.errors import BodyTooLargeError, HeadersTooLargeError
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tornado.httputil import (
        HTTPHeaders,
        HTTPServerRequest,
        RequestStartLine,
        ResponseStartLine,
    )

__all__ = [
    "BoundedBody",
    "LongHeadHandler",
    "TooLargeHandler",
    "declared_size",
    "drop_the_rest",
    "head_size",
    "is_whole",
]

_DROPPED_MAX: Final = 1 << 40
_PATIENCE: Final = 4
"""How many times the bound a body is read before its sender is cut off."""


@stream_request_body
class TooLargeHandler(Handler):
    """Answers requests whose body is larger than the server takes."""

    def set_default_headers(self) -> None:
        """Tell that the connection ends, as Tornado closes it amid a body."""
        super().set_default_headers()
        self.set_header("Connection", "close")

    async def prepare(self) -> None:
        """Refuse, before the body is read."""
        drop_the_rest(self.request)
        await super().prepare()
        raise BodyTooLargeError(self.parts.settings.request_body_bytes_max)


class LongHeadHandler(TooLargeHandler):
    """Answers requests whose headers are larger than the server takes."""

    async def prepare(self) -> None:
        """Refuse, before the body is read."""
        drop_the_rest(self.request)
        await Handler.prepare(self)
        raise HeadersTooLargeError(self.parts.settings.request_header_bytes_max)


class BoundedBody(HTTPMessageDelegate):
    """A request that doesn't say how large it is: kept until it is too large.

    The rest is read all the same, and dropped, as who still sends doesn't read an
    answer; but not for ever.
    """

    def __init__(
        self,
        served: HTTPMessageDelegate,
        refused: Callable[[], HTTPMessageDelegate],
        size_max: int,
    ) -> None:
        """Wrap what serves a request.

        Args:
            served: What serves it.
            refused: Makes what answers it instead, once it is too large.
            size_max: Bytes that it may have.
        """
        self._inner = served
        self._refused = refused
        self._size_max = size_max
        self._size = 0
        self._start: tuple[Any, Any] = (None, None)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Take the head of the request."""
        self._start = (start_line, headers)
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a piece of the body."""
        before = self._size
        self._size = before + len(chunk)
        if self._size <= self._size_max:
            return self._inner.data_received(chunk)
        if before <= self._size_max:
            self._inner.on_connection_close()  # it forgets what it has
        if self._size > _PATIENCE * self._size_max >= before:
            return self._refuse()
        return None

    def finish(self) -> None:
        """Take the end of the request."""
        if self._size_max < self._size <= _PATIENCE * self._size_max:
            self._refuse()
        self._inner.finish()

    def _refuse(self) -> Awaitable[None] | None:
        self._inner = self._refused()
        return self._inner.headers_received(*self._start)

    def on_connection_close(self) -> None:
        """Take note of its client's going."""
        self._inner.on_connection_close()


def head_size(request: HTTPServerRequest) -> int:
    """Characters of a request's first line and headers, up to a few."""
    names = request.headers.get_all()
    return len(request.uri or "") + sum(len(name) + len(text) for name, text in names)


def declared_size(headers: HTTPHeaders) -> int | None:
    """Bytes that a request's body has; None if it doesn't say."""
    if "Transfer-Encoding" in headers:
        return None
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def is_whole(request: HTTPServerRequest, size: int | None) -> bool:
    """Whether all of a request's body came with its head, so that nobody waits for it.

    Most bodies do. Waiting with a deadline makes Tornado begin a task, a timer and
    three turns of the event loop: a tenth of what a short request costs.
    """
    stream = getattr(request.connection, "stream", None)
    there: int = getattr(stream, "_read_buffer_size", 0)  # 0 if Tornado renames it
    return size is not None and size <= there


def drop_the_rest(request: HTTPServerRequest) -> None:
    """Let Tornado read and drop what comes, however much.

    Else it would answer by itself, and not in JSON.
    """
    connection: Any = request.connection
    connection.set_max_body_size(_DROPPED_MAX)
