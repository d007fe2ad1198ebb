"""A cluster whose servers, database and store are machines of a network."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.support.cables import Network
from tests.support.object_stores import ObjectStore
from tests.support.outages import Away
from tests.support.postgresql import PostgreSQL
from tests.support.server import V8_FLAGS, Server

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["CLIENTS", "DATABASE", "STORE", "Machines"]

CLIENTS = "clients"
DATABASE = "database"
STORE = "store"
_PAUSE_SECONDS = 0.2
_END_SECONDS = 60.0
"""In which a server ends, whatever the database and the store do."""
_STARTS_MAX = 100
_ENDED_KEPT = 20
"""Servers that have ended whose logs are kept."""
_LOG_CHARACTERS = 300_000
_CUT_OFF = "Exception closing connection"
"""What SQLAlchemy logs of a session that it can't close any more."""


class Machines:
    """Servers that share a PostgreSQL and a store that speaks S3, each on its own.

    Attributes:
        names: Those of the servers' machines.
        database: The database, which can be away.
        postgresql: The server of the database.
        store: The store.
        ended: Set to have whatever lasts for a while be over.
        restarts: How often a server didn't start, as it couldn't.
    """

    def __init__(self, number: int, folder: Path, *flags: str) -> None:
        """Start them; this thread is where the clients are, until `close`."""
        self.names = [f"server{each}" for each in range(1, number + 1)]
        self.ended = threading.Event()
        self.restarts = 0
        self._flags = flags
        self._folder = folder
        self._lock = threading.Lock()
        self._away = threading.Lock()
        self._still = threading.Lock()
        self._busy = {name: threading.Lock() for name in self.names}
        self._troubles: list[tuple[str, str, float, float]] = []
        self._unplugged: dict[str, int] = {}
        self._unheard: dict[str, float] = {}
        self._servers: dict[str, Server] = {}
        self._starts = 0
        self._ended: deque[str] = deque(maxlen=_ENDED_KEPT)
        self.said: list[str] = []
        with ExitStack() as stack:
            self._network = Network(*self.names, DATABASE, STORE, CLIENTS)
            stack.callback(self._network.close)
            with self._network.inside(STORE):
                self.store = ObjectStore(self._network.address(STORE))
            stack.callback(self.store.stop)
            with self._network.inside(DATABASE):
                self.postgresql = PostgreSQL(self._network.address(DATABASE))
            stack.callback(self.postgresql.stop)
            self.database = Away(self.postgresql)
            stack.enter_context(self._network.inside(CLIENTS))
            self.store.wait()
            stack.callback(self._stop)
            for name in self.names:
                self._have(name)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End all of it."""
        self._stack.close()

    def _stop(self) -> None:
        for name, server in self._servers.items():
            if not server.errors.closed:
                server.process.send_signal(signal.SIGCONT)
                self._end(name, server)

    def _end(self, name: str, server: Server, number: int = signal.SIGTERM) -> None:
        try:
            server.stop(number, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self.said.append(f"{name} did not end: {server.said[-20_000:]}")
        self._ended.append(_shown(f"{name} (ended)", server, server.said))
        self.said += [each for each in server.wrong() if _CUT_OFF not in each]

    def _start(self, name: str) -> Server:
        with self._lock:
            self._starts += 1
            number = self._starts
        return Server(
            *V8_FLAGS,
            *("--cluster", "--cluster-secret", "0123456789" * 3),
            *("--host", self._network.address(name), "--insecure-no-auth"),
            *("--database-url", self.database.url, "--heap-store", self.store.url),
            *("--data-dir", str(self._folder / f"data{number}")),
            *self._flags,
            env=self.store.environment,
            namespace=self._network.namespace(name),
        )

    def show_logs(self) -> None:
        """Write the end of what each server has logged."""
        for shown in self._ended:
            sys.stdout.write(shown)
        for name, server in self._servers.items():
            sys.stdout.write(_shown(name, server, server.log()))

    # -- servers -----------------------------------------------------------------------

    def server(self, name: str) -> Server:
        """The server on a machine."""
        return self._servers[name]

    def pick(self, chance: random.Random) -> Server:
        """Any server, whether it answers or not."""
        return self._servers[chance.choice(self.names)]

    @contextmanager
    def held(self, chance: random.Random) -> Iterator[Server | None]:
        """Have a server's process to oneself; none if there is nobody else's left."""
        for name in chance.sample(self.names, len(self.names)):
            if self._busy[name].acquire(blocking=False):
                try:
                    yield self._servers[name]
                finally:
                    self._busy[name].release()
                return
        yield None

    def replace(self, server: Server, number: int) -> None:
        """End a server that is held, and start another one on its machine."""
        (name,) = (name for name, one in self._servers.items() if one is server)
        self._end(name, server, number)
        self._have(name)

    def _have(self, name: str) -> None:
        """Start a server on a machine, again if it can't amid a fault."""
        for _ in range(_STARTS_MAX):
            with suppress(pytest.fail.Exception):
                self._servers[name] = self._start(name)
                return
            self.restarts += 1
            self.ended.wait(_PAUSE_SECONDS)
        self.said.append(f"{name} did not start {_STARTS_MAX} times")

    def inside(self, name: str) -> AbstractContextManager[None]:
        """Have what this thread begins be on a machine."""
        return self._network.inside(name)

    # -- the database and the store ----------------------------------------------------

    @contextmanager
    def database_refuses(self) -> Iterator[None]:
        """Have the database take no connections, and end those that there are."""
        with self._away:
            self.database.leave()
            try:
                yield
            finally:
                self.database.come_back()

    @contextmanager
    def database_paused(self) -> Iterator[None]:
        """Have the database take what it is sent, and answer nothing."""
        with self._away, self.postgresql.paused():
            yield

    @contextmanager
    def store_paused(self) -> Iterator[None]:
        """Have the store take requests, and answer none."""
        with self._still:
            self.store.pause()
            try:
                yield
            finally:
                self.store.go_on()

    # -- cables ------------------------------------------------------------------------

    @contextmanager
    def trouble(
        self, *ways: tuple[str, str], lost: float = 1.0, late: float = 0.0
    ) -> Iterator[None]:
        """Have packets be lost or late, whatever else is wrong meanwhile."""
        mine = [(*way, lost, late) for way in ways]
        with self._lock:
            self._troubles += mine
            self._set(ways)
        try:
            yield
        finally:
            with self._lock:
                for each in mine:
                    self._troubles.remove(each)
                self._set(ways)
                now = time.monotonic()
                met = {one for way in ways if CLIENTS in way for one in way}
                self._unheard.update(dict.fromkeys(met, now))

    def _set(self, ways: tuple[tuple[str, str], ...]) -> None:
        for way in ways:
            here = [each for each in self._troubles if each[:2] == way]
            lost = max((each[2] for each in here), default=0.0)
            late = max((each[3] for each in here), default=0.0)
            self._network.set_way(*way, lost=lost, late=late)

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """Have a machine be without its cable, and know that."""
        self._plug(name, 1)
        try:
            yield
        finally:
            self._plug(name, -1)
            self._unheard[name] = time.monotonic()

    def may_be_unheard(self, server: Server, since: float) -> bool:
        """Tell whether something was wrong between clients and a server.

        Args:
            server: The server.
            since: From then until now, by the monotonic clock.
        """
        host = urlsplit(server.url).hostname
        (name,) = (each for each in self.names if self._network.address(each) == host)
        ways = (name, CLIENTS), (CLIENTS, name)
        with self._lock:
            return (
                self._unplugged.get(name, 0) > 0
                or any(each[:2] in ways for each in self._troubles)
                or self._unheard.get(name, 0.0) > since
            )

    def _plug(self, name: str, change: int) -> None:
        with self._lock:
            self._unplugged[name] = self._unplugged.get(name, 0) + change
            self._network.plug(name, up=self._unplugged[name] == 0)


def _shown(name: str, server: Server, log: str) -> str:
    return f"--- {name} {server.url}\n{log[-_LOG_CHARACTERS:]}\n"
