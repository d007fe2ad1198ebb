"""All the walls, in the order in which they can be put up."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING, Final

from isokernel.sandbox import landlock, seccomp
from isokernel.sandbox.syscalls import prctl

if TYPE_CHECKING:
    from isokernel.sandbox.settings import SandboxSettings

__all__ = ["confine", "missing", "stand_back"]

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_USERS_FROM: Final = 0x6E000000
"""Users of contexts: this and the process id, so that no two contexts have the same
one. In a container that has no such user it is `nobody`, shared by all contexts."""
_NOBODY: Final = 65534


def confine(settings: SandboxSettings, memory_max: int | None = None) -> None:
    """Confine this process for good; descriptors are the caller's business.

    To be called by a process with one thread, before anything of the user's is read.

    Args:
        settings: The walls.
        memory_max: Bytes of private memory beside what it has now and
            `settings.extra_memory_bytes`.

    Raises:
        OSError: The system refused a wall that `missing` doesn't tell of.
    """
    os.environ.clear()
    stand_back(settings.niceness)
    _limit(settings, memory_max)
    own = settings.own_user and os.geteuid() == 0 and _change_user()
    if own:
        bound = settings.processes_max
        resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))
    # Nobody may look into it, other contexts with the same user least of all.
    prctl(_PR_SET_DUMPABLE, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    scoped = False
    if settings.landlock and landlock.version():
        landlock.restrict()
        scoped = landlock.scopes_signals()
    if settings.seccomp and seccomp.supported():
        seccomp.install(signals=own or scoped)


def missing(settings: SandboxSettings) -> list[str]:
    """Say what of this can't be had here, a sentence each."""
    said = []
    if settings.seccomp and not seccomp.supported():
        said.append("System calls of contexts can't be filtered (no seccomp here).")
    if settings.landlock:
        known = landlock.version()
        if not known:
            said.append("Files can't be denied to contexts by Landlock.")
        elif known < landlock.TCP_VERSION:
            said.append(
                "TCP can't be denied to contexts by Landlock, which is too old."
            )
    if settings.own_user and os.geteuid() != 0:
        said.append(
            "Contexts run as the user of the server, and how many processes they fork "
            "has no bound: only root can give them users of their own."
        )
    return said


def stand_back(niceness: int) -> None:
    """Let others compute first; for a process that leads a session of its own."""
    if not niceness:
        return
    with contextlib.suppress(OSError):
        os.nice(niceness)
    # Where each session is scheduled as one, as on most desktops, it is the session's
    # niceness that counts.
    with contextlib.suppress(OSError):
        group = os.open("/proc/self/autogroup", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(group, str(niceness).encode())
        finally:
            os.close(group)


def _limit(settings: SandboxSettings, memory_max: int | None) -> None:
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: settings.descriptors_max,
        resource.RLIMIT_FSIZE: settings.file_bytes_max,
        resource.RLIMIT_CPU: settings.processor_seconds,
    }
    if settings.extra_memory_bytes is not None and memory_max is not None:
        # RLIMIT_AS would count the terabyte that V8 reserves; RLIMIT_DATA counts
        # what can be written to.
        bounds[resource.RLIMIT_DATA] = (
            _data() + memory_max + settings.extra_memory_bytes
        )
    for kind, bound in bounds.items():
        if bound is not None:
            hard = resource.getrlimit(kind)[1]
            lowest = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(kind, (lowest, lowest))


def _data() -> int:
    """Bytes of writable private memory that the process has now."""
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(descriptor, 256).split()[5]) * resource.getpagesize()
    finally:
        os.close(descriptor)


def _change_user() -> bool:
    """Become a user of its own, or nobody; whether it is one of its own."""
    for user in (_USERS_FROM + os.getpid(), _NOBODY):
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            continue
        return user != _NOBODY
    return False
