"""Confines this process as far as a Python kernel allows, and becomes that kernel.

A program that needs files, threads and children can't be confined as a V8 context is.
It gets a folder of its own, Python and the system's libraries to read, and nothing else
of the disk; no network; and none of the system calls that only serve to break out. What
it starts inherits all of it.
"""

from __future__ import annotations

import glob
import json
import os
import resource
import sys
from typing import Any, Final, NamedTuple, NoReturn

from isokernel.sandbox import landlock, seccomp
from isokernel.sandbox.confinement import limit_resources, lower_priority
from isokernel.sandbox.syscalls import prctl

__all__ = ["LaunchSettings", "command", "main", "missing"]

_PR_SET_NO_NEW_PRIVS: Final = 38
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from isokernel.sandbox.launch import main; main(sys.argv[2:])"
)
_SYSTEM: Final = (
    *("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/mime.types"),
    *("/etc/fonts", "/etc/python*", "/var/cache/fontconfig"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/uptime"),
    *("/proc/loadavg", "/proc/version", "/proc/filesystems"),
    "/sys/devices/system/cpu",
)
"""What programs read of a system. /proc/self is that of this very process."""
_NETWORK: Final = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf"),
    *("/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/ssl", "/etc/pki"),
    *("/etc/ca-certificates", "/run/systemd/resolve"),
)
_DEVICES: Final = tuple(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")
)


class LaunchSettings(NamedTuple):
    """How a program is confined.

    Attributes:
        folder: Its own folder, which it may read and write; absolute.
        sockets: Another one for its sockets, whose paths have to be short.
        readable: What else it may read and execute.
        network: Whether it may use the network.
        memory_bytes_max: Of address space; None for any.
        descriptors_max: Open descriptors.
        niceness: See `SandboxSettings`.
    """

    folder: str
    sockets: str
    readable: list[str]
    network: bool = False
    memory_bytes_max: int | None = None
    descriptors_max: int = 1024
    niceness: int = 0


def command(settings: LaunchSettings, program: list[str]) -> list[str]:
    """Return the command that runs a program confined."""
    path = json.dumps([entry for entry in sys.path if entry])
    wanted = json.dumps(settings._asdict())
    return [sys.executable, "-I", "-c", _START, path, wanted, *program]


def missing(settings: LaunchSettings) -> list[str]:
    """Return what of this the system can't do, a sentence each."""
    sentences = []
    known = landlock.version()
    if not known:
        sentences.append("Files can't be denied to Python contexts by Landlock.")
    if not seccomp.supported():
        sentences.append("System calls of Python contexts can't be filtered.")
        if not settings.network:
            sentences.append("The network can't be denied to Python contexts.")
    if os.geteuid() == 0:
        sentences.append("Python contexts run as root, as the server does.")
    return sentences


def main(arguments: list[str]) -> NoReturn:
    """Confine this process, and execute the program in its place.

    Raises:
        OSError: The system refused something that `missing` doesn't tell of, or there
            is no such program.
    """
    wanted: dict[str, Any] = json.loads(arguments[0])
    _confine(LaunchSettings(**wanted))
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 -- what else


def _confine(settings: LaunchSettings) -> None:
    lower_priority(settings.niceness)
    limit_resources(
        {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_NOFILE: settings.descriptors_max,
            resource.RLIMIT_AS: settings.memory_bytes_max,
        }
    )
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if landlock.version():
        system = [*_SYSTEM, *(_NETWORK if settings.network else ())]
        read = [path for each in system for path in glob.glob(each)]  # noqa: PTH207
        read += settings.readable
        landlock.restrict_to(
            read=[path for path in read if os.access(path, os.F_OK)],
            write=[settings.folder, settings.sockets, *_DEVICES],
            network=settings.network,
        )
    if seccomp.supported():
        seccomp.install_denylist(network=settings.network)
