"""What a server has to itself: its port, its data folder, its database's file.

All of it is claimed before the rest of the server is imported, so that whoever starts a
server which can't have one of them is told at once. Clients wait in the socket's queue
until the server answers, and the fork server starts meanwhile in its own process.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isoserver.contexts.languages import Languages
from isoserver.settings.server import CONFIG_VARIABLE
from isoserver.storage.file_locks import FileLocks, lock_files
from isoserver.storage.folders import DataFolder
from isoserver.storage.urls import database_file, is_sqlite, url_of

if TYPE_CHECKING:
    from isokernel.forkserver import ForkServer
    from isoserver.settings.server import ServerSettings

__all__ = ["Claims"]

_BACKLOG: Final = 128
"""Connections that wait until they are accepted."""
_NOT_OF_THIS_MACHINE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""A name may have such an address besides others."""


class Claims:
    """What one server has to itself. In the main thread.

    Attributes:
        folder: The data folder.
        database_url: Where the database is, with the driver.
        files: The locks on both, once they are locked.
        fork_server: What V8 contexts are forked from, once it is launched.
    """

    def __init__(self, settings: ServerSettings, port: int | None = None) -> None:
        """Make the data folder, and claim nothing else yet.

        Args:
            settings: The server's settings.
            port: Where it listens, instead of where they say.

        Raises:
            FolderError: The folder can't be made.
            DatabaseError: The database's URL can't be read.
        """
        self._settings = settings
        self._port = settings.port if port is None else port
        self._sockets: list[socket.socket] = []
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

    def again(self) -> Claims:
        """Return what a server that takes the place of this one claims."""
        return Claims(self._settings, self._port)

    @property
    def url(self) -> str:
        """Where the server listens."""
        host, port = self._settings.host, self._port
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def bind(self) -> None:
        """Bind the port, unless it is bound; connections are refused.

        Raises:
            OSError: It can't be bound.
        """
        if not self._sockets:
            _raise_open_files()
            self._sockets = _bind(self._settings.host, self._port)
            self._port = self._sockets[0].getsockname()[1]

    def listen(self) -> list[socket.socket]:
        """Bind the port, unless it is bound, and queue connections.

        Raises:
            OSError: It can't be bound.
        """
        self.bind()
        for each in self._sockets:
            each.listen(_BACKLOG)
        return self._sockets

    def lock(self) -> None:
        """Keep other servers off the folder and the database's file.

        Waits up to `lock_timeout_seconds` if another server has one of them.

        Raises:
            TakenError: Another server has one of them, and does not end.
            DatabaseError: One of them can't be locked.
            LanguageError: The default language is not served.
        """
        languages = self._languages()
        if not languages.asks_for_kernelspecs:
            languages.check(())
        if self.files is None:
            self.files = lock_files(
                self.folder.path,
                self.database_url,
                self._settings.lock_timeout_seconds,
            )

    def launch(self) -> None:
        """Launch the fork server, if contexts of V8 are served, without waiting.

        Raises:
            ForkServerError: It can't be launched.
        """
        served = self._languages().served.values()
        if any(language.engine == "v8" for language in served):
            from isoserver.contexts.forkserver import (  # noqa: PLC0415 - not earlier
                fork_server,
            )

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


def _bind(host: str, port: int) -> list[socket.socket]:
    """Bind all addresses of a host, as Tornado would, which takes long to import.

    Raises:
        OSError: A port is taken, or the host has no address of this machine.
    """
    found = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    missing: OSError | None = None
    with ExitStack() as stack:
        for family, _, _, _, (address, _, *rest) in dict.fromkeys(found):
            try:
                one = stack.enter_context(_bound(family, (address, port, *rest)))
            except OSError as error:
                if error.errno not in _NOT_OF_THIS_MACHINE:
                    raise
                missing = error
                continue
            made.append(one)
            port = one.getsockname()[1]  # the same at all of them, if any will do
        if missing is not None and not made:
            raise missing
        stack.pop_all()
    return made


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        made.settimeout(0)  # whoever accepts waits in the loop
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        stack.pop_all()
    return made


def _raise_open_files() -> None:
    """Raise the process's limit of open files as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
