"""The MCP endpoint of a running server: loaded at the first request.

The SDK takes half a second to import and 30 MiB, which a server that nobody asks for
MCP doesn't pay.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import StoppingError
from isoserver.http.routes import Operation, Route
from isoserver.mcp.asgi import AsgiHandler

if TYPE_CHECKING:
    from isoserver.http.parts import AsgiApplication, ServerParts

__all__ = ["MCP_ROUTES", "McpEndpoint"]


class McpEndpoint:
    """Streamable HTTP and SSE of one server. In the event loop only."""

    def __init__(self, parts: ServerParts) -> None:
        """Make an endpoint that hasn't been asked yet.

        Args:
            parts: The server's parts.
        """
        self._parts = parts
        self._lock = asyncio.Lock()
        self._transports: Any = None
        self._closed = False

    async def application(self) -> AsgiApplication:
        """Return what answers requests; the first call loads it.

        Raises:
            StoppingError: The server is stopping.
        """
        async with self._lock:
            if self._closed:
                raise StoppingError
            if self._transports is None:
                # In a thread: the loop has other requests to serve meanwhile.
                name = "isoserver.mcp.transports"
                module = await asyncio.to_thread(import_module, name)
                self._transports = module.Transports(self._parts)
                await self._transports.start()
        application: AsgiApplication = self._transports.application
        return application

    async def close(self) -> None:
        """End all streams; called once, when the server stops."""
        async with self._lock:
            self._closed = True
            if self._transports is not None:
                await self._transports.close()


class McpHandler(AsgiHandler):
    """Passes requests to the SDK."""

    async def asgi_application(self) -> AsgiApplication:
        """Return the SDK's transports.

        Raises:
            StoppingError: The server is stopping.
        """
        self.check_open()
        return await self.parts.mcp.application()


def _route(path: str, *methods: str) -> Route:
    operations = (Operation(method, "A message of MCP.", ()) for method in methods)
    return Route(path, McpHandler, tuple(operations))


MCP_ROUTES: Final = (
    _route("/mcp", "GET", "POST", "DELETE"),
    _route("/sse", "GET"),
    _route("/messages/", "POST"),
    _route("/messages/{server_id}/", "POST"),
)
"""Beside the other routes, which are the OpenAPI document: these are MCP's."""
