"""A task that hasn't ended: what it is at, and how it comes to one end only."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from isoserver.tasks.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.tasks.places import Places
    from isoserver.tasks.records import Ending, Task
    from isoserver.tools.calls import Asker

__all__ = ["Run"]


class Run:
    """One task between its order and its end. In the event loop only.

    Attributes:
        task: It, as others see it.
        asker: Asks the client for approvals.
        ending: How it ends, once that is decided; others see it when it is saved.
        ended: Set when the end is saved.
        on_output: Told what its code prints, as it does.
        work: Runs it.
        working: Whether `work` has begun; it must not be cancelled before.
    """

    def __init__(self, task: Task, asker: Asker | None, places: Places) -> None:
        """Start as a task that waits for its turn.

        Args:
            task: It.
            asker: Asks the client.
            places: What it needs one of while it runs.
        """
        self.task = task
        self.asker = asker
        self.ending: Ending | None = None
        self.ended = asyncio.Event()
        self.on_output: Callable[[str], None] | None = None
        self.work: asyncio.Task[None] | None = None
        self.working = False
        self._places = places
        self._placed = False

    async def take_place(self) -> None:
        """Wait for a place to run in."""
        await self._places.take(self.task.order.workspace)
        self._placed = True

    def leave_place(self) -> None:
        """Give the place up, if it has one."""
        if self._placed:
            self._placed = False
            self._places.leave(self.task.order.workspace)

    def began(self) -> None:
        """Note that the code has begun."""
        if self.task.started_at is None:
            now = max(time.time(), self.task.created_at)
            self.task = self.task._replace(status=Status.RUNNING, started_at=now)

    def wait_for_approval(self, begins: bool) -> None:  # noqa: FBT001 - a callback
        """Note that an approval is waited for, or no longer."""
        if self.ending is not None:
            return
        if begins:
            self.task = self.task._replace(status=Status.WAITING)
            self.leave_place()
            return
        self.task = self.task._replace(status=Status.RUNNING)
        self._places.take_back(self.task.order.workspace)
        self._placed = True

    def decide(self, ending: Ending) -> bool:
        """Let it end so, unless its end is decided; whether this call decided."""
        if self.ending is not None:
            return False
        self.ending = ending
        return True

    def end(self) -> None:
        """Note that it is over."""
        assert self.ending is not None  # noqa: S101 - decided by who calls
        begin = self.task.started_at or self.task.created_at
        self.task = self.task._replace(
            status=self.ending.status,
            ended_at=max(time.time(), begin),
            ending=self.ending,
        )
