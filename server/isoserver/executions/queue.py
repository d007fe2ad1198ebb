"""Who runs next: as many as may at a time, and those of one session in their order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from isoserver.runs.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.executions.runs import Run

__all__ = ["RunQueue"]


class RunQueue:
    """Runs that wait, and how many don't. In the event loop only.

    A run whose session has one before it takes no place of those that run.
    """

    def __init__(self, places: int, share: int, start: Callable[[Run], None]) -> None:
        """Make an empty queue.

        Args:
            places: How many run at a time.
            share: How many of those may be of one workspace.
            start: Starts a run; it must call `leave` when it is over.
        """
        self._start = start
        self._turns: Turns[Run] = Turns(places, share)
        # Who waits for the first of their session to end, which is not among them.
        self._lanes: dict[tuple[str, str], deque[Run]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._turns) + sum(map(len, self._lanes.values()))

    def enter(self, run: Run) -> None:
        """Start a run now or when it is its turn."""
        lane = run.lane
        if lane is None:
            self._turns.enter(run.order.workspace, run)
        elif lane in self._lanes:
            self._lanes[lane].append(run)
        else:
            self._lanes[lane] = deque()
            self._turns.enter(run.order.workspace, run)
        self._advance()

    def remove(self, run: Run) -> bool:
        """Take out a run that waits, which then never starts; False if it has."""
        if self._turns.remove(run.order.workspace, run):
            self._next_of(run)
            return True
        waiting = self._lanes.get(run.lane) if run.lane is not None else None
        if waiting is None or run not in waiting:
            return False
        waiting.remove(run)
        return True

    def leave(self, run: Run) -> None:
        """Give back the place of a run that was started."""
        self._turns.leave(run.order.workspace)
        self._next_of(run)

    def waiting(self) -> list[Run]:
        """Give all that wait."""
        lanes = self._lanes.values()
        return [*self._turns.waiting(), *(run for lane in lanes for run in lane)]

    def _next_of(self, run: Run) -> None:
        """Let the next of its session come to those that are ready."""
        if run.lane is not None:
            waiting = self._lanes[run.lane]
            if waiting:
                self._turns.enter(run.order.workspace, waiting.popleft())
            else:
                del self._lanes[run.lane]
        self._advance()

    def _advance(self) -> None:
        while (run := self._turns.next()) is not None:
            self._start(run)
