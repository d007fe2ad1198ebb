"""Forgets executions: the old ones, and the oldest when there are too many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.executions.store import Store
    from isoserver.settings.server import ServerSettings

__all__ = ["Retention"]

_SWEEPS: Final = 4
"""How often is looked in the time that an execution is kept."""
_SWEEP_MAX: Final = 60.0
_PART: Final = 16
"""The part of the bound on executions by which they may be over it."""


class Retention:
    """Keeps the executions of all workspaces within bounds of age, number and size."""

    def __init__(
        self, settings: ServerSettings, store: Store, log: FilteringBoundLogger
    ) -> None:
        """Prepare; `start` starts.

        Args:
            settings: Settings of the server, with the bounds.
            store: Where executions are.
            log: Where failures are told.
        """
        self._settings = settings
        self._store = store
        self._log = log
        self._ended = 0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, at once and then again and again."""
        self._wanted.set()
        self._task = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def ended(self) -> None:
        """Note that there is one more that has ended."""
        self._ended += 1
        if self._ended > self._settings.executions_kept_max / _PART:
            self._wanted.set()

    async def _sweep(self) -> None:
        pause = min(self._settings.execution_ttl_seconds / _SWEEPS, _SWEEP_MAX)
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)
            self._wanted.clear()
            self._ended = 0
            try:
                await self._forget()
            except (SQLAlchemyError, DatabaseError) as error:
                self._log.error("retention failed", error=type(error).__name__)

    async def _forget(self) -> None:
        settings = self._settings
        while True:
            gone = await self._store.expired(
                settings.execution_ttl_seconds,
                settings.executions_kept_max,
                settings.executions_total_bytes_max,
            )
            if not gone:
                return
            await self._store.delete(gone)
            self._log.info("executions forgotten", number=len(gone))
