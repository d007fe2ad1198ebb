"""Tasks end whose cancellation the database's library makes something else of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text
from tests.support.waiting import DEADLINE

from isokernel.timeouts import timeout
from isoserver.errors import DatabaseError
from isoserver.storage import tasks
from isoserver.storage.database import Database, url_of
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.support.postgresql import PostgreSQL


def test_a_task_ends_that_goes_on_after_failures(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_AGAIN_SECONDS", 0.1)

    async def scenario() -> None:
        database = Database(url_of(postgresql.database(), tmp_path))
        connected = asyncio.Event()
        failures: list[DatabaseError] = []

        async def ask_for_ever() -> None:
            while True:
                await ask()

        async def ask() -> None:
            try:
                async with database.connect() as connection:
                    await connection.execute(text("SELECT 1"))
                    connected.set()
                    await asyncio.Event().wait()
            except DatabaseError as error:
                failures.append(error)

        async def lose() -> None:
            """Have the session end as it is given back."""
            await asyncio.sleep(0)
            database.hang_up()

        asking = asyncio.ensure_future(ask_for_ever())
        async with timeout(DEADLINE):
            await connected.wait()
            with postgresql.paused():
                await asyncio.gather(end_tasks(asking, None), lose())
        assert asking.cancelled()
        assert len(failures) == 1  # in place of the first cancellation
        await end_tasks(asking)
        await database.close()

    asyncio.run(scenario())
