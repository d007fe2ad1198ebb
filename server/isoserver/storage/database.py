"""The database: the engine, transactions and the schema.

SQLite in a file in the data folder, or PostgreSQL by URL; SQLAlchemy Core over both.
Each feature declares its tables on `METADATA`, and nobody else changes them. Every
table has a column `workspace`, which every query for a client names.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakSet

from sqlalchemy import MetaData, event, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from isoserver.errors import DatabaseError, FencedError
from isoserver.storage.urls import is_sqlite, url_of

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Table
    from sqlalchemy.engine import URL
    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from isoserver.storage.silence import Sessions

__all__ = [
    "FENCED_STATE",
    "HOLDS",
    "METADATA",
    "SERVER_VARIABLE",
    "SHARED",
    "Database",
    "Held",
    "hold",
    "url_of",
]

Held: TypeAlias = tuple[str, str, int]
"""A context's workspace and id, and the generation that something was decided under."""

METADATA: Final = MetaData()
"""All tables of the server."""
SHARED: Final = MetaData()
"""Tables beside these where several servers share a database."""

SERVER_VARIABLE: Final = "isokernel.server"
"""What a session of a cluster's server carries its id in."""
FENCED_STATE: Final = "IK001"
"""The SQLSTATE of what others have taken over; `isoserver.cluster.fence` raises it."""
HOLDS: Final = "cluster_holds"
"""The function that refuses what isn't of the named generations any more; likewise."""

_HOLDS: Final = text(f"SELECT {HOLDS}('context', :workspaces, :ids, :generations)")
_DEFECTS: Final = (IntegrityError, ProgrammingError, DataError)
"""What a database raises for a wrong query: a defect of ours, not an outage."""
_OUTAGES: Final = (DBAPIError, PoolTimeoutError, OSError, asyncio.TimeoutError)
_ATTEMPTS: Final = 3
_POOL: Final = 5
_SQLITE_POOL: Final = 15
_BUSY_SECONDS: Final = 30.0
_SQLITE_WRITE: Final = text("PRAGMA user_version = 1")
"""Writes a page of the file, whatever the version was; nothing reads the version."""
_WRITE: Final = text("SELECT txid_current()")
"""PostgreSQL refuses it where it would refuse to write."""
_POOL_SECONDS: Final = 10.0
"""How long a connection of PostgreSQL's is waited for while all are in use."""
_CLOSE_SECONDS: Final = 2.0
_CHECK_SECONDS: Final = 5.0
_CHECKED_SECONDS: Final = 1.0
"""How long the answer to whether it can be written holds."""
_PRAGMAS: Final = (
    # Readers don't wait for the writer, and a commit is one write without a sync: it
    # outlives the process, kill -9 included, if not always the machine.
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
)


class Database:
    """One database. In the event loop only.

    Attributes:
        url: Its URL, with the driver.
        is_sqlite: Whether it is SQLite, else PostgreSQL.
        engine: SQLAlchemy's engine, for what `begin` and `connect` don't cover.
        generations: Of the contexts that this server owns, by workspace and id, where
            servers share the database.
    """

    def __init__(self, url: str, variables: Mapping[str, str] | None = None) -> None:
        """Make the engine; nothing is opened before `start`.

        Args:
            url: With the driver, as `url_of` returns it.
            variables: Of PostgreSQL's, which each session has from its beginning.

        Raises:
            DatabaseError: The URL can't be read.
        """
        self.url = url
        self.is_sqlite = is_sqlite(url)
        self._threads: WeakSet[threading.Thread] = WeakSet()
        self._variables = variables
        self._sessions: Sessions | None = None
        self.generations: dict[tuple[str, str], int] = {}
        try:
            self.engine: AsyncEngine = create_async_engine(url, **self._options())
        except (ArgumentError, ValueError) as error:
            message = f"the database's URL can't be read: {error}"
            raise DatabaseError(message) from error
        # What was wrong when the database was last written for `check`, and when.
        self._check: asyncio.Future[DatabaseError | None] | None = None
        self._checked = 0.0
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
        else:
            event.listen(self.engine.sync_engine, "handle_error", _end_if_silent)

    def _options(self) -> dict[str, Any]:
        if self.is_sqlite:
            more = {"timeout": _BUSY_SECONDS, "async_creator_fn": self._open_sqlite}
            # Each is a thread, and as dear to make as five queries: so all stay that
            # were ever needed at once.
            return {"connect_args": more, "pool_size": _SQLITE_POOL, "max_overflow": 0}
        from isoserver.storage.silence import (  # noqa: PLC0415 - needs asyncpg
            UNHEARD,
            Sessions,
        )

        self._sessions = Sessions()
        return {
            "pool_size": _POOL,
            "pool_timeout": _POOL_SECONDS,
            "pool_pre_ping": True,
            "connect_args": {
                "async_creator_fn": self._sessions.begin,
                "server_settings": {**UNHEARD, **(self._variables or {})},
            },
        }

    def _open_sqlite(self, *place: Any, **options: Any) -> Any:
        """Begin a connection as SQLAlchemy does, and know its thread."""
        import aiosqlite  # noqa: PLC0415 - only where the database is SQLite

        connection = aiosqlite.connect(*place, **options)
        thread = connection._thread  # noqa: SLF001 - SQLAlchemy's next line, too
        thread.daemon = True
        self._threads.add(thread)
        return connection

    async def start(self) -> None:
        """Open the database, and make the tables that it lacks.

        Raises:
            DatabaseError: It can't be opened or written to.
        """
        try:
            _keep_private(self.engine.url)
            for _ in range(_ATTEMPTS):
                with suppress(DBAPIError):  # another process may be making them
                    await self._make_tables()
                    return
            await self._make_tables()
        except (SQLAlchemyError, OSError) as error:
            # Without SQLAlchemy's advice for programmers, which is another line.
            reason = error.orig if isinstance(error, DBAPIError) else error
            message = f"the database can't be used: {reason}"
            raise DatabaseError(message) from error

    async def _make_tables(self) -> None:
        async with self.engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)

    def held(self, *keys: tuple[str, str]) -> list[Held]:
        """Return under which generations something is decided now about contexts.

        What is written of them later names that, however late it comes to the database.
        Nothing where servers share none; 0 is for what isn't this server's.
        """
        if self._variables is None:
            return []
        return [(*key, self.generations.get(key, 0)) for key in keys]

    def insert(self, table: Table) -> Any:
        """Return an insert that can say what becomes of a row that is there."""
        # Only the one that is used: PostgreSQL's takes 0.1 s of a start.
        dialect = import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")
        return dialect.insert(table)

    @asynccontextmanager
    async def begin(self, held: Sequence[Held] = ()) -> AsyncIterator[AsyncConnection]:
        """Open a transaction, which is committed at the end of the block.

        Args:
            held: What `held` returned when it was decided what is to be written. These
                contexts stay this server's until the end.

        Raises:
            DatabaseError: The database can't be reached or written to.
            FencedError: A context has changed hands since.
        """
        with _translated():
            async with self.engine.begin() as connection:
                if held:
                    await hold(connection, held)
                yield connection

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for reading.

        Raises:
            DatabaseError: The database can't be reached or read.
        """
        with _translated():
            async with self.engine.connect() as connection:
                yield connection

    async def check(self) -> None:
        """Check that the database can be written; at most once a second.

        Raises:
            DatabaseError: It can't be reached or written to, or not in time.
        """
        now = time.monotonic()
        last, seconds = self._check, now - self._checked
        if last is None or (last.done() and seconds > _CHECKED_SECONDS):
            self._checked = now
            self._check = last = asyncio.ensure_future(self._write_nothing())
        # Not with wait_for: SQLite's thread can't be told to give up.
        done, _ = await asyncio.wait({last}, timeout=_CHECK_SECONDS)
        if not done:
            message = f"the database can't be written within {_CHECK_SECONDS:g} s"
            raise DatabaseError(message)
        if (error := last.result()) is not None:
            raise error

    async def _write_nothing(self) -> DatabaseError | None:
        """Write something that changes nothing; return what that failed with."""
        try:
            async with self.begin() as connection:
                await connection.execute(_SQLITE_WRITE if self.is_sqlite else _WRITE)
        except DatabaseError as error:
            return error
        return None

    def expect_end(self) -> None:
        """Ask nothing more of the database once it has been silent."""
        if self._sessions is not None:
            self._sessions.last = True

    def hang_up(self) -> None:
        """End all sessions, as the database is silent: who waits is told so."""
        if self._sessions is not None:
            self._sessions.hang_up()

    def give_up(self) -> None:
        """Ask nothing more of the database: who waits is told so."""
        if self._sessions is not None:
            self._sessions.give_up()

    async def close(self) -> None:
        """Close all connections.

        SQLite's are threads. That of a query which was cancelled isn't waited for by
        SQLAlchemy, and would tell an event loop that is gone, and keep its file open.
        """
        self.give_up()  # whoever still waits is told so
        await self.engine.dispose()
        left = [thread for thread in self._threads if thread.is_alive()]
        if left:
            await asyncio.to_thread(_join, left)


async def hold(connection: AsyncConnection, held: Sequence[Held]) -> None:
    """Keep contexts as they are held until a transaction ends; see `Database.begin`."""
    workspaces, ids, generations = map(list, zip(*held, strict=True))
    named = {"workspaces": workspaces, "ids": ids, "generations": generations}
    await connection.execute(_HOLDS, named)


def _join(threads: Iterable[threading.Thread]) -> None:
    """Wait for threads, together for a while at most."""
    end = time.monotonic() + _CLOSE_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what a driver raises during an outage as a `DatabaseError`."""
    try:
        yield
    except _DEFECTS:
        raise
    except _OUTAGES as error:
        # SQLAlchemy's message has the query in it, and those of drivers have addresses.
        cause = getattr(error, "orig", None) or error
        if getattr(cause, "sqlstate", None) == FENCED_STATE:
            raise FencedError from error
        message = f"the database can't be used now: {type(cause).__name__}"
        raise DatabaseError(message) from error


def _keep_private(url: URL) -> None:
    """Make a missing SQLite file readable by its owner only.

    Secrets of sources are in it. SQLite gives its other files the same mode.
    """
    place = url.database or ""
    if not url.drivername.startswith("sqlite") or place in {"", ":memory:"}:
        return
    if not place.startswith("file:"):
        with suppress(FileExistsError):
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _end_if_silent(context: ExceptionContext) -> None:
    """Have a session that gave no answer in time be of no use to anybody."""
    if isinstance(context.original_exception, asyncio.TimeoutError):
        context.is_disconnect = True
