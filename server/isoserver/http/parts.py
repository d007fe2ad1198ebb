"""What all handlers share: the parts of a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.access.rates import RateLimits
    from isoserver.access.service import Access
    from isoserver.capabilities.service import Capabilities
    from isoserver.cluster.service import Cluster
    from isoserver.contexts.service import Contexts
    from isoserver.files.service import Files
    from isoserver.heaps.service import Heaps
    from isoserver.http.guards import Guard
    from isoserver.http.metrics import Metrics
    from isoserver.jupyter.fronts import Fronts
    from isoserver.jupyter.sessions import Sessions
    from isoserver.passing.service import Passing
    from isoserver.runs.service import Runs
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database
    from isoserver.tools.service import Tools
    from isoserver.webhooks.service import Webhooks

__all__ = ["AsgiApplication", "AsgiEndpoint", "ServerParts"]

AsgiApplication = Callable[
    [dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application."""


class AsgiEndpoint(Protocol):
    """An ASGI application that is loaded at the first request."""

    async def application(self) -> AsgiApplication:
        """Return the application."""

    async def close(self) -> None:
        """End all streams; later requests are refused."""


@dataclass
class ServerParts:
    """A running server's parts, for its handlers.

    Attributes:
        guard: Checks where requests come from.
        access: Finds out who they come from.
        rates: Limits how many there may be.
        document: Returns the OpenAPI document, made when it is first asked for.
        tools: What code in contexts can call.
        capabilities: What it may do beyond them.
        webhooks: Tell others that runs have ended.
        files: The folders of contexts.
        fronts: The clients that are attached to contexts.
        sessions: Which of their documents uses which.
        cluster: The servers that share the database, if there are others.
        passing: Passes on to them what is theirs.
        mcp: The endpoint of MCP; set before the server listens.
        quiet: Set while no request is being served.
        ending: Whether the server is about to end; each answer says that its
            connection will be of no use.
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
    files: Files
    capabilities: Capabilities
    webhooks: Webhooks
    fronts: Fronts
    sessions: Sessions
    cluster: Cluster | None = None
    passing: Passing | None = None
    mcp: AsgiEndpoint = field(init=False)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    ending: bool = False
    _active: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Start without any request."""
        self.quiet.set()

    def enter(self, handler: object) -> None:
        """Note that a handler begins to serve a request."""
        self._active.add(handler)
        self.quiet.clear()

    def leave(self, handler: object) -> None:
        """Note that a handler has answered, or that its client is gone."""
        self._active.discard(handler)
        if not self._active:
            self.quiet.set()
