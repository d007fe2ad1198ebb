"""Confining the process of a context, in the order in which that can be done."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.sandbox import landlock, seccomp
from isokernel.sandbox.syscalls import prctl

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "SandboxSettings",
    "close_descriptors",
    "confine",
    "limit_resources",
    "lower_priority",
    "missing",
]

_PR_SET_DUMPABLE: Final = 4
_OOM_SCORE: Final = b"800"
"""Of -1000 to 1000: others have 0, and end last when memory is used up."""
_PR_SET_NO_NEW_PRIVS: Final = 38

_USERS_FROM: Final = 0x6E000000
"""Users of contexts: this and the process id, so that no two contexts have the same
one. In a container that has no such user it is `nobody`, shared by all contexts."""
_NOBODY: Final = 65534
_STANDARD: Final = (0, 1, 2)


class SandboxSettings(NamedTuple):
    """How the process of a context is confined, as far as the system can.

    Attributes:
        seccomp: Allow only the system calls that a context needs.
        landlock: Deny files, TCP and signals to other processes.
        own_user: Give each context a user of its own; only root can.
        processes_max: Processes and threads of one context and its clones together;
            each takes three. Needs `own_user`.
        descriptors_max: Open descriptors.
        file_bytes_max: Bytes of a file in memory, as which a saved heap is written.
        processor_seconds: Processor time, for the context's whole life; None for any.
        extra_memory_bytes: Bytes of private memory beside the heap and the
            ArrayBuffers that the context's own settings allow; None for any.
        niceness: How low its priority is when the processors don't suffice for all, 0
            to 19: whoever serves contexts must get on while hundreds of them compute.
    """

    seccomp: bool = True
    landlock: bool = True
    own_user: bool = True
    processes_max: int = 256
    descriptors_max: int = 64
    file_bytes_max: int = 4 << 30
    processor_seconds: int | None = None
    extra_memory_bytes: int | None = 512 << 20
    niceness: int = 0


def confine(settings: SandboxSettings, memory_bytes_max: int | None = None) -> None:
    """Confine this process for good, but for its descriptors: see `close_descriptors`.

    To be called by a process with one thread, before anything of the user's is read.

    Args:
        settings: What is denied.
        memory_bytes_max: Of private memory, beside what it has now and
            `settings.extra_memory_bytes`.

    Raises:
        OSError: The system refused something that `missing` doesn't tell of.
    """
    os.environ.clear()
    _write_of_process("oom_score_adj", _OOM_SCORE)
    lower_priority(settings.niceness)
    _limit(settings, memory_bytes_max)
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
        seccomp.install_allowlist(signals=own or scoped)


def missing(settings: SandboxSettings) -> list[str]:
    """Return what of this the system can't do, a sentence each."""
    sentences = []
    if settings.seccomp and not seccomp.supported():
        sentences.append(
            "System calls of contexts can't be filtered (no seccomp here)."
        )
    if settings.landlock:
        known = landlock.version()
        if not known:
            sentences.append("Files can't be denied to contexts by Landlock.")
        elif known < landlock.TCP_VERSION:
            sentences.append(
                "TCP can't be denied to contexts by Landlock, which is too old."
            )
    if settings.own_user and os.geteuid() != 0:
        sentences.append(
            "Contexts run as the user of the server, and how many processes they fork "
            "has no bound: only root can give them users of their own."
        )
    return sentences


def lower_priority(niceness: int) -> None:
    """Let others compute first; for a process that leads a session of its own.

    Args:
        niceness: 0 to 19; 0 leaves the priority as it is.
    """
    if not niceness:
        return
    with contextlib.suppress(OSError):
        os.nice(niceness)
    # Where each session is scheduled as one, as on most desktops, it is the session's
    # niceness that counts.
    _write_of_process("autogroup", str(niceness).encode())


def _write_of_process(name: str, text: bytes) -> None:
    """Set one of the values that Linux has of this process, where it lets us."""
    with contextlib.suppress(OSError):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text)
        finally:
            os.close(file)


def _limit(settings: SandboxSettings, memory_bytes_max: int | None) -> None:
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: settings.descriptors_max,
        resource.RLIMIT_FSIZE: settings.file_bytes_max,
        resource.RLIMIT_CPU: settings.processor_seconds,
    }
    if settings.extra_memory_bytes is not None and memory_bytes_max is not None:
        # RLIMIT_AS would count the terabyte that V8 reserves; RLIMIT_DATA counts
        # what can be written to.
        bounds[resource.RLIMIT_DATA] = (
            _data() + memory_bytes_max + settings.extra_memory_bytes
        )
    limit_resources(bounds)


def limit_resources(bounds: dict[int, int | None]) -> None:
    """Lower limits of this process for good; a lower one that it has stays.

    Args:
        bounds: By kind (RLIMIT_*); None leaves one as it is.
    """
    for kind, bound in bounds.items():
        if bound is not None:
            hard = resource.getrlimit(kind)[1]
            lowest = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(kind, (lowest, lowest))


def close_descriptors(keep: Sequence[int]) -> None:
    """Close every descriptor but these; the standard ones lead nowhere.

    Nobody reads what V8 or Python print in a confined process.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(null, standard)
    start = len(_STANDARD)
    for descriptor in sorted(keep):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _data() -> int:
    """Bytes of writable private memory that the process has now."""
    descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(descriptor, 256).split()[5]) * resource.getpagesize()
    finally:
        os.close(descriptor)


def _change_user() -> bool:
    """Become a user of its own, or else nobody; False if it is not one of its own."""
    for user in (_USERS_FROM + os.getpid(), _NOBODY):
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            continue
        return user != _NOBODY
    return False
