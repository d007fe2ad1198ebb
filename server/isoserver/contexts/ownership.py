"""Which contexts are this server's, where several servers share a database.

A context that nobody owns is taken when somebody asks this server for it, and goes on
from its last checkpoint, as after a crash of the only server. One that is to leave is
hibernated and let go of: whoever is asked for it next takes it. One that is moved goes
to the server that was named, which takes it from this one, and wakes it if it was live.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isokernel.timeouts import timeout
from isoserver.cluster.kinds import CONTEXT
from isoserver.contexts.context import State
from isoserver.contexts.kernel_ids import is_kernel_id, kernel_id
from isoserver.contexts.records import ContextRecord, why_dead
from isoserver.errors import (
    ContextFileError,
    DatabaseError,
    ElsewhereError,
    HeapStoreError,
    MovingError,
    PeerLostError,
    ServerError,
    UnmovableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.cluster.service import Cluster, Peer
    from isoserver.contexts.context import Context, Key
    from isoserver.contexts.hibernation import Hibernation
    from isoserver.contexts.records import HeapStorage
    from isoserver.contexts.registry import Registry
    from isoserver.contexts.store import ContextStore
    from isoserver.contexts.transcript_files import TranscriptFiles
    from isoserver.files.service import Files
    from isoserver.storage.database import Held

__all__ = ["Ownership"]

_LEAVING_AT_ONCE: Final = 4
_LEAVE_SECONDS: Final = 5.0
"""For how long a request waits for a context that leaves, to be passed on then."""
_LEFT_MAX: Final = 1000
"""Contexts that were let go of and are remembered."""
_QUIET_SECONDS: Final = 1.0
"""For how long a move waits for what a context has begun."""
_LOOK_SECONDS: Final = 0.005
_AT_WORK: Final = frozenset({State.STARTING, State.BUSY, State.IDLE})
_HAND_OVER_SECONDS: Final = 10.0
_GIVEN_MAX: Final = 16
"""Of the contexts that go to another server at one request of an operator's."""
_SLEEPERS_A_ROUND: Final = 100
_PAUSE_SECONDS: Final = 0.2
"""Between two rounds over the contexts that are still here."""
_SWEPT_AT_ONCE: Final = 100
_SHARED: Final = (DatabaseError, HeapStoreError, ContextFileError)
"""What keeps a context from being taken, whoever asks for it."""
_CAPTURE_SECONDS: Final = 60.0
"""Before its heap is stored, a context's files have been read for long by then."""


class Ownership:
    """The contexts of one server among several. In the event loop only.

    Attributes:
        adopted: Called with each context that was taken, before anybody finds it.
        left: Called with each that is let go of, as long as it is this server's.
        wanted: Whether something waits that will ask for a context, which stays then.
        hand_over: Has another server take a context, and wake it or not.
        find_room: Returns another server where a context of a workspace can wake.
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
        self.left: list[Callable[[Key], Awaitable[None]]] = []
        self.wanted: list[Callable[[Key], bool]] = []
        self.hand_over: Callable[[Peer, Held, bool], Awaitable[None]]
        self.find_room: Callable[[str], Awaitable[Peer | None]]
        self._cluster = cluster
        self._registry = registry
        self._store = store
        self._hibernation = hibernation
        self._heaps = heaps
        self._files = files
        self._transcripts = transcripts
        self._log = log
        self._served: frozenset[str] = frozenset()
        self._adopting: dict[Key, asyncio.Future[BaseException | None]] = {}
        self._leaving: dict[Key, asyncio.Future[None]] = {}
        self._left: OrderedDict[Key, None] = OrderedDict()
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
        self._store.own(key, await self._cluster.claim(CONTEXT, key))

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

    async def adopt(self, key: Key, given: int = 0, *, wakes: bool = False) -> None:
        """Have a context be here, if there is one and nobody else has it.

        Args:
            key: Its workspace and its id, or its UUID as a kernel of Jupyter's.
            given: The generation of who gives it away to this server, if one does.
            wakes: Whether it is to be where it can wake.

        Raises:
            ElsewhereError: Another server has it.
            MovingError: It is on its way to another one.
            DatabaseError: The database can't be used.
            HeapStoreError: Its files can't be restored now.
            ContextFileError: Its files can't be restored here.
        """
        key = await self._by_id(key)
        while not await self._is_here(key):
            under_way = self._adopting.get(key)
            if under_way is None:
                break
            await asyncio.wait([under_way])
            failure = under_way.result()
            if isinstance(failure, _SHARED):
                raise failure  # each of many would wait as long, one after the other
        else:
            if wakes:
                await self._give_if_full(key)
            return
        done: asyncio.Future[BaseException | None]
        done = self._adopting[key] = asyncio.get_running_loop().create_future()
        failure = None
        try:
            await self._adopt(key, given, wakes=wakes)
        except BaseException as error:
            failure = error
            raise
        finally:
            del self._adopting[key]
            done.set_result(failure)

    async def _is_here(self, key: Key) -> bool:
        leaving = self._leaving.get(key)
        if leaving is not None:
            await asyncio.wait([leaving], timeout=_LEAVE_SECONDS)
            if key in self._leaving:
                raise MovingError
        if self._registry.has(key):
            return True
        # Else what is being deleted would come back.
        if not await self._registry.wait_free(key, _LEAVE_SECONDS):
            raise MovingError
        return self._registry.has(key)

    async def _by_id(self, key: Key) -> Key:
        """Return a context's key, of which a UUID may be all that is known."""
        workspace, name = key
        if not is_kernel_id(name) or self._registry.has(key):
            return key
        here = self._registry.find_kernel(workspace, name)
        if here is not None:
            return here.key
        if await self._store.has_row(key):
            return key  # its own name looks like that
        ids = await self._store.ids(workspace)
        # There may be very many of them.
        found = await asyncio.to_thread(_of_kernel, workspace, ids, name)
        return key if found is None else (workspace, found)

    def check_left(self, key: Key) -> None:
        """Refuse to say that there is no context which was here a moment ago.

        Raises:
            MovingError: It was let go of, and nobody has looked for it here since.
        """
        if key in self._left:
            raise MovingError

    async def _give_if_full(self, key: Key) -> None:
        """Have a context that sleeps here be where it can wake, if that is elsewhere.

        Raises:
            ElsewhereError: It is there.
            MovingError: It is nobody's now, or that server hasn't said that it has it.
        """
        context = self._registry.find(key)
        if context is None or context.state is not State.HIBERNATED:
            return
        peer = await self._other_with_room(key[0])
        if peer is None:
            return
        try:
            moved = await self.leave(key, peer)
        except ServerError as error:
            kind = type(error).__name__
            self._log.warning("a context can't leave", id=key[1], error=kind)
            if self._registry.has(key):
                return
            raise MovingError from None
        if moved:
            raise ElsewhereError(peer.id, peer.url)

    async def _other_with_room(self, workspace: str) -> Peer | None:
        """Return a server where a context can wake, unless it can here."""
        if self._hibernation.can_wake(workspace):
            return None
        return await self.find_room(workspace)

    async def _adopt(self, key: Key, given: int, *, wakes: bool) -> None:
        if not given and not await self._is_unowned(key, wakes=wakes):
            self._left.pop(key, None)
            return
        self._store.own(key, await self._cluster.claim(CONTEXT, key, given))
        try:
            # Again: whoever had it may have written it since.
            row = await self._store.find(key)
            if row is not None and row.language in self._served:
                await self._load(row.as_found(), row)
                return
        except BaseException:
            await asyncio.shield(self._let_go(key))
            raise
        await self._let_go(key)  # it was deleted meanwhile
        self._left.pop(key, None)
        if given:
            reason = "the other server doesn't serve its language"
            raise UnmovableError(reason)

    async def _is_unowned(self, key: Key, *, wakes: bool) -> bool:
        """Whether there is a context to serve that nobody owns.

        Raises:
            ElsewhereError: Another server has it, or is to have it.
        """
        peer = await self._cluster.owner_of(CONTEXT, key)
        if peer is not None:
            raise ElsewhereError(peer.id, peer.url)
        row = await self._store.find(key)
        if row is None or row.language not in self._served:
            return False
        if self._cluster.draining:
            peer = await self._cluster.place()
        elif wakes:
            peer = await self._other_with_room(key[0])
        if peer is not None:
            raise ElsewhereError(peer.id, peer.url)
        return True

    async def _load(self, record: ContextRecord, row: ContextRecord) -> None:
        """Have a context be found here; its files are those of its checkpoint."""
        key = record.key
        # What it has left here when it was this server's before is of no use.
        if self._files.has_folder(key):
            await asyncio.to_thread(self._files.delete, key)
        await asyncio.to_thread(self._transcripts.delete, key, record.created_at)
        unreadable, *failures = await asyncio.gather(
            self._restore_files(record),
            *(call(key) for call in self.adopted),
            return_exceptions=True,
        )
        reason = why_dead(unreadable)
        for error in (*failures, None if reason else unreadable):  # once none goes on
            if error is not None:
                raise error
        if record is not row:
            await self._store.write(record)
        if reason:
            # Its row stays as it is: another server may be able to read it.
            record = record._replace(state=State.DEAD.value, reason=reason)
        self._registry.load(record)
        self._left.pop(key, None)

    async def _restore_files(self, record: ContextRecord) -> None:
        if record.heap is not None and await self._heaps.has_files(
            record.workspace, record.heap
        ):
            heap = await self._heaps.open(record.workspace, record.heap)
            try:
                await self._heaps.restore_files(heap, record.key)
            finally:
                heap.close()

    async def take(self, key: Key, given: int, *, wake: bool) -> None:
        """Take a context that another server gives away.

        Args:
            key: The context's.
            given: The generation of that server.
            wake: Whether it is to be live here at once, as it was there.

        Raises:
            ElsewhereError: Somebody else has it by now.
            UnmovableError: This server takes nothing new.
        """
        if self._cluster.draining:
            reason = "the server is being drained"
            raise UnmovableError(reason)
        await self.adopt(key, given)
        context = self._registry.find(key)
        if context is not None and wake and not self._registry.crowd(key[0]):
            context.rouse()

    # -- letting go --------------------------------------------------------------------

    async def released(self, key: Key) -> None:
        """Own a context no longer that was deleted."""
        await self._cluster.release(CONTEXT, *self._store.disown(key))

    async def _let_go(
        self, key: Key, peer: Peer | None = None, *, wake: bool = False
    ) -> None:
        """Let go of a context that isn't found here any more.

        Raises:
            ElsewhereError: Who was to take it says that somebody else has it.
            PeerLostError: They didn't say that they have it; somebody will.
            PeerUnreachableError: They can't be reached; likewise.
        """
        held = await self._store.let_go(key)
        self._left[key] = None
        while len(self._left) > _LEFT_MAX:
            self._left.popitem(last=False)
        for call in self.left:
            await call(key)
        if self._files.has_folder(key):
            await asyncio.to_thread(self._files.delete, key)
        try:
            if peer is not None:
                async with timeout(_HAND_OVER_SECONDS):
                    await self.hand_over(peer, held[0], wake)
                return
        except (asyncio.TimeoutError, TimeoutError):
            await self._cluster.release(CONTEXT, *held)  # unless they have it by now
            raise PeerLostError from None
        except BaseException:
            await asyncio.shield(self._cluster.release(CONTEXT, *held))
            raise
        await self._cluster.release(CONTEXT, *held)

    async def move(self, key: Key, peer: Peer) -> None:
        """Have a context be another server's, live if it is live.

        Raises:
            UnmovableError: It has to stay for now, or for ever.
            PeerUnreachableError: The server can't be reached. Nobody has the context,
                so that whoever is asked for it next takes it.
            PeerLostError: Likewise, or the server has it.
        """
        if not await self.leave(key, peer):
            raise UnmovableError(self._why_here(key))

    def _why_here(self, key: Key) -> str:
        context = self._registry.find(key)
        if context is None:
            return "it is leaving already"
        if self._registry.is_live(context) and not context.process.can_save:
            return f"a {context.language.name} context can't be saved"
        return self._hibernation.why_awake(context) or "it is at work; try again"

    async def give(self, peer: Peer, number: int) -> list[Key]:
        """Move some live contexts that nobody attends to, idle for longest first.

        Args:
            peer: The server that gets them.
            number: How many; `_GIVEN_MAX` at most.

        Returns:
            Those that were moved.
        """
        idle = [
            context
            for context in self._registry.live()
            if context.process.can_save
            and context.is_quiet()
            and not context.transcript.listeners
            and not self._hibernation.why_awake(context)
        ]
        idle.sort(key=attrgetter("used"))
        keys = [context.key for context in idle[: min(number, _GIVEN_MAX)]]
        return await self._all_leave(keys, peer=peer)

    async def leave(self, key: Key, peer: Peer | None = None) -> bool:
        """Hibernate a context and let go of it; False if it has to stay for now.

        What is asked of it meanwhile waits in `adopt`, until that is decided.

        Args:
            key: The context's.
            peer: The server that gets it; None for whoever is asked for it.

        Raises:
            PeerUnreachableError: See `move`.
            PeerLostError: Likewise.
        """
        context = self._registry.find(key)
        if context is None or key in self._leaving:
            return False
        decided = self._leaving[key] = asyncio.get_running_loop().create_future()
        try:
            if peer is not None:
                await self._wait_quiet(context)
            return await self._leave(context, peer)
        finally:
            del self._leaving[key]
            decided.set_result(None)

    async def _wait_quiet(self, context: Context) -> None:
        """Wait for a short cell to end."""
        end = time.monotonic() + _QUIET_SECONDS
        while (  # noqa: ASYNC110 - contexts don't tell who isn't their owner
            context.state in _AT_WORK
            and not context.is_quiet()
            and time.monotonic() < end
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    async def _leave(self, context: Context, peer: Peer | None) -> bool:
        key, used = context.key, context.used
        if any(wants(key) for wants in self.wanted):
            return False
        live = context.state is State.IDLE
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
        if context.state is State.STARTING or context.used != used:
            return False  # a front has asked something of it, or a file was written
        popped = self._registry.pop_record(key)
        if popped is None:
            return False
        context.transcript.end("it is another server's from now on", moved=True)
        context.transcript.close()
        await asyncio.to_thread(self._transcripts.delete, key, popped.created_at)
        await self._let_go(key, peer, wake=live)
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
        self,
        keys: list[Key],
        ended: asyncio.Event | None = None,
        peer: Peer | None = None,
    ) -> list[Key]:
        """Have contexts leave, some at a time; return those that have left.

        Args:
            keys: The contexts'.
            ended: None begins to leave once it is set.
            peer: The server that gets them; None for whoever is asked for them.
        """
        gate = asyncio.Semaphore(_LEAVING_AT_ONCE)

        async def one(key: Key) -> bool:
            async with gate:
                if ended is not None and ended.is_set():
                    return False
                try:
                    return await self.leave(key, peer)
                except Exception as error:  # noqa: BLE001 - the others leave all the same
                    kind = type(error).__name__
                    self._log.warning("a context can't leave", id=key[1], error=kind)
                    return False

        left = await asyncio.gather(*(one(key) for key in keys))
        return [key for key, gone in zip(keys, left, strict=True) if gone]

    # -- sweeping ----------------------------------------------------------------------

    async def sweep(self, ttl_seconds: float) -> None:
        """Take contexts that nobody owns nor uses, for the next sweep to delete."""
        limit = time.time() - ttl_seconds
        for key in await self._store.unused(limit, self._served, _SWEPT_AT_ONCE):
            try:
                await self.adopt(key)
            except ServerError:  # noqa: PERF203 - another server's, or not now
                continue


def _of_kernel(workspace: str, ids: list[str], wanted: str) -> str | None:
    """Return which of a workspace's contexts has a UUID; in any thread."""
    return next((each for each in ids if kernel_id((workspace, each)) == wanted), None)
