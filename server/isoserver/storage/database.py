"""The database: what outlives the server's process, but for heaps.

SQLite in a file under the data folder, or PostgreSQL by URL; SQLAlchemy Core over
both. A package declares its tables on `METADATA` in a module `tables.py` of its own,
and nobody else touches them. Every table has a column `workspace` that every query
names.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData, event
from sqlalchemy.engine import make_url
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

from isoserver.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["METADATA", "Database", "url_of"]

METADATA: Final = MetaData()
"""All tables of the server."""

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_FILE: Final = "isokernel.sqlite"
_DEFECTS: Final = (IntegrityError, ProgrammingError, DataError)
"""What a database says of a query that is wrong, rather than of itself."""
_OUTAGES: Final = (DBAPIError, PoolTimeoutError, OSError, asyncio.TimeoutError)
_ATTEMPTS: Final = 3
_POOL: Final = 5
_BUSY_SECONDS: Final = 30.0
_PRAGMAS: Final = (
    # Readers don't wait for the writer, and a commit is one write without a sync: it
    # outlives the process, kill -9 included, if not always the machine.
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
)


def url_of(given: str | None, folder: Path) -> str:
    """Give the URL with its driver; of a file in `folder` if none is given.

    Raises:
        DatabaseError: It isn't the URL of a database that we know.
    """
    if given is None:
        return f"sqlite+aiosqlite:///{folder / _FILE}"
    try:
        url = make_url(given)
    except ArgumentError as error:
        message = f"the database's URL can't be read: {error}"
        raise DatabaseError(message) from error
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        message = f"{url.drivername} is no database of ours: sqlite or postgresql"
        raise DatabaseError(message)
    return url.set(drivername=driver).render_as_string(hide_password=False)


class Database:
    """One database, used from the event loop only.

    Attributes:
        engine: SQLAlchemy's; for those who need more than `begin` and `connect`.
    """

    def __init__(self, url: str) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            url: With driver, as `url_of` gives it.
        """
        self.engine: AsyncEngine = create_async_engine(url, **_options(url))
        if url.startswith("sqlite"):
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)

    async def start(self) -> None:
        """Open it and make the tables that it lacks.

        Raises:
            DatabaseError: It can't be opened, or can't be written to.
        """
        try:
            _keep_private(self.engine.url)
            for _ in range(_ATTEMPTS):
                with suppress(DBAPIError):  # somebody else may be about to make them
                    await self._make_tables()
                    return
            await self._make_tables()
        except (SQLAlchemyError, OSError) as error:
            # Without SQLAlchemy's advice for programmers, which is a line of its own.
            reason = error.orig if isinstance(error, DBAPIError) else error
            message = f"the database can't be used: {reason}"
            raise DatabaseError(message) from error

    async def _make_tables(self) -> None:
        async with self.engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection with a transaction, which its end commits.

        Raises:
            DatabaseError: It can't be reached, or not be written.
        """
        with _mapped():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection for reading.

        Raises:
            DatabaseError: It can't be reached, or not be read.
        """
        with _mapped():
            async with self.engine.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@contextmanager
def _mapped() -> Iterator[None]:
    """Have it arrive as an error of ours when the database can't be used now."""
    try:
        yield
    except _DEFECTS:
        raise
    except _OUTAGES as error:
        # What SQLAlchemy says has the query in it, and what drivers say has addresses.
        cause = getattr(error, "orig", None) or error
        message = f"the database can't be used now: {type(cause).__name__}"
        raise DatabaseError(message) from error


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _BUSY_SECONDS}}
    return {"pool_size": _POOL, "pool_pre_ping": True}


def _keep_private(url: URL) -> None:
    """Make the file, if there is none, so that only its owner can read it.

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
