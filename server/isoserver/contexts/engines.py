"""The engines of a server: where the processes of its contexts come from.

Those of V8 are forked by the fork server; those of other languages are kernels that the
launcher starts, some of them ahead of time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from isoserver.contexts.forkserver import AsyncForkServer, fork_server
from isoserver.contexts.kernels import KernelProcess, kernel_order
from isoserver.contexts.launcher import Launcher, load_kernelspecs
from isoserver.contexts.spares import Spares
from isoserver.contexts.v8 import V8Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isokernel.forkserver import ForkServer
    from isoserver.contexts.kernelspecs import InstalledKernelspec
    from isoserver.contexts.languages import Languages
    from isoserver.contexts.process import ProcessFactory
    from isoserver.files.service import Files
    from isoserver.settings.server import ServerSettings

__all__ = ["Engines"]


class Engines:
    """The engines of one server.

    Attributes:
        factories: What makes a process, by the engine's name, once they have started.
        spares: The kernels that wait for contexts, if there are any.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what they need of a server
        self,
        settings: ServerSettings,
        files: Files,
        folder: Path,
        hidden: Iterable[Path],
        launched: ForkServer | None,
        log: FilteringBoundLogger,
    ) -> None:
        """Start nothing.

        Args:
            settings: The server's settings.
            files: The folders that code and requests put files into.
            folder: Where kernels have their files; nothing there outlives the server.
            hidden: What kernels may not read, wherever it is.
            launched: The fork server, if it has been launched already.
            log: Told when a spare kernel can't be started.
        """
        self.factories: dict[str, ProcessFactory] = {}
        self.spares: Spares | None = None
        self._settings = settings
        self._files = files
        self._folder = folder
        self._hidden = hidden
        self._launched = launched
        self._log = log
        self._fork_server: AsyncForkServer | None = None
        self._launcher: Launcher | None = None

    async def start(self, languages: Languages) -> None:
        """Start those of the languages that are served.

        Raises:
            LanguageError: One that the settings name isn't there.
        """
        settings = self._settings
        installed: set[str] = set()
        if languages.asks_for_kernelspecs:
            kernelspecs = await asyncio.to_thread(load_kernelspecs)
            installed = await asyncio.to_thread(kernelspecs.installed_kernels)
        languages.check(installed)
        names = {language.engine for language in languages.served.values()}
        if "v8" in names:
            launched = self._launched or fork_server(settings)
            self._fork_server = AsyncForkServer(launched)
            await self._fork_server.start()
            self.factories["v8"] = partial(
                V8Process, settings=settings, fork_server=self._fork_server
            )
        if "kernel" in names:
            self._launcher = Launcher(settings, self._folder, self._hidden)
            self.spares = Spares(settings, self._launcher, self._log)
            self.factories["kernel"] = partial(
                KernelProcess,
                settings=settings,
                launcher=self._launcher,
                spares=self.spares,
                files=self._files,
            )

    def start_spares(self, languages: Languages) -> None:
        """Start kernels ahead of time, if the settings say how many."""
        if self.spares is not None and self._settings.python_spares is not None:
            served = languages.served.values()
            kernels = [one for one in served if one.engine == "kernel"]
            self.spares.start(map(kernel_order, kernels))

    async def close_spares(self) -> None:
        """End the kernels that wait for contexts."""
        if self.spares is not None:
            await self.spares.close()

    def close(self) -> None:
        """End what processes come from; no context is left, or there never was one."""
        if self._fork_server is not None:
            self._fork_server.close()
        elif self._launched is not None:
            self._launched.close()
        if self._launcher is not None:
            self._launcher.close()

    def prepare(self, stopping: Callable[[], bool]) -> Iterator[str]:
        """Find out what containers can do here, before a first kernel; blocks.

        Args:
            stopping: Tells whether the server ends, and this is in vain.

        Yields:
            What of the sandbox this machine can't have, a sentence each.
        """
        if self._fork_server is not None:
            yield from self._fork_server.missing
        if self._launcher is not None and not stopping():
            self._launcher.prepare()
            yield from self._launcher.missing_walls
            if not stopping():
                load_kernelspecs()

    async def kernelspecs(self, names: Sequence[str]) -> dict[str, InstalledKernelspec]:
        """Return what is installed here of some kernelspecs, by name."""
        kernelspecs = await asyncio.to_thread(load_kernelspecs)
        return await asyncio.to_thread(kernelspecs.installed_kernelspecs, names)

    def count_spares(self) -> int:
        """Return how many kernels wait for contexts."""
        return 0 if self.spares is None else len(self.spares)
