"""The contexts of a server: made, found, run in, restarted, forked, deleted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from contextlib import closing, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isokernel.capabilities import read_policy
from isoserver.contexts.budget import MemoryBudget, machine_bytes
from isoserver.contexts.calls import OF_REQUEST
from isoserver.contexts.context import (
    Context,
    Identity,
    State,
    id_made_for,
    new_id,
)
from isoserver.contexts.forkserver import AsyncForkServer, fork_server
from isoserver.contexts.hibernation import Hibernation
from isoserver.contexts.history import cell_content
from isoserver.contexts.kernel_ids import is_kernel_id
from isoserver.contexts.kernels import KernelProcess, kernel_order
from isoserver.contexts.languages import Languages
from isoserver.contexts.launcher import Launcher, load_kernelspecs
from isoserver.contexts.named import NamedExecutions
from isoserver.contexts.records import LIVE
from isoserver.contexts.registry import Registry
from isoserver.contexts.spares import Spares
from isoserver.contexts.store import ContextStore
from isoserver.contexts.templates import Templates
from isoserver.contexts.v8 import V8Process
from isoserver.errors import (
    CheckpointMissingError,
    ContextMissingError,
    DatabaseError,
    ExecutionForgottenError,
    ExecutionMissingError,
    ExecutionNamedError,
    FieldProblem,
    ForkError,
    InvalidRequestError,
    StoppingError,
)
from isoserver.storage.retention import Sweeper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isokernel.forkserver import ForkServer
    from isoserver.cluster.service import Cluster
    from isoserver.contexts.calls import CallHolder
    from isoserver.contexts.context import Key, Observer
    from isoserver.contexts.history import Cell
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.kernelspecs import InstalledKernelspec
    from isoserver.contexts.languages import Language
    from isoserver.contexts.ownership import Ownership
    from isoserver.contexts.process import ProcessFactory
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
_MEMORY_PART: Final = 0.75
"""Of the machine's memory, for all contexts together."""


class Contexts:
    """The contexts of one server. Used from the event loop.

    Attributes:
        languages: What code can be in.
        missing_walls: What of the sandbox this machine can't have, a sentence each.
        stopping: Whether no new work is taken, because the server ends.
        found: Those that an earlier server has left.
        gone: Called with each context that is deleted, but for single runs'.
        ownership: Which are this server's, if several share the database.
        elsewhere: Asks the others for those of a workspace that they have.
        context_class: What each is made of.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server
        self,
        settings: ServerSettings,
        observer: Observer,
        database: Database,
        heaps: HeapStorage,
        files: Files,
        folder: Path,
        transcripts: TranscriptFiles,
        log: FilteringBoundLogger,
        launched: ForkServer | None = None,
        hidden: Iterable[Path] = (),
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
            folder: Where they have their files; nothing there outlives the server.
            transcripts: Where what they say is kept.
            log: Told when idle contexts can't be deleted or hibernated.
            launched: The fork server, if it has been launched already.
            hidden: What kernels may not read, wherever it is.
            calls: Answers what code asks for beyond its context.
            cluster: The servers that share the database, if there are others.
        """
        self.languages = Languages(settings.languages, settings.default_language)
        self.context_class = Context
        self.missing_walls: list[str] = []
        self.stopping = False
        self._settings = settings
        self._observer = observer
        self._heaps = heaps
        self._files = files
        self._folder = folder
        self._transcripts = transcripts
        self.found: list[Key] = []
        self.gone: list[Callable[[Key], None]] = []
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
        self._named = NamedExecutions()
        self._engines: dict[str, ProcessFactory] = {}
        self._launched = launched
        self._hidden = hidden
        self._calls = calls
        self._log = log
        self._fork_server: AsyncForkServer | None = None
        self._launcher: Launcher | None = None
        self._spares: Spares | None = None
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
        """Start what processes come from, and take up what an earlier server left.

        Raises:
            LanguageError: One that the settings name isn't there.
        """
        settings = self._settings
        if self.languages.asks_for_kernelspecs:
            kernelspecs = await asyncio.to_thread(load_kernelspecs)
            installed = await asyncio.to_thread(kernelspecs.installed_kernels)
        else:
            installed = set()
        self.languages.check(installed)
        engines = {language.engine for language in self.languages.served.values()}
        if "v8" in engines:
            launched = self._launched or fork_server(settings)
            self._fork_server = AsyncForkServer(launched)
            await self._fork_server.start()
            self.missing_walls += self._fork_server.missing
            self._engines["v8"] = partial(
                V8Process, settings=settings, fork_server=self._fork_server
            )
        if "kernel" in engines:
            self._launcher = Launcher(settings, self._folder, self._hidden)
            self._spares = Spares(settings, self._launcher, self._log)
            self._engines["kernel"] = partial(
                KernelProcess,
                settings=settings,
                launcher=self._launcher,
                spares=self._spares,
                files=self._files,
            )
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
        self._budget.start(self._spares)
        if self._settings.context_templates:
            self._templates.start(self.languages.preferred("v8"))
        if self._spares is not None and settings.python_spares is not None:
            served = self.languages.served.values()
            kernels = [one for one in served if one.engine == "kernel"]
            self._spares.start(map(kernel_order, kernels))

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
        if self._spares is not None:
            await self._spares.close()
        await self._hibernation.stop(self._grace_ended)
        reason = "the server stopped"
        await asyncio.gather(
            *(context.close(reason) for context in self._registry.processes()),
            return_exceptions=True,
        )
        self._transcripts.close()
        await self._store.close()
        self._registry.clear()
        self.abandon()

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

    def abandon(self) -> None:
        """End what processes come from; no context is left, or there never was one."""
        if self._fork_server is not None:
            self._fork_server.close()
        elif self._launched is not None:
            self._launched.close()
        if self._launcher is not None:
            self._launcher.close()

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

    def warm_up(self) -> Iterator[str]:
        """Find out what containers can do here, before a first kernel; blocks.

        Yields:
            What of the sandbox this machine can't have, a sentence each.
        """
        yield from self.missing_walls
        if self._launcher is not None and not self.stopping:
            self._launcher.prepare()
            self.missing_walls += self._launcher.missing_walls
            yield from self._launcher.missing_walls
            if not self.stopping:
                load_kernelspecs()

    async def kernelspecs(self, names: Sequence[str]) -> dict[str, InstalledKernelspec]:
        """Return what is installed here of some kernelspecs, by name."""
        kernelspecs = await asyncio.to_thread(load_kernelspecs)
        return await asyncio.to_thread(kernelspecs.installed_kernelspecs, names)

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

    def spare_kernels(self) -> int:
        """Return how many kernels wait for contexts."""
        return 0 if self._spares is None else len(self._spares)

    def in_workspace(self, workspace: str) -> list[Context | ContextRecord]:
        """Return a workspace's, oldest first; those without a process as records."""
        return self._registry.in_workspace(workspace)

    def durability(self, record: ContextRecord) -> float | None:
        """Return when a context without a process is saved; see `Identity`."""
        return self._store.durability(record.key)

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
        """
        context = self._registry.find((workspace, context_id))
        if context is None and is_kernel_id(context_id):
            context = self._registry.find_kernel(workspace, context_id)
        if context is None:
            why = self._registry.why_gone((workspace, context_id))
            raise ContextMissingError(context_id, why)
        return context

    async def adopt(self, workspace: str, context_id: str) -> None:
        """Have `get` find a context that no other server has, if there is one.

        Raises:
            ElsewhereError: Another server has it.
            MovingError: It is on its way to another one.
            DatabaseError: The database can't be used.
        """
        if self.ownership is not None:
            await self.ownership.adopt((workspace, context_id))

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
            self._record(context)
            await self._written(context)
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

    async def _written(self, context: Context) -> None:
        """Have a new context be there after a crash; else nothing is left of it.

        Where servers share a database, they know of it. If each of its executions is
        saved, so is what it begins with.
        """
        try:
            if self.ownership is not None:
                await self.ownership.written()
            await self._save_at_once(context)
        except BaseException:
            await self._leave_nothing(context)
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
            if packages:
                await self._templates.begin(context, packages)
            else:
                await context.start(loaded)
        except BaseException:
            # Without packages, one that could not start is dead already.
            await self._leave_nothing(context, close=bool(packages))
            raise

    async def _leave_nothing(self, context: Context, *, close: bool = True) -> None:
        """Forget a context that was added and owned, but couldn't be made."""
        self._registry.discard(context)
        if close:
            await context.close()
        await asyncio.to_thread(self._files.delete, context.key)
        with suppress(DatabaseError):  # then it is released as this server ends
            await self._store.delete(context.key)
            if self.ownership is not None:
                await self.ownership.released(context.key)

    def _memory_of(self, language: Language) -> int | None:
        """Return what a context may have if nobody says; a kernel's launcher knows."""
        return self._settings.v8_heap_bytes_max if language.engine == "v8" else None

    def _language(self, name: str | None, *, packaged: bool) -> Language:
        """Return a language by name; without one, what a context would be in."""
        if name is None and packaged and self.languages.runs("v8"):
            return self.languages.preferred("v8")
        return self.languages.find(name)

    def _record(self, context: Context) -> None:
        made, generation = context.created_at, self._store.generation(context.key)
        self._transcripts.keep(context.transcript, context.key, made, generation)
        begins = context.identity
        self._store.note_begin(context.key, begins.packages, begins.durability)
        self._hibernation.record(context)

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
        except BaseException:
            await asyncio.gather(*copying, return_exceptions=True)
            for fork in forks:
                await self._leave_nothing(fork)
            raise
        for fork in forks:
            if self._calls is not None:
                await self._calls.set(fork.key, self._calls.given(context.key))
            await self._store.copy_cells(context, fork)
            self._record(fork)
            await self._written(fork)
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
        ephemeral = self._registry.pop_ephemeral(key)
        if ephemeral is not None:
            await ephemeral.close()
            await asyncio.to_thread(self._files.delete, key)
        context, record = self._registry.pop(key)
        if ephemeral is not None and context is None and record is None:
            if self._calls is not None:
                await self._calls.forget(key)
            return
        if context is not None:
            await context.close()
        await asyncio.to_thread(self._files.delete, key)
        await self._store.delete(key)
        if self._calls is not None:
            await self._calls.forget(key)
        found = (one.checkpoint for one in (context, record) if one is not None)
        for checkpoint in set(found):
            if checkpoint is not None:
                await self._heaps.release(workspace, checkpoint.key)
        if context is not None or record is not None:
            await self._gone(record, context)

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
            call(key)
        await asyncio.to_thread(self._transcripts.delete, key, made)
        if self.ownership is not None:
            await self.ownership.released(key)

    def _make(self, identity: Identity) -> Context:
        return self.context_class(
            identity,
            self._settings,
            self._observer,
            self._engines[identity.language.engine],
            owner=self._hibernation,
            calls=self._calls,
        )

    def _make_template(self, identity: Identity, calls: CallHolder) -> Context:
        make = self._engines[identity.language.engine]
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

    # -- running -----------------------------------------------------------------------

    async def execute(  # noqa: PLR0913 - as above
        self,
        workspace: str,
        context_id: str | None,
        language: str | None,
        code: str,
        seconds: float,
        *,
        policy: dict[str, Any] | None = None,
        execution_id: str | None = None,
        **asked: Any,
    ) -> tuple[Context, Execution]:
        """Begin to run a cell in a context, or in a new one.

        With an id that an earlier request has named, return what that has begun.

        Args:
            workspace: Who asks.
            context_id: The context; None for a new one, which is deleted again if it
                can't take the cell.
            language: What the code is in, by any of its names; None for the context's,
                or the server's default.
            code: The source text.
            seconds: How long it may run, from its beginning.
            policy: Narrows what the code may do beyond the context; a new context is
                narrowed for good.
            execution_id: What the client calls the execution; a number if None.
            **asked: `env` and `options` of `Context.execute`.

        Raises:
            ContextError: There is no such context, or it is dead.
            ElsewhereError: Another server has it.
            ExecutionNamedError: The id is of another request.
            ExecutionForgottenError: It is of one that is over, and no longer kept.
            InvalidRequestError: The language isn't served, or the context can't run it.
            LimitError: A limit of contexts or of waiting jobs is reached.
        """
        if self.ownership is not None and context_id is not None:
            await self.ownership.adopt((workspace, context_id))
        if execution_id is not None:
            begin = partial(
                self._begin_named,
                *(workspace, context_id, language, code, seconds, execution_id),
                policy=policy,
                **asked,
            )
            join = partial(self._join, workspace, execution_id)
            name, request = (context_id, execution_id), hash((code, language))
            return await self._named.once(workspace, name, request, begin, join)
        return await self._begin(
            workspace, context_id, language, code, seconds, policy=policy, **asked
        )

    async def _begin_named(  # noqa: PLR0913, PLR0917 - as above
        self,
        workspace: str,
        context_id: str | None,
        language: str | None,
        code: str,
        seconds: float,
        execution_id: str,
        **asked: Any,
    ) -> tuple[Context, Execution]:
        """Begin it, unless its context has it, perhaps from an earlier server."""
        if context_id is None and self.ownership is not None:
            return await self._begin_anywhere(
                workspace, language, code, seconds, execution_id, **asked
            )
        if context_id is not None:
            context = self.get(workspace, context_id)
            with suppress(ExecutionMissingError):
                known = await self.find_execution(context, execution_id)
                if known.code != code:
                    raise ExecutionNamedError(execution_id)
                return context, known
        return await self._begin(
            *(workspace, context_id, language, code, seconds),
            execution_id=execution_id,
            **asked,
        )

    async def _begin_anywhere(
        self,
        workspace: str,
        language: str | None,
        code: str,
        seconds: float,
        execution_id: str,
        **asked: Any,
    ) -> tuple[Context, Execution]:
        """Begin it in a context of its own, which any server finds by its id."""
        assert self.ownership is not None  # noqa: S101 - there are other servers
        name = id_made_for(execution_id)
        await self.ownership.adopt((workspace, name))
        if self._registry.has((workspace, name)):
            context = self.get(workspace, name)
            try:
                known = await self.find_execution(context, execution_id)
            except ExecutionMissingError:
                if context.state is not State.DEAD or context.execution_count:
                    raise ExecutionForgottenError(execution_id, name) from None
                # It was lost with its server, before the execution was over.
                await self.delete(workspace, name)
            else:
                if known.code != code:
                    raise ExecutionNamedError(execution_id)
                return context, known
        return await self._begin(
            *(workspace, None, language, code, seconds),
            execution_id=execution_id,
            made_as=name,
            **asked,
        )

    async def _join(
        self, workspace: str, execution_id: str, context_id: str
    ) -> tuple[Context, Execution]:
        context = self.get(workspace, context_id)
        try:
            return context, await self.find_execution(context, execution_id)
        except ExecutionMissingError:
            raise ExecutionForgottenError(execution_id, context_id) from None

    async def find_execution(self, context: Context, execution_id: str) -> Execution:
        """Find an execution of a context, as long as its history has it.

        Raises:
            ExecutionMissingError: It has none of that id.
        """
        found = context.find(execution_id)
        found = found or await self._stored(context, execution_id)
        if found is None:
            raise ExecutionMissingError(execution_id)
        return found

    async def _stored(self, context: Context, execution_id: str) -> Execution | None:
        """Find one that its context doesn't remember, but its notebook."""
        cell = await self._store.cell(context, execution_id)
        return None if cell is None else cell.execution(context.language)

    async def _begin(  # noqa: PLR0913 - as above
        self,
        workspace: str,
        context_id: str | None,
        language: str | None,
        code: str,
        seconds: float,
        *,
        policy: dict[str, Any] | None = None,
        made_as: str | None = None,
        **asked: Any,
    ) -> tuple[Context, Execution]:
        if context_id is not None:
            context = self.get(workspace, context_id)
            spoken = None if language is None else self.languages.find(language)
            narrowing = read_policy(policy, setting=OF_REQUEST) if policy else None
            return context, context.execute(
                code, seconds, language=spoken, policy=narrowing, **asked
            )
        spoken = self.languages.find(language)
        context = await self.create(
            workspace, spoken, policy=policy, context_id=made_as
        )
        try:
            return context, context.execute(code, seconds, **asked)
        except BaseException:
            await self.delete(workspace, context.id)
            raise

    async def history(self, context: Context) -> list[dict[str, Any]]:
        """Return what a context has run, oldest first; see `cell_content`."""
        stored = [cell.content() for cell in await self._store.cells(context)]
        return stored + [cell_content(done) for done in context.history.executions]

    async def stored_cells(
        self, context: Context, count: int, size_max: int
    ) -> list[Cell]:
        """Return the last cells that a context has stored and doesn't remember.

        Args:
            context: The context; it is left asleep.
            count: How many at most.
            size_max: Characters that they may have together.
        """
        return await self._store.last_cells(context, count, size_max)

    async def changed(self, context: Context) -> None:
        """Have a context saved whose files were changed by a request, if it says so.

        Raises:
            ServerError: It is to be saved before that is acknowledged, and can't be.
        """
        await self._hibernation.changed(context)

    async def checkpoint(self, context: Context) -> str:
        """Save a context, so that it can go back to here; it lives on.

        Returns:
            The heap key.

        Raises:
            HeapUnsavableError: It can't be saved.
            ContextError: It is dead.
        """
        if context.state is State.HIBERNATED and context.checkpoint is not None:
            return context.checkpoint.key  # nothing has run since
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
