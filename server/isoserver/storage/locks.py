"""One server at a time on one data folder, and on one database.

Two servers would take each other's runs for what a crash has left, overwrite each
other's contexts, and delete heaps that only the other one knows of. So the second one
does not start. A lock ends with the process that holds it, however that ends.

Servers of a cluster share the database, which then knows who owns what
(`isoserver.cluster`): they keep off servers that aren't of one.

SQLAlchemy is loaded by the methods that use PostgreSQL.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isokernel.timeouts import timeout
from isoserver.errors import DatabaseError, TakenError
from isoserver.storage.file_locks import PAUSE_SECONDS, lock_files
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database
    from isoserver.storage.file_locks import FileLocks

__all__ = ["ServerLock"]

_ADVISORY_LOCK: Final = int.from_bytes(b"isokern", "big")
"""The number of PostgreSQL's advisory lock, which is one for each database."""
_LOCK: Final = f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})"
_LOCK_SHARED: Final = f"SELECT pg_try_advisory_lock_shared({_ADVISORY_LOCK})"
_CHECK: Final = "SELECT 1"
_CHECK_SECONDS: Final = 5.0
"""Between two checks that PostgreSQL still holds the lock for this server."""
_ANSWER_SECONDS: Final = 5.0
"""After which a database that answers no check is silent."""


class ServerLock:
    """A server's lock on its data folder and its database. In the event loop only.

    Attributes:
        lost: Set when another server has locked the database, because PostgreSQL had
            lost the connection to this one. The server then has to stop.
    """

    def __init__(  # noqa: PLR0913 - what it locks, and how
        self,
        database: Database,
        folder: Path,
        log: FilteringBoundLogger,
        timeout_seconds: float,
        files: FileLocks | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """Create an unlocked lock; `acquire` locks it.

        Args:
            database: The database, which need not be started.
            folder: The data folder.
            log: Told when the lock on the database is lost and acquired again.
            timeout_seconds: How long to wait for another server that is ending.
            files: What `lock_files` has locked already.
            shared: Whether other servers that share it may have the database, too.
        """
        self._statement = _LOCK_SHARED if shared else _LOCK
        self.lost = asyncio.Event()
        self._database = database
        self._folder = folder
        self._log = log
        self._timeout_seconds = timeout_seconds
        self._files = files
        self._connection: AsyncConnection | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        """Lock the folder and the database, and keep them locked.

        Raises:
            TakenError: Another server uses one of them, and does not end in time.
            DatabaseError: One of them can't be locked.
        """
        if self._files is None:
            url = self._database.url
            self._files = await asyncio.to_thread(
                lock_files, self._folder, url, self._timeout_seconds
            )
        if self._database.is_sqlite:
            return
        if not await self._wait_for(self._lock_postgresql):
            await self._disconnect()
            what = f"the database {self._database.engine.url.render_as_string()}"
            raise TakenError(what)
        self._watcher = asyncio.ensure_future(self._watch())

    async def release(self) -> None:
        """Unlock both."""
        await end_tasks(self._watcher)
        await self._disconnect()
        if self._files is not None:
            self._files.release()
            self._files = None

    async def _wait_for(self, attempt: Callable[[], Awaitable[bool]]) -> bool:
        """Attempt to lock until that succeeds or time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_seconds
        while not await attempt():
            if loop.time() > end:
                return False
            await asyncio.sleep(PAUSE_SECONDS)
        return True

    # -- PostgreSQL --------------------------------------------------------------------

    async def _lock_postgresql(self) -> bool:
        """Attempt to lock the database, for as long as the connection lasts."""
        try:
            if self._connection is None:
                connection = await self._database.engine.connect()
                self._connection = await connection.execution_options(
                    isolation_level="AUTOCOMMIT"
                )
            locked = await self._connection.exec_driver_sql(self._statement)
            return bool(locked.scalar())
        except _outages() as error:
            await self._disconnect()
            message = f"the database can't be used: {error}"
            raise DatabaseError(message) from error

    async def _watch(self) -> None:
        """Acquire the lock again after a restart of PostgreSQL."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                if self._connection is not None:
                    async with timeout(_ANSWER_SECONDS):
                        await self._connection.exec_driver_sql(_CHECK)
                    continue
            except _outages() as error:
                if isinstance(error, asyncio.TimeoutError):
                    self._database.hang_up()
                self._log.warning("the connection that locks the database is lost")
                await self._disconnect()
            try:
                taken = await self._lock_postgresql()
            except DatabaseError:
                continue  # it isn't there: nobody has it
            if not taken:
                self._log.error("another server has locked the database")
                self.lost.set()
                return
            self._log.info("the database is locked again")

    async def _disconnect(self) -> None:
        """Close the connection, and with it the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_outages()):
                await connection.invalidate()
                await connection.close()


def _outages() -> tuple[type[Exception], ...]:
    """Return what is raised when PostgreSQL can't be used."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - see above

    return SQLAlchemyError, OSError, asyncio.TimeoutError
