"""Kernels that were started before a context wants one.

A Python kernel takes half a second of processor time until it answers, nearly all of it
imports. So one is started ahead, in a container of its own like any other, and has run
nothing of anybody's: a context takes it if nothing tells it from one that would be
started now. Nobody gets one that another context has had.

A spare kernel has some 40 MiB, which a server shouldn't pay that never makes such a
context. So unless a setting names a number, there is none before the first context has
asked for one, and then one.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.sandbox.container import HOME
from isoserver.contexts.started_kernel import StartedKernel
from isoserver.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.launcher import KernelOrder, Launcher
    from isoserver.settings.server import ServerSettings

__all__ = ["Spare", "Spares"]

_QUIET_SECONDS: Final = 0.5
"""How long no kernel was asked for when a spare one is started: contexts that want one
now, and their first cells, come before those that may."""
_ASKED_NUMBER: Final = 1
"""Spare ones of a kernelspec that was asked for, if the settings don't say."""


class Spare(NamedTuple):
    """A kernel that nobody has.

    Attributes:
        kernel: It answers.
        folder: A descriptor of its working folder, which is empty.
        owner: The user who is to have the files there; None for the server's.
        order: What it was started as.
        installed: What it began with; see `Launcher.installed`.
    """

    kernel: StartedKernel
    folder: int
    owner: int | None
    order: KernelOrder
    installed: Hashable


class Spares:
    """The spare kernels of one server. Used from the event loop."""

    def __init__(
        self, settings: ServerSettings, launcher: Launcher, log: FilteringBoundLogger
    ) -> None:
        """Have none, and start none before somebody asks.

        Args:
            settings: The server's settings.
            launcher: What starts them.
            log: Told when one can't be started.
        """
        named = settings.python_spares
        self._number = _ASKED_NUMBER if named is None else named
        self._seconds = settings.context_start_timeout_seconds
        self._launcher = launcher
        self._log = log
        self._orders: set[KernelOrder] = set()
        self._waiting: list[Spare] = []
        self._asked_at = -_QUIET_SECONDS
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def start(self, orders: Iterable[KernelOrder]) -> None:
        """Start as many as there may be of each, in the background."""
        self._orders.update(orders)
        self._fill_soon()

    async def close(self) -> None:
        """End all, also those that are being started."""
        self._closed = True
        if self._filling is not None:
            self._filling.cancel()
            with suppress(asyncio.CancelledError):
                await self._filling
        await self.drop()

    async def drop(self) -> None:
        """End all that wait; others are started when somebody asks again."""
        dropped, self._waiting = self._waiting, []
        await asyncio.gather(*(_end(spare) for spare in dropped))

    def has(self, order: KernelOrder) -> bool:
        """Tell whether one waits that was started like this."""
        return any(spare.order == order for spare in self._waiting)

    def take(self, order: KernelOrder, installed: Hashable) -> Spare | None:
        """Return one for good, if there is one that would be the same if it was new.

        Args:
            order: What is wanted.
            installed: What `Launcher.installed` says now.
        """
        for spare in [one for one in self._waiting if one.order == order]:
            self._waiting.remove(spare)
            if spare.installed == installed and not spare.kernel.ended.done():
                return spare
            asyncio.ensure_future(_end(spare))  # noqa: RUF006 - shielded below
        return None

    def asked(self, order: KernelOrder) -> None:
        """Have one more of this kind soon: a context has got one."""
        self._asked_at = time.monotonic()
        # Of those in other folders, and with other limits, each may be of another kind.
        if order.cwd == HOME and order.memory_bytes_max is None:
            self._orders.add(order)
            self._fill_soon()

    def own_bytes(self) -> int:
        """Return the memory of all that wait; in any thread."""
        return sum(spare.kernel.memory_bytes() for spare in list(self._waiting))

    def _lacking(self) -> KernelOrder | None:
        for order in self._orders:
            number = sum(spare.order == order for spare in self._waiting)
            if number < self._number:
                return order
        return None

    def _fill_soon(self) -> None:
        if self._closed or self._lacking() is None:
            return
        if self._filling is None or self._filling.done():
            self._filling = asyncio.ensure_future(self._fill())

    async def _fill(self) -> None:
        """Start what is lacking, one after the other, while nobody asks."""
        while (order := self._lacking()) is not None:
            left = self._asked_at + _QUIET_SECONDS - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
                continue
            try:
                async with self._launcher.turn():
                    spare = await self._start(order)
            except ServerError as error:
                # Nobody waits for it; a context that does is told for itself.
                self._orders.discard(order)
                self._log.warning(
                    "no spare kernel", kernelspec=order.kernelspec, why=str(error)
                )
            else:
                self._waiting.append(spare)
                spare.kernel.on_end = partial(self._lost, spare)

    async def _start(self, order: KernelOrder) -> Spare:
        """Start one; raises a ServerError if it can't be."""
        installed = await asyncio.to_thread(self._launcher.installed, order)
        folders: list[tuple[int, int | None]] = []
        launch = asyncio.ensure_future(
            self._launcher.launch(order, lambda *folder: folders.append(folder))
        )
        try:
            launched = await asyncio.shield(launch)
        except asyncio.CancelledError:
            with suppress(ServerError):
                await asyncio.to_thread((await launch).program.end)
            _close(folders)
            raise
        except ServerError:
            _close(folders)
            raise
        kernel = StartedKernel(launched, lambda _: None)
        try:
            await kernel.connect(self._seconds)
        except BaseException:
            kernel.disconnect()
            await kernel.end()
            _close(folders)
            raise
        return Spare(kernel, *folders[0], order, installed)

    def _lost(self, spare: Spare, _reason: str) -> None:
        """Forget one that has ended; no other comes for it before somebody asks."""
        if spare in self._waiting:
            self._waiting.remove(spare)
            asyncio.ensure_future(_end(spare))  # noqa: RUF006 - shielded below


async def _end(spare: Spare) -> None:
    spare.kernel.disconnect()
    os.close(spare.folder)
    await spare.kernel.end()


def _close(folders: list[tuple[int, int | None]]) -> None:
    for descriptor, _ in folders:
        os.close(descriptor)
