"""The process of a V8 context: forked from the fork server, spoken to over two sockets.

`work` carries requests and messages in the order of the context's queue, `control` what
overtakes them: interrupts and questions for memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isokernel.errors import IsokernelError
from isokernel.protocol.frames import MAX_BYTES
from isokernel.settings import ContextSettings
from isokernel.timeouts import timeout
from isoserver.contexts.channel import Channel
from isoserver.contexts.jobs import Execution, Job
from isoserver.contexts.messages import Message
from isoserver.contexts.outputs import OUTPUT_SETTING
from isoserver.contexts.process import ContextProcess
from isoserver.errors import ContextStartError, ForkError, HeapUnsavableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isokernel.forkserver import MemoryFile
    from isokernel.protocol.frames import Frame
    from isoserver.contexts.context import Identity
    from isoserver.contexts.forkserver import AsyncForkServer
    from isoserver.contexts.process import Ask, ProcessListener
    from isoserver.settings.server import ServerSettings

__all__ = ["V8Process"]

_LAST_WORDS_CHARACTERS: Final = 1000
"""What is kept of the error that a process ended with."""
_MEMORY_QUESTIONS_MAX: Final = 100
"""Questions for memory that wait for a process that doesn't answer."""
_MEMORY_SECONDS: Final = 1.0
_REASON_SECONDS: Final = 1.0
"""Between the end of the sockets and the fork server's report of why."""
_CLOSE_SECONDS: Final = 5.0
_OUTCOME_BYTES: Final = 65_536


class V8Process(ContextProcess):
    """A context's process, which runs `isokernel.worker`."""

    can_save = True
    shares_memory = True
    can_fork = True
    can_call_tools = True
    enforces_deadline = True

    def __init__(
        self,
        identity: Identity,
        listener: ProcessListener,
        settings: ServerSettings,
        fork_server: AsyncForkServer,
    ) -> None:
        """Make a process that isn't launched.

        Args:
            identity: The context's.
            listener: The context.
            settings: The server's settings.
            fork_server: What it is forked from.
        """
        self._identity = identity
        self._listener = listener
        self._settings = settings
        self._fork_server = fork_server
        self.pid = 0
        self._session = 0
        self._work: Channel | None = None
        self._control: Channel | None = None
        self._ended: asyncio.Future[str] | None = None  # one for each launch
        self._last_words = ""
        self._memory_questions: list[asyncio.Future[dict[str, Any]]] = []

    # -- its life ----------------------------------------------------------------------

    async def launch(self, heap: MemoryFile | None) -> None:
        """Fork it; see `ContextProcess`."""
        name = self._identity.language.name
        settings = ContextSettings(
            language="typescript" if name == "typescript" else "javascript",
            interrupt_grace_seconds=self._settings.interrupt_grace_seconds,
            v8_heap_bytes_max=self._identity.heap_memory_max_bytes,
            array_buffer_bytes_max=self._settings.array_buffer_bytes_max,
            output_bytes_max=self._settings.output_bytes_max,
            output_setting=OUTPUT_SETTING,
            calls_max=self._settings.capability_calls_max,
            call_bytes_max=self._settings.capability_call_bytes_max,
            ids_unique=True,
        )
        try:
            await self._fork_server.ready()
            spawned = self._fork_server.spawn(settings, heap)
        except (OSError, IsokernelError) as error:
            message = f"the context's process could not be forked: {error}"
            raise ContextStartError(message) from error
        self._session = spawned.pid  # it leads one, and what it forks stays in it
        self._adopt(spawned.pid, spawned.work, spawned.control)

    def _adopt(self, pid: int, work: socket.socket, control: socket.socket) -> None:
        self.pid = pid
        self._ended = asyncio.get_running_loop().create_future()
        self._last_words = ""
        self._fork_server.watch(pid, self._exited)
        self._work = Channel(work, self._heard, self._cut, MAX_BYTES)
        self._control = Channel(control, self._answered, self._cut, MAX_BYTES)

    def _exited(self, reason: str) -> None:
        """Record the fork server's report that the process has ended."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)
        if self._work is not None:
            self._work.drain()  # what it said last
        words = self._last_words
        self._gone(f"{reason} ({words})" if words else reason)

    def _cut(self) -> None:
        """Await a report, as a socket ended; without one the process is stuck."""
        ended = self._ended
        if ended is None or not ended.done():
            loop = asyncio.get_running_loop()
            loop.call_later(_REASON_SECONDS, self._unexplained, ended)

    def _unexplained(self, ended: asyncio.Future[str] | None) -> None:
        if ended is self._ended and ended is not None and not ended.done():
            self._fork_server.watch(self.pid, lambda _reason: None)
            self.kill()
            self._gone("it closed its sockets")

    def _gone(self, reason: str) -> None:
        self._close_channels()
        self.pid = 0
        self._listener.ended(reason)

    def _close_channels(self) -> None:
        for channel in (self._work, self._control):
            if channel is not None:
                channel.close()
        self._work = self._control = None
        while self._memory_questions:
            self._memory_questions.pop().cancel()

    async def close(self) -> None:
        """Kill it and wait for its end; see `ContextProcess`."""
        ended, self._ended = self._ended, None
        pid = self.pid
        if pid and ended is not None:
            self._fork_server.watch(pid, ended.set_result)
        self.kill()
        self.pid = 0
        self._close_channels()
        if pid and ended is not None:
            await asyncio.wait([ended], timeout=_CLOSE_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL; the fork server reports the end."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    # -- jobs --------------------------------------------------------------------------

    def content(self, execution: Execution) -> dict[str, Any]:
        """Return an execute request's content; see `ContextProcess`."""
        return {
            "code": execution.code,
            "silent": False,
            "store_history": True,
            "language": execution.language.name,
            "deadline": execution.seconds,
            "env": execution.env,
            "user_expressions": {},
            "stop_on_error": False,
            **execution.options,
        }

    def send(self, job: Job) -> None:
        """Send a request; see `ContextProcess`."""
        if self._work is not None:
            self._work.send(job.kind, job.content, job.id, job.fds)

    def interrupt(self, job: Job) -> None:
        """Ask it to stop a job; its own watchdog sees to it."""
        if self._control is not None:
            self._control.send("interrupt_request", {"execution": job.id}, 0)

    def tell(
        self,
        kind: str,
        content: dict[str, Any],
        buffers: tuple[bytes, ...] = (),
        *,
        metadata: Mapping[str, Any] | None = None,
        number: int = 0,
    ) -> None:
        """Send a message that it takes amid an await of its code, too."""
        del metadata, number
        if self._work is not None:
            self._work.send(kind, content, 0, buffers=buffers)

    @property
    def unsent_bytes(self) -> int:
        """How much waits until it reads."""
        return 0 if self._work is None else self._work.unsent_bytes

    def _heard(self, frame: Frame) -> None:
        if frame.type == "fatal":
            # Of a traceback, the last line is what says something.
            said = str(frame.content.get("detail", "")).strip().rpartition("\n")
            self._last_words = said[2][:_LAST_WORDS_CHARACTERS].replace("\0", "")
            return
        message = Message(
            frame.type, frame.content, frame.metadata, tuple(frame.buffers)
        )
        self._listener.received(frame.parent or 0, message)

    # -- memory, saving, forks ---------------------------------------------------------

    async def memory(self) -> dict[str, int] | None:
        """Ask it, which answers while it is busy too."""
        if self._control is None:
            return None
        if len(self._memory_questions) >= _MEMORY_QUESTIONS_MAX:
            return None
        answer: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self._memory_questions.append(answer)
        self._control.send("memory_request", {}, 0)
        await asyncio.wait([answer], timeout=_MEMORY_SECONDS)
        if not answer.done() or answer.cancelled():
            return None
        return {
            name: value
            for name, value in answer.result().items()
            if isinstance(value, int) and not isinstance(value, bool)
        }

    def _answered(self, frame: Frame) -> None:
        if frame.type == "memory_reply" and self._memory_questions:
            waiting = self._memory_questions.pop(0)
            if not waiting.done():
                waiting.set_result(frame.content)

    async def save(self, ask: Ask, *, last: bool = False) -> bytes:
        """Have it fork a process that writes the heap; see `ContextProcess`.

        Which is forked by a copy of the context, that goes on; with `last` by itself.
        """
        settings, process = self._settings, None
        file = os.memfd_create("isokernel-heap")
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            reply = await ask(
                Job(
                    "checkpoint_request",
                    {"last": last},
                    settings.context_query_timeout_seconds,
                    fds=(file, writer),
                    counts_as_use=False,
                )
            )
            process = None if last else self._hold(reply)
            os.close(writer)  # so that the pipe ends with that process
            writer = -1
            await _check_saved(reader, settings.checkpoint_timeout_seconds)
            return await asyncio.to_thread(_read_file, file)
        except BaseException:
            if last:
                self.kill()
            elif process is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            raise
        finally:
            for descriptor in (process, file, reader, writer):
                if descriptor is not None and descriptor >= 0:
                    os.close(descriptor)

    def _hold(self, reply: dict[str, Any]) -> int | None:
        """Open the process that writes a heap; None if it has ended already."""
        try:
            return self._fork_server.hold(_forked_pid(reply), self._session)
        except ForkError as error:
            raise HeapUnsavableError(str(error)) from error

    def pass_on(self, identity: Identity, listener: ProcessListener) -> None:
        """Be another context's process; see `ContextProcess`."""
        self._identity, self._listener = identity, listener
        self.tell("clock_restart", {})

    async def fork(
        self, ask: Ask, listeners: Sequence[ProcessListener]
    ) -> list[V8Process]:
        """Have it fork itself, with sockets for each; see `ContextProcess`."""
        with ExitStack() as ours, ExitStack() as theirs:
            pairs = [socket.socketpair() for _ in range(2 * len(listeners))]
            for our_end, their_end in pairs:
                ours.enter_context(our_end).setblocking(False)  # noqa: FBT003 - its own
                theirs.enter_context(their_end)
            # The next clone gets its sockets through this one.
            spare = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            fds = [their_end.fileno() for _, their_end in pairs]
            fds += [theirs.enter_context(end).fileno() for end in spare]
            content = {"count": len(listeners)}
            seconds = self._settings.context_query_timeout_seconds
            reply = await ask(Job("fork_request", content, seconds, fds=tuple(fds)))
            named = _forked_pids(reply, len(listeners))
            pids = [self._fork_server.adopt(pid, self._session) for pid in named]
            ours.pop_all()
        ends = iter([our_end for our_end, _ in pairs])
        made = []
        for listener, pid, work, control in zip(
            listeners, pids, ends, ends, strict=True
        ):
            one = V8Process(self._identity, listener, self._settings, self._fork_server)
            one._session = self._session
            one._adopt(pid, work, control)
            made.append(one)
        return made


def _forked_pids(reply: dict[str, Any], count: int) -> list[object]:
    """Return so many processes that a context says it has forked."""
    _check_forked(reply)
    pids: object = reply.get("pids")
    found = pids if isinstance(pids, list) else []
    known = {pid for pid in found if isinstance(pid, int)}
    if not len(found) == len(known) == count:
        message = "the context named other processes than it was asked for"
        raise ForkError(message)
    return found


def _forked_pid(reply: dict[str, Any]) -> object:
    """Return the process that a context says it has forked, which is no proof yet."""
    _check_forked(reply)
    return reply.get("pid")


def _check_forked(reply: dict[str, Any]) -> None:
    if reply.get("status", "ok") != "ok":
        raise ForkError(str(reply.get("evalue") or "the context can't be forked"))


async def _read_pipe(reader: int) -> bytes:
    """Read a pipe to its end, or until it brings more than it should."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def readable() -> None:
        try:
            chunk = os.read(reader, _OUTCOME_BYTES)
        except BlockingIOError:
            return
        data.extend(chunk)
        if (not chunk or len(data) > _OUTCOME_BYTES) and not ended.done():
            ended.set_result(None)

    loop.add_reader(reader, readable)
    try:
        await ended
    finally:
        loop.remove_reader(reader)
    return bytes(data)


async def _check_saved(reader: int, seconds: float) -> None:
    """Wait for what a process that saves a heap says in the end.

    Raises:
        HeapUnsavableError: V8 could not save it, or not in time.
    """
    try:
        async with timeout(seconds):
            said = await _read_pipe(reader)
        outcome = msgspec.json.decode(said)
    except asyncio.TimeoutError:
        message = f"it took longer than {seconds:g} s"
        raise HeapUnsavableError(message) from None
    except msgspec.DecodeError:
        outcome = None
    if not isinstance(outcome, dict):  # it died before it could tell
        outcome = {}
    if outcome.get("status") != "ok":
        reason = str(outcome.get("reason") or "the process that saved it died")
        raise HeapUnsavableError(reason, *map(outcome.get, ("kind", "path", "holder")))


def _read_file(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)
