"""What all handlers share: one object instead of module state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.access.rates import RateLimits
    from isoserver.access.service import Access
    from isoserver.contexts.service import Contexts
    from isoserver.heaps.service import Heaps
    from isoserver.http.guards import Guard
    from isoserver.http.metrics import Metrics
    from isoserver.runs.service import Runs
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database
    from isoserver.tools.service import Tools

__all__ = ["Application", "AsgiEndpoint", "ServerParts"]

Application = Callable[
    [dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application."""


class AsgiEndpoint(Protocol):
    """A way in that is loaded when somebody comes."""

    async def application(self) -> Application:
        """Give what answers requests."""

    async def close(self) -> None:
        """End all streams; nobody comes in any more."""


@dataclass
class ServerParts:
    """A running server's parts, for its handlers.

    Attributes:
        settings: Its settings.
        contexts: Its contexts.
        heaps: What contexts were saved to.
        database: What outlives it.
        runs: Its runs.
        metrics: What it counts.
        log: Where it logs to.
        guard: Where requests may come from.
        access: Who may ask.
        rates: How often.
        document: Returns the OpenAPI document; the first call takes some tenths of a
            second.
        tools: What code in contexts can call.
        mcp: The door for agents; set before the server listens.
        quiet: Set while no request is being served.
    """

    settings: ServerSettings
    contexts: Contexts
    heaps: Heaps
    database: Database
    runs: Runs
    metrics: Metrics
    log: FilteringBoundLogger
    guard: Guard
    access: Access
    rates: RateLimits
    document: Callable[[], dict[str, Any]]
    tools: Tools
    mcp: AsgiEndpoint = field(init=False)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _active: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin without any request."""
        self.quiet.set()

    def enter(self, handler: object) -> None:
        """Note that a handler has a request to answer."""
        self._active.add(handler)
        self.quiet.clear()

    def leave(self, handler: object) -> None:
        """Note that a handler has answered, or that its client is gone."""
        self._active.discard(handler)
        if not self._active:
            self.quiet.set()
