"""What the test's own process holds: isolates, threads, processes, descriptors."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

from isokernel.v8.callbacks import ISOLATES

_ENDING_SECONDS = 10.0
_STARTED = 18
"""The place of the time in /proc/PID/stat, after the state."""
KEPT: set[int] = set()
"""Processes that serve all tests; no leaks."""


def children_of(pid: int) -> set[int]:
    """The processes that a process has started, none if it has ended."""
    # psutil looks at every process of the machine for this: 5 ms and more.
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread may end meanwhile
                found.update(map(int, (task / "children").read_text().split()))
    return found


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and theirs, and so on."""
    found: set[int] = set()
    new = {pid}
    while new:
        new = set().union(*map(children_of, new)) - found
        found |= new
    return found


def children() -> set[int]:
    """The processes that this one has started, but for those that are kept."""
    return children_of(os.getpid()) - KEPT


def reap_adopted(pids: set[int], since: float) -> None:
    """Reap what was begun before a moment, once it has ended.

    Whoever makes a fork server is the reaper of orphans. What an earlier test's process
    has left comes to this one when that ends, amid another test, and may itself be
    about to end: to give back its memory takes a while where many do that.

    Args:
        pids: Children of this process.
        since: By `boot_seconds`.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text()
            fields = text.rpartition(") ")[2].split()[1:]
            began = int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
            if began < since:
                with open(os.pidfd_open(pid)) as ended:  # noqa: PTH123
                    select.select([ended], [], [], _ENDING_SECONDS)
                os.waitpid(pid, os.WNOHANG)


def described(pids: set[int]) -> list[str]:
    """What processes are, for a test that fails."""
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            line = Path(f"/proc/{pid}/cmdline").read_bytes()[:200]
            found.append(f"{stat[:60]} {line!r}")
    return found


def boot_seconds() -> float:
    """Return the clock by which the kernel notes when a process begins."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def held() -> dict[str, Any]:
    gc.collect()
    return {
        "isolates": sorted(ISOLATES),
        "threads": {t for t in threading.enumerate() if t.name.startswith("isok")},
        "children": children(),
    }


def descriptors() -> int:
    """How many are open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- 20 us
