"""The store: writes in groups, in order; tells when it can't; takes old rows over."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import event, text

from isoserver.errors import DatabaseError
from isoserver.runs.records import (
    Diagnostic,
    Ending,
    Extent,
    Kind,
    RunFailure,
    RunRecord,
    Status,
    Wanted,
)
from isoserver.runs.store import Store
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOST = Ending(Status.FAILED, RunFailure("ServerStoppedError", "lost"))


def _database(flags: tuple[str, ...], folder: Path) -> Database:
    return Database(url_of(flags[1] if flags else None, folder))


def _record(name: str, workspace: str = "here") -> RunRecord:
    return RunRecord(name, Kind.SCRIPT, workspace, None, 1.0, {}, Status.QUEUED, 1.0)


def _ended(name: str, ending: Ending, workspace: str = "here") -> RunRecord:
    return _record(name, workspace)._replace(
        status=ending.status, ended_at=2.0, ending=ending, output=Extent(3, 1)
    )


def test_what_comes_together_is_committed_together(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await database.start()
        commits: list[object] = []
        event.listen(database.engine.sync_engine, "commit", commits.append)
        store = Store(database, structlog.get_logger())
        names = [f"one-{n}" for n in range(500)]
        await asyncio.gather(*(store.add(_record(name), "1") for name in names))
        for name in names:
            store.end(_ended(name, Ending(Status.COMPLETED)))
        await store.close()
        assert len(commits) <= 4
        newest = await store.newest(
            Kind.SCRIPT, "here", Wanted(1000, statuses=frozenset({Status.COMPLETED}))
        )
        assert len(newest) == 500
        await database.close()

    asyncio.run(run())


def test_runs_are_found_by_their_metadata(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    every: list[dict[str, Any]] = [
        {"a:b": 'ü: "1"', "n": 1.5, "yes": True, "no": None, "list": ["x"]},
        {"a:b": "other", "n": 2},
        {"nul": "\0", "n": 2},
        {},
    ]

    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await database.start()
        store = Store(database, structlog.get_logger())
        for number, metadata in enumerate(every):
            record = _record(str(number))._replace(details={"metadata": metadata})
            await store.add(record, "1")

        async def found(*pairs: tuple[str, str], offset: int = 0) -> list[str]:
            wanted = Wanted(10, offset, metadata=pairs)
            records = await store.newest(Kind.SCRIPT, "here", wanted)
            assert all(wanted.has(one.details["metadata"]) for one in records)
            return [record.id for record in records]

        assert await found() == ["0", "1", "2", "3"]
        assert await found(offset=3) == ["3"]
        assert await found(("a:b", 'ü: "1"')) == ["0"]
        assert await found(("n", "1.5"), ("yes", "true"), ("no", "null")) == ["0"]
        assert "1" in await found(("n", "2"))
        assert await found(("n", "2"), ("a:b", "other")) == ["1"]
        for pair in (("list", '["x"]'), ("x", "1"), ("a", "b"), ("n", "'")):
            assert await found(pair) == []
        await store.close()
        await database.close()

    asyncio.run(run())


def test_an_end_is_never_written_over(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await database.start()
        store = Store(database, structlog.get_logger())
        store.add(_record("one"), "1")
        store.end(_ended("one", LOST, "elsewhere"))
        cancelled = Ending(Status.CANCELLED, RunFailure("CancelledError", "e"))
        await store.end(_ended("one", cancelled))
        await store.end(_ended("one", Ending(Status.COMPLETED, result="1")))
        await store.close()
        found = await store.get(Kind.SCRIPT, "here", "one")
        assert found is not None
        assert (found.status, found.ending) == (Status.CANCELLED, cancelled)
        assert found.output == Extent(3, 1, open=False)
        assert await store.get(Kind.SCRIPT, "elsewhere", "one") is None
        assert await store.get(Kind.TASK, "here", "one") is None
        await database.close()

    asyncio.run(run())


def test_what_can_not_be_written_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        database = _database((), tmp_path)  # without any table
        store = Store(database, structlog.get_logger())
        with pytest.raises(DatabaseError):
            await store.add(_record("one"), "1")
        # It goes on when that is mended.
        await database.start()
        await store.add(_record("two"), "1")
        await store.close()
        assert await store.get(Kind.SCRIPT, "here", "two") is not None
        await database.close()

    asyncio.run(run())


def test_text_that_is_not_unicode_is_kept_as_far_as_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        database = _database((), tmp_path)
        await database.start()
        store = Store(database, structlog.get_logger())
        await store.add(_record("one"), "'\ud800\0'")
        ending = Ending(Status.FAILED, RunFailure("Error", "a\ud800\0b"))
        await store.end(_ended("one", ending))
        found = await store.get(Kind.SCRIPT, "here", "one")
        assert found is not None
        assert found.ending is not None
        assert found.ending.error == RunFailure("Error", "a\ufffd\0b")
        await store.close()
        await database.close()

    asyncio.run(run())


# -- rows of the older schema ----------------------------------------------------------

OLD_TABLES = (
    "CREATE TABLE executions (id VARCHAR(36) PRIMARY KEY, workspace VARCHAR(255), "
    "submitted_at {float}, started_at {float}, completed_at {float}, "
    "status VARCHAR(16), code {bytes}, language VARCHAR(64), session VARCHAR(255), "
    "input_heap VARCHAR(64), seconds {float}, heap_memory_max BIGINT, tags TEXT, "
    "result {bytes}, error {bytes}, heap VARCHAR(64), heap_error {bytes}, "
    "output_bytes BIGINT, output_newlines BIGINT, output_open BOOLEAN, size BIGINT)",
    "CREATE TABLE execution_output (workspace VARCHAR(255), "
    "execution_id VARCHAR(36), start_byte BIGINT, start_line BIGINT, data {bytes}, "
    "PRIMARY KEY (execution_id, start_byte))",
    "CREATE TABLE tasks (id VARCHAR(64) PRIMARY KEY, workspace VARCHAR(255), "
    "session VARCHAR(255), status VARCHAR(24), created_at {float}, "
    'started_at {float}, ended_at {float}, "order" {bytes}, ending {bytes}, '
    "size BIGINT)",
)
TASK_ORDER = ["here", "return 1", "me", "s", 2.5, "isokernel-v8", {"m": 1}, None, False]
TASK_ENDING = [
    *("failed", ["TypeCheckError", "1 type error", "1:7"], None, False),
    *({"stdout": ["x"], "stderr": []}, [], [[1, 7, 2322, "no number"]]),
]


async def _make_old(database: Database) -> None:
    """Make what an older server would have left."""
    postgresql = database.engine.dialect.name == "postgresql"
    types = {"float": "FLOAT", "bytes": "BYTEA" if postgresql else "BLOB"}
    execution: dict[str, Any] = {
        "id": "done",
        "workspace": "here",
        "submitted_at": 1.0,
        "started_at": 2.0,
        "completed_at": 3.0,
        "status": "completed",
        "code": b"1",
        "session": "s",
        "language": "typescript",
        "input_heap": "a" * 64,
        "seconds": 30.0,
        "heap_memory_max": None,
        "tags": '{"a": "b"}',
        "result": b'"r"',
        "error": None,
        "heap": "b" * 64,
        "heap_error": None,
        "output_bytes": 2,
        "output_newlines": 1,
        "output_open": False,
        "size": 3,
    }
    ending = {"result": None, "heap": None, "completed_at": None, "output_bytes": 0}
    lost = {**execution, **ending, "id": "lost", "status": "running"}
    failed = {**execution, **ending, "id": "failed", "status": "failed"}
    failed |= {"error": b"Error: x", "completed_at": 9.0}
    chunk = {"workspace": "here", "execution_id": "done", "start_byte": 0}
    chunk |= {"start_line": 0, "data": b"x\n"}
    task: dict[str, Any] = {
        "id": "task_1",
        "workspace": "here",
        "session": "s",
        "status": "failed",
        "created_at": 1.0,
        "started_at": None,
        "ended_at": 3.0,
        "size": 9,
        "order": json.dumps(TASK_ORDER).encode(),
        "ending": json.dumps(TASK_ENDING).encode(),
    }
    queued = {**task, "id": "task_2", "status": "queued", "ended_at": None}
    queued["ending"] = None
    async with database.begin() as connection:
        for statement in OLD_TABLES:
            await connection.execute(text(statement.format(**types)))
        for table, rows in (
            ("executions", [execution, lost, failed]),
            ("execution_output", [chunk]),
            ("tasks", [task, queued]),
        ):
            names = ", ".join(f'"{name}"' for name in rows[0])
            values = ", ".join(f":{name}" for name in rows[0])
            query = text(f"INSERT INTO {table} ({names}) VALUES ({values})")  # noqa: S608
            await connection.execute(query, rows)


def test_rows_of_the_older_schema_are_taken_over(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await _make_old(database)
        await database.start()
        store = Store(database, structlog.get_logger())
        assert await store.mend(lambda _: LOST) == 2
        assert await store.mend(lambda _: LOST) == 0
        done = await store.get(Kind.SCRIPT, "here", "done")
        heap, tags = "a" * 64, {"a": "b"}
        assert done == RunRecord(
            "done",
            Kind.SCRIPT,
            "here",
            "s",
            30.0,
            {"heap": heap, "heap_memory_max_bytes": None, "tags": tags},
            Status.COMPLETED,
            *(1.0, 2.0, 3.0),
            Ending(Status.COMPLETED, result='"r"', heap="b" * 64),
            Extent(2, 1),
        )
        (chunk,) = await store.chunks("here", "done", 0, 9)
        assert chunk.data == b"x\n"
        task = await store.get(Kind.TASK, "here", "task_1")
        assert task is not None
        assert task.details["metadata"] == {"m": 1}
        assert task.ending == Ending(
            Status.FAILED,
            RunFailure("TypeCheckError", "1 type error", "1:7"),
            logs={"stdout": ["x"], "stderr": []},
            diagnostics=[Diagnostic(1, 7, 2322, "no number")],
        )
        for kind, name, message in (
            (Kind.SCRIPT, "failed", "Error: x"),
            (Kind.SCRIPT, "lost", "lost"),
            (Kind.TASK, "task_2", "lost"),
        ):
            found = await store.get(kind, "here", name)
            assert found is not None
            assert found.ending is not None
            assert found.ending.error is not None
            assert found.ending.error.message == message
        await store.close()
        await database.close()

    asyncio.run(run())
