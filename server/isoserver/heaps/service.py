"""Heaps of all workspaces: saved, loaded, tagged, and deleted when nothing needs them.

A heap is a file named by the hash of its content, and a row for each workspace that
owns it. The file comes first and goes last. Whoever adds a row looks for the file
afterwards; whoever deletes a file has set it aside before and looked for rows. So no
row is left without its file, whatever happens at the same time, also in other
processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from isokernel.errors import reason_of
from isokernel.forkserver import MemoryFile
from isoserver.contexts.records import Checkpoint, LoadedHeap
from isoserver.errors import (
    DatabaseError,
    HeapDamagedError,
    HeapEngineError,
    HeapMissingError,
    HeapStoreError,
    HeapUnsavableError,
    ServerError,
)
from isoserver.files.captures import fill
from isoserver.heaps.content import (
    examine,
    join,
    pack,
    split,
    unpack,
    unpack_all,
    verify,
)
from isoserver.heaps.records import HeapOrigin, check_tags, is_key
from isoserver.heaps.retention import Retention
from isoserver.heaps.store import CONTENTS, HeapStore, StoreThreads
from isoserver.heaps.tables import HeapTables
from isoserver.storage.retention import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context, Key, SavedState
    from isoserver.files.captures import Captured
    from isoserver.files.service import Files
    from isoserver.heaps.content import Facts, Parts
    from isoserver.heaps.records import Collected, HeapRecord, SessionEntry
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database

R = TypeVar("R")

__all__ = ["LIST_DEFAULT", "LIST_MAX", "Heaps"]

LIST_DEFAULT: Final = 100
LIST_MAX: Final = 1000
"""How many heaps are listed at once."""
_TOUCH_SECONDS: Final = 60.0
"""How exact it is when a heap was last used: loading need not write each time."""
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.05
"""Between attempts to read a file that another process may be about to store."""
_HEADER_BYTES: Final = 1 << 20
"""What a heap may have beside what V8 wrote."""


class Heaps:
    """The heaps of one server. In the event loop only.

    Attributes:
        has_turn: Tells whether it is this server, of all that share the store, that
            collects in an interval of so many seconds.
    """

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        folder: Path,
        files: Files,
        log: FilteringBoundLogger,
    ) -> None:
        """Create a closed service over the store; `start` opens it.

        Args:
            settings: The server's settings.
            database: Where the rows are.
            folder: The data folder; files are there unless the settings name a store.
            files: The folders of contexts, which heaps are saved with.
            log: Told when heaps can't be deleted.
        """
        self._settings = settings
        self._bytes_max = settings.heap_bytes_max + _HEADER_BYTES
        self._tables = HeapTables(database)
        place = settings.heap_store or str(folder / "heaps")
        self._store = HeapStore(place)
        self._contents = HeapStore(place, CONTENTS)
        self._threads = StoreThreads()
        stores = self._store, self._contents
        self._retention = Retention(settings, self._tables, *stores, self._threads)
        self._files = files
        self._log = log
        self.has_turn: Callable[[float], bool] = lambda _: True
        interval_seconds = settings.heap_sweep_interval_seconds
        self._sweeper = Sweeper("heaps", self._sweep, interval_seconds, log)
        self._latest: WeakKeyDictionary[Context, asyncio.Event] = WeakKeyDictionary()
        self._touching: set[asyncio.Task[None]] = set()

    async def start(self, *, collect: bool = True) -> None:
        """Open the store, once the database has been started.

        Args:
            collect: Whether to call `collect` now and from time to time, when it has
                its turn.

        Raises:
            HeapStoreError: It can't be used.
        """
        await self._threads.run(self._store.open)
        if collect:
            self._sweeper.start()

    def give_up(self) -> None:
        """Ask nothing more of the store: whoever waits for it is told so."""
        self._store.give_up()
        self._contents.give_up()

    async def close(self) -> None:
        """Stop collecting, and write what is still to be written."""
        await self._sweeper.close()
        if self._touching:
            await asyncio.wait(self._touching)
        await self._threads.close(self.give_up)

    # -- saving ------------------------------------------------------------------------

    async def save(
        self, context: Context, origin: HeapOrigin, *, last: bool = False
    ) -> str:
        """Save the state of a context, which goes on meanwhile.

        Args:
            context: Whose state.
            origin: Where the heap comes from.
            last: The context is closed afterwards, and needn't go on.

        Returns:
            The heap key, once everything is stored.

        Raises:
            HeapUnsavableError: V8 can't save the heap, or it is too large.
            HeapLimitError: The store is full of heaps that are needed.
            HeapStoreError: The store can't be used.
            InvalidRequestError: The tags aren't as they must be.
        """
        return await self._save(context, origin, automatic=False, last=last)

    async def keep(self, context: Context, *, automatic: bool = False) -> str:
        """Save the state of a context for itself to go on from; see `save`.

        Args:
            context: Whose state.
            automatic: Whether nobody asked for it: `release` may delete the heap.
        """
        origin = HeapOrigin(context.workspace)
        return await self._save(context, origin, automatic=automatic)

    async def _save(
        self,
        context: Context,
        origin: HeapOrigin,
        *,
        automatic: bool,
        last: bool = False,
    ) -> str:
        check_tags(origin.tags)
        await self._retention.check_room(context.workspace)
        before, stored = self._latest.get(context), asyncio.Event()
        self._latest[context] = stored
        capture = self._files.capture(
            context.key, self._contents.exists, self._threads.run
        )
        lock: dict[str, Any] = {}

        def forked() -> None:
            lock.update(context.calls.lock)
            capture.begin()

        try:
            saved = await context.save(forked, last=last)
            files = await capture.result()
            if before is not None:  # what was asked for first is stored first
                await before.wait()
            values = {
                "language": context.language.name,
                "execution_count": saved.execution_count,
                "automatic": automatic,
            }
            return await self._add_saved(
                context, origin, saved._replace(lock=lock), files, values
            )
        finally:
            stored.set()
            await capture.close()

    async def _add_saved(
        self,
        context: Context,
        origin: HeapOrigin,
        saved: SavedState,
        files: Captured | None,
        values: dict[str, Any],
    ) -> str:
        """Store what a context has saved, and make it its checkpoint."""
        if origin.input_heap is None and context.origin is not None:
            known = await self._tables.requested(context.workspace, context.origin)
            origin = replace(origin, input_heap=known)
        manifest, staged = (None, {}) if files is None else files
        parts = saved.data, manifest, saved.lock
        if manifest is None and not saved.lock:  # nothing is copied
            data = join(*parts)
        else:
            data = await asyncio.to_thread(join, *parts)
        key = await self._add(
            data, origin, values, lambda digest: staged[digest].read_bytes()
        )
        await context.saved(Checkpoint(key, saved.execution_count, time.time()))
        return key

    async def import_file(self, workspace: str, packed: bytes) -> str:
        """Have a workspace own the heap of a file, which `export_file` returned.

        Returns:
            The heap key.

        Raises:
            HeapDamagedError: It isn't a heap.
            HeapEngineError: Another engine saved it.
        """
        sizes_max = [self._bytes_max, self._settings.file_bytes_max]
        data, *contents = await asyncio.to_thread(unpack_all, packed, *sizes_max)
        found = {hashlib.sha256(each).hexdigest(): each for each in contents}
        values = {"language": "javascript", "execution_count": 0, "automatic": False}
        return await self._add(data, HeapOrigin(workspace), values, found.__getitem__)

    async def _add(
        self,
        data: bytes,
        origin: HeapOrigin,
        values: dict[str, Any],
        content: Callable[[str], bytes],
    ) -> str:
        """Store a heap for a workspace.

        Args:
            data: The heap.
            origin: Where it comes from.
            values: Those of its row.
            content: Returns contents of its files by their hashes; raises KeyError for
                those that are stored.
        """
        facts, packed = await asyncio.to_thread(self._pack, data)
        contents = {} if facts.files is None else facts.files.contents
        sizes = {}
        for digest in contents:
            sizes[digest] = await self._write_content(digest, content)
        values = {
            **values,
            "key": facts.key,
            "size": facts.size,
            "compressed_size": len(packed),
            "engine": facts.engine,
        }
        entries_max = self._settings.session_entries_max
        async with self._retention.lock(facts.key):
            await self._threads.run(self._write, facts.key, data, packed)
            await self._tables.add(origin, values, entries_max, sizes)
            # Each may have been deleted before there was a row, or been set aside by a
            # process that has seen none, was stopped, and deletes it when it goes on.
            for digest in contents:
                await self._write_content(digest, content)
            if not await self._threads.run(self._store.exists, facts.key):
                await self._threads.run(self._store.write, facts.key, packed)
        return facts.key

    async def _write_content(self, digest: str, content: Callable[[str], bytes]) -> int:
        """Store a content unless it is there; return its bytes as stored.

        Raises:
            HeapDamagedError: It isn't there, and nobody has it.
        """

        def find() -> bytes:
            with suppress(KeyError):
                return pack(content(digest), self._settings.heap_compression_level)
            with suppress(FileNotFoundError):
                return self._contents.read(digest)  # it was set aside since
            message = f"the content {digest} of one of its files is missing"
            raise HeapDamagedError(message)

        def write() -> int:
            with suppress(FileNotFoundError):
                return self._contents.size(digest)
            packed = find()
            self._contents.write(digest, packed)
            return len(packed)

        async with self._retention.lock(digest):
            return await self._threads.run(write)

    def _pack(self, data: bytes) -> tuple[Facts, bytes]:
        if len(data) > self._bytes_max:
            limit = self._settings.heap_bytes_max
            message = f"it has {len(data)} bytes; the limit is {limit} (heap_bytes_max)"
            raise HeapUnsavableError(message)
        return examine(data), pack(data, self._settings.heap_compression_level)

    def _write(self, key: str, data: bytes, packed: bytes) -> None:
        """Store a file, unless the one that is there has another header.

        The key is the hash of what V8 wrote, not of the header before it, which tells
        V8 how to read it: that comes from a context, and other workspaces may own the
        heap.

        Raises:
            HeapUnsavableError: The headers differ.
        """
        with suppress(FileNotFoundError, HeapDamagedError, HeapEngineError):
            found = unpack(self._store.read(key), self._bytes_max)
            verify(key, found)
            if found != data:
                message = "there is a heap of the same key with another header"
                raise HeapUnsavableError(message)
        self._store.write(key, packed)

    # -- loading -----------------------------------------------------------------------

    async def load(self, workspace: str, key: str) -> bytes:
        """Return what V8 wrote; see `open`."""
        _, parts = await self._look_up(workspace, key, self._checked)
        return bytes(parts.snapshot)

    async def open(self, workspace: str, key: str) -> LoadedHeap:
        """Read a heap, and check that it is what this engine saved.

        Raises:
            HeapMissingError: The workspace has no such heap.
            HeapDamagedError: The stored data isn't what was saved.
            HeapEngineError: Another engine saved it.
            HeapStoreError: The store can't be used.
        """

        def into_memory(key: str, packed: bytes) -> tuple[MemoryFile, Parts]:
            parts = self._checked(key, packed)
            try:
                file = MemoryFile(parts.snapshot)
            except OSError as error:
                message = f"there is no memory for the heap: {reason_of(error)}"
                raise HeapStoreError(message) from error
            # To free 10 MB takes 4 ms, so that is done here, too.
            return file, parts._replace(snapshot=memoryview(b""))

        heap, (file, parts) = await self._look_up(workspace, key, into_memory)
        if time.time() - heap.last_used > _TOUCH_SECONDS:
            touching = asyncio.ensure_future(self._touch(workspace, key))
            self._touching.add(touching)
            touching.add_done_callback(self._touching.discard)
        checkpoint = Checkpoint(key, heap.execution_count, heap.created_at)
        return LoadedHeap(checkpoint, heap.language, file, parts.files, parts.lock)

    def _checked(self, key: str, packed: bytes) -> Parts:
        """Unpack a heap's file, and check that it is what this engine saved."""
        data = unpack(packed, self._bytes_max)
        verify(key, data)
        return split(data)

    async def _touch(self, workspace: str, key: str) -> None:
        """Record that a heap was used; nobody waits for it."""
        try:
            await self._tables.touch(workspace, key)
        except DatabaseError as error:
            self._log.warning("the use of a heap can't be noted", error=str(error))

    async def has_files(self, workspace: str, key: str) -> bool:
        """Tell whether a heap has files, without reading it."""
        return await self._tables.has_contents(workspace, key)

    async def restore_files(self, heap: LoadedHeap, key: Key) -> None:
        """Have a context's folder be as it was when a heap was saved.

        Raises:
            HeapDamagedError: A content isn't there, or isn't what was saved.
            HeapStoreError: The store can't be used.
            ContextFileError: A file can't be written; a limit was lowered.
        """
        make = None
        if heap.files is not None:
            make = partial(fill, manifest=heap.files, content=self._content)
        await self._threads.run(self._files.replace, key, make)

    def _content(self, digest: str) -> bytes:
        """Read the content of a file; blocks."""
        try:
            packed = self._contents.read(digest)
        except FileNotFoundError:
            message = f"the content {digest} of one of the heap's files is missing"
            raise HeapDamagedError(message) from None
        data = unpack(packed, self._settings.file_bytes_max)
        if hashlib.sha256(data).hexdigest() != digest:
            message = f"the content {digest} of one of the heap's files is damaged"
            raise HeapDamagedError(message)
        return data

    async def export_file(self, workspace: str, key: str) -> bytes:
        """Read a heap's file as it is stored, for `import_file` elsewhere.

        Raises:
            HeapMissingError: The workspace has no such heap.
            HeapDamagedError: The file is lost.
            HeapStoreError: The store can't be used.
        """
        _, packed = await self._look_up(workspace, key, lambda _key, packed: packed)

        def with_contents() -> bytes:
            files = split(unpack(packed, self._bytes_max)).files
            contents = [] if files is None else files.contents
            return b"".join([packed, *map(self._contents.read, contents)])

        return await self._threads.run(with_contents)

    async def _look_up(
        self, workspace: str, key: str, use: Callable[[str, bytes], R]
    ) -> tuple[HeapRecord, R]:
        """Look a heap up, and read its file meanwhile.

        Args:
            workspace: Who asks. Without a row, nothing tells whether there is a file.
            key: The heap key.
            use: Makes something of the file, in the thread that has read it.

        Raises:
            HeapMissingError: The workspace has no such heap.
            HeapDamagedError: The file is lost.
            HeapStoreError: The store can't be used.
        """
        if not is_key(key):
            raise HeapMissingError(key)
        reading = asyncio.ensure_future(self._threads.run(self._read, key, use))
        try:
            heap = await self.get(workspace, key)
        except BaseException:
            reading.add_done_callback(_ignore)
            reading.cancel()
            raise
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError):
                return heap, await reading
            await asyncio.sleep(_PAUSE_SECONDS)
            heap = await self.get(workspace, key)
            reading = asyncio.ensure_future(self._threads.run(self._read, key, use))
        reading.add_done_callback(_ignore)
        message = f"the heap {key} is not in the store"
        raise HeapDamagedError(message)

    def _read(self, key: str, use: Callable[[str, bytes], R]) -> R:
        return use(key, self._store.read(key))

    # -- looking up --------------------------------------------------------------------

    async def get(self, workspace: str, key: str) -> HeapRecord:
        """Look a heap up.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        found = await self._tables.find(workspace, key) if is_key(key) else None
        if found is None:
            raise HeapMissingError(key)
        return found

    async def exists(self, workspace: str, key: str) -> bool:
        """Tell whether a workspace has a heap."""
        return is_key(key) and await self._tables.find(workspace, key) is not None

    async def newest(
        self,
        workspace: str,
        tags: dict[str, str],
        limit: int = LIST_DEFAULT,
        offset: int = 0,
    ) -> list[HeapRecord]:
        """List a workspace's heaps that have all these tags, newest first."""
        return await self._tables.newest(workspace, tags, limit, offset)

    async def tagged(
        self,
        workspace: str,
        tags: dict[str, str],
        limit: int = LIST_MAX,
        offset: int = 0,
    ) -> list[tuple[str, dict[str, str]]]:
        """List heaps that have tags, and all of these, by key, each with its tags."""
        return await self._tables.tagged(workspace, tags, limit, offset)

    async def sessions(self, workspace: str) -> list[str]:
        """List the names of the sessions that have a history."""
        return await self._tables.sessions(workspace)

    async def history(self, workspace: str, session: str) -> list[SessionEntry]:
        """List the steps of a session, oldest first; none if it is unknown."""
        return await self._tables.history(workspace, session)

    # -- changing and deleting ---------------------------------------------------------

    async def set_tags(self, workspace: str, key: str, tags: dict[str, str]) -> None:
        """Replace a heap's tags.

        Raises:
            HeapMissingError: The workspace has no such heap.
            InvalidRequestError: The tags aren't as they must be.
        """
        check_tags(tags)
        if not await self._tables.set_tags(workspace, key, tags):
            raise HeapMissingError(key)

    async def delete_tags(
        self, workspace: str, key: str, names: Iterable[str] | None
    ) -> None:
        """Delete a heap's tags of these names, or all for None.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        if not await self._tables.delete_tags(workspace, key, names):
            raise HeapMissingError(key)

    async def delete(self, workspace: str, key: str) -> None:
        """Delete a workspace's heap; other workspaces that own it keep it.

        Raises:
            HeapMissingError: The workspace has no such heap.
        """
        if not (is_key(key) and await self._tables.delete(workspace, key)):
            raise HeapMissingError(key)
        await self._retention.delete_file(key)

    async def hold(self, workspace: str, key: str) -> bool:
        """Have a heap stay that was saved automatically; False if it isn't there."""
        return await self._tables.hold(workspace, key)

    async def release(self, workspace: str, key: str) -> None:
        """Delete a heap that `keep` saved automatically, unless anything needs it.

        What can't be deleted now is collected later: who has no use for a heap has
        saved another one by now, which isn't to fail for that.
        """
        try:
            if await self._tables.delete_unneeded(workspace, key, automatic=True):
                await self._retention.delete_file(key)
        except ServerError as error:
            self._log.warning("a heap can't be deleted yet", error=str(error))

    async def collect(self) -> Collected:
        """Delete what nothing needs and the settings don't keep, then unowned files."""
        return await self._retention.collect()

    async def _sweep(self) -> None:
        if self.has_turn(self._settings.heap_sweep_interval_seconds):
            await self.collect()


def _ignore(reading: asyncio.Future[Any]) -> None:
    """Take what nobody waits for any more, so that it isn't reported as lost."""
    if not reading.cancelled():
        reading.exception()
