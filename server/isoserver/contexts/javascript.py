"""A V8 context: a forked process, spoken to in frames over two sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import IsokernelError
from isokernel.protocol.frames import MAX_BYTES
from isokernel.settings import ContextSettings
from isoserver.contexts.channel import Channel
from isoserver.contexts.context import Context, State
from isoserver.contexts.jobs import Execution, Job, Message, Request
from isoserver.contexts.saving import Saved, Saving
from isoserver.errors import (
    ContextDeadError,
    ContextStartError,
    ForkError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isokernel.protocol.frames import Frame
    from isoserver.contexts.context import Identity, Observer
    from isoserver.contexts.forks import Forks
    from isoserver.settings.server import ServerSettings

__all__ = ["JavaScriptContext"]

_WORDS_MAX: Final = 1000
"""Characters of what a process says last that are kept."""
_MEMORY_ASKED_MAX: Final = 100
"""Questions for memory that wait, of a process that doesn't answer."""
_REASON_WAIT: Final = 1.0
"""Seconds between the end of the sockets and the report why."""
_MEMORY_WAIT: Final = 1.0
_KILL_WAIT: Final = 5.0


class JavaScriptContext(Context):
    """A context in a process that was forked from the fork server.

    Attributes:
        waker: Asked for its heap when it sleeps and has something to do.
    """

    def __init__(  # noqa: PLR0913 - the parts of a server, and two of its own
        self,
        identity: Identity,
        settings: ServerSettings,
        observer: Observer,
        forks: Forks,
        *,
        heap_memory_max: int | None = None,
        snapshot: bytes | None = None,
    ) -> None:
        """Make a context that isn't started.

        Args:
            identity: What it is.
            settings: Settings of the server.
            observer: Who counts.
            forks: Where its processes come from.
            heap_memory_max: Bytes of V8 heap, if not what the settings say.
            snapshot: A heap that it goes on from.
        """
        super().__init__(identity, settings, observer)
        self.heap_memory_max = heap_memory_max or settings.v8_heap_bytes_max
        self._forks = forks
        self.waker: Callable[[JavaScriptContext], Awaitable[bytes]] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._snapshot: bytes | None = None
        self._begin_from(snapshot)
        self._work: Channel | None = None
        self._control: Channel | None = None
        self._session = 0
        self._ended: asyncio.Future[str] | None = None
        self._last_words = ""
        self._memory: list[asyncio.Future[dict[str, Any]]] = []

    # -- the process -------------------------------------------------------------------

    async def _launch(self) -> None:
        name = "typescript" if self.language.name == "typescript" else "javascript"
        settings = ContextSettings(
            language=name,  # type: ignore[arg-type]  # one of the two, as it says
            interrupt_grace_seconds=self.settings.interrupt_grace_seconds,
            v8_heap_bytes_max=self.heap_memory_max,
            array_buffer_bytes_max=self.settings.array_buffer_bytes_max,
            cell_output_characters_max=self.settings.cell_output_characters_max,
        )
        try:
            spawned = self._forks.spawn(settings, self._snapshot)
        except (OSError, IsokernelError) as error:
            message = f"the context's process could not be forked: {error}"
            raise ContextStartError(message) from error
        self._snapshot = None
        self._session = spawned.pid  # it leads one, and what it forks stays in it
        self._adopt(spawned.pid, spawned.work, spawned.control)

    def _begin_from(self, snapshot: bytes | None) -> None:
        self._snapshot = snapshot

    def _adopt(self, pid: int, work: socket.socket, control: socket.socket) -> None:
        """Take over a process that is there."""
        self.pid = pid
        self._ended = asyncio.get_running_loop().create_future()
        self._last_words = ""
        self._forks.watch(pid, self._exited)
        self._work = Channel(work, self._frame, self._cut, MAX_BYTES)
        self._control = Channel(control, self._answer, self._cut, MAX_BYTES)

    def _exited(self, reason: str) -> None:
        """Note that the process is gone, after what it said last."""
        ended = self._ended
        if ended is not None and not ended.done():
            ended.set_result(reason)
        if self._work is not None and self._work.closed is False:
            self._work.drain()
        words = self._last_words
        self._gone(f"{reason} ({words})" if words else reason)

    def _cut(self) -> None:
        """A socket ended: the process is about to be reported, or stuck."""
        ended = self._ended
        if ended is not None and ended.done():
            return
        asyncio.get_running_loop().call_later(_REASON_WAIT, self._unexplained, ended)

    def _unexplained(self, ended: asyncio.Future[str] | None) -> None:
        if ended is self._ended and ended is not None and not ended.done():
            self._signal()
            self._gone("it closed its sockets")

    def _gone(self, reason: str) -> None:
        self._close_sockets()
        self.pid = 0
        self.died(reason)

    def _close_sockets(self) -> None:
        for channel in (self._work, self._control):
            if channel is not None:
                channel.close()
        while self._memory:
            self._memory.pop().cancel()

    async def _kill(self) -> None:
        ended, self._ended = self._ended, None
        pid, self.pid = self.pid, 0
        if pid:
            self._forks.watch(
                pid, lambda reason: _resolve(ended, reason) if ended else None
            )
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._close_sockets()
        if pid and ended is not None:
            await asyncio.wait([ended], timeout=_KILL_WAIT)

    def _signal(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    # -- jobs --------------------------------------------------------------------------

    def _content(self, request: Request) -> dict[str, Any]:
        language = request.language
        return {
            "code": request.code,
            "silent": False,
            "store_history": True,
            "language": None if language is None else language.name,
            "deadline": request.seconds,
            "env": request.env,
            "user_expressions": {},
            "stop_on_error": False,
            **(request.options or {}),
        }

    def _send(self, job: Job) -> None:
        if self._work is not None:
            self._work.send(job.kind, job.content, job.id, job.fds)

    def _interrupt(self) -> None:
        if self._control is not None:
            number = self._current.id if self._current is not None else None
            self._control.send("interrupt_request", {"execution": number}, 0)

    def _patience(self, job: Job) -> float:
        """The process keeps an execution's deadline itself; here is the second wall."""
        if isinstance(job, Execution):
            return job.seconds + self.settings.interrupt_grace_seconds + 1
        return job.seconds

    def _give_up(self) -> None:
        self._signal()

    def _frame(self, frame: Frame) -> None:
        if frame.type == "fatal":
            # Of a traceback, the last line is what says something.
            said = str(frame.content.get("detail", "")).strip().rpartition("\n")
            self._last_words = said[2][:_WORDS_MAX].replace("\0", "")
            return
        message = Message(frame.type, frame.content, frame.metadata)
        self.received(frame.parent or 0, message)

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Tell the process something that has no answer; heard amid an await too."""
        if self._work is not None:
            self._work.send(kind, content, 0)

    @property
    def unread(self) -> int:
        """Bytes that it was sent and that wait until it reads."""
        return 0 if self._work is None else self._work.unsent

    def kill(self) -> None:
        """End its process at once, since it can't be trusted any more."""
        self._signal()

    def pause(self, job: Job, *, paused: bool) -> None:
        """Let a running job's time stand still but while its JavaScript runs.

        The process counts; the second wall begins anew when the pause ends.
        """
        if job is not self._current:
            return
        if paused:
            self._alarm.stop()
        else:
            self._alarm.set(self._patience(job), self._overdue)
        self.tell("pause_request", {"execution": job.id, "paused": paused})

    async def names(self) -> list[str]:
        """Names that its cells have declared, in its turn.

        Raises:
            ContextDeadlineError: No reply came in time.
            QueueLimitError: Too many wait already.
            ContextDeadError: Its process is gone.
        """
        reply = await self.ask("names_request", {})
        return [name for name in reply.get("names", []) if isinstance(name, str)]

    # -- memory, checkpoint and fork ---------------------------------------------------

    def _answer(self, frame: Frame) -> None:
        if frame.type == "memory_reply" and self._memory:
            waiting = self._memory.pop(0)
            if not waiting.done():
                waiting.set_result(frame.content)

    async def memory(self) -> dict[str, int] | None:
        """Ask the process, which answers also while it is busy."""
        if self._control is None or self.state is State.DEAD:
            return None
        if len(self._memory) >= _MEMORY_ASKED_MAX:
            return None
        answer: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self._memory.append(answer)
        self._control.send("memory_request", {}, 0)
        await asyncio.wait([answer], timeout=_MEMORY_WAIT)
        if not answer.done() or answer.cancelled():
            return None
        return {
            name: value
            for name, value in answer.result().items()
            if isinstance(value, int) and not isinstance(value, bool)
        }

    async def save(self) -> Saved:
        """Save its state, in its turn; it goes on at once, and is as it was.

        Raises:
            HeapUnsavableError: V8 can't save what is there, or not in time.
            ContextDeadError: Its process is gone.
            QueueLimitError: Too many wait already.
        """
        async with Saving(self.settings.checkpoint_timeout_seconds) as saving:
            job = Job(
                "checkpoint_request", {}, self.settings.context_query_timeout_seconds
            )
            job.fds = saving.descriptors
            job.counts = False
            self.submit(job)
            reply = await job.done
            execution_count = self.execution_count
            saving.begun(reply, lambda pid: self._forks.hold(pid, self._session))
            return Saved(await saving.result(), execution_count)

    # -- sleep -------------------------------------------------------------------------

    async def hibernate(self) -> None:
        """End the process of an idle context; the next job wakes it by its `waker`."""
        self.state = State.HIBERNATED
        self.reason = ""
        self.history.clear()
        self._remembered = 0
        self._alarm.close()
        async with self._changing:
            await self._kill()

    def _wake(self) -> None:
        self.state = State.STARTING
        self._waking = asyncio.ensure_future(self._rise())

    async def _rise(self) -> None:
        began = time.monotonic()
        try:
            async with self._changing:
                assert self.waker is not None  # noqa: S101 - set when it fell asleep
                snapshot = await self.waker(self)
                if self.state is not State.STARTING:
                    return  # deleted meanwhile
                self._begin_from(snapshot)
                await self._launch()
                self.state = State.IDLE
        except ContextDeadError as error:
            self.state, self.reason = State.DEAD, error.reason
            self._refuse_queue(error)
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it
            self.state = State.HIBERNATED
            known = isinstance(error, ServerError)
            text = f"the context can't be woken now: {error}"
            self._refuse_queue(error if known else ContextStartError(text))
        else:
            self.observer.started(self.language.name, time.monotonic() - began)
            self._advance()

    async def fork_into(self, other: JavaScriptContext) -> None:
        """Let another context, which isn't started, begin with this one's state.

        Raises:
            ForkError: It could not be forked.
        """
        work, far_work = socket.socketpair()
        control, far_control = socket.socketpair()
        job = Job("fork_request", {}, self.settings.context_query_timeout_seconds)
        job.fds = (far_work.fileno(), far_control.fileno())
        try:
            self.submit(job)
            pid = self._forks.adopt(_forked(await job.done), self._session)
        except BaseException:
            work.close()
            control.close()
            raise
        finally:
            far_work.close()
            far_control.close()
        work.setblocking(False)  # noqa: FBT003 - socket's own signature
        control.setblocking(False)  # noqa: FBT003
        other._inherit(self, pid, work, control)

    def _inherit(
        self,
        origin: JavaScriptContext,
        pid: int,
        work: socket.socket,
        control: socket.socket,
    ) -> None:
        self._session = origin._session
        self._adopt(pid, work, control)
        self.execution_count = origin.execution_count
        self.history.extend(origin.history)
        self._remembered = origin._remembered
        self._ids = origin._ids
        self.state = State.IDLE


def _forked(reply: dict[str, Any]) -> object:
    pid: object = reply.get("pid")
    if reply.get("status", "ok") != "ok" or not pid:
        raise ForkError(reply.get("evalue") or "the context can't be forked")
    return pid


def _resolve(future: asyncio.Future[str], reason: str) -> None:
    if not future.done():
        future.set_result(reason)
