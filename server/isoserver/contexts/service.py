"""The contexts of a server: made, found, run in, restarted, forked, deleted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from contextlib import closing, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isoserver.contexts.budget import MemoryBudget, machine_bytes
from isoserver.contexts.context import Context, Identity, State, new_id
from isoserver.contexts.executions import Executions
from isoserver.contexts.hibernation import Hibernation
from isoserver.contexts.kernel_ids import is_kernel_id
from isoserver.contexts.languages import Languages
from isoserver.contexts.records import LIVE
from isoserver.contexts.registry import Registry
from isoserver.contexts.store import ContextStore
from isoserver.contexts.templates import Templates
from isoserver.errors import (
    CheckpointMissingError,
    ContextDeadError,
    ContextMissingError,
    DatabaseError,
    FieldProblem,
    ForkError,
    InvalidRequestError,
    MovingError,
    StoppingError,
)
from isoserver.storage.retention import Sweeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.cluster.service import Cluster
    from isoserver.contexts.calls import CallHolder
    from isoserver.contexts.context import Key, Observer
    from isoserver.contexts.engines import Engines
    from isoserver.contexts.languages import Language
    from isoserver.contexts.ownership import Ownership
    from isoserver.contexts.records import ContextRecord, HeapStorage, LoadedHeap
    from isoserver.contexts.transcript_files import TranscriptFiles
    from isoserver.files.service import Files
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database

__all__ = ["HOME", "Contexts"]

HOME: Final = "/home/user"
"""The working folder of contexts that name none."""
_SWEEPS: Final = 4
"""How often idle contexts are looked for in the time that they may live."""
_SWEEP_SECONDS_MAX: Final = 30.0
_UNANSWERED: Final = "its server doesn't answer"
"""Why another server's context is shown as its row has it."""
_FREE_SECONDS: Final = 5.0
"""For how long a session waits until what was deleted under its name is gone."""
_MEMORY_PART: Final = 0.75
"""Of the machine's memory, for all contexts together."""


class Contexts:
    """The contexts of one server. Used from the event loop.

    Attributes:
        languages: What code can be in.
        stopping: Whether no new work is taken, because the server ends.
        found: Those that an earlier server has left.
        gone: Called with each context that is deleted, but for single runs'.
        ownership: Which are this server's, if several share the database.
        elsewhere: Asks the others for those of a workspace that they have.
        context_class: What each is made of.
        engines: What their processes come from.
        executions: What runs in them.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server
        self,
        settings: ServerSettings,
        observer: Observer,
        database: Database,
        heaps: HeapStorage,
        files: Files,
        engines: Engines,
        transcripts: TranscriptFiles,
        log: FilteringBoundLogger,
        calls: CallHolder | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Begin with none.

        Args:
            settings: The server's settings.
            observer: Counts what contexts do.
            database: What outlives them.
            heaps: Where their heaps are.
            files: The folders that code and requests put files into.
            engines: What their processes come from; started and closed with these.
            transcripts: Where what they say is kept.
            log: Told when idle contexts can't be deleted or hibernated.
            calls: Answers what code asks for beyond its context.
            cluster: The servers that share the database, if there are others.
        """
        self.languages = Languages(settings.languages, settings.default_language)
        self.context_class = Context
        self.stopping = False
        self._settings = settings
        self._observer = observer
        self._heaps = heaps
        self._files = files
        self._transcripts = transcripts
        self.found: list[Key] = []
        self.gone: list[Callable[[Key], Awaitable[None]]] = []
        self._store = ContextStore(
            database, settings.notebook_cells_max, settings.notebook_characters_max
        )
        self._registry = Registry(settings, self._recall)
        self._hibernation = Hibernation(
            *(settings, self._registry, self._store, heaps, files, self._gone),
            servers=None if cluster is None else cluster.count,
            log=log,
        )
        self.elsewhere: Callable[[str], Awaitable[list[ContextRecord]]] | None = None
        self.ownership: Ownership | None = None
        if cluster is not None:
            from isoserver.contexts.ownership import (  # noqa: PLC0415 - there alone
                Ownership,
            )

            self.ownership = Ownership(
                *(cluster, self._registry, self._store, self._hibernation),
                heaps=heaps,
                files=files,
                transcripts=transcripts,
                log=log,
            )
        self.executions = Executions(self, self._store)
        self.engines = engines
        self._calls = calls
        self._templates = Templates(settings, self._make_template, calls, log)
        self._grace_ended = asyncio.Event()
        self._losing: asyncio.Future[Any] | None = None
        limits = (
            settings.context_ttl_seconds,
            settings.hibernate_after_seconds,
            settings.hibernated_context_ttl_seconds,
        )
        shortest = min(
            (limit for limit in limits if limit is not None), default=math.inf
        )
        interval_seconds = min(shortest / _SWEEPS, _SWEEP_SECONDS_MAX)
        self._sweeper = Sweeper("contexts", self._sweep, interval_seconds, log)
        memory = settings.contexts_memory_bytes_max
        if memory is None:
            memory = int(machine_bytes() * _MEMORY_PART)
        self._budget = MemoryBudget(memory, self._registry, log)

    # -- the server's life -------------------------------------------------------------

    async def start(self) -> None:
        """Start the engines, and take up what an earlier server left.

        Raises:
            LanguageError: One that the settings name isn't there.
        """
        await self.engines.start(self.languages)
        await self._hibernation.start(self.languages.served)
        rows = []
        if self.ownership is None:
            rows = [(row.key, row.created_at) for row in await self._store.load()]
        else:
            self.ownership.start(frozenset(self.languages.served))
        self.found = [key for key, _ in rows]
        await asyncio.to_thread(self._files.keep_only, self.found)
        await asyncio.to_thread(self._transcripts.keep_only, rows)
        self._sweeper.start()
        self._budget.start(self.engines.spares)
        if self._settings.context_templates:
            self._templates.start(self.languages.preferred("v8"))
        self.engines.start_spares(self.languages)

    async def close(self, grace_seconds: float) -> None:
        """Let running cells end in their grace period, then end everything.

        Args:
            grace_seconds: What is left of that.
        """
        self.stopping = True
        if self.ownership is not None:
            await self.ownership.close()
        await self._sweeper.close()
        await self._budget.close()
        await self._wait_idle(grace_seconds)
        for context in self._registry.processes():
            if context.state is State.BUSY:
                context.interrupt()
        await self._wait_idle(min(self._settings.interrupt_grace_seconds, 2.0))
        await self._templates.close()
        await self.engines.close_spares()
        await self._hibernation.stop(self._grace_ended)
        reason = "the server stopped"
        await asyncio.gather(
            *(context.close(reason) for context in self._registry.processes()),
            return_exceptions=True,
        )
        self._transcripts.close()
        await self._store.close()
        self._registry.clear()
        self.engines.close()

    async def given_away(self) -> None:
        """Wait until no live context could be given away, and nothing runs."""
        if self.ownership is not None:
            await self.ownership.emptied.wait()

    def end_grace_period(self) -> None:
        """End the grace period of `close`."""
        self._grace_ended.set()

    def kill(self, reason: str) -> None:
        """End all processes of contexts at once; may interrupt anything."""
        self._store.abandon()  # first: not that they have died
        for context in self._registry.processes():
            context.kill(reason)

    def lose(self, reason: str) -> None:
        """End all contexts at once, and write nothing: they are others' by now."""
        self.stopping = True
        self.kill(reason)
        # Also those that are being launched, or woken.
        self._losing = asyncio.gather(
            *(context.close(reason) for context in self._registry.processes()),
            return_exceptions=True,
        )

    async def _wait_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while any(
            one.state is State.BUSY or one.ending for one in self._registry.processes()
        ):
            left = end - time.monotonic()
            if left <= 0:
                return
            waits: list[asyncio.Future[Any]] = [
                context.current.done
                for context in self._registry.processes()
                if context.current is not None
            ]
            for context in self._registry.processes():
                waits += context.ending
            grace_ended = asyncio.ensure_future(self._grace_ended.wait())
            await asyncio.wait(
                [*waits, grace_ended], timeout=left, return_when="FIRST_COMPLETED"
            )
            grace_ended.cancel()
            if self._grace_ended.is_set():
                return

    async def _sweep(self) -> None:
        """Delete the contexts that nobody has used for long, or hibernate them."""
        await self._delete_old()
        await self._templates.sweep()
        await self._hibernation.sweep()
        ttl = self._settings.hibernated_context_ttl_seconds
        if self.ownership is not None and ttl is not None:
            await self.ownership.sweep(ttl)

    async def _delete_old(self) -> None:
        ttl = self._settings.context_ttl_seconds
        if ttl is None:
            return
        now = time.monotonic()
        for context in self:
            if context.state is not State.BUSY and now - context.used > ttl:
                await self.delete(context.workspace, context.id)
                why = f"nobody used it for {ttl:g} s (context_ttl_seconds)"
                self._registry.note_gone(context.key, why)

    # -- finding -----------------------------------------------------------------------

    def __iter__(self) -> Iterator[Context]:
        """Iterate over those that have a process, or had one in this server's time."""
        return iter(self._registry.live())

    def count_live(self) -> int:
        """Count the contexts that have a process, those of single executions too."""
        return len(self._registry.processes())

    def states(self) -> Counter[str]:
        """Count all contexts by state."""
        counter = Counter(record.state for record in self._registry.records())
        counter.update(context.state.value for context in self)
        return counter

    def in_workspace(self, workspace: str) -> list[Context | ContextRecord]:
        """Return a workspace's, oldest first; those without a process as records."""
        return self._registry.in_workspace(workspace)

    async def durabilities(self, workspace: str) -> Mapping[Key, float]:
        """Return when a workspace's contexts are saved that say so; see `Identity`.

        Raises:
            DatabaseError: The database can't be used.
        """
        shared = self.elsewhere is not None
        return await self._store.durabilities(workspace, shared=shared)

    async def everywhere(self, workspace: str) -> list[Context | ContextRecord]:
        """Return a workspace's on all servers, oldest first; others' as records.

        Raises:
            DatabaseError: The database can't be used.
        """
        if self.elsewhere is None:
            return self.in_workspace(workspace)
        # First those that nobody has, which may be somebody's by the time we ask.
        found: dict[Key, Context | ContextRecord] = {}
        for row in await self._store.in_workspace(workspace):
            if row.language in self.languages.served:
                is_live = row.state == LIVE
                found[row.key] = row.without_process(_UNANSWERED) if is_live else row
        for record in await self.elsewhere(workspace):
            found[record.key] = record
        found.update((one.key, one) for one in self.in_workspace(workspace))
        return sorted(found.values(), key=lambda one: one.created_at)

    def get(self, workspace: str, context_id: str) -> Context:
        """Find a context; a hibernated one wakes with the first job that it gets.

        Args:
            workspace: Who owns it.
            context_id: Its id, or its UUID as a kernel of Jupyter's.

        Raises:
            ContextMissingError: The workspace has none of that id.
            MovingError: It has left for another server since it was found here.
        """
        context = self._registry.find((workspace, context_id))
        if context is None and is_kernel_id(context_id):
            context = self._registry.find_kernel(workspace, context_id)
        if context is None:
            if self.ownership is not None:
                self.ownership.check_left((workspace, context_id))
            why = self._registry.why_gone((workspace, context_id))
            raise ContextMissingError(context_id, why)
        return context

    def check_here(self, context: Context) -> None:
        """Note that something was done to a context's files that is to last.

        Raises:
            ContextMissingError: It was deleted meanwhile, and they with it.
            MovingError: It has gone to another server, perhaps without that.
        """
        if self._registry.knows(context):
            context.touch()
        elif self.ownership is not None:
            raise MovingError
        else:
            raise ContextMissingError(context.id)

    def can_wake(self, workspace: str) -> bool:
        """Whether a context of a workspace that sleeps here could wake."""
        return self._hibernation.can_wake(workspace)

    async def adopt(
        self, workspace: str, context_id: str, *, wakes: bool = False
    ) -> None:
        """Have `get` find a context that no other server has, if there is one.

        Args:
            workspace: Who owns it.
            context_id: Its id, or its UUID as a kernel of Jupyter's.
            wakes: Whether something will be asked of it that wakes it: if there is no
                room for that here, another server gets it that has.

        Raises:
            ElsewhereError: Another server has it.
            MovingError: It is on its way to another one.
            DatabaseError: The database can't be used.
        """
        if self.ownership is not None:
            await self.ownership.adopt((workspace, context_id), wakes=wakes)

    def has(self, workspace: str, context_id: str) -> bool:
        """Whether this server has a context, live or not."""
        return self._registry.has((workspace, context_id))

    # -- making ------------------------------------------------------------------------

    def has_room(self, workspace: str) -> bool:
        """Whether a workspace may have another live context here."""
        return not self._registry.crowd(workspace)

    async def create(  # noqa: PLR0913 - a context has that many sides
        self,
        workspace: str,
        language: Language | None = None,
        cwd: str = HOME,
        *,
        context_id: str | None = None,
        heap: str | None = None,
        heap_memory_max_bytes: int | None = None,
        ephemeral: bool = False,
        policy: dict[str, Any] | None = None,
        packages: Sequence[str] = (),
        durability: float | None = None,
    ) -> Context:
        """Make a context and start it.

        Args:
            workspace: Who owns it.
            language: Its language; None for that of the heap, for one that has
                packages if there are some, else the server's default.
            cwd: Its working folder, as it was asked for.
            context_id: Its id; a new one if None.
            heap: The key of a heap of the workspace that it goes on from.
            heap_memory_max_bytes: Of V8 heap, or of a kernel's memory, if not what the
                settings say.
            ephemeral: Whether it is for one run: neither listed nor found, but deleted
                by its id like others.
            policy: Narrows what its code may do beyond it; see `read_policy`.
            packages: What it begins with, loaded; see `Templates.begin`.
            durability: When it is saved; see `Identity`.

        Raises:
            ContextExistsError: There is one of that id.
            ContextLimitError: The limit of contexts is reached; of ephemeral ones, an
                EphemeralLimitError.
            ContextStartError: Its process could not be started.
            HeapError: The workspace has no such heap, or it can't be used.
            InvalidRequestError: That language can't begin from a heap, or with
                packages, or be saved.
            PackagesError: They can't be loaded, or are denied.
        """
        loaded = None if heap is None else await self._heaps.open(workspace, heap)
        with nullcontext() if loaded is None else closing(loaded):
            if language is None:
                spoken = None if loaded is None else loaded.language
                language = self._language(spoken, packaged=bool(packages))
            memory = heap_memory_max_bytes or self._memory_of(language)
            name = context_id or new_id()
            identity = Identity(
                *(workspace, name, language, cwd, memory, tuple(packages), durability)
            )
            context = self._make(identity)
            if loaded is not None and not context.process.can_save:
                problem = f"a {language.name} context can't begin from a heap"
                raise InvalidRequestError(FieldProblem("heap", problem))
            if durability is not None and not context.process.can_save:
                problem = f"a {language.name} context can't be saved"
                raise InvalidRequestError(FieldProblem("durability", problem))
            if heap is not None and packages:
                problem = "a heap has its own: import them there"
                raise InvalidRequestError(FieldProblem("packages", problem))
            self._add(context, ephemeral=ephemeral)
            await self._own(context, ephemeral=ephemeral)
            await self._start(context, loaded, policy)
        if not ephemeral:
            try:
                await self._record(context)
            except BaseException:
                await self._leave_nothing(context)
                raise
        return context

    async def _own(self, context: Context, *, ephemeral: bool = False) -> None:
        """Have a context that was added be this server's; else nothing is left."""
        if self.ownership is None or ephemeral:
            return
        try:
            await self.ownership.claim(context.key)
        except BaseException:
            self._registry.discard(context)
            raise

    async def _save_at_once(self, context: Context) -> None:
        """Save what is acknowledged only when it is stored."""
        if context.identity.durability == 0:
            await self._hibernation.keep(context)

    async def _start(
        self,
        context: Context,
        loaded: LoadedHeap | None,
        policy: dict[str, Any] | None,
    ) -> None:
        """Start a context that was added; if that fails, nothing is left of it."""
        packages = context.identity.packages
        try:
            if loaded is not None:
                await self._heaps.restore_files(loaded, context.key)
            if policy and self._calls is not None:
                await self._calls.set(context.key, policy)
            self._check_kept(context)
            if packages:
                await self._templates.begin(context, packages)
            else:
                await context.start(loaded)
            self._check_kept(context)
        except BaseException:
            # Without packages, one that could not start is dead already.
            await self._leave_nothing(context, close=bool(packages))
            raise

    def _check_kept(self, context: Context) -> None:
        """Refuse to go on with a context that was deleted while it was being made.

        Raises:
            ContextDeadError: It was.
        """
        if not self._registry.holds(context):
            reason = "it was deleted"
            raise ContextDeadError(reason)

    async def _leave_nothing(self, context: Context, *, close: bool = True) -> None:
        """Forget a context that was added and owned, but couldn't be made."""
        key = context.key
        self._registry.discard(context)
        # It may have been deleted, and another one have its name.
        others = self._registry.has(key)
        with self._registry.clearing(*() if others else (key,)):
            if close:
                await context.close()
            if others:
                return
            context.transcript.close()
            await asyncio.to_thread(self._files.delete, key)
            await asyncio.to_thread(self._transcripts.delete, key, context.created_at)
            with suppress(DatabaseError):
                await self._forget_calls(key)
            with suppress(DatabaseError):  # then it is released as this server ends
                await self._store.delete(key)
                if self.ownership is not None:
                    await self.ownership.released(key)
            if context.checkpoint is not None:
                await self._heaps.release(key[0], context.checkpoint.key)

    def _memory_of(self, language: Language) -> int | None:
        """Return what a context may have if nobody says; a kernel's launcher knows."""
        return self._settings.v8_heap_bytes_max if language.engine == "v8" else None

    def _language(self, name: str | None, *, packaged: bool) -> Language:
        """Return a language by name; without one, what a context would be in."""
        if name is None and packaged and self.languages.runs("v8"):
            return self.languages.preferred("v8")
        return self.languages.find(name)

    async def _record(self, context: Context) -> None:
        """Have a new context be there after a crash.

        Where servers share a database, they know of it. If each of its executions is
        saved, so is what it begins with.
        """
        made, generation = context.created_at, self._store.generation(context.key)
        self._transcripts.keep(context.transcript, context.key, made, generation)
        begins = context.identity
        self._store.note_begin(context.key, begins.packages, begins.durability)
        self._hibernation.record(context)
        if self.ownership is not None:
            await self.ownership.written()
        await self._save_at_once(context)

    async def session(
        self,
        workspace: str,
        name: str,
        language: Language,
        *,
        heap: str | None = None,
    ) -> Context:
        """Find the context of that id, or make it.

        Args:
            workspace: Who owns it.
            name: Its id.
            language: Its language if it is made.
            heap: The key of a heap that it goes on from, whatever its state is now.

        Raises:
            ElsewhereError: Another server has it.
            ContextLimitError: The limit of contexts is reached.
            ContextStartError: Its process could not be started.
            ForkError: It is of a language that can't begin from a heap.
            HeapError: The workspace has no such heap, or it can't be used.
        """
        if self.ownership is not None:
            await self.ownership.adopt((workspace, name))
        else:
            await self._registry.wait_free((workspace, name), _FREE_SECONDS)
        with suppress(ContextMissingError):
            context = self.get(workspace, name)
            if heap is not None:
                with closing(await self._heaps.open(workspace, heap)) as loaded:
                    await self._restart(context, loaded)
            return context
        return await self.create(
            workspace,
            language,
            context_id=name,
            heap=heap,
        )

    async def fork(self, context: Context) -> Context:
        """Make a context that has the state of another; see `forks`."""
        return (await self.forks(context, 1))[0]

    async def forks(self, context: Context, count: int) -> list[Context]:
        """Make contexts that have the state of another, of one moment.

        Args:
            context: The other one.
            count: How many; `FORKS_MAX` at most.

        Raises:
            ForkError: Its process can't be forked, or V8 can't.
            ContextLimitError: The limit of contexts is reached.
            DatabaseError: What is kept of them can't be written.
        """
        if not context.process.can_fork:
            message = f"a {context.language.name} context can't be forked"
            raise ForkError(message)
        forks: list[Context] = []
        copying: list[asyncio.Future[None]] = []

        def forked() -> None:
            for fork in forks:
                fork.calls.begin(context.calls.lock)
            # Most have no folder, and need no thread to copy it.
            if self._files.has_folder(context.key):
                copying.extend(self._copy_files(context, fork) for fork in forks)

        try:
            for _ in range(count):
                fork = self._make(context.identity._replace(id=new_id()))
                self._add(fork)
                forks.append(fork)
                await self._own(fork)
            await context.fork_into(*forks, forked=forked)
            await asyncio.gather(*copying)
            for fork in forks:
                if self._calls is not None:
                    await self._calls.set(fork.key, self._calls.given(context.key))
                await self._store.copy_cells(context, fork)
                await self._record(fork)
        except BaseException:
            await asyncio.gather(*copying, return_exceptions=True)
            for fork in forks:
                await self._leave_nothing(fork)
            raise
        return forks

    def _copy_files(self, context: Context, fork: Context) -> asyncio.Future[None]:
        """Copy a context's files, which stay as they are until that is done."""
        self._files.freeze(context.key)
        copy = asyncio.to_thread(self._files.copy, context.key, fork.key)
        copying = asyncio.ensure_future(copy)
        copying.add_done_callback(lambda _: self._files.thaw(context.key))
        return copying

    async def delete(self, workspace: str, context_id: str) -> None:
        """Delete a context; nothing happens when there is none."""
        key = workspace, context_id
        if self._registry.is_clearing(key) and not self._registry.has(key):
            await self._registry.wait_free(key, _FREE_SECONDS)
            return
        with self._registry.clearing(key):
            await self._delete(key)

    async def _delete(self, key: Key) -> None:
        ephemeral = self._registry.pop_ephemeral(key)
        if ephemeral is not None:
            await ephemeral.close()
            await asyncio.to_thread(self._files.delete, key)
        context, record = self._registry.pop(key)
        gone = context is not None or record is not None
        if ephemeral is not None and not gone:
            await self._forget_calls(key)
            return
        if context is not None:
            await context.close()
        await asyncio.to_thread(self._files.delete, key)
        await self._store.delete(key)
        found = (one.checkpoint for one in (context, record) if one is not None)
        for checkpoint in set(found):
            if checkpoint is not None:
                await self._heaps.release(key[0], checkpoint.key)
        if gone:
            await self._gone(record, context)

    async def _forget_calls(self, key: Key) -> None:
        if self._calls is not None:
            await self._calls.forget(key)

    async def _gone(
        self, record: ContextRecord | None, context: Context | None
    ) -> None:
        """Delete what a context has said, once it is deleted itself."""
        reason = "the context was deleted"
        if context is not None:
            key, made = context.key, context.created_at
            context.transcript.end(reason)
            context.transcript.close()
        else:
            assert record is not None  # noqa: S101 - it is one of the two
            key, made = record.key, record.created_at
        for call in self.gone:
            await call(key)
        await self._forget_calls(key)
        await asyncio.to_thread(self._transcripts.delete, key, made)
        if self.ownership is not None:
            await self.ownership.released(key)

    def _make(self, identity: Identity) -> Context:
        return self.context_class(
            identity,
            self._settings,
            self._observer,
            self.engines.factories[identity.language.engine],
            owner=self._hibernation,
            calls=self._calls,
        )

    def _make_template(self, identity: Identity, calls: CallHolder) -> Context:
        make = self.engines.factories[identity.language.engine]
        return Context(identity, self._settings, self._observer, make, calls=calls)

    def _recall(self, record: ContextRecord) -> Context:
        language = self.languages.served[record.language]
        memory = record.heap_memory_max or self._memory_of(language)
        packages = self._store.packages(record.key)
        identity = Identity(
            *(record.workspace, record.id, language, record.cwd, memory, packages),
            self._store.durability(record.key),
        )
        context = self._make(identity)
        context.recall(record)
        made, generation = record.created_at, self._store.generation(record.key)
        file = self._transcripts.keep(context.transcript, record.key, made, generation)
        if record.key in self._hibernation.cut_off:
            self._hibernation.cut_off.discard(record.key)
            lost = file.unfinished()
            if lost is not None:
                context.end_lost(*lost)
        return context

    def _add(self, context: Context, *, ephemeral: bool = False) -> None:
        if self.stopping:
            raise StoppingError
        if ephemeral:
            self._registry.add_ephemeral(context)
        else:
            self._registry.add(context)

    # -- saving and restarting ---------------------------------------------------------

    async def changed(self, context: Context) -> None:
        """Have a context saved whose files were changed by a request, if it says so.

        Raises:
            ContextMissingError: It was deleted meanwhile, and they with it.
            MovingError: It has gone to another server, perhaps without that.
            ServerError: It is to be saved before that is acknowledged, and can't be.
        """
        self.check_here(context)
        await self._hibernation.changed(context)
        self.check_here(context)

    async def checkpoint(self, context: Context) -> str:
        """Save a context, so that it can go back to here; it lives on.

        Returns:
            The heap key.

        Raises:
            HeapUnsavableError: It can't be saved.
            ContextError: It is dead.
        """
        if context.state is State.HIBERNATED and context.checkpoint is not None:
            key = context.checkpoint.key  # nothing has run since
            if await self._heaps.hold(context.workspace, key):
                return key
        return await self._heaps.keep(context)

    async def restart(self, context: Context, *, from_checkpoint: bool = False) -> None:
        """Have a context begin anew under its id, with or without a process until now.

        Args:
            context: The context.
            from_checkpoint: Whether it goes on from its last checkpoint, whatever
                became of it since, instead of beginning with nothing.

        Raises:
            CheckpointMissingError: It has none.
            HeapError: That can't be used.
            ContextLimitError: It had no process, and the limit of contexts is reached.
            ContextStartError: Its process could not be started.
            PackagesError: It begins with packages, and they can't be loaded or are
                denied by now.
        """
        if not from_checkpoint:
            await self._restart(context, None)
            return
        checkpoint = context.checkpoint
        if checkpoint is None:
            raise CheckpointMissingError
        with closing(
            await self._heaps.open(context.workspace, checkpoint.key)
        ) as loaded:
            heap = loaded._replace(
                checkpoint=checkpoint, language=context.language.name
            )
            await self._restart(context, heap)

    async def _restart(self, context: Context, heap: LoadedHeap | None) -> None:
        if self.stopping:
            raise StoppingError
        if heap is not None and not context.process.can_save:
            message = f"a {context.language.name} context can't begin from a heap"
            raise ForkError(message)
        same = heap is not None and heap.checkpoint == context.checkpoint
        if not self._registry.is_live(context):
            await self._hibernation.make_room(context.workspace)
        self._registry.revive(context)
        restored = None
        if heap is not None:
            restored = partial(self._heaps.restore_files, heap, context.key)
        begin = None
        if heap is None and context.identity.packages:
            packages = context.identity.packages
            begin = partial(self._templates.begin, context, packages)
        await context.restart(heap=heap, ended=restored, begin=begin)
        self._hibernation.record(context)
        if not same:
            await self._store.delete_cells(context)
            await self._save_at_once(context)
