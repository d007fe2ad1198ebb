"""How processes ended that a fork server has forked, also after its own end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Final, NamedTuple

from isokernel.exits import describe_exit
from isokernel.forkserver.protocol import EXIT

__all__ = ["Ends", "Exited"]

_CHUNK: Final = EXIT.size * 1024
_UNCLAIMED_MAX: Final = 1024
_PATIENCE: Final = 5.0
_STEP: Final = 0.001
_LOOK: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Exited(NamedTuple):
    """A process has ended.

    Attributes:
        pid: Which.
        status: Its exit code, or minus the number of the signal; None if unknown.
        reason: The same in words.
    """

    pid: int
    status: int | None
    reason: str


class Ends:
    """Waits for all processes of a fork server; not thread-safe.

    The fork server reaps its children and tells through a pipe. When it is dead, they
    are the reaper's, this process, which watches them itself.

    Attributes:
        fileno: Readable when `poll` has something to tell, or the fork server is dead.
        live: The processes that are to be told of.
    """

    def __init__(self) -> None:
        """Nothing has been forked yet."""
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._pipe = -1
        self._orphans: dict[int, int] = {}  # pidfd to pid
        self._unclaimed: dict[int, int] = {}
        self._groups: set[int] = set()  # of orphans that have ended
        self._told: list[Exited] = []
        self.fileno = self._epoll.fileno()
        self.live: set[int] = set()

    def attach(self, pipe: int) -> None:
        """A fork server has started, and tells through this pipe."""
        os.set_blocking(pipe, False)
        self._epoll.register(pipe, select.EPOLLIN)
        self._pipe = pipe

    def detach(self, group: int) -> None:
        """The fork server is dead, and has been waited for.

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
        """Tell of this process's end; it may have ended already."""
        self.live.add(pid)
        status = self._unclaimed.pop(pid, None)
        # What nobody ever expected, as what saves heaps, may have had the same number.
        if status is not None and not _exists(pid):
            self._tell(pid, status)
        elif self._pipe < 0:
            self._watch(pid)

    def poll(self) -> tuple[list[Exited], bool]:
        """What has ended since the last call, and whether the fork server is alive."""
        alive = self._pipe >= 0 and self._read()
        for pidfd, _ in self._epoll.poll(0):
            if pidfd in self._orphans:
                self._reap(pidfd)
        for group in tuple(self._groups):
            self._sweep(group)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        told, self._told = self._told, []
        return told, alive

    def kill(self) -> None:
        """Kill all, and wait until whoever has to has reaped them."""
        for pid in self.live:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self._pipe >= 0 and self.live.difference(self._orphans.values()):
            ready, _, _ = select.select([self._pipe], [], [], _PATIENCE)
            if not ready or not self._read():
                break
        for pidfd in list(self._orphans):
            select.select([pidfd], [], [], _PATIENCE)
            self._reap(pidfd)

    def close(self) -> None:
        """Give up every descriptor; nothing is told any more."""
        for pidfd in self._orphans:
            os.close(pidfd)
        self._orphans.clear()
        self.live.clear()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._epoll.close()
        os.close(self._bell)

    def _read(self) -> bool:
        """Take in what the fork server tells; False when it is dead."""
        while True:
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            for pid, status in EXIT.iter_unpack(data):  # written whole, so read whole
                if pid in self.live:
                    self._tell(pid, status)
                    continue
                # A clone, whose fork_reply nobody has read yet; or what saved a heap
                # and has outlived its context.
                self._unclaimed[pid] = status
                if len(self._unclaimed) > _UNCLAIMED_MAX:
                    del self._unclaimed[next(iter(self._unclaimed))]

    def _watch(self, pid: int) -> None:
        """The fork server is dead: its child is an orphan, and ours to wait for."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self._tell(pid, _wait(pid))
            return
        self._orphans[pidfd] = pid
        self._epoll.register(pidfd, select.EPOLLIN)

    def _reap_group(self, group: int) -> None:
        end = time.monotonic() + _PATIENCE
        with contextlib.suppress(ChildProcessError):  # none is left, or none was ours
            while time.monotonic() < end:
                pid, status = os.waitpid(-group, os.WNOHANG)
                if pid in self.live:
                    self._tell(pid, os.waitstatus_to_exitcode(status))
                elif not pid:
                    time.sleep(_STEP)

    def _reap(self, pidfd: int) -> None:
        pid = self._orphans.pop(pidfd)
        self._epoll.unregister(pidfd)
        os.close(pidfd)
        self._tell(pid, _wait(pid))
        self._groups.add(pid)

    def _sweep(self, group: int) -> None:
        """Reap what an orphan has forked, such as what saved its heap.

        Its clones are in its group as well, and are reaped by their own pidfd.
        """
        try:
            while found := os.waitid(os.P_PGID, group, _LOOK):
                if found.si_pid in self.live:
                    return
                os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            self._groups.discard(group)

    def _tell(self, pid: int, status: int | None) -> None:
        self.live.discard(pid)
        self._told.append(Exited(pid, status, describe_exit(status)))
        os.eventfd_write(self._bell, 1)


def _exists(pid: int) -> bool:
    """Whether there is a process of that number that has not been reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _wait(pid: int) -> int | None:
    """How an orphan ended, if it has become a child of this process."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
