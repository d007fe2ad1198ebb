"""Many MCP clients on one data folder: the server that has it serves them all.

Only one server at a time may use a data folder, but each client over stdio starts a
process of its own. So a server listens on a Unix socket in its folder, which only its
owner can open, and an `isokernel mcp` that finds the folder locked relays its client's
messages. Sessions, tasks and approvals of all clients are then in one place.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isoserver.mcp.handshake import Opening, Output
from isoserver.storage.folders import LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoserver.http.parts import ServerParts

__all__ = ["Relay", "find", "pass_on"]

_SOCKET: Final = "mcp.sock"
_HELLO_MAX: Final = 4096
_PIECE: Final = 1 << 16
_START_SECONDS: Final = 20.0
"""How long to wait for the server that has the folder to listen."""
_PAUSE: Final = 0.05
_PEER: Final = struct.Struct("3i")


class Relay:
    """The server's end: serves other processes' clients. In the event loop only."""

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

    async def open(self) -> None:
        """Listen; replaces the socket that a killed server may have left."""
        place = self._folder / _SOCKET
        place.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        folder = os.open(self._folder, os.O_PATH | os.O_CLOEXEC)
        before = os.umask(0o177)
        try:
            # Names of sockets have 107 bytes at most, paths of folders more.
            listening.bind(f"/proc/self/fd/{folder}/{_SOCKET}")
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

    async def close(self) -> None:
        """End all connections; requests in flight are answered as cancelled."""
        if self._listener is None:
            return
        self._listener.close()
        (self._folder / _SOCKET).unlink(missing_ok=True)
        for gone in tuple(self._gone):
            gone.set()
        for serving in tuple(self._serving):
            serving.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        serving = asyncio.current_task()
        assert serving is not None  # noqa: S101 - asyncio makes one for each connection
        full = len(self._serving) >= self._parts.settings.mcp_connections_max
        self._serving.add(serving)
        try:
            # The folder's owner may do anything here; what runs for clients may not.
            if not full and not _is_ours(_pid(writer)):
                await self._serve(reader, writer)
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # it is gone, talks nonsense, or doesn't read
        except asyncio.CancelledError:
            pass  # by `close`
        except Exception:
            self._parts.log.exception("a relayed client failed")
        finally:
            self._serving.discard(serving)
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        hello = json.loads(await reader.readline())
        if not isinstance(hello, dict):
            return
        opening = Opening(self._parts.settings)
        first = await reader.readline()
        if (answer := opening.answer(first)) is not None:
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
        await asyncio.wait_for(self._writer.drain(), self._stall)


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


# -- the other process -----------------------------------------------------------------


def find(folder: Path | None, session: str | None) -> socket.socket | None:
    """Connect to the server that has a data folder, waiting until it has started.

    Args:
        folder: The folder; with None, each server has one of its own.
        session: The session of the client whose messages will be relayed.

    Returns:
        The connection; None if no server has the folder, or if it doesn't listen.
    """
    if folder is None:
        return None
    end = time.monotonic() + _START_SECONDS
    while _is_locked(folder / LOCK_FILE) and time.monotonic() < end:
        found = socket.socket(socket.AF_UNIX)
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            found.connect(f"/proc/self/fd/{place}/{_SOCKET}")
            found.sendall(json.dumps({"session": session}).encode() + b"\n")
        except OSError:
            found.close()
            time.sleep(_PAUSE)
        else:
            return found
        finally:
            os.close(place)
    return None


def _is_locked(lock: Path) -> bool:
    try:
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def pass_on(server: socket.socket) -> int:
    """Relay stdin to a server, and its answers to stdout, until either side ends.

    Args:
        server: The connection that `find` returned.

    Returns:
        The exit status: 1 if the server ended first.
    """
    ended = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while data := os.read(0, _PIECE):
                server.sendall(data)
        ended.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    with suppress(OSError):
        while data := server.recv(_PIECE):
            _write(data)
    if ended.is_set():
        return 0
    sys.stderr.write("isokernel: the server that has the data folder has ended\n")
    return 1


def _write(data: bytes) -> None:
    view: Any = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
