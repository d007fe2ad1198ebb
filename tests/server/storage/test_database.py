"""The end of a database: nothing of it is left."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from isoserver.errors import DatabaseError
from isoserver.storage.database import Database, url_of
from isoserver.storage.silence import UNHEARD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL

QUERY = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000)"
    " SELECT count(*) FROM n"
)


def test_queries_that_are_cancelled_leave_no_threads(tmp_path: Path) -> None:
    async def scenario(turns: int) -> None:
        database = Database(url_of(None, tmp_path))
        await database.start()

        async def ask() -> None:
            async with database.begin() as connection:
                await connection.execute(QUERY)

        tasks = [asyncio.ensure_future(ask()) for _ in range(3)]
        for _ in range(turns):  # ever later: connecting, asking, closing
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await database.close()
        assert not [one for one in threading.enumerate() if "worker_thread" in one.name]

    for turns in range(40):
        asyncio.run(scenario(turns))


def test_a_query_amid_which_the_database_is_closed_fails(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        database = Database(url_of(postgresql.database(), tmp_path))

        async def ask() -> None:
            async with database.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))

        asking = asyncio.ensure_future(ask())
        sleeping = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)%'"
        )
        asked = f"{sleeping} AND pid <> pg_backend_pid()"
        while postgresql.query(asked) != "1\n":  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        await database.close()
        with pytest.raises(DatabaseError):
            await asking
        with pytest.raises(DatabaseError, match="ConnectionAborted"):
            await ask()

    asyncio.run(scenario())


def test_postgresql_ends_sessions_that_it_hears_nothing_of(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        database = Database(url_of(postgresql.database(), tmp_path))
        async with database.connect() as connection:
            # What the others set can't be seen of a session over a local socket.
            name = "idle_in_transaction_session_timeout"
            found = await connection.scalar(
                text("SELECT setting FROM pg_settings WHERE name = :name"),
                {"name": name},
            )
            assert found == UNHEARD[name]
        await database.close()

    asyncio.run(scenario())
