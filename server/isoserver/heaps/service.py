"""Heaps of all workspaces: saved, loaded, tagged, forgotten when nothing needs them.

A heap is a file under the hash of its content, and a row for each workspace that owns
it. The file comes first and goes last. Whoever writes a row looks for the file
afterwards, whoever deletes a file has set it aside before and looked for rows: between
them no row is left without its file, whatever happens at the same time, in other
processes too.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from isoserver.contexts.records import Checkpoint, LoadedHeap
from isoserver.errors import (
    HeapDamagedError,
    HeapEngineError,
    HeapLimitError,
    HeapMissingError,
    HeapUnsavableError,
)
from isoserver.heaps.content import examine, is_key, pack, unpack, verify
from isoserver.heaps.entries import HeapEntry
from isoserver.heaps.records import HeapRecords
from isoserver.heaps.retention import Retention
from isoserver.heaps.store import HeapStore
from isoserver.heaps.tags import check_tags

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from isoserver.contexts.context import Context, SavedState
    from isoserver.heaps.content import Facts
    from isoserver.heaps.entries import Collected, HeapRecord, SnapshotEntry
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database

__all__ = ["Heaps"]

_LIST_MAX: Final = 1000
_TOUCH_SECONDS: Final = 60.0
_ATTEMPTS: Final = 4
_PAUSE: Final = 0.05
_OTHERWISE: Final = "there is a heap of its key that is described otherwise"
_HEADER: Final = 1 << 20
"""Bytes that a heap may have beside what V8 wrote."""


class Heaps:
    """The heaps of one server. Used from the event loop."""

    def __init__(
        self, settings: ServerSettings, database: Database, folder: Path
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            settings: Settings of the server.
            database: Where rows are.
            folder: Where heaps are if the settings name no other place.
        """
        self._settings = settings
        self._url = settings.heap_store or str(folder / "heaps")
        self._records = HeapRecords(database)
        self._store: HeapStore | None = None
        self._retention: Retention | None = None
        self._collector: asyncio.Task[None] | None = None
        self._turns: WeakKeyDictionary[Context, asyncio.Event] = WeakKeyDictionary()

    async def start(self, *, collect: bool = True) -> None:
        """Open the store.

        Args:
            collect: And clean it up from time to time.

        Raises:
            HeapStoreError: It can't be used.
        """
        self._store = await asyncio.to_thread(HeapStore, self._url)
        await asyncio.to_thread(self._store.prepare)
        self._retention = Retention(self._settings, self._records, self._store)
        if collect:
            self._collector = asyncio.ensure_future(self._retention.run())

    async def close(self) -> None:
        """Clean up no more."""
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.wait([self._collector])

    # -- saving and loading ------------------------------------------------------------

    async def save(self, context: Context, entry: HeapEntry) -> str:
        """Save what a context holds now; it goes on meanwhile.

        Args:
            context: Whose heap.
            entry: Where it comes from.

        Returns:
            The heap's key, once everything is stored.

        Raises:
            HeapUnsavableError: V8 can't save it, or it is too large.
            HeapLimitError: The store is full of what is needed.
            HeapStoreError: The store can't be used.
            InvalidRequestError: There is something wrong with the tags.
        """
        return await self._save(context, entry, automatic=False)

    async def _save(
        self, context: Context, entry: HeapEntry, *, automatic: bool
    ) -> str:
        check_tags(entry.tags)
        await self._check_room(context.workspace)
        before, mine = self._turns.get(context), asyncio.Event()
        self._turns[context] = mine
        try:
            saved = await context.save()
            if before is not None:  # what was asked for first is stored first
                await before.wait()
            return await self._saved(context, entry, saved, automatic=automatic)
        finally:
            mine.set()

    async def _saved(
        self,
        context: Context,
        entry: HeapEntry,
        saved: SavedState,
        *,
        automatic: bool,
    ) -> str:
        """Keep what a context has saved, and tell it."""
        if entry.input_heap is None and context.origin is not None:
            known = await self._records.asked_for(context.workspace, context.origin)
            entry = entry._replace(input_heap=known)
        values = {
            "language": context.language.name,
            "execution_count": saved.execution_count,
            "automatic": automatic,
        }
        key = await self._keep(saved.data, entry, values)
        await context.saved(Checkpoint(key, saved.execution_count, time.time()))
        return key

    async def keep(self, context: Context, *, automatic: bool = False) -> str:
        """Save what a context holds, so that it can go on from there; see `save`.

        Args:
            context: It.
            automatic: Nobody has asked for it, or is told: `release` may delete it.
        """
        entry = HeapEntry(context.workspace, None, None, "", None, {})
        return await self._save(context, entry, automatic=automatic)

    async def release(self, workspace: str, key: str) -> None:
        """Delete a heap that `keep` made by itself, unless anything needs it."""
        assert self._retention is not None  # noqa: S101 - set by start
        if await self._records.forget_loose(workspace, key, automatic=True):
            await self._retention.discard(key)

    async def take_in(self, workspace: str, packed: bytes) -> str:
        """Own a heap that `export` gave, here or elsewhere; its key.

        Raises:
            HeapDamagedError: It isn't one.
            HeapEngineError: Another engine has saved it.
        """
        data = await asyncio.to_thread(self._unpacked, packed)
        entry = HeapEntry(workspace, None, None, "", None, {})
        values = {
            "language": "javascript",
            "execution_count": 0,
            "automatic": False,
        }
        return await self._keep(data, entry, values)

    async def _keep(self, data: bytes, entry: HeapEntry, values: dict[str, Any]) -> str:
        store = self._opened()
        facts, packed = await asyncio.to_thread(self._packed, data)
        values = {
            **values,
            "key": facts.key,
            "size": facts.size,
            "compressed_size": len(packed),
            "engine": facts.engine,
        }
        assert self._retention is not None  # noqa: S101 - set by start
        async with self._retention.changing(facts.key):
            await asyncio.to_thread(self._write, facts.key, data, packed)
            await self._records.add(entry, values)
            if not await asyncio.to_thread(store.exists, facts.key):
                await asyncio.to_thread(store.write, facts.key, packed)
        if entry.session is not None:
            keep = self._settings.session_entries_max
            await self._records.trim_session(entry.workspace, entry.session, keep)
        return facts.key

    async def load(self, workspace: str, key: str) -> bytes:
        """Read a heap, and check that it is what was saved, by this engine.

        Raises:
            HeapMissingError: The workspace has no such heap.
            HeapDamagedError: What is stored isn't what was saved.
            HeapEngineError: Another engine saved it.
            HeapStoreError: The store can't be used.
        """
        used = await self._used(workspace, key)
        packed = await self._read(workspace, key)

        def checked() -> bytes:
            data = self._unpacked(packed)
            verify(key, data)
            return data

        data = await asyncio.to_thread(checked)
        if time.time() - used > _TOUCH_SECONDS:
            await self._records.touch(workspace, key)
        return data

    async def open(self, workspace: str, key: str) -> LoadedHeap:
        """Read a heap for a context to go on from; see `load`."""
        known = await self.get(workspace, key)
        checkpoint = Checkpoint(key, known.execution_count, known.created_at)
        return LoadedHeap(checkpoint, known.language, await self.load(workspace, key))

    async def export(self, workspace: str, key: str) -> bytes:
        """Read a heap's file as it is.

        Raises:
            HeapMissingError: The workspace has no such heap.
            HeapDamagedError: There should be one, and is none.
            HeapStoreError: The store can't be used.
        """
        await self._used(workspace, key)
        return await self._read(workspace, key)

    async def _read(self, workspace: str, key: str) -> bytes:
        """Read the file of a heap that a workspace owned a moment ago."""
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError):
                return await asyncio.to_thread(self._opened().read, key)
            await asyncio.sleep(_PAUSE)  # another process may be about to store it
            await self._used(workspace, key)
        message = f"the heap {key} is not in the store"
        raise HeapDamagedError(message)

    def _write(self, key: str, data: bytes, packed: bytes) -> None:
        """Store a heap, unless there is one of that key that says otherwise.

        The key is of what V8 wrote, not of what stands before it, which tells V8 how
        to read it: that comes from a context, and other workspaces may own the heap.

        Raises:
            HeapUnsavableError: There is.
        """
        store = self._opened()
        with suppress(FileNotFoundError, HeapDamagedError, HeapEngineError):
            found = self._unpacked(store.read(key))
            verify(key, found)
            if found != data:
                raise HeapUnsavableError(_OTHERWISE)
        store.write(key, packed)

    def _packed(self, data: bytes) -> tuple[Facts, bytes]:
        if len(data) > self._settings.heap_bytes_max + _HEADER:
            limit = self._settings.heap_bytes_max
            message = f"it has {len(data)} bytes, and {limit} may be"
            raise HeapUnsavableError(message)
        return examine(data), pack(data, self._settings.heap_compression_level)

    def _unpacked(self, packed: bytes) -> bytes:
        return unpack(packed, self._settings.heap_bytes_max + _HEADER)

    async def _check_room(self, workspace: str) -> None:
        assert self._retention is not None  # noqa: S101 - set by start
        if not await self._retention.has_room():
            raise HeapLimitError(self._settings.heaps_total_bytes_max)
        if not await self._retention.has_share(workspace):
            share = self._settings.share_of(self._settings.heaps_total_bytes_max)
            raise HeapLimitError(share, shared=True)

    # -- what is known of them ---------------------------------------------------------

    async def exists(self, workspace: str, key: str) -> bool:
        """Tell whether a workspace has a heap."""
        return is_key(key) and await self._records.used(workspace, key) is not None

    async def get(self, workspace: str, key: str) -> HeapRecord:
        """Give what is known of a heap.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        found = await self._records.find(workspace, key) if is_key(key) else None
        if found is None:
            raise HeapMissingError(key)
        return found

    async def newest(
        self, workspace: str, tags: dict[str, str], limit: int = 100
    ) -> list[HeapRecord]:
        """Give a workspace's heaps that have all these tags, newest first."""
        return await self._records.newest(workspace, tags, min(limit, _LIST_MAX))

    async def delete(self, workspace: str, key: str) -> None:
        """Delete a workspace's heap.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        assert self._retention is not None  # noqa: S101 - set by start
        if not (is_key(key) and await self._records.forget(workspace, key)):
            raise HeapMissingError(key)
        await self._retention.discard(key)

    async def _used(self, workspace: str, key: str) -> float:
        """When a workspace's heap was used last, to the minute."""
        used = await self._records.used(workspace, key) if is_key(key) else None
        if used is None:
            raise HeapMissingError(key)
        return used

    # -- tags and sessions -------------------------------------------------------------

    async def tags(self, workspace: str, key: str) -> dict[str, str]:
        """Give a heap's tags; none for a heap that the workspace hasn't."""
        return await self._records.tags(workspace, key)

    async def set_tags(self, workspace: str, key: str, tags: dict[str, str]) -> None:
        """Replace a heap's tags.

        Raises:
            HeapMissingError: The workspace has no such heap.
            InvalidRequestError: There are too many, or too long ones.
        """
        check_tags(tags)
        if not await self._records.set_tags(workspace, key, tags):
            raise HeapMissingError(key)

    async def delete_tags(
        self, workspace: str, key: str, keys: Iterable[str] | None
    ) -> None:
        """Delete tags of a heap, by name; all of them if `keys` is None.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        if not await self._records.delete_tags(workspace, key, keys):
            raise HeapMissingError(key)

    async def query(
        self, workspace: str, tags: dict[str, str], limit: int = _LIST_MAX
    ) -> list[tuple[str, dict[str, str]]]:
        """Find the heaps that have tags, and all of these; in the order of keys."""
        return await self._records.query(workspace, tags, limit)

    async def sessions(self, workspace: str) -> list[str]:
        """Give the names of the sessions that have a history."""
        return await self._records.sessions(workspace)

    async def snapshots(self, workspace: str, session: str) -> list[SnapshotEntry]:
        """Give the steps of a session, oldest first; none if there is no such one."""
        return await self._records.snapshots(workspace, session)

    # -- retention ---------------------------------------------------------------------

    async def collect(self) -> Collected:
        """Forget what nothing needs and the settings don't keep; delete its files."""
        assert self._retention is not None  # noqa: S101 - set by start
        return await self._retention.collect()

    def _opened(self) -> HeapStore:
        assert self._store is not None  # noqa: S101 - set by start
        return self._store
