"""What a context's memory is, in numbers that any thread may ask for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from isokernel.context.context import Context

__all__ = ["Memory"]

_PAGE: Final = 8192
_PSS: Final = b"\nPss:"


class Memory:
    """The latest figures. V8 may be asked on its own thread only, by `look`.

    Attributes:
        rollup: A descriptor of the process's own smaps_rollup, opened before the
            process lost its sight of files; None where there is none. A clone's
            would be its parent's.
    """

    def __init__(self, context: Context, rollup: int | None) -> None:
        """Watch a context."""
        self._guard = context.bridge.isolate.memory
        self.rollup = rollup
        self.look()

    def look(self) -> None:
        """Ask V8. On the V8 thread."""
        self._heap = self._guard.statistics()

    def content(self) -> dict[str, Any]:
        """Give the content of memory_reply; bytes. Any thread.

        The proportional set size (`pss`) is asked for now; the other figures are those
        of the last time when the V8 thread could be asked, 50 ms ago at most unless it
        is in a native function.
        """
        pss = self._pss()
        return {
            "status": "ok",
            "heap_used": self._heap.heap_used_bytes,
            "heap_total": self._heap.heap_total_bytes,
            "buffers": self._heap.buffers_bytes,
            **({} if pss is None else {"pss": pss}),
        }

    def _pss(self) -> int | None:
        if self.rollup is None:
            return None
        try:
            text = os.pread(self.rollup, _PAGE, 0)
            return int(text.partition(_PSS)[2].split(None, 1)[0]) * 1024
        except (OSError, IndexError, ValueError):
            return None


def open_rollup() -> int | None:
    """Open the process's own figures, while it can."""
    try:
        return os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
