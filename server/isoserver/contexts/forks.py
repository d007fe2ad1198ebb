"""The fork server, seen from the event loop: it starts processes, it tells ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from isokernel.sandbox import SandboxSettings
from isokernel.zygote import ForkServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.settings import ContextSettings
    from isokernel.zygote import Spawned

__all__ = ["Forks"]


class Forks:
    """Starts the processes of V8 contexts, and tells each context of its end.

    Attributes:
        missing: What of the sandbox this machine can't have, a sentence each.
    """

    def __init__(self, *, sandbox: bool, niceness: int) -> None:
        """Make a fork server that isn't started.

        Args:
            sandbox: Whether contexts are confined.
            niceness: How much they stand back, if they are.
        """
        walls = SandboxSettings(niceness=niceness) if sandbox else None
        self._server = ForkServer(sandbox=walls)
        self._watched: dict[int, Callable[[str], None]] = {}
        self._loop = asyncio.get_running_loop()
        self.missing: list[str] = []

    async def start(self) -> None:
        """Start the fork server, which takes some tenths of a second.

        Raises:
            ForkServerError: It did not come up.
        """
        await asyncio.to_thread(self._server.start)
        self.missing = self._server.missing
        self._loop.add_reader(self._server.exits_fd, self._exited)

    def spawn(
        self, settings: ContextSettings, snapshot: bytes | None = None
    ) -> Spawned:
        """Fork a process for a context; a dead fork server is started again first.

        Args:
            settings: The context's.
            snapshot: A heap that it goes on from.

        Raises:
            ForkServerError: It could not be forked.
        """
        return self._server.spawn(settings, snapshot=snapshot)

    def adopt(self, pid: int) -> None:
        """Take a process that a context has forked under watch."""
        self._server.adopt(pid)

    def reap(self, pid: int) -> None:
        """Take a process that a context has forked and that ends by itself."""
        self._watched[pid] = _ignore
        self._server.adopt(pid)

    def watch(self, pid: int, on_end: Callable[[str], None]) -> None:
        """Have a function called with the reason when a process ends."""
        self._watched[pid] = on_end

    def close(self) -> None:
        """End the fork server and all that it has forked."""
        self._loop.remove_reader(self._server.exits_fd)
        self._server.close()

    def _exited(self) -> None:
        for exited in self._server.poll_exits():
            on_end = self._watched.pop(exited.pid, None)
            if on_end is not None:
                on_end(exited.reason)


def _ignore(_reason: str) -> None:
    """Nobody wants to know."""
