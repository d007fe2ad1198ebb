"""A collector of OpenTelemetry's traces, which keeps what it is sent."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_FAILED = 2


class Span(NamedTuple):
    """A span as it was sent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    events: int
    state: str
    resource: dict[str, Any]
    scope: str


class Collector:
    """Takes OTLP over HTTP, as protobuf.

    Attributes:
        spans: All that has come.
        answer: Returns the status that it answers.
        others: The headers of what is sent to it that is no trace.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.others: list[dict[str, str]] = []
        self.answer: Callable[[], int] = lambda: 200
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def variables(self, **more: str) -> dict[str, str]:
        """Have a server send what it has soon, and to here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            **more,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.answer()
                if self.path != "/v1/traces":
                    collector.others.append(dict(self.headers))
                elif status == 200:
                    collector.take(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def take(self, body: bytes) -> None:
        """Keep what was sent."""
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(each.resource.attributes)
            for scope in each.scope_spans:
                name = scope.scope.name
                self.spans += [_span(one, resource, name) for one in scope.spans]

    def of(self, trace_id: str) -> list[Span]:
        """What has come of a trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def tree(self, trace_id: str, *names: str) -> Tree:
        """Wait until a trace has spans of all these names, as many as are named."""
        wanted = Counter(names)

        def ask() -> Tree | None:
            found = self.of(trace_id)
            there = Counter(span.name for span in found)
            return None if wanted - there else Tree(found)

        return wait_for(ask)

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Tree:
    """The spans of a trace."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self._by_id = {span.span_id: span for span in spans}

    def one(self, name: str, **attributes: Any) -> Span:
        """The only span of a name."""
        found = [span for span in self.spans if span.name == name]
        found = [s for s in found if attributes.items() <= s.attributes.items()]
        assert len(found) == 1, (name, [span.name for span in self.spans])
        return found[0]

    def path(self, span: Span) -> list[str]:
        """The names from the first span that is known to this one."""
        names = [span.name]
        while span.parent_id in self._by_id:
            span = self._by_id[span.parent_id]
            names.append(span.name)
        return names[::-1]


def parent(*, sampled: bool = True) -> tuple[str, str]:
    """Return a new trace's id, and the header of a client that has begun it."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def _span(sent: Sent, resource: dict[str, Any], scope: str) -> Span:
    return Span(
        sent.name,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        KINDS[sent.kind],
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
        sent.status.code == _FAILED,
        _plain(sent.attributes),
        len(sent.events),
        sent.trace_state,
        resource,
        scope,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)
