"""The memory of all contexts together: the largest ends before the machine is full."""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isoserver.contexts.process import look, resident
from isoserver.storage.retention import Sweeper

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context
    from isoserver.contexts.process import ContextProcess
    from isoserver.contexts.registry import Registry
    from isoserver.contexts.spares import Spares

__all__ = ["MemoryBudget", "machine_bytes"]

_SECONDS: Final = 0.5
"""Between two looks; a context fills some hundred megabytes in that time."""
_REST_FACTOR: Final = 20
"""How many times as long as an exact look took until the next one."""
_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_PROPORTIONAL: Final = re.compile(rb"^Pss_Anon: +([0-9]+) kB$", re.MULTILINE)
_SHARED_MEMORY: Final = re.compile(rb"^Pss_Shmem: +([0-9]+) kB$", re.MULTILINE)


def machine_bytes() -> int:
    """Return the memory of the machine, or of the container that this runs in."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [whole]
    for place in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            limits.append(int(place.read_text()))
    return min(limits)


class MemoryBudget:
    """Ends contexts while all of them use more memory than they may. In the event loop.

    Resident memory is looked at often. It counts pages that contexts share once for
    each; so before one is ended, each page is counted by its part, which takes the
    system about a millisecond a context.
    """

    def __init__(
        self, limit_bytes: int, registry: Registry, log: FilteringBoundLogger
    ) -> None:
        """Watch nothing yet; `start` begins.

        Args:
            limit_bytes: What all contexts may use together.
            registry: Has the contexts.
            log: Told of each that is ended.
        """
        self.limit_bytes = limit_bytes
        self._registry = registry
        self._log = log
        self._next_exact = 0.0
        self._spares: Spares | None = None
        self._sweeper = Sweeper("memory", self.check, _SECONDS, log)

    def start(self, spares: Spares | None) -> None:
        """Begin to watch.

        Args:
            spares: Kernels that no context has; they end before any context does.
        """
        self._spares = spares
        self._sweeper.start()

    async def close(self) -> None:
        """Watch no more."""
        await self._sweeper.close()

    async def check(self) -> None:
        """End the largest contexts until the rest of them is within the budget."""
        contexts = self._registry.processes()
        processes = [one.process for one in contexts]
        spares = self._spares
        spare, rough = await asyncio.to_thread(
            lambda: (
                0 if spares is None else spares.own_bytes(),
                sum(process.own_bytes() for process in processes),
            )
        )
        if spares is not None and spare and spare + rough > self.limit_bytes:
            await spares.drop()
            return
        if rough <= self.limit_bytes or time.monotonic() < self._next_exact:
            return
        sizes, took = await look(lambda: [_own_bytes(one) for one in processes])
        self._next_exact = time.monotonic() + _REST_FACTOR * took
        left = sum(sizes)
        ordered = sorted(zip(sizes, contexts, strict=True), key=lambda pair: -pair[0])
        for size, context in ordered:
            if left <= self.limit_bytes:
                return
            self._end(context, size)
            left -= size

    def _end(self, context: Context, size: int) -> None:
        self._log.warning("context ended for memory", bytes=size)
        context.kill(
            f"all contexts together used more than {self.limit_bytes} bytes of memory "
            f"(contexts_memory_bytes_max), this one {size}"
        )


def _own_bytes(process: ContextProcess) -> int:
    """Return the memory of a context, shared pages by its part of them.

    Where the system doesn't tell that, all that is resident and that no file backs.
    """
    pid = process.pid
    if not process.shares_memory:
        return process.own_bytes()
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_bytes() if pid else b""
    except OSError:
        told = b""
    found = [pattern.search(told) for pattern in (_PROPORTIONAL, _SHARED_MEMORY)]
    parts = [int(match[1]) << 10 for match in found if match is not None]
    return sum(parts) if parts else resident(pid).own_bytes
