"""Forgets runs: the old ones, and the oldest when there are too many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from isoserver.runs.records import Kind
    from isoserver.runs.store import Store

__all__ = ["Kept", "Retention"]

_SWEEPS: Final = 4
"""How often it looks in the time that a run is kept."""
_SWEEP_SECONDS_MAX: Final = 60.0
_PART: Final = 16
"""The part of the limit on runs by which they may be over it."""


class Kept(NamedTuple):
    """How much is kept of ended runs of one kind, of all workspaces together.

    Attributes:
        seconds: How long after its end a run is kept.
        number: How many are kept.
        size_bytes: How much they may have in all.
    """

    seconds: float
    number: int
    size_bytes: int


class Retention:
    """Keeps ended runs within limits of age, number and size."""

    def __init__(
        self, kept: Mapping[Kind, Kept], store: Store, log: FilteringBoundLogger
    ) -> None:
        """Take the limits; `start` begins to look.

        Args:
            kept: The limits for each kind.
            store: Where runs are.
            log: Told what is forgotten, and when that fails.
        """
        self._kept = kept
        self._store = store
        self._log = log
        self._ended = 0
        self._slack = min(limit.number for limit in kept.values()) / _PART
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
        if self._ended > self._slack:
            self._wanted.set()

    async def _sweep(self) -> None:
        soonest = min(limit.seconds for limit in self._kept.values())
        pause = min(soonest / _SWEEPS, _SWEEP_SECONDS_MAX)
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)
            self._wanted.clear()
            self._ended = 0
            try:
                for kind, limit in self._kept.items():
                    await self._forget(kind, limit)
            except (SQLAlchemyError, DatabaseError) as error:
                self._log.error("retention failed", error=type(error).__name__)

    async def _forget(self, kind: Kind, limit: Kept) -> None:
        while gone := await self._store.forget(kind, *limit):
            self._log.info("runs forgotten", kind=kind.value, number=gone)
