"""The fork server's own process: one thread, no user code, everything loaded.

The same loop serves every kind of fork server. What it has loaded, and what the
processes forked from it become, is a `Template`: `forkserver.contexts` has the one for
contexts and kernels, `typecheck.process` the one for type checks.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import os
import select
import signal
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from isokernel.forkserver.protocol import (
    DESCRIPTORS_MAX,
    EXIT,
    PACKET_MAX,
    Ready,
    Refused,
    Reply,
    Request,
    Started,
)
from isokernel.sandbox import SandboxSettings, missing, seccomp
from isokernel.sandbox.syscalls import be_subreaper
from isokernel.v8 import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Template", "load", "serve"]

_SIGNALS_CHUNK: Final = 4096
_QUIET_MS: Final = 1
"""Without requests for so long, spare processes are forked."""
_END_SECONDS: Final = 1.0
_PREPARING_NICENESS: Final = 10
_END_STEP_SECONDS: Final = 0.001
_CODECS: Final = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le")
"""Python imports a codec at its first use; a confined process could not."""


class Template(ABC):
    """What a fork server has loaded, and what is forked from it becomes.

    It is made once, in the fork server's process, before the first fork; every forked
    process has a copy.
    """

    @abstractmethod
    def become(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        """Be what a request asks for, and end the process.

        Called in a forked process that leads a session of its own. What this raises is
        printed, and ends the process as well.

        Args:
            request: What was asked for.
            descriptors: What came with it; they are the process's own now.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Touch the memory that a request will need, in a spare process.

        Afterwards the template must be as it was.
        """

    def lacks(self) -> bool:
        """Tell whether there is something to prepare that takes a process of its own.

        Asked once, when the spare processes are made and nothing else is to be done.
        """
        return False

    def prepare(self) -> None:
        """Prepare that, in a forked process, which then ends."""
        raise NotImplementedError

    def take(self) -> None:
        """Take what was prepared; what is forked from now on has it."""
        raise NotImplementedError


class ForkServerProcess:
    """Forks on request, and reports the exits of what it has forked."""

    def __init__(
        self, template: Template, requests: socket.socket, exits: int, spares: int
    ) -> None:
        """Take over both ends that the fork server has.

        Args:
            template: What is forked.
            requests: A socket that keeps packets whole.
            exits: A pipe, on which exits are reported.
            spares: How many processes wait to become what is asked for next.
        """
        self._template = template
        self._requests = requests
        self._exits = exits
        self._unreported: deque[bytes] = deque()
        self._decoder = msgspec.msgpack.Decoder(Request)
        os.set_blocking(exits, False)
        be_subreaper(on=True)  # of what contexts have forked to save them
        self._signals = _catch_children()
        self._started: set[int] = set()
        self._spares = SpareProcesses(template, spares, self._close_own)
        self._complete = False
        self._preparing = 0  # the process that does it

    def run(self) -> None:
        """Serve until the server closes its end."""
        self._reply(Ready(missing(SandboxSettings())))
        poller = select.poll()
        poller.register(self._requests, select.POLLIN)
        signals = self._signals[0]
        poller.register(signals, select.POLLIN)
        while True:
            # A pipe that is full has room again when the server has read.
            poller.register(self._exits, select.POLLOUT if self._unreported else 0)
            lacking = self._spares.lacking
            idle = lacking or not self._complete
            ready = dict(poller.poll(_QUIET_MS if idle else None))
            if not ready and lacking:
                self._spares.fork()
            elif not ready:
                self._prepare()
            if signals in ready:
                os.read(signals, _SIGNALS_CHUNK)
                self._reap()
            self._report()
            if self._requests.fileno() in ready and not self._serve():
                self._end()
                return

    def _prepare(self) -> None:
        """Have the template's rest prepared, if there is any."""
        self._complete = True
        if not self._template.lacks():
            return
        try:
            self._preparing = os.fork()
        except OSError:
            return
        if self._preparing == 0:
            try:
                self._close_own()
                os.nice(_PREPARING_NICENESS)
                self._template.prepare()
            except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
                traceback.print_exc()
            finally:
                os._exit(0)

    def _end(self) -> None:
        """Wait for what ends now: spare processes, and what killed contexts forked.

        They would be left to the server, which knows nothing of them. Contexts that go
        on are its own from now on; nobody waits for these.
        """
        self._spares.close()
        if self._preparing:
            os.kill(self._preparing, signal.SIGKILL)
        end = time.monotonic() + _END_SECONDS
        while self._reap() and not self._started and time.monotonic() < end:
            time.sleep(_END_STEP_SECONDS)
        self._report()

    # -- requests ------------------------------------------------------------------

    def _serve(self) -> bool:
        """Serve one request; False if the server has closed its end."""
        packet, descriptors, _, _ = socket.recv_fds(
            self._requests, PACKET_MAX, DESCRIPTORS_MAX
        )
        if not packet:
            return False
        try:
            request: Request = self._decoder.decode(packet)
            pid = self._spares.take(packet, descriptors) or os.fork()
        except (msgspec.MsgspecError, OSError) as error:
            self._reply(Refused(str(error)))
        else:
            if pid == 0:
                self._close_own()
                _become(self._template, request, descriptors)
            self._started.add(pid)
            self._reply(Started(pid))
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _close_own(self) -> None:
        """Close what is the fork server's, in a forked process."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._requests.close()
        self._spares.close()
        os.close(self._exits)
        for descriptor in self._signals:
            os.close(descriptor)

    def _reply(self, reply: Reply) -> None:
        self._requests.send(msgspec.msgpack.encode(reply))

    # -- exits ---------------------------------------------------------------------

    def _reap(self) -> bool:
        """Reap who has exited; False if there are no other children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._started.discard(pid)
            if pid == self._preparing:
                self._preparing = 0
                self._template.take()
                continue
            if self._spares.forget(pid):
                continue
            self._unreported.append(EXIT.pack(pid, os.waitstatus_to_exitcode(status)))

    def _report(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unreported:
                os.write(self._exits, self._unreported[0])
                self._unreported.popleft()


class SpareProcesses:
    """Processes that are forked, warm, and wait for what they shall become.

    A process that was just forked gets each page of the fork server's at its first
    touch, some 900 up to its first result; a spare one has got them.
    """

    def __init__(
        self, template: Template, wanted: int, close_own: Callable[[], None]
    ) -> None:
        """Have none yet.

        Args:
            template: What is forked.
            wanted: How many to have.
            close_own: Called in each first, to close what is the fork server's.
        """
        self._template = template
        self._wanted = wanted
        self._close_own = close_own
        self._waiting: dict[int, socket.socket] = {}

    @property
    def lacking(self) -> bool:
        """Whether there are fewer than there should be."""
        return len(self._waiting) < self._wanted

    def fork(self) -> None:
        """Fork one more; when the system allows none, do without from now on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            self._wanted = 0
            ours.close()
            theirs.close()
            return
        if pid == 0:
            ours.close()
            self._close_own()
            self._wait(theirs)
        theirs.close()
        self._waiting[pid] = ours

    def take(self, packet: bytes, descriptors: Sequence[int]) -> int | None:
        """Have one become what a packet asks for; None if there is none."""
        while self._waiting:
            pid = next(iter(self._waiting))  # the oldest, the likeliest to be ready
            ours = self._waiting.pop(pid)
            with ours:
                try:
                    socket.send_fds(ours, [packet], descriptors)
                except OSError:
                    continue  # it is dead
                return pid
        return None

    def forget(self, pid: int) -> bool:
        """Forget a process that has exited; False if it was no spare one."""
        ours = self._waiting.pop(pid, None)
        if ours is not None:
            ours.close()
        return ours is not None

    def close(self) -> None:
        """Close the sockets, at which the processes end."""
        for ours in self._waiting.values():
            ours.close()
        self._waiting.clear()

    def _wait(self, theirs: socket.socket) -> NoReturn:
        try:
            self._template.warm_up()
            packet, descriptors, _, _ = socket.recv_fds(
                theirs, PACKET_MAX, DESCRIPTORS_MAX
            )
            if packet:
                theirs.close()
                request = msgspec.msgpack.decode(packet, type=Request)
                _become(self._template, request, descriptors)
        except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
            traceback.print_exc()
        finally:
            os._exit(0)


def _become(
    template: Template, request: Request, descriptors: Sequence[int]
) -> NoReturn:
    try:
        os.setsid()
        template.become(request, descriptors)
    except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
        traceback.print_exc()
    finally:
        os._exit(1)


def _catch_children() -> tuple[int, int]:
    """Return a pipe whose first end becomes readable when a child has exited."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader, writer


def load(make_template: Callable[[], Template]) -> Template:
    """Make a template, ready to be forked from by processes that are then confined."""
    seccomp.prepare()
    for codec in _CODECS:
        codecs.lookup(codec)
    template = make_template()
    gc.collect()
    pages.trim()
    gc.freeze()
    return template


def serve(
    make_template: Callable[[], Template], requests: int, exits: int, spares: int
) -> None:
    """Be the fork server of the process that holds the descriptors' other ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    template = load(make_template)
    with contextlib.suppress(ConnectionError):  # the server has ended
        sock = socket.socket(fileno=requests)
        ForkServerProcess(template, sock, exits, spares).run()
