"""The type checker, seen from the event loop: a process for each check."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import ForkServerError, FrameError
from isokernel.forkserver import ForkServer
from isokernel.forkserver.protocol import TypeCheck
from isokernel.protocol.frames import Decoder, encode
from isokernel.sandbox import SandboxSettings
from isokernel.timeouts import timeout
from isoserver.errors import TypeCheckerError
from isoserver.runs.records import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.settings.server import ServerSettings

__all__ = ["TypeChecks"]

_MODULE: Final = "typecheck.process"
_CHUNK: Final = 1 << 16
_SLACK: Final = 1.0
"""Seconds that a process has to end by itself when its time is over."""


class TypeChecks:
    """Checks types, each time in a process of its own.

    The process that those are forked from is started by the first check.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Start nothing yet.

        Args:
            settings: The limits of checks.
        """
        self._settings = settings
        self._sandbox = SandboxSettings() if settings.sandbox else None
        self._turns = asyncio.Semaphore(settings.typechecks_running_max)
        self._starting = asyncio.Lock()
        self._server: ForkServer | None = None

    async def close(self) -> None:
        """End the process that checks are forked from, and with it all checks."""
        server, self._server = self._server, None
        if server is not None:
            asyncio.get_running_loop().remove_reader(server.exits_fd)
            await asyncio.to_thread(server.close)

    async def check(
        self, code: str, declarations: str, names: Sequence[str]
    ) -> list[Diagnostic]:
        """Check the body of a function.

        Args:
            code: TypeScript.
            declarations: What it has beside the language and our globals.
            names: What earlier cells of its context have declared.

        Returns:
            What is wrong; nothing if nothing is.

        Raises:
            TypeCheckerError: It can't be checked, or not in time.
        """
        content = {"code": code, "declarations": declarations, "names": list(names)}
        async with self._turns:
            reply = await self._ask(content)
        if reply.get("status") != "ok":
            raise TypeCheckerError(str(reply.get("evalue", "the type checker failed")))
        return [Diagnostic(**found) for found in reply["diagnostics"]]

    async def _ask(self, content: dict[str, Any]) -> dict[str, Any]:
        try:
            server = await self._started()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                request = TypeCheck(
                    self._settings.typecheck_timeout_seconds,
                    self._settings.typecheck_v8_heap_bytes_max,
                    self._sandbox,
                )
                pid = await asyncio.to_thread(
                    server.request, request, (theirs.fileno(),)
                )
                theirs.close()
                ours.setblocking(False)  # noqa: FBT003 - socket's own signature
                return await self._exchange(ours, pid, content)
        except (ForkServerError, FrameError, OSError) as error:
            message = f"types can't be checked: {error}"
            raise TypeCheckerError(message) from error

    async def _started(self) -> ForkServer:
        async with self._starting:
            if self._server is None:
                server = ForkServer(
                    sandbox=self._sandbox, spare_processes=0, module=_MODULE
                )
                await asyncio.to_thread(server.start)
                loop = asyncio.get_running_loop()
                loop.add_reader(server.exits_fd, server.poll_exits)
                self._server = server
            return self._server

    async def _exchange(
        self, sock: socket.socket, pid: int, content: dict[str, Any]
    ) -> dict[str, Any]:
        seconds = self._settings.typecheck_timeout_seconds
        try:
            exchange = _exchange(sock, encode("check_request", content, id=1))
            async with timeout(seconds + _SLACK):
                return await exchange
        except (ConnectionError, asyncio.TimeoutError):
            message = (
                "the type checker ended without an answer: it has "
                f"{seconds:g} s (typecheck_timeout_seconds) and "
                f"{self._settings.typecheck_v8_heap_bytes_max >> 20} MiB"
            )
            raise TypeCheckerError(message) from None
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise


async def _exchange(sock: socket.socket, request: bytes) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    decoder = Decoder()
    while data := await loop.sock_recv(sock, _CHUNK):
        for frame in decoder.feed(data):
            return frame.content
    raise ConnectionError
