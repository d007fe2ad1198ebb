"""A context's clock: it rings when what the context does takes too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """One moment at which a function is called, unless it is put off or stopped before.

    Every cell sets it twice and stops it, most within a millisecond. So it keeps one
    timer of the event loop, which it leaves alone while that isn't too late: when it
    turns out to be too early, it is set anew. Two timers for each cell were made,
    sorted in with 14 comparisons, cancelled and swept up again.
    """

    def __init__(self) -> None:
        """Begin without one; in the event loop, as all that follows."""
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._call: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a function called after so many seconds, instead of any set before."""
        due = self._loop.time() + seconds
        self._due, self._call = due, call
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def stop(self) -> None:
        """Have nothing called."""
        self._due = self._call = None

    def close(self) -> None:
        """Have nothing called, and keep no timer: nothing more is to come soon."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        due, call = self._due, self._call
        if due is None or call is None:
            return
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._ring)
            return
        self.stop()
        call()
