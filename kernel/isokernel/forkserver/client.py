"""`ForkServer`: starts contexts in milliseconds, and reports their exits."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from isokernel.errors import ForkServerError, reason_of
from isokernel.forkserver.exits import ExitWatcher
from isokernel.forkserver.protocol import (
    PACKET_MAX,
    Ready,
    Refused,
    Reply,
    Request,
    Spawn,
    Started,
)
from isokernel.sandbox.syscalls import be_subreaper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isokernel.forkserver.exits import Exited
    from isokernel.sandbox import SandboxSettings
    from isokernel.settings import ContextSettings

__all__ = ["ForkServer", "Spawned"]

_START_SECONDS: Final = 30.0
_REPLY_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0

# As -I leaves out whatever the environment or the folder would add, and this brings
# the server's own path, the fork server loads the very modules that the server has.
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from isokernel.{module} import main; main(*map(int, sys.argv[2:]))"
)
_REAPERS: Final[set[int]] = set()
"""The fork servers, by `id`, for which this process reaps orphans."""
_INHERITED: Final = (
    *("LANG", "LANGUAGE", "LD_LIBRARY_PATH", "TZ", "TZDIR"),
    *("HOME", "XDG_CACHE_HOME"),  # where the runtime's code is kept
)


class Spawned(NamedTuple):
    """A context that was started; the caller owns the sockets.

    Attributes:
        pid: The context's process.
        work: Requests in order, output; a stream of frames, not blocking.
        control: Requests that overtake. When it is closed, the context ends.
    """

    pid: int
    work: socket.socket
    control: socket.socket


class MemoryFile:
    """A file that has no name; it goes when it is closed, or with this object.

    Attributes:
        descriptor: The file's.
        close: Closes it; again does nothing. An error that is kept somewhere keeps all
            that its frames had, so this isn't left to the object's end.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        """Write it, which takes 0.5 ms for each MB; in any thread.

        Raises:
            OSError: There is no memory for it.
        """
        self.descriptor = os.memfd_create("isokernel-heap")
        self.close = weakref.finalize(self, os.close, self.descriptor)
        with open(self.descriptor, "wb", closefd=False) as file:
            file.write(data)


class ForkServer:
    """Starts processes by forking a warm one. Any thread may call.

    This process becomes the reaper of orphaned descendants, so that contexts can be
    waited for when the fork server has died.

    Attributes:
        exits_fd: Readable when `poll_exits` has something to report; the same
            descriptor for the object's whole life.
        missing: What of the sandbox can't be had here, a sentence each; known after
            `start`.
        starts: How many times the fork server's process was started.
    """

    def __init__(
        self,
        *,
        sandbox: SandboxSettings | None = None,
        subreaper: bool = True,
        kernels: bool = False,
        spare_processes: int = 2,
        module: str = "forkserver.contexts",
    ) -> None:
        """Configure it; `start` starts the process.

        Args:
            sandbox: How each context is confined; None for not at all.
            subreaper: Become the reaper of orphans. Without it, it can't be known how
                a context exited that outlived its fork server.
            kernels: Load what Jupyter kernels need as well.
            spare_processes: How many are forked in advance. They halve the time of a
                start; each holds the memory of a context.
            module: The module below `isokernel` whose `main` the process runs.

        Raises:
            ForkServerError: This isn't Linux.
        """
        if not sys.platform.startswith("linux"):
            message = f"there is no fork server on {sys.platform}, only on Linux"
            raise ForkServerError(message)
        self._sandbox = sandbox
        self._subreaper = subreaper
        self._kernels = kernels
        self._spares = spare_processes
        self._module = module
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._decoder = msgspec.msgpack.Decoder(Reply)
        self._exits = ExitWatcher()
        self._closed = False
        self._ready = False
        self.exits_fd = self._exits.fileno
        self.missing: list[str] = []
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The fork server's process; None when there is none."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the fork server's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it runs, and forks at once."""
        return self._ready and self.alive

    # -- the process of the fork server --------------------------------------------

    def launch(self) -> None:
        """Begin to start the fork server if it doesn't run, without waiting for it.

        Raises:
            ForkServerError: It can't be started, or this object is closed.
        """
        with self._lock:
            if self.alive:
                return
            if self._closed:
                message = "the fork server is closed"
                raise ForkServerError(message)
            self._detach()
            if self._subreaper:
                self._be_reaper(on=True)
            self._launch()

    def start(self) -> None:
        """Start the fork server if it doesn't run; takes some tenths of a second.

        Raises:
            ForkServerError: It did not come up, or this object is closed.
        """
        with self._lock:
            if self.ready:
                return
            self.launch()
            try:
                ready = self._receive(_START_SECONDS)
                if not isinstance(ready, Ready):
                    message = "the fork server did not say that it is ready"
                    raise ForkServerError(message)  # noqa: TRY301 -- one end for both
            except ForkServerError:
                self._detach()
                raise
            self.missing = ready.missing if self._sandbox is not None else []
            self._ready = True
            self.starts += 1

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        exits, exits_writer = os.pipe()
        try:
            numbers = (theirs.fileno(), exits_writer, self._spares, int(self._kernels))
            self._process = _launch(self._module, *numbers)
        except OSError as error:
            ours.close()
            os.close(exits)
            message = f"the fork server can't be started: {reason_of(error)}"
            raise ForkServerError(message) from error
        finally:
            theirs.close()
            os.close(exits_writer)
        self._requests = ours
        self._exits.attach(exits)

    def close(self, *, kill: bool = True) -> None:
        """End the fork server; safe to call twice.

        Args:
            kill: And everything that it has forked.
        """
        requests = self._requests
        if requests is not None and not self._ready:
            # Who waits for its start has the lock.
            with contextlib.suppress(OSError):
                requests.shutdown(socket.SHUT_RDWR)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if kill:
                self._exits.kill()
            else:
                self._exits.live.clear()
            self._detach()
            self._exits.close()
            self._be_reaper(on=False)

    def _be_reaper(self, *, on: bool) -> None:
        """Be the reaper of orphans, as long as any fork server needs it."""
        if on:
            _REAPERS.add(id(self))
        elif id(self) not in _REAPERS:
            return
        else:
            _REAPERS.discard(id(self))
        be_subreaper(on=bool(_REAPERS))

    def _detach(self) -> None:
        """End the fork server if it isn't dead; what it has forked goes on."""
        if self._process is None:
            return
        self._ready = False
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        group, self._process = self._process.pid, None
        self._exits.detach(group)

    # -- starting ------------------------------------------------------------------

    def spawn(
        self,
        settings: ContextSettings,
        *,
        snapshot: bytes | MemoryFile | None = None,
        checked: bool = False,
    ) -> Spawned:
        """Start a context; starts a dead fork server first.

        Args:
            settings: The context's.
            snapshot: A heap (`Snapshot.to_bytes`) that it goes on from. If it can't be
                used, the context says so on `work` and ends.
            checked: The caller knows that the heap is what was saved. Its hash isn't
                looked at again, which takes 1 ms for each MB.

        Raises:
            ForkServerError: The fork server could not be had, or could not fork.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            pairs = [socket.socketpair() for _ in range(2)]
            for our_end, their_end in pairs:
                ours.enter_context(our_end).settimeout(0)
                theirs.enter_context(their_end)
            descriptors = [their_end.fileno() for _, their_end in pairs]
            if snapshot is not None:
                if isinstance(snapshot, bytes):
                    snapshot = MemoryFile(snapshot)
                descriptors.append(snapshot.descriptor)
            pid = self.request(Spawn(settings, self._sandbox, checked), descriptors)
            ours.pop_all()
        return Spawned(pid, pairs[0][0], pairs[1][0])

    def request(self, request: Request, descriptors: Sequence[int]) -> int:
        """Have a process forked, and return its id; `spawn` and other clients use it.

        Raises:
            ForkServerError: The fork server could not be had, or could not fork.
        """
        packet = msgspec.msgpack.encode(request)
        with self._lock:
            self.start()
            try:
                reply = self._exchange(packet, descriptors)
            except ForkServerError:
                # It died a moment ago, or hangs: the request has not been served.
                self._detach()
                self.start()
                reply = self._exchange(packet, descriptors)
            if isinstance(reply, Refused):
                raise ForkServerError(reply.reason)
            if not isinstance(reply, Started):
                message = f"the fork server sent an unexpected reply: {reply!r}"
                raise ForkServerError(message)
            self._exits.expect(reply.pid)
            return reply.pid

    def _exchange(self, packet: bytes, descriptors: Sequence[int]) -> Reply:
        if self._requests is None:
            message = "the fork server has ended"
            raise ForkServerError(message)
        try:
            socket.send_fds(self._requests, [packet], descriptors)
        except OSError as error:
            message = f"the fork server can't be reached: {reason_of(error)}"
            raise ForkServerError(message) from error
        return self._receive(_REPLY_SECONDS)

    def _receive(self, timeout: float) -> Reply:
        packet = b""
        if self._requests is not None:
            self._requests.settimeout(timeout)
            try:
                packet = self._requests.recv(PACKET_MAX)
            except OSError as error:
                message = f"the fork server doesn't answer: {reason_of(error)}"
                raise ForkServerError(message) from error
        if not packet:
            message = "the fork server has ended"
            raise ForkServerError(message)
        reply: Reply = self._decoder.decode(packet)
        return reply

    # -- exits ---------------------------------------------------------------------

    def adopt(self, pid: int) -> None:
        """Report the exit of a context that another was cloned to (`fork_reply`)."""
        with self._lock:
            self._exits.expect(pid)

    def poll_exits(self) -> list[Exited]:
        """Return what has exited since the last call; never waits.

        A fork server that has died is started again by the next `spawn`.
        """
        with self._lock:
            exited, alive = self._exits.poll()
            if not alive and self._process is not None:
                self._detach()
            return exited


def is_inherited(name: str) -> bool:
    """Return whether the fork server inherits a variable of the environment.

    Few are: contexts could read them in their memory, which must hold no secret.
    """
    return name in _INHERITED or name.startswith("LC_")


def _launch(module: str, *numbers: int) -> subprocess.Popen[bytes]:
    """Start the process, with the arguments of `main`; two are descriptors."""
    environment = {
        name: value for name, value in os.environ.items() if is_inherited(name)
    }
    # Each thread of a context would get an arena of its own, and memory in it.
    environment["MALLOC_ARENA_MAX"] = "1"
    path = json.dumps([entry for entry in sys.path if entry])
    return subprocess.Popen(  # noqa: S603 -- this interpreter, our own module
        [
            sys.executable,
            "-I",
            "-c",
            _START.format(module=module),
            path,
            *map(str, numbers),
        ],
        stdin=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        pass_fds=numbers[:2],
        start_new_session=True,  # Ctrl-C is the server's to handle
    )
