"""The feed of changes: told after the commit, here and in other processes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from isoserver.errors import DatabaseError
from isoserver.settings.logs import make_log
from isoserver.storage.changes import Change, Changes
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import TextClause
    from tests.support.postgresql import PostgreSQL

SECONDS = 30.0
READ = text("SELECT number FROM numbers")
WRITE = text("UPDATE numbers SET number = number + 1")


class Feed:
    """A feed with a database of its own, and what it has told."""

    def __init__(self, url: str, log: Path) -> None:
        self._log = log.open("a")
        self.database = Database(url)
        self.changes = Changes(self.database, make_log("debug", self._log))
        self.told: asyncio.Queue[Change | None] = asyncio.Queue()
        self.changes.subscribe("numbers", self.told.put_nowait)

    async def next(self) -> Change | None:
        """The next change that is told."""
        return await asyncio.wait_for(self.told.get(), SECONDS)

    async def write(self, row: str = "a", failing: TextClause | None = None) -> None:
        """Change a row."""
        async with self.changes.begin("numbers", "w", row) as connection:
            await connection.execute(WRITE)
            if failing is not None:
                await connection.execute(failing)

    async def close(self) -> None:
        """Close both."""
        await self.changes.close()
        await self.database.close()
        self._log.close()


@asynccontextmanager
async def feeds(url: str, folder: Path, number: int) -> AsyncIterator[list[Feed]]:
    """Feeds that have begun, on one database with a table of numbers."""
    made = [Feed(url_of(url, folder), folder / "log") for _ in range(number)]
    try:
        async with made[0].database.begin() as connection:
            await connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
            await connection.execute(text("INSERT INTO numbers VALUES (1)"))
        for feed in made:
            await feed.changes.start()
        yield made
    finally:
        for feed in made:
            await feed.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/numbers.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.database()


def test_a_commit_is_told_once_and_what_fails_is_not(url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with feeds(url, tmp_path, 1) as (feed,):
            if url.startswith("postgresql"):
                assert await feed.next() is None
            assert feed.changes.connected
            await feed.write()
            # At once: nothing has to come back from the database for it.
            assert feed.told.get_nowait() == Change("numbers", "w", "a")
            with pytest.raises((DBAPIError, DatabaseError)):
                await feed.write("b", text("UPDATE numbers SET number = 1 / nothing"))
            async with feed.changes.begin("others", "w", "c"):
                pass
            await feed.write("d")
            assert await feed.next() == Change("numbers", "w", "d")
            assert feed.told.empty()
            async with feed.database.connect() as connection:
                assert await connection.scalar(READ) == 3

    asyncio.run(scenario())


def test_subscribers_read_what_was_written(url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with feeds(url, tmp_path, 1) as (feed,):
            reads: list[asyncio.Task[int]] = []

            async def read() -> int:
                async with feed.database.connect() as connection:
                    return int(await connection.scalar(READ) or 0)

            feed.changes.subscribe(
                "numbers",
                lambda told: (
                    reads.append(asyncio.ensure_future(read())) if told else None
                ),
            )
            await feed.write()
            assert await asyncio.gather(*reads) == [2]

    asyncio.run(scenario())


def test_other_processes_hear_of_it(postgresql: PostgreSQL, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with feeds(postgresql.database(), tmp_path, 3) as made:
            for feed in made:
                # What was written before anybody listened is looked up by all.
                assert await feed.next() is None
            for number, writer in enumerate(made):
                await writer.write(f"row {number}")
                for feed in made:
                    assert await feed.next() == Change("numbers", "w", f"row {number}")
            assert all(feed.told.empty() for feed in made)

    asyncio.run(scenario())


def test_what_was_missed_is_looked_up(postgresql: PostgreSQL, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with feeds(postgresql.database(), tmp_path, 2) as (one, other):
            assert [await one.next(), await other.next()] == [None, None]
            postgresql.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%'"
            )
            # The pool's connections aren't those that listen: this is written.
            await other.write("missed")
            assert await other.next() == Change("numbers", "w", "missed")
            while (told := await one.next()) is not None:
                # It was quicker than the end of the connection.
                assert told == Change("numbers", "w", "missed")
            assert await other.next() is None
            assert one.changes.connected
            await other.write("heard")
            assert await one.next() == Change("numbers", "w", "heard")

    asyncio.run(scenario())


def test_nothing_is_trusted_while_nothing_is_heard(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def scenario() -> None:
        feed = Feed(url_of(postgresql.database(), tmp_path), tmp_path / "log")
        seen = [feed.changes.connected]
        await feed.changes.start()
        assert await feed.next() is None
        seen.append(feed.changes.connected)
        await feed.close()
        assert [*seen, feed.changes.connected] == [False, True, False]

    asyncio.run(scenario())


def test_a_database_that_is_away_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"postgresql+asyncpg://nobody@/none?host={tmp_path}"
        feed = Feed(url, tmp_path / "log")
        await feed.changes.start()
        with pytest.raises(DatabaseError):
            await feed.write()
        log = tmp_path / "log"
        while "changes can't be heard" not in log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await feed.close()
        assert feed.told.empty()

    asyncio.run(scenario())
