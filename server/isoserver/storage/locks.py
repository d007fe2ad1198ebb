"""One server at a time on one data folder and one database.

Two would take each other's executions for what a crash has left, write each other's
contexts over, and delete heaps that only the other one knows of. The one that comes
later is refused. A lock goes with the process that holds it, however that ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError, TakenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

__all__ = ["Ownership"]

_ENDING: Final = ".lock"
_FOLDER: Final = "isokernel"
_DIGITS: Final = 20
"""Bytes that the number of a process has at most, in a file."""
_NUMBER: Final = int.from_bytes(b"isokern", "big")
"""What PostgreSQL knows the lock as; each database of a server has its own."""
_LOCK: Final = text(f"SELECT pg_try_advisory_lock({_NUMBER})")
_LOOK: Final = text("SELECT 1")
_KEEPALIVE: Final = (
    # PostgreSQL notices within half a minute when a whole machine is gone.
    text("SET tcp_keepalives_idle = 10"),
    text("SET tcp_keepalives_interval = 5"),
    text("SET tcp_keepalives_count = 4"),
)
_PATIENCE: Final = 5.0
"""Seconds that a server has which is about to end, or whose death is to be noticed."""
_PAUSE: Final = 0.1
_LOOKS: Final = 5.0
"""Seconds between two looks at whether PostgreSQL still knows us."""


class Ownership:
    """The locks of one server. In the event loop only.

    Attributes:
        lost: Set when another server has the database, since PostgreSQL had lost sight
            of this one.
    """

    def __init__(
        self, database: Database, folder: Path, log: FilteringBoundLogger
    ) -> None:
        """Prepare; `take` takes.

        Args:
            database: What one server may use at a time.
            folder: The data folder, likewise.
            log: Where it is told what becomes of the locks.
        """
        self.lost = asyncio.Event()
        self._database = database
        self._folder = folder
        self._log = log
        self._files: list[int] = []
        self._connection: AsyncConnection | None = None
        self._watching: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Take the folder and the database.

        Raises:
            TakenError: Another server has one of them.
            DatabaseError: It can't be found out.
        """
        await self._lock(self._folder / _FOLDER, f"the folder {self._folder}")
        url = self._database.engine.url
        if url.drivername.startswith("sqlite"):
            if (file := _file(url)) is not None:
                await self._lock(file, f"the database {file}")
            return
        if not await self._patiently(self._lock_postgresql):
            await self._forget()
            what = f"the database {url.render_as_string()}"
            raise TakenError(what)
        self._watching = asyncio.ensure_future(self._watch())

    async def release(self) -> None:
        """Give both back."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._forget()
        while self._files:
            os.close(self._files.pop())

    async def _patiently(self, attempt: Callable[[], Awaitable[bool]]) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE
        while not await attempt():
            if loop.time() > end:
                return False
            await asyncio.sleep(_PAUSE)
        return True

    # -- files -------------------------------------------------------------------------

    async def _lock(self, path: Path, what: str) -> None:
        """Lock the file beside a path; it stays there, as its lock is what counts."""
        place = path.with_name(path.name + _ENDING)
        try:
            # Processes that are started from here don't inherit it.
            file = os.open(place, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"{what} can't be used: {error}"
            raise DatabaseError(message) from error
        self._files.append(file)

        async def attempt() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                message = f"{what} can't be used: {error}"
                raise DatabaseError(message) from error
            return True

        if not await self._patiently(attempt):
            number = os.pread(file, _DIGITS, 0).decode("ascii", "replace").strip()
            raise TakenError(what, number)
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())

    # -- PostgreSQL --------------------------------------------------------------------

    async def _lock_postgresql(self) -> bool:
        """Try to lock the database, for as long as a connection lives."""
        try:
            if self._connection is None:
                connection = await self._database.engine.connect()
                self._connection = await connection.execution_options(
                    isolation_level="AUTOCOMMIT"
                )
                for setting in _KEEPALIVE:
                    await self._connection.execute(setting)
            return bool(await self._connection.scalar(_LOCK))
        except (SQLAlchemyError, OSError, asyncio.TimeoutError) as error:
            await self._forget()
            message = f"the database can't be used: {error}"
            raise DatabaseError(message) from error

    async def _watch(self) -> None:
        """Keep the lock, also over a restart of PostgreSQL."""
        while True:
            await asyncio.sleep(_LOOKS)
            try:
                if self._connection is not None:
                    await self._connection.execute(_LOOK)
                    continue
            except (SQLAlchemyError, OSError, asyncio.TimeoutError):
                self._log.warning("the database has lost sight of this server")
                await self._forget()
            try:
                taken = await self._lock_postgresql()
            except DatabaseError:
                continue  # it isn't there: nobody has it
            if not taken:
                self._log.error("another server has the database")
                self.lost.set()
                return
            self._log.info("the database knows this server again")

    async def _forget(self) -> None:
        """Close the connection, and with it the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, OSError, asyncio.TimeoutError):
                await connection.invalidate()
                await connection.close()


def _file(url: URL) -> Path | None:
    """Give the file of a SQLite database, if it is in one."""
    name = (url.database or "").removeprefix("file:").partition("?")[0]
    return None if name in {"", ":memory:"} else Path(name).resolve()
