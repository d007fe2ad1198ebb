"""The database refuses what others have taken over, whatever a server believes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError
from tests.support.outages import Lossy

# All tables of the server are known once it is imported.
from isoserver import app  # noqa: F401
from isoserver.capabilities.service import Capabilities
from isoserver.cluster import fence, tables
from isoserver.cluster.kinds import CONTEXT, RUN
from isoserver.cluster.tables import ServerRow
from isoserver.contexts.history import Cell
from isoserver.contexts.records import ContextRecord
from isoserver.contexts.store import CELLS, CONTEXTS, ContextStore
from isoserver.errors import DatabaseError, FencedError, WebhookLimitError
from isoserver.heaps.records import HeapOrigin
from isoserver.heaps.tables import HEAPS, HeapTables
from isoserver.http.metrics import Metrics
from isoserver.jupyter.sessions import Session, Sessions
from isoserver.runs.records import Ending, Extent, Kind, RunRecord, Status
from isoserver.runs.store import Store as RunStore
from isoserver.runs.tables import RUNS
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import (
    METADATA,
    SERVER_VARIABLE,
    Database,
    url_of,
)
from isoserver.tools.audit import Audit, Entry, Filter
from isoserver.webhooks.service import Webhook, Webhooks
from isoserver.webhooks.store import WebhookStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tests.support.postgresql import PostgreSQL

SHARED = {
    # Content that no server changes once it is there; rows of workspaces.
    *("heaps", "heap_tags", "heap_contents"),
    # Read anew whenever the feed tells of a change.
    *("tool_policies", "tool_sources", "workspace_capabilities"),
    # Decided by whoever is asked; noted by whoever calls.
    *("tool_approvals", "tool_audit"),
}
KEY = ("default", "c")
CONTEXT_ROW = {
    "workspace": "default",
    "id": "c",
    "language": "javascript",
    "cwd": "/",
    "state": "live",
    "reason": "",
    "created_at": 0.0,
    "last_used": 0.0,
    "execution_count": 0,
    "heap_count": 0,
}
ROW: dict[str, Any] = {name: CONTEXT_ROW.get(name) for name in ContextRecord._fields}
RECORD = ContextRecord._make(ROW.values())
HEAP = {
    "key": "k",
    "size": 1,
    "compressed_size": 1,
    "engine": "",
    "language": "javascript",
    "execution_count": 1,
    "automatic": False,
}
RUN_ROW = {
    "id": "r",
    "kind": "script",
    "workspace": "default",
    "status": "queued",
    "created_at": 0.0,
    "seconds": 1.0,
    "size": 0,
    "output_bytes": 0,
    "output_newlines": 0,
    "output_open": False,
    "details": "{}",
    "code": "",
}

RECORD_OF_RUN = RunRecord(
    *("r", Kind.SCRIPT, "default", None, 1.0, {}, Status.QUEUED, 1.0)
)
CHUNK: dict[str, Any] = {
    "workspace": "default",
    "run_id": "r",
    "start_byte": 0,
    "start_line": 0,
    "data": b"its last line",
}
ENDED = RECORD_OF_RUN._replace(
    status=Status.COMPLETED,
    ended_at=2.0,
    ending=Ending(Status.COMPLETED),
    output=Extent(13, 0, open=True),
)


class Member:
    """A server's sessions with the database, and nothing else of it."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        variables = {SERVER_VARIABLE: name, "application_name": f"isokernel {name}"}
        self.database = Database(url_of(url, folder), variables)

    async def join(self, lease: float = 60.0) -> None:
        """Be one of the cluster's."""
        async with self.database.begin() as connection:
            await fence.prepare(connection)
            row = ServerRow(self.name, "", 1, 0, False, False, False, 0.0, 0.0)  # noqa: FBT003
            assert await tables.register(connection, row, lease, "")

    async def write(self, statement: Any, row: Any = None) -> None:
        """Write something."""
        async with self.database.begin() as connection:
            await connection.execute(statement, row)

    async def claim(
        self, kind: str, key: tuple[str, str] = KEY, given: int = 0
    ) -> int | None:
        """Own something, if it is nobody's, or is given away."""
        async with self.database.begin() as connection:
            return await tables.claim(connection, kind, key, self.name, given)


@asynccontextmanager
async def members(url: str, folder: Path) -> AsyncIterator[tuple[Member, Member]]:
    """Two servers of one cluster."""
    one, other = Member("one", url, folder), Member("other", url, folder)
    await one.database.start()
    for each in (one, other):
        await each.join()
    try:
        yield one, other
    finally:
        await one.database.close()
        await other.database.close()


def test_each_table_is_fenced_or_shared_for_a_reason() -> None:
    assert set(METADATA.tables) == {*fence.FENCED, *SHARED}
    assert not SHARED & set(fence.FENCED)
    for name, of in fence.FENCED.items():
        assert {"workspace", of.column} <= set(METADATA.tables[name].c.keys())


def test_rows_of_a_context_are_its_owner_s(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            with pytest.raises(FencedError):  # nobody's
                await one.write(insert(CONTEXTS), CONTEXT_ROW)
            first = await one.claim(CONTEXT)
            assert first is not None
            await one.write(insert(CONTEXTS), CONTEXT_ROW)
            assert await other.claim(CONTEXT) is None
            cell = {"number": 1, "size": 0, "data": b"", "context": "c"}
            for statement, row in (
                (update(CONTEXTS).values(reason="x"), None),
                (insert(CELLS), {**cell, "workspace": "default"}),
                (CONTEXTS.delete(), None),
            ):
                with pytest.raises(FencedError):
                    await other.write(statement, row)
            async with one.database.begin() as connection:
                await tables.release(connection, CONTEXT, [(*KEY, first)], "one")
            second = await other.claim(CONTEXT)
            assert second is not None
            assert second > first
            await other.write(update(CONTEXTS).values(reason="x"))
            with pytest.raises(FencedError):
                await one.write(update(CONTEXTS).values(reason="y"))

    asyncio.run(scenario())


def test_what_was_given_away_is_not_taken_late(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """Who gave it away may have taken it again meanwhile, and gone on with it."""

    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            first = await one.claim(CONTEXT)
            assert first is not None
            taken = await other.claim(CONTEXT, given=first)
            assert taken is not None
            async with other.database.begin() as connection:
                await tables.release(connection, CONTEXT, [(*KEY, taken)], "other")
            again = await one.claim(CONTEXT)
            assert again is not None
            assert await other.claim(CONTEXT, given=first) is None
            assert await other.claim(CONTEXT, given=again) is not None

    asyncio.run(scenario())


def test_a_run_is_its_server_s_from_its_first_row_to_its_end(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            await one.write(insert(RUNS), RUN_ROW)
            assert await other.claim(RUN, ("default", "r")) is None
            with pytest.raises(FencedError):
                await other.write(update(RUNS).values(status="failed"))
            await one.write(update(RUNS).values(status="failed", ended_at=1.0))
            async with other.database.connect() as connection:
                assert await tables.owner(connection, RUN, ("default", "r")) is None
                assert not await tables.owned(connection)
            await other.write(RUNS.delete())  # it may be forgotten by anybody

    asyncio.run(scenario())


def test_what_is_left_is_taken_by_one(postgresql: PostgreSQL, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            gone = Member("gone", one.database.url, tmp_path)
            await gone.join()
            await gone.write(insert(RUNS), RUN_ROW)
            await gone.claim(CONTEXT)
            async with one.database.begin() as connection:
                await tables.deregister(connection, "gone")
            await gone.database.close()

            async def take() -> list[tuple[str, str]]:
                async with other.database.begin() as connection:
                    return await tables.take(connection, RUN, "other")

            # One takes both as soon as it is there; the other one waits for that.
            async with one.database.begin() as connection:
                await tables.deregister(connection, "one")
                row = ServerRow("one", "", 1, 0, False, False, False, 0.0, 0.0)  # noqa: FBT003
                await tables.register(connection, row, 60.0, "")
                assert len(await tables.take(connection, RUN, "one")) == 1
                assert await tables.claim(connection, CONTEXT, KEY, "one") is not None
                taken = asyncio.ensure_future(take())
                claimed = asyncio.ensure_future(other.claim(CONTEXT))
                await _wait_for_locks(connection, 2)
            assert await taken == []
            assert await claimed is None

    asyncio.run(scenario())


def test_who_joins_takes_note_of_what_was_left_by_no_cluster(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        url = postgresql.database()
        alone = Database(url_of(url, tmp_path))
        await alone.start()
        async with alone.begin() as connection:
            await connection.execute(insert(RUNS), RUN_ROW)
        async with members(url, tmp_path) as (one, _):
            key = ("default", "r")
            async with one.database.connect() as connection:
                assert await tables.owner(connection, RUN, key) is not None
            # From now on all have their owners: none is looked for as others serve.
            async with alone.begin() as connection:
                await connection.execute(text("DELETE FROM cluster_owners"))
            third = Member("third", url, tmp_path)
            await third.join()
            await third.database.close()
            async with one.database.connect() as connection:
                assert await tables.owner(connection, RUN, key) is None
        await alone.close()

    asyncio.run(scenario())


def test_who_joins_gives_no_owner_to_what_ends_just_then(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        url = postgresql.database()
        one, other = Member("one", url, tmp_path), Member("other", url, tmp_path)
        await one.database.start()
        await one.join(lease=0.0)  # nobody has fenced it off yet
        await one.write(insert(RUNS), RUN_ROW)
        async with one.database.begin() as connection:
            ended = update(RUNS).values(status="completed", ended_at=1.0)
            await connection.execute(ended)
            joining = asyncio.ensure_future(other.join())
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not (joining.done() or await connection.scalar(waiting)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await joining
        async with other.database.connect() as connection:
            assert await tables.owner(connection, RUN, ("default", "r")) is None
        await one.database.close()
        await other.database.close()

    asyncio.run(scenario())


async def _wait_for_locks(connection: AsyncConnection, number: int) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(1000):
        if (await connection.execute(waiting)).scalar() == number:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nothing waits")


def test_who_is_fenced_off_writes_nothing_at_all(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            await one.claim(CONTEXT)
            await one.write(insert(CONTEXTS), CONTEXT_ROW)
            async with other.database.begin() as connection:
                assert not await tables.fence(connection, "one")  # its lease holds
                seen = text("UPDATE cluster_servers SET seen_at = '-infinity'")
                await connection.execute(seen)
            # A transaction that has begun is cut off, one that begins is refused.
            with pytest.raises(DatabaseError):
                await _write_meanwhile(one, other)
            for table in METADATA.tables.values():
                with pytest.raises(FencedError):
                    await one.write(table.delete())
            with pytest.raises(FencedError):
                await one.claim(CONTEXT, ("default", "another"))
            assert await other.claim(CONTEXT) is not None
            async with other.database.connect() as connection:
                query = CONTEXTS.select().with_only_columns(CONTEXTS.c.reason)
                assert (await connection.execute(query)).scalar() == ""
            async with one.database.begin() as connection:
                assert not await tables.renew(connection, "one", 0)

    asyncio.run(scenario())


class Parts:
    """What writes rows of contexts, with what the database has of one."""

    def __init__(self, database: Database) -> None:
        log = make_log("error", StringIO())
        self.store = ContextStore(database, 10, 1000)
        self.capabilities = Capabilities(read_settings(), {}, log, database=database)
        self.sessions = Sessions(database, log, shared=True)
        self.heaps = HeapTables(database)

    @classmethod
    async def loaded(cls, database: Database) -> Parts:
        made = cls(database)
        await made.store.find(KEY)
        await made.capabilities.load(KEY)
        await made.sessions.adopt(KEY)
        return made

    @property
    def writings(self) -> tuple[Callable[[str], Awaitable[None]], ...]:
        """All that writes rows of a context, each with something of its own."""
        return self.rows, self.cells, self.policy, self.front, self.made, self.step

    async def rows(self, said: str) -> None:
        self.store.note_begin(KEY, (said,), float(len(said)))
        await self.store.write(RECORD._replace(reason=said))

    async def cells(self, said: str) -> None:
        await self.store._store(KEY, [Cell(1, 0, said.encode())])

    async def policy(self, said: str) -> None:
        await self.capabilities.set(KEY, {"net": [f"{said}.com"]})

    async def front(self, said: str) -> None:
        await self.sessions.put(Session(said, said, "notebook", KEY, said))

    async def made(self, _said: str) -> None:
        await self.sessions.note_made(KEY)

    async def step(self, said: str) -> None:
        values = {**HEAP, "key": said}
        await self.heaps.add(HeapOrigin(*KEY, code=said), values, 10)


OF_CONTEXTS = [name for name, of in fence.FENCED.items() if of.kind == CONTEXT]


async def shown(database: Database) -> dict[str, list[Any]]:
    """Return all rows of contexts, and the heaps that come with steps of sessions."""
    async with database.connect() as connection:
        found = {}
        for name in (*OF_CONTEXTS, "heaps"):
            rows = await connection.execute(METADATA.tables[name].select())
            found[name] = [tuple(row) for row in rows]
        return found


def test_what_was_decided_before_a_context_went_and_came_back_comes_too_late(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """What is written while it is away arrives when it is the same server's again."""

    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            first = await own(one)
            for write in Parts(one.database).writings:
                await write("first")
            before = await shown(other.database)
            assert all(before.values())  # or the table has no writer here
            parts = [await Parts.loaded(one.database) for _ in range(10)]
            store = parts[0].store
            # The database takes what comes in turn: here, until it has changed hands.
            async with other.database.begin() as connection:
                await connection.execute(text("LOCK TABLE cluster_owners"))
                late = [
                    asyncio.ensure_future(writing)
                    for writing in (
                        store.write(RECORD._replace(reason="late")),
                        parts[1].rows("late"),
                        parts[2].cells("late"),
                        parts[3].policy("late"),
                        parts[4].front("late"),
                        parts[5].made("late"),
                        parts[6].step("late"),
                        parts[7].store.delete(KEY),
                        parts[8].capabilities.forget(KEY),
                        parts[9].sessions.drop_now("first"),
                    )
                ]
                await _until_locked(connection, len(late))
                store.write_soon(KEY, lambda: RECORD._replace(reason="late"))
                await tables.release(connection, CONTEXT, [(*KEY, first)], "one")
                second = await tables.claim(connection, CONTEXT, KEY, "other")
                assert second is not None
                await tables.release(connection, CONTEXT, [(*KEY, second)], "other")
                again = await tables.claim(connection, CONTEXT, KEY, "one")
                assert again is not None
                # So does who lets go of it for the first time.
                await tables.release(connection, CONTEXT, [(*KEY, first)], "one")
            for writing in late:
                with pytest.raises(FencedError):
                    await writing
            with suppress(FencedError):  # it has been refused already, or is now
                await store.flush()
            # Nor is what was decided between the two, when it was nobody's here.
            one.database.generations.clear()
            for write in parts[0].writings:
                with pytest.raises(FencedError):
                    await write("late")
            store.own(KEY, again)
            await store.flush()  # nothing of it is tried again
            assert await shown(other.database) == before
            for write in (await Parts.loaded(one.database)).writings:
                await write("in-time")
            assert all(
                after != before[name]
                for name, after in (await shown(other.database)).items()
                if name != "jupyter_made_contexts"
            )

    asyncio.run(scenario())


def test_a_context_stays_until_what_is_being_written_is_written(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            held = (*KEY, await own(one))
            async with one.database.begin([held]), other.database.begin() as another:
                await another.execute(text("SET LOCAL lock_timeout = '50ms'"))
                with pytest.raises(DBAPIError, match="lock timeout"):
                    await tables.release(another, CONTEXT, [held], "one")

    asyncio.run(scenario())


async def own(member: Member) -> int:
    """Have a server write a context as its owner."""
    generation = await member.claim(CONTEXT)
    assert generation is not None
    member.database.generations[KEY] = generation
    return generation


async def _until_locked(connection: AsyncConnection, number: int) -> None:
    """Wait until so many sessions wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid "
        "WHERE datname = current_database() AND NOT granted"
    )
    for _ in range(1000):
        if (await connection.execute(waiting)).scalar_one() >= number:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nothing is written")


async def _write_meanwhile(one: Member, other: Member) -> None:
    async with one.database.begin() as connection:
        await connection.execute(update(CONTEXTS).values(reason="x"))
        await _take_over(other)


async def _take_over(other: Member) -> None:
    async with other.database.begin() as connection:
        await connection.execute(
            text("UPDATE cluster_servers SET seen_at = now() WHERE id = 'other'")
        )
        assert await tables.fence(connection, "one")
    async with other.database.connect() as connection:
        until = await tables.now(connection)
    for _ in range(1000):
        async with other.database.connect() as connection:
            if not await tables.end_sessions(connection, "one", until):
                break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("its sessions didn't end")
    async with other.database.begin() as connection:
        assert await tables.deregister(connection, "one")


def test_sessions_of_no_server_are_not_fenced(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        url = postgresql.database()
        async with members(url, tmp_path):
            alone = Database(url_of(url, tmp_path))
            async with alone.begin() as connection:
                await connection.execute(insert(CONTEXTS), CONTEXT_ROW)
            await alone.close()

    asyncio.run(scenario())


def test_webhooks_are_counted_by_whose_they_are(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            hooks = [_webhooks(each.database) for each in (one, other)]
            ours, theirs = hooks
            for name in ("a", "b"):
                await ours.order("default", HOOK, "cell", name)
            await theirs.start()
            theirs.check("default", HOOK)  # what is another's takes no place here
            with pytest.raises(WebhookLimitError):
                ours.check("default", HOOK)
            async with other.database.begin() as connection:
                await tables.deregister(connection, "one")
            assert {row.subject for row in await theirs.adopt()} == {"a", "b"}
            with pytest.raises(WebhookLimitError):
                theirs.check("default", HOOK)
            for name in ("a", "b"):
                theirs.forget("default", name)
                await theirs.settle()
                await theirs.order("default", HOOK, "cell", f"{name} again")
            with pytest.raises(WebhookLimitError):
                theirs.check("default", HOOK)
            for each in hooks:
                await each.close()

    asyncio.run(scenario())


HOOK = Webhook("http://localhost/")


def _webhooks(database: Database) -> Webhooks:
    """Those of one server, of which two may be pending."""
    log = make_log("error", StringIO())
    settings = read_settings(
        webhooks_pending_max=2,
        webhook_host=["localhost"],
        webhook_secret=[f"whsec_{'A' * 32}"],
        cluster=True,
        cluster_secret="0123456789" * 3,
        database_url="postgresql:///",
        heap_store="memory://heaps",
    )
    audit = Audit(settings, database, log)
    return Webhooks(settings, database, audit, Metrics(), log)


@asynccontextmanager
async def lossy_member(
    postgresql: PostgreSQL, tmp_path: Path, *, shared: bool = True
) -> AsyncIterator[tuple[Lossy, Member]]:
    """One server whose way to the database loses answers, of a cluster if `shared`."""
    way = Lossy(postgresql.database(), tmp_path)
    async with way.passing():
        one = Member("one", way.url, tmp_path)
        await one.database.start()
        if shared:
            await one.join()
        yield way, one
        await one.database.close()


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_committed_unheard_is_acknowledged(
    postgresql: PostgreSQL, tmp_path: Path, *, shared: bool
) -> None:
    async def scenario() -> None:
        async with lossy_member(postgresql, tmp_path, shared=shared) as (way, one):
            said = StringIO()
            runs = RunStore(one.database, make_log("error", said))
            audit = Audit(read_settings(), one.database, make_log("error", said))
            record = RECORD_OF_RUN
            entry = Entry("default", "call", "", "the name of a tool")
            added: Awaitable[Any] = runs.add(record, "its code")
            writes = added, audit.add(entry)
            for write, way.lost in zip(
                writes, (b"its code", b"of a tool"), strict=True
            ):
                await write
                assert not way.lost
            assert said.getvalue().count("can't be written") == 2
            assert await runs.get(Kind.SCRIPT, "default", "r") == record
            assert (await audit.page("default", Filter(), 1, 0))[1] == 1
            if shared:
                async with one.database.connect() as connection:
                    owner = await tables.owner(connection, RUN, ("default", "r"))
                assert owner is not None

    asyncio.run(scenario())


async def _end_unheard(way: Lossy, one: Member) -> tuple[RunStore, str]:
    """Have the answer be lost to a commit with a run's last output and its end.

    Returns:
        Where it is, and what the log has.
    """
    said = StringIO()
    runs = RunStore(one.database, make_log("error", said))
    await runs.add(RECORD_OF_RUN, "")
    way.lost = CHUNK["data"]
    last = runs.put(CHUNK)
    assert runs.end(ENDED) is last
    await last
    assert not way.lost
    return runs, said.getvalue()


@pytest.mark.parametrize("shared", [False, True])
def test_an_end_that_is_committed_unheard_is_acknowledged(
    postgresql: PostgreSQL, tmp_path: Path, *, shared: bool
) -> None:
    async def scenario() -> None:
        async with lossy_member(postgresql, tmp_path, shared=shared) as (way, one):
            runs, said = await _end_unheard(way, one)
            assert said.count("can't be written") == 1
            assert await runs.get(Kind.SCRIPT, "default", "r") == ENDED
            (found,) = await runs.chunks("default", "r", 0, 9)
            assert found.data == CHUNK["data"]

    asyncio.run(scenario())


def test_output_that_comes_after_the_end_changes_nothing(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """Nor has it what comes along with it be refused, as of somebody else's run."""

    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            log = make_log("error", StringIO())
            ours, theirs = RunStore(one.database, log), RunStore(other.database, log)
            await ours.add(RECORD_OF_RUN, "")
            with pytest.raises(FencedError):
                await theirs.put(CHUNK)
            ours.put(CHUNK)
            await ours.end(ENDED)
            for store, name in ((ours, "s"), (theirs, "t")):
                for start in (0, 20):
                    store.put({**CHUNK, "data": b"late", "start_byte": start})
                await store.add(RECORD_OF_RUN._replace(id=name), "")
            (found,) = await ours.chunks("default", "r", 0, 99)
            assert found.data == CHUNK["data"]
            # Nor does it come back once the run is forgotten.
            await theirs.forget(Kind.SCRIPT, 0.0, 0, 0)
            await ours.put(CHUNK)
            assert not await ours.chunks("default", "r", 0, 99)

    asyncio.run(scenario())


def test_a_run_that_ends_as_it_begins_is_nobody_s(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """Also if the answer is lost to the one commit with both, which comes again."""

    async def scenario() -> None:
        async with lossy_member(postgresql, tmp_path) as (way, one):
            runs = RunStore(one.database, make_log("error", StringIO()))
            way.lost = b"its code"
            both = runs.add(RECORD_OF_RUN, "its code")
            assert runs.end(ENDED) is both
            await both
            assert not way.lost
            assert await runs.get(Kind.SCRIPT, "default", "r") == ENDED
            async with one.database.connect() as connection:
                assert not await tables.owned(connection)

    asyncio.run(scenario())


def test_webhooks_that_are_taken_over_unheard_are_known(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        way = Lossy(postgresql.database(), tmp_path)
        async with way.passing(), members(way.url, tmp_path) as (one, other):
            ours, theirs = _webhooks(one.database), _webhooks(other.database)
            await ours.order("default", HOOK, "cell", "a")
            async with other.database.begin() as connection:
                await tables.deregister(connection, "one")
            way.lost = b"UPDATE cluster_owners AS mine"
            with pytest.raises(DatabaseError):
                await theirs.adopt()
            assert not way.lost
            assert {row.subject for row in await theirs.adopt()} == {"a"}
            assert not await theirs.adopt()
            for each in (ours, theirs):
                await each.close()

    asyncio.run(scenario())


def test_a_webhook_that_is_ordered_unheard_is_none(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """Who has ordered it was told that this can't be."""

    async def scenario() -> None:
        way = Lossy(postgresql.database(), tmp_path)
        async with way.passing(), members(way.url, tmp_path) as (one, _):
            ours = _webhooks(one.database)
            for name in ("a", "b", "c"):  # of which two may be pending
                ours.check("default", HOOK)
                way.lost = b"INSERT INTO webhooks"
                with pytest.raises(DatabaseError):
                    await ours.order("default", HOOK, "cell", name)
                assert not way.lost
                await ours.settle()
                assert not await WebhookStore(one.database).waiting()
            await ours.close()

    asyncio.run(scenario())


def test_a_heap_that_two_servers_save_at_once_is_both_s(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with members(postgresql.database(), tmp_path) as (one, other):
            origin = HeapOrigin("default", tags={"a": "b"})
            row = {**HEAP, "workspace": "default", "created_at": 0, "last_used": 0}
            async with other.database.begin() as connection:
                await connection.execute(insert(HEAPS), row)
                heaps = HeapTables(one.database)
                adding = asyncio.ensure_future(
                    heaps.add(origin, {**HEAP, "automatic": True}, 1, {"d": 1})
                )
                await _wait_for_locks(connection, 1)
            await adding
            found = await heaps.find("default", "k")
            assert found is not None
            assert found.last_used > found.created_at == 0
            assert found.tags == {"a": "b"}

    asyncio.run(scenario())
