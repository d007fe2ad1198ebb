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
from isoserver.contexts.languages import TYPESCRIPT
from isoserver.errors import NotRunningError
from isoserver.executions.orders import Order
from isoserver.executions.pages import PageRequest
from isoserver.executions.records import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from isoserver.executions.service import Executions

HERE = "here"
LANES = 8
"""How many clients there are at a time, each with a session of its own."""
WAIT = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.race]


def order(code: str, session: str | None, seconds: float = 10.0) -> Order:
    """An order without a heap, which would take longer than all the rest."""
    return Order(
        workspace=HERE,
        code=code,
        session=session,
        heap=None,
        heap_memory_max=None,
        seconds=seconds,
        tags={},
        stateful=False,
        language=TYPESCRIPT,
        drain=False,
    )


@pytest.fixture
def turns(times: int) -> Callable[[Executions, int], range]:
    """So many turns; a part of them where each takes longer."""

    def count(executions: Executions, number: int) -> range:
        engine = executions._store._database.engine
        return range(
            times * (number if engine.dialect.name == "sqlite" else number // 4)
        )

    return count


@pytest.fixture
def race(
    database_flags: Callable[[], tuple[str, ...]], tmp_path: Path
) -> Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None]:
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
                turn(server.executions, f"lane-{seed}", chance)
                for seed, chance in enumerate(chances)
            ]
            await asyncio.gather(*lanes)
        finally:
            await server.stop()

    return lambda turn: asyncio.run(run(turn))


async def _cancelled(executions: Executions, execution_id: str) -> bool:
    try:
        await executions.cancel(HERE, execution_id)
    except NotRunningError:
        return False
    return True


async def _seen(executions: Executions, execution_id: str) -> list[Status]:
    """Every status that is seen until a while after the end."""
    seen: list[Status] = []
    while Status.RUNNING in seen[-1:] or not seen:
        seen.append((await executions.get(HERE, execution_id)).status)
        await asyncio.sleep(0)
    later = [await executions.get(HERE, execution_id) for _ in range(3)]
    seen += [record.status for record in later]
    return [status for status in seen if status is not Status.RUNNING]


def test_cancelling_against_completing(
    race: Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Executions, int], range],
) -> None:
    found: Counter[Status] = Counter()

    async def lane(executions: Executions, name: str, chance: random.Random) -> None:
        session = chance.choice([name, None])
        for number in turns(executions, 60):
            one = await executions.submit(order(str(number), session))
            watching = asyncio.ensure_future(_seen(executions, one))
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]) * chance.random())
            cancelled = await _cancelled(executions, one)
            record = await executions.wait(HERE, one, WAIT)
            found[record.status] += 1
            wanted = Status.CANCELLED if cancelled else Status.COMPLETED
            assert record.status is wanted
            assert record.result == (None if cancelled else str(number))
            assert set(await watching) == {wanted}

    race(lane)
    assert set(found) == {Status.CANCELLED, Status.COMPLETED}


def test_cancelling_against_the_time_limit(
    race: Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Executions, int], range],
) -> None:
    found: Counter[Status] = Counter()

    async def lane(executions: Executions, name: str, chance: random.Random) -> None:
        for _ in turns(executions, 15):
            wanted = order("await new Promise(() => {})", name, seconds=0.02)
            one = await executions.submit(wanted)
            await asyncio.sleep(0.06 * chance.random())
            cancelled = await _cancelled(executions, one)
            record = await executions.wait(HERE, one, WAIT)
            found[record.status] += 1
            assert record.status is (
                Status.CANCELLED if cancelled else Status.TIMED_OUT
            )
            assert (await executions.get(HERE, one)).status is record.status

    race(lane)
    assert set(found) == {Status.CANCELLED, Status.TIMED_OUT}


async def _by_byte(executions: Executions, one: str, chance: random.Random) -> str:
    text, place = "", 0
    while True:
        asked = PageRequest(byte_offset=place, byte_limit=chance.randint(1, 999))
        page = await executions.page(HERE, one, asked)
        assert page.start_byte == place
        assert place <= page.next_byte_offset <= page.total_bytes
        text, place = text + page.data, page.next_byte_offset
        if not page.has_more and page.status is not Status.RUNNING:
            return text


async def _by_line(executions: Executions, one: str, chance: random.Random) -> str:
    found: list[str] = []
    while True:
        asked = PageRequest(len(found) + 1, chance.randint(1, 9))
        page = await executions.page(HERE, one, asked)
        if page.end_line:
            found += page.data.split("\n")
        assert page.next_line_offset == len(found) + 1
        if not page.has_more and page.status is not Status.RUNNING:
            return "".join(f"{line}\n" for line in found)


async def _follow(executions: Executions, one: str, _chance: random.Random) -> str:
    return "".join([text async for text in executions.follow(HERE, one)])


def test_reading_while_it_is_written(
    race: Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Executions, int], range],
) -> None:
    code = """
    for (let i = 0; i < 40; i++) {
      console.log("é".repeat(i * 7) + i);
      if (i % 8 === 0) await new Promise(done => setTimeout(done, 1));
    }
    """
    lines = [f"{'é' * (i * 7)}{i}" for i in range(40)]

    async def lane(executions: Executions, name: str, chance: random.Random) -> None:
        for _ in turns(executions, 4):
            one = await executions.submit(order(code, name))
            readers = [
                read(executions, one, chance)
                for read in (_by_byte, _by_line, _follow, _follow)
            ]
            wanted = "".join(f"{line}\n" for line in lines)
            assert await asyncio.gather(*readers) == [wanted] * 4

    race(lane)


def test_two_runs_of_one_session(
    race: Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None],
    turns: Callable[[Executions, int], range],
) -> None:
    async def lane(executions: Executions, name: str, chance: random.Random) -> None:
        first = await executions.submit(order("let n = 0", name))
        await executions.wait(HERE, first, WAIT)

        async def add(one: str) -> str | None:
            await asyncio.sleep(0.002 * chance.random())
            return (await executions.wait(HERE, one, WAIT)).result

        for turn in turns(executions, 40):
            code = "const before = n; await null; n = before + 1"
            both = [await executions.submit(order(code, name)) for _ in range(2)]
            results = await asyncio.gather(*map(add, both))
            assert results == [str(turn * 2 + 1), str(turn * 2 + 2)]

    race(lane)


def test_waiting_ends_with_the_run_or_with_the_time(
    race: Callable[[Callable[[Executions, str, random.Random], Awaitable[None]]], None],
) -> None:
    async def lane(executions: Executions, name: str, _chance: random.Random) -> None:
        one = await executions.submit(order("await new Promise(() => {})", name))
        record = await executions.wait(HERE, one, 0.01)
        assert record.status is Status.RUNNING
        waiting = asyncio.ensure_future(executions.wait(HERE, one, WAIT))
        await executions.cancel(HERE, one)
        assert (await waiting).status is Status.CANCELLED

    race(lane)
