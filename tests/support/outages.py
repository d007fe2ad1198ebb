"""A database that can be cut off, or whose answers are lost."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.postgresql import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL


_SOCKET = ".s.PGSQL.5432"
_READ_BYTES = 1 << 16


class Lossy:
    """What is between a server and its database, and may lose what that answers.

    Attributes:
        url: Where the database is, by this way.
        lost: Of what has these bytes in it, the answer to the commit is lost, and the
            connection. Empty once that has happened.
        away: Whether nobody gets a connection any more.
        silent: Whether nothing is passed on.
    """

    def __init__(self, url: str, folder: Path) -> None:
        place, _, there = url.partition("?host=")
        self.url = f"{place}?host={folder}"
        self.lost = b""
        self.away = self.silent = False
        self._there = f"{there}/{_SOCKET}"
        self._here = folder / _SOCKET
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Pass on what comes, meanwhile."""
        server = await asyncio.start_unix_server(self._take, self._here)
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            if self._tasks:
                await asyncio.wait(self._tasks)

    @contextmanager
    def passing_beside(self) -> Iterator[None]:
        """Pass on what comes, meanwhile, in a thread of its own."""
        loop, end = asyncio.new_event_loop(), asyncio.Event()
        ready = threading.Event()

        async def run() -> None:
            async with self.passing():
                ready.set()
                await end.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()
            loop.close()

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.away:
            writer.close()
            return
        task = asyncio.ensure_future(self._pass(reader, writer))
        self._tasks.add(task)
        with suppress(OSError):
            await task

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        its_reader, its_writer = await asyncio.open_unix_connection(self._there)
        self._writers |= {writer, its_writer}
        named, losing = asyncio.Event(), asyncio.Event()

        async def ask() -> None:
            while data := await reader.read(_READ_BYTES):
                if self.lost and self.lost in data:
                    named.set()
                if named.is_set() and b"COMMIT;" in data:
                    self.lost = b""
                    losing.set()
                if not self.silent:
                    its_writer.write(data)
            its_writer.close()

        async def answer() -> None:
            while data := await its_reader.read(_READ_BYTES):
                if losing.is_set():
                    assert b"COMMIT" in data, data  # so it is done
                    break
                if not self.silent:
                    writer.write(data)
            writer.close()

        await asyncio.gather(ask(), answer())


class Away:
    """A database that can be cut off.

    Attributes:
        url: Where it is.
        name: What it is called.
    """

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self.url = server.database()
        self.name = name_of(self.url)

    def leave(self) -> None:
        """Refuse new connections, end those that there are."""
        self._allow(connections=False)
        self.end_sessions()

    def end_sessions(self) -> None:
        """End the connections that there are; new ones are taken as before."""
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
        self._server.query(f"{end} '{self.name}'")

    def come_back(self) -> None:
        """Take connections again."""
        self._allow(connections=True)

    def _allow(self, *, connections: bool) -> None:
        query = f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS {connections}"
        self._server.query(query)
