"""The fork server as the event loop uses it: it starts processes and reports ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from isokernel.forkserver import ForkServer
from isokernel.sandbox import SandboxSettings
from isoserver.errors import ForkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.forkserver import MemoryFile, Spawned
    from isokernel.settings import ContextSettings
    from isoserver.settings.server import ServerSettings

__all__ = ["AsyncForkServer", "fork_server"]

_PID_END: Final = 1 << 22
"""No system has a process of that number, or a higher one."""
_CLONE_PROCESSES: Final = 4
"""A clone's process, its threads, and a spare one."""
_NOT_ITS: Final = "the context named a process that is not its own"


def fork_server(settings: ServerSettings) -> ForkServer:
    """Make the fork server that the settings ask for; it isn't launched."""
    sandbox = None
    if settings.sandbox:
        least = SandboxSettings().processes_max
        sandbox = SandboxSettings(
            niceness=settings.context_niceness,
            # All contexts of the server may be clones of one, which share its bound.
            processes_max=max(least, settings.contexts_max * _CLONE_PROCESSES),
        )
    return ForkServer(sandbox=sandbox)


class AsyncForkServer:
    """Starts the processes of V8 contexts, and tells whoever watches one of its end.

    Attributes:
        missing: What of the sandbox this machine can't have, a sentence each.
    """

    def __init__(self, server: ForkServer) -> None:
        """Wrap a fork server; `start` waits until it is ready.

        Args:
            server: As `fork_server` makes it; it may have been launched.
        """
        # `fork_server` is needed while the server doesn't listen yet, and has no loop.
        from asyncio import get_running_loop  # noqa: PLC0415 - 60 ms

        self._server = server
        self._watched: dict[int, Callable[[str], None]] = {}
        self._loop = get_running_loop()
        self.missing: list[str] = []

    async def start(self) -> None:
        """Start the fork server, which takes some tenths of a second.

        Raises:
            ForkServerError: It did not come up.
        """
        await self._loop.run_in_executor(None, self._server.start)
        self.missing = self._server.missing
        self._loop.add_reader(self._server.exits_fd, self._exited)

    async def ready(self) -> None:
        """Start the fork server again if it is dead, while the loop goes on.

        Raises:
            ForkServerError: It did not come up.
        """
        if not self._server.ready:
            await self._loop.run_in_executor(None, self._server.start)

    def spawn(
        self, settings: ContextSettings, heap: MemoryFile | None = None
    ) -> Spawned:
        """Fork a process for a context; a dead fork server is started again first.

        Args:
            settings: The context's.
            heap: What it goes on from; whoever loaded it has checked it.

        Raises:
            ForkServerError: It could not be forked.
        """
        return self._server.spawn(settings, snapshot=heap, checked=True)

    def adopt(self, pid: object, session: int) -> int:
        """Have the end of a process reported that a context says it has forked.

        That it says so is no proof: a process that user code has taken over could name
        any other, to have it killed. Only its descendants are in its session.

        Args:
            pid: The process.
            session: The context's session: the process that it began as.

        Returns:
            The process.

        Raises:
            ForkError: It isn't the context's, or it has ended.
        """
        known, descriptor = self._find(pid, session)
        if descriptor is None:
            message = "what the context has forked ended at once"
            raise ForkError(message)
        os.close(descriptor)
        self._server.adopt(known)
        return known

    def hold(self, pid: object, session: int) -> int | None:
        """Open a process that a context says it has forked, and waits for itself.

        Args:
            pid: The process.
            session: As for `adopt`.

        Returns:
            A descriptor of the process, which the caller closes; None if it has ended.

        Raises:
            ForkError: It isn't the context's.
        """
        return self._find(pid, session)[1]

    def _find(self, pid: object, session: int) -> tuple[int, int | None]:
        """Return the process and a descriptor of it; None if it has ended."""
        known = isinstance(pid, int) and 1 < pid < _PID_END and pid not in self._watched
        if not isinstance(pid, int) or not known:
            raise ForkError(_NOT_ITS)
        try:
            # Opened first, looked at then: the pid may be another's a moment later.
            descriptor = os.pidfd_open(pid)
        except OSError:
            return pid, None
        try:
            found = os.getsid(pid)
        except OSError:
            os.close(descriptor)
            return pid, None
        if found != session:
            os.close(descriptor)
            raise ForkError(_NOT_ITS)
        return pid, descriptor

    def watch(self, pid: int, on_end: Callable[[str], None]) -> None:
        """Have a function called with the reason when a process ends.

        It replaces the one that was set before, if any.
        """
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
