"""Handlers whose requests are spans, as OpenTelemetry's conventions for HTTP say."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from opentelemetry import context as current
from opentelemetry.propagate import extract
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from tornado.httputil import HTTPHeaders

from isoserver.http.handlers import Handler
from isoserver.tracing.spans import NOTHING, TRACER, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.util.types import AttributeValue
    from tornado.iostream import IOStream

    from isoserver.http.routes import Route

__all__ = ["TracedHandler", "traced_routes"]

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)
_UNTRACED: Final = frozenset({"/healthz", "/metrics"})
"""Which are asked every few seconds, and tell nothing."""
_TEXT_MAX: Final = 256
"""Characters of what a client says of itself."""


class _Headers(Getter[HTTPHeaders]):
    """Reads what a request carries of a trace."""

    def get(self, carrier: HTTPHeaders, key: str) -> list[str] | None:
        """Return the values of a header; None if it isn't there."""
        return carrier.get_list(key) or None

    def keys(self, carrier: HTTPHeaders) -> list[str]:
        """Return the names of all."""
        return list(carrier)


_HEADERS: Final = _Headers()


class TracedHandler(Handler):
    """Has a span from the request to the end of its answer.

    Attributes:
        span: The span, once the request is looked at.
        passed: That of its way to another server, if it is passed on.
    """

    span: Span | None = None
    passed: Span | None = None

    async def prepare(self) -> None:
        """Begin the span, which is a part of the trace that the request names."""
        request = self.request
        # Not of the context here: that is of whoever has last used the connection.
        named = get_current_span(extract(request.headers, NOTHING, _HEADERS))
        # What else a client has it carry (baggage) isn't for those whom we ask.
        parent = set_span_in_context(named, NOTHING)
        method = request.method or ""
        method = method if method in _METHODS else "_OTHER"
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "http.route": self.route,
            "url.path": request.path[:_TEXT_MAX],
            "url.scheme": request.protocol,
            "network.protocol.version": request.version.removeprefix("HTTP/"),
            "client.address": request.remote_ip or "",
        }
        agent = request.headers.get("User-Agent")
        if agent is not None:
            attributes["user_agent.original"] = agent[:_TEXT_MAX]
        if self.parts.cluster is not None:
            attributes["isokernel.server.id"] = self.parts.cluster.server_id
        name = f"{method} {self.route}" if method != "_OTHER" else f"HTTP {self.route}"
        self.span = TRACER.start_span(name, parent, SpanKind.SERVER, attributes)
        current.attach(set_span_in_context(self.span, parent))  # as long as the task
        await super().prepare()

    def on_finish(self) -> None:
        """Log the request as a part of its trace, and end the span."""
        if self.span is None or get_current_span() is self.span:
            super().on_finish()
        else:  # what ends it is of another task
            with within(set_span_in_context(self.span)):
                super().on_finish()
        self._end()

    def detach(self) -> IOStream:
        """Give up the connection, which ends the request for HTTP."""
        stream = super().detach()
        self._end()
        return stream

    def _end(self) -> None:
        span, status = self.span, self.get_status()
        if span is None or not span.is_recording():
            return
        span.set_attribute("http.response.status_code", status)
        if self.principal.workspace:
            span.set_attribute("isokernel.workspace", self.principal.workspace)
        if self.failure is not None:
            span.set_attribute("error.type", type(self.failure).code)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
            if self.failure is None:
                span.set_attribute("error.type", str(status))
        if self.passed is not None and self.passed.is_recording():
            self.passed.set_attribute("http.response.status_code", status)
            self.passed.end()
        span.end()


def _traced(handler: type[Handler]) -> type[Handler]:
    return type(handler.__name__, (TracedHandler, handler), {})


def traced_routes(routes: Iterable[Route]) -> Iterator[Route]:
    """Yield routes whose requests are traced, but for those that only look at us."""
    for route in routes:
        if route.path in _UNTRACED:
            yield route
        else:
            yield route._replace(handler=_traced(route.handler))
