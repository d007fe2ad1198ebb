"""The loop on the thread that runs V8."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import MessageError
from isokernel.protocol.answers import reply_type
from isokernel.protocol.frames import FORKS_MAX
from isokernel.v8.children import fork, fork_sibling, fork_siblings
from isokernel.v8.writer import DEADLINE_SECONDS
from isokernel.worker.channel import Channel
from isokernel.worker.control import MemoryFigures, WorkerControl
from isokernel.worker.copies import SpareClone, receive, save, save_and_exit
from isokernel.worker.exits import WorkerExits
from isokernel.worker.front import WorkerFront

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def __init__(  # noqa: PLR0913 -- what makes a process a context
        self,
        context: Context,
        settings: ContextSettings,
        sockets: Sockets,
        *,
        rollup: int | None = None,
        origin: Origin = "cloned",
        parent: int | None = None,
    ) -> None:
        """Take ownership of a context that was forked into this process, and sockets.

        Args:
            context: Without a pending execution.
            settings: The context's from now on.
            sockets: Where to serve it.
            rollup: See `MemoryFigures`.
            origin: See `Context.after_fork`.
            parent: The fork server, of a process that was forked when it may have
                been dead.
        """
        self._context = context
        self._sockets = sockets
        self._channel = Channel(sockets.work)
        self._front = WorkerFront(context, self._channel)
        self._exits = WorkerExits(self._channel)
        # Before what runs JavaScript: it may be amid that for long enough for a tick.
        self._memory = MemoryFigures(context, rollup)
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
        self._control = WorkerControl(sockets.control, self._front.cells, self._memory)
        self._spare = SpareClone(os.getppid() if parent is None else parent)
        self._poller = select.poll()
        self._poller.register(self._channel.fileno(), select.POLLIN)
        self._poller.register(context.wakeup, select.POLLIN)

    def wait_for(self, spare: int) -> None:
        """Wait, as a spare clone, for what its sockets are to be; it may end here."""
        for sock, descriptor in zip(self._sockets, receive(spare), strict=True):
            timeout = sock.gettimeout()
            os.dup2(descriptor, sock.fileno(), inheritable=False)
            os.close(descriptor)
            sock.settimeout(timeout)

    def run(self) -> Sockets | int:
        """Serve; the process ends when the server closes a socket.

        Returns:
            Only in a process that this one was cloned to: the clone's own sockets, or
            for a spare one the descriptor on which they come.
        """
        self._control.start()
        try:
            while True:
                clone = self._serve()
                if clone is not None:
                    return clone
                self._channel.flush()
                if not self._channel.inbox:  # else it came while we flushed
                    spare = self._wait()
                    if spare is not None:
                        return spare
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
            if request.type != "fork_request":
                self._spare.drop()
            if request.type in _ORDERED:
                self._front.waiting.append(request)
            else:
                self._front.serve(request)  # it may be what a cell has waited for
            clone = self._advance()
        return clone

    def _wait(self) -> int | None:
        """Wait until something is to be done; in a spare clone, see `run`."""
        self._memory.update()
        wait = self._context.wait_time()
        due = None if wait is None else time.monotonic() + wait
        if self._spare.wait_time is not None:
            wait = min(self._spare.wait_time, math.inf if wait is None else wait)
        ready = dict(
            self._poller.poll(None if wait is None else math.ceil(wait * 1000))
        )
        if self._context.wakeup in ready or (due and time.monotonic() >= due):
            self._spare.drop()
            self._context.step()
        if self._channel.fileno() in ready:
            self._channel.fill()
        elif not ready and self._spare.wait_time is not None:
            with self._context.turns.held():
                spare = self._spare.step(fork_sibling)
            if spare is not None:
                self._close_inherited()
            return spare
        return None

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
        """Have processes go on as other contexts; the sockets of one, in that one.

        All have the state of one moment.
        """
        count = request.content.get("count")
        if not (type(count) is int and 0 < count <= FORKS_MAX):
            _close(self._channel.take_descriptors(len(self._channel.descriptors)))
            problem = MessageError(f"a fork_request is for 1 to {FORKS_MAX} clones")
            self._front.refuse(request, problem)
            return None
        each = len(Sockets._fields)
        descriptors = self._take_descriptors(request, each * count + 2)
        if not descriptors:
            return None
        *given, pair = (
            descriptors[at : at + each] for at in range(0, len(descriptors), each)
        )
        spare = self._spare.give(given[0])
        rests = given[1:] if spare else given
        pids = [spare] if spare else []
        foreign = (*pair, *given[0]) if spare else pair
        # They rest until they are asked something, or a timer is due.
        wait, place = self._context.wait_time(), None
        self._channel.flush()
        try:
            with self._context.turns.held():
                if rests:
                    made = fork_siblings(rests, wait, without=foreign)
                    pids, place = pids + made.pids, made.place
        except OSError as error:
            self._front.refuse(request, error)
        else:
            if place is not None:
                self._close_inherited()
                return Sockets(*(socket.socket(fileno=fd) for fd in rests[place]))
            self._tell(request, {"pids": pids})
        _close(descriptors[:-2])
        self._spare.want(pair)
        return None

    def _checkpoint(self, request: Frame) -> None:
        """Save the context: in a copy of this process, or here if nothing follows."""
        descriptors = self._take_descriptors(request, 2)
        if not descriptors:
            return
        file, outcome = descriptors
        seconds = request.content.get("deadline")
        if not isinstance(seconds, (int, float)):
            seconds = DEADLINE_SECONDS
        if request.content.get("last"):
            self._save(request, file, outcome, seconds)
            return
        pid = self._fork(request)
        if pid == 0:
            save_and_exit(self._context, file, outcome, seconds)
        _close(descriptors)
        if pid > 0:
            self._tell(request, {"pid": pid})

    def _save(self, request: Frame, file: int, outcome: int, seconds: float) -> None:
        """Save the context in this process, which does nothing else meanwhile."""
        self._channel.send(reply_type(request.type), {"status": "ok"}, request.id or 0)
        self._channel.flush()
        inherited = [self._channel.fileno(), self._sockets.control.fileno()]
        if self._memory.rollup is not None:
            inherited.append(self._memory.rollup)
        with self._context.turns.held():
            save(self._context, file, outcome, seconds, inherited)
        os.close(file)

    def _take_descriptors(self, request: Frame, count: int) -> tuple[int, ...]:
        """Return the descriptors of a request, which is refused if there are others."""
        descriptors = self._channel.take_descriptors(count)
        if len(descriptors) == count:
            return descriptors
        _close(descriptors)
        problem = MessageError(f"a {request.type} comes with {count} descriptors")
        self._front.refuse(request, problem)
        return ()

    def _fork(self, request: Frame) -> int:
        """Fork a copy of this process: its id, 0 in the copy, less if it is refused."""
        self._channel.flush()
        try:
            with self._context.turns.held():
                pid = fork()
        except OSError as error:
            self._front.refuse(request, error)
            return -1
        if pid == 0:
            self._close_inherited()
        return pid

    def _tell(self, request: Frame, found: dict[str, Any]) -> None:
        content = {"status": "ok", **found}
        self._channel.send(reply_type(request.type), content, request.id or 0)

    def _close_inherited(self) -> None:
        """Close what belongs to the original, in a copy."""
        self._spare.drop()
        self._channel.close()
        self._sockets.control.close()
        if self._memory.rollup is not None:
            os.close(self._memory.rollup)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
