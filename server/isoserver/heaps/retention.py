"""Which heaps are deleted: those that nothing needs, by age, number and size.

First the row goes, by which a workspace owns a heap, then the file, if no other
workspace owns the heap. `HeapStore` and `Heaps` say how a file is never deleted that
somebody has come to own meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from isoserver.errors import HeapLimitError
from isoserver.heaps.records import Collected
from isoserver.heaps.store import CONTENTS, HEAPS
from isoserver.heaps.tables import Usage

if TYPE_CHECKING:
    from isoserver.heaps.store import HeapFile, HeapStore, StoreThreads
    from isoserver.heaps.tables import HeapTables
    from isoserver.settings.server import ServerSettings

__all__ = ["Retention"]

_ROOM_SECONDS: Final = 10.0
_ROOM_SECONDS_MAX: Final = 120.0
"""How long it is taken as known that there is room for more heaps."""
_ROOM_SHARE: Final = 0.02
"""How much of the time it may take to find that out."""
_ASKED: Final = 1000
"""Of how many files the owners are asked at once."""
_PART_SECONDS: Final = 600.0
"""How long after its last change a file that isn't whole may still be written to."""


class Retention:
    """Deletes heaps, and files that nobody owns. In the event loop only."""

    def __init__(
        self,
        settings: ServerSettings,
        tables: HeapTables,
        store: HeapStore,
        contents: HeapStore,
        threads: StoreThreads,
    ) -> None:
        """Create the sweep of one store with the limits it enforces.

        Args:
            settings: The server's settings.
            tables: What is known of heaps.
            store: The heaps.
            contents: The contents of their files.
            threads: What waits for both.
        """
        self._settings = settings
        self._tables = tables
        self._store = store
        self._contents = contents
        self._threads = threads
        self._limit = settings.heaps_total_bytes_max
        self._share = settings.share_of(self._limit)
        self._has_room = True
        self._room_seconds = _ROOM_SECONDS
        self._checked = self._deleted_since = 0.0
        self._collecting = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -- room for another heap ---------------------------------------------------------

    async def check_room(self, workspace: str) -> None:
        """Check that a workspace may save another heap; make room if there is none.

        Raises:
            HeapLimitError: The store, or the workspace's share, is full of heaps that
                are needed.
        """
        if time.monotonic() - self._checked > self._room_seconds:
            await self._measure()
        if not self._has_room:
            await self._make_room()
        if not self._has_room:
            raise HeapLimitError(self._limit)
        if self._share >= self._limit:
            return
        # Asked each time: within ten seconds one workspace could fill the whole store.
        if await self._uses_share(workspace):
            await self._make_room()
            if await self._uses_share(workspace):
                raise HeapLimitError(self._share, shared=True)

    async def _measure(self) -> None:
        began = time.monotonic()
        self._has_room = await self._tables.size_bytes() < self._limit
        self._checked = time.monotonic()
        # All rows are read for it: a second, where there are a million.
        taken = self._checked - began
        self._room_seconds = min(
            max(_ROOM_SECONDS, taken / _ROOM_SHARE), _ROOM_SECONDS_MAX
        )

    async def _make_room(self) -> None:
        """Delete what nothing needs, unless somebody has done so meanwhile."""
        began = time.monotonic()
        async with self._collecting:
            if self._deleted_since < began:
                await self._delete_unneeded()
                await self._measure()

    async def _uses_share(self, workspace: str) -> bool:
        usage = await self._tables.usage(workspace)
        return usage[workspace].size_bytes >= self._share

    # -- deleting ----------------------------------------------------------------------

    async def collect(self) -> Collected:
        """Delete what nothing needs and the settings don't keep, then unowned files."""
        async with self._collecting:
            forgotten = await self._delete_unneeded()
            deleted, freed_bytes = await self._delete_unowned()
            await self._measure()
            return Collected(forgotten, deleted, freed_bytes)

    async def _delete_unneeded(self) -> int:
        began = time.monotonic()
        settings, now, number = self._settings, time.time(), 0
        total, usage = await self._tables.size_bytes(), await self._tables.usage()
        shared = self._share < self._limit

        def has_too_many(workspace: str) -> bool:
            heaps, size = usage[workspace]
            return heaps > settings.workspace_heaps_max or (
                shared and size >= self._share
            )

        # So that of a million heaps only those are looked at that may have to go.
        ttl_seconds = 0.0 if total > self._limit else settings.heap_ttl_seconds
        crowded = [workspace for workspace in usage if has_too_many(workspace)]
        last = None
        while some := await self._tables.unneeded(now - ttl_seconds, crowded, last):
            last = some[-1]
            for heap in some:  # the oldest first
                age, (heaps, size) = now - heap.last_used, usage[heap.workspace]
                if age < settings.heap_grace_seconds or not (
                    age > settings.heap_ttl_seconds
                    or total > self._limit
                    or has_too_many(heap.workspace)
                ):
                    continue
                # Or it is needed by now, or another server has, which counts as well.
                if await self._tables.delete_unneeded(heap.workspace, heap.key):
                    number += 1
                    await self.delete_file(heap.key)
                usage[heap.workspace] = Usage(heaps - 1, size - heap.size_bytes)
                total -= heap.size_bytes
        self._deleted_since = began
        return number

    async def _delete_unowned(self) -> tuple[int, int]:
        """Delete files without an owner; return how many, and how many bytes it was."""
        deleted = freed_bytes = 0
        for part in self._store.parts:
            files = await self._threads.run(self._old_files, part)
            for start in range(0, len(files), _ASKED):
                for file in await self._unowned(files[start : start + _ASKED]):
                    if await self._delete(file):
                        deleted += 1
                        freed_bytes += file.size
        return deleted, freed_bytes

    def _old_files(self, part: str) -> list[HeapFile]:
        """List what may be deleted; blocks."""
        grace_seconds, now = self._settings.heap_grace_seconds, time.time()
        before = {"part": now - max(grace_seconds, _PART_SECONDS)}
        return [
            file
            for file in self._store.files(part)
            if file.changed_at <= before.get(file.state, now - grace_seconds)
        ]

    async def _unowned(self, files: list[HeapFile]) -> list[HeapFile]:
        """Leave out those that are whole and that somebody owns."""
        whole = [file for file in files if file.state == "whole"]
        owned = {
            HEAPS: await self._tables.owned(_keys(whole, HEAPS)),
            CONTENTS: await self._tables.used(_keys(whole, CONTENTS)),
        }
        return [
            file
            for file in files
            if file.state != "whole" or file.key not in owned[file.ending]
        ]

    async def _delete(self, file: HeapFile) -> bool:
        store = self._store if file.ending == HEAPS else self._contents
        if file.state == "part":
            await self._threads.run(store.delete, file.path)
            return True
        if file.state == "aside":  # by a process that ended before it could decide
            async with self.lock(file.key):
                return await self._decide(store, file.key)
        return await self._delete_file(store, file.key)

    async def delete_file(self, key: str) -> bool:
        """Delete a heap's file unless somebody owns it; return whether it did."""
        return await self._delete_file(self._store, key)

    async def _delete_file(self, store: HeapStore, key: str) -> bool:
        async with self.lock(key):
            if await self._is_owned(store, key):
                return False
            if not await self._threads.run(store.set_aside, key):
                return False
            return await self._decide(store, key)

    async def _decide(self, store: HeapStore, key: str) -> bool:
        """Delete what is set aside, or bring it back for those who own it by now."""
        if await self._is_owned(store, key):
            await self._threads.run(store.bring_back, key)
            return False
        await self._threads.run(store.delete_aside, key)
        return True

    async def _is_owned(self, store: HeapStore, key: str) -> bool:
        if store is self._contents:
            return bool(await self._tables.used([key]))
        return bool(await self._tables.owned([key]))

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock to hold while a heap's file is written or deleted here."""
        return self._locks.setdefault(key, asyncio.Lock())


def _keys(files: list[HeapFile], ending: str) -> list[str]:
    return [file.key for file in files if file.ending == ending]
