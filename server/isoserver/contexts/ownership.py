"""Which contexts are this server's, where several servers share a database.

A context that nobody owns is taken when somebody asks this server for it, and goes on
from its last checkpoint, as after a crash of the only server. One that is to leave is
hibernated and let go of: whoever is asked for it next takes it.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isokernel.timeouts import timeout
from isoserver.cluster.kinds import CONTEXT
from isoserver.contexts.context import State
from isoserver.contexts.kernel_ids import is_kernel_id, kernel_id
from isoserver.contexts.records import ContextRecord
from isoserver.errors import ElsewhereError, MovingError, ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.cluster.service import Cluster
    from isoserver.contexts.context import Key
    from isoserver.contexts.hibernation import Hibernation
    from isoserver.contexts.records import HeapStorage
    from isoserver.contexts.registry import Registry
    from isoserver.contexts.store import ContextStore
    from isoserver.contexts.transcript_files import TranscriptFiles
    from isoserver.files.service import Files

__all__ = ["Ownership"]

_LEAVING_AT_ONCE: Final = 4
_SLEEPERS_A_ROUND: Final = 100
_PAUSE_SECONDS: Final = 0.2
"""Between two rounds over the contexts that are still here."""
_SWEPT_AT_ONCE: Final = 100
_CAPTURE_SECONDS: Final = 60.0
"""Before its heap is stored, a context's files have been read for long by then."""


class Ownership:
    """The contexts of one server among several. In the event loop only.

    Attributes:
        adopted: Called with each context that was taken, before anybody finds it.
        left: Called with each that is another server's from now on.
        wanted: Whether something waits that will ask for a context, which stays then.
        emptied: Set once a server that is drained has no live context that can be
            given away, nor one in which something runs.
    """

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        cluster: Cluster,
        registry: Registry,
        store: ContextStore,
        hibernation: Hibernation,
        *,
        heaps: HeapStorage,
        files: Files,
        transcripts: TranscriptFiles,
        log: FilteringBoundLogger,
    ) -> None:
        """Own nothing.

        Args:
            cluster: The servers.
            registry: The contexts that are here.
            store: Their rows.
            hibernation: What saves those that leave.
            heaps: Where their files come from.
            files: Where their files are.
            transcripts: Where what they say is kept.
            log: Told of those that can't leave.
        """
        self.adopted: list[Callable[[Key], Awaitable[None]]] = []
        self.left: list[Callable[[Key], None]] = []
        self.wanted: list[Callable[[Key], bool]] = []
        self._cluster = cluster
        self._registry = registry
        self._store = store
        self._hibernation = hibernation
        self._heaps = heaps
        self._files = files
        self._transcripts = transcripts
        self._log = log
        self._served: frozenset[str] = frozenset()
        self._adopting: dict[Key, asyncio.Future[None]] = {}
        self._leaving: set[Key] = set()
        self._draining: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self.emptied = asyncio.Event()
        cluster.drained.append(self._begin_to_drain)

    def start(self, served: frozenset[str]) -> None:
        """Begin to take contexts.

        Args:
            served: Their languages; those of others stay where they are.
        """
        self._served = served

    async def close(self) -> None:
        """Save what was put into the folders of contexts that sleep."""
        self._ending.set()
        if self._draining is not None:
            await asyncio.wait([self._draining])  # with what leaves just now
        await self._all_leave(
            [
                record.key
                for record in self._registry.records()
                if await asyncio.to_thread(self._has_news, record)
            ]
        )

    # -- taking ------------------------------------------------------------------------

    async def claim(self, key: Key) -> None:
        """Own a context that is being made here.

        Raises:
            ElsewhereError: Another server has one of that name.
            DatabaseError: The database can't be used.
        """
        await self._cluster.claim(CONTEXT, key)

    async def written(self) -> None:
        """Have the rows of new contexts written, before anybody relies on them.

        Raises:
            LeaseError: Nothing is written here any more.
            StoppingError: Likewise.
            DatabaseError: The database can't be used.
        """
        await self._store.flush()
        self._cluster.check()
        self._store.check()

    async def adopt(self, key: Key) -> None:
        """Have a context be here, if there is one and nobody else has it.

        Args:
            key: Its workspace and its id, or its UUID as a kernel of Jupyter's.

        Raises:
            ElsewhereError: Another server has it.
            MovingError: It is on its way to another one.
            DatabaseError: The database can't be used.
            HeapError: Its files can't be restored.
        """
        while not self._is_here(key):
            under_way = self._adopting.get(key)
            if under_way is None:
                break
            await asyncio.wait([under_way])
        else:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._adopting[key] = done
        try:
            await self._adopt(key)
        finally:
            del self._adopting[key]
            done.set_result(None)

    def _is_here(self, key: Key) -> bool:
        if key in self._leaving:
            raise MovingError
        if self._registry.has(key):
            return True
        workspace, name = key
        return (
            is_kernel_id(name)
            and self._registry.find_kernel(workspace, name) is not None
        )

    async def _adopt(self, key: Key) -> None:
        workspace, name = key
        if is_kernel_id(name):
            for each in await self._store.ids(workspace):
                if kernel_id((workspace, each)) == name:
                    key = workspace, each
        peer = await self._cluster.owner_of(CONTEXT, key)
        if peer is not None:
            raise ElsewhereError(peer.id, peer.url)
        row = await self._store.find(key)
        if row is None or row.language not in self._served:
            return
        if self._cluster.draining:
            peer = await self._cluster.place()
            if peer is not None:
                raise ElsewhereError(peer.id, peer.url)
        await self._cluster.claim(CONTEXT, key)
        try:
            # Again: whoever had it may have written it since.
            row = await self._store.find(key)
            if row is not None:
                await self._load(row.as_found(), row)
        except BaseException:
            await asyncio.shield(self._let_go(key))
            raise

    async def _load(self, record: ContextRecord, row: ContextRecord) -> None:
        """Have a context be found here; its files are those of its checkpoint."""
        key = record.key
        # What it has left here when it was this server's before is of no use.
        await asyncio.to_thread(self._files.delete, key)
        await asyncio.to_thread(self._transcripts.delete, key, record.created_at)
        if record.heap is not None and await self._heaps.has_files(
            record.workspace, record.heap
        ):
            heap = await self._heaps.open(record.workspace, record.heap)
            try:
                await self._heaps.restore_files(heap, key)
            finally:
                heap.close()
        for call in self.adopted:
            await call(key)
        if record is not row:
            await self._store.write(record)
        self._registry.load(record)

    # -- letting go --------------------------------------------------------------------

    async def released(self, key: Key) -> None:
        """Own a context no longer that was deleted."""
        await self._cluster.release(CONTEXT, key)

    async def _let_go(self, key: Key) -> None:
        """Let go of a context that isn't found here any more."""
        await self._store.let_go(key)
        for call in self.left:
            call(key)
        await asyncio.to_thread(self._files.delete, key)
        await self._cluster.release(CONTEXT, key)

    async def leave(self, key: Key) -> bool:
        """Hibernate a context and let go of it; False if it has to stay for now."""
        if key in self._leaving or any(wants(key) for wants in self.wanted):
            return False
        context = self._registry.find(key)
        if context is None:
            return False
        if context.state is State.HIBERNATED and await asyncio.to_thread(
            self._has_news, ContextRecord.of(context, State.HIBERNATED.value, "")
        ):
            # Which wakes it, and saves it with what is in its folder.
            await self._heaps.keep(context, automatic=True)
        if context.state is State.DEAD and self._registry.is_live(context):
            record = ContextRecord.now(context)
            await self._store.write(record)
            self._registry.put_down(context, record)
        await self._hibernation.put_to_sleep(context)
        popped = self._registry.pop_record(key)
        if popped is None:
            return False
        self._leaving.add(key)
        try:
            context.transcript.end("it is another server's from now on")
            context.transcript.close()
            await self._let_go(key)
            await asyncio.to_thread(self._transcripts.delete, key, popped.created_at)
        finally:
            self._leaving.discard(key)
        return True

    def _has_news(self, record: ContextRecord) -> bool:
        """Whether a sleeper's folder may have what its heap has not; blocks."""
        place = self._files.path(record.key)
        since = (record.heap_at or 0.0) - _CAPTURE_SECONDS
        for folder, _, names in os.walk(place):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                with suppress(OSError):
                    if path.lstat().st_ctime > since:
                        return True
        return False

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        """Have all contexts leave that can be saved, as soon as each is idle."""
        while not self._ending.is_set():
            sleepers = [each.key for each in self._registry.records()]
            # There may be very many of them: the live ones are looked at in between.
            for begin in range(0, max(len(sleepers), 1), _SLEEPERS_A_ROUND):
                await self._all_leave(self._live(), self._ending)
                if not self._live() and not any(
                    each.state is State.BUSY or each.ending
                    for each in self._registry.processes()
                ):
                    self.emptied.set()
                if self._ending.is_set():
                    return
                some = sleepers[begin : begin + _SLEEPERS_A_ROUND]
                await self._all_leave(some, self._ending)
            with suppress(asyncio.TimeoutError):
                async with timeout(_PAUSE_SECONDS):
                    await self._ending.wait()

    def _live(self) -> list[Key]:
        """Return the live contexts that others can go on with."""
        return [
            each.key
            for each in self._registry.live()
            if each.process.can_save or each.state is State.DEAD
        ]

    async def _all_leave(
        self, keys: list[Key], ended: asyncio.Event | None = None
    ) -> None:
        """Have contexts leave; none begins to after an event."""
        gate = asyncio.Semaphore(_LEAVING_AT_ONCE)

        async def one(key: Key) -> None:
            async with gate:
                if ended is not None and ended.is_set():
                    return
                try:
                    await self.leave(key)
                except ServerError as error:
                    kind = type(error).__name__
                    self._log.warning("a context can't leave", id=key[1], error=kind)

        await asyncio.gather(*(one(key) for key in keys))

    # -- sweeping ----------------------------------------------------------------------

    async def sweep(self, ttl_seconds: float) -> None:
        """Take contexts that nobody owns nor uses, for the next sweep to delete."""
        limit = time.time() - ttl_seconds
        for key in await self._store.unused(limit, _SWEPT_AT_ONCE):
            try:
                await self.adopt(key)
            except ServerError:  # noqa: PERF203 - another server's, or not now
                continue
