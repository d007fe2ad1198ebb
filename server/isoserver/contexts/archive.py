"""What contexts have run, kept for their notebooks beyond the life of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoserver.contexts.records import Cell

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.ledger import Ledger

__all__ = ["Archive"]


class Archive:
    """The past of contexts, in the database."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep it in a ledger."""
        self._ledger = ledger

    async def keep(self, context: Context, *, again: bool = False) -> None:
        """Keep what a context has run up to its last checkpoint, or in all.

        Args:
            context: It.
            again: Also what is kept already, as its timers may have printed since.
        """
        checkpoint = context.checkpoint
        last = None if checkpoint is None else checkpoint.execution_count
        cells = [
            Cell.of(done)
            for done in context.history
            if (again or done.number > context.archived_to)
            and (last is None or done.count <= last)
        ]
        if cells:
            await self._ledger.archive(context.key, cells)
            context.archived = True
            context.archived_to = cells[-1].number

    async def past(self, context: Context) -> list[Cell]:
        """Give what a context has run and doesn't remember itself, oldest first."""
        if not context.archived:
            return []
        remembered = {done.number for done in context.history}
        cells = await self._ledger.cells(context.key)
        return [cell for cell in cells if cell.number not in remembered]

    async def inherit(self, origin: Context, made: Context) -> None:
        """Let a fork have the past of the context that it is of."""
        if origin.archived:
            await self._ledger.archive(made.key, await self.past(origin))
            made.archived = True

    async def drop(self, context: Context) -> None:
        """Forget the past of a context that began anew."""
        if context.archived:
            await self._ledger.drop_cells(context.key)
            context.archived = False
