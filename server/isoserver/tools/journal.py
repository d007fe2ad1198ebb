"""The one writer of the audit: what comes while it commits goes into the next commit.

A commit takes about as long for a hundred entries as for one, and calls that run side
by side wait for the same. How a call has ended is not waited for by the code that made
it: that goes along with the next entry, or follows soon. So calls one after the other
take one commit each, not two.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    insert,
    update,
)

from isoserver.storage.database import METADATA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

__all__ = ["AUDIT", "Journal"]

AUDIT: Final = Table(
    "tool_audit",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("client", String, nullable=False),
    Column("session", String, nullable=True),
    Column("task_id", String, nullable=True),
    Column("call_id", String, nullable=True),
    Column("path", String, nullable=False),
    Column("input", Text, nullable=False),
    Column("decision", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("approval_id", String, nullable=True),
    Column("reason", Text, nullable=False),
    Column("outcome", String, nullable=False),
    Column("code", String, nullable=True),
    Column("ms", Integer, nullable=True),
    Index("tool_audit_time", "workspace", "at"),
    Index("tool_audit_task", "workspace", "task_id"),
)

_INSERT: Final = insert(AUDIT)
_SOON: Final = 0.05
"""Seconds that a change waits for an entry that it could go along with, and that the
writer keeps its connection for what comes next: to get one costs as much as to commit.
"""


class _Batch:
    """What goes into one commit."""

    __slots__ = ("changes", "failure", "over", "rows")

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        # By the columns that they change, which is a statement each.
        self.changes: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        self.failure: Exception | None = None
        self.over = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self.rows or self.changes)


class Journal:
    """Writes to the table of the audit. In the event loop only."""

    def __init__(
        self,
        database: Database,
        log: FilteringBoundLogger,
        committed: Callable[[], Awaitable[None]],
    ) -> None:
        """Prepare.

        Args:
            database: Where the table is.
            log: Where it is said that it can't be written.
            committed: Called by the writer after each commit.
        """
        self._database = database
        self._log = log
        self._committed = committed
        self._next = _Batch()
        self._now: _Batch | None = None
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = asyncio.Event()

    async def add(self, row: dict[str, Any]) -> None:
        """Add an entry, which is in the database when this returns.

        Raises:
            SQLAlchemyError: It could not be written.
        """
        batch = self._next
        batch.rows.append(row)
        self._start()
        await batch.over.wait()
        if batch.failure is not None:
            raise batch.failure

    def change_soon(
        self, workspace: str, entry_id: str, fields: dict[str, Any]
    ) -> None:
        """Change an entry with the next commit, or a moment later with one of its own.

        That it could not be written is in the log.
        """
        names = tuple(sorted(fields))
        row = {f"new_{name}": fields[name] for name in names}
        row |= {"of_workspace": workspace, "of_id": entry_id}
        self._next.changes.setdefault(names, []).append(row)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SOON, self._start)

    async def settle(self) -> None:
        """Wait until all that was said so far is written, or could not be."""
        for batch in (self._now, self._next):
            if batch:
                self._start()
                await batch.over.wait()

    async def close(self) -> None:
        """Wait until everything is written."""
        await self.settle()
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)

    # -- writing -----------------------------------------------------------------------

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wanted.set()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._next:
            await self._serve()

    async def _serve(self) -> None:
        """Write with one connection, until there is no more or it fails."""
        try:
            async with self._database.connect() as connection:
                while await self._more():
                    await self._commit(connection)
        except Exception as error:  # noqa: BLE001 - those who wait get it
            # Its text may have values in it.
            kind = type(error).__name__
            self._log.error("the audit can't be written", error=kind)
            self._end(error)

    async def _more(self) -> bool:
        """Wait for what is to be written, but not for long."""
        if not self._wanted.is_set():
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _SOON)
        self._wanted.clear()
        return bool(self._next)

    async def _commit(self, connection: AsyncConnection) -> None:
        batch, self._next = self._next, _Batch()
        self._now = batch
        async with connection.begin():
            if batch.rows:
                await connection.execute(_INSERT, batch.rows)
            for names, rows in batch.changes.items():
                await connection.execute(_change(names), rows)
        self._end(None)
        await self._committed()

    def _end(self, failure: Exception | None) -> None:
        """Tell those who wait for a batch; for the next one, if none could be begun."""
        batch, self._now = self._now, None
        if batch is None:
            batch, self._next = self._next, _Batch()
        batch.failure = failure
        batch.over.set()


@lru_cache(maxsize=64)
def _change(names: tuple[str, ...]) -> Any:
    return (
        update(AUDIT)
        .where(
            AUDIT.c.workspace == bindparam("of_workspace"),
            AUDIT.c.id == bindparam("of_id"),
        )
        .values({name: bindparam(f"new_{name}") for name in names})
    )
