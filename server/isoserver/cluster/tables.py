"""The tables of a cluster: its servers, and what each owns. All SQL of them is here.

They are made only where a server of a cluster starts, on PostgreSQL. Times are the
database's: no server's clock is compared with another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    delete,
    extract,
    func,
    literal,
    select,
    text,
    update,
)

from isoserver.storage.database import SERVER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from typing import TypeAlias

    from sqlalchemy.ext.asyncio import AsyncConnection

    from isoserver.storage.database import Held

    Key: TypeAlias = tuple[str, str]

__all__ = [
    "CLUSTER",
    "GENERATIONS",
    "Claimed",
    "Owned",
    "ServerRow",
    "claim",
    "deregister",
    "drain",
    "end_sessions",
    "fence",
    "give_up",
    "now",
    "open_server",
    "owned",
    "owner",
    "register",
    "release",
    "renew",
    "servers",
    "session_name",
    "session_server",
    "take",
]

CLUSTER: Final = MetaData()
"""The tables of a cluster, apart from those of every server."""
GENERATIONS: Final = Sequence("cluster_generations", metadata=CLUSTER)
"""A claim's number is higher than those of all claims before it."""

_SERVERS: Final = Table(
    "cluster_servers",
    CLUSTER,
    # New at every start of a server, and never used again.
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    # What only those can make that have the same secret and the same store.
    Column("proof", String(64), nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("load", Integer, nullable=False),
    Column("draining", Boolean, nullable=False),
    # Writes are refused, its sessions are being ended, its row goes next.
    Column("fenced", Boolean, nullable=False),
    Column("lease_seconds", Double, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

_OWNERS: Final = Table(
    "cluster_owners",
    CLUSTER,
    Column("kind", String(16), primary_key=True),
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    # That of a server that is gone stands for nobody.
    Column("server", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Index("cluster_owners_by_server", "server", "kind"),
)

_NOW: Final = func.clock_timestamp()  # not when the transaction began
_EXPIRED: Final = "seen_at + make_interval(secs => lease_seconds) < clock_timestamp()"
_CLAIM: Final = text(
    """
    INSERT INTO cluster_owners (kind, workspace, id, server, generation)
    VALUES (:kind, :workspace, :id, :server, nextval('cluster_generations'))
    ON CONFLICT DO NOTHING RETURNING generation
    """
)
# PostgreSQL looks at a row anew that another transaction has changed meanwhile, but not
# at other tables: so these name who has it, or under which generation, instead of
# looking whether that server is gone. One that is gone stays so, and neither its id nor
# a generation is ever used again.
_CLAIM_LEFT: Final = text(
    """
    UPDATE cluster_owners
    SET server = :server, generation = nextval('cluster_generations')
    WHERE kind = :kind AND workspace = :workspace AND id = :id
    AND generation = :last
    RETURNING generation
    """
)
_TAKE: Final = text(
    """
    UPDATE cluster_owners
    SET server = :server, generation = nextval('cluster_generations')
    WHERE kind = :kind AND server = ANY(:gone)
    RETURNING workspace, id
    """
)
_GONE: Final = text(
    """
    SELECT DISTINCT server FROM cluster_owners AS its WHERE kind = :kind
    AND NOT EXISTS (SELECT 1 FROM cluster_servers WHERE id = its.server)
    """
)
_END_SESSIONS: Final = text(
    """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = :name AND datname = current_database()
    AND backend_start <= :until
    """
)


class ServerRow(NamedTuple):
    """A server, as the database knows it.

    Attributes:
        id: Its id.
        url: Where other servers reach it.
        capacity: Contexts that it takes; 0 while it starts.
        load: Contexts that it has.
        draining: Whether it takes no more, and gives away what it has.
        fenced: Whether others are taking over.
        expired: Whether its lease is over.
        age_seconds: Since it has started.
        seen_seconds: Since it has renewed its lease.
    """

    id: str
    url: str
    capacity: int
    load: int
    draining: bool
    fenced: bool
    expired: bool
    age_seconds: float
    seen_seconds: float

    @property
    def takes(self) -> bool:
        """Whether it takes what is new."""
        return self.capacity > 0 and not self.draining


class Claimed(NamedTuple):
    """Who owns something.

    Attributes:
        server: The server's id.
        generation: Of its claim.
        url: Where it is; None if it is gone.
        expired: Whether its lease is over.
    """

    server: str
    generation: int
    url: str | None
    expired: bool


class Owned(NamedTuple):
    """How many of a kind a server owns."""

    server: str
    kind: str
    number: int


def session_name(server_id: str) -> str:
    """Return the name of a server's sessions, by which they are found."""
    return f"isokernel {server_id}"


async def session_server(connection: AsyncConnection) -> str | None:
    """Return the id of the server that a session is said to be of."""
    query = select(func.current_setting(SERVER_VARIABLE, literal(value=True)))
    found: str | None = (await connection.execute(query)).scalar()
    return found


async def register(
    connection: AsyncConnection, row: ServerRow, lease: float, proof: str
) -> bool:
    """Add a server, whose lease begins.

    Args:
        connection: Whose statements count at once.
        row: The server.
        lease: Of so many seconds.
        proof: What the others have that it may be one of.

    Returns:
        False if there are others that have another proof: then it wasn't added.
    """
    other = _SERVERS.c.proof != proof
    serving = text(f"NOT fenced AND NOT ({_EXPIRED})")
    query = select(func.count()).select_from(_SERVERS).where(other, serving)
    if (await connection.execute(query)).scalar_one():
        return False
    await connection.execute(
        _SERVERS.insert().values(
            id=row.id,
            url=row.url,
            proof=proof,
            capacity=row.capacity,
            load=row.load,
            draining=row.draining,
            fenced=row.fenced,
            lease_seconds=lease,
            started_at=_NOW,
            seen_at=_NOW,
        )
    )
    return True


async def deregister(connection: AsyncConnection, server_id: str) -> bool:
    """Delete a server: what it owned is nobody's. False if it was gone."""
    query = delete(_SERVERS).where(_SERVERS.c.id == server_id)
    return bool((await connection.execute(query)).rowcount)


async def open_server(
    connection: AsyncConnection, server_id: str, capacity: int
) -> None:
    """Note how many contexts a server takes, from now on."""
    query = update(_SERVERS).where(_SERVERS.c.id == server_id)
    await connection.execute(query.values(capacity=capacity))


async def renew(connection: AsyncConnection, server_id: str, load: int) -> bool:
    """Begin a server's lease anew; False if others are taking over."""
    query = (
        update(_SERVERS)
        .where(_SERVERS.c.id == server_id, ~_SERVERS.c.fenced)
        .values(seen_at=_NOW, load=load)
    )
    return bool((await connection.execute(query)).rowcount)


async def fence(connection: AsyncConnection, server_id: str) -> bool:
    """Refuse what a server writes from now on, if its lease is over."""
    over = _SERVERS.c.fenced | text(_EXPIRED)
    query = update(_SERVERS).where(_SERVERS.c.id == server_id, over).values(fenced=True)
    return bool((await connection.execute(query)).rowcount)


async def give_up(connection: AsyncConnection, server_id: str) -> None:
    """Refuse what a server writes from now on, as it asks for itself."""
    query = update(_SERVERS).where(_SERVERS.c.id == server_id).values(fenced=True)
    await connection.execute(query)


async def drain(connection: AsyncConnection, server_id: str) -> bool:
    """Have a server take no more, and give away what it has; False if it is gone."""
    query = (
        update(_SERVERS)
        .where(_SERVERS.c.id == server_id, ~_SERVERS.c.fenced)
        .values(draining=True)
    )
    return bool((await connection.execute(query)).rowcount)


async def now(connection: AsyncConnection) -> datetime:
    """Return the database's time."""
    found: datetime = (await connection.execute(select(_NOW))).scalar_one()
    return found


async def end_sessions(
    connection: AsyncConnection, server_id: str, until: datetime
) -> int:
    """End a server's sessions that had begun by then; return how many there were."""
    named = {"name": session_name(server_id), "until": until}
    return int((await connection.execute(_END_SESSIONS, named)).scalar_one())


async def servers(connection: AsyncConnection) -> list[ServerRow]:
    """List all servers, the one that has started first first."""
    columns = _SERVERS.c
    query = select(
        *(columns.id, columns.url, columns.capacity, columns.load),
        *(columns.draining, columns.fenced),
        text(f"({_EXPIRED})"),
        extract("epoch", _NOW - columns.started_at),
        extract("epoch", _NOW - columns.seen_at),
    ).order_by(columns.started_at, columns.id)
    found = []
    for *values, age, seen in await connection.execute(query):
        found.append(ServerRow._make((*values, float(age), float(seen))))
    return found


async def claim(
    connection: AsyncConnection, kind: str, key: Key, server_id: str, given: int = 0
) -> int | None:
    """Make something a server's that is nobody's, or is given away.

    Args:
        connection: To the database.
        kind: What it is.
        key: Its workspace and its id.
        server_id: The server.
        given: The generation of who gives it away, if anybody does. Whoever has taken
            it again since, as that took too long, keeps it.

    Returns:
        The generation; None if it is somebody else's.
    """
    named = {"kind": kind, "workspace": key[0], "id": key[1], "server": server_id}
    made: int | None = (await connection.execute(_CLAIM, named)).scalar()
    if made is not None:
        return made
    found = await owner(connection, kind, key)
    if found is None or (found.url is not None and found.generation != given):
        return None
    left = {**named, "last": found.generation}
    taken: int | None = (await connection.execute(_CLAIM_LEFT, left)).scalar()
    return taken


async def gone(connection: AsyncConnection, kind: str) -> list[str]:
    """Return the servers that are gone, and have left something of a kind."""
    return list((await connection.execute(_GONE, {"kind": kind})).scalars())


async def take(connection: AsyncConnection, kind: str, server_id: str) -> list[Key]:
    """Make all of a kind a server's whose servers are gone; return what that was."""
    named = {"kind": kind, "server": server_id, "gone": await gone(connection, kind)}
    return [(row[0], row[1]) for row in await connection.execute(_TAKE, named)]


async def owner(connection: AsyncConnection, kind: str, key: Key) -> Claimed | None:
    """Look up who owns something."""
    query = (
        select(
            *(_OWNERS.c.server, _OWNERS.c.generation, _SERVERS.c.url),
            text(f"coalesce(fenced OR {_EXPIRED}, FALSE)"),
        )
        .outerjoin_from(_OWNERS, _SERVERS, _OWNERS.c.server == _SERVERS.c.id)
        .where(
            _OWNERS.c.kind == kind,
            _OWNERS.c.workspace == key[0],
            _OWNERS.c.id == key[1],
        )
    )
    row = (await connection.execute(query)).first()
    return None if row is None else Claimed(*row)


async def release(
    connection: AsyncConnection, kind: str, held: Iterable[Held], server_id: str
) -> None:
    """Make what a server owns nobody's, unless it has changed hands since."""
    query = delete(_OWNERS).where(
        _OWNERS.c.server == server_id,
        _OWNERS.c.kind == kind,
    )
    for workspace, name, generation in held:
        its = query.where(
            _OWNERS.c.workspace == workspace,
            _OWNERS.c.id == name,
            _OWNERS.c.generation == generation,
        )
        await connection.execute(its)


async def owned(connection: AsyncConnection) -> list[Owned]:
    """Count what each server owns, by kind."""
    query = select(_OWNERS.c.server, _OWNERS.c.kind, func.count())
    rows = await connection.execute(query.group_by(_OWNERS.c.server, _OWNERS.c.kind))
    return [Owned(*row) for row in rows]
