"""Many MCP clients on one data folder: the server that has it serves them all.

Only one server at a time may use a data folder, but each client over stdio starts a
process of its own. So a server listens on a Unix socket in its folder, which only its
owner can open, and every `isokernel mcp` with a data folder relays its client's
messages (`relay_client`). Sessions, tasks and approvals of all are then in one place.

The first `isokernel mcp` on a folder forks the server as a process of its own, which
serves until its last client is gone: whichever client leaves, and however, the others
don't notice.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import typing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isokernel.timeouts import timeout
from isoserver.mcp.handshake import Opening, Output
from isoserver.mcp.relay_client import SOCKET, WELCOME
from isoserver.settings.logs import only_closed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from isoserver.http.parts import ServerParts

__all__ = ["Relay", "RelayServer", "serve_relayed"]

_PEER: Final = struct.Struct("3i")


class Relay:
    """The server's end: serves other processes' clients. In the event loop only.

    Attributes:
        deserted: Set when no client is left of those that came; then no other is let
            in, and the last one's connection stays open until the process ends, so
            that its `isokernel mcp` ends after the server.
    """

    def __init__(self, parts: ServerParts, folder: Path) -> None:
        """Make a relay; `open` listens.

        Args:
            parts: The server's parts.
            folder: The data folder, which is the server's own.
        """
        self._parts = parts
        self._folder = folder
        self._listener: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._gone: set[asyncio.Event] = set()
        self._own: asyncio.Task[None] | None = None
        self._last: asyncio.StreamWriter | None = None
        self.deserted: asyncio.Event | None = None

    async def open(self) -> None:
        """Listen; replaces the socket that a killed server may have left."""
        place = self._folder / SOCKET
        place.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        folder = os.open(self._folder, os.O_PATH | os.O_CLOEXEC)
        before = os.umask(0o177)
        try:
            # Names of sockets have 107 bytes at most, paths of folders more.
            listening.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        except BaseException:
            listening.close()
            raise
        finally:
            os.umask(before)
            os.close(folder)
        self._listener = await asyncio.start_unix_server(
            self._accept,
            sock=listening,
            limit=self._parts.settings.request_body_bytes_max,
        )

    async def adopt(self, first: socket.socket, gone: asyncio.Event) -> None:
        """Serve the client for whom this server was forked, and end with the last one.

        Args:
            first: The connection to its process, which has answered what opens it.
            gone: Set when this client is gone.
        """
        limit = self._parts.settings.request_body_bytes_max
        reader, writer = await asyncio.open_unix_connection(sock=first, limit=limit)
        self.deserted = asyncio.Event()
        writer.write(WELCOME)
        serving = self._keep(writer, self._serve(reader, writer, {}, answered=True))
        self._own = asyncio.ensure_future(serving)
        self._own.add_done_callback(lambda _: gone.set())
        self._serving.add(self._own)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            (self._folder / SOCKET).unlink(missing_ok=True)

    async def close(self) -> None:
        """End all connections; requests in flight are answered as cancelled."""
        self._unlisten()
        for gone in tuple(self._gone):
            gone.set()
        for serving in tuple(self._serving):
            serving.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._keep(writer, self._welcome(reader, writer))

    async def _keep(
        self, writer: asyncio.StreamWriter, serve: Coroutine[Any, Any, None]
    ) -> None:
        """Count a connection while it is served, and close it."""
        serving = asyncio.current_task()
        assert serving is not None  # noqa: S101 - asyncio makes one for each connection
        self._serving.add(serving)
        try:
            await serve
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # it is gone, talks nonsense, or doesn't read
        except asyncio.CancelledError:
            pass  # by `close`
        except Exception as error:
            if not only_closed(error):
                self._parts.log.exception("a relayed client failed")
        finally:
            self._serving.discard(serving)
            if self.deserted is None or self._serving or self.deserted.is_set():
                writer.close()
            else:
                self._unlisten()
                self._last = writer
                self.deserted.set()

    async def _welcome(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        full = len(self._serving) > self._parts.settings.mcp_connections_max
        # The folder's owner may do anything here; what runs for clients may not.
        if _is_ours(_pid(writer)):
            return
        hello = json.loads(await reader.readline())
        if not isinstance(hello, dict):
            return
        if self.deserted is not None and self.deserted.is_set():
            return
        writer.write(WELCOME)
        if not full:
            await self._serve(reader, writer, hello, answered=False)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hello: dict[str, Any],
        *,
        answered: bool,
    ) -> None:
        opening = Opening(self._parts.settings)
        first = await reader.readline()
        if (answer := opening.answer(first)) is not None and not answered:
            writer.write(answer.encode())
            await writer.drain()
        # In a thread: the SDK takes a second to import.
        protocols = await asyncio.to_thread(import_module, "isoserver.mcp.protocol")
        peers = import_module("isoserver.mcp.peers")
        stdio = import_module("mcp.server.stdio")
        gone = asyncio.Event()
        self._gone.add(gone)
        peers.current_connection.set(peers.Connection(hello.get("session"), gone))
        protocol = protocols.Protocol(self._parts, peers.HttpConnections(0))
        options = protocol.server.create_initialization_options()
        stall = self._parts.settings.stream_stall_timeout_seconds
        there = Output(_Stream(writer, stall), opening)
        try:
            lines = _lines(first, reader, gone)
            async with stdio.stdio_server(lines, there) as streams:
                await protocol.server.run(*streams, options)
        finally:
            self._gone.discard(gone)


class RelayServer(typing.Protocol):
    """What of `isoserver.app.Server` `serve_relayed` needs."""

    relay: Relay | None

    def stop_on_signals(self) -> asyncio.Event:
        """Return what SIGTERM and SIGINT set; a second one ends the grace period."""

    async def open(self) -> None:
        """Start it, without listening for HTTP."""

    def abandon(self) -> None:
        """Discard what a failed `open` has left."""

    async def stop(self) -> None:
        """Stop it."""

    def end_grace_period(self) -> None:
        """End the grace period of `stop`."""


async def serve_relayed(
    server: RelayServer, first: socket.socket, gone: Callable[[], None]
) -> None:
    """Serve relayed clients until the last is gone, or SIGTERM or SIGINT.

    Args:
        server: A server that isn't started, with a data folder that others find.
        first: The connection to the process of the first client.
        gone: Called when the first client is gone.

    Raises:
        ServerError: The server can't start.
    """
    stopped, left = server.stop_on_signals(), asyncio.Event()
    try:
        await server.open()
        relay = server.relay
        assert relay is not None  # noqa: S101 - as agreed
        await relay.adopt(first, left)
    except BaseException:
        server.abandon()
        raise
    deserted = relay.deserted
    assert deserted is not None  # noqa: S101 - `adopt` has made it
    causes = [asyncio.ensure_future(each.wait()) for each in (stopped, deserted)]
    leaving = asyncio.ensure_future(left.wait())
    leaving.add_done_callback(lambda _: gone())
    await asyncio.wait(causes, return_when=asyncio.FIRST_COMPLETED)
    for each in causes:
        each.cancel()
    if deserted.is_set():
        server.end_grace_period()  # nobody waits for what still runs
    await server.stop()
    leaving.cancel()


async def _lines(
    first: bytes, reader: asyncio.StreamReader, gone: asyncio.Event
) -> AsyncIterator[str]:
    line = first
    while line:
        yield line.decode("utf-8", "replace")
        line = await reader.readline()
    gone.set()


class _Stream:
    """The connection that answers go to; a client that doesn't read is cut off."""

    def __init__(self, writer: asyncio.StreamWriter, stall: float) -> None:
        self._writer = writer
        self._stall = stall

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())

    async def flush(self) -> None:
        async with timeout(self._stall):
            await self._writer.drain()


def _pid(writer: asyncio.StreamWriter) -> int:
    """Return the id of the process at the other end."""
    peer: socket.socket = writer.get_extra_info("socket")
    told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid: int = _PEER.unpack(told)[0]
    return pid


def _is_ours(pid: int) -> bool:
    """Tell whether a process descends from this one, as those of contexts do."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return True  # it is gone, or hides
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
