"""The fork server's own process: one thread, no user code, everything loaded."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from isokernel.forkserver.births import Spares, base_context, become, load_kernels
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
from isokernel.sandbox import SandboxSettings, missing
from isokernel.sandbox.syscalls import be_subreaper

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Zygote", "main"]

_SIGNALS_CHUNK: Final = 4096
_QUIET_MS: Final = 1
"""Without requests, after which spare processes are made."""
_END_SECONDS: Final = 1.0
_END_STEP: Final = 0.001


class Zygote:
    """Forks on request, and tells of the ends of what it has forked."""

    def __init__(self, requests: socket.socket, exits: int, spares: int) -> None:
        """Serve the requests that come on a socket; tell of ends through a pipe.

        Args:
            requests: A socket that keeps packets whole.
            exits: Takes the records of ends.
            spares: How many processes wait to become what is asked for next.
        """
        self._requests = requests
        self._exits = exits
        self._untold: deque[bytes] = deque()
        self._decoder = msgspec.msgpack.Decoder(Request)
        os.set_blocking(exits, False)
        be_subreaper(on=True)  # of clones, which are forked by contexts
        self._signals = _catch_children()
        self._started: set[int] = set()
        self._spares = self._prepare(spares)

    def _prepare(self, spares: int) -> Spares:
        """Load all that what is forked shall have."""
        self._base = base_context()
        return Spares(self._base, spares, self._leave)

    def _become(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        """Be what was asked for, in a process that was just forked."""
        become(self._base, request, descriptors)

    def run(self) -> None:
        """Serve until the server closes its end."""
        self._reply(Ready(missing(SandboxSettings())))
        poller = select.poll()
        poller.register(self._requests, select.POLLIN)
        signals = self._signals[0]
        poller.register(signals, select.POLLIN)
        while True:
            # A pipe that is full has room again when the server has read.
            poller.register(self._exits, select.POLLOUT if self._untold else 0)
            ready = dict(poller.poll(_QUIET_MS if self._spares.lacking else None))
            if not ready:
                self._spares.fork()
            if signals in ready:
                os.read(signals, _SIGNALS_CHUNK)
                self._reap()
            self._tell()
            if self._requests.fileno() in ready and not self._serve():
                self._end()
                return

    def _end(self) -> None:
        """Wait for what ends now: spare processes, and what killed contexts forked.

        They would be left to the server, which knows nothing of them. Contexts that go
        on are its own from now on; nobody waits for these.
        """
        self._spares.close()
        end = time.monotonic() + _END_SECONDS
        while self._reap() and not self._started and time.monotonic() < end:
            time.sleep(_END_STEP)
        self._tell()

    # -- requests ----------------------------------------------------------------

    def _serve(self) -> bool:
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
                self._leave()
                self._become(request, descriptors)
            self._started.add(pid)
            self._reply(Started(pid))
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _leave(self) -> None:
        """In a new process: give up what is the fork server's."""
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

    # -- ends --------------------------------------------------------------------

    def _reap(self) -> bool:
        """Take in who has ended; whether there are others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._started.discard(pid)
            if self._spares.forget(pid):
                continue
            self._untold.append(EXIT.pack(pid, os.waitstatus_to_exitcode(status)))

    def _tell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._untold:
                os.write(self._exits, self._untold[0])
                self._untold.popleft()


def _catch_children() -> tuple[int, int]:
    """Get a pipe whose first end becomes readable when a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader, writer


def main(requests: int, exits: int, spares: int, kernels: int) -> None:
    """Be the fork server of the process that holds the descriptors' other ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if kernels:
        load_kernels()
    with contextlib.suppress(ConnectionError):  # the server has ended
        Zygote(socket.socket(fileno=requests), exits, spares).run()
