"""All contexts of a server: made, found, forked, deleted, within bounds."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from isokernel.sandbox.launch import missing
from isoserver.contexts.context import Context, Identity, State, new_id
from isoserver.contexts.hibernation import Hibernation
from isoserver.contexts.javascript import JavaScriptContext
from isoserver.contexts.kernels import KernelContext
from isoserver.contexts.languages import Languages
from isoserver.contexts.launching import installed, python_walls
from isoserver.contexts.ledger import Ledger
from isoserver.errors import (
    CheckpointMissingError,
    ContextExistsError,
    ContextLimitError,
    ContextMissingError,
    EphemeralLimitError,
    ForkError,
    ServerError,
    StoppingError,
)
from isoserver.storage.folders import SocketFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from isoserver.contexts.context import Key, Observer
    from isoserver.contexts.forks import Forks
    from isoserver.contexts.languages import Language
    from isoserver.contexts.records import Checkpoint, Record, Vault
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database

__all__ = ["HOME", "Contexts"]

HOME: Final = "/home/user"
"""The working folder of contexts that name none."""
_SWEEPS: Final = 4
"""How often the idle contexts are looked for in the time that they may live."""
_SWEEP_MAX: Final = 30.0


class Contexts:
    """The contexts of one server.

    Attributes:
        languages: What can run.
        resting: Those that have no process.
        missing_walls: What contexts can't be confined by here, a sentence each.
        stopping: Whether it takes no new work because the server ends.
    """

    def __init__(
        self,
        settings: ServerSettings,
        observer: Observer,
        database: Database,
        vault: Vault,
        folder: Path,
    ) -> None:
        """Start with none.

        Args:
            settings: Settings of the server.
            observer: Who counts what contexts do.
            database: What outlives them.
            vault: Where their heaps are kept.
            folder: Where they have their files; nothing there outlives the server.
        """
        self.languages = Languages(settings.languages, settings.default_language)
        self._settings = settings
        self._observer = observer
        self._contexts: dict[Key, Context] = {}
        self._ephemeral: dict[Key, Context] = {}
        self._vault = vault
        self.resting = Hibernation(
            settings,
            Ledger(
                database, settings.notebook_cells_max, settings.notebook_characters_max
            ),
            vault,
            self._contexts,
            self._remade,
        )
        self._forks: Forks | None = None
        self.stopping = False
        self.missing_walls: list[str] = []
        self._hurried = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._folder = folder
        self._sockets: SocketFolder | None = None

    async def start(self) -> None:
        """Start what contexts come from.

        Raises:
            LanguageError: One that the settings name isn't there.
            FolderError: There is no place for the sockets of kernels.
        """
        self.languages.check(await asyncio.to_thread(installed))
        if any(lang.engine == "kernel" for lang in self.languages.served.values()):
            self._sockets = SocketFolder()
        if any(lang.engine == "v8" for lang in self.languages.served.values()):
            from isoserver.contexts.forks import Forks  # noqa: PLC0415 - loads V8

            settings = self._settings
            self._forks = Forks(
                sandbox=settings.sandbox, niceness=settings.context_niceness
            )
            await self._forks.start()
            self.missing_walls = self._forks.missing
        await self.resting.start(self.languages.served)
        settings = self._settings
        times = (settings.context_ttl_seconds, settings.hibernate_after_seconds)
        known = [
            each
            for each in (*times, settings.hibernated_context_ttl_seconds)
            if each is not None
        ]
        if known:
            pause = min(*known, _SWEEP_MAX * _SWEEPS) / _SWEEPS
            self._sweeper = asyncio.ensure_future(self._sweep(pause))
        if (
            self._settings.sandbox
            and "python" in self.languages.served
            and self._sockets is not None
        ):
            walls = python_walls(self._settings, self._folder, self._sockets.path)
            self.missing_walls += missing(walls)

    def __len__(self) -> int:
        """How many have a process, or had one in this server's time."""
        return len(self._contexts)

    def __iter__(self) -> Iterator[Context]:
        """Give those, oldest first."""
        return iter(list(self._contexts.values()))

    def of(self, workspace: str) -> list[Context | Record]:
        """Give all of a workspace, those without a process as records; oldest first."""
        found: list[tuple[float, Context | Record]] = [
            (record.created_at, record)
            for record in self.resting.records.values()
            if record.workspace == workspace
        ]
        found += [
            (context.created_at.timestamp(), context)
            for context in self
            if context.workspace == workspace
        ]
        return [one for _, one in sorted(found, key=itemgetter(0))]

    def get(self, workspace: str, context_id: str) -> Context:
        """Find a context; one that sleeps wakes with the first job that it gets.

        Raises:
            ContextMissingError: The workspace has none of that id.
        """
        key = workspace, context_id
        context = self._contexts.get(key) or self.resting.find(key)
        if context is None:
            raise ContextMissingError(context_id)
        return context

    async def create(  # noqa: PLR0913 - a context has that many sides
        self,
        workspace: str,
        language: Language,
        cwd: str = HOME,
        *,
        context_id: str | None = None,
        snapshot: bytes | None = None,
        checkpoint: Checkpoint | None = None,
        heap_memory_max: int | None = None,
        ephemeral: bool = False,
    ) -> Context:
        """Make a context and start it.

        Args:
            workspace: Whose it is.
            language: Its language.
            cwd: Its working folder, as it was asked for.
            context_id: Its id; a new one if None.
            snapshot: A heap that it goes on from (V8 only).
            checkpoint: The stored heap that `snapshot` is, if it is one.
            heap_memory_max: Bytes of V8 heap, if not what the settings say.
            ephemeral: It is for one execution: neither listed nor found, but deleted by
                its id like others.

        Raises:
            ContextExistsError: There is one of that id.
            ContextLimitError: There are as many as may be; of ephemeral ones, an
                EphemeralLimitError.
            ContextStartError: Its process could not be started.
            ForkError: A heap was given for what isn't V8.
        """
        identity = Identity(workspace, context_id or new_id(), language, cwd)
        context = self._make(identity, heap_memory_max, snapshot)
        if checkpoint is not None:
            context.checkpoint = checkpoint
            context.origin = checkpoint.key
            context.execution_count = checkpoint.execution_count
        self._add(context, ephemeral=ephemeral)
        try:
            await context.start()
        except BaseException:
            self._forget(context)
            raise
        if not ephemeral:
            self.resting.born(context)
        return context

    async def restart(
        self,
        context: Context,
        *,
        snapshot: bytes | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Let a context begin anew under its id, with or without a process until now.

        Args:
            context: It.
            snapshot: A heap that it goes on from, instead of nothing.
            checkpoint: The stored heap that `snapshot` is, if it is one.

        Raises:
            ContextLimitError: There are as many as may be.
            ContextStartError: Its process could not be started.
            ForkError: A heap was given for what isn't V8.
        """
        if self.stopping:
            raise StoppingError
        if context.key not in self._contexts:
            self._check_room(context.workspace)
        keep_past = checkpoint is not None and checkpoint == context.checkpoint
        count = 0 if checkpoint is None else checkpoint.execution_count
        self.resting.leave(context)
        await context.restart(snapshot=snapshot, execution_count=count)
        context.checkpoint = checkpoint or context.checkpoint
        context.origin = None if checkpoint is None else checkpoint.key
        await self.resting.begin_anew(context, keep_past=keep_past)

    async def reopen(self, context: Context) -> None:
        """Let a context go on from its last checkpoint, whatever became of it since.

        Raises:
            CheckpointMissingError: It has none.
            HeapError: That can't be used.
            ContextLimitError: There are as many as may be.
            ContextStartError: Its process could not be started.
        """
        checkpoint = context.checkpoint
        if checkpoint is None:
            raise CheckpointMissingError
        snapshot = await self._vault.load(context.workspace, checkpoint.key)
        await self.restart(context, snapshot=snapshot, checkpoint=checkpoint)

    async def session(
        self,
        workspace: str,
        name: str,
        language: Language,
        *,
        heap_memory_max: int | None = None,
    ) -> Context:
        """Find the context of that id, or make it; one that sleeps wakes when used.

        Raises:
            ContextLimitError: There are as many as may be.
            ContextStartError: Its process could not be started.
        """
        with suppress(ContextMissingError):
            return self.get(workspace, name)
        return await self.create(
            workspace, language, context_id=name, heap_memory_max=heap_memory_max
        )

    async def fork(self, context: Context) -> Context:
        """Make a context that has the state of another.

        Raises:
            ForkError: It isn't one of V8, or V8 or the process can't.
            ContextLimitError: There are as many as may be.
        """
        if not isinstance(context, JavaScriptContext):
            message = f"a {context.language.name} context can't be forked"
            raise ForkError(message)
        made = self._make(
            context.identity._replace(id=new_id()), context.heap_memory_max
        )
        assert isinstance(made, JavaScriptContext)  # noqa: S101 - of the same language
        self._add(made)
        try:
            await context.fork_into(made)
        except BaseException:
            self._forget(made)
            raise
        await self.resting.archive.inherit(context, made)
        self.resting.born(made)
        return made

    async def delete(self, workspace: str, context_id: str) -> None:
        """Delete a context; nothing happens when there is none."""
        key = workspace, context_id
        found = [self._contexts.pop(key, None) or self.resting.known(key)]
        found.append(self._ephemeral.pop(key, None))
        for context in found:
            if context is not None:
                await context.close()
        await self.resting.forget(key)
        for context in found:
            if context is not None and context.checkpoint is not None:
                await self._vault.release(workspace, context.checkpoint.key)

    async def close(self) -> None:
        """Let running cells end in their grace period, then end everything."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._wait_idle(self._settings.shutdown_grace_seconds)
        for context in self._all():
            if context.state is State.BUSY:
                context.interrupt()
        await self._wait_idle(min(self._settings.interrupt_grace_seconds, 2.0))
        await self.resting.stop(self._hurried)
        reason = "the server stopped"
        await asyncio.gather(
            *(context.close(reason) for context in self._all()), return_exceptions=True
        )
        await self.resting.close()
        self._contexts.clear()
        self._ephemeral.clear()
        self.abandon()

    def abandon(self) -> None:
        """Give up what contexts come from; none is left, or none was there."""
        if self._forks is not None:
            self._forks.close()
        if self._sockets is not None:
            self._sockets.close()

    def hurry(self) -> None:
        """End the grace period of `close`."""
        self._hurried.set()

    def _all(self) -> list[Context]:
        return [*self._contexts.values(), *self._ephemeral.values()]

    def _add(self, context: Context, *, ephemeral: bool = False) -> None:
        if self.stopping:
            raise StoppingError
        if ephemeral:
            limit = (
                self._settings.executions_running_max
                + self._settings.tasks_unfinished_max
            )
            if len(self._ephemeral) >= limit:
                raise EphemeralLimitError(limit)
            self._ephemeral[context.key] = context
            return
        if context.key in self._contexts or context.key in self.resting.records:
            raise ContextExistsError(context.id)
        self._check_room(context.workspace)
        self._contexts[context.key] = context

    def _check_room(self, workspace: str) -> None:
        limit = self._settings.contexts_max
        if len(self._contexts) >= limit:
            raise ContextLimitError(limit)
        share = self._settings.share_of(limit)
        if share < limit and sum(w == workspace for w, _ in self._contexts) >= share:
            raise ContextLimitError(share, shared=True)

    def _forget(self, context: Context) -> None:
        for group in (self._contexts, self._ephemeral):
            if group.get(context.key) is context:
                del group[context.key]

    def _make(
        self,
        identity: Identity,
        heap_memory_max: int | None = None,
        snapshot: bytes | None = None,
    ) -> Context:
        if identity.language.engine == "v8":
            assert self._forks is not None  # noqa: S101 - started for such languages
            return JavaScriptContext(
                identity,
                self._settings,
                self._observer,
                self._forks,
                heap_memory_max=heap_memory_max,
                snapshot=snapshot,
            )
        if snapshot is not None:
            message = f"a {identity.language.name} context can't begin from a heap"
            raise ForkError(message)
        assert self._sockets is not None  # noqa: S101 - made for such languages
        return KernelContext(
            identity, self._settings, self._observer, self._folder, self._sockets.path
        )

    def _remade(self, record: Record) -> Context:
        language = self.languages.served[record.language]
        identity = Identity(record.workspace, record.id, language, record.cwd)
        return self._make(identity, record.heap_memory_max)

    async def _wait_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while any(c.state is State.BUSY for c in self._all()):
            left = end - time.monotonic()
            if left <= 0:
                return
            waits: list[asyncio.Future[Any]] = [
                c.current.done for c in self._all() if c.current is not None
            ]
            hurried = asyncio.ensure_future(self._hurried.wait())
            await asyncio.wait(
                [*waits, hurried], timeout=left, return_when="FIRST_COMPLETED"
            )
            hurried.cancel()
            if self._hurried.is_set():
                return

    async def _sweep(self, pause: float) -> None:
        """Delete the contexts that nobody has used for long, or let them sleep."""
        while True:
            await asyncio.sleep(pause)
            try:
                await self._delete_old()
                await self.resting.sweep()
            except ServerError:  # the database or the store can't be used for now
                continue
            except Exception as error:  # noqa: BLE001 - the next time it may work
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "contexts were not swept", "exception": error}
                )

    async def _delete_old(self) -> None:
        ttl = self._settings.context_ttl_seconds
        if ttl is None:
            return
        now = time.monotonic()
        for context in self:
            if context.state is not State.BUSY and now - context.used > ttl:
                await self.delete(context.workspace, context.id)
