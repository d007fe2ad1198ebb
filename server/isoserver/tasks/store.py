"""Tasks in the database: written down, ended, looked up, mended, forgotten."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError
from isoserver.storage.retention import expired
from isoserver.tasks.records import Ending, Status, Task, TaskFailure, TaskOrder
from isoserver.tasks.tables import TASKS

if TYPE_CHECKING:
    from isoserver.storage.database import Database

__all__ = ["TaskStore"]

_DIED: Final = Ending(
    Status.FAILED,
    TaskFailure("ServerStoppedError", "the server ended while the task was running"),
)
_LISTED: Final = tuple(column for column in TASKS.c if column.name != "ending")


class TaskStore:
    """The table of tasks. In the event loop only."""

    def __init__(self, database: Database) -> None:
        """Use a database that is started before anything is asked."""
        self._database = database

    async def add(self, task: Task) -> None:
        """Write a new task down; it outlives the process when this returns.

        Raises:
            DatabaseError: It can't be kept.
        """
        order = msgspec.json.encode(task.order).decode()
        row = {
            "id": task.id,
            "workspace": task.order.workspace,
            "session": task.order.session,
            "status": Status.QUEUED.value,
            "created_at": task.created_at,
            "order": order,
            "size": len(order),
        }
        await self._write(insert(TASKS).values(row))

    async def end(self, task: Task, ending: Ending) -> None:
        """Write down how a task has ended; what has an end keeps it.

        Raises:
            DatabaseError: It can't be kept.
        """
        text = msgspec.json.encode(ending).decode()
        await self._write(
            update(TASKS)
            .where(
                TASKS.c.id == task.id,
                TASKS.c.workspace == task.order.workspace,
                TASKS.c.status == Status.QUEUED.value,
            )
            .values(
                status=ending.status.value,
                started_at=task.started_at,
                ended_at=task.ended_at,
                ending=text,
                size=TASKS.c.size + len(text),
            )
        )

    async def _write(self, statement: Any) -> None:
        try:
            async with self._database.begin() as connection:
                await connection.execute(statement)
        except (SQLAlchemyError, OSError) as error:
            message = f"the task can't be kept: {type(error).__name__}"
            raise DatabaseError(message) from error

    async def get(self, workspace: str, task_id: str) -> Task | None:
        """Look a task up."""
        query = select(TASKS).where(
            TASKS.c.id == task_id, TASKS.c.workspace == workspace
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _task(row)

    async def newest(
        self, workspace: str, limit: int, status: Status | None
    ) -> list[Task]:
        """Give the newest tasks of a workspace, without how they ended.

        Args:
            workspace: Whose.
            limit: How many.
            status: With this one only; those that haven't ended are `queued` here.
        """
        conditions = [TASKS.c.workspace == workspace]
        if status is not None:
            conditions.append(TASKS.c.status == status.value)
        query = (
            select(*_LISTED)
            .where(*conditions)
            .order_by(TASKS.c.created_at.desc(), TASKS.c.id)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [_task(row) for row in rows]

    async def mend(self) -> int:
        """End what ran when the last server ended without a word; how many it was."""
        text = msgspec.json.encode(_DIED).decode()
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(TASKS)
                .where(TASKS.c.status == Status.QUEUED.value)
                .values(
                    status=_DIED.status.value,
                    ended_at=time.time(),
                    ending=text,
                    size=TASKS.c.size + len(text),
                )
            )
        return int(done.rowcount)

    async def forget(self, age: float, count: int, size: int) -> int:
        """Delete ended tasks that are over a bound, the oldest; how many it was.

        Args:
            age: Seconds since its end that a task is kept.
            count: How many are kept in all.
            size: Bytes that all of them may have.
        """
        of = TASKS.c
        columns = (of.id, of.ended_at, of.size)
        gone = await expired(
            self._database, *columns, age=age, count=count, size_max=size
        )
        if gone:
            await self._write(delete(TASKS).where(TASKS.c.id.in_(gone)))
        return len(gone)


def _task(row: Any) -> Task:
    found = row._mapping  # noqa: SLF001 - public, and named so to leave columns room
    ending = found.get("ending")
    return Task(
        id=row.id,
        order=msgspec.json.decode(found["order"], type=TaskOrder),
        status=Status(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        ending=None if ending is None else msgspec.json.decode(ending, type=Ending),
    )
