"""A writer that groups changes: what comes while it commits goes into the next commit.

A commit takes about as long for a hundred rows as for one. So many small changes cost
little each, and whoever must know that one will outlive the process can wait for it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import DatabaseError, FencedError
from isoserver.storage.database import hold

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Iterable

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database, Held

__all__ = ["Commit", "Writer"]

Row = dict[str, Any]

_SOON_SECONDS: Final = 0.05
"""How long a change that nobody waits for waits for others that it could go along with,
and how long the writer keeps its connection for what comes next: to get one costs as
much as to commit."""
_ATTEMPTS: Final = 3
_AGAIN_SECONDS: Final = 4.0
"""A commit that has failed is tried again for so long only: where the database says
nothing, the first attempt takes nearly as long as clients wait."""
_PAUSE_SECONDS: Final = 0.2
"""Between a commit that failed and its next attempt."""


class Commit:
    """One transaction, gathered or under way.

    To await it is to wait until it is in the database. It raises `DatabaseError` if it
    could not be written. Whoever stops waiting takes nothing back.

    Attributes:
        held: The contexts that it is about, as they have to be by then.
        written: Done when it is in the database, or could not be written.
    """

    __slots__ = ("held", "inserts", "updates", "upserts", "written")

    def __init__(self) -> None:
        self.inserts: dict[Executable, list[Row]] = {}
        self.upserts: dict[Executable, dict[Hashable, Row]] = {}
        self.updates: dict[Executable, list[Row]] = {}
        self.held: list[Held] = []
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is written."""
        return asyncio.shield(self.written).__await__()

    def __bool__(self) -> bool:
        """Tell whether there is anything in it."""
        return bool(self.inserts or self.upserts or self.updates)

    async def execute(self, connection: AsyncConnection) -> None:
        """Execute it: rows that are new first, so that they can be changed."""
        if self.held:
            await hold(connection, self.held)
        for statement, rows in self.inserts.items():
            await connection.execute(statement, rows)
        for statement, latest in self.upserts.items():
            await connection.execute(statement, list(latest.values()))
        for statement, rows in self.updates.items():
            await connection.execute(statement, rows)


class Writer:
    """Writes rows of a few tables. In the event loop only.

    Statements are executed with many rows at a time; each must be one object, used
    again and again. Within a commit inserts come first, then upserts, then updates,
    each in the order in which they were asked for.
    """

    def __init__(
        self,
        database: Database,
        log: FilteringBoundLogger,
        what: str,
    ) -> None:
        """Create an idle writer; its task runs only while there is something to write.

        Args:
            database: Where to write.
            log: Told of each attempt that failed, without the values.
            what: What is written, as messages name it: "the audit".
        """
        self._database = database
        self._log = log
        self._what = what
        self._next = Commit()
        self._now: Commit | None = None
        self._failures = 0
        self._began = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def insert(self, statement: Executable, row: Row) -> Commit:
        """Add a row, now or with the next commit.

        The statement must let a row be that is there already: if the answer to a commit
        is lost, nobody knows whether it has been made, and it is tried again.
        """
        self._next.inserts.setdefault(statement, []).append(row)
        self._begin()
        return self._next

    def upsert(
        self,
        statement: Executable,
        key: Hashable,
        row: Row,
        held: Iterable[Held] = (),
    ) -> Commit:
        """Write a row that may be there; of several with one key, the last counts.

        Args:
            statement: What writes it.
            key: The key.
            row: Its parameters.
            held: The context that it is about; see `Database.held`.
        """
        self._next.held += held
        self._next.upserts.setdefault(statement, {})[key] = row
        self._begin()
        return self._next

    def update(
        self,
        statement: Executable,
        row: Row,
        *,
        soon: bool = False,
        held: Iterable[Held] = (),
    ) -> Commit:
        """Change a row.

        Args:
            statement: The update.
            row: Its parameters.
            soon: Go along with the next commit, or follow a moment later: nobody waits.
            held: See `upsert`.
        """
        self._next.held += held
        self._next.updates.setdefault(statement, []).append(row)
        if not soon:
            self._begin()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SOON_SECONDS, self._begin)
        return self._next

    async def flush(self) -> None:
        """Wait until all that was asked for so far is written.

        Raises:
            DatabaseError: Some of it could not be.
        """
        pending = [commit for commit in (self._now, self._next) if commit]
        if pending:
            self._begin()
            await asyncio.wait([commit.written for commit in pending])
        for commit in pending:
            commit.written.result()

    async def close(self) -> None:
        """Write what is left, as far as that can be done."""
        with suppress(DatabaseError):
            await self.flush()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._take():
            self._wanted.clear()
            try:
                async with self._database.connect() as connection:
                    await self._write(connection)
                    while await self._more():
                        await self._write(connection)
            except Exception as error:  # noqa: BLE001 - told to those who wait
                await self._failed(error)

    def _take(self) -> bool:
        if self._now is None and self._next:
            self._now, self._next = self._next, Commit()
            self._began = time.monotonic()
        return self._now is not None

    async def _more(self) -> bool:
        """Wait for what comes next, but not for long."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_SOON_SECONDS, self._wanted.set)
        await self._wanted.wait()
        timer.cancel()
        self._wanted.clear()
        return self._take()

    async def _write(self, connection: AsyncConnection) -> None:
        commit = self._now
        assert commit is not None  # noqa: S101 - taken by who calls
        async with connection.begin():
            await commit.execute(connection)
        self._now = None
        self._failures = 0
        commit.written.set_result(None)

    async def _failed(self, error: Exception) -> None:
        """Let the commit be tried again, or tell those who wait that it has failed."""
        name = type(error).__name__  # its text may have values in it
        self._log.error(f"{self._what} can't be written", error=name)
        self._failures += 1
        in_time = time.monotonic() - self._began < _AGAIN_SECONDS
        again = in_time and self._failures < _ATTEMPTS
        if again and not isinstance(error, FencedError):
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        self._failures = 0
        commit, self._now = self._now, None
        if commit is not None:
            failure = DatabaseError(f"the database can't be written: {name}")
            if isinstance(error, FencedError):
                failure = FencedError()
            failure.__cause__ = error
            commit.written.set_exception(failure)
            commit.written.exception()  # whoever asked may be gone: the log has it
