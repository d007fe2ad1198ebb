"""A server among others: who there is, who owns what, who takes over from whom."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.cluster import fence, tables
from isoserver.cluster.balance import Load
from isoserver.cluster.lease import Lease
from isoserver.cluster.tables import ServerRow
from isoserver.errors import (
    DatabaseError,
    ElsewhereError,
    ServerMissingError,
    UnmovableError,
)
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.cluster.tables import Claimed, Key, Owned
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database, Held

__all__ = ["Cluster", "Peer", "new_server_id"]

_TOPIC: Final = "cluster_servers"
_ID_BYTES: Final = 9
_ENDINGS: Final = 50
"""Looks for sessions of a server that is fenced, which end within milliseconds."""
_LOOK_SECONDS: Final = 0.05
_CLAIMS: Final = 5
_REACH_SECONDS: Final = 0.5
"""Between two attempts to reach a database that is away."""
_SLACK: Final = 0.05
"""By how much of its capacity another server must be emptier to be asked instead."""


class Peer(NamedTuple):
    """Another server of the cluster.

    Attributes:
        id: Its id, new at every start.
        url: Where it is.
        capacity: Contexts that it takes.
        load: Contexts that it had when it was last seen.
        draining: Whether it takes nothing new; also while it starts.
    """

    id: str
    url: str
    capacity: int
    load: int
    draining: bool


def new_server_id() -> str:
    """Make an id for a server, which no other has ever had."""
    return secrets.token_urlsafe(_ID_BYTES)


def _proof(settings: ServerSettings) -> str:
    """Return what shows others the same settings, and not the secret; takes 50 ms."""
    salt = (settings.heap_store or "").encode()
    secret = (settings.cluster_secret or "").encode()
    return hashlib.scrypt(secret, salt=salt, n=1 << 14, r=8, p=1).hex()[:64]


class Cluster:
    """This server among the others. In the event loop only.

    Attributes:
        server_id: The id of this server.
        gone: Called with the id of each server that is gone, once it can't write.
        ended: Called once when this server may not serve any more, with the reason.
        drained: Called when this server is to take no more, and give away what it has.
        load: Returns how many contexts this server has.
    """

    def __init__(
        self,
        settings: ServerSettings,
        server_id: str,
        database: Database,
        changes: Changes,
        log: FilteringBoundLogger,
    ) -> None:
        """Be no server of the cluster yet; `start` joins it.

        Args:
            settings: The server's settings.
            server_id: Its id, which its sessions with the database carry.
            database: The database of all.
            changes: Tells that servers come and go.
            log: Told of those that are taken over from.
        """
        self.server_id = server_id
        self.gone: list[Callable[[str], None]] = []
        self.ended: list[Callable[[str], None]] = []
        self.drained: list[Callable[[], None]] = []
        self.load: Callable[[], int] = lambda: 0
        self._settings = settings
        self._database = database
        self._changes = changes
        self._log = log
        self._lease: Lease | None = None
        self._servers: list[ServerRow] = []
        self._placed: dict[str, int] = {}
        self._twins: set[str] = set()
        self._burying: dict[str, asyncio.Task[None]] = {}
        self.draining = False
        changes.subscribe(_TOPIC, self._changed)

    # -- this server -------------------------------------------------------------------

    async def start(self, url: str) -> None:
        """Join the cluster.

        Args:
            url: Where other servers reach this one.

        Raises:
            DatabaseError: The database can't be used.
            InvalidSettingsError: The other servers have other settings.
        """
        async with self._database.begin() as connection:
            if await tables.session_server(connection) != self.server_id:
                message = (
                    "the database's sessions don't carry what a cluster needs: connect "
                    "without a pooler, or have it pass on isokernel.server"
                )
                raise DatabaseError(message)
            await fence.prepare(connection)
        row = ServerRow(
            self.server_id,
            url,
            *(0, 0, False, False, False, 0.0, 0.0),
        )
        self._lease = Lease(
            self._database,
            row,
            self._settings.cluster_lease_seconds,
            self._log,
            proof=await asyncio.to_thread(_proof, self._settings),
            load=self._count,
            look=self._look,
            over=self._end,
        )
        await self._lease.start()
        await self._tell(self.server_id)

    async def open(self) -> None:
        """Have others send what is new here, as requests are answered from now on.

        Raises:
            DatabaseError: The database can't be used.
        """
        async with self._changes.begin(_TOPIC, "", self.server_id) as connection:
            await tables.open_server(connection, self.server_id, self.capacity)

    async def close(self) -> None:
        """Leave the cluster: what is owned here is nobody's from now on."""
        await end_tasks(*self._burying.values())
        if self._lease is not None:
            await self._lease.close()
            with suppress(DatabaseError):
                if not self._lease.reason:
                    await self._tell(self.server_id)

    @property
    def lost(self) -> asyncio.Event:
        """Set when this server may not serve any more, for good."""
        assert self._lease is not None  # noqa: S101 - it was started
        return self._lease.lost

    @property
    def serving(self) -> bool:
        """Whether it is proven that this server may serve."""
        return self._lease is not None and self._lease.serving

    @property
    def capacity(self) -> int:
        """Contexts that this server takes."""
        return self._settings.contexts_max

    def load_now(self) -> Load:
        """Return how full this server is."""
        return Load(self.server_id, self.load(), self.capacity)

    def check(self) -> None:
        """Refuse what may be another server's by now.

        Raises:
            LeaseError: This server may not serve.
        """
        assert self._lease is not None  # noqa: S101 - as above
        self._lease.check()

    def expire(self) -> None:
        """End at once if the lease ran out while the process was stopped."""
        if self._lease is not None:
            self._lease.expire()

    async def give_up(self) -> None:
        """Have nothing of this server's be written, once the database can be reached.

        The next look of any server makes what it owned nobody's.
        """
        while not await self._is_given_up():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_REACH_SECONDS)

    async def _is_given_up(self) -> bool:
        with suppress(DatabaseError):
            async with self._database.begin() as connection:
                await tables.give_up(connection, self.server_id)
            return True
        return False

    def _count(self) -> int:
        return self.load()

    def _end(self, reason: str) -> None:
        for call in self.ended:
            call(reason)

    # -- the others --------------------------------------------------------------------

    def peers(self) -> list[Peer]:
        """Return the others that serve, as they were seen last, oldest first."""
        return [
            Peer(row.id, row.url, row.capacity, row.load, not row.takes)
            for row in self._servers
            if row.id != self.server_id and not row.fenced and not row.expired
        ]

    def count(self) -> int:
        """Count the servers that serve, as they were seen last, this one included."""
        return len(self.peers()) + 1

    def has_turn(self, interval_seconds: float) -> bool:
        """Tell whether this server does what one of them is to do in each interval.

        They take turns by the clock, so that one that can't doesn't keep it from being
        done. Where clocks or what was seen differ, two do it for once, or none.
        """
        ids = sorted([self.server_id, *(peer.id for peer in self.peers())])
        turn = int(time.time() / interval_seconds)
        return ids[turn % len(ids)] == self.server_id

    async def servers(self) -> list[ServerRow]:
        """Ask the database for all servers, this one included."""
        async with self._database.connect() as connection:
            return await tables.servers(connection)

    async def look(self) -> None:
        """Have `peers` be those of now.

        Raises:
            DatabaseError: The database can't be used.
        """
        self._look(await self.servers())

    async def owned(self) -> list[Owned]:
        """Ask the database how much each server owns."""
        async with self._database.connect() as connection:
            return await tables.owned(connection)

    async def place(self) -> Peer | None:
        """Choose where something new goes, of two by their load; None for here."""
        open_ones = [peer for peer in self.peers() if not peer.draining]
        if not open_ones:
            return None
        # Of two that were picked blindly, or of one and this server, the emptier: when
        # all pick the emptiest of all, they fill it before its load is seen.
        two = random.sample(open_ones, min(2, len(open_ones)))
        best = min(two, key=self.fullness)
        if not self.draining and self.fullness(None) <= self.fullness(best) + _SLACK:
            return None
        self._placed[best.id] = self._placed.get(best.id, 0) + 1
        return best

    def find(self, server: str | None) -> Peer:
        """Return another server, by its id or its URL; without one, the emptiest.

        Raises:
            ServerMissingError: There is no such server.
            UnmovableError: It takes nothing new, or there is no other one.
        """
        if server is None:
            open_ones = [peer for peer in self.peers() if not peer.draining]
            if not open_ones:
                reason = "no other server takes contexts"
                raise UnmovableError(reason)
            return min(open_ones, key=self.fullness)
        for peer in self.peers():
            if server.rstrip("/") in {peer.id, peer.url}:
                if peer.draining:
                    reason = f"the server {peer.id} is being drained"
                    raise UnmovableError(reason)
                return peer
        raise ServerMissingError(server)

    def fullness(self, peer: Peer | None) -> float:
        """Return which part of a server's room is taken; None for this one."""
        if peer is None:
            return self.load() / self._settings.contexts_max
        return (peer.load + self._placed.get(peer.id, 0)) / max(1, peer.capacity)

    async def drain(self, server_id: str) -> None:
        """Have a server take no more, and give away what it has.

        Raises:
            ServerMissingError: There is no such server.
            DatabaseError: The database can't be used.
        """
        async with self._changes.begin(_TOPIC, "", server_id) as connection:
            if not await tables.drain(connection, server_id):
                raise ServerMissingError(server_id)

    async def leave(self) -> None:
        """Take no more, from now on, as this server is about to end.

        Raises:
            DatabaseError: The database can't be used.
        """
        self._drain()
        await self.drain(self.server_id)

    def _drain(self) -> None:
        if not self.draining:
            self.draining = True
            for begin in self.drained:
                begin()

    def _look(self, rows: list[ServerRow]) -> None:
        """Take note of all servers; take over from those whose lease is over."""
        before = {row.id for row in self._servers}
        self._servers = rows
        self._placed.clear()
        for row in rows:
            if row.id == self.server_id:
                if row.draining:
                    self._drain()
            elif row.expired or row.fenced:
                self._bury_soon(row.id)
        for server_id in before - {row.id for row in rows}:
            for call in self.gone:
                call(server_id)
        self._look_for_twins(rows)

    def _look_for_twins(self, rows: list[ServerRow]) -> None:
        """Say so if another server has this one's URL: what goes there is in doubt.

        One that has renewed its lease since this one has started hasn't been there
        before, and ended.
        """
        for own in rows:
            if own.id != self.server_id:
                continue
            for row in rows:
                if (
                    row.url == own.url
                    and row.id not in {own.id, *self._twins}
                    and row.seen_seconds < own.age_seconds
                ):
                    self._twins.add(row.id)
                    self._log.error(
                        "another server has the same cluster_url",
                        server=row.id,
                        url=row.url,
                    )

    def _changed(self, _change: Change | None) -> None:
        if self._lease is not None:
            self._lease.request()

    async def _tell(self, server_id: str) -> None:
        async with self._changes.begin(_TOPIC, "", server_id):
            pass

    # -- taking over -------------------------------------------------------------------

    def _bury_soon(self, server_id: str) -> asyncio.Task[None]:
        task = self._burying.get(server_id)
        if task is None:
            task = asyncio.ensure_future(self._bury(server_id))
            self._burying[server_id] = task
            task.add_done_callback(lambda _: self._burying.pop(server_id, None))
        return task

    async def _bury(self, server_id: str) -> None:
        """Make what a server owns nobody's, once it can't write any more.

        First the fence: no statement of its that begins from now on succeeds. Then its
        sessions end, and with them what has begun. Only then may others write.
        """
        with suppress(DatabaseError):  # the next look tries again
            async with self._database.begin() as connection:
                if not await tables.fence(connection, server_id):
                    return
            # What it begins after that is refused, so only older sessions count.
            async with self._database.connect() as connection:
                until = await tables.now(connection)
            for _ in range(_ENDINGS):
                async with self._database.connect() as connection:
                    if not await tables.end_sessions(connection, server_id, until):
                        break
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                self._log.error("sessions of a server don't end", server=server_id)
                return
            async with self._changes.begin(_TOPIC, "", server_id) as connection:
                if await tables.deregister(connection, server_id):
                    self._log.warning("a server is gone", server=server_id)

    # -- owning ------------------------------------------------------------------------

    async def owner_of(self, kind: str, key: Key) -> Peer | None:
        """Return who owns something; None if this server does, or nobody.

        Raises:
            DatabaseError: The database can't be used.
        """
        found = await self._owner(kind, key)
        if found is not None and found.expired and found.server != self.server_id:
            await asyncio.shield(self._bury_soon(found.server))
            found = await self._owner(kind, key)
        if found is None or found.url is None or found.server == self.server_id:
            return None
        for peer in self.peers():
            if peer.id == found.server:
                return peer
        return Peer(found.server, found.url, 0, 0, draining=False)

    async def _owner(self, kind: str, key: Key) -> Claimed | None:
        async with self._database.connect() as connection:
            return await tables.owner(connection, kind, key)

    async def claim(self, kind: str, key: Key, given: int = 0) -> int:
        """Own something, from now on or already.

        Args:
            kind: What it is.
            key: Its workspace and its id.
            given: The generation of who gives it away to this server, if one does.

        Returns:
            The generation: higher than that of any claim before.

        Raises:
            ElsewhereError: Another server owns it.
            FencedError: Others are taking over from this server.
            DatabaseError: The database can't be used.
        """
        for _ in range(_CLAIMS):
            async with self._database.begin() as connection:
                made = await tables.claim(connection, kind, key, self.server_id, given)
                if made is not None:
                    return made
                found = await tables.owner(connection, kind, key)
            if found is None or found.url is None:
                continue  # it has just become nobody's
            if found.server == self.server_id:
                return found.generation
            if not found.expired:
                raise ElsewhereError(found.server, found.url)
            await asyncio.shield(self._bury_soon(found.server))
        assert found is not None  # noqa: S101 - asked more than once
        raise ElsewhereError(found.server, found.url or "")

    @asynccontextmanager
    async def taking(
        self, kind: str
    ) -> AsyncIterator[tuple[AsyncConnection, list[Key]]]:
        """Own all of a kind whose servers are gone, and do something with it at once.

        Yields:
            The transaction, and what is owned now and was not before.

        Raises:
            DatabaseError: The database can't be used; nothing was done.
        """
        async with self._database.begin() as connection:
            yield connection, await tables.take(connection, kind, self.server_id)

    async def release(self, kind: str, *held: Held) -> None:
        """Make what this server owns nobody's, once it is written for the last time.

        Raises:
            DatabaseError: The database can't be used.
        """
        async with self._database.begin() as connection:
            await tables.release(connection, kind, held, self.server_id)
