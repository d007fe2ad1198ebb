"""Executions in the database: looked up, listed, mended after a crash, forgotten."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, select, update

from isoserver.executions.records import ExecutionRecord, Extent, Status
from isoserver.executions.tables import EXECUTIONS, OUTPUT
from isoserver.storage.retention import expired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.storage.database import Database

__all__ = ["Chunk", "Store", "moment"]

DIED: Final = "the server ended while the execution was running"
_SHOWN: Final = (
    EXECUTIONS.c.id,
    EXECUTIONS.c.workspace,
    EXECUTIONS.c.status,
    EXECUTIONS.c.result,
    EXECUTIONS.c.heap,
    EXECUTIONS.c.heap_error,
    EXECUTIONS.c.error,
    EXECUTIONS.c.started_at,
    EXECUTIONS.c.completed_at,
    EXECUTIONS.c.session,
    EXECUTIONS.c.output_bytes,
    EXECUTIONS.c.output_newlines,
    EXECUTIONS.c.output_open,
)
# Lists show neither results nor errors, which can be long.
_LONG: Final = {"result", "error", "heap_error"}
_LISTED: Final = tuple(column for column in _SHOWN if column.name not in _LONG)


class Chunk(NamedTuple):
    """A piece of output.

    Attributes:
        start_byte: Bytes before it.
        start_line: Newlines before it.
        data: The bytes.
    """

    start_byte: int
    start_line: int
    data: bytes


def moment(seconds: float) -> datetime:
    """Give a time as others write it."""
    return datetime.fromtimestamp(seconds, timezone.utc)


class Store:
    """Reads the tables of executions; what the writer doesn't write, it writes."""

    def __init__(self, database: Database) -> None:
        """Use a database that is started before anything is asked."""
        self._database = database

    async def get(self, workspace: str, execution_id: str) -> ExecutionRecord | None:
        """Look an execution up."""
        query = select(*_SHOWN).where(*_one(workspace, execution_id))
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _record(row)

    async def newest(
        self, workspace: str, limit: int, status: Status | None
    ) -> list[ExecutionRecord]:
        """Give the newest executions of a workspace, without results and errors."""
        conditions = [EXECUTIONS.c.workspace == workspace]
        if status is not None:
            conditions.append(EXECUTIONS.c.status == status.value)
        query = (
            select(*_LISTED)
            .where(*conditions)
            .order_by(EXECUTIONS.c.submitted_at.desc())
            .limit(limit)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [_record(row) for row in rows]

    # -- output ------------------------------------------------------------------------

    async def chunks(
        self, workspace: str, execution_id: str, low: int, high: int
    ) -> Sequence[Chunk]:
        """Give the chunks that begin at bytes from `low` to before `high`, in order."""
        query = (
            select(OUTPUT.c.start_byte, OUTPUT.c.start_line, OUTPUT.c.data)
            .where(
                OUTPUT.c.workspace == workspace,
                OUTPUT.c.execution_id == execution_id,
                OUTPUT.c.start_byte >= low,
                OUTPUT.c.start_byte < high,
            )
            .order_by(OUTPUT.c.start_byte)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [Chunk(row[0], row[1], bytes(row[2])) for row in rows]

    async def chunk_of_newline(
        self, workspace: str, execution_id: str, number: int
    ) -> Chunk | None:
        """Give the chunk that has a newline; 1 is the first one of the output."""
        query = (
            select(OUTPUT.c.start_byte, OUTPUT.c.start_line, OUTPUT.c.data)
            .where(
                OUTPUT.c.workspace == workspace,
                OUTPUT.c.execution_id == execution_id,
                OUTPUT.c.start_line < number,
            )
            .order_by(OUTPUT.c.start_line.desc(), OUTPUT.c.start_byte.desc())
            .limit(1)
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Chunk(row[0], row[1], bytes(row[2]))

    # -- after a crash -----------------------------------------------------------------

    async def mend(self) -> int:
        """End what ran when the last server ended without a word; how many it was."""
        async with self._database.begin() as connection:
            query = select(EXECUTIONS.c.id, EXECUTIONS.c.code).where(
                EXECUTIONS.c.status == Status.RUNNING.value
            )
            rows = (await connection.execute(query)).all()
            for row in rows:
                await _mend(connection, row)
        return len(rows)

    # -- retention ---------------------------------------------------------------------

    async def expired(self, age: float, count: int, size: int) -> list[str]:
        """Give some ended executions that are over a bound, the oldest ones.

        Args:
            age: Seconds since its end that an execution is kept.
            count: How many are kept in all.
            size: Bytes that all of them may have.
        """
        of = EXECUTIONS.c
        columns = (of.id, of.completed_at, of.size)
        return await expired(
            self._database, *columns, age=age, count=count, size_max=size
        )

    async def delete(self, execution_ids: list[str]) -> None:
        """Forget executions and what they put out, whoever's they are."""
        async with self._database.begin() as connection:
            await connection.execute(
                delete(OUTPUT).where(OUTPUT.c.execution_id.in_(execution_ids))
            )
            await connection.execute(
                delete(EXECUTIONS).where(EXECUTIONS.c.id.in_(execution_ids))
            )


def _one(workspace: str, execution_id: str) -> tuple[ColumnElement[bool], ...]:
    return EXECUTIONS.c.id == execution_id, EXECUTIONS.c.workspace == workspace


async def _mend(connection: AsyncConnection, row: Any) -> None:
    """End one execution; its output is as long as what has been saved of it."""
    query = (
        select(OUTPUT)
        .where(OUTPUT.c.execution_id == row.id)
        .order_by(OUTPUT.c.start_byte.desc())
        .limit(1)
    )
    last = (await connection.execute(query)).first()
    extent = Extent()
    if last is not None:
        data = bytes(last.data)
        extent = Extent(
            last.start_byte + len(data),
            last.start_line + data.count(b"\n"),
            not data.endswith(b"\n"),
        )
    await connection.execute(
        update(EXECUTIONS)
        .where(EXECUTIONS.c.id == row.id, EXECUTIONS.c.status == Status.RUNNING.value)
        .values(
            status=Status.FAILED.value,
            error=DIED,
            completed_at=time.time(),
            output_bytes=extent.bytes,
            output_newlines=extent.newlines,
            output_open=extent.open,
            size=extent.bytes + len(row.code),
        )
    )


def _record(row: Any) -> ExecutionRecord:
    found = row._mapping  # noqa: SLF001 - public, and named so to leave columns room
    return ExecutionRecord(
        id=row.id,
        workspace=row.workspace,
        status=Status(row.status),
        result=found.get("result"),
        heap=row.heap,
        heap_error=found.get("heap_error"),
        error=found.get("error"),
        started_at=moment(row.started_at),
        completed_at=None if row.completed_at is None else moment(row.completed_at),
        session=row.session,
        output=Extent(row.output_bytes, row.output_newlines, row.output_open),
    )
