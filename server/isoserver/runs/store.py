"""Runs in the database: written, looked up, listed, mended after a crash, forgotten."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    ARRAY,
    String,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    update,
)

from isokernel.protocol.messages import well_formed
from isoserver.runs.migration import migrate
from isoserver.runs.records import Ending, Extent, Kind, RunRecord, Status
from isoserver.runs.tables import OUTPUT, RUNS
from isoserver.storage.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from isoserver.runs.records import Wanted
    from isoserver.storage.database import Database
    from isoserver.storage.writer import Commit

__all__ = ["Chunk", "Store"]

_SHOWN: Final = tuple(
    column for column in RUNS.c if column.name not in {"code", "size"}
)
_LISTED: Final = tuple(column for column in _SHOWN if column.name != "ending")
_AT_END: Final = (
    *("status", "started_at", "ended_at", "ending"),
    *("output_bytes", "output_newlines", "output_open"),
)
_END: Final = (
    update(RUNS)
    .where(
        RUNS.c.id == bindparam("run_id"),
        RUNS.c.workspace == bindparam("of_workspace"),
        # The wall behind the one in `Run.decide`: an end is never written over.
        RUNS.c.ended_at.is_(None),
    )
    .values(
        {
            **{name: bindparam(f"new_{name}") for name in _AT_END},
            "size": RUNS.c.size + bindparam("more_size"),
        }
    )
)
# Details are bytes, and PostgreSQL's functions refuse JSON text with NUL in it.
_HAS_SQLITE: Final = """EXISTS (
    SELECT 1 FROM json_each(CAST(runs.details AS TEXT), '$.metadata') AS pair
    WHERE pair.key = :name_{0} AND :value_{0} = CASE pair.type
        WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'null' THEN 'null'
        ELSE CAST(pair.atom AS TEXT) END)"""
_HAS_POSTGRESQL: Final = """CASE
    WHEN position('\\\\u0000'::bytea IN runs.details) > 0 THEN FALSE
    ELSE coalesce(:value_{0} = CASE json_typeof(
            convert_from(runs.details, 'UTF8')::json -> 'metadata' -> :name_{0})
        WHEN 'null' THEN 'null' WHEN 'object' THEN NULL WHEN 'array' THEN NULL
        ELSE convert_from(runs.details, 'UTF8')::json -> 'metadata' ->> :name_{0} END,
        FALSE) END"""
_EXPIRED_AT_ONCE: Final = 200
"""Runs that one transaction deletes at most."""


class Chunk(NamedTuple):
    """A piece of output.

    Attributes:
        start_byte: Bytes before it.
        start_line: Newlines before it.
        data: The bytes.
    """

    start_byte: int
    start_line: int
    data: bytes


class Store:
    """The tables of runs. In the event loop only.

    What is written while runs go on is grouped into commits, in an order in which
    nothing of a run is lost; everything else is one transaction each.
    """

    def __init__(self, database: Database, log: FilteringBoundLogger) -> None:
        """Use a database that is started before anything is asked.

        Args:
            database: The open database; the caller closes it.
            log: Told when it can't be written.
        """
        self._database = database
        self._writer = Writer(database, log, "runs")
        self._insert = database.insert(RUNS).on_conflict_do_nothing()
        put = database.insert(OUTPUT)
        self._put = put.on_conflict_do_update(
            index_elements=["run_id", "start_byte"],
            set_={"data": put.excluded.data},
        )

    async def flush(self) -> None:
        """Wait until all that was asked for so far is written.

        Raises:
            DatabaseError: Some of it could not be.
        """
        await self._writer.flush()

    async def close(self) -> None:
        """Write what is left."""
        await self._writer.close()

    # -- while they go on --------------------------------------------------------------

    def add(self, record: RunRecord, code: str) -> Commit:
        """Write a new run down."""
        details = _as_json(record.details)
        row = {
            "id": record.id,
            "kind": record.kind.value,
            "workspace": record.workspace,
            "session": record.session,
            "status": Status.QUEUED.value,
            "created_at": record.created_at,
            "seconds": record.seconds,
            "size": len(details) + len(code),
            "output_bytes": 0,
            "output_newlines": 0,
            "output_open": False,
            "details": details,
            "code": code,
        }
        return self._writer.insert(self._insert, row)

    def put(self, chunk: dict[str, Any]) -> Commit:
        """Write a chunk of output, or write it anew because it has grown."""
        key = (chunk["run_id"], chunk["start_byte"])
        return self._writer.upsert(self._put, key, chunk)

    def end(self, record: RunRecord) -> Commit:
        """Write how a run ended; nothing happens if it has ended before."""
        return self._writer.update(_END, _end_row(record))

    # -- looking -----------------------------------------------------------------------

    async def get(self, kind: Kind, workspace: str, run_id: str) -> RunRecord | None:
        """Look a run up."""
        query = select(*_SHOWN).where(
            RUNS.c.id == run_id,
            RUNS.c.workspace == workspace,
            RUNS.c.kind == kind.value,
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _record(row)

    async def code(self, kind: Kind, workspace: str, run_id: str) -> str | None:
        """Return a run's source text; None if there is no such run."""
        query = select(RUNS.c.code).where(
            RUNS.c.id == run_id,
            RUNS.c.workspace == workspace,
            RUNS.c.kind == kind.value,
        )
        async with self._database.connect() as connection:
            found: str | None = await connection.scalar(query)
        return found

    async def newest(
        self,
        kind: Kind,
        workspace: str,
        wanted: Wanted,
    ) -> list[RunRecord]:
        """Return a workspace's newest runs, without how they ended.

        Args:
            kind: Of which kind.
            workspace: Whose.
            wanted: Which of them; statuses are final.
        """
        conditions = [RUNS.c.workspace == workspace, RUNS.c.kind == kind.value]
        if wanted.statuses is not None:
            values = [status.value for status in wanted.statuses]
            conditions.append(RUNS.c.status.in_(values))
        has = _HAS_SQLITE if self._database.is_sqlite else _HAS_POSTGRESQL
        for number, (name, value) in enumerate(wanted.metadata):
            clause = text(has.format(number))
            named = {f"name_{number}": name, f"value_{number}": value}
            conditions.append(clause.bindparams(**named))  # type: ignore[arg-type]
        query = (
            select(*_LISTED)
            .where(*conditions)
            .order_by(RUNS.c.created_at.desc(), RUNS.c.id)
            .limit(wanted.limit)
            .offset(wanted.offset)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [_record(row) for row in rows]

    # -- output ------------------------------------------------------------------------

    async def chunks(
        self, workspace: str, run_id: str, low: int, high: int
    ) -> Sequence[Chunk]:
        """Return the chunks that begin from byte `low` to before `high`, in order."""
        query = _chunks(workspace, run_id).where(
            OUTPUT.c.start_byte >= low, OUTPUT.c.start_byte < high
        )
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(OUTPUT.c.start_byte))
            return [Chunk(row[0], row[1], bytes(row[2])) for row in rows]

    async def chunk_of_newline(
        self, workspace: str, run_id: str, number: int
    ) -> Chunk | None:
        """Return the chunk that has a newline; 1 is the first one of the output."""
        query = (
            _chunks(workspace, run_id)
            .where(OUTPUT.c.start_line < number)
            .order_by(OUTPUT.c.start_line.desc(), OUTPUT.c.start_byte.desc())
            .limit(1)
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Chunk(row[0], row[1], bytes(row[2]))

    # -- when the server starts --------------------------------------------------------

    async def mend(self, ending: Callable[[Kind], Ending]) -> int:
        """Migrate an older schema's rows, and end what the last server left unended.

        Args:
            ending: Returns how runs of a kind end then.

        Returns:
            How many runs were ended.
        """
        async with self._database.begin() as connection:
            await migrate(connection)
            return await self.end_lost(connection, ending)

    @staticmethod
    async def end_lost(
        connection: AsyncConnection,
        ending: Callable[[Kind], Ending],
        of: list[str] | None = None,
    ) -> int:
        """End runs that nobody goes on with.

        Args:
            connection: In a transaction.
            ending: Returns how runs of a kind end then.
            of: Their ids, where those of servers that run are there, too.

        Returns:
            How many there were.
        """
        query = select(*_LISTED).where(
            RUNS.c.kind.in_([kind.value for kind in Kind]),
            RUNS.c.ended_at.is_(None),
        )
        if of is not None:
            query = query.where(RUNS.c.id == func.any(literal(of, ARRAY(String))))
        lost = [_record(row) for row in await connection.execute(query)]
        for record in lost:
            ended = record._replace(
                ended_at=time.time(),
                ending=ending(record.kind),
                output=await _saved_extent(connection, record),
            )
            await connection.execute(_END, _end_row(ended))
        return len(lost)

    # -- retention ---------------------------------------------------------------------

    async def forget(self, kind: Kind, age: float, count: int, size: int) -> int:
        """Delete some ended runs that are over a limit, the oldest; return how many.

        Args:
            kind: Of which kind, whoever's they are.
            age: Seconds since its end that a run is kept.
            count: How many are kept in all.
            size: Bytes that all of them may have.
        """
        of_kind = RUNS.c.kind == kind.value
        totals = select(func.count(), func.coalesce(func.sum(RUNS.c.size), 0))
        oldest = (
            select(RUNS.c.id, RUNS.c.ended_at, RUNS.c.size)
            .where(of_kind, RUNS.c.ended_at.is_not(None))
            .order_by(RUNS.c.ended_at)
            .limit(_EXPIRED_AT_ONCE)
        )
        until = time.time() - age
        gone: list[str] = []
        async with self._database.connect() as connection:
            number, taken = (await connection.execute(totals.where(of_kind))).one()
            rows = (await connection.execute(oldest)).all()
        for run_id, ended_at, its_size in rows:
            if ended_at >= until and number <= count and taken <= size:
                break
            gone.append(run_id)
            number -= 1
            taken -= its_size
        if gone:
            async with self._database.begin() as connection:
                await connection.execute(
                    delete(OUTPUT).where(OUTPUT.c.run_id.in_(gone))
                )
                await connection.execute(delete(RUNS).where(RUNS.c.id.in_(gone)))
        return len(gone)


def _chunks(workspace: str, run_id: str) -> Select[Any]:
    return select(OUTPUT.c.start_byte, OUTPUT.c.start_line, OUTPUT.c.data).where(
        OUTPUT.c.workspace == workspace, OUTPUT.c.run_id == run_id
    )


async def _saved_extent(connection: AsyncConnection, record: RunRecord) -> Extent:
    """Return how long the output is by what has been saved of it."""
    query = (
        _chunks(record.workspace, record.id)
        .order_by(OUTPUT.c.start_byte.desc())
        .limit(1)
    )
    last = (await connection.execute(query)).first()
    if last is None:
        return Extent()
    start_byte, start_line, data = last[0], last[1], bytes(last[2])
    newlines = start_line + data.count(b"\n")
    return Extent(start_byte + len(data), newlines, not data.endswith(b"\n"))


def _as_json(value: Any) -> str:
    """Return plain data as JSON; halves of surrogate pairs become U+FFFD."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return well_formed(text)


def _end_row(record: RunRecord) -> dict[str, Any]:
    ending, output = record.ending, record.output
    assert ending is not None  # noqa: S101 - decided by who calls
    text = _as_json(ending)
    values = {
        "status": ending.status.value,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "ending": text,
        "output_bytes": output.bytes,
        "output_newlines": output.newlines,
        "output_open": output.open,
    }
    row = {f"new_{name}": value for name, value in values.items()}
    row |= {"run_id": record.id, "of_workspace": record.workspace}
    return {**row, "more_size": len(text) + output.bytes}


def _record(row: Any) -> RunRecord:
    found = row._mapping  # noqa: SLF001 - public, and named so to leave columns room
    ending = found.get("ending")
    return RunRecord(
        id=row.id,
        kind=Kind(row.kind),
        workspace=row.workspace,
        session=row.session,
        seconds=row.seconds,
        details=msgspec.json.decode(found["details"]),
        status=Status(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        ending=None if ending is None else msgspec.json.decode(ending, type=Ending),
        output=Extent(row.output_bytes, row.output_newlines, row.output_open),
    )
