"""Places for running tasks: those that wait for people take none."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Places"]


class Places:
    """A number of places, given in the order in which they were asked for."""

    def __init__(self, number: int) -> None:
        """Have that many."""
        self._free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Take a place, when there is one and it is one's turn."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self._waiting.remove(turn)
            raise

    def take_back(self) -> None:
        """Go on in a place that was left, at once: there may be too few for a time."""
        self._free -= 1

    def leave(self) -> None:
        """Give a place to whoever is next."""
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
