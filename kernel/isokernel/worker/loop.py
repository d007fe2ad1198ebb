"""The loop on the thread that runs V8."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import MessageError
from isokernel.protocol.answers import reply_type
from isokernel.v8.children import fork, fork_sibling
from isokernel.v8.writer import DEADLINE_SECONDS
from isokernel.worker.channel import Channel
from isokernel.worker.control import MemoryFigures, WorkerControl
from isokernel.worker.copies import save, save_and_exit
from isokernel.worker.exits import WorkerExits
from isokernel.worker.front import WorkerFront

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context import Context
    from isokernel.context.context import Origin
    from isokernel.protocol.frames import Frame
    from isokernel.settings import ContextSettings

__all__ = ["Sockets", "Worker"]

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
        origin: Origin = "cloned",
    ) -> None:
        """Take ownership of a context that was forked into this process, and sockets.

        Args:
            context: Without a pending execution.
            settings: The context's from now on.
            sockets: Where to serve it.
            rollup: See `MemoryFigures`.
            origin: See `Context.after_fork`.
        """
        self._context = context
        self._sockets = sockets
        self._channel = Channel(sockets.work)
        self._front = WorkerFront(context, self._channel)
        self._exits = WorkerExits(self._channel)
        context.after_fork(
            settings,
            self._front.cells,
            read_input=self._front.ask,
            on_fatal=self._exits.fatal,
            on_stuck=self._exits.stuck,
            on_tick=self._tick,
            call_now=self._front.call_now,
            origin=origin,
        )
        self._memory = MemoryFigures(context, rollup)
        self._control = WorkerControl(sockets.control, self._front.cells, self._memory)
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
                clone = self._serve()
                if clone is not None:
                    return clone
                self._channel.flush()
                if not self._channel.inbox:  # else it came while we flushed
                    self._wait()
        except BaseException as error:  # noqa: BLE001 -- the server must hear of it
            self._exits.defect(error)

    def _tick(self) -> None:
        """Send what was printed, amid running JavaScript."""
        self._memory.update()
        self._channel.flush()

    def warm_up(self) -> None:
        """Serve what has been sent already, then give up the sockets."""
        self._channel.fill()
        self._serve()
        self._channel.flush()
        self._memory.update()
        self._channel.close()
        self._sockets.control.close()

    def _serve(self) -> Sockets | None:
        """Serve what has arrived; the clone's sockets, in a clone."""
        inbox = self._channel.inbox
        clone = self._advance()
        while clone is None and inbox:
            request = inbox.popleft()
            if request.type in _ORDERED:
                self._front.waiting.append(request)
            else:
                self._front.serve(request)  # it may be what a cell has waited for
            clone = self._advance()
        return clone

    def _wait(self) -> None:
        self._memory.update()
        wait = self._context.wait_time()
        due = None if wait is None else time.monotonic() + wait
        ready = dict(
            self._poller.poll(None if wait is None else math.ceil(wait * 1000))
        )
        if self._context.wakeup in ready or (due and time.monotonic() >= due):
            self._context.step()
        if self._channel.fileno() in ready:
            self._channel.fill()

    def _advance(self) -> Sockets | None:
        """End what is over, begin what waits; the clone's sockets, in a clone."""
        cells, waiting = self._front.cells, self._front.waiting
        cells.settle()
        while waiting and cells.running is None:
            request = waiting.popleft()
            if request.type == "execute_request":
                self._front.begin(request)
                cells.settle()
            elif request.type == "checkpoint_request":
                self._checkpoint(request)
            else:
                clone = self._clone(request)
                if clone is not None:
                    return clone
        return None

    def _clone(self, request: Frame) -> Sockets | None:
        """Fork a process that goes on as another context."""
        wait = self._context.wait_time()
        due = None if wait is None else time.monotonic() + wait
        descriptors = self._fork(request, fork_sibling)
        if descriptors is None:
            return None
        sockets = Sockets(*(socket.socket(fileno=fd) for fd in descriptors))
        _rest(sockets, due)
        return sockets

    def _checkpoint(self, request: Frame) -> None:
        """Save the context: in a copy of this process, or here if nothing follows."""
        seconds = request.content.get("deadline")
        if not isinstance(seconds, (int, float)):
            seconds = DEADLINE_SECONDS
        if request.content.get("last"):
            self._save(request, seconds)
            return
        descriptors = self._fork(request, fork)
        if descriptors is not None:
            save_and_exit(self._context, *descriptors, seconds)

    def _save(self, request: Frame, seconds: float) -> None:
        """Save the context in this process, which does nothing else meanwhile."""
        descriptors = self._take_descriptors(request)
        if descriptors is not None:
            file, outcome = descriptors
            self._channel.send(
                reply_type(request.type), {"status": "ok"}, request.id or 0
            )
            self._channel.flush()
            inherited = [self._channel.fileno(), self._sockets.control.fileno()]
            if self._memory.rollup is not None:
                inherited.append(self._memory.rollup)
            with self._context.turns.held():
                save(self._context, file, outcome, seconds, inherited)
            os.close(file)

    def _take_descriptors(self, request: Frame) -> tuple[int, int] | None:
        """Return the two descriptors of a request; None if it has others: refused."""
        descriptors = self._channel.take_descriptors()
        if len(descriptors) == len(Sockets._fields):
            first, second = descriptors
            return first, second
        problem = MessageError(f"a {request.type} comes with two descriptors")
        self._front.refuse(request, problem)
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _fork(
        self, request: Frame, fork_process: Callable[[], int]
    ) -> tuple[int, int] | None:
        """Answer a request for a copy of this process with two descriptors.

        Returns:
            The descriptors, in the copy alone.
        """
        descriptors = self._take_descriptors(request)
        if descriptors is None:
            return None
        self._channel.flush()
        pid = -1
        try:
            with self._context.turns.held():
                pid = fork_process()
        except OSError as error:
            self._front.refuse(request, error)
        if pid == 0:
            self._close_inherited()
            return descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            content = {"status": "ok", "pid": pid}
            self._channel.send(reply_type(request.type), content, request.id or 0)
        return None

    def _close_inherited(self) -> None:
        """Close what belongs to the original, in a copy."""
        self._channel.close()
        self._sockets.control.close()
        if self._memory.rollup is not None:
            os.close(self._memory.rollup)


def _rest(sockets: Sockets, due: float | None) -> None:
    """Wait until something is to be done: each line of Python costs memory of its own.

    Args:
        sockets: A clone's.
        due: When its next timer is, on the monotonic clock.
    """
    poller = select.poll()
    for sock in sockets:
        poller.register(sock, select.POLLIN)
    wait = None if due is None else max(due - time.monotonic(), 0.0)
    poller.poll(None if wait is None else math.ceil(wait * 1000))
