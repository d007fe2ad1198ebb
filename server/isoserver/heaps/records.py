"""The rows of heaps, tags and session entries; all of heaps' SQL is here."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, delete, exists, func, insert, literal, select, update

from isoserver.heaps.entries import HeapRecord, SnapshotEntry
from isoserver.heaps.needs import unneeded
from isoserver.heaps.tables import ENTRIES, HEAPS, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.heaps.entries import HeapEntry
    from isoserver.storage.database import Database

__all__ = ["HeapRecords", "Owned"]

_COLUMNS: Final = tuple(HEAPS.c[name] for name in HeapRecord._fields if name != "tags")
_TEXT: Final = ("utf-8", "surrogatepass")
Owned = tuple[str, str, float, int]
"""Workspace, key, last use, bytes of the file."""


class HeapRecords:
    """What the database knows of heaps."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database
        self._adding = asyncio.Lock()  # steps of a session are numbered one by one

    # -- heaps -------------------------------------------------------------------------

    async def add(self, entry: HeapEntry, values: dict[str, Any]) -> None:
        """Note that a workspace owns a heap, its tags, and the session's step.

        Args:
            entry: Where it comes from.
            values: The other columns of its row.
        """
        now = time.time()
        where = _is(entry.workspace, values["key"])
        async with self._adding, self._database.begin() as connection:
            found = await connection.execute(
                update(HEAPS)
                .where(where)
                .values(
                    last_used=now,
                    automatic=and_(HEAPS.c.automatic, literal(values["automatic"])),
                )
            )
            if not found.rowcount:
                row = {
                    **values,
                    "workspace": entry.workspace,
                    "created_at": now,
                    "last_used": now,
                    "parent": entry.input_heap,
                    "session": entry.session,
                    "execution_id": entry.execution_id,
                }
                await connection.execute(insert(HEAPS).values(row))
            if entry.tags:
                await _tag(connection, entry.workspace, values["key"], entry.tags)
            if entry.session is not None:
                await _append(connection, entry, values["key"], now)

    async def find(self, workspace: str, key: str) -> HeapRecord | None:
        """Give what is known of a workspace's heap."""
        query = select(*_COLUMNS).where(_is(workspace, key))
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            tags = await _tags(connection, workspace, [key])
        return _record(row, tags)

    async def newest(
        self, workspace: str, wanted: dict[str, str], limit: int
    ) -> list[HeapRecord]:
        """Give a workspace's heaps that have all these tags, newest first."""
        query = (
            select(*_COLUMNS)
            .where(HEAPS.c.workspace == workspace, *_tagged(wanted))
            .order_by(HEAPS.c.created_at.desc(), HEAPS.c.key)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
            tags = await _tags(connection, workspace, [row.key for row in rows])
        return [_record(row, tags) for row in rows]

    async def touch(self, workspace: str, key: str) -> None:
        """Note that a heap was used."""
        query = update(HEAPS).where(_is(workspace, key)).values(last_used=time.time())
        async with self._database.begin() as connection:
            await connection.execute(query)

    async def used(self, workspace: str, key: str) -> float | None:
        """Say when a heap was used last; None if the workspace has no such heap."""
        query = select(HEAPS.c.last_used).where(_is(workspace, key))
        async with self._database.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def asked_for(self, workspace: str, key: str) -> str | None:
        """Go back from a heap to one that wasn't made for a sleep alone."""
        query = select(HEAPS.c.automatic, HEAPS.c.parent).where(_is(workspace, key))
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        # What such a heap came from was gone back to when it was saved.
        return row.parent if row is not None and row.automatic else key

    async def forget(self, workspace: str, key: str) -> bool:
        """Let a workspace own a heap no more; whether it did."""
        async with self._database.begin() as connection:
            await connection.execute(delete(TAGS).where(_is(workspace, key, TAGS)))
            gone = await connection.execute(delete(HEAPS).where(_is(workspace, key)))
        return bool(gone.rowcount)

    async def owned(self, key: str) -> bool:
        """Tell whether any workspace owns a heap."""
        query = select(HEAPS.c.key).where(HEAPS.c.key == key).limit(1)
        async with self._database.connect() as connection:
            return (await connection.execute(query)).first() is not None

    async def keys(self) -> set[str]:
        """Give the keys that anybody owns."""
        query = select(HEAPS.c.key).distinct()
        async with self._database.connect() as connection:
            return set((await connection.execute(query)).scalars())

    # -- tags --------------------------------------------------------------------------

    async def tags(self, workspace: str, key: str) -> dict[str, str]:
        """Give a heap's tags."""
        async with self._database.connect() as connection:
            return (await _tags(connection, workspace, [key])).get(key, {})

    async def set_tags(self, workspace: str, key: str, tags: dict[str, str]) -> bool:
        """Replace a heap's tags; False if the workspace has no such heap."""
        async with self._database.begin() as connection:
            if not await _there(connection, workspace, key):
                return False
            await connection.execute(delete(TAGS).where(_is(workspace, key, TAGS)))
            await _tag(connection, workspace, key, tags)
        return True

    async def delete_tags(
        self, workspace: str, key: str, names: Iterable[str] | None
    ) -> bool:
        """Delete some or all tags; False if the workspace has no such heap."""
        query = delete(TAGS).where(_is(workspace, key, TAGS))
        if names is not None:
            query = query.where(TAGS.c.name.in_(list(names)))
        async with self._database.begin() as connection:
            if not await _there(connection, workspace, key):
                return False
            await connection.execute(query)
        return True

    async def query(
        self, workspace: str, wanted: dict[str, str], limit: int
    ) -> list[tuple[str, dict[str, str]]]:
        """Find heaps that have tags, and all of these; in the order of their keys."""
        has_any = exists().where(_same(TAGS))
        query = (
            select(HEAPS.c.key)
            .where(HEAPS.c.workspace == workspace, has_any, *_tagged(wanted))
            .order_by(HEAPS.c.key)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            keys = list((await connection.execute(query)).scalars())
            tags = await _tags(connection, workspace, keys)
        return [(key, tags.get(key, {})) for key in keys]

    # -- sessions ----------------------------------------------------------------------

    async def sessions(self, workspace: str) -> list[str]:
        """Give the names of sessions that have a history."""
        query = (
            select(ENTRIES.c.session)
            .where(ENTRIES.c.workspace == workspace)
            .distinct()
            .order_by(ENTRIES.c.session)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def snapshots(self, workspace: str, session: str) -> list[SnapshotEntry]:
        """Give the steps of a session, oldest first."""
        query = (
            select(
                ENTRIES.c.number,
                ENTRIES.c.input_heap,
                ENTRIES.c.output_heap,
                ENTRIES.c.code,
                ENTRIES.c.created_at,
            )
            .where(ENTRIES.c.workspace == workspace, ENTRIES.c.session == session)
            .order_by(ENTRIES.c.number)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            SnapshotEntry(row[0], row[1], row[2], row[3].decode(*_TEXT), row[4])
            for row in rows
        ]

    async def trim_session(self, workspace: str, session: str, keep: int) -> None:
        """Forget the oldest steps of a session, so that no more than some are left."""
        async with self._database.begin() as connection:
            last = await connection.scalar(_last_number(workspace, session))
            await connection.execute(
                delete(ENTRIES).where(
                    ENTRIES.c.workspace == workspace,
                    ENTRIES.c.session == session,
                    ENTRIES.c.number <= (last or 0) - keep,
                )
            )

    # -- retention ---------------------------------------------------------------------

    async def loose(self) -> list[Owned]:
        """Give the heaps that nothing needs, the one unused for longest first."""
        columns = ("workspace", "key", "last_used", "compressed_size")
        query = (
            select(*(HEAPS.c[name] for name in columns))
            .where(unneeded())
            .order_by(HEAPS.c.last_used)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def forget_loose(
        self, workspace: str, key: str, *, automatic: bool = False
    ) -> bool:
        """Forget a heap if nothing needs it even now; whether it was forgotten.

        Args:
            workspace: Whose it is.
            key: Its key.
            automatic: Only if it was made for a context that fell asleep.
        """
        where = and_(_is(workspace, key), unneeded())
        if automatic:
            where = and_(where, HEAPS.c.automatic)
        async with self._database.begin() as connection:
            gone = await connection.execute(delete(HEAPS).where(where))
        return bool(gone.rowcount)

    async def totals(self) -> tuple[dict[str, int], int]:
        """Count the heaps of each workspace, and the bytes of all files."""
        counts = select(HEAPS.c.workspace, func.count()).group_by(HEAPS.c.workspace)
        one = select(func.max(HEAPS.c.compressed_size).label("size")).group_by(
            HEAPS.c.key
        )
        size = select(func.coalesce(func.sum(one.subquery().c.size), 0))
        async with self._database.connect() as connection:
            rows = (await connection.execute(counts)).all()
            return {row[0]: row[1] for row in rows}, int(
                await connection.scalar(size) or 0
            )

    async def sizes(self) -> dict[str, int]:
        """Give the bytes of each workspace's heaps, also of those that others share."""
        size = func.coalesce(func.sum(HEAPS.c.compressed_size), 0)
        query = select(HEAPS.c.workspace, size).group_by(HEAPS.c.workspace)
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return {row[0]: int(row[1]) for row in rows}

    async def size(self, workspace: str) -> int:
        """Give the bytes of a workspace's heaps, also of those that others share."""
        size = select(func.coalesce(func.sum(HEAPS.c.compressed_size), 0))
        query = size.where(HEAPS.c.workspace == workspace)
        async with self._database.connect() as connection:
            return int(await connection.scalar(query) or 0)


def _record(row: Row[Any], tags: dict[str, dict[str, str]]) -> HeapRecord:
    return HeapRecord._make((*row, tags.get(row.key, {})))


def _is(workspace: str, key: str, table: Any = HEAPS) -> ColumnElement[bool]:
    return and_(table.c.workspace == workspace, table.c.key == key)


def _same(table: Any) -> ColumnElement[bool]:
    return and_(table.c.workspace == HEAPS.c.workspace, table.c.key == HEAPS.c.key)


def _tagged(wanted: dict[str, str]) -> list[ColumnElement[bool]]:
    return [
        exists().where(_same(TAGS), TAGS.c.name == name, TAGS.c.value == value)
        for name, value in wanted.items()
    ]


def _last_number(workspace: str, session: str) -> Select[tuple[Any]]:
    return select(func.max(ENTRIES.c.number)).where(
        ENTRIES.c.workspace == workspace, ENTRIES.c.session == session
    )


async def _there(connection: AsyncConnection, workspace: str, key: str) -> bool:
    query = select(HEAPS.c.key).where(_is(workspace, key))
    return (await connection.execute(query)).first() is not None


async def _tag(
    connection: AsyncConnection, workspace: str, key: str, tags: dict[str, str]
) -> None:
    if not tags:
        return
    names = TAGS.c.name.in_(list(tags))
    await connection.execute(delete(TAGS).where(_is(workspace, key, TAGS), names))
    rows = [
        {"workspace": workspace, "key": key, "name": name, "value": value}
        for name, value in tags.items()
    ]
    await connection.execute(insert(TAGS), rows)


async def _tags(
    connection: AsyncConnection, workspace: str, keys: list[str]
) -> dict[str, dict[str, str]]:
    if not keys:
        return {}
    query = (
        select(TAGS.c.key, TAGS.c.name, TAGS.c.value)
        .where(TAGS.c.workspace == workspace, TAGS.c.key.in_(keys))
        .order_by(TAGS.c.name)
    )
    found: dict[str, dict[str, str]] = {}
    for key, name, value in await connection.execute(query):
        found.setdefault(key, {})[name] = value
    return found


async def _append(
    connection: AsyncConnection, entry: HeapEntry, key: str, now: float
) -> None:
    assert entry.session is not None  # noqa: S101 - by its caller
    last = await connection.scalar(_last_number(entry.workspace, entry.session))
    row = {
        "workspace": entry.workspace,
        "session": entry.session,
        "number": 0 if last is None else last + 1,
        "input_heap": entry.input_heap,
        "output_heap": key,
        "code": entry.code.encode(*_TEXT),
        "created_at": now,
    }
    await connection.execute(insert(ENTRIES).values(row))
