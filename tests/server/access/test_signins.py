"""What stands in for keys in browsers, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from isoserver.access import signins
from isoserver.access.signins import (
    SIGN_IN_SECONDS,
    SIGN_INS,
    SharedSignIns,
    SignIns,
)
from isoserver.storage.database import SHARED, Database
from isoserver.storage.urls import url_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.support.postgresql import PostgreSQL

    from isoserver.access.signins import SignInsHolder


def test_a_sign_in_ends_when_it_is_unused_for_long() -> None:
    async def use() -> None:
        now = [0.0]
        known = SignIns(lambda: now[0])
        token = await known.add("key", "workspace")
        other = await known.add("key", None)
        assert token != other
        for _ in range(3):
            now[0] += SIGN_IN_SECONDS
            found = await known.find(token)
            assert found is not None
            assert (found.credential, found.workspace) == ("key", "workspace")
        assert await known.find(other) is None
        now[0] += SIGN_IN_SECONDS + 1
        assert await known.find(token) is None

    asyncio.run(use())


async def _ends(known: SignInsHolder) -> None:
    token = await known.add("key", None)
    for unknown in ("", "x", token[:-1], "\udcff"):
        assert await known.find(unknown) is None
        await known.end(unknown)
    assert await known.find(token) is not None
    await known.end(token)
    assert await known.find(token) is None


def test_a_sign_in_ends_when_its_owner_says_so() -> None:
    asyncio.run(_ends(SignIns(lambda: 0.0)))


async def _oldest_goes(known: SignInsHolder) -> None:
    first, second = await known.add("a", None), await known.add("b", None)
    if isinstance(known, SignIns):
        assert await known.find(first) is not None
        first, second = second, first
    third = await known.add("c", None)
    found = [await known.find(each) is not None for each in (first, second, third)]
    assert found == [False, True, True]


def test_the_one_unused_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signins, "_SIGN_INS_MAX", 2)
    asyncio.run(_oldest_goes(SignIns(lambda: 0.0)))


def test_postgresql_keeps_sign_ins_of_all_servers(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signins, "_SIGN_INS_MAX", 2)

    async def use() -> None:
        async with AsyncExitStack() as stack:
            url = url_of(postgresql.database(), tmp_path)
            databases = [Database(url), Database(url)]
            for database in databases:
                stack.push_async_callback(database.close)
                async with database.begin() as connection:
                    await connection.run_sync(SHARED.create_all)
            one, two = map(SharedSignIns, databases)
            token = await one.add("a secret key", "workspace")
            found = await two.find(token)
            assert found is not None
            assert (found.credential, found.workspace) == ("a secret key", "workspace")
            async with databases[0].connect() as connection:
                row = (await connection.execute(select(SIGN_INS))).one()
            assert b"secret" not in row.sealed
            assert token not in repr(row)
            await _ends(one)
            unused = SIGN_INS.c.used_at - SIGN_IN_SECONDS - 1
            async with databases[0].begin() as connection:
                await connection.execute(update(SIGN_INS).values(used_at=unused))
            assert await two.find(token) is None
            await _oldest_goes(two)

    asyncio.run(use())
