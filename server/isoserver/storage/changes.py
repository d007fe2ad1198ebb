"""The feed of changes: what is written to the database, told to whoever keeps a copy.

A writer opens its transaction with `Changes.begin` and names what it changes. Once
the transaction has committed, every callback that is subscribed to the topic runs, in
this process and in every other one on the same database. So a cache is dropped, and
whoever waits for a decision wakes, without asking the database over and over again.

One process has a SQLite database to itself (`isoserver.storage.locks`): there, telling
is a call. PostgreSQL carries changes to other processes with NOTIFY, which is part of
the writer's transaction, and a connection of our own LISTENs. What is announced while
that connection is down is lost. Therefore a subscriber is told with None, whenever the
connection is up again, that anything may have changed; and until then `connected` is
false, and no copy is to be trusted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from isokernel.timeouts import timeout
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

__all__ = ["Change", "Changes"]

_CHANNEL: Final = "isokernel_changes"
_NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")
# By which it can also be seen who listens.
_CHECK: Final = text("SELECT pg_listening_channels()")
_CHECK_SECONDS: Final = 10.0
"""Time between two checks of a quiet connection: TCP says nothing of a lost peer."""
_ANSWER_SECONDS: Final = 5.0
_FIRST_DELAY_SECONDS: Final = 0.1
_LAST_DELAY_SECONDS: Final = 5.0


class Change(NamedTuple):
    """Something that was written to the database, or deleted from it.

    Attributes:
        topic: The name of the table.
        workspace: Whose row it is.
        id: The row, by its key within the workspace.
    """

    topic: str
    workspace: str
    id: str


class Changes:
    """The feed of one process; used from the event loop only.

    Attributes:
        shared: Whether others write to the database, too. What they change arrives
            milliseconds after they have answered.
    """

    def __init__(self, database: Database, log: FilteringBoundLogger) -> None:
        """Keep what is needed; `start` begins to listen.

        Args:
            database: The database that changes are written to.
            log: Told when changes of other processes can't be heard.
        """
        self._database = database
        self._log = log
        self.shared = not database.is_sqlite
        self._origin = secrets.token_hex(8)
        self._subscribers: dict[str, list[Callable[[Change | None], None]]] = (
            defaultdict(list)
        )
        self._listening = False
        self._listener: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether every change arrives here.

        While this is false, read from the database instead of from a copy.
        """
        return self._listening or not self.shared

    async def start(self) -> None:
        """Begin to listen; the database has been opened."""
        if self.shared:
            self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        await end_tasks(self._listener)
        self._listening = False

    def subscribe(self, topic: str, callback: Callable[[Change | None], None]) -> None:
        """Have changes told, for as long as this feed exists.

        Args:
            topic: The name of the table.
            callback: Called in the event loop, after the commit. It gets the change,
                or None if any row may have changed. It must neither block nor raise,
                and may be called for a change that it knows already.
        """
        self._subscribers[topic].append(callback)

    @asynccontextmanager
    async def begin(
        self, topic: str, workspace: str, row_id: str
    ) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction that changes a row; its commit is told to everybody.

        Nothing is told if the body raises: the transaction is rolled back.

        Args:
            topic: The name of the table.
            workspace: Whose row it is.
            row_id: The row, by its key within the workspace.

        Raises:
            DatabaseError: The database can't be reached, or can't be written to.
        """
        change = Change(topic, workspace, row_id)
        async with self._database.begin() as connection:
            yield connection
            if self.shared:
                payload = json.dumps([self._origin, *change])
                await connection.execute(
                    _NOTIFY, {"channel": _CHANNEL, "payload": payload}
                )
        self._tell(change)

    async def tell_others(self, topic: str, workspace: str, name: str) -> None:
        """Tell other processes, if there may be some, of what isn't in the database.

        Args:
            topic: Its name.
            workspace: Whose it is.
            name: What it is about.

        Raises:
            DatabaseError: The database can't be reached.
        """
        if self.shared:
            payload = json.dumps([self._origin, topic, workspace, name])
            async with self._database.begin() as connection:
                await connection.execute(
                    _NOTIFY, {"channel": _CHANNEL, "payload": payload}
                )

    def _tell(self, change: Change) -> None:
        for callback in self._subscribers[change.topic]:
            callback(change)

    # -- PostgreSQL --------------------------------------------------------------------

    async def _listen(self) -> None:
        """Keep a connection that listens; connect again when it is lost."""
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                await self._hear()
            except Exception as error:  # noqa: BLE001 - whatever drivers raise
                kind = type(error).__name__
                self._log.warning("changes can't be heard", error=kind)
            if self._listening:
                self._listening, delay = False, _FIRST_DELAY_SECONDS
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_DELAY_SECONDS)

    async def _hear(self) -> None:
        """Listen with one connection until it is lost."""
        lost = asyncio.Event()
        connection = await self._database.engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = (await connection.get_raw_connection()).driver_connection
            assert connection.sync_connection is not None  # noqa: S101 - it is open
            connection.sync_connection.detach()  # the pool's others are given back
            driver.add_termination_listener(lambda _: lost.set())
            await driver.add_listener(_CHANNEL, self._heard)
            self._listening = True
            for callbacks in self._subscribers.values():
                for callback in callbacks:
                    callback(None)
            while not lost.is_set():
                try:
                    async with timeout(_CHECK_SECONDS):
                        await lost.wait()
                except (asyncio.TimeoutError, TimeoutError):  # noqa: PERF203 - rare
                    check = connection.execute(_CHECK)
                    async with timeout(_ANSWER_SECONDS):
                        await check
            self._log.warning("the connection that hears of changes is lost")
        finally:
            with suppress(SQLAlchemyError, OSError, asyncio.TimeoutError):
                await connection.invalidate()
                await connection.close()

    def _heard(self, _driver: Any, _pid: int, _channel: str, payload: str) -> None:
        """Deliver a notification; called by asyncpg in the event loop."""
        origin, *fields = json.loads(payload)
        if origin != self._origin:  # ours were told at the commit
            self._tell(Change(*fields))
