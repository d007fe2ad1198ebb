"""Whose turn it is: workspaces take turns, and none has more than its share."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

__all__ = ["Turns"]

Waiting = TypeVar("Waiting")


class Turns(Generic[Waiting]):
    """A number of places, and who waits for one. In the event loop only.

    Those of one workspace get theirs in their order; of several workspaces it is the
    turn of the one that has the fewest.
    """

    def __init__(self, places: int, share: int) -> None:
        """Have places that are all free.

        Args:
            places: How many.
            share: How many of them one workspace may have.
        """
        self._free = places
        self._share = share
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[Waiting]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def waiting(self) -> list[Waiting]:
        """Give all that wait."""
        return [one for queue in self._waiting.values() for one in queue]

    def enter(self, workspace: str, one: Waiting) -> None:
        """Let one wait; `next` gives it when it is its turn."""
        self._waiting.setdefault(workspace, deque()).append(one)

    def remove(self, workspace: str, one: Waiting) -> bool:
        """Let one wait no more; whether it did."""
        queue = self._waiting.get(workspace, ())
        if one not in queue or isinstance(queue, tuple):
            return False
        queue.remove(one)
        if not queue:
            del self._waiting[workspace]
        return True

    def next(self) -> Waiting | None:
        """Give a place to whose turn it is; None if there is nobody, or no place."""
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
        """Take a place out of turn: there may be too few for a time."""
        self._free -= 1
        self._taken[workspace] += 1

    def leave(self, workspace: str) -> None:
        """Give a place back."""
        self._free += 1
        self._taken[workspace] -= 1
        if not self._taken[workspace]:
            del self._taken[workspace]
