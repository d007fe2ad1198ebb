"""The audit: shared commits, and ends that nobody waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from isoserver.errors import DatabaseError
from isoserver.tools.audit import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.services import Services
    from tests.support.tools import World


def service(services: Services) -> list[dict[str, Any]]:
    return [services.openapi()]


def counted(world: World) -> list[None]:
    """Counts commits that have written to the audit, one item each."""
    commits: list[None] = []
    engine = world.tools.audit._database.engine.sync_engine
    event.listen(engine, "commit", lambda _: commits.append(None))
    return commits


def test_calls_side_by_side_share_commits(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.odd", {"kind": "text"})
        commits = counted(world)
        calls = [
            world.call("github.odd", {"kind": "text"}, task_id=f"task {number}")
            for number in range(64)
        ]
        await asyncio.gather(*calls)
        entries = await world.audit()
        assert [entry["outcome"] for entry in entries] == ["completed"] * 65
        assert 1 <= len(commits) < 64

    run(scenario, sources=service)


def test_an_end_goes_along_with_the_next_beginning(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.odd", {"kind": "text"})
        await world.tools.audit.settle()
        commits = counted(world)
        for _ in range(20):
            await world.call("github.odd", {"kind": "text"})
        await world.tools.audit.settle()
        # One for each, and some in which a call took longer than ends wait.
        assert 20 <= len(commits) < 40

    run(scenario, sources=service)


def test_an_end_is_written_with_nothing_after_it(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.odd", {"kind": "text"})
        async with world.tools.audit._database.connect() as connection:
            query = text("SELECT count(*) FROM tool_audit WHERE outcome = 'completed'")
            while not await connection.scalar(query):
                await connection.rollback()
                await asyncio.sleep(0)

    run(scenario, sources=service)


def test_a_call_is_not_made_when_it_can_not_be_noted(
    run: Callable[..., None],
) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.odd", {"kind": "text"})
        await world.tools.audit.settle()
        database = world.tools.audit._database
        async with database.begin() as connection:
            await connection.execute(text("ALTER TABLE tool_audit RENAME TO away"))
        calls = [
            world.call("github.odd", {"kind": "hang"}, task_id=f"task {number}")
            for number in range(3)
        ]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, DatabaseError) for error in failed), failed
        assert world.services.hanging == []
        async with database.begin() as connection:
            await connection.execute(text("ALTER TABLE away RENAME TO tool_audit"))
        # And it goes on.
        await world.call("github.odd", {"kind": "text"})
        assert len(await world.audit()) == 2

    run(scenario, sources=service)


def test_who_stops_waiting_takes_nothing_back(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        adding = asyncio.ensure_future(
            world.tools.audit.add(Entry("default", "source.added", "me", "x"))
        )
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        (entry,) = await world.audit()
        assert entry["kind"] == "source.added"

    run(scenario)
