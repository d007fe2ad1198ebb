"""Retention: the loop that deletes what is no longer kept, and which rows are old."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Column
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

__all__ = ["Sweeper", "expired"]

_AT_ONCE: Final = 200
"""Rows that are told of at a time, so that one transaction can delete them."""


class Sweeper:
    """Sweeps at once, then at an interval, or earlier when it is asked to.

    A sweep that fails is logged and tried again at the next interval: the database or
    the store may be back by then. In the event loop only.
    """

    def __init__(
        self,
        name: str,
        sweep: Callable[[], Awaitable[object]],
        interval_seconds: float,
        log: FilteringBoundLogger,
    ) -> None:
        """Take the sweep; `start` begins.

        Args:
            name: What is swept, for the log.
            sweep: Deletes what is no longer kept.
            interval_seconds: From the end of a sweep to the next one.
            log: Told of sweeps that fail.
        """
        self._name = name
        self._sweep = sweep
        self._interval_seconds = interval_seconds
        self._log = log
        self._requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.ensure_future(self._run())

    def request(self) -> None:
        """Sweep now, or once more if a sweep has begun already."""
        self._requested.set()

    async def close(self) -> None:
        """Stop, also in the middle of a sweep."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._requested.clear()
            try:
                await self._sweep()
            except (ServerError, SQLAlchemyError) as error:
                kind = type(error).__name__
                self._log.error("sweep failed", of=self._name, error=kind)
            except Exception:  # noqa: BLE001 - else nothing would be swept any more
                self._log.exception("sweep failed", of=self._name)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._requested.wait(), self._interval_seconds)


async def expired(  # noqa: PLR0913 - three columns, three bounds
    database: Database,
    identity: Column[str],
    ended_at: Column[float],
    size: Column[int],
    *,
    age: float,
    count: int,
    size_max: int,
) -> list[str]:
    """Give some rows that are over a bound, the oldest ones.

    Args:
        database: Where the table is.
        identity: Its column that names a row.
        ended_at: When what the row tells of ended, in seconds since 1970; rows without
            a time are counted, but never given.
        size: The row's bytes.
        age: Seconds since its end that a row is kept.
        count: How many rows are kept in all.
        size_max: Bytes that all of them may have.

    Raises:
        DatabaseError: It can't be read.
    """
    total = select(func.count(), func.coalesce(func.sum(size), 0))
    oldest: Any = (
        select(identity, ended_at, size)
        .where(ended_at.is_not(None))
        .order_by(ended_at)
        .limit(_AT_ONCE)
    )
    async with database.connect() as connection:
        number, taken = (await connection.execute(total)).one()
        rows = (await connection.execute(oldest)).all()
    limit = time.time() - age
    gone: list[str] = []
    for name, moment, weight in rows:
        if moment >= limit and number <= count and taken <= size_max:
            break
        gone.append(name)
        number -= 1
        taken -= weight
    return gone
