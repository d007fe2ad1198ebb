"""Places for running tasks: those that wait for people take none."""

from __future__ import annotations

import asyncio

from isoserver.runs.turns import Turns

__all__ = ["Places"]


class Places:
    """A number of places, given to workspaces in turn, to each in its tasks' order."""

    def __init__(self, number: int, share: int) -> None:
        """Have that many.

        Args:
            number: How many.
            share: How many of them one workspace may have.
        """
        self._turns: Turns[asyncio.Future[None]] = Turns(number, share)

    async def take(self, workspace: str) -> None:
        """Take a place, when there is one and it is one's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.enter(workspace, turn)
        self._advance()
        if turn.done():
            return
        try:
            await turn
        except asyncio.CancelledError:
            if not self._turns.remove(workspace, turn):
                self.leave(workspace)
            raise

    def take_back(self, workspace: str) -> None:
        """Go on in a place that was left, at once: there may be too few for a time."""
        self._turns.take(workspace)

    def leave(self, workspace: str) -> None:
        """Give a place to whoever is next."""
        self._turns.leave(workspace)
        self._advance()

    def _advance(self) -> None:
        while (turn := self._turns.next()) is not None:
            if not turn.done():
                turn.set_result(None)
