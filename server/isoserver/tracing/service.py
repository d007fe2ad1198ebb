"""Traces of one server: where they are sent, and their end."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from isokernel._version import __version__
from isokernel.timeouts import timeout
from isoserver.tracing.parts import watch
from isoserver.tracing.requests import traced_routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.util.types import AttributeValue
    from structlog.typing import EventDict

    from isoserver.http.parts import ServerParts
    from isoserver.http.routes import Route
    from isoserver.runs.runner import Runner

__all__ = ["Tracing"]

_FLUSH_SECONDS: Final = 3.0
"""How long the end of a server waits for what is still to be sent."""


class Tracing:
    """The traces of one server. In the event loop only; a thread sends them.

    What is sent where, and how much of it, is said by OpenTelemetry's variables. A
    process has one provider of spans. If it has one already, it is that of whoever runs
    the server, or of the server that this one takes the place of.
    """

    def __init__(self) -> None:
        """Have the process send spans."""
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            # Its end is bounded here: its own waits for the collector.
            provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(provider)
        self._provider = provider

    def watch(self, parts: ServerParts, runners: Iterable[Runner]) -> None:
        """Have the parts of a server begin spans; see `parts.watch`."""
        watch(parts, runners)

    def routes(self, routes: Iterable[Route]) -> Iterator[Route]:
        """Yield routes whose requests are spans."""
        return traced_routes(routes)

    def note(self, event: EventDict) -> None:
        """Add to a line of the log which span it is of."""
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = trace.format_trace_id(span.trace_id)
            event["span_id"] = trace.format_span_id(span.span_id)

    async def close(self) -> None:
        """Send what there is, for some seconds at most."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.force_flush()
            with suppress(RuntimeError):  # nobody has waited for so long
                loop.call_soon_threadsafe(sent.set)

        # Not one of the loop's threads, which its end would wait for.
        threading.Thread(target=flush, name="traces", daemon=True).start()
        with suppress(asyncio.TimeoutError):
            async with timeout(_FLUSH_SECONDS):
                await sent.wait()


def _resource() -> Resource:
    """Return what is told of the process with all spans; the variables decide."""
    own: dict[str, AttributeValue] = {
        "service.name": "isokernel",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    return Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
