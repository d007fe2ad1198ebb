"""Sessions of Jupyter Server: which document of a front uses which context.

Each context has one, made up of its id unless a front has made another, as some fronts
(VS Code) list live kernels by their sessions alone. Rows outlive the server. So does
which contexts fronts have made: those they may end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from sqlalchemy import Column, String, Table, Text, bindparam, delete, select

from isoserver.contexts.kernel_ids import kernel_id
from isoserver.errors import DatabaseError
from isoserver.storage.database import METADATA
from isoserver.storage.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sqlalchemy import Executable
    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Key
    from isoserver.storage.database import Database
    from isoserver.storage.writer import Commit

__all__ = ["JUPYTER_SESSIONS", "MADE_CONTEXTS", "Session", "Sessions"]

_ROWS_MAX: Final = 100
"""Rows of one context; the oldest go."""
_ORPHANS_MAX: Final = 1000
"""Sessions of deleted contexts that are known; the oldest go."""

JUPYTER_SESSIONS: Final = Table(
    "jupyter_sessions",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("context", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", String, nullable=False),
)
MADE_CONTEXTS: Final = Table(
    "jupyter_made_contexts",
    METADATA,
    # Contexts that fronts have made.
    Column("workspace", String, primary_key=True),
    Column("context", String, primary_key=True),
)
_DROP: Final = delete(JUPYTER_SESSIONS).where(
    JUPYTER_SESSIONS.c.id == bindparam("gone_id"),
    # It may be another one's by the time that is written.
    JUPYTER_SESSIONS.c.workspace == bindparam("gone_workspace"),
    JUPYTER_SESSIONS.c.context == bindparam("gone_context"),
)
_UNMAKE: Final = delete(MADE_CONTEXTS).where(
    MADE_CONTEXTS.c.workspace == bindparam("gone_workspace"),
    MADE_CONTEXTS.c.context == bindparam("gone_context"),
)


@dataclass
class Session:
    """A row.

    Attributes:
        path: The document, as the front names it.
        name: Its name.
        kind: `notebook`, `console` or another word of the front's.
        key: The context.
        id: Its UUID.
    """

    path: str
    name: str
    kind: str
    key: Key
    id: str = field(default_factory=lambda: str(uuid4()))

    @classmethod
    def of_context(cls, key: Key) -> Session:
        """Make the one that a context has by itself."""
        _, context_id = key
        return cls(f"{context_id}.ipynb", context_id, "notebook", key, kernel_id(key))


class Sessions:
    """All rows that fronts have made. Used from the event loop.

    Attributes:
        elsewhere: Tells other servers that a document has a session here, and which
            context that has left.
    """

    def __init__(
        self, database: Database, log: FilteringBoundLogger, *, shared: bool = False
    ) -> None:
        """Begin with none.

        Args:
            database: Where they outlive the server; started before anything is asked.
            log: Told when it can't be written.
            shared: Whether other servers have rows there, too, of their contexts.
        """
        self.elsewhere: Callable[[str, str, str, str], Awaitable[None]] | None
        self.elsewhere = None
        self._shared = shared
        self._database = database
        self._writer = Writer(database, log, "sessions of fronts")
        self._rows: dict[Key, dict[str, Session]] = {}
        self._made: set[Key] = set()
        self._orphans: dict[tuple[str, str], None] = {}  # by workspace and id
        self._opening: WeakValueDictionary[tuple[str, str], asyncio.Lock]
        self._opening = WeakValueDictionary()
        put = database.insert(JUPYTER_SESSIONS)
        changed = ("context", "path", "name", "kind")
        self._put = put.on_conflict_do_update(
            index_elements=["id"], set_={name: put.excluded[name] for name in changed}
        )
        self._put_made = database.insert(MADE_CONTEXTS).on_conflict_do_nothing()

    async def adopt(self, key: Key) -> None:
        """Take up what another server had of a context until now."""
        self._forget_context(key)
        sessions, made = JUPYTER_SESSIONS.c, MADE_CONTEXTS.c
        query = select(sessions.path, sessions.name, sessions.kind, sessions.id).where(
            sessions.workspace == key[0], sessions.context == key[1]
        )
        query_made = select(made.context).where(
            made.workspace == key[0], made.context == key[1]
        )
        async with self._database.connect() as connection:
            for path, name, kind, session_id in await connection.execute(query):
                self._keep(Session(path, name, kind, key, session_id))
            if (await connection.execute(query_made)).first() is not None:
                self._made.add(key)

    async def let_go(self, key: Key) -> None:
        """Know nothing of a context that is another server's from now on."""
        self._forget_context(key)
        await self.written()

    async def written(self) -> None:
        """Have all be in the database as long as what it is about is this server's."""
        if self._shared:
            with suppress(DatabaseError):  # the log has it
                await self._writer.flush()

    def _forget_context(self, key: Key) -> None:
        self._rows.pop(key, None)
        self._made.discard(key)

    async def start(self, keys: Iterable[Key]) -> None:
        """Take up what an earlier server left.

        Args:
            keys: The contexts that there still are.
        """
        kept = set(keys)
        sessions, made = JUPYTER_SESSIONS.c, MADE_CONTEXTS.c
        query = select(
            *(sessions.workspace, sessions.context),
            *(sessions.path, sessions.name, sessions.kind, sessions.id),
        )
        gone: set[Key] = set()
        async with self._database.connect() as connection:
            for workspace, context, *row in await connection.execute(query):
                key = workspace, context
                path, name, kind, session_id = row
                self._keep(Session(path, name, kind, key, session_id))
            query_made = select(made.workspace, made.context)
            for workspace, context in await connection.execute(query_made):
                self._made.add((workspace, context))
        gone = (self._made | self._rows.keys()) - kept
        for key in gone:
            await self.drop_context(key)

    async def close(self) -> None:
        """Write what is left."""
        await self._writer.close()

    async def everywhere(self, workspace: str, keys: Iterable[Key]) -> list[Session]:
        """Return the sessions of some contexts of a workspace, wherever they are."""
        if not self._shared:
            return self.list(keys)
        columns = JUPYTER_SESSIONS.c
        query = select(
            *(columns.path, columns.name, columns.kind, columns.context, columns.id)
        ).where(columns.workspace == workspace)
        found: dict[Key, list[Session]] = {}
        async with self._database.connect() as connection:
            for path, name, kind, context, row_id in await connection.execute(query):
                key = workspace, context
                row = Session(path, name, kind, key, row_id)
                found.setdefault(key, []).append(row)
        return [
            row for key in keys for row in found.get(key) or [Session.of_context(key)]
        ]

    def list(self, keys: Iterable[Key]) -> list[Session]:
        """Return the sessions of some contexts, one or more for each."""
        return [
            row
            for key in keys
            for row in self._rows.get(key, {}).values() or [Session.of_context(key)]
        ]

    async def context_of(self, workspace: str, session_id: str) -> str | None:
        """Return the context that a session which a front has made uses."""
        for (owner, context), rows in self._rows.items():
            if owner == workspace and session_id in rows:
                return context
        columns = JUPYTER_SESSIONS.c
        query = select(columns.context).where(
            columns.workspace == workspace, columns.id == session_id
        )
        async with self._database.connect() as connection:
            found: str | None = await connection.scalar(query)
        return found

    def opening(self, workspace: str, path: str) -> asyncio.Lock:
        """Return the lock to hold while a document gets its session."""
        return self._opening.setdefault((workspace, path), asyncio.Lock())

    async def of_path(self, workspace: str, path: str) -> Session | None:
        """Return the session of a document that a front has made, wherever it is."""
        for (owner, _), rows in self._rows.items():
            for row in rows.values():
                if owner == workspace and row.path == path:
                    return row
        if not self._shared:
            return None
        columns = JUPYTER_SESSIONS.c
        query = select(
            *(columns.name, columns.kind, columns.context, columns.id)
        ).where(columns.workspace == workspace, columns.path == path)
        async with self._database.connect() as connection:
            found = (await connection.execute(query)).first()
        if found is None:
            return None
        name, kind, context, row_id = found
        return Session(path, name, kind, (workspace, context), row_id)

    def add(self, row: Session) -> Commit:
        """Add a row, or change it; one that the same document had is replaced."""
        workspace, context = row.key
        self.drop_path(workspace, row.path, row.id)
        self._forget(row.id)
        self._keep(row)
        rows = self._rows[row.key]
        for old in list(rows)[: max(0, len(rows) - _ROWS_MAX)]:
            self.drop(old)
        values = {
            "id": row.id,
            "workspace": workspace,
            "context": context,
            "path": row.path,
            "name": row.name,
            "kind": row.kind,
        }
        held = self._database.held(row.key)
        return self._writer.upsert(self._put, row.id, values, held)

    async def put(self, row: Session, left: str = "") -> None:
        """Add a row, or change it, also if the same document had one elsewhere.

        Args:
            row: The row.
            left: The id of the context that it is of no more, which another server ends
                that has it, if a front has made it.
        """
        await self.add(row)
        if self.elsewhere is not None:
            await self.elsewhere(row.key[0], row.path, row.id, left)

    def drop_passed(self, workspace: str, path: str, session_id: str) -> None:
        """Drop the rows of a document that has a session on another server by now."""
        self._forget(session_id)  # whose row is that server's
        self.drop_path(workspace, path, session_id)

    def drop_path(self, workspace: str, path: str, kept_id: str) -> None:
        """Drop the rows of a document, but for one."""
        for rows in list(self._rows.values()):
            for other in list(rows.values()):
                same = other.path == path and other.key[0] == workspace
                if same and other.id != kept_id:
                    self.drop(other.id)

    def drop(self, session_id: str) -> None:
        """Drop a row, if a front has made it."""
        key = self._forget(session_id)
        if key is not None:
            self._erase(_DROP, key, gone_id=session_id)

    async def drop_now(self, session_id: str) -> None:
        """Drop a row before anybody is told so who may ask another server."""
        self.drop(session_id)
        if self._shared:
            await self._writer.flush()

    async def drop_context(self, key: Key) -> None:
        """Drop all rows of a context that is deleted.

        One by one, as another of that name may have some by the time they go.
        """
        rows = list(self._rows.get(key, ()))
        for session_id in rows or [Session.of_context(key).id]:
            self._orphans[key[0], session_id] = None
        while len(self._orphans) > _ORPHANS_MAX:
            del self._orphans[next(iter(self._orphans))]
        for session_id in rows:
            self.drop(session_id)
        if key in self._made:
            self._made.discard(key)
            self._erase(_UNMAKE, key)
        await self.written()

    def drop_orphan(self, workspace: str, session_id: str) -> bool:
        """Forget a session whose context was deleted; False if it is none."""
        try:
            del self._orphans[workspace, session_id]
        except KeyError:
            return False
        return True

    def note_made(self, key: Key) -> Commit:
        """Note that a front has made a context, and so may end it."""
        self._made.add(key)
        row = {"workspace": key[0], "context": key[1]}
        return self._writer.upsert(self._put_made, key, row, self._database.held(key))

    def made(self, key: Key) -> bool:
        """Whether a front has made a context."""
        return key in self._made

    def _erase(self, statement: Executable, key: Key, **more: str) -> None:
        gone = {"gone_workspace": key[0], "gone_context": key[1], **more}
        held = self._database.held(key)
        self._writer.update(statement, gone, soon=True, held=held)

    def _keep(self, row: Session) -> None:
        self._rows.setdefault(row.key, {})[row.id] = row

    def _forget(self, session_id: str) -> Key | None:
        """Forget a row; return whose it was."""
        for key, rows in self._rows.items():
            if rows.pop(session_id, None) is not None:
                if not rows:
                    del self._rows[key]
                return key
        return None
