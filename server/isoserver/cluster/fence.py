"""The fence: the database refuses what a server writes that others have taken over.

Each session of a server with the database carries the server's id, and triggers look
it up. So nothing that a server believes of itself counts, nor does what it was about to
write before it was stopped for a while. There are two:

- Before any statement that writes, the server must still be one of the cluster's.
- Before any row of something that is owned is written, its owner must be the server.

A context can come back to a server that has given it away. So whoever writes rows
of it, in whatever table, names the generation that it had when the write was decided
(`Database.held`), once for a transaction, and a function (`HOLDS`) refuses another one,
and keeps the owner as it is until the end. 0 is for what wasn't this server's then.
Runs and webhooks never come back: their servers are gone when others take them.

Sessions without an id are not servers of a cluster, which keep those off by a lock
(`isoserver.storage.locks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from isoserver.cluster.kinds import CONTEXT, RUN, WEBHOOK
from isoserver.cluster.tables import CLUSTER
from isoserver.storage.database import (
    FENCED_STATE,
    HOLDS,
    METADATA,
    SERVER_VARIABLE,
    SHARED,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["FENCED", "Fence", "prepare"]


class Fence(NamedTuple):
    """What a table's rows belong to.

    Attributes:
        kind: The kind of what owns them.
        column: Which column has its id.
        unowned: Whether rows of what nobody owns may be written.
        ends: Which change of a row ends what owns it, which began with its first row.
        late: Which change comes after that end if nobody owns the row, and is dropped:
            it was in the commit with the end, whose answer was lost.
    """

    kind: str
    column: str
    unowned: bool = False
    ends: str = ""
    late: str = ""


FENCED: Final = {
    "contexts": Fence(CONTEXT, "id"),
    "context_packages": Fence(CONTEXT, "id"),
    "context_durabilities": Fence(CONTEXT, "id"),
    "context_cells": Fence(CONTEXT, "context"),
    "context_policies": Fence(CONTEXT, "id"),
    "jupyter_sessions": Fence(CONTEXT, "context", unowned=True),
    "jupyter_made_contexts": Fence(CONTEXT, "context", unowned=True),
    # Of a session that was deleted by the time its run ends, too.
    "session_entries": Fence(CONTEXT, "session", unowned=True),
    "runs": Fence(
        *(RUN, "id"),
        ends="TG_OP = 'UPDATE' AND NEW.ended_at IS NOT NULL",
        late="TG_OP = 'INSERT'",
    ),
    "run_output": Fence(RUN, "run_id", late="TRUE"),
    "webhooks": Fence(WEBHOOK, "id", ends="TG_OP = 'DELETE'"),
}
"""The tables whose rows have one owner; whatever else there is, all servers share."""

_LOCK: Final = int.from_bytes(b"isofence", "big") >> 1
"""Of PostgreSQL's advisory locks: one server at a time makes what is missing."""
_ME: Final = f"current_setting('{SERVER_VARIABLE}', TRUE)"
_REFUSE: Final = (
    f"RAISE EXCEPTION 'another server has taken over' USING ERRCODE = '{FENCED_STATE}';"
)
_SERVES: Final = """
CREATE OR REPLACE FUNCTION cluster_serves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce({me}, '') <> '' AND NOT EXISTS (
        SELECT 1 FROM cluster_servers WHERE id = {me} AND NOT fenced
    ) THEN {refuse} END IF;
    RETURN NULL;
END $$
"""
_OWNS: Final = """
CREATE OR REPLACE FUNCTION cluster_owns_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    me text := {me};
    its text;
    its_workspace text;
    its_id text;
BEGIN
    IF coalesce(me, '') = '' THEN RETURN coalesce(NEW, OLD); END IF;
    {begin}
    IF TG_OP = 'DELETE' THEN
        its_workspace := OLD.workspace; its_id := OLD.{column};
    ELSE
        its_workspace := NEW.workspace; its_id := NEW.{column};
    END IF;
    SELECT server INTO its FROM cluster_owners
        WHERE kind = '{kind}' AND workspace = its_workspace AND id = its_id;
    IF its = me THEN
        {end}
        RETURN coalesce(NEW, OLD);
    END IF;
    IF ({unowned} OR TG_OP = 'DELETE') AND NOT EXISTS (
        SELECT 1 FROM cluster_servers WHERE id = its
    ) THEN RETURN coalesce(NEW, OLD); END IF;
    {late}
    {refuse}
END $$
"""
_HOLDS: Final = """
CREATE OR REPLACE FUNCTION {holds}(
    its_kind text, workspaces text[], ids text[], generations bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held integer;
BEGIN
    PERFORM 1 FROM cluster_owners AS o
        JOIN unnest(workspaces, ids, generations) AS w (workspace, id, generation)
        ON o.workspace = w.workspace AND o.id = w.id AND o.generation = w.generation
        WHERE o.kind = its_kind AND o.server = {me}
        FOR SHARE OF o;
    GET DIAGNOSTICS held = ROW_COUNT;
    IF held < cardinality(array_remove(generations, 0)) THEN {refuse} END IF;
    IF 0 = ANY (generations) AND EXISTS (
        SELECT 1 FROM cluster_owners AS o
        JOIN unnest(workspaces, ids, generations) AS w (workspace, id, generation)
        ON o.workspace = w.workspace AND o.id = w.id AND w.generation = 0
        WHERE o.kind = its_kind AND o.server = {me}
    ) THEN {refuse} END IF;
END $$
"""
_BEGIN: Final = """
    IF TG_OP = 'INSERT' AND NOT EXISTS (
        SELECT 1 FROM {table} WHERE {column} = NEW.{column}
    ) THEN
        INSERT INTO cluster_owners VALUES (
            '{kind}', NEW.workspace, NEW.{column}, me, nextval('cluster_generations')
        ) ON CONFLICT DO NOTHING;
    END IF;
"""
"""A run is its server's from its first row on, without a statement of its own. It may
come again, as nobody knows whether a commit has been made whose answer is lost. If it
has ended in that one, it stays nobody's."""
_END: Final = """
        IF {ends} THEN
            DELETE FROM cluster_owners
            WHERE kind = '{kind}' AND workspace = its_workspace AND id = its_id;
        END IF;
"""
_LATE: Final = "IF its IS NULL AND {late} THEN RETURN NULL; END IF;"
"""One that hasn't ended has an owner, and so has nothing dropped."""
# Not while others serve, of whose runs one may end in that moment.
_ALONE: Final = (
    "NOT EXISTS (SELECT 1 FROM cluster_servers WHERE NOT fenced "
    "AND seen_at + make_interval(secs => lease_seconds) > clock_timestamp())"
)
# Locked, as one that a server ends at that moment, late, has had an owner.
_UNOWNED: Final = (
    "INSERT INTO cluster_owners SELECT 'run', workspace, id, '', 0 FROM runs "
    "WHERE ended_at IS NULL AND {alone} FOR UPDATE SKIP LOCKED ON CONFLICT DO NOTHING",
    "INSERT INTO cluster_owners SELECT 'webhook', workspace, id, '', 0 FROM webhooks "
    "WHERE {alone} FOR UPDATE SKIP LOCKED ON CONFLICT DO NOTHING",
)
_KNOWN: Final = text(
    "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"
)


async def prepare(connection: AsyncConnection) -> None:
    """Make the tables of the cluster and the triggers that are missing.

    Args:
        connection: In a transaction, on a database that has the other tables.
    """
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    # Until its end, as this server isn't registered yet.
    await connection.exec_driver_sql(f"SET LOCAL {SERVER_VARIABLE} = ''")
    await connection.run_sync(CLUSTER.create_all)
    await connection.run_sync(SHARED.create_all)
    await connection.exec_driver_sql(_SERVES.format(me=_ME, refuse=_REFUSE))
    await connection.exec_driver_sql(_HOLDS.format(me=_ME, refuse=_REFUSE, holds=HOLDS))
    rows = await connection.execute(_KNOWN)
    known = {(table.strip('"'), trigger) for table, trigger in rows}
    for table, function in _functions():
        await connection.exec_driver_sql(function)
        if (table, "cluster_owns") not in known:
            await connection.exec_driver_sql(
                f"CREATE TRIGGER cluster_owns BEFORE INSERT OR UPDATE OR DELETE ON "
                f"{table} FOR EACH ROW EXECUTE FUNCTION cluster_owns_{table}()"
            )
    await _note_unowned(connection)
    for table in (*METADATA.tables, "cluster_owners"):
        if (table, "cluster_serves") not in known:
            await connection.exec_driver_sql(
                f"CREATE TRIGGER cluster_serves BEFORE INSERT OR UPDATE OR DELETE ON "
                f"{table} FOR EACH STATEMENT EXECUTE FUNCTION cluster_serves()"
            )


async def _note_unowned(connection: AsyncConnection) -> None:
    """Have what servers that were of no cluster have left be of one that is gone."""
    for statement in _UNOWNED:
        await connection.exec_driver_sql(statement.format(alone=_ALONE))


def _functions() -> Iterator[tuple[str, str]]:
    for table, of in FENCED.items():
        values = {**of._asdict(), "table": table, "unowned": str(of.unowned).upper()}
        parts = {
            "begin": _BEGIN.format(**values) if of.ends else "",
            "end": _END.format(**values) if of.ends else "",
            "late": _LATE.format(**values) if of.late else "",
        }
        function = _OWNS.format(me=_ME, refuse=_REFUSE, **{**values, **parts})
        yield table, function
