"""All contexts of a server: made, found, forked, deleted, within bounds."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isokernel.sandbox.launch import missing
from isoserver.contexts.context import Context, Identity, State, new_id
from isoserver.contexts.javascript import JavaScriptContext
from isoserver.contexts.kernels import KernelContext
from isoserver.contexts.languages import Languages
from isoserver.contexts.launching import python_walls
from isoserver.errors import (
    ContextLimitError,
    ContextMissingError,
    ForkError,
    StoppingError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isoserver.contexts.context import Key, Observer
    from isoserver.contexts.forks import Forks
    from isoserver.contexts.languages import Language
    from isoserver.settings import ServerSettings

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
        missing_walls: What contexts can't be confined by here, a sentence each.
        stopping: Whether it takes no new work because the server ends.
    """

    def __init__(self, settings: ServerSettings, observer: Observer) -> None:
        """Start with none.

        Args:
            settings: Settings of the server.
            observer: Who counts what contexts do.
        """
        self.languages = Languages(settings.languages, settings.default_language)
        self._settings = settings
        self._observer = observer
        self._contexts: dict[Key, Context] = {}
        self._forks: Forks | None = None
        self.stopping = False
        self.missing_walls: list[str] = []
        self._hurried = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._folder: Path | None = None

    async def start(self) -> None:
        """Start what contexts come from."""
        if self._settings.data_dir is not None:
            parent = self._settings.data_dir / "contexts"
            await asyncio.to_thread(parent.mkdir, parents=True, exist_ok=True)
        else:
            parent = None
        folder = await asyncio.to_thread(tempfile.mkdtemp, "", "isokernel-", parent)
        self._folder = Path(folder)
        if any(lang.engine == "v8" for lang in self.languages.served.values()):
            from isoserver.contexts.forks import Forks  # noqa: PLC0415 - loads V8

            settings = self._settings
            self._forks = Forks(
                sandbox=settings.sandbox, niceness=settings.context_niceness
            )
            await self._forks.start()
            self.missing_walls = self._forks.missing
        if self._settings.sandbox and "python" in self.languages.served:
            self.missing_walls += missing(python_walls(self._settings, self._folder))
        if self._settings.context_ttl is not None:
            self._sweeper = asyncio.ensure_future(self._sweep())

    def __len__(self) -> int:
        """How many there are, dead ones included."""
        return len(self._contexts)

    def __iter__(self) -> Iterator[Context]:
        """Give all of them, oldest first."""
        return iter(list(self._contexts.values()))

    def of(self, workspace: str) -> list[Context]:
        """Give those of a workspace, oldest first."""
        return [context for context in self if context.workspace == workspace]

    def get(self, workspace: str, context_id: str) -> Context:
        """Find a context.

        Raises:
            ContextMissingError: The workspace has none of that id.
        """
        try:
            return self._contexts[workspace, context_id]
        except KeyError:
            raise ContextMissingError(context_id) from None

    async def create(
        self, workspace: str, language: Language, cwd: str = HOME
    ) -> Context:
        """Make a context and start it.

        Args:
            workspace: Whose it is.
            language: Its language.
            cwd: Its working folder, as it was asked for.

        Raises:
            ContextLimitError: There are as many as may be.
            ContextStartError: Its process could not be started.
        """
        context = self._add(self._make(Identity(workspace, new_id(), language, cwd)))
        try:
            await context.start()
        except BaseException:
            self._contexts.pop(context.key, None)
            raise
        return context

    async def fork(self, context: Context) -> Context:
        """Make a context that has the state of another.

        Raises:
            ForkError: It isn't one of V8, or V8 or the process can't.
            ContextLimitError: There are as many as may be.
        """
        if not isinstance(context, JavaScriptContext):
            message = f"a {context.language.name} context can't be forked"
            raise ForkError(message)
        made = self._make(context.identity._replace(id=new_id()))
        assert isinstance(made, JavaScriptContext)  # noqa: S101 - of the same language
        self._add(made)
        try:
            await context.fork_into(made)
        except BaseException:
            self._contexts.pop(made.key, None)
            raise
        return made

    async def delete(self, workspace: str, context_id: str) -> None:
        """Delete a context; nothing happens when there is none."""
        context = self._contexts.pop((workspace, context_id), None)
        if context is not None:
            await context.close()

    async def close(self) -> None:
        """Let running cells end in their grace period, then end everything."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._wait_idle(self._settings.shutdown_grace)
        for context in self:
            if context.state is State.BUSY:
                context.interrupt()
        await self._wait_idle(min(self._settings.interrupt_grace, 2.0))
        reason = "the server stopped"
        await asyncio.gather(
            *(context.close(reason) for context in self), return_exceptions=True
        )
        self._contexts.clear()
        if self._forks is not None:
            self._forks.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def hurry(self) -> None:
        """End the grace period of `close`."""
        self._hurried.set()

    def _add(self, context: Context) -> Context:
        if self.stopping:
            raise StoppingError
        if len(self._contexts) >= self._settings.contexts_max:
            raise ContextLimitError(self._settings.contexts_max)
        self._contexts[context.key] = context
        return context

    def _make(self, identity: Identity) -> Context:
        if self.stopping:
            raise StoppingError
        if identity.language.engine == "v8":
            assert self._forks is not None  # noqa: S101 - started for such languages
            return JavaScriptContext(
                identity, self._settings, self._observer, self._forks
            )
        assert self._folder is not None  # noqa: S101 - set by start
        return KernelContext(identity, self._settings, self._observer, self._folder)

    async def _wait_idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while any(c.state is State.BUSY for c in self):
            left = end - time.monotonic()
            if left <= 0:
                return
            waits: list[asyncio.Future[Any]] = [
                c.current.done for c in self if c.current is not None
            ]
            hurried = asyncio.ensure_future(self._hurried.wait())
            await asyncio.wait(
                [*waits, hurried], timeout=left, return_when="FIRST_COMPLETED"
            )
            hurried.cancel()
            if self._hurried.is_set():
                return

    async def _sweep(self) -> None:
        """Delete the contexts that nobody has used for long."""
        ttl = self._settings.context_ttl or 0.0
        while True:
            await asyncio.sleep(min(ttl / _SWEEPS, _SWEEP_MAX))
            now = time.monotonic()
            for context in self:
                if context.state is not State.BUSY and now - context.used > ttl:
                    self._contexts.pop(context.key, None)
                    await context.close("it was idle for too long")
