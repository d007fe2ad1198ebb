"""The tables of contexts and of the cells they have run. All SQL of contexts is here.

Rows of live contexts are written a little later, many at a time, so that no context
waits for the database. Times are as time.time() gives them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from isoserver.contexts.history import Cell
from isoserver.contexts.records import LIVE, ContextRecord
from isoserver.errors import DatabaseError, StoppingError
from isoserver.storage.database import METADATA
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.contexts.context import Context, Key
    from isoserver.storage.database import Database, Held

__all__ = ["CELLS", "CONTEXTS", "DURABILITIES", "PACKAGES", "ContextStore"]

_T = TypeVar("_T")
_DELAY_SECONDS: Final = 0.2
_CHUNK: Final = 200
"""Rows that one statement deletes: databases limit the parameters of one."""

CONTEXTS: Final = Table(
    "contexts",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("language", String, nullable=False),
    Column("cwd", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used", Double, nullable=False),
    Column("execution_count", Integer, nullable=False),
    Column("heap_memory_max", BigInteger),
    # The last checkpoint: its heap key, its last execution, and when it was saved.
    Column("heap", String(64)),
    Column("heap_count", Integer, nullable=False),
    Column("heap_at", Double),
    Index("contexts_by_heap", "workspace", "heap"),
)

PACKAGES: Final = Table(
    "context_packages",
    METADATA,
    # What a context begins with, if that is something: a JSON array.
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("packages", Text, nullable=False),
)

DURABILITIES: Final = Table(
    "context_durabilities",
    METADATA,
    # After how many seconds a context is saved, if not only when it sleeps.
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("seconds", Double, nullable=False),
)

CELLS: Final = Table(
    "context_cells",
    METADATA,
    # What a context had run up to its last checkpoint, for its notebook.
    Column("workspace", String, primary_key=True),
    Column("context", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

_UNOWNED: Final = text(
    """NOT EXISTS (
        SELECT 1 FROM cluster_owners AS its
        JOIN cluster_servers ON cluster_servers.id = its.server
        WHERE its.kind = 'context' AND its.workspace = contexts.workspace
        AND its.id = contexts.id
    )"""
)
"""Where servers share a database."""


class ContextStore:
    """The rows of contexts and of their cells.

    Where servers share a database, what is to be written goes with the generations of
    the contexts as they are when that is asked for. However late it comes there, the
    database refuses it if a context has changed hands meanwhile, also back to here.

    Attributes:
        abandoned: Whether nothing is written any more.
    """

    def __init__(self, database: Database, history_max: int, size_max: int) -> None:
        """Use a database.

        Args:
            database: Where the rows are.
            history_max: Cells of one context that are kept.
            size_max: Characters of one context's cells that are kept.
        """
        self._database = database
        self._history_max = history_max
        self._size_max = size_max
        self._pending: dict[Key, tuple[Callable[[], ContextRecord], list[Held]]] = {}
        self._written: set[Key] = set()
        self._packages: dict[Key, tuple[str, ...]] = {}
        self._durabilities: dict[Key, float] = {}
        self._begins_unwritten: set[Key] = set()
        self._writing = asyncio.Lock()
        self.abandoned = False
        self._writer: asyncio.Task[None] | None = None

    # -- contexts ----------------------------------------------------------------------

    async def load(self) -> list[ContextRecord]:
        """Return all rows, oldest first."""
        query = select(*(CONTEXTS.c[name] for name in ContextRecord._fields)).order_by(
            CONTEXTS.c.created_at
        )
        async with self._database.connect() as connection:
            records = [ContextRecord(*row) for row in await connection.execute(query)]
            for workspace, name, packages in await connection.execute(select(PACKAGES)):
                self._packages[workspace, name] = tuple(json.loads(packages))
            for workspace, name, seconds in await connection.execute(
                select(DURABILITIES)
            ):
                self._durabilities[workspace, name] = seconds
        self._written.update(record.key for record in records)
        return records

    async def find(self, key: Key) -> ContextRecord | None:
        """Read the row of a context, which another server may have written.

        Raises:
            DatabaseError: It can't be read.
        """
        columns = (CONTEXTS.c[name] for name in ContextRecord._fields)
        query = select(*columns, PACKAGES.c.packages, DURABILITIES.c.seconds)
        query = query.select_from(
            CONTEXTS.outerjoin(PACKAGES, _same(PACKAGES)).outerjoin(
                DURABILITIES, _same(DURABILITIES)
            )
        )
        async with self._database.connect() as connection:
            query = query.where(_in([key]))
            whole = (await connection.execute(query)).first()
        if whole is None:
            return None
        *row, found, seconds = whole
        self._forget(key)
        if seconds is not None:
            self._durabilities[key] = seconds
        if found is not None:
            self._packages[key] = tuple(json.loads(found))
        self._written.add(key)
        return ContextRecord(*row)

    async def has_row(self, key: Key) -> bool:
        """Whether a context has a row, whosever it is."""
        async with self._database.connect() as connection:
            query = select(CONTEXTS.c.id).where(_in([key]))
            return (await connection.execute(query)).first() is not None

    async def ids(self, workspace: str) -> list[str]:
        """Return the ids of all contexts of a workspace that have a row."""
        query = select(CONTEXTS.c.id).where(CONTEXTS.c.workspace == workspace)
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def unused(
        self, until: float, languages: Iterable[str], count_max: int
    ) -> list[Key]:
        """Return contexts of no server's that were used last before a moment."""
        query = select(CONTEXTS.c.workspace, CONTEXTS.c.id).where(
            CONTEXTS.c.last_used < until, CONTEXTS.c.language.in_(languages), _UNOWNED
        )
        query = query.order_by(CONTEXTS.c.last_used).limit(count_max)
        async with self._database.connect() as connection:
            return [(row[0], row[1]) for row in await connection.execute(query)]

    def own(self, key: Key, generation: int) -> None:
        """Write a context's rows from now on as the owner of that generation."""
        if self._database.generations.get(key) != generation:
            self.disown(key)
        self._database.generations[key] = generation

    def generation(self, key: Key) -> int | None:
        """Return a context's generation; None where servers share no database."""
        return self._database.generations.get(key)

    def disown(self, key: Key) -> list[Held]:
        """Write nothing more of a context; return how it was held, to release it."""
        self._pending.pop(key, None)
        held = self._database.held(key)
        self._database.generations.pop(key, None)
        return held

    async def count_asleep(self) -> Counter[str]:
        """Count the contexts without a process by workspace, whosever they are."""
        query = select(CONTEXTS.c.workspace, func.count()).where(
            CONTEXTS.c.state != LIVE
        )
        async with self._database.connect() as connection:
            rows = await connection.execute(query.group_by(CONTEXTS.c.workspace))
            return Counter({row[0]: row[1] for row in rows})

    async def let_go(self, key: Key) -> list[Held]:
        """Write a row for the last time, and know nothing of it any more.

        Returns:
            How it was held, to release it.

        Raises:
            DatabaseError: It can't be written to.
        """
        await self.flush()
        self._written.discard(key)
        self._forget(key)
        return self.disown(key)

    def _forget(self, key: Key) -> None:
        """Forget what a context begins with, and how it is saved."""
        self._packages.pop(key, None)
        self._durabilities.pop(key, None)
        self._begins_unwritten.discard(key)

    def abandon(self) -> None:
        """Write nothing any more: the server has ended, or others have taken over."""
        self.abandoned = True
        self._pending.clear()

    def check(self) -> None:
        """Refuse what is to be written when nothing is any more.

        Raises:
            StoppingError: The contexts are as they were written last.
        """
        if self.abandoned:
            raise StoppingError

    async def in_workspace(self, workspace: str) -> list[ContextRecord]:
        """Return a workspace's rows, oldest first."""
        query = (
            select(*(CONTEXTS.c[name] for name in ContextRecord._fields))
            .where(CONTEXTS.c.workspace == workspace)
            .order_by(CONTEXTS.c.created_at)
        )
        async with self._database.connect() as connection:
            return [ContextRecord(*row) for row in await connection.execute(query)]

    def packages(self, key: Key) -> tuple[str, ...]:
        """Return what a context begins with."""
        return self._packages.get(key, ())

    def durability(self, key: Key) -> float | None:
        """Return after how many seconds a context is saved."""
        return self._durabilities.get(key)

    async def durabilities(
        self, workspace: str, *, shared: bool
    ) -> Mapping[Key, float]:
        """Return after how many seconds contexts are saved that have a row.

        Args:
            workspace: Whose they are.
            shared: Whether to ask the database, where other servers have theirs.

        Raises:
            DatabaseError: It can't be read.
        """
        if not shared:
            return self._durabilities
        query = select(DURABILITIES).where(DURABILITIES.c.workspace == workspace)
        async with self._database.connect() as connection:
            rows = await connection.execute(query)
            return {(owner, name): seconds for owner, name, seconds in rows}

    def note_begin(
        self, key: Key, packages: tuple[str, ...], durability: float | None
    ) -> None:
        """Have what a context is made with written along with its row.

        Args:
            key: The context's.
            packages: What it begins with.
            durability: After how many seconds it is saved.
        """
        if packages:
            self._packages[key] = packages
            self._begins_unwritten.add(key)
        if durability is not None:
            self._durabilities[key] = durability
            self._begins_unwritten.add(key)

    def write_soon(self, key: Key, record: Callable[[], ContextRecord]) -> None:
        """Have a row written soon, as it is by then."""
        if self.abandoned:
            return
        self._pending[key] = record, self._database.held(key)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.ensure_future(self._flush_later())

    def has(self, key: Key) -> bool:
        """Whether a context has a row, or will have one soon."""
        return key in self._written or key in self._pending

    async def write(self, *records: ContextRecord) -> None:
        """Write rows now.

        Raises:
            DatabaseError: It can't be written to.
            StoppingError: Nothing is written any more.
        """
        held = self._database.held(*(record.key for record in records))
        for record in records:
            self._pending.pop(record.key, None)
        async with self._writing:
            await self._write(records, held)

    async def write_saved(
        self, context: Context, record: ContextRecord, *, again: bool = False
    ) -> None:
        """Write the row of a saved context, and what it has run by then: both or none.

        Whoever sends an execution again is answered by its cell, which must not be
        there if the state that came of it isn't.

        Args:
            context: The context.
            record: Its row.
            again: See `store_cells`.

        Raises:
            DatabaseError: It can't be written to.
            StoppingError: Nothing is written any more.
        """
        key = context.key
        held = self._database.held(key)
        self._pending.pop(key, None)
        async with self._writing:
            cells = self._unstored(context, again=again)
            await self._write([record], held, cells)
            context.history.note_stored(cells)

    async def flush(self) -> None:
        """Write what waits to be written.

        Raises:
            DatabaseError: It can't be written to.
        """
        async with self._writing:
            pending, self._pending = self._pending, {}
            held = [one for _, its in pending.values() for one in its]
            try:
                await self._write([make() for make, _ in pending.values()], held)
            except BaseException:
                # Of what has changed hands meanwhile, nothing ever will be.
                left = {
                    key: each
                    for key, each in pending.items()
                    if not self.abandoned and each[1] == self._database.held(key)
                }
                self._pending = {**left, **self._pending}
                raise

    async def delete(self, *keys: Key) -> None:
        """Delete rows, and the cells of their contexts.

        Raises:
            DatabaseError: It can't be written to.
        """
        held = self._database.held(*keys)
        for key in keys:
            self._pending.pop(key, None)
            self._forget(key)
        async with self._writing:
            for key in keys:  # what was being written, and could not be, waits again
                self._pending.pop(key, None)
            for chunk in _chunks([key for key in keys if key in self._written]):
                await self._delete(chunk, held)
                self._written.difference_update(chunk)

    async def close(self) -> None:
        """Write what waits, and nothing after it."""
        await end_tasks(self._writer)
        with suppress(DatabaseError, StoppingError):
            await self.flush()

    async def _flush_later(self) -> None:
        while self._pending:
            await asyncio.sleep(_DELAY_SECONDS)
            with suppress(DatabaseError, StoppingError):  # tried again, or for nobody
                await self.flush()

    async def _write(
        self,
        records: Iterable[ContextRecord],
        held: list[Held],
        cells: list[Cell] | None = None,
    ) -> None:
        """Write rows; those of one context along with cells of its own."""
        try:
            for chunk in _chunks(list(records)):
                self.check()
                keys = [record.key for record in chunk]
                async with self._database.begin(_part(held, keys)) as connection:
                    await connection.execute(delete(CONTEXTS).where(_in(keys)))
                    await connection.execute(
                        insert(CONTEXTS), [record._asdict() for record in chunk]
                    )
                    await self._write_begins(connection, keys)
                    if cells:
                        await self._replace_cells(connection, keys[0], cells)
                self._written.update(keys)
                self._begins_unwritten.difference_update(keys)
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error

    async def _write_begins(self, connection: AsyncConnection, keys: list[Key]) -> None:
        """Write what contexts are made with, along with their first rows."""
        new = [key for key in keys if key in self._begins_unwritten]
        if not new:
            return
        packages = {
            key: json.dumps(self._packages[key]) for key in new if key in self._packages
        }
        values: Mapping[Key, Any]
        for table, name, values in (
            (PACKAGES, "packages", packages),
            (DURABILITIES, "seconds", self._durabilities),
        ):
            rows = [
                {"workspace": key[0], "id": key[1], name: values[key]}
                for key in new
                if key in values
            ]
            of = tuple_(table.c.workspace, table.c.id)
            await connection.execute(delete(table).where(of.in_(new)))
            if rows:
                await connection.execute(insert(table), rows)

    async def _delete(self, keys: list[Key], held: list[Held]) -> None:
        try:
            async with self._database.begin(_part(held, keys)) as connection:
                await connection.execute(delete(CONTEXTS).where(_in(keys)))
                for table in (PACKAGES, DURABILITIES):
                    of = tuple_(table.c.workspace, table.c.id)
                    await connection.execute(delete(table).where(of.in_(keys)))
                of = tuple_(CELLS.c.workspace, CELLS.c.context)
                await connection.execute(delete(CELLS).where(of.in_(keys)))
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error

    # -- cells -------------------------------------------------------------------------

    async def store_cells(self, context: Context, *, again: bool = False) -> None:
        """Store what a context has run up to its last checkpoint, or all of it.

        Args:
            context: The context.
            again: Also what is stored already, as its timers may have printed since.

        Raises:
            DatabaseError: It can't be written to.
        """
        cells = self._unstored(context, again=again)
        await self._store(context.key, cells)
        context.history.note_stored(cells)

    def _unstored(self, context: Context, *, again: bool = False) -> list[Cell]:
        """Return the cells of `store_cells`."""
        checkpoint = context.checkpoint
        last = None if checkpoint is None else checkpoint.execution_count
        return context.history.unstored(last, again=again)

    async def cells(self, context: Context) -> list[Cell]:
        """Return the stored cells that a context doesn't remember, oldest first."""
        if not context.history.stored:
            return []
        remembered = {done.number for done in context.history.executions}
        query = select(CELLS.c.number, CELLS.c.size, CELLS.c.data)
        query = query.where(_of(context.key)).order_by(CELLS.c.number)
        async with self._database.connect() as connection:
            cells = [Cell(*row) for row in await connection.execute(query)]
        return [cell for cell in cells if cell.number not in remembered]

    async def cell(self, context: Context, execution_id: str) -> Cell | None:
        """Return the stored cell of an execution; None if there is none."""
        history = context.history
        known = history.stored_ids
        if not history.stored or (known is not None and execution_id not in known):
            return None
        cells = {cell.execution_id: cell for cell in await self.cells(context)}
        history.stored_ids = frozenset(cells)
        return cells.get(execution_id)

    async def last_cells(
        self, context: Context, count: int, size_max: int
    ) -> list[Cell]:
        """Return the last of `cells`, oldest first, as many as the limits let.

        Args:
            context: The context.
            count: How many at most.
            size_max: Characters that they may have together.
        """
        if not context.history.stored:
            return []
        remembered = [done.number for done in context.history.executions]
        query = select(CELLS.c.number, CELLS.c.size).where(_of(context.key))
        if remembered:  # what is stored beside them is older
            query = query.where(CELLS.c.number < min(remembered))
        query = query.order_by(CELLS.c.number.desc()).limit(count)
        wanted: list[int] = []
        async with self._database.connect() as connection:
            for number, size in await connection.execute(query):
                size_max -= size
                if size_max < 0:
                    break
                wanted.append(number)
            found = select(CELLS.c.number, CELLS.c.size, CELLS.c.data)
            found = found.where(_of(context.key), CELLS.c.number.in_(wanted))
            rows = await connection.execute(found.order_by(CELLS.c.number))
            return [Cell(*row) for row in rows]

    async def copy_cells(self, origin: Context, fork: Context) -> None:
        """Copy the stored cells of a context to its fork."""
        cells = await self.cells(origin)
        await self._store(fork.key, cells)
        fork.history.stored = bool(cells)

    async def delete_cells(self, context: Context) -> None:
        """Delete all that is stored of a context that began anew."""
        if context.history.stored:
            held = self._database.held(context.key)
            async with self._database.begin(held) as connection:
                await connection.execute(delete(CELLS).where(_of(context.key)))
            context.history.stored = False

    async def _store(self, key: Key, cells: list[Cell]) -> None:
        """Store cells; those that are stored already are replaced, old ones deleted."""
        if not cells:
            return
        try:
            async with self._database.begin(self._database.held(key)) as connection:
                await self._replace_cells(connection, key, cells)
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error
        self._written.add(key)

    async def _replace_cells(
        self, connection: AsyncConnection, key: Key, cells: list[Cell]
    ) -> None:
        rows = [
            {"workspace": key[0], "context": key[1], **cell._asdict()} for cell in cells
        ]
        for chunk in _chunks([cell.number for cell in cells]):
            same = CELLS.c.number.in_(chunk)
            await connection.execute(delete(CELLS).where(_of(key), same))
        await connection.execute(insert(CELLS), rows)
        await self._trim(connection, key)

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


def _same(table: Table) -> ColumnElement[bool]:
    """Say that a row of a table is about the context of one of `contexts`."""
    own = CONTEXTS.c
    return (table.c.workspace == own.workspace) & (table.c.id == own.id)


def _of(key: Key) -> ColumnElement[bool]:
    return (CELLS.c.workspace == key[0]) & (CELLS.c.context == key[1])


def _in(keys: list[Key]) -> ColumnElement[bool]:
    return tuple_(CONTEXTS.c.workspace, CONTEXTS.c.id).in_(keys)


def _part(held: list[Held], keys: list[Key]) -> list[Held]:
    """Return what is held of some contexts."""
    wanted = set(keys) if held else ()
    return [one for one in held if one[:2] in wanted]


def _unusable(error: Exception) -> DatabaseError:
    return DatabaseError(f"the database can't be written to: {error}")


def _chunks(items: list[_T]) -> list[list[_T]]:
    return [items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK)]
