"""`isokernel mcp`: MCP over stdin and stdout, for the client that started it."""

from __future__ import annotations

import asyncio
import os
import typing
from typing import TYPE_CHECKING, Any

from mcp.server.stdio import stdio_server

from isoserver.mcp.peers import Connection, HttpConnections, current_connection
from isoserver.mcp.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.streams import StandardStreams

__all__ = ["McpServer", "serve_stdio"]


class McpServer(typing.Protocol):
    """What of `isoserver.app.Server` is needed here."""

    parts: ServerParts

    def stop_on_signals(self) -> asyncio.Event:
        """Return what SIGTERM and SIGINT set; a second one ends the grace period."""

    async def open(self) -> None:
        """Start it, without listening."""

    def abandon(self) -> None:
        """Discard what a failed `open` has left."""

    async def stop(self) -> None:
        """Stop it."""

    def end_grace_period(self) -> None:
        """End the grace period of `stop`."""


async def serve_stdio(
    server: McpServer, streams: StandardStreams, complain: Callable[[Exception], None]
) -> None:
    """Serve until stdin ends, or SIGTERM or SIGINT; a second one ends the grace period.

    Args:
        server: A server that isn't started; it does not listen.
        streams: The client's, which are being read.
        complain: Called with the reason if it can't start; then the process ends.
    """
    stopped = server.stop_on_signals()
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(_serve(server, streams, failed), name="mcp")
    stopping = asyncio.create_task(stopped.wait())
    ends: set[asyncio.Future[Any]] = {serving, stopping, failed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if failed.done():
        server.abandon()
        complain(failed.result())
        os._exit(1)  # as below
    if serving.done():
        server.end_grace_period()  # nobody waits for what still runs
    await server.stop()
    if not serving.done():
        # A thread may be writing to a client that doesn't read.
        os._exit(0)
    serving.result()


async def _serve(
    server: McpServer, streams: StandardStreams, failed: asyncio.Future[Exception]
) -> None:
    protocol = Protocol(server.parts, HttpConnections(0))
    current_connection.set(Connection(None, asyncio.Event()))
    lines: Any = streams.lines()  # all that is asked of anyio's files
    output: Any = streams.output()
    async with stdio_server(lines, output) as (reader, writer):
        try:
            await server.open()
        except Exception as error:  # noqa: BLE001 - whatever: this waits for stdin now
            failed.set_result(error)
            return
        options = protocol.server.create_initialization_options()
        await protocol.server.run(reader, writer, options)
