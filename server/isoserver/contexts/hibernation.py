"""Contexts that sleep: saved without a process, woken by whatever is asked of them.

A context without a process is a `Record`, a few hundred bytes. Who finds it gets a
context made of it, the same one as long as anybody has it, which takes jobs like any
other; the first one wakes it. V8 contexts only: others die with their process.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakValueDictionary

from isoserver.contexts.archive import Archive
from isoserver.contexts.identity import State
from isoserver.contexts.javascript import JavaScriptContext
from isoserver.contexts.records import LIVE, Record
from isoserver.errors import (
    ContextDeadError,
    ContextError,
    ContextLimitError,
    DatabaseError,
    HeapError,
    HeapStoreError,
    HeapUnsavableError,
    LimitError,
    StoppingError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from isoserver.contexts.context import Context
    from isoserver.contexts.identity import Key
    from isoserver.contexts.ledger import Ledger
    from isoserver.contexts.records import Vault
    from isoserver.settings.server import ServerSettings

__all__ = ["Hibernation"]

_SAVES: Final = 4
"""Contexts that are saved at a time; each takes a processor for some 20 ms."""
_UNSAVABLE: Final = "a {language} context can't be saved"


class _Refusal(NamedTuple):
    """Why a context could not be saved, and what it had been asked by then."""

    used: float
    reason: str


class Hibernation:
    """The contexts of a server that have no process.

    Attributes:
        records: What is left of each.
        archive: What they had run.
        durable: Whether contexts outlive the server.
    """

    def __init__(
        self,
        settings: ServerSettings,
        ledger: Ledger,
        vault: Vault,
        live: dict[Key, Context],
        make: Callable[[Record], Context],
    ) -> None:
        """Begin with none.

        Args:
            settings: Settings of the server.
            ledger: Where rows are.
            vault: Where heaps are.
            live: The contexts that have a process; changed when one sleeps or wakes.
            make: Makes a context, not started, of what is left of it.
        """
        self._settings = settings
        self._ledger = ledger
        self.archive = Archive(ledger)
        self._vault = vault
        self._live = live
        self._make = make
        self._known: WeakValueDictionary[Key, Context] = WeakValueDictionary()
        self._refusals: dict[Key, _Refusal] = {}
        self._stopping = False
        self._choosing = asyncio.Lock()
        self._falling: dict[Key, asyncio.Future[None]] = {}
        self.records: dict[Key, Record] = {}
        self.durable = (
            settings.data_dir is not None or settings.database_url is not None
        )

    def states(self) -> Counter[str]:
        """Count them by state."""
        return Counter(record.state for record in self.records.values())

    # -- the server's life -------------------------------------------------------------

    async def start(self, served: Iterable[str]) -> None:
        """Take up what an earlier server has left.

        Args:
            served: The languages that can run; contexts of others stay where they are.
        """
        if not self.durable:
            return
        languages = set(served)
        for row in await self._ledger.load():
            if row.language not in languages:
                continue
            record = row.found()
            self.records[record.key] = record
            if record is not row:
                self._ledger.note(record.key, lambda record=record: record)  # type: ignore[misc]

    async def stop(self, hurried: asyncio.Event) -> None:
        """Save every context that can be saved, and write down what becomes of each.

        Args:
            hurried: Ends the saving when it is set.
        """
        self._stopping = True
        if not self.durable:
            return
        saving = asyncio.ensure_future(self._sleep_all(list(self._live.values())))
        hurry = asyncio.ensure_future(hurried.wait())
        await asyncio.wait(
            [saving, hurry],
            timeout=self._settings.shutdown_save_timeout_seconds,
            return_when="FIRST_COMPLETED",
        )
        hurry.cancel()
        saving.cancel()
        await asyncio.wait([saving])
        left = list(self._live.values())
        for context in left:
            with suppress(DatabaseError):
                await self.archive.keep(context, again=True)
        with suppress(DatabaseError):
            await self._ledger.write(*(self._last_record(one) for one in left))

    async def close(self) -> None:
        """Write what waits to be written."""
        await self._ledger.close()

    def _last_record(self, context: Context) -> Record:
        """What becomes of a context that lives when the server ends."""
        if context.state is State.DEAD:
            return Record.of(context, State.DEAD.value, context.reason)
        refusal = self._refusals.get(context.key)
        if not isinstance(context, JavaScriptContext):
            why = _UNSAVABLE.format(language=context.language.name)
        elif refusal is not None:
            why = refusal.reason
        else:
            why = "there was no time to save it"
        row = Record.of(context, LIVE, "")
        return row.without_process(f"when the server stopped, {why}")

    # -- finding -----------------------------------------------------------------------

    def find(self, key: Key) -> Context | None:
        """Give the context of that name that has no process, if there is one."""
        known = self._known.get(key)
        if known is not None:
            return known
        record = self.records.get(key)
        if record is None:
            return None
        context = self._make(record)
        record.recall(context)
        self._know(context)
        return context

    def known(self, key: Key) -> Context | None:
        """Give the context of that name without a process, if anybody has it."""
        return self._known.get(key)

    def _know(self, context: Context) -> None:
        self._known[context.key] = context
        if isinstance(context, JavaScriptContext):
            context.waker = self.rouse

    async def forget(self, *keys: Key) -> None:
        """Delete what is left of contexts."""
        heaps: list[tuple[str, str]] = []
        for key in keys:
            record = self.records.pop(key, None)
            self._known.pop(key, None)
            self._refusals.pop(key, None)
            if record is not None and record.heap is not None:
                heaps.append((record.workspace, record.heap))
        await self._ledger.forget(*keys)
        for workspace, heap in heaps:
            await self._vault.release(workspace, heap)

    # -- rows of those that live -------------------------------------------------------

    def born(self, context: Context) -> None:
        """Note that there is a new context, so that it can be missed."""
        context.changed = self._changed
        context.written = self._written
        self._changed(context)

    def _changed(self, context: Context) -> None:
        lives = self._live.get(context.key) is context
        if lives and (self.durable or context.checkpoint is not None):
            self._ledger.note(context.key, lambda: _row(context))

    async def _written(self, context: Context) -> None:
        """Write down that a context was saved: it can go on from there from now on."""
        await self.archive.keep(context)
        await self._write(context, _row(context))

    async def _write(self, context: Context, record: Record) -> bool:
        """Write a row of a context that lives; False if it was deleted meanwhile."""
        if self._live.get(context.key) is context:
            await self._ledger.write(record)
            if self._live.get(context.key) is context:
                return True
            await self._ledger.forget(context.key)
        return False

    # -- checkpoints -------------------------------------------------------------------

    async def checkpoint(self, context: Context) -> str:
        """Save a context, so that it can go on from here; it lives on.

        Returns:
            The heap's key.

        Raises:
            HeapUnsavableError: V8 can't save it.
            ContextError: It isn't one of V8, or is dead.
        """
        if not isinstance(context, JavaScriptContext):
            text = _UNSAVABLE.format(language=context.language.name)
            raise HeapUnsavableError(text)
        if context.state is State.HIBERNATED and context.checkpoint is not None:
            return context.checkpoint.key  # nothing has run since
        return await self._vault.keep(context)

    def leave(self, context: Context) -> None:
        """Let a context have a process again, or for the first time."""
        self.records.pop(context.key, None)
        self._refusals.pop(context.key, None)
        self._live[context.key] = context

    async def begin_anew(self, context: Context, *, keep_past: bool) -> None:
        """Note that a context was restarted, and what becomes of its past."""
        self.born(context)
        if not keep_past:
            await self.archive.drop(context)

    # -- sleeping ----------------------------------------------------------------------

    async def sweep(self) -> None:
        """Let those sleep that were idle for long; forget those that slept for long."""
        after = self._settings.hibernate_after_seconds
        if after is not None:
            now = time.monotonic()
            idle = [one for one in self._live.values() if now - one.used > after]
            await self._sleep_all(idle)
        ttl = self._settings.hibernated_context_ttl_seconds
        if ttl is not None:
            moment = time.time() - ttl
            old = [one.key for one in self.records.values() if one.last_used < moment]
            await self.forget(*(key for key in old if key not in self._live))

    async def _sleep_all(self, contexts: list[Context]) -> None:
        gate = asyncio.Semaphore(_SAVES)

        async def one(context: JavaScriptContext) -> None:
            async with gate:
                await self._sleep(context)

        ended = await asyncio.gather(
            *(one(each) for each in contexts if isinstance(each, JavaScriptContext)),
            return_exceptions=True,
        )
        for error in ended:
            if isinstance(error, Exception):  # a defect, which the log shall have
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a context was not saved", "exception": error}
                )

    async def _sleep(self, context: JavaScriptContext) -> None:
        """Save an idle context and end its process, unless something is asked of it."""
        known = self._falling.get(context.key)
        if known is not None:
            await asyncio.wait([known])
            return
        falling: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._falling[context.key] = falling
        try:
            await self._fall_asleep(context)
        finally:
            del self._falling[context.key]
            falling.set_result(None)

    async def _fall_asleep(self, context: JavaScriptContext) -> None:
        if context.state is State.HIBERNATED:
            self._rest(context, Record.of(context, State.HIBERNATED.value, ""))
            return
        used, refusal = context.used, self._refusals.get(context.key)
        full = self._is_full(context.workspace)
        if not context.is_quiet() or full or (refusal and refusal.used == used):
            return
        before = context.checkpoint
        try:
            await self._vault.keep(context, automatic=True)
            await self.archive.keep(context, again=True)
            record = Record.of(context, State.HIBERNATED.value, "")
            if not await self._write(context, record):
                return
        except (HeapError, LimitError, ContextError, DatabaseError) as error:
            self._refusals[context.key] = _Refusal(used, str(error))
            return
        if before is not None and before.key != record.heap:
            await self._vault.release(context.workspace, before.key)
        if context.is_quiet() and context.used == used:
            self._rest(context, record)
            await context.hibernate()
        else:
            self._changed(context)

    def _is_full(self, workspace: str) -> bool:
        """Tell whether as many sleep as may, of all or of one workspace.

        Asked by one that falls asleep; others that do so as well count too.
        """
        total = self._settings.hibernated_contexts_max
        if len(self.records) + len(self._falling) > total:
            return True
        share = self._settings.share_of(total)
        if share == total:
            return False
        owners = (owner for keys in (self.records, self._falling) for owner, _ in keys)
        return sum(1 for owner in owners if owner == workspace) > share

    def _rest(self, context: JavaScriptContext, record: Record) -> None:
        """Move a context from those that live to those that don't."""
        if self._live.get(context.key) is context:
            del self._live[context.key]
        self._refusals.pop(context.key, None)
        self.records[context.key] = record
        self._know(context)

    # -- waking ------------------------------------------------------------------------

    async def rouse(self, context: JavaScriptContext) -> bytes:
        """Let a context live again; called by it when it has something to do.

        Returns:
            The heap that it goes on from.

        Raises:
            ContextDeadError: Its heap can't be used.
            ContextLimitError: There are as many contexts as may live.
            ServerError: It could not be read now; it sleeps on.
        """
        if self._stopping:
            raise StoppingError
        await self._make_room(context.workspace)
        record = self.records.pop(context.key, None)
        checkpoint = context.checkpoint
        if record is None or checkpoint is None:
            reason = "it was deleted"
            raise ContextDeadError(reason)
        self._live[context.key] = context
        try:
            data = await self._vault.load(context.workspace, checkpoint.key)
        except BaseException as error:
            if self._live.get(context.key) is not context:
                raise
            lost = isinstance(error, HeapError) and not isinstance(
                error, HeapStoreError
            )
            if lost:
                reason = f"it can't be woken: {error}"
                record = record._replace(state=State.DEAD.value, reason=reason)
                self._ledger.note(context.key, lambda: record)
            self._rest(context, record)
            if lost:
                raise ContextDeadError(record.reason) from error
            raise
        if self._live.get(context.key) is not context:
            reason = "it was deleted"
            raise ContextDeadError(reason)
        self.born(context)
        return data

    async def _make_room(self, workspace: str) -> None:
        """Let the one sleep that was idle for longest, if too many live."""
        async with self._choosing:
            while self._crowd(workspace) and self._falling:
                falling = list(self._falling.values())
                await asyncio.wait(falling, return_when="FIRST_COMPLETED")
            crowd = self._crowd(workspace)
            idle = [
                one
                for one in crowd
                if isinstance(one, JavaScriptContext) and one.is_quiet()
            ]
            if idle:
                await self._sleep(min(idle, key=attrgetter("used")))
        if crowd := self._crowd(workspace):
            shared = len(crowd) < self._settings.contexts_max
            raise ContextLimitError(len(crowd), shared=shared)

    def _crowd(self, workspace: str) -> list[Context]:
        """Give those of whom one has to sleep before another one wakes."""
        limit = self._settings.contexts_max
        share = self._settings.share_of(limit)
        if len(self._live) >= limit:
            return list(self._live.values())
        if share == limit:
            return []
        own = [one for one in self._live.values() if one.workspace == workspace]
        return own if len(own) >= share else []


def _row(context: Context) -> Record:
    dead = context.state is State.DEAD
    return Record.of(context, State.DEAD.value if dead else LIVE, context.reason)
