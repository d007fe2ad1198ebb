"""Which run is next: workspaces take turns, and runs of a session keep their order."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isoserver.runs.records import Kind
    from isoserver.runs.run import Run

__all__ = ["RunQueue", "Turns"]

Waiting = TypeVar("Waiting")


class Turns(Generic[Waiting]):
    """A number of places, and who waits for one. In the event loop only.

    Within a workspace they go in order of arrival; among workspaces, the next is of the
    one that has the fewest places.
    """

    def __init__(self, places: int, share: int) -> None:
        """Begin with all places free.

        Args:
            places: How many there are.
            share: How many of them one workspace may have.
        """
        self._free = places
        self._share = share
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[Waiting]] = {}

    def waiting(self) -> list[Waiting]:
        """Return all that wait."""
        return [one for queue in self._waiting.values() for one in queue]

    def enter(self, workspace: str, one: Waiting) -> None:
        """Let one wait until `next` returns it."""
        self._waiting.setdefault(workspace, deque()).append(one)

    def remove(self, workspace: str, one: Waiting) -> bool:
        """Stop the waiting of one; return whether it waited."""
        queue = self._waiting.get(workspace)
        if queue is None or one not in queue:
            return False
        queue.remove(one)
        if not queue:
            del self._waiting[workspace]
        return True

    def next(self) -> Waiting | None:
        """Return the next in turn, placed; None if nobody waits or no place is free."""
        able = [one for one in self._waiting if self._taken[one] < self._share]
        if self._free <= 0 or not able:
            return None
        workspace = min(able, key=self._taken.__getitem__)
        queue = self._waiting.pop(workspace)
        one = queue.popleft()
        if queue:
            self._waiting[workspace] = queue  # behind those that have as few
        self.take(workspace)
        return one

    def take(self, workspace: str) -> None:
        """Occupy a place out of turn, even if none is free."""
        self._free -= 1
        self._taken[workspace] += 1

    def leave(self, workspace: str) -> None:
        """Release a place."""
        self._free += 1
        self._taken[workspace] -= 1
        if not self._taken[workspace]:
            del self._taken[workspace]


class RunQueue:
    """The runs that wait, and the places of those that don't. In the event loop only.

    Each kind of order has places of its own. A run takes none while one before it in
    its session has not ended, nor while it waits for an approval.
    """

    def __init__(
        self, places: Mapping[Kind, tuple[int, int]], start: Callable[[Run[Any]], None]
    ) -> None:
        """Begin empty.

        Args:
            places: Of each kind, how many runs have a place at a time, and how many of
                those may be of one workspace.
            start: Called with a run that got a place; `leave` must follow.
        """
        self._start = start
        self._turns: dict[Kind, Turns[Run[Any]]] = {
            kind: Turns(number, share) for kind, (number, share) in places.items()
        }
        # By session, who waits for the first one of it to end, which is not among them.
        self._lanes: dict[tuple[str, str], deque[Run[Any]]] = {}
        self._paused: set[Run[Any]] = set()

    def enter(self, run: Run[Any]) -> None:
        """Start a run, now or when it is its turn."""
        lane = _lane(run)
        if lane is not None and lane in self._lanes:
            self._lanes[lane].append(run)
            return
        if lane is not None:
            self._lanes[lane] = deque()
        self._turns_of(run).enter(run.order.workspace, run)
        self._advance()

    def remove(self, run: Run[Any]) -> bool:
        """Remove a waiting run, so that it never starts; False if it has started."""
        if self._turns_of(run).remove(run.order.workspace, run):
            self._advance_lane(run)
            return True
        lane = _lane(run)
        waiting = None if lane is None else self._lanes.get(lane)
        if waiting is None or run not in waiting:
            return False
        waiting.remove(run)
        return True

    def leave(self, run: Run[Any]) -> None:
        """Note that a run that was started is over."""
        if run in self._paused:
            self._paused.remove(run)
        else:
            self._turns_of(run).leave(run.order.workspace)
        self._advance_lane(run)

    def pause(self, run: Run[Any]) -> None:
        """Release the place of a run that waits for an approval."""
        self._paused.add(run)
        self._turns_of(run).leave(run.order.workspace)
        self._advance()

    def resume(self, run: Run[Any]) -> None:
        """Let a run go on at once, in a place of its own."""
        self._paused.remove(run)
        self._turns_of(run).take(run.order.workspace)

    def waiting(self) -> list[Run[Any]]:
        """Return all runs that wait to be started."""
        groups = [turns.waiting() for turns in self._turns.values()]
        return [run for group in (*groups, *self._lanes.values()) for run in group]

    def _turns_of(self, run: Run[Any]) -> Turns[Run[Any]]:
        return self._turns[run.order.kind]

    def _advance_lane(self, run: Run[Any]) -> None:
        lane = _lane(run)
        if lane is not None:
            if waiting := self._lanes[lane]:
                following = waiting.popleft()
                turns = self._turns_of(following)
                turns.enter(following.order.workspace, following)
            else:
                del self._lanes[lane]
        self._advance()

    def _advance(self) -> None:
        for turns in self._turns.values():
            while (run := turns.next()) is not None:
                self._start(run)


def _lane(run: Run[Any]) -> tuple[str, str] | None:
    session = run.order.session
    return None if session is None else (run.order.workspace, session)
