"""The rows of contexts, and of what they have run. All of contexts' SQL is here.

Rows of contexts that live are written a little later, many at a time: a context need
not wait for the database to be made or used.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from isoserver.contexts.records import Cell, Record
from isoserver.contexts.tables import CELLS, CONTEXTS
from isoserver.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.contexts.context import Key
    from isoserver.storage.database import Database

__all__ = ["Ledger"]

_T = TypeVar("_T")
_DELAY: Final = 0.2
_CHUNK: Final = 200
"""Rows that one statement deletes: databases bound the parameters of one."""


class Ledger:
    """What the database knows of contexts."""

    def __init__(self, database: Database, history_max: int, size_max: int) -> None:
        """Use a database.

        Args:
            database: It.
            history_max: Executions of one context that are kept.
            size_max: Characters of one context's executions that are kept.
        """
        self._database = database
        self._history_max = history_max
        self._size_max = size_max
        self._pending: dict[Key, Callable[[], Record]] = {}
        self._written: set[Key] = set()
        self._writing = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    # -- contexts ----------------------------------------------------------------------

    async def load(self) -> list[Record]:
        """Read all rows, oldest first."""
        query = select(*(CONTEXTS.c[name] for name in Record._fields)).order_by(
            CONTEXTS.c.created_at
        )
        async with self._database.connect() as connection:
            records = [Record(*row) for row in await connection.execute(query)]
        self._written.update(record.key for record in records)
        return records

    def note(self, key: Key, record: Callable[[], Record]) -> None:
        """Have a row written soon, as it is by then."""
        self._pending[key] = record
        if self._later is None or self._later.done():
            self._later = asyncio.ensure_future(self._flush_later())

    async def write(self, *records: Record) -> None:
        """Write rows now.

        Raises:
            DatabaseError: It can't be written to.
        """
        for record in records:
            self._pending.pop(record.key, None)
        async with self._writing:
            await self._write(records)

    async def flush(self) -> None:
        """Write what waits to be written.

        Raises:
            DatabaseError: It can't be written to.
        """
        async with self._writing:
            pending, self._pending = self._pending, {}
            try:
                await self._write([make() for make in pending.values()])
            except BaseException:
                self._pending = {**pending, **self._pending}
                raise

    async def forget(self, *keys: Key) -> None:
        """Delete rows, and what their contexts had run.

        Raises:
            DatabaseError: It can't be written to.
        """
        for key in keys:
            self._pending.pop(key, None)
        async with self._writing:
            for chunk in _chunks([key for key in keys if key in self._written]):
                await self._delete(chunk)
                self._written.difference_update(chunk)

    async def close(self) -> None:
        """Write what waits, and nothing after it."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.wait([self._later])
        with suppress(DatabaseError):
            await self.flush()

    async def _flush_later(self) -> None:
        while self._pending:
            await asyncio.sleep(_DELAY)
            with suppress(DatabaseError):  # tried again
                await self.flush()

    async def _write(self, records: Iterable[Record]) -> None:
        try:
            for chunk in _chunks(list(records)):
                keys = [record.key for record in chunk]
                async with self._database.begin() as connection:
                    await connection.execute(delete(CONTEXTS).where(_in(keys)))
                    await connection.execute(
                        insert(CONTEXTS), [record._asdict() for record in chunk]
                    )
                self._written.update(keys)
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error

    async def _delete(self, keys: list[Key]) -> None:
        try:
            async with self._database.begin() as connection:
                await connection.execute(delete(CONTEXTS).where(_in(keys)))
                of = tuple_(CELLS.c.workspace, CELLS.c.context)
                await connection.execute(delete(CELLS).where(of.in_(keys)))
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error

    # -- what they have run ------------------------------------------------------------

    async def archive(self, key: Key, cells: list[Cell]) -> None:
        """Keep cells; those that are kept already are replaced, old ones forgotten.

        Raises:
            DatabaseError: It can't be written to.
        """
        if not cells:
            return
        rows = [
            {"workspace": key[0], "context": key[1], **cell._asdict()} for cell in cells
        ]
        try:
            async with self._database.begin() as connection:
                for chunk in _chunks([cell.number for cell in cells]):
                    same = CELLS.c.number.in_(chunk)
                    await connection.execute(delete(CELLS).where(_of(key), same))
                await connection.execute(insert(CELLS), rows)
                await self._trim(connection, key)
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error
        self._written.add(key)

    async def cells(self, key: Key) -> list[Cell]:
        """Give the cells that are kept of a context, oldest first."""
        query = select(CELLS.c.number, CELLS.c.size, CELLS.c.data).where(_of(key))
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(CELLS.c.number))
            return [Cell(*row) for row in rows]

    async def drop_cells(self, key: Key) -> None:
        """Forget all that a context has run."""
        async with self._database.begin() as connection:
            await connection.execute(delete(CELLS).where(_of(key)))

    async def _trim(self, connection: AsyncConnection, key: Key) -> None:
        query = select(CELLS.c.number, CELLS.c.size).where(_of(key))
        rows = await connection.execute(query.order_by(CELLS.c.number.desc()))
        size = 0
        for index, (number, weight) in enumerate(rows):
            size += weight
            if index >= self._history_max or size > self._size_max:
                older = CELLS.c.number <= number
                await connection.execute(delete(CELLS).where(_of(key), older))
                return


def _of(key: Key) -> ColumnElement[bool]:
    return (CELLS.c.workspace == key[0]) & (CELLS.c.context == key[1])


def _in(keys: list[Key]) -> ColumnElement[bool]:
    return tuple_(CONTEXTS.c.workspace, CONTEXTS.c.id).in_(keys)


def _unusable(error: Exception) -> DatabaseError:
    return DatabaseError(f"the database can't be written to: {error}")


def _chunks(items: list[_T]) -> list[list[_T]]:
    return [items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK)]
