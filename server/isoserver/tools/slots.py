"""How many calls a task may make: at a time, and in all that wait."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from isoserver.errors import ToolFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoserver.tools.calls import Call

__all__ = ["Bounds", "Slots"]


class Bounds(NamedTuple):
    """Bounds of calls.

    Attributes:
        input_max: Bytes of an input, as JSON.
        parallel: Calls that one task makes at a time; others wait.
        waiting: Calls of one task that may be under way or wait.
        shown_max: Characters of an input that reviewers and the audit see.
    """

    input_max: int
    parallel: int
    waiting: int
    shown_max: int


class _Task:
    """The calls of one task."""

    def __init__(self, parallel: int) -> None:
        self.turns = asyncio.Semaphore(parallel)
        self.count = 0


class Slots:
    """The calls of all tasks; used from the event loop only."""

    def __init__(self, bounds: Bounds) -> None:
        """Begin without any.

        Args:
            bounds: Bounds of calls.
        """
        self._bounds = bounds
        self._tasks: dict[tuple[str, str], _Task] = {}

    @asynccontextmanager
    async def hold(self, call: Call) -> AsyncIterator[None]:
        """Hold one of the places of the call's task.

        Raises:
            ToolFailedError: They are all taken.
        """
        place = (call.workspace, call.task_id)
        task = self._tasks.setdefault(place, _Task(self._bounds.parallel))
        if task.count >= self._bounds.waiting:
            message = f"{task.count} calls of this task are under way, no more may be"
            raise ToolFailedError(message, code="too_many_calls", retryable=True)
        task.count += 1
        try:
            yield
        finally:
            task.count -= 1
            if not task.count:
                del self._tasks[place]

    def turn(self, call: Call) -> asyncio.Semaphore:
        """Give what lets as many of a task's calls run as may at a time.

        A call that waits for an approval has no turn, so that others go on.
        """
        return self._tasks[call.workspace, call.task_id].turns
