"""How the processes that a fork server has forked exited, also after its own end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Final, NamedTuple

from isokernel.exit_codes import describe_exit
from isokernel.forkserver.protocol import EXIT

__all__ = ["ExitWatcher", "Exited"]

_CHUNK: Final = EXIT.size * 1024
_UNCLAIMED_MAX: Final = 1024
_PATIENCE_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.001
_LOOK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Exited(NamedTuple):
    """A process has exited.

    Attributes:
        pid: The process.
        status: Its exit code, or minus the number of the signal; None if unknown.
        reason: The same in words.
    """

    pid: int
    status: int | None
    reason: str


class ExitWatcher:
    """Waits for all processes of a fork server; not thread-safe.

    The fork server reaps its children and reports through a pipe. When it is dead, its
    children become those of the subreaper, this process, which watches them itself.

    Attributes:
        fileno: Readable when `poll` has something to report, or the fork server is
            dead.
        live: The processes whose exits are to be reported.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._pipe = -1
        self._orphans: dict[int, int] = {}  # pidfd to pid
        self._unclaimed: dict[int, int] = {}
        self._groups: set[int] = set()  # of orphans that have ended
        self._exited: list[Exited] = []
        self.fileno = self._epoll.fileno()
        self.live: set[int] = set()

    def attach(self, pipe: int) -> None:
        """Watch the pipe through which a new fork server reports."""
        os.set_blocking(pipe, False)
        self._epoll.register(pipe, select.EPOLLIN)
        self._pipe = pipe

    def detach(self, group: int) -> None:
        """Watch its processes, as the fork server is dead and has been waited for.

        Args:
            group: Its process group, in which its spare processes are. They end with
                it, and if this process is the reaper of orphans it must reap them.
        """
        self._read()
        self._reap_group(group)
        self._epoll.unregister(self._pipe)
        os.close(self._pipe)
        self._pipe = -1
        for pid in self.live.difference(self._orphans.values()):
            self._watch(pid)

    def expect(self, pid: int) -> None:
        """Report the exit of this process, too; it may have exited already."""
        self.live.add(pid)
        status = self._unclaimed.pop(pid, None)
        # What nobody ever expected, as what saves heaps, may have had the same number.
        if status is not None and not _exists(pid):
            self._report(pid, status)
        elif self._pipe < 0:
            self._watch(pid)

    def poll(self) -> tuple[list[Exited], bool]:
        """Return what has exited since then, and whether the fork server is alive."""
        alive = self._pipe >= 0 and self._read()
        for pidfd, _ in self._epoll.poll(0):
            if pidfd in self._orphans:
                self._reap(pidfd)
        for group in tuple(self._groups):
            self._sweep(group)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakeup)
        exited, self._exited = self._exited, []
        return exited, alive

    def kill(self) -> None:
        """Kill all, and wait until they are reaped, here or by the fork server."""
        for pid in self.live:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self._pipe >= 0 and self.live.difference(self._orphans.values()):
            ready, _, _ = select.select([self._pipe], [], [], _PATIENCE_SECONDS)
            if not ready or not self._read():
                break
        for pidfd in list(self._orphans):
            select.select([pidfd], [], [], _PATIENCE_SECONDS)
            self._reap(pidfd)

    def close(self) -> None:
        """Close every descriptor; nothing is reported any more."""
        for pidfd in self._orphans:
            os.close(pidfd)
        self._orphans.clear()
        self.live.clear()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._epoll.close()
        os.close(self._wakeup)

    def _read(self) -> bool:
        """Read what the fork server reports; False when it is dead."""
        while True:
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            for pid, status in EXIT.iter_unpack(data):  # written whole, so read whole
                if pid in self.live:
                    self._report(pid, status)
                    continue
                # A clone, whose fork_reply nobody has read yet; or what saved a heap
                # and has outlived its context.
                self._unclaimed[pid] = status
                if len(self._unclaimed) > _UNCLAIMED_MAX:
                    del self._unclaimed[next(iter(self._unclaimed))]

    def _watch(self, pid: int) -> None:
        """Watch an orphan, whose fork server is dead."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self._report(pid, _wait(pid))
            return
        self._orphans[pidfd] = pid
        self._epoll.register(pidfd, select.EPOLLIN)

    def _reap_group(self, group: int) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(ChildProcessError):  # none is left, or none was ours
            while time.monotonic() < end:
                pid, status = os.waitpid(-group, os.WNOHANG)
                if pid in self.live:
                    self._report(pid, os.waitstatus_to_exitcode(status))
                elif not pid:
                    time.sleep(_STEP_SECONDS)

    def _reap(self, pidfd: int) -> None:
        pid = self._orphans.pop(pidfd)
        self._epoll.unregister(pidfd)
        os.close(pidfd)
        self._report(pid, _wait(pid))
        self._groups.add(pid)

    def _sweep(self, group: int) -> None:
        """Reap what an orphan has forked, such as the process that saved its heap.

        Its clones are in its group as well, and are reaped by their own pidfd.
        """
        try:
            while found := os.waitid(os.P_PGID, group, _LOOK):
                if found.si_pid in self.live:
                    return
                os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            self._groups.discard(group)

    def _report(self, pid: int, status: int | None) -> None:
        self.live.discard(pid)
        self._exited.append(Exited(pid, status, describe_exit(status)))
        os.eventfd_write(self._wakeup, 1)


def _exists(pid: int) -> bool:
    """Return whether there is a process of that number that has not been reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _wait(pid: int) -> int | None:
    """Reap an orphan, if it has become a child of this process."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
