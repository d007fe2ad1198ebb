"""Rates that several servers share: their common database counts, not each of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from isoserver.access.rates import BUCKETS, RateLimits, SharedFailures
from isoserver.errors import DatabaseError, RateLimitError
from isoserver.principal import Principal
from isoserver.settings.reading import read_settings
from isoserver.storage.database import SHARED, Database
from isoserver.storage.urls import url_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgresql import PostgreSQL

    from isoserver.settings.access import AccessSettings

RED, BLUE = Principal("red"), Principal("blue")


async def _servers(
    stack: AsyncExitStack, url: str, folder: Path, settings: AccessSettings, number: int
) -> list[RateLimits]:
    """The limits of some servers on one database."""
    made = []
    for _ in range(number):
        database = Database(url_of(url, folder))
        stack.push_async_callback(database.close)
        async with database.begin() as connection:
            await connection.run_sync(SHARED.create_all)
        made.append(RateLimits(settings, lambda _: None, shared=database))
    return made


async def _passed(servers: list[RateLimits], principal: Principal, tries: int) -> int:
    """How many of requests to any of the servers, all at once, are let pass."""

    async def one(number: int) -> bool:
        try:
            await servers[number % len(servers)].take(principal, "request")
        except RateLimitError:
            return False
        return True

    return sum(await asyncio.gather(*map(one, range(tries))))


def test_postgresql_counts_for_all_servers(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    settings = read_settings(request_rate_per_minute=60)

    async def use() -> None:
        async with AsyncExitStack() as stack:
            place = stack, postgresql.database(), tmp_path
            servers = await _servers(*place, settings, 3)
            passed = await _passed(servers, RED, 400)
            # What a second brings may have come meanwhile, or be held by one of them.
            assert 58 <= passed <= 90
            assert await _passed(servers, BLUE, 10) == 10
            assert await _passed(servers, RED, 30) < 30
            with pytest.raises(RateLimitError) as caught:
                await asyncio.gather(
                    *(servers[0].take(RED, "request") for _ in range(30))
                )
            assert caught.value.retry_after == 1

    asyncio.run(use())


def test_a_server_that_postgresql_knows_takes_many_at_once(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    settings = read_settings(request_rate_per_minute=60_000)

    async def use() -> None:
        async with AsyncExitStack() as stack:
            place = stack, postgresql.database(), tmp_path
            (server,) = await _servers(*place, settings, 1)
            await server.take(RED, "request")
            await stack.aclose()  # so it can't ask
            assert await _passed([server], RED, 999) == 999

    asyncio.run(use())


def test_without_postgresql_nothing_passes(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    settings = read_settings(request_rate_per_minute=60)
    gone = f"postgresql://postgres@/none?host={postgresql.folder}"

    async def use() -> None:
        database = Database(url_of(gone, tmp_path))
        limits = RateLimits(settings, lambda _: None, shared=database)
        with pytest.raises(DatabaseError):
            await limits.take(RED, "request")
        await database.close()

    asyncio.run(use())


def test_postgresql_counts_failures_of_all_servers(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """Who is refused by one server is soon refused by all that he has tried."""
    rate, mine = 6.0, (BUCKETS.c.kind == "failure", BUCKETS.c.workspace == "a")

    async def use() -> None:
        async with AsyncExitStack() as stack:
            url = postgresql.database()
            servers = []
            for _ in range(3):
                database = Database(url_of(url, tmp_path))
                stack.push_async_callback(database.close)
                async with database.begin() as connection:
                    await connection.run_sync(SHARED.create_all)
                server = SharedFailures(database, pause=0.01)
                stack.push_async_callback(server.close)
                servers.append(server)

            async def left() -> float:
                query = select(BUCKETS.c.remaining).where(*mine)
                async with database.connect() as connection:
                    return float(await connection.scalar(query) or rate)

            taken = 0
            while not all(server.wait("a", rate) for server in servers):
                for server in servers:
                    taken += not server.take("a", rate)
                # What a minute brings back in a few seconds.
                while await left() > rate - taken + 2:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            assert 6 <= taken <= 12  # of 18 that each would take by itself
            assert not servers[0].take("b", rate)

    asyncio.run(use())


def test_failures_are_counted_while_the_database_is_away(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    async def use() -> None:
        database = Database(url_of(postgresql.database(), tmp_path))
        server = SharedFailures(database, pause=0.01)  # without a table
        assert [bool(server.take("a", 3)) for _ in range(4)] == [False] * 3 + [True]
        await asyncio.sleep(0)
        assert server.wait("a", 3) > 0
        await server.close()
        assert not server.take("b", 3)
        await server.close()
        await database.close()

    asyncio.run(use())
