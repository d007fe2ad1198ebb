"""The MCP door of a running server: loaded at the first request, closed with the rest.

The SDK takes half a second to import and 30 MiB, which whoever speaks plain HTTP need
not pay.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

from isoserver.errors import StoppingError
from isoserver.mcp.asgi import AsgiHandler

if TYPE_CHECKING:
    from isoserver.http.parts import Application, ServerParts

__all__ = ["McpEndpoint", "McpHandler", "mcp_paths"]


class McpEndpoint:
    """Streamable HTTP and SSE of one server; of its event loop."""

    def __init__(self, parts: ServerParts) -> None:
        """Make a door that nobody has knocked at yet.

        Args:
            parts: The server's parts.
        """
        self._parts = parts
        self._lock = asyncio.Lock()
        self._transports: Any = None
        self._closed = False

    async def application(self) -> Application:
        """Give what answers requests.

        Raises:
            StoppingError: The server is about to end.
        """
        async with self._lock:
            if self._closed:
                raise StoppingError
            if self._transports is None:
                # In a thread: the loop has others to serve meanwhile.
                name = "isoserver.mcp.transports"
                module = await asyncio.to_thread(import_module, name)
                self._transports = module.Transports(self._parts)
                await self._transports.start()
        application: Application = self._transports.application
        return application

    async def close(self) -> None:
        """End all streams."""
        async with self._lock:
            self._closed = True
            if self._transports is not None:
                await self._transports.close()


class McpHandler(AsgiHandler):
    """Passes requests to the SDK."""

    async def served(self) -> Application:
        """Give what answers."""
        self.check_open()
        return await self.parts.mcp.application()


def mcp_paths() -> dict[str, tuple[str, ...]]:
    """Give the paths, and the methods of each."""
    return {
        "/mcp": ("GET", "POST", "DELETE"),
        "/sse": ("GET",),
        "/messages/": ("POST",),
    }
