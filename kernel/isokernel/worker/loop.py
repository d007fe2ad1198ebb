"""The loop on the thread that runs V8."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import MessageError
from isokernel.v8.children import fork
from isokernel.v8.writer import DEADLINE_SECONDS
from isokernel.worker.channel import Channel
from isokernel.worker.checkpoints import checkpoint
from isokernel.worker.control import Control
from isokernel.worker.endings import Endings
from isokernel.worker.executions import Executions
from isokernel.worker.memory import Memory
from isokernel.worker.requests import Requests, reply_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.protocol.frames import Frame
    from isokernel.settings import ContextSettings

__all__ = ["Sockets", "Worker"]

_PID_BYTES: Final = 32
_ORDERED: Final = frozenset({"execute_request", "fork_request", "checkpoint_request"})
"""Served one after the other; all else is served at once."""


class Sockets(NamedTuple):
    """The context's ends of its two sockets; owned by whoever holds the pair."""

    work: socket.socket
    control: socket.socket


class Worker:
    """One context served over two sockets. Made and run on the V8 thread."""

    def __init__(
        self,
        context: Context,
        settings: ContextSettings,
        sockets: Sockets,
        *,
        rollup: int | None = None,
        blank: bool = False,
    ) -> None:
        """Take over a context that was forked into this process, and the sockets.

        Args:
            context: Without a pending execution.
            settings: What shall hold from now on.
            sockets: Where to serve it.
            rollup: See `Memory`.
            blank: The context was made to be forked, and has run nothing.
        """
        self._context = context
        self._settings = settings
        self._sockets = sockets
        self._channel = Channel(sockets.work)
        self._executions = Executions(context, self._channel)
        self._requests = Requests(context, self._channel)
        self._endings = Endings(self._channel)
        self._waiting: deque[Frame] = deque()
        context.after_fork(
            settings,
            self._executions.sink,
            on_fatal=self._endings.fatal,
            on_stuck=self._endings.stuck,
            on_tick=self._tick,
            blank=blank,
        )
        self._memory = Memory(context, rollup)
        self._control = Control(
            sockets.control, context, self._executions, self._memory
        )
        self._poller = select.poll()
        self._poller.register(self._channel.fileno(), select.POLLIN)
        self._poller.register(context.wakeup, select.POLLIN)

    def run(self) -> Sockets:
        """Serve; the process ends when the server closes a socket.

        Returns:
            Only in a process that this one was cloned to: the clone's own sockets.
        """
        self._control.start()
        try:
            while True:
                clone = self._turn()
                if clone is not None:
                    return clone
        except BaseException as error:  # noqa: BLE001 -- the server must hear of it
            self._endings.defect(error)

    def _tick(self) -> None:
        """Amid running JavaScript: what was printed leaves."""
        self._memory.look()
        self._channel.flush()

    def warm_up(self) -> None:
        """Serve what has been sent already, then give up the sockets."""
        self._channel.fill()
        self._serve()
        self._channel.flush()
        self._memory.look()
        self._channel.close()
        self._sockets.control.close()

    def _turn(self) -> Sockets | None:
        clone = self._serve()
        if clone is None:
            self._channel.flush()
            if not self._channel.inbox:  # else it came while the server made us wait
                self._wait()
        return clone

    def _serve(self) -> Sockets | None:
        inbox = self._channel.inbox
        clone = self._advance()
        while clone is None and inbox:
            request = inbox.popleft()
            if request.type in _ORDERED:
                self._waiting.append(request)
            else:
                self._requests.serve(request)  # it may be what a cell has waited for
            clone = self._advance()
        return clone

    def _wait(self) -> None:
        self._memory.look()
        due = self._due()
        ready = dict(self._poller.poll(_milliseconds(due)))
        if self._context.wakeup in ready or _is_past(due):
            self._context.step()
        if self._channel.fileno() in ready:
            self._channel.fill()

    def _due(self) -> float | None:
        wait = self._context.wait_time()
        return None if wait is None else time.monotonic() + wait

    def _advance(self) -> Sockets | None:
        """End what is over, begin what waits."""
        executions, waiting = self._executions, self._waiting
        stops = executions.settle()
        while True:
            if stops:
                self._abort()
            if executions.running or not waiting:
                return None
            request = waiting.popleft()
            if request.type == "execute_request":
                executions.begin(request)
                stops = executions.settle()
            elif request.type == "checkpoint_request":
                self._checkpoint(request)
                stops = False
            else:
                clone = self._clone(request)
                if clone is not None:
                    return clone
                stops = False

    def _abort(self) -> None:
        """A cell has failed: those that were sent before it did won't run."""
        self._channel.fill()
        inbox, waiting = self._channel.inbox, self._waiting
        for queue in (waiting, inbox):
            for request in list(queue):
                if request.type == "execute_request":
                    queue.remove(request)
                    self._executions.abort(request)

    # -- copies of the process -----------------------------------------------------

    def _clone(self, request: Frame) -> Sockets | None:
        """Go on in two processes; the clone's sockets, in the clone."""
        descriptors = self._fork(request, fork_orphan)
        if descriptors is None:
            return None
        return Sockets(*(socket.socket(fileno=fd) for fd in descriptors))

    def _checkpoint(self, request: Frame) -> None:
        """Have a copy of this process save the context."""
        descriptors = self._fork(request, fork)
        if descriptors is not None:
            seconds = request.content.get("deadline")
            if not isinstance(seconds, (int, float)):
                seconds = DEADLINE_SECONDS
            file, outcome = descriptors
            checkpoint(self._context, file, outcome, seconds)

    def _fork(self, request: Frame, make: Callable[[], int]) -> tuple[int, ...] | None:
        """Answer a request for a copy of this process with two descriptors.

        Args:
            request: It.
            make: Forks this process.

        Returns:
            The descriptors, in the copy alone.
        """
        descriptors = self._channel.take_descriptors()
        self._channel.flush()
        pid = -1
        if len(descriptors) != len(Sockets._fields):
            problem = MessageError(f"a {request.type} comes with two descriptors")
            self._requests.refuse(request, problem)
        else:
            try:
                pid = make()
            except OSError as error:
                self._requests.refuse(request, error)
        if pid == 0:
            self._part()
            return descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            content = {"status": "ok", "pid": pid}
            self._channel.send(reply_type(request.type), content, request.id or 0)
        return None

    def _part(self) -> None:
        """In the clone: give up what is the original's."""
        self._channel.close()
        self._sockets.control.close()
        if self._memory.rollup is not None:
            os.close(self._memory.rollup)


def fork_orphan() -> int:
    """Fork a process that isn't a child of this one, so that its end is told to others.

    Returns:
        Its id; 0 in the new process.

    Raises:
        OSError: The system allows no more processes.
    """
    reader, writer = os.pipe()
    try:
        try:
            if fork() == 0:
                try:
                    pid = fork()
                except OSError:
                    os._exit(1)
                if pid == 0:
                    return 0
                os.write(writer, str(pid).encode())
                os._exit(0)
        finally:
            os.close(writer)
        said = os.read(reader, _PID_BYTES)  # its end comes if the second fork fails
    finally:
        os.close(reader)
    if not said:
        message = "the context may fork no further process"
        raise OSError(message)
    return int(said)


def _milliseconds(due: float | None) -> int | None:
    return None if due is None else max(0, math.ceil((due - time.monotonic()) * 1000))


def _is_past(due: float | None) -> bool:
    return due is not None and time.monotonic() >= due
