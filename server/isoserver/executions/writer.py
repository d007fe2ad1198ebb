"""The one writer of executions: what comes while it commits goes into the next commit.

A commit takes about as long for a hundred rows as for one, so many small changes by
many executions cost little each, and each can wait until it will outlive the process.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError
from isoserver.executions.records import Status
from isoserver.executions.tables import EXECUTIONS, OUTPUT

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

__all__ = ["ENDING", "Writer"]

ENDING: Final = (
    "status",
    "started_at",
    "completed_at",
    "result",
    "error",
    "heap",
    "heap_error",
    "output_bytes",
    "output_newlines",
    "output_open",
    "size",
)
"""Columns that are written when an execution ends."""
_INSERT: Final = insert(EXECUTIONS)
_END: Final = (
    update(EXECUTIONS)
    .where(
        EXECUTIONS.c.id == bindparam("execution_id"),
        EXECUTIONS.c.workspace == bindparam("of_workspace"),
        # The wall behind the one in `Run.decide`: an end is never written over.
        EXECUTIONS.c.status == Status.RUNNING.value,
    )
    .values({name: bindparam(f"new_{name}") for name in ENDING})
)
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.2
"""Seconds before a commit that failed is tried again."""


class _Batch:
    """What goes into one commit."""

    __slots__ = ("chunks", "committed", "ends", "rows")

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        # A chunk that grows is written again; only its last state counts.
        self.chunks: dict[tuple[str, int], dict[str, Any]] = {}
        self.ends: list[dict[str, Any]] = []
        self.committed: asyncio.Future[None] = (
            asyncio.get_running_loop().create_future()
        )


class Writer:
    """Writes to the tables of executions. In the event loop only.

    Every method gives a future that is done once the change is committed, or fails
    with `DatabaseError`. Changes of one execution are written in the order in which
    they were asked for.
    """

    def __init__(self, database: Database, log: FilteringBoundLogger) -> None:
        """Prepare; `start` starts.

        Args:
            database: Where to.
            log: Where failures are told.
        """
        self._database = database
        self._log = log
        dialect = database.engine.dialect.name
        kind: Any = postgresql if dialect == "postgresql" else sqlite
        put = kind.insert(OUTPUT)
        self._put = put.on_conflict_do_update(
            index_elements=["execution_id", "start_byte"],
            set_={"data": put.excluded.data},
        )
        self._batch = _Batch()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.ensure_future(self._write())

    async def close(self) -> None:
        """Write what is left, and stop."""
        self._closing = True
        self._wanted.set()
        if self._task is not None:
            await self._task

    def add(self, row: dict[str, Any]) -> asyncio.Future[None]:
        """Add an execution."""
        self._batch.rows.append(row)
        return self._want()

    def put(self, chunk: dict[str, Any]) -> asyncio.Future[None]:
        """Write a chunk of output, or write it anew."""
        key = (chunk["execution_id"], chunk["start_byte"])
        self._batch.chunks[key] = chunk
        return self._want()

    def end(
        self, workspace: str, execution_id: str, values: dict[str, Any]
    ) -> asyncio.Future[None]:
        """Write how an execution ended; nothing happens if it has ended before."""
        row = {f"new_{name}": values[name] for name in ENDING}
        row.update(execution_id=execution_id, of_workspace=workspace)
        self._batch.ends.append(row)
        return self._want()

    def flushed(self) -> asyncio.Future[None]:
        """Give a future that is done when all that was asked for so far is written."""
        return self._want()

    def _want(self) -> asyncio.Future[None]:
        self._wanted.set()
        return self._batch.committed

    async def _write(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            batch, self._batch = self._batch, _Batch()
            await self._commit(batch)
            if self._closing and not self._wanted.is_set():
                return

    async def _commit(self, batch: _Batch) -> None:
        for _ in range(_ATTEMPTS):
            error = await self._attempt(batch)
            if error is None:
                batch.committed.set_result(None)
                return
            self._log.error("commit failed", error=type(error).__name__)
            await asyncio.sleep(_PAUSE)
        batch.committed.set_exception(DatabaseError("the database can't be written"))
        batch.committed.exception()  # whoever asked may be gone: the log has it

    async def _attempt(self, batch: _Batch) -> Exception | None:
        try:
            await self._execute(batch)
        except (SQLAlchemyError, DatabaseError) as error:
            return error
        return None

    async def _execute(self, batch: _Batch) -> None:
        if not (batch.rows or batch.chunks or batch.ends):
            return
        async with self._database.begin() as connection:
            if batch.rows:
                await connection.execute(_INSERT, batch.rows)
            if batch.chunks:
                await connection.execute(self._put, list(batch.chunks.values()))
            if batch.ends:
                await connection.execute(_END, batch.ends)
