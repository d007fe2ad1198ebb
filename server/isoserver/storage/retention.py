"""Retention: the loop that deletes what is no longer kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from isokernel.timeouts import timeout
from isoserver.errors import ServerError
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

__all__ = ["Sweeper"]


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
        """Create an idle sweeper; `start` begins.

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
        await end_tasks(self._task)

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
                async with timeout(self._interval_seconds):
                    await self._requested.wait()
