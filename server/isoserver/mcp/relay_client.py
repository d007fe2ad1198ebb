"""The client's end of `relay`: passes one client's messages on to the server.

Little is imported, since an agent waits for it, and each client has such a process.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isoserver.storage.folders import LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from isoserver.mcp.handshake import Opening

__all__ = ["SOCKET", "WELCOME", "find", "pass_on"]

SOCKET: Final = "mcp.sock"
"""In the data folder."""
WELCOME: Final = b"{}\n"
"""What a server sends first; who is closed without it may look for another server."""
_PIECE: Final = 1 << 16
_START_SECONDS: Final = 20.0
"""How long to wait for the server that has the folder to listen."""
_PAUSE: Final = 0.05


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
            found.connect(f"/proc/self/fd/{place}/{SOCKET}")
            found.sendall(json.dumps({"session": session}).encode() + b"\n")
            found.settimeout(_START_SECONDS)
            if _is_welcome(found):
                found.settimeout(None)
                return found
        except OSError:
            pass  # it doesn't listen yet, or not any more
        finally:
            os.close(place)
        found.close()
        time.sleep(_PAUSE)
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


def pass_on(server: socket.socket, opening: Opening | None = None) -> int:
    """Relay stdin to a server, and its answers to stdout, until either side ends.

    SIGTERM and SIGINT are taken for the end of stdin.

    Args:
        server: The connection that `find` returned, or to a server that was forked.
        opening: Answers the first message, as a server that was forked won't.

    Returns:
        The exit status: 1 if the server ended first, or didn't start.
    """
    ended = threading.Event()

    def end(*_: Any) -> None:
        ended.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def send() -> None:
        with suppress(OSError), open(0, "rb", closefd=False) as file:
            for line in file:
                if not line.strip():
                    continue  # the server looks at the first line only
                if opening is not None and (answer := opening.answer(line)):
                    _write(answer.encode())
                server.sendall(line)
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=send, daemon=True).start()
    if opening is not None and not _is_welcome(server):
        return 1  # it has said why
    with suppress(OSError):
        while data := server.recv(_PIECE):
            _write(data)
    if ended.is_set():
        return 0
    sys.stderr.write("isokernel: the server that has the data folder has ended\n")
    return 1


def _is_welcome(server: socket.socket) -> bool:
    """Wait for what a server sends first; tell whether it came."""
    return server.recv(len(WELCOME), socket.MSG_WAITALL) == WELCOME


def _write(data: bytes) -> None:
    view: Any = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
