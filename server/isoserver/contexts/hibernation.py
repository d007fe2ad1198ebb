"""Hibernation: idle contexts are saved, lose their process, and wake when asked.

Only contexts whose process can be saved hibernate; others die with their process.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from isoserver.contexts.context import State
from isoserver.contexts.records import LIVE, ContextRecord, why_dead
from isoserver.errors import (
    ContextDeadError,
    DatabaseError,
    HeapStoreError,
    MovingError,
    ServerError,
    StoppingError,
)
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context, Key
    from isoserver.contexts.records import HeapStorage, LoadedHeap
    from isoserver.contexts.registry import Registry
    from isoserver.contexts.store import ContextStore
    from isoserver.files.service import Files
    from isoserver.settings.server import ServerSettings

__all__ = ["Hibernation"]

_SAVES_AT_ONCE: Final = min(4, os.cpu_count() or 1)
"""Each takes a processor for some 40 ms."""
_WAKE_SECONDS: Final = (0.02, 0.5)
"""A context is being woken for so long at least, as another may follow, and at most, as
what it was woken for may take long."""
_GIVE_WAY_SECONDS: Final = 1.0
"""How long a save is put off at most because contexts are woken."""
_LOOK_SECONDS: Final = 0.01
_WITH_PROCESS: Final = frozenset({State.IDLE, State.BUSY})
_AWAY: Final = HeapStoreError, DatabaseError
"""Failures that aren't about the context that is saved."""


class _Failure(NamedTuple):
    """Why a context could not be saved, and when it had been used last by then.

    Another attempt is only worth it if it has been used since, or if that passes.
    """

    used: float
    reason: str
    passes: bool


class Hibernation:
    """Hibernates and wakes contexts, and keeps their rows right; a `ContextOwner`.

    Attributes:
        cut_off: Contexts that were live when the last server ended, until found.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server
        self,
        settings: ServerSettings,
        registry: Registry,
        store: ContextStore,
        heaps: HeapStorage,
        files: Files,
        gone: Callable[[ContextRecord, Context | None], Awaitable[None]],
        *,
        servers: Callable[[], int] | None = None,
        log: FilteringBoundLogger,
    ) -> None:
        """Begin with no context hibernated.

        Args:
            settings: The server's settings.
            registry: The contexts.
            store: Their rows.
            heaps: Where they are saved.
            files: Their folders, which end with them.
            gone: Called with each that is deleted because nobody uses it, and what was
                made of it, if anybody holds that.
            servers: Counts the servers that the database has contexts of, if it has
                those of several.
            log: Told of contexts that should be saved and can't be.
        """
        self._servers = servers
        self._log = log
        self._due: WeakKeyDictionary[Context, asyncio.TimerHandle] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Context, str] = WeakKeyDictionary()
        self._keeping: set[asyncio.Task[None]] = set()
        self._files = files
        self._settings = settings
        self._registry = registry
        self._store = store
        self._heaps = heaps
        self._failures: WeakKeyDictionary[Context, _Failure] = WeakKeyDictionary()
        self._hibernating: dict[Key, asyncio.Future[None]] = {}
        self._stopping = False
        self._waking: dict[Context, float] = {}  # since when
        self._gone = gone
        self.cut_off: set[Key] = set()
        self._choosing = asyncio.Lock()
        # When a context could last not be saved as nothing can be, and why.
        self._away: tuple[float, type[ServerError], str] | None = None
        self._durable = bool(settings.data_dir or settings.database_url)

    # -- the server's life -------------------------------------------------------------

    async def start(self, served: Iterable[str]) -> None:
        """Adopt the contexts that an earlier server has left.

        Args:
            served: The languages that can run; contexts of others stay where they are.
        """
        if not self._durable or self._servers is not None:
            return
        languages = set(served)
        for row in await self._store.load():
            if row.language not in languages:
                continue
            record = row.as_found()
            self._registry.load(record)
            if record is not row:
                self.cut_off.add(record.key)
                self._store.write_soon(record.key, lambda record=record: record)  # type: ignore[misc]

    async def stop(self, grace_ended: asyncio.Event) -> None:
        """Save every context that can be saved, and record what becomes of each.

        Args:
            grace_ended: Ends the saving when it is set.
        """
        self._stopping = True
        if not self._durable or self._store.abandoned:
            return
        saving = asyncio.ensure_future(self._hibernate_all(self._registry.live()))
        ended = asyncio.ensure_future(grace_ended.wait())
        await asyncio.wait(
            [saving, ended],
            timeout=self._settings.shutdown_save_timeout_seconds,
            return_when="FIRST_COMPLETED",
        )
        await end_tasks(ended, saving)
        left = self._registry.live()
        # Others may have taken over by now, so that nothing is written.
        for context in left:
            with suppress(DatabaseError, StoppingError):
                await self._store.store_cells(context, again=True)
        with suppress(DatabaseError, StoppingError):
            await self._store.write(*(self._last_record(one) for one in left))
            await self._store.flush()
        # What is still being saved comes too late: nobody is told that it is.
        self._store.abandon()

    def _last_record(self, context: Context) -> ContextRecord:
        """Return what becomes of a context that is live when the server ends."""
        if context.state is State.DEAD:
            return ContextRecord.now(context)
        failure = self._failures.get(context)
        if not context.process.can_save:
            why = f"a {context.language.name} context can't be saved"
        elif failure is not None:
            why = failure.reason
        else:
            why = "there was no time to save it"
        record = ContextRecord.of(context, LIVE, "")
        return record.without_process(f"when the server stopped, {why}")

    # -- rows --------------------------------------------------------------------------

    def record(self, context: Context) -> None:
        """Have the row of a live context written soon; it is new, or began anew."""
        self._failures.pop(context, None)
        if self._durable or context.checkpoint is not None:
            self._write_soon(context)

    def died(self, context: Context) -> None:
        """Correct the row of a context that is dead; see `ContextOwner`."""
        if self._store.has(context.key):
            self._write_soon(context)

    def _write_soon(self, context: Context) -> None:
        if self._registry.is_live(context):
            self._store.write_soon(context.key, lambda: ContextRecord.now(context))

    async def saved(self, context: Context) -> None:
        """Write the checkpoint of a context; see `ContextOwner`."""
        await self._write(context, ContextRecord.now(context))

    async def _write(
        self, context: Context, record: ContextRecord, *, again: bool = False
    ) -> bool:
        """Write a context that was saved; False if nobody could go on from it.

        It was deleted meanwhile, or is for one run.
        """
        if self._registry.is_live(context):
            await self._store.write_saved(context, record, again=again)
            if self._registry.is_live(context):
                return True
            await self._store.delete(context.key)
        return False

    # -- saving contexts while they are used -------------------------------------------

    def executed(self, context: Context) -> None:
        """Have a context saved in the time that it is to be; see `ContextOwner`."""
        seconds = context.identity.durability
        if seconds is None or context in self._due:
            return
        loop = asyncio.get_running_loop()
        self._due[context] = loop.call_later(seconds, self._keep_soon, context)

    def _keep_soon(self, context: Context) -> None:
        del self._due[context]
        if self._registry.is_live(context) and context.state in _WITH_PROCESS:
            keeping = asyncio.ensure_future(self._keep_or_tell(context))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    async def _keep_or_tell(self, context: Context) -> None:
        try:
            await self.keep(context)
        except ServerError as error:
            self._log.warning(
                "a context can't be saved", context=context.id, reason=str(error)
            )

    async def changed(self, context: Context) -> None:
        """Have a context saved whose folder somebody has changed, as its executions.

        One that sleeps is saved at once: what it would be saved for later is over.

        Raises:
            ServerError: It is to be saved at once, and can't be.
        """
        seconds = context.identity.durability
        if seconds is None:
            return
        if seconds and context.state is not State.HIBERNATED:
            self.executed(context)
        else:
            await self.keep(context)

    async def keep(self, context: Context) -> None:
        """Save a context, and return once that is recorded; see `ContextOwner`."""
        if self._registry.find(context.key) is not context:
            return  # it is for one run: nobody could go on from it
        before = context.checkpoint
        key = await self._heaps.keep(context, automatic=True)
        last, self._kept[context] = self._kept.get(context), key
        known = {last, None if before is None else before.key}
        for old in known - {key, None}:
            assert old is not None  # noqa: S101 - as it says
            await self._heaps.release(context.workspace, old)

    # -- hibernating -------------------------------------------------------------------

    async def sweep(self) -> None:
        """Hibernate what was idle for long; delete what hibernated for long."""
        after = self._settings.hibernate_after_seconds
        if after is not None:
            now = time.monotonic()
            idle = [one for one in self._registry.live() if now - one.used > after]
            if self._servers is not None and idle:
                idle = await self._with_room(idle, self._servers())
            await self._hibernate_all(idle)
        ttl = self._settings.hibernated_context_ttl_seconds
        if ttl is not None:
            limit = time.time() - ttl
            old = [one for one in self._registry.records() if one.last_used < limit]
            with self._registry.clearing(*(record.key for record in old)):
                await self._forget(old)

    async def _forget(self, old: list[ContextRecord]) -> None:
        """Delete contexts without a process, whose names nobody gets meanwhile."""
        ttl = self._settings.hibernated_context_ttl_seconds
        held = [self._registry.recalled(record.key) for record in old]
        for record in old:
            self._registry.pop_record(record.key)
            why = f"nobody used it for {ttl:g} s (hibernated_context_ttl_seconds)"
            self._registry.note_gone(record.key, why)
        await self._store.delete(*(record.key for record in old))
        for record, context in zip(old, held, strict=True):
            await asyncio.to_thread(self._files.delete, record.key)
            await self._gone(record, context)
        for record in old:
            if record.heap is not None:
                await self._heaps.release(record.workspace, record.heap)

    async def _with_room(self, idle: list[Context], servers: int) -> list[Context]:
        """Return those for which there is room among all servers' sleepers.

        Also those that no server has any more count, which servers have left that have
        ended. What a server saves as it ends, or gives away, isn't counted.
        """
        total = self._settings.hibernated_contexts_max
        share = self._settings.share_of(total) * servers
        asleep = await self._store.count_asleep()
        may: list[Context] = []
        for one in idle:
            if asleep.total() < total * servers and asleep[one.workspace] < share:
                may.append(one)
                asleep[one.workspace] += 1
        return may

    async def _hibernate_all(self, contexts: list[Context]) -> None:
        """Hibernate all; none but the first ones if the store or database is away.

        At the end of the server each is tried, as there is no other time.
        """
        gate = asyncio.Semaphore(_SAVES_AT_ONCE)
        away = False

        async def one(context: Context) -> None:
            nonlocal away
            async with gate:
                await self._give_way()
                if not away or self._stopping:
                    try:
                        await self._hibernate(context)
                    except _AWAY:
                        away = True

        results = await asyncio.gather(
            *(
                one(each)
                for each in sorted(contexts, key=self._turn)
                if each.process.can_save
            ),
            return_exceptions=True,
        )
        for error in results:
            if isinstance(error, Exception):  # a defect, which the log shall have
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a context was not saved", "exception": error}
                )

    async def _give_way(self) -> None:
        """Wait while contexts are woken: somebody waits for those, nobody for this."""
        end = time.monotonic() + _GIVE_WAY_SECONDS
        while (  # noqa: ASYNC110 - contexts don't tell who isn't their owner
            self._being_woken() and not self._stopping and time.monotonic() < end
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    def _being_woken(self) -> dict[Context, float]:
        """Return the contexts that have no first result yet, and since when."""
        now, (least, most) = time.monotonic(), _WAKE_SECONDS
        return {
            context: since
            for context, since in self._waking.items()
            if now - since < (least if context.is_quiet() else most)
        }

    async def _hibernate(self, context: Context) -> None:
        """Save an idle context and end its process, unless something is asked of it.

        Raises:
            HeapStoreError: Nothing can be saved.
            DatabaseError: Likewise.
        """
        under_way = self._hibernating.get(context.key)
        if under_way is not None:
            await asyncio.wait([under_way])
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hibernating[context.key] = done
        try:
            await self._try_to_hibernate(context)
        finally:
            del self._hibernating[context.key]
            done.set_result(None)

    async def _try_to_hibernate(self, context: Context) -> None:
        if context.state is State.HIBERNATED:  # it could not be launched when it woke
            hibernated = ContextRecord.of(context, State.HIBERNATED.value, "")
            self._put_down(context, hibernated)
            return
        if not self._may_go(context):
            return
        used, before = context.used, context.checkpoint
        self._failures.pop(context, None)
        try:
            await self._heaps.keep(context, automatic=True)
            record = ContextRecord.of(context, State.HIBERNATED.value, "")
            if not await self._write(context, record, again=True):
                return
        except StoppingError:
            return  # nothing is written any more
        except ServerError as error:
            self._write_soon(context)  # perhaps it was written that it sleeps
            passes = isinstance(error, _AWAY)
            self._failures[context] = _Failure(used, str(error), passes)
            if not passes:
                return
            kind = next(kind for kind in _AWAY if isinstance(error, kind))
            self._away = time.monotonic(), kind, str(error)
            raise
        if before is not None and before.key != record.heap:
            await self._heaps.release(context.workspace, before.key)
        if context.is_quiet() and context.used == used:
            self._put_down(context, record)
            await context.hibernate()
        else:
            self._write_soon(context)

    async def put_to_sleep(self, context: Context) -> None:
        """Hibernate a context if it is idle, whatever it was used for a moment ago."""
        if self._registry.is_live(context):
            self._failures.pop(context, None)
            with suppress(*_AWAY):  # `why_awake` tells
                await self._hibernate(context)

    def why_awake(self, context: Context) -> str:
        """Return why a context couldn't be saved; empty if it could, or wasn't idle."""
        failure = self._failures.get(context)
        return "" if failure is None else failure.reason

    def _put_down(self, context: Context, record: ContextRecord) -> None:
        self._failures.pop(context, None)
        self._registry.put_down(context, record)

    # -- waking ------------------------------------------------------------------------

    async def wake(self, context: Context) -> LoadedHeap:
        """Have a context live again, and return its heap; see `ContextOwner`."""
        if self._stopping:
            raise StoppingError
        self._waking = {**self._being_woken(), context: time.monotonic()}
        await self.make_room(context.workspace)
        checkpoint = context.checkpoint
        if checkpoint is None or not self._registry.wake(context):
            if self._servers is not None and checkpoint is not None:
                raise MovingError  # or deleted: who asks again is told
            reason = "it was deleted"
            raise ContextDeadError(reason)
        try:
            heap = await self._heaps.open(context.workspace, checkpoint.key)
        except BaseException as error:
            if not self._registry.is_live(context):
                raise
            reason = why_dead(error)
            state = State.DEAD if reason else State.HIBERNATED
            record = ContextRecord.of(context, state.value, reason or context.reason)
            self._put_down(context, record)
            if not reason:
                raise
            self._store.write_soon(context.key, lambda: record)
            raise ContextDeadError(reason) from error
        if not self._registry.is_live(context):
            heap.close()
            reason = "it was deleted"
            raise ContextDeadError(reason)
        self.record(context)
        return heap

    async def make_room(self, workspace: str) -> None:
        """Hibernate the context that was idle for longest if the limit is reached.

        If that one can't be saved, it is the next one's turn; those that couldn't be
        last time are the last ones. Where nothing can be saved, the first one that
        waits for that finds out for all who wait.

        Raises:
            ContextLimitError: None can be saved.
            HeapStoreError: Nothing can be.
            DatabaseError: Likewise.
        """
        began = time.monotonic()
        async with self._choosing:
            away = self._away if self._registry.crowd(workspace) else None
            if away is not None and away[0] > began:
                raise away[1](away[2])
            while self._registry.crowd(workspace) and self._hibernating:
                under_way = list(self._hibernating.values())
                await asyncio.wait(under_way, return_when="FIRST_COMPLETED")
            idle = filter(self._may_go, self._registry.crowd(workspace))
            for one in sorted(idle, key=self._turn):
                await self._hibernate(one)
                if not self._registry.crowd(workspace):
                    break
        self._registry.check_room(workspace)

    def _turn(self, context: Context) -> tuple[bool, float]:
        return context in self._failures, context.used

    def can_wake(self, workspace: str) -> bool:
        """Whether there is room for a context that wakes, or others can make it."""
        crowd = self._registry.crowd(workspace)
        return not crowd or any(self._may_go(one) for one in crowd)

    def _may_go(self, context: Context) -> bool:
        """Whether a context is idle, and wasn't found to be unsavable as it is."""
        failure, others = self._failures.get(context), self._hibernating.keys()
        return (
            context.process.can_save
            and context.is_quiet()
            and (failure is None or failure.passes or failure.used != context.used)
            and self._registry.may_hibernate(context.workspace, others - {context.key})
        )
