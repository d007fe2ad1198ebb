"""The tables of heaps, and every query of them: heaps, tags, histories of sessions."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from isoserver.contexts.store import CONTEXTS
from isoserver.heaps.records import HeapRecord, SessionEntry
from isoserver.storage.database import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.heaps.records import HeapOrigin
    from isoserver.storage.database import Database

__all__ = ["HEAPS", "HeapTables", "Unneeded", "Usage"]

HEAPS: Final = Table(
    "heaps",
    METADATA,
    # A row says that a workspace owns a heap; several may own the same one.
    Column("workspace", String, primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("compressed_size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used", Double, nullable=False),
    Column("parent", String(64)),
    Column("session", String),
    Column("execution_id", String),
    Column("engine", Text, nullable=False),
    Column("language", String, nullable=False),
    Column("execution_count", Integer, nullable=False),
    # Saved to hibernate a context: of no use once that has another one.
    Column("automatic", Boolean, nullable=False),
    Index("heaps_by_key", "key"),
    Index("heaps_by_use", "last_used"),
)

TAGS: Final = Table(
    "heap_tags",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["workspace", "key"], ["heaps.workspace", "heaps.key"], ondelete="CASCADE"
    ),
    Index("heap_tags_by_pair", "workspace", "name", "value"),
)

ENTRIES: Final = Table(
    "session_entries",
    METADATA,
    # The history of a session outlives its heaps.
    Column("workspace", String, primary_key=True),
    Column("session", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("input_heap", String(64)),
    Column("output_heap", String(64), nullable=False),
    Column("code", LargeBinary, nullable=False),  # not every database takes NUL
    Column("created_at", Double, nullable=False),
    Index("session_entries_by_heap", "workspace", "output_heap"),
)

CONTENTS: Final = Table(
    "heap_contents",
    METADATA,
    # The contents of the files that a heap has, by their hashes.
    Column("workspace", String, primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("compressed_size", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["workspace", "key"], ["heaps.workspace", "heaps.key"], ondelete="CASCADE"
    ),
    Index("heap_contents_by_digest", "digest"),
)

_COLUMNS: Final = tuple(HEAPS.c[name] for name in HeapRecord._fields if name != "tags")

# What each save or restore asks: to make a statement takes as long as to run it.
_ITS: Final = and_(
    HEAPS.c.workspace == bindparam("its_workspace"),
    HEAPS.c.key == bindparam("its_key"),
)
_FOUND: Final = (
    select(*_COLUMNS, TAGS.c.name, TAGS.c.value)
    .outerjoin_from(
        HEAPS,
        TAGS,
        and_(TAGS.c.workspace == HEAPS.c.workspace, TAGS.c.key == HEAPS.c.key),
    )
    .where(_ITS)
    .order_by(TAGS.c.name)
)
_PARENT: Final = select(HEAPS.c.automatic, HEAPS.c.parent).where(_ITS)
_AGAIN: Final = (
    update(HEAPS)
    .where(_ITS)
    .values(
        last_used=bindparam("now"),
        automatic=and_(HEAPS.c.automatic, bindparam("unasked", type_=Boolean)),
    )
)
_LISTED: Final = 1000
"""Heaps that are listed at once, of all that nothing needs."""
_ENCODING: Final = ("utf-8", "surrogatepass")
"""Of code, as JavaScript's strings may have lone surrogates."""


class Unneeded(NamedTuple):
    """A heap that nothing needs.

    Attributes:
        workspace: Who owns it.
        key: The heap key.
        last_used: When it was last saved or loaded, in seconds since 1970.
        size_bytes: The size of its file.
    """

    workspace: str
    key: str
    last_used: float
    size_bytes: int


class Usage(NamedTuple):
    """How many heaps a workspace owns, and the bytes of their files."""

    heaps: int
    size_bytes: int


class HeapTables:
    """What the database knows of heaps, for all workspaces. In the event loop only."""

    def __init__(self, database: Database) -> None:
        """Use a database, which has to be started before the first query."""
        self._database = database
        self._new = database.insert(HEAPS).on_conflict_do_nothing()
        self._adding = asyncio.Lock()  # steps of a session are numbered one by one

    # -- heaps -------------------------------------------------------------------------

    async def add(
        self,
        origin: HeapOrigin,
        values: dict[str, Any],
        entries_max: int,
        contents: dict[str, int] | None = None,
    ) -> None:
        """Record that a workspace owns a heap, with its tags and the session's step.

        Args:
            origin: Where the heap comes from.
            values: The other columns of its row.
            entries_max: How many steps of the session are kept, the latest.
            contents: The contents of its files, by hash, and their sizes as stored.
        """
        now = time.time()
        key, workspace = values["key"], origin.workspace
        of_session = [] if origin.session is None else [(workspace, origin.session)]
        held = self._database.held(*of_session)
        async with self._adding, self._database.begin(held) as connection:
            again = {
                "its_workspace": workspace,
                "its_key": key,
                "now": now,
                "unasked": values["automatic"],
            }
            if not (await connection.execute(_AGAIN, again)).rowcount:
                row = {
                    **values,
                    "workspace": workspace,
                    "created_at": now,
                    "last_used": now,
                    "parent": origin.input_heap,
                    "session": origin.session,
                    "execution_id": origin.execution_id,
                }
                added = (await connection.execute(self._new, row)).rowcount
                if not added:  # another server has, since
                    await connection.execute(_AGAIN, again)
                rows = [
                    {
                        "workspace": workspace,
                        "key": key,
                        "digest": digest,
                        "compressed_size": size,
                    }
                    for digest, size in (contents or {}).items()
                ]
                if added and rows:
                    await connection.execute(insert(CONTENTS), rows)
            await _add_tags(connection, workspace, key, origin.tags)
            if origin.session is not None:
                await _append(connection, origin, key, now, entries_max)

    async def find(self, workspace: str, key: str) -> HeapRecord | None:
        """Look a workspace's heap up, with its tags, in one query."""
        its = {"its_workspace": workspace, "its_key": key}
        async with self._database.connect() as connection:
            rows = (await connection.execute(_FOUND, its)).all()
        if not rows:
            return None
        tags = {row.name: row.value for row in rows if row.name is not None}
        return HeapRecord._make((*rows[0][: len(_COLUMNS)], tags))

    async def newest(
        self, workspace: str, tags: dict[str, str], limit: int, offset: int = 0
    ) -> list[HeapRecord]:
        """List a workspace's heaps that have all these tags, newest first."""
        query = (
            select(*_COLUMNS)
            .where(HEAPS.c.workspace == workspace, *_tagged(tags))
            .order_by(HEAPS.c.created_at.desc(), HEAPS.c.key)
            .limit(limit)
            .offset(offset)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
            found = await _tags(connection, workspace, [row.key for row in rows])
        return [HeapRecord._make((*row, found[row.key])) for row in rows]

    async def touch(self, workspace: str, key: str) -> None:
        """Record that a heap was used now."""
        query = update(HEAPS).where(_is(workspace, key)).values(last_used=time.time())
        async with self._database.begin() as connection:
            await connection.execute(query)

    async def hold(self, workspace: str, key: str) -> bool:
        """Note that somebody asked for a heap; return False if there is none."""
        values = {"automatic": False, "last_used": time.time()}
        query = update(HEAPS).where(_is(workspace, key)).values(values)
        async with self._database.begin() as connection:
            return bool((await connection.execute(query)).rowcount)

    async def requested(self, workspace: str, key: str) -> str | None:
        """Return the key, or that of the parent if the heap was saved automatically.

        The parent of such a heap was found in the same way, so that it was not.
        """
        its = {"its_workspace": workspace, "its_key": key}
        async with self._database.connect() as connection:
            row = (await connection.execute(_PARENT, its)).one_or_none()
        return row.parent if row is not None and row.automatic else key

    async def delete(self, workspace: str, key: str) -> bool:
        """Delete a workspace's row of a heap; return whether there was one."""
        async with self._database.begin() as connection:
            await connection.execute(delete(TAGS).where(_is(workspace, key, TAGS)))
            gone = await connection.execute(delete(HEAPS).where(_is(workspace, key)))
        return bool(gone.rowcount)

    # -- tags --------------------------------------------------------------------------

    async def set_tags(self, workspace: str, key: str, tags: dict[str, str]) -> bool:
        """Replace a heap's tags; return False if the workspace has no such heap."""
        async with self._database.begin() as connection:
            if not await _exists(connection, workspace, key):
                return False
            await connection.execute(delete(TAGS).where(_is(workspace, key, TAGS)))
            await _add_tags(connection, workspace, key, tags)
        return True

    async def delete_tags(
        self, workspace: str, key: str, names: Iterable[str] | None
    ) -> bool:
        """Delete tags, all for None; return False if the workspace has no such heap."""
        query = delete(TAGS).where(_is(workspace, key, TAGS))
        if names is not None:
            query = query.where(TAGS.c.name.in_(list(names)))
        async with self._database.begin() as connection:
            if not await _exists(connection, workspace, key):
                return False
            await connection.execute(query)
        return True

    async def tagged(
        self, workspace: str, tags: dict[str, str], limit: int, offset: int = 0
    ) -> list[tuple[str, dict[str, str]]]:
        """List heaps that have tags, and all of these, by key, each with its tags."""
        query = (
            select(HEAPS.c.key)
            .where(
                HEAPS.c.workspace == workspace,
                exists().where(_same(TAGS)),
                *_tagged(tags),
            )
            .order_by(HEAPS.c.key)
            .limit(limit)
            .offset(offset)
        )
        async with self._database.connect() as connection:
            keys = list((await connection.execute(query)).scalars())
            found = await _tags(connection, workspace, keys)
        return [(key, found[key]) for key in keys]

    # -- sessions ----------------------------------------------------------------------

    async def sessions(self, workspace: str) -> list[str]:
        """List the names of the sessions that have a history."""
        query = (
            select(ENTRIES.c.session)
            .where(ENTRIES.c.workspace == workspace)
            .distinct()
            .order_by(ENTRIES.c.session)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def history(self, workspace: str, session: str) -> list[SessionEntry]:
        """List the steps of a session, oldest first."""
        columns = ("number", "input_heap", "output_heap", "code", "created_at")
        query = (
            select(*(ENTRIES.c[name] for name in columns))
            .where(ENTRIES.c.workspace == workspace, ENTRIES.c.session == session)
            .order_by(ENTRIES.c.number)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            SessionEntry(row[0], row[1], row[2], row[3].decode(*_ENCODING), row[4])
            for row in rows
        ]

    # -- retention ---------------------------------------------------------------------

    async def owned(self, keys: Iterable[str]) -> set[str]:
        """Return which of some heaps any workspace owns."""
        return await self._those(HEAPS.c.key, keys)

    async def used(self, digests: Iterable[str]) -> set[str]:
        """Return which of some contents any heap has a file with."""
        return await self._those(CONTENTS.c.digest, digests)

    async def _those(self, column: Column[str], values: Iterable[str]) -> set[str]:
        asked = list(values)
        if not asked:
            return set()
        query = select(column).where(column.in_(asked)).distinct()
        async with self._database.connect() as connection:
            return set((await connection.execute(query)).scalars())

    async def has_contents(self, workspace: str, key: str) -> bool:
        """Tell whether a heap has files that have a content."""
        query = select(CONTENTS.c.digest).where(_is(workspace, key, CONTENTS)).limit(1)
        async with self._database.connect() as connection:
            return (await connection.execute(query)).first() is not None

    async def unneeded(
        self,
        before: float,
        of: Iterable[str] = (),
        after: Unneeded | None = None,
    ) -> list[Unneeded]:
        """List heaps that nothing needs, the one unused for longest first: some.

        Args:
            before: Those that were last used before that, in seconds since 1970.
            of: And those of these workspaces, whenever they were used.
            after: What was listed last; those after it.
        """
        order = HEAPS.c.last_used, HEAPS.c.workspace, HEAPS.c.key
        asked = or_(HEAPS.c.last_used < before, HEAPS.c.workspace.in_(list(of)))
        query = (
            select(HEAPS.c.workspace, HEAPS.c.key, order[0], HEAPS.c.compressed_size)
            .where(_unneeded(), asked)
            .order_by(*order)
            .limit(_LISTED)
        )
        if after is not None:
            last = after.last_used, after.workspace, after.key
            query = query.where(tuple_(*order) > last)
        async with self._database.connect() as connection:
            return [Unneeded._make(row) for row in await connection.execute(query)]

    async def delete_unneeded(
        self, workspace: str, key: str, *, automatic: bool = False
    ) -> bool:
        """Delete the row of a heap if nothing needs it now; return whether it did.

        Args:
            workspace: Who owns it.
            key: The heap key.
            automatic: Only if it was saved automatically.
        """
        query = delete(HEAPS).where(_is(workspace, key), _unneeded())
        if automatic:
            query = query.where(HEAPS.c.automatic)
        async with self._database.begin() as connection:
            return bool((await connection.execute(query)).rowcount)

    async def size_bytes(self) -> int:
        """Return the bytes of all files; one that several own counts once."""
        total = 0
        async with self._database.connect() as connection:
            for table, name in ((HEAPS, HEAPS.c.key), (CONTENTS, CONTENTS.c.digest)):
                one = select(func.max(table.c.compressed_size).label("size"))
                each = one.group_by(name).subquery()
                query = select(func.coalesce(func.sum(each.c.size), 0))
                total += int(await connection.scalar(query) or 0)
        return total

    async def usage(self, workspace: str | None = None) -> dict[str, Usage]:
        """Return what each workspace uses, or one of them, shared files included."""
        size = func.sum(HEAPS.c.compressed_size)
        query = select(HEAPS.c.workspace, func.count(), size)
        if workspace is not None:
            query = query.where(HEAPS.c.workspace == workspace)
        query = query.group_by(HEAPS.c.workspace)
        largest = func.max(CONTENTS.c.compressed_size).label("size")
        each = select(CONTENTS.c.workspace, largest)
        if workspace is not None:
            each = each.where(CONTENTS.c.workspace == workspace)
        ones = each.group_by(CONTENTS.c.workspace, CONTENTS.c.digest).subquery()
        contents = select(ones.c.workspace, func.sum(ones.c.size))
        contents = contents.group_by(ones.c.workspace)
        found: dict[str, Usage] = defaultdict(lambda: Usage(0, 0))
        async with self._database.connect() as connection:
            for name, heaps, taken in await connection.execute(query):
                found[name] = Usage(heaps, int(taken))
            for name, taken in await connection.execute(contents):
                before = found[name]
                found[name] = Usage(before.heaps, before.size_bytes + int(taken))
        return found


def _is(workspace: str, key: str, table: Any = HEAPS) -> ColumnElement[bool]:
    return and_(table.c.workspace == workspace, table.c.key == key)


def _same(table: Any) -> ColumnElement[bool]:
    return and_(table.c.workspace == HEAPS.c.workspace, table.c.key == HEAPS.c.key)


def _tagged(tags: dict[str, str]) -> list[ColumnElement[bool]]:
    return [
        exists().where(_same(TAGS), TAGS.c.name == name, TAGS.c.value == value)
        for name, value in tags.items()
    ]


def _unneeded() -> ColumnElement[bool]:
    """No tags, no context that would go on from it, not the last of a session."""
    later = ENTRIES.alias()
    has_later = exists().where(
        later.c.workspace == ENTRIES.c.workspace,
        later.c.session == ENTRIES.c.session,
        later.c.number > ENTRIES.c.number,
    )
    is_last = exists().where(
        ENTRIES.c.workspace == HEAPS.c.workspace,
        ENTRIES.c.output_heap == HEAPS.c.key,
        not_(has_later),
    )
    in_context = exists().where(
        CONTEXTS.c.workspace == HEAPS.c.workspace, CONTEXTS.c.heap == HEAPS.c.key
    )
    return and_(not_(exists().where(_same(TAGS))), not_(is_last), not_(in_context))


async def _exists(connection: AsyncConnection, workspace: str, key: str) -> bool:
    query = select(HEAPS.c.key).where(_is(workspace, key))
    return (await connection.execute(query)).first() is not None


async def _add_tags(
    connection: AsyncConnection, workspace: str, key: str, tags: dict[str, str]
) -> None:
    """Add tags to a heap; those of the same names are replaced."""
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
    found: dict[str, dict[str, str]] = defaultdict(dict)
    if keys:
        query = (
            select(TAGS.c.key, TAGS.c.name, TAGS.c.value)
            .where(TAGS.c.workspace == workspace, TAGS.c.key.in_(keys))
            .order_by(TAGS.c.name)
        )
        for key, name, value in await connection.execute(query):
            found[key][name] = value
    return found


async def _append(
    connection: AsyncConnection,
    origin: HeapOrigin,
    key: str,
    now: float,
    entries_max: int,
) -> None:
    """Add a step to the history of a session; delete the oldest over the limit."""
    assert origin.session is not None  # noqa: S101 - by its caller
    of_session = and_(
        ENTRIES.c.workspace == origin.workspace, ENTRIES.c.session == origin.session
    )
    query = select(func.max(ENTRIES.c.number)).where(of_session)
    last = await connection.scalar(query)
    number = 0 if last is None else last + 1
    row = {
        "workspace": origin.workspace,
        "session": origin.session,
        "number": number,
        "input_heap": origin.input_heap,
        "output_heap": key,
        "code": origin.code.encode(*_ENCODING),
        "created_at": now,
    }
    await connection.execute(insert(ENTRIES).values(row))
    old = ENTRIES.c.number <= number - entries_max
    await connection.execute(delete(ENTRIES).where(of_session, old))
