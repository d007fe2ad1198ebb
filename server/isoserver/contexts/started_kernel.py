"""A kernel that has been started: its process, and the client that speaks with it.

Whose it is doesn't matter here: a context's that asked for it (`kernels`), or nobody's
yet (`spares`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import zmq

from isokernel.protocol.frames import MAX_BYTES as MESSAGE_BYTES_MAX
from isokernel.sandbox.container import TERMINALS_MAX
from isokernel.timeouts import timeout
from isoserver.contexts.launcher import load_kernelspecs
from isoserver.errors import ContextStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isoserver.contexts.launcher import Launched
    from isoserver.contexts.programs import Program

__all__ = ["StartedKernel"]

_LISTENS_SECONDS: Final = 0.01
"""How often it is looked whether a starting kernel listens."""
_CHANNELS: Final = ("shell", "iopub", "control")
_CUT_OFF: Final = (
    "its connection was closed, as by a message of more than "
    f"{MESSAGE_BYTES_MAX >> 20} MiB"
)


class StartedKernel:
    """A kernel with one client. Used from the event loop.

    Attributes:
        program: Its process, and all that has come of it.
        pid: Its process id; 0 once it has ended.
        client: Speaks with it; None before `connect` and after `end`.
        information: What it has said of itself, as content of a `kernel_info_reply`.
        interrupted_by_message: Whether it wants a message, not a signal.
        ended: Done when its process has ended by itself, with the reason.
        on_end: Told that reason.
        cut_off: Whether it was killed because its connection was closed.
    """

    def __init__(self, launched: Launched, on_end: Callable[[str], None]) -> None:
        """Watch a process that was just started.

        Args:
            launched: The process; it is this object's to end.
            on_end: See the class.
        """
        self.program: Program = launched.program
        self.pid = launched.program.pid
        self.client: Any = None
        self.information: Mapping[str, Any] = {}
        self.interrupted_by_message = launched.interrupted_by_message
        self.on_end = on_end
        self.cut_off = False
        self._connection = launched.connection
        self._ending: asyncio.Future[object] | None = None
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        loop.add_reader(self._pidfd, self._exited)

    async def connect(self, seconds: float) -> None:
        """Open the channels and wait until both of them carry messages.

        Args:
            seconds: How long that may take.

        Raises:
            ContextStartError: It has ended meanwhile, or didn't answer in time.
        """
        try:
            async with timeout(seconds):
                await self._connect()
        except asyncio.TimeoutError as error:
            message = f"it did not answer within {seconds:g} s"
            raise ContextStartError(message) from error

    async def _connect(self) -> None:
        while (sockets := self._listening()) is None:
            if self.ended.done():
                raise ContextStartError(self.ended.result())
            await asyncio.sleep(_LISTENS_SECONDS)
        connection = {**self._connection, "ip": f"{sockets}/kernel"}
        self.client = load_kernelspecs().make_client(connection, MESSAGE_BYTES_MAX)
        self.client.start_channels(hb=False)
        ready = asyncio.ensure_future(self._first_words())
        try:
            waits: list[asyncio.Future[Any]] = [ready, self.ended]
            await asyncio.wait(waits, return_when="FIRST_COMPLETED")
        finally:
            ready.cancel()
        if self.ended.done():
            raise ContextStartError(self.ended.result())
        await ready

    def _listening(self) -> str | None:
        """Return the folder of its sockets once all that are needed take clients."""
        try:
            sockets = self.program.sockets()
            for channel in _CHANNELS:
                number = self._connection[f"{channel}_port"]
                with socket.socket(socket.AF_UNIX) as trial:
                    trial.setblocking(False)  # noqa: FBT003
                    trial.connect(f"{sockets}/kernel-{number}")
        except OSError:
            return None
        return sockets

    async def _first_words(self) -> None:
        """Ask who it is until that has come on shell and its idle on iopub."""
        heard = False
        while not heard:
            self.send("kernel_info_request", {}, "0")
            shell = asyncio.ensure_future(self.client.get_shell_msg(timeout=1))
            iopub = asyncio.ensure_future(self.client.get_iopub_msg(timeout=1))
            answers = await asyncio.gather(shell, iopub, return_exceptions=True)
            said = [answer for answer in answers if isinstance(answer, dict)]
            heard = len(said) == len(answers)
            if heard and isinstance(said[0]["content"], dict):
                self.information = said[0]["content"]

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        number: str,
        buffers: tuple[bytes, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a request on the shell channel; nothing happens without a client."""
        if self.client is None:
            return
        session = self.client.session
        message = session.msg(kind, content, metadata=dict(metadata or {}))
        message["header"]["msg_id"] = message["msg_id"] = number
        # Not by the channel's own `send`: that goes around asyncio's socket, which then
        # may miss that a reply has come meanwhile, and wait for it for ever.
        frames = [*session.serialize(message), *buffers]
        self.client.shell_channel.socket.send_multipart(frames)

    def send_on(self, channel: str, kind: str, content: dict[str, Any]) -> None:
        """Send a message on another channel; nothing happens without a client."""
        if self.client is None:
            return
        session = self.client.session
        frames = session.serialize(session.msg(kind, content))
        getattr(self.client, f"{channel}_channel").socket.send_multipart(frames)

    def _exited(self) -> None:
        reason = _CUT_OFF if self.cut_off else _reason(self.program)
        self._forget_process()
        self.ended.set_result(reason)
        self.on_end(reason)

    def _forget_process(self) -> None:
        self.pid = 0
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def interrupt(self) -> None:
        """Stop what it runs."""
        if self.interrupted_by_message:
            self.send_on("control", "interrupt_request", {})
        elif self.pid:
            self.program.interrupt()

    def memory_bytes(self) -> int:
        """Return the memory of all its processes; in any thread."""
        return self.program.memory_bytes() if self.pid else 0

    def kill(self) -> None:
        """Send SIGKILL; its end is noticed as any other."""
        if self.pid:
            self.program.kill()

    def disconnect(self) -> None:
        """Hear and say no more; its end isn't told any more either."""
        self._forget_process()
        client, self.client = self.client, None
        if client is not None:
            client.stop_channels()
            with suppress(zmq.ZMQError):
                client.context.destroy(linger=0)

    async def end(self) -> None:
        """End its processes, if they haven't, and free all that they had."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(asyncio.to_thread(self.program.end))
        await asyncio.shield(self._ending)


def _reason(program: Program) -> str:
    code = program.poll()
    if code is None:
        return "its process ended"
    if program.ran_out_of_memory():
        return "it took more memory than it may (python_memory_bytes_max)"
    if program.opened_too_much:
        return f"it opened more than {TERMINALS_MAX} terminals"
    return f"killed by signal {-code}" if code < 0 else f"exit {code}"
