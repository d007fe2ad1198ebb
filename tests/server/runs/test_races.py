"""What happens at the same time: each way it can go is one of the right ones.

The server runs in this process, without HTTP, so that thousands of turns are seconds.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.errors import NotRunningError
from isoserver.runs.orders import ScriptOrder
from isoserver.runs.pages import PageRequest
from isoserver.runs.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from isoserver.runs.service import Runs

HERE = "here"
LANES = 8
"""How many clients there are at a time, each with a session of its own."""
WAIT = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.race]


def order(code: str, session: str | None, seconds: float = 10.0) -> ScriptOrder:
    """An order without a heap, which would take longer than all the rest."""
    return ScriptOrder(HERE, code, seconds, session=session, stateful=False)


@pytest.fixture
def turns(times: int) -> Callable[[Runs, int], range]:
    """So many turns; a part of them where each takes longer."""

    def count(runs: Runs, number: int) -> range:
        engine = runs._store._database.engine
        return range(
            times * (number if engine.dialect.name == "sqlite" else number // 4)
        )

    return count


@pytest.fixture
def race(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None]:
    """Runs something in all lanes at a time, on a server of its own."""
    flags = database_flags()

    async def run(turn: Any) -> None:
        settings = load(
            [
                *("--port", "0", "--data-dir", str(tmp_path), "--no-access-log"),
                *("--languages", "typescript", "--default-language", "typescript"),
                *flags,
            ]
        )
        server = Server(settings, io.StringIO())
        await server.start()
        try:
            chances = [random.Random(seed) for seed in range(LANES)]  # noqa: S311
            lanes = [
                turn(server.runs, f"lane-{seed}", chance)
                for seed, chance in enumerate(chances)
            ]
            await asyncio.gather(*lanes)
        finally:
            await server.stop()

    return lambda turn: asyncio.run(run(turn))


async def _cancelled(runs: Runs, execution_id: str) -> bool:
    try:
        await runs.cancel(Kind.SCRIPT, HERE, execution_id)
    except NotRunningError:
        return False
    return True


async def _seen(runs: Runs, execution_id: str) -> list[Status]:
    """Every status that is seen until a while after the end."""
    seen: list[Status] = []
    while not seen or not seen[-1].final:
        seen.append((await runs.get(Kind.SCRIPT, HERE, execution_id)).status)
        await asyncio.sleep(0)
    later = [await runs.get(Kind.SCRIPT, HERE, execution_id) for _ in range(3)]
    seen += [record.status for record in later]
    return [status for status in seen if status.final]


def test_cancelling_against_completing(
    race: Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Runs, int], range],
) -> None:
    found: Counter[Status] = Counter()

    async def lane(runs: Runs, name: str, chance: random.Random) -> None:
        session = chance.choice([name, None])
        for number in turns(runs, 60):
            one = (await runs.submit(order(str(number), session))).id
            watching = asyncio.ensure_future(_seen(runs, one))
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]) * chance.random())
            cancelled = await _cancelled(runs, one)
            record = await runs.wait(Kind.SCRIPT, HERE, one, WAIT)
            found[record.status] += 1
            wanted = Status.CANCELLED if cancelled else Status.COMPLETED
            assert record.status is wanted
            assert record.ending is not None
            assert record.ending.result == (None if cancelled else str(number))
            assert set(await watching) == {wanted}

    race(lane)
    assert set(found) == {Status.CANCELLED, Status.COMPLETED}


def test_cancelling_against_the_time_limit(
    race: Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Runs, int], range],
) -> None:
    found: Counter[Status] = Counter()

    async def lane(runs: Runs, name: str, chance: random.Random) -> None:
        for _ in turns(runs, 15):
            wanted = order("await new Promise(() => {})", name, seconds=0.02)
            one = (await runs.submit(wanted)).id
            await asyncio.sleep(0.06 * chance.random())
            cancelled = await _cancelled(runs, one)
            record = await runs.wait(Kind.SCRIPT, HERE, one, WAIT)
            found[record.status] += 1
            assert record.status is (
                Status.CANCELLED if cancelled else Status.TIMED_OUT
            )
            assert (await runs.get(Kind.SCRIPT, HERE, one)).status is record.status

    race(lane)
    assert set(found) == {Status.CANCELLED, Status.TIMED_OUT}


async def _by_byte(runs: Runs, one: str, chance: random.Random) -> str:
    text, place = "", 0
    while True:
        asked = PageRequest(byte_offset=place, byte_limit=chance.randint(1, 999))
        page = await runs.page(HERE, one, asked)
        assert page.start_byte == place
        assert place <= page.next_byte_offset <= page.total_bytes
        text, place = text + page.data, page.next_byte_offset
        if not page.has_more and page.status is not Status.RUNNING:
            return text
        await asyncio.sleep(0)  # a page that is there is read without a pause


async def _by_line(runs: Runs, one: str, chance: random.Random) -> str:
    found: list[str] = []
    while True:
        asked = PageRequest(len(found) + 1, chance.randint(1, 9))
        page = await runs.page(HERE, one, asked)
        if page.end_line:
            found += page.data.split("\n")
        assert page.next_line_offset == len(found) + 1
        if not page.has_more and page.status is not Status.RUNNING:
            return "".join(f"{line}\n" for line in found)
        await asyncio.sleep(0)  # a page that is there is read without a pause


async def _follow(runs: Runs, one: str, _chance: random.Random) -> str:
    return "".join([text async for text in runs.follow(HERE, one)])


def test_reading_while_it_is_written(
    race: Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Runs, int], range],
) -> None:
    code = """
    for (let i = 0; i < 40; i++) {
      console.log("é".repeat(i * 7) + i);
      if (i % 8 === 0) await new Promise(done => setTimeout(done, 1));
    }
    """
    lines = [f"{'é' * (i * 7)}{i}" for i in range(40)]

    async def lane(runs: Runs, name: str, chance: random.Random) -> None:
        for _ in turns(runs, 4):
            one = (await runs.submit(order(code, name))).id
            readers = [
                read(runs, one, chance)
                for read in (_by_byte, _by_line, _follow, _follow)
            ]
            wanted = "".join(f"{line}\n" for line in lines)
            assert await asyncio.gather(*readers) == [wanted] * 4

    race(lane)


def test_two_runs_of_one_session(
    race: Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Runs, int], range],
) -> None:
    async def lane(runs: Runs, name: str, chance: random.Random) -> None:
        first = (await runs.submit(order("let n = 0", name))).id
        await runs.wait(Kind.SCRIPT, HERE, first, WAIT)

        async def add(one: str) -> str | None:
            await asyncio.sleep(0.002 * chance.random())
            record = await runs.wait(Kind.SCRIPT, HERE, one, WAIT)
            assert record.ending is not None
            return record.ending.result

        for turn in turns(runs, 40):
            code = "const before = n; await null; n = before + 1"
            both = [(await runs.submit(order(code, name))).id for _ in range(2)]
            results = await asyncio.gather(*map(add, both))
            assert results == [str(turn * 2 + 1), str(turn * 2 + 2)]

    race(lane)


def test_waiting_ends_with_the_run_or_with_the_time(
    race: Callable[[Callable[[Runs, str, random.Random], Awaitable[None]]], None],
) -> None:
    async def lane(runs: Runs, name: str, _chance: random.Random) -> None:
        one = (await runs.submit(order("await new Promise(() => {})", name))).id
        record = await runs.wait(Kind.SCRIPT, HERE, one, 0.01)
        assert not record.status.final
        waiting = asyncio.ensure_future(runs.wait(Kind.SCRIPT, HERE, one, WAIT))
        await runs.cancel(Kind.SCRIPT, HERE, one)
        assert (await waiting).status is Status.CANCELLED

    race(lane)
