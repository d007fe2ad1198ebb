"""The memory of a container, as the system tells of it where no cgroup counts it."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["private_bytes", "proportional_bytes", "socket_bytes"]

_KIB: Final = 1024
_FEW_SOCKETS: Final = 64
"""So many hold little in most programs, and aren't worth a look."""
_DEFAULTS: Final = ("wmem_default", "rmem_default")
_TABLES: Final = ("tcp", "tcp6")
_QUEUES: Final = 4
"""The column of a table that has what is sent and what is received, `TX:RX`."""


def private_bytes(pid: int) -> int:
    """Return how much memory a process has that no file is behind, shared or not.

    Page tables are among it: those of a large empty mapping can be filled by reading.
    """
    with suppress(OSError, IndexError, ValueError):
        return _sum(f"/proc/{pid}/status", "RssAnon", "RssShmem", "VmPTE")
    return 0


def proportional_bytes(pid: int) -> int:
    """Return the same with shared pages counted by its part; takes milliseconds."""
    with suppress(OSError, IndexError, ValueError):
        tables = _sum(f"/proc/{pid}/status", "VmPTE")
        return tables + _sum(f"/proc/{pid}/smaps_rollup", "Pss_Anon", "Pss_Shmem")
    return private_bytes(pid)


def socket_bytes(pid: int) -> int:
    """Return how much the sockets in a process's network may hold.

    No table tells what a Unix socket holds, so each counts as if it were full. That is
    what the filter of system calls keeps small (`seccomp.container_filter`). Of TCP,
    whose buffers grow, it is known what is on its way.
    """
    net = f"/proc/{pid}/net"
    with suppress(OSError, IndexError, ValueError):
        count = int(Path(f"{net}/sockstat").read_text().split()[2])
        if count > _FEW_SOCKETS:
            queued = sum(_queued(f"{net}/{table}") for table in _TABLES)
            return (count - _FEW_SOCKETS) * _buffer_bytes() + queued
    return 0


def _sum(path: str, *names: str) -> int:
    """Add up lines of a file, such as `VmPTE:  64 kB`, in bytes."""
    text = Path(path).read_text()
    return sum(int(text.split(f"\n{name}:")[1].split()[0]) for name in names) * _KIB


@functools.cache
def _buffer_bytes() -> int:
    """Return how much one socket holds that nobody reads from, sent and received."""
    folder = Path("/proc/sys/net/core")
    return sum(int((folder / name).read_text()) for name in _DEFAULTS)


def _queued(table: str) -> int:
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:  # no IPv6
        return 0
    queues = [line.split()[_QUEUES].split(":") for line in lines]
    return sum(int(sent, 16) + int(received, 16) for sent, received in queues)
