"""What a server has to itself: its port, its data folder, its database's file.

All of it is claimed before the rest of the server is imported, so that whoever starts a
server which can't have one of them is told at once. Clients wait in the socket's queue
until the server answers, and the fork server starts meanwhile in its own process.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from tornado.netutil import bind_sockets

from isoserver.contexts.forkserver import fork_server
from isoserver.contexts.languages import Languages
from isoserver.settings.server import CONFIG_VARIABLE
from isoserver.storage.folders import DataFolder
from isoserver.storage.locks import FileLocks, lock_files
from isoserver.storage.urls import database_file, is_sqlite, url_of

if TYPE_CHECKING:
    from socket import socket

    from isokernel.forkserver import ForkServer
    from isoserver.settings.server import ServerSettings

__all__ = ["Claims"]


class Claims:
    """What one server has to itself. In the main thread.

    Attributes:
        folder: The data folder.
        database_url: Where the database is, with the driver.
        files: The locks on both, once they are locked.
        fork_server: What V8 contexts are forked from, once it is launched.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Make the data folder, and claim nothing else yet.

        Raises:
            FolderError: The folder can't be made.
            DatabaseError: The database's URL can't be read.
        """
        self._settings = settings
        self._sockets: list[socket] = []
        self.files: FileLocks | None = None
        self.fork_server: ForkServer | None = None
        self.folder = DataFolder(settings.data_dir)
        try:
            self.database_url = url_of(settings.database_url, self.folder.path)
        except BaseException:
            self.close()
            raise

    @property
    def settled(self) -> bool:
        """Whether nothing of the settings is left that a start could fail at.

        A database elsewhere, a store of heaps, sources and kernelspecs are looked at
        when the server has been imported.
        """
        settings = self._settings
        elsewhere = settings.heap_store is not None or settings.sources
        return is_sqlite(self.database_url) and not (
            elsewhere or self._languages().asks_for_kernelspecs
        )

    @property
    def hidden(self) -> list[Path]:
        """What contexts' code may not read, wherever it is: data, keys."""
        settings = self._settings
        config = settings.config or os.environ.get(CONFIG_VARIABLE)
        named = (config, settings.heap_store, database_file(self.database_url))
        return [self.folder.path, *(Path(path).resolve() for path in named if path)]

    @property
    def url(self) -> str:
        """Where the server listens."""
        host, port = self._settings.host, self._sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def listen(self) -> list[socket]:
        """Bind the port, unless it is bound, and queue connections.

        Raises:
            OSError: It can't be bound.
        """
        if not self._sockets:
            _raise_open_files()
            self._sockets = bind_sockets(self._settings.port, self._settings.host)
        return self._sockets

    def lock(self) -> None:
        """Keep other servers off the folder and the database's file.

        Blocks for some seconds if another server has one of them.

        Raises:
            TakenError: Another server has one of them, and does not end.
            DatabaseError: One of them can't be locked.
            LanguageError: The default language is not served.
        """
        languages = self._languages()
        if not languages.asks_for_kernelspecs:
            languages.check(())
        if self.files is None:
            self.files = lock_files(self.folder.path, self.database_url)

    def launch(self) -> None:
        """Launch the fork server, if contexts of V8 are served, without waiting.

        Raises:
            ForkServerError: It can't be launched.
        """
        served = self._languages().served.values()
        if any(language.engine == "v8" for language in served):
            self.fork_server = fork_server(self._settings)
            self.fork_server.launch()

    def close(self) -> None:
        """Close the sockets, end the fork server, and unlock; safe to call twice."""
        for each in self._sockets:
            each.close()
        if self.fork_server is not None:
            self.fork_server.close()
        if self.files is not None:
            self.files.release()
        self.folder.close()

    def _languages(self) -> Languages:
        return Languages(self._settings.languages, self._settings.default_language)


def _raise_open_files() -> None:
    """Raise the process's limit of open files as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
