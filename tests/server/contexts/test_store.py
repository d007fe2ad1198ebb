"""Rows of contexts: what is written, and when nothing is any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from isoserver.contexts.records import LIVE, ContextRecord
from isoserver.contexts.store import ContextStore
from isoserver.errors import StoppingError
from isoserver.storage.database import Database

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("one", "id")


def record(state: str) -> ContextRecord:
    """A context's row."""
    return ContextRecord(
        *KEY,
        language="javascript",
        cwd="/",
        state=state,
        reason="",
        created_at=0.0,
        last_used=0.0,
        execution_count=1,
        heap_memory_max=None,
        heap=None,
        heap_count=0,
        heap_at=None,
    )


def test_a_server_that_is_lost_writes_nothing(tmp_path: Path) -> None:
    """Its contexts have no process any more, and nobody may learn that from it."""

    async def test() -> None:
        database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.sqlite")
        await database.start()
        try:
            store = ContextStore(database, 10, 1000)
            await store.write(record(LIVE))

            def lost_meanwhile() -> ContextRecord:
                store.abandon()
                return record("dead")

            store.write_soon(KEY, lost_meanwhile)
            with pytest.raises(StoppingError):
                await store.flush()
            store.write_soon(KEY, lambda: record("dead"))
            assert not store._pending
            await store.flush()
            with pytest.raises(StoppingError):
                await store.write(record("dead"))
            await store.close()
            assert [row.state for row in await store.load()] == [LIVE]
        finally:
            await database.close()

    asyncio.run(test())
