"""The lease: for how long this server has proven that it may serve.

It is a row in the database that is renewed again and again. Others may take over when
the lease is over by the database's clock. This server counts from before it has asked,
by a clock that goes on while the machine sleeps, and gives up a little earlier: so it
has ended before others begin, also when it was stopped meanwhile or can't reach the
database.

A lock of a session's would be free at once when a process dies, but it is free as well
when PostgreSQL restarts, or ends a session of a server that doesn't hear of it. So it
proves no death, and nobody looks at one here; a shared lock keeps off servers that are
of no cluster (`isoserver.storage.locks`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from isokernel.timeouts import timeout
from isoserver.cluster import tables
from isoserver.errors import DatabaseError, InvalidSettingsError, LeaseError
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.cluster.tables import ServerRow
    from isoserver.storage.database import Database

__all__ = ["Lease"]

_RENEWALS: Final = 5
"""In the time of one lease."""
_SPARE_PART: Final = 0.2
"""The part of a lease by which this server gives up before others may take over."""
_PAUSE_SECONDS: Final = 0.1
"""Between attempts to reach the database."""
_OUTAGES: Final = (SQLAlchemyError, OSError, asyncio.TimeoutError)


class Lease:
    """One server's lease. In the event loop only, but for `expire`.

    Attributes:
        lost: Set when it is over, for good.
        reason: Why it is over.
    """

    def __init__(  # noqa: PLR0913 - what it tells, and whom
        self,
        database: Database,
        row: ServerRow,
        seconds: float,
        log: FilteringBoundLogger,
        *,
        proof: str,
        load: Callable[[], int],
        look: Callable[[list[ServerRow]], None],
        over: Callable[[str], None],
    ) -> None:
        """Have none; `start` begins it.

        Args:
            database: Where its row is.
            row: The row, as it is first.
            seconds: How long it holds without being renewed.
            log: Told when the database can't be reached.
            proof: What all servers have that have the same settings.
            load: Returns how many contexts the server has.
            look: Called with all servers, each time it is renewed.
            over: Called once when it is lost, with the reason; must not raise.
        """
        self.lost = asyncio.Event()
        self.reason = ""
        self._database = database
        self._row = row
        self._seconds = seconds
        self._log = log
        self._proof = proof
        self._load = load
        self._look = look
        self._over = over
        self._until = 0.0
        self._connection: AsyncConnection | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def serving(self) -> bool:
        """Whether it is proven that this server may serve."""
        return _now() < self._until and not self.reason

    def expire(self) -> None:
        """Be lost at once if time is over; called after the process was stopped."""
        if self._until and not self.reason and _now() >= self._until:
            self._lose("its lease ran out")

    def check(self) -> None:
        """Refuse what may be another server's by now.

        Raises:
            LeaseError: The lease is over.
        """
        if not self.serving:
            self.expire()
            raise LeaseError(self.reason or "it has not begun to")

    async def start(self) -> None:
        """Register this server, and keep its lease from now on.

        Raises:
            DatabaseError: The database can't be used.
            InvalidSettingsError: The other servers have other settings.
        """
        began = _now()
        try:
            connection = await self._connect()
            if not await tables.register(
                connection, self._row, self._seconds, self._proof
            ):
                message = (
                    "cluster: the servers that have this database have another "
                    "cluster_secret or heap_store; to change it, stop all of them"
                )
                raise InvalidSettingsError(message)
            self._note(began)
            self._look(await tables.servers(connection))
        except _OUTAGES as error:
            message = f"the database can't be used: {error}"
            raise DatabaseError(message) from error
        self._renewing = asyncio.ensure_future(self._keep())

    def request(self) -> None:
        """Look at the servers now, instead of when the lease is renewed next."""
        self._wanted.set()

    async def close(self) -> None:
        """End it: what this server owned is nobody's from now on."""
        await end_tasks(self._renewing)
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_OUTAGES):
                async with timeout(self._seconds):
                    await tables.deregister(connection, self._row.id)
            await _close(connection)
        self._until = 0.0
        if self._closing:
            await asyncio.wait(self._closing)

    # -- keeping it --------------------------------------------------------------------

    def _note(self, began: float) -> None:
        self._until = began + self._seconds * (1 - _SPARE_PART)

    def _lose(self, reason: str) -> None:
        if self.reason:
            return
        self.reason = reason
        self._log.error("the lease is lost", server=self._row.id, reason=reason)
        self._over(reason)
        self.lost.set()

    async def _keep(self) -> None:
        """Renew it again and again, until it is lost."""
        step = self._seconds / _RENEWALS
        while not self.reason:
            self._wanted.clear()
            pause = step if await self._try(step) else _PAUSE_SECONDS
            with suppress(asyncio.TimeoutError, TimeoutError):
                async with timeout(pause):
                    await self._wanted.wait()

    async def _try(self, step: float) -> bool:
        """Try once to renew it; whether it was."""
        left = self._until - _now()
        if left <= 0:
            self._lose("its lease ran out, and the database can't be reached")
            return False
        try:
            async with timeout(min(step, left)):
                await self._renew()
        except Exception as error:  # noqa: BLE001 - whatever drivers raise
            kind = type(error).__name__
            self._log.warning("the lease can't be renewed", error=kind)
            self._disconnect()
            return False
        return True

    async def _renew(self) -> None:
        began = _now()
        connection = self._connection or await self._connect()
        if not await tables.renew(connection, self._row.id, self._load()):
            self._lose("other servers have taken over")
            return
        self._note(began)
        self._look(await tables.servers(connection))

    async def _connect(self) -> AsyncConnection:
        """Open a session for renewals alone."""
        made = await self._database.engine.connect()
        self._connection = await made.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _disconnect(self) -> None:
        """Let go of a session that is of no use; that may take long."""
        connection, self._connection = self._connection, None
        if connection is not None:
            closing = asyncio.ensure_future(_close(connection))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _close(connection: AsyncConnection) -> None:
    with suppress(*_OUTAGES):
        await connection.invalidate()
        await connection.close()


def _now() -> float:
    """Return the time since the machine was started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
