"""The writer: commits in groups, in order, and tells when it can't."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import event

from isoserver.errors import DatabaseError
from isoserver.executions.records import Extent, Status
from isoserver.executions.store import Store
from isoserver.executions.writer import ENDING, Writer
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROW: dict[str, Any] = {
    "workspace": "here",
    "submitted_at": 1.0,
    "started_at": 1.0,
    "status": "running",
    "code": "1",
    "language": "typescript",
    "session": None,
    "input_heap": None,
    "seconds": 1.0,
    "heap_memory_max": None,
    "tags": "{}",
    "output_bytes": 0,
    "output_newlines": 0,
    "output_open": False,
    "size": 1,
}
END: dict[str, Any] = {
    **dict.fromkeys(ENDING),
    "started_at": 1.0,
    "completed_at": 2.0,
    "output_bytes": 3,
    "output_newlines": 1,
    "output_open": False,
    "size": 4,
}


def _database(flags: tuple[str, ...], folder: Path) -> Database:
    return Database(url_of(flags[1] if flags else None, folder))


def test_what_comes_together_is_committed_together(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await database.start()
        commits: list[object] = []
        event.listen(database.engine.sync_engine, "commit", commits.append)
        writer = Writer(database, structlog.get_logger())
        writer.start()
        added = [writer.add({**ROW, "id": f"one-{n}"}) for n in range(500)]
        await asyncio.gather(*added)
        for n in range(500):
            writer.end("here", f"one-{n}", {**END, "status": "completed"})
        await writer.close()
        assert len(commits) <= 4
        newest = await Store(database).newest("here", 1000, Status.COMPLETED)
        assert len(newest) == 500
        await database.close()

    asyncio.run(run())


def test_an_end_is_never_written_over(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    async def run() -> None:
        database = _database(database_flags(), tmp_path)
        await database.start()
        writer = Writer(database, structlog.get_logger())
        writer.start()
        writer.add({**ROW, "id": "one"})
        writer.end("elsewhere", "one", {**END, "status": "failed"})
        await writer.end("here", "one", {**END, "status": "cancelled", "error": "e"})
        await writer.end("here", "one", {**END, "status": "completed", "result": "1"})
        await writer.close()
        found = await Store(database).get("here", "one")
        assert found is not None
        assert (found.status, found.error) == (Status.CANCELLED, "e")
        assert found.output == Extent(3, 1, open=False)
        assert await Store(database).get("elsewhere", "one") is None
        await database.close()

    asyncio.run(run())


def test_what_can_not_be_written_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        database = _database((), tmp_path)  # without any table
        writer = Writer(database, structlog.get_logger())
        writer.start()
        with pytest.raises(DatabaseError):
            await writer.add({**ROW, "id": "one"})
        # It goes on when that is mended.
        await database.start()
        await writer.add({**ROW, "id": "two"})
        await writer.close()
        assert await Store(database).get("here", "two") is not None
        await database.close()

    asyncio.run(run())
