"""What becomes of heaps that nothing needs: forgotten by age, count and bytes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from isoserver.errors import DatabaseError, HeapStoreError
from isoserver.heaps.entries import Collected

if TYPE_CHECKING:
    from isoserver.heaps.records import HeapRecords, Owned
    from isoserver.heaps.store import HeapStore, Stored
    from isoserver.settings.server import ServerSettings

__all__ = ["Retention"]

_ROOM_SECONDS: Final = 10.0
_PART_SECONDS: Final = 600.0
"""After which nobody writes to a file any more that has not been finished."""


class Retention:
    """Forgets heaps, and deletes files that nobody owns."""

    def __init__(
        self, settings: ServerSettings, records: HeapRecords, store: HeapStore
    ) -> None:
        """Look after a store, by what the settings say."""
        self._settings = settings
        self._records = records
        self._store = store
        self._room = True
        self._looked = 0.0
        self._share = settings.share_of(settings.heaps_total_bytes_max)
        self._busy = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self) -> None:
        """Collect now and from time to time."""
        while True:
            with suppress(
                HeapStoreError, DatabaseError
            ):  # it may be back the next time
                await self.collect()
            await asyncio.sleep(self._settings.heap_sweep_interval_seconds)

    async def has_room(self) -> bool:
        """Tell whether another heap may be stored; collects if there is no room."""
        if time.monotonic() - self._looked > _ROOM_SECONDS:
            await self._look()
        if not self._room:
            await self.collect()
        return self._room

    async def has_share(self, workspace: str) -> bool:
        """Tell whether a workspace may store another heap; after `has_room`."""
        if self._share >= self._settings.heaps_total_bytes_max:
            return True
        # Asked each time: between two looks at the whole, one could fill all of it.
        if await self._records.size(workspace) >= self._share:
            await self.collect()
        return await self._records.size(workspace) < self._share

    async def _look(self) -> None:
        _, size = await self._records.totals()
        self._room = size < self._settings.heaps_total_bytes_max
        self._looked = time.monotonic()

    async def collect(self) -> Collected:
        """Forget what the settings don't keep, then delete what nobody owns."""
        async with self._busy:
            forgotten = await self._forget()
            deleted, freed = await self._sweep()
            await self._look()
            return Collected(forgotten, deleted, freed)

    async def _forget(self) -> int:
        forgotten = 0
        found, size = await self._records.totals()
        counts = Counter(found)
        shared = self._share < self._settings.heaps_total_bytes_max
        sizes = Counter(await self._records.sizes() if shared else {})
        for workspace, key, used, bytes_ in await self._records.loose():
            one = (workspace, key, used, bytes_)
            over = size > self._settings.heaps_total_bytes_max or (
                shared and sizes[workspace] >= self._share
            )
            if not self._too_much(one, counts[workspace], over=over):
                continue
            if await self._records.forget_loose(workspace, key):
                forgotten += 1
                counts[workspace] -= 1
                sizes[workspace] -= bytes_
                size -= bytes_
                await self.discard(key)
        return forgotten

    def _too_much(self, owned: Owned, count: int, *, over: bool) -> bool:
        settings, age = self._settings, time.time() - owned[2]
        if age < settings.heap_grace_seconds:
            return False
        return (
            age > settings.heap_ttl_seconds
            or count > settings.workspace_heaps_max
            or over
        )

    async def discard(self, key: str) -> bool:
        """Delete a heap's file unless somebody owns it; whether it was deleted."""
        async with self.changing(key):
            if await self._records.owned(key):
                return False
            if not await asyncio.to_thread(self._store.set_aside, key):
                return False
            return await self._decide(key)

    def changing(self, key: str) -> asyncio.Lock:
        """Give the lock of those here who write or delete a heap's file."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def _decide(self, key: str) -> bool:
        """Delete what is set aside, or bring it back for those who own it by now."""
        if await self._records.owned(key):
            await asyncio.to_thread(self._store.bring_back, key)
            return False
        await asyncio.to_thread(self._store.drop_aside, key)
        return True

    async def _sweep(self) -> tuple[int, int]:
        """Delete files without an owner, and what was left half done."""
        deleted = freed = 0
        stored = await asyncio.to_thread(self._store.files)
        owned = await self._records.keys()
        grace, now = self._settings.heap_grace_seconds, time.time()
        for one in stored:
            wait = max(grace, _PART_SECONDS) if one.state == "part" else grace
            if one.changed > now - wait or (one.state == "whole" and one.key in owned):
                continue
            if await self._clear(one):
                deleted += 1
                freed += one.size
        return deleted, freed

    async def _clear(self, one: Stored) -> bool:
        if one.state == "part":
            await asyncio.to_thread(self._store.drop, one.path)
            return True
        if one.state == "aside":
            async with self.changing(one.key):
                return await self._decide(one.key)
        return await self.discard(one.key)
