"""What code could try that had found a way from JavaScript to system calls.

Shared by those who try it in a process with some walls, and in a server's contexts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.support.confined import LIBC
from tests.support.walls import CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

USER: Final = 54321
"""An ordinary one, whom no machine has."""


class Outside(NamedTuple):
    """What attempts are made on: nothing of it is anybody's.

    Attributes:
        folder: Whose files every user may change.
        victim: A process of the user who makes them.
        port: Where somebody listens.
        left: A socket that was left open.
    """

    folder: Path
    victim: int
    port: int
    left: socket.socket


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def _open(path: str, flags: int = os.O_RDONLY) -> Callable[[Outside], Any]:
    return lambda there: os.close(os.open(path.format(there.folder), flags, 0o600))


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> Callable[[Outside], Any]:
    return lambda _: socket.socket(family, kind).close()


def _run(there: Outside) -> None:
    del there
    child = os.fork()
    if not child:
        with suppress(OSError):
            os.execv("/bin/true", ["true"])  # noqa: S606
        os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise PermissionError(errno.EPERM, "refused")


def _end_victim(there: Outside) -> None:
    os.kill(there.victim, 0)


ATTEMPTS: Final[dict[str, Callable[[Outside], Any]]] = {
    # files
    "read a file": _open("{}/file"),
    "write to a file": _open("{}/file", os.O_WRONLY),
    "make a file": _open("{}/made", os.O_CREAT | os.O_WRONLY),
    "read /etc/passwd": _open("/etc/passwd"),
    "read its own memory map": _open("/proc/self/maps"),
    "read another's environment": lambda there: os.close(
        os.open(f"/proc/{there.victim}/environ", os.O_RDONLY)
    ),
    "open a device": _open("/dev/null", os.O_RDWR),
    "list a folder": lambda there: os.listdir(there.folder),  # noqa: PTH208
    "delete a file": lambda there: (there.folder / "other").unlink(),
    "rename a file": lambda there: (there.folder / "file").rename(
        there.folder / "renamed"
    ),
    "link to a file": lambda there: os.link(
        there.folder / "file", there.folder / "link"
    ),
    "make a symbolic link": lambda there: (there.folder / "s").symlink_to("/"),
    "make a folder": lambda there: (there.folder / "folder").mkdir(),
    "make a pipe in a folder": lambda there: os.mkfifo(there.folder / "pipe"),
    "change rights": lambda there: (there.folder / "file").chmod(0o600),
    "change the owner": lambda there: os.chown(there.folder / "file", USER, USER),
    "change times": lambda there: os.utime(there.folder / "file"),
    "truncate a file": lambda there: os.truncate(there.folder / "file", 0),
    "read a link": lambda _: os.readlink("/proc/self/exe"),  # noqa: PTH115
    "see a file's size": lambda there: (there.folder / "file").stat(),
    "watch a folder": lambda there: _check(
        LIBC.inotify_add_watch(
            _check(LIBC.inotify_init()), os.fsencode(there.folder), 0xFFF
        )
    ),
    "run a program": _run,
    "change its folder": lambda _: os.chdir("/"),
    # sockets
    "a Unix socket": _socket(socket.AF_UNIX),
    "an internet socket": _socket(socket.AF_INET),
    "an IPv6 socket": _socket(socket.AF_INET6),
    "a datagram socket": _socket(socket.AF_INET, socket.SOCK_DGRAM),
    "a netlink socket": _socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a pair of sockets": lambda _: socket.socketpair(),
    "a packet socket": _socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a raw socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "connect a socket that was left": lambda there: there.left.connect(
        ("127.0.0.1", there.port)
    ),
    "bind a socket that was left": lambda there: there.left.bind(("127.0.0.1", 0)),
    # processes
    "signal another process": _end_victim,
    "signal its parent": lambda _: os.kill(os.getppid(), 0),
    "look for a process by a signal": lambda _: os.kill(1, 0),
    "open another process": lambda there: os.close(os.pidfd_open(there.victim)),
    "signal an open process": lambda there: signal.pidfd_send_signal(
        os.pidfd_open(there.victim), 0
    ),
    "limit another process": lambda there: resource.prlimit(
        there.victim, resource.RLIMIT_CORE, (0, 0)
    ),
    "read another's limits": lambda there: resource.prlimit(
        there.victim, resource.RLIMIT_CORE
    ),
    "slow another process": lambda there: os.setpriority(
        os.PRIO_PROCESS, there.victim, 19
    ),
    "schedule another process": lambda there: os.sched_setscheduler(
        there.victim, os.SCHED_BATCH, os.sched_param(0)
    ),
    "place another process": lambda there: os.sched_setaffinity(there.victim, {0}),
    "seize another process": lambda there: _check(
        LIBC.ptrace(0x4206, there.victim, 0, 0)
    ),
    "read another's memory": lambda there: os.close(
        os.open(f"/proc/{there.victim}/mem", os.O_RDWR)
    ),
    "ask for another's group": lambda there: os.getpgid(there.victim),
    "have a session": lambda _: os.setsid(),
    # what is shared
    "shared memory": lambda _: _check(
        LIBC.shmctl(_check(LIBC.shmget(0, 4096, 0o600)), 0, None)
    ),
    "a queue of messages": lambda _: _check(
        LIBC.msgctl(_check(LIBC.msgget(0, 0o600)), 0, None)
    ),
    "a semaphore": lambda _: _check(
        LIBC.semctl(_check(LIBC.semget(0, 1, 0o600)), 0, 0)
    ),
    "a lock of a file": lambda there: fcntl.flock(
        os.open(there.folder / "file", os.O_RDONLY), fcntl.LOCK_EX
    ),
    "become root": lambda _: os.setresuid(0, 0, 0),
    "more open files": lambda _: resource.setrlimit(
        resource.RLIMIT_NOFILE, (1 << 10, 1 << 10)
    ),
    "be looked into": lambda _: _check(LIBC.prctl(4, 1, 0, 0, 0)),
}
"""Each of them harms nobody, also where nothing refuses it."""


def refused_of(names: Iterable[str], outside: Outside) -> list[str]:
    """Make attempts in this process; those that are refused."""
    refused = []
    for name in names:
        try:
            ATTEMPTS[name](outside)
        except (OSError, ValueError):  # noqa: PERF203 -- each by itself
            refused.append(name)
    return refused


def denied_calls() -> list[str]:
    """Make the calls into the system in this process; those that it denies."""
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    denied = []
    for name, (*numbers, arguments) in CALLS.items():
        values = eval(f"({arguments},)" if arguments else "()")  # noqa: S307 - ours
        failed = LIBC.syscall(numbers[column], *values) < 0
        if failed and ctypes.get_errno() in {errno.EPERM, errno.ENOSYS}:
            denied.append(name)
    return denied
