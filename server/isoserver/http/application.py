"""The HTTP server: what handles each path, and limits on what clients send.

Tornado would answer what is too large by itself, and not in JSON; so it is let read
and drop that, while one of the handlers here answers.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from tornado.httputil import HTTPMessageDelegate
from tornado.routing import URLSpec
from tornado.web import Application, stream_request_body

from isoserver.errors import BodyTooLargeError, HeadersTooLargeError
from isoserver.http.connections import BoundedServer
from isoserver.http.handlers import Handler, MissingHandler
from isoserver.http.proxies import Proxies
from isoserver.http.whole import WholeRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tornado.httputil import (
        HTTPHeaders,
        HTTPServerRequest,
        RequestStartLine,
        ResponseStartLine,
    )

    from isoserver.http.parts import ServerParts
    from isoserver.http.routes import Route

__all__ = ["make_http_server"]

_BODY_FACTOR: Final = 4
"""How many times the limit a body is read before its sender is cut off."""
_DROPPED_BYTES_MAX: Final = 1 << 40
_BODY_SECONDS: Final = 120.0
"""How long a body that didn't come with its headers may take."""
_FILE_SECONDS: Final = 3600.0
"""The same for a file."""


def make_http_server(parts: ServerParts, routes: Iterable[Route]) -> BoundedServer:
    """Return a server of some routes that doesn't listen yet.

    Args:
        parts: What its handlers share.
        routes: Every path that it serves.
    """
    application = _Application(parts, routes)
    application.server = BoundedServer(application, parts.settings, parts.log)
    return application.server


class _Application(Application):
    """Tornado's application, which looks at sizes before it reads a body."""

    server: BoundedServer

    def __init__(self, parts: ServerParts, routes: Iterable[Route]) -> None:
        self._parts = parts
        self._proxies = Proxies(parts.settings.trusted_proxies)
        specs = {route.path: _url_spec(parts, route) for route in routes}
        # Found at once, where Tornado tries the patterns of all routes in turn.
        self._fixed = {path: spec for path, spec in specs.items() if "{" not in path}
        super().__init__(
            list(specs.values()),
            default_handler_class=MissingHandler,
            default_handler_args={"parts": parts},
            log_function=lambda _handler: None,  # Handler.on_finish logs
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find what answers a request; called by Tornado when it has the headers."""
        connection: Any = request.connection
        self.server.begin_request(connection.stream)
        if self._proxies:
            request.remote_ip = self._proxies.client(
                request.remote_ip or "", request.headers
            )
        if isinstance(connection, WholeRequest):
            return self._delegate(request, **kwargs)
        settings = self._parts.settings
        if _head_size(request) > settings.request_header_bytes_max:
            return self._refuse(request, _LongHeadersHandler)
        delegate = self._delegate(request, **kwargs)
        size, size_max = _body_size(request.headers), settings.request_body_bytes_max
        kind = delegate.handler_class
        takes_files = issubclass(kind, Handler) and kind.streams_body
        is_file = takes_files and request.method == "PUT"
        if is_file:
            size_max = settings.file_bytes_max
            connection.set_max_body_size(size_max)
        if size is not None and size > size_max:
            return self._refuse_body(request, size)
        if not _is_whole(request, size):
            connection.set_body_timeout(_FILE_SECONDS if is_file else _BODY_SECONDS)
        if size is not None:
            return delegate
        _drop_the_rest(request)
        return _BoundedBody(
            delegate, lambda: self._refuse(request, _LongBodyHandler), size_max
        )

    def _delegate(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        spec = self._fixed.get(request.path)
        if spec is None:
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, spec.handler_class, spec.kwargs)

    def _refuse_body(self, request: HTTPServerRequest, size: int) -> Any:
        """Refuse a body: once it has come, as most clients read no answer before."""
        factor = size / self._parts.settings.request_body_bytes_max
        if factor > _BODY_FACTOR or "Expect" in request.headers:
            return self._refuse(request, _LongBodyHandler)
        _drop_the_rest(request)
        return _DroppedBody(lambda: self._refuse(request, _LongBodyHandler))

    def _refuse(self, request: HTTPServerRequest, handler: type[Handler]) -> Any:
        return self.get_handler_delegate(request, handler, {"parts": self._parts})


def _url_spec(parts: ServerParts, route: Route) -> URLSpec:
    pattern = re.sub(r"\{path\}", r"(?P<path>.+)", route.path)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    methods = tuple(operation.method for operation in route.operations)
    arguments = {"parts": parts, "route": route.path, "methods": methods}
    return URLSpec(pattern, route.handler, arguments)


@stream_request_body
class _LongBodyHandler(Handler):
    """Answers requests whose body is larger than the server accepts."""

    def set_default_headers(self) -> None:
        """Say that the connection ends, as Tornado closes it amid a body."""
        super().set_default_headers()
        self.set_header("Connection", "close")

    async def prepare(self) -> None:
        """Refuse the request before its body is read."""
        _drop_the_rest(self.request)
        await super().prepare()
        raise BodyTooLargeError(self.parts.settings.request_body_bytes_max)


class _LongHeadersHandler(_LongBodyHandler):
    """Answers requests whose headers are larger than the server accepts."""

    async def prepare(self) -> None:
        """Refuse the request before its body is read."""
        _drop_the_rest(self.request)
        await Handler.prepare(self)
        raise HeadersTooLargeError(self.parts.settings.request_header_bytes_max)


class _DroppedBody(HTTPMessageDelegate):
    """Drops the body of a request that is refused, and then has it answered."""

    def __init__(self, refuse: Callable[[], HTTPMessageDelegate]) -> None:
        """Drop a body.

        Args:
            refuse: Makes what answers.
        """
        self._make_refusal = refuse
        self._head: tuple[Any, Any] = (None, None)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Keep the head for the refusal."""
        self._head = (start_line, headers)
        return None

    def finish(self) -> None:
        """Answer; called by Tornado when it has the whole body."""
        refusal = self._make_refusal()
        refusal.headers_received(*self._head)
        refusal.finish()


class _BoundedBody(HTTPMessageDelegate):
    """Passes a chunked request on until its body turns out to be too large.

    The rest is read all the same, and dropped: a client that is still sending doesn't
    read an answer. Not for ever, though (`_BODY_FACTOR`).
    """

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        refuse: Callable[[], HTTPMessageDelegate],
        size_max: int,
    ) -> None:
        """Wrap what serves the request.

        Args:
            delegate: What serves it.
            refuse: Makes what answers instead, once the body is too large.
            size_max: Bytes that the body may have.
        """
        self._delegate = delegate
        self._refusal = refuse
        self._size_max = size_max
        self._size = 0
        self._head: tuple[Any, Any] = (None, None)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Pass the head on, and keep it for a refusal."""
        self._head = (start_line, headers)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a piece of the body on, or drop it."""
        before = self._size
        self._size = before + len(chunk)
        if self._size <= self._size_max:
            return self._delegate.data_received(chunk)
        if before <= self._size_max:
            self._delegate.on_connection_close()  # it forgets what it has
        if self._size > _BODY_FACTOR * self._size_max >= before:
            return self._refuse()
        return None

    def finish(self) -> None:
        """End the request; called by Tornado when it has the whole body."""
        if self._size_max < self._size <= _BODY_FACTOR * self._size_max:
            self._refuse()
        self._delegate.finish()

    def on_connection_close(self) -> None:
        """Pass on that the client is gone."""
        self._delegate.on_connection_close()

    def _refuse(self) -> Awaitable[None] | None:
        self._delegate = self._refusal()
        return self._delegate.headers_received(*self._head)


def _head_size(request: HTTPServerRequest) -> int:
    """Return the characters of a request's first line and headers, nearly."""
    texts = chain.from_iterable(request.headers.get_all())
    return len(request.uri or "") + sum(map(len, texts))


def _body_size(headers: HTTPHeaders) -> int | None:
    """Return the bytes of a request's body; None if the headers don't say."""
    if "Transfer-Encoding" in headers:
        return None
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _is_whole(request: HTTPServerRequest, size: int | None) -> bool:
    """Tell whether a request's body has come with its headers, as most have.

    Waiting with a timeout makes Tornado start a task and a timer and takes three turns
    of the event loop: a tenth of what a short request costs.
    """
    stream = getattr(request.connection, "stream", None)
    there: int = getattr(stream, "_read_buffer_size", 0)  # 0 if Tornado renames it
    return size is not None and size <= there


def _drop_the_rest(request: HTTPServerRequest) -> None:
    """Let Tornado read and drop what comes, however much."""
    connection: Any = request.connection
    connection.set_max_body_size(_DROPPED_BYTES_MAX)
