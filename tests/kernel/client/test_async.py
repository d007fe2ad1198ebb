"""Contexts of a real server, driven by calls that are awaited."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from isokernel.client import (
    AsyncClient,
    AsyncContext,
    Client,
    Context,
    ContextStateError,
    Ended,
    NotFoundError,
    Printed,
    Started,
    async_context,
    context,
)
from isokernel.client import async_client as async_module
from isokernel.client import client as sync_module

if TYPE_CHECKING:
    from tests.support.server import Server

pytestmark = pytest.mark.anyio


async def test_contexts(server: Server) -> None:
    async with AsyncContext(base_url=server.url) as c:
        e = await c.run("console.log('a'); const n: number = 6; n * 7")
        assert (e.value, e.stdout, e.context_id) == (42, "a\n", c.id)
        assert (await c.run("nothing")).status == "failed"
        assert (await c.run("for (;;) {}", timeout=0.2)).status == "timed_out"
        heap = await c.save()
        async with await c.fork() as fork:
            assert (await fork.run("n")).value == 6
        for each in await c.forks(2):
            async with each:
                assert (await each.run("n")).value == 6
        async with AsyncContext(heap=heap, client=c) as later:
            assert (await later.run("n")).value == 6
        assert (await c.complete("Math.flo")).matches == ["floor"]
        assert (await c.inspect("Math.floor")).found
        assert (await c.packages()).packages == []
        notebook = await c.notebook()
        assert (await c.run_notebook(notebook))["nbformat"] == 4
        await c.restart(from_checkpoint=True)
        assert (await c.run("n")).value == 6
        assert (await c.info()).state == "idle"
        assert (await c.interrupt()).id == c.id
    with pytest.raises(ContextStateError):
        await c.run("1")


async def test_the_workspace(async_client: AsyncClient) -> None:
    contexts = async_client.contexts
    c = await contexts.create(keep=True)
    assert [one.id for one in await contexts.list()] == [c.id]
    async with contexts.connect(c.id) as again:
        assert (await again.run("1")).value == 1
    assert (await contexts.get(c.id)).execution_count == 1
    await c.close()
    await contexts.delete(c.id)
    with pytest.raises(NotFoundError):
        await contexts.get(c.id)
    assert await async_client.version()
    assert (await async_client.languages()).items


async def test_it_is_made_once(async_client: AsyncClient) -> None:
    c = AsyncContext(client=async_client)
    with pytest.raises(ContextStateError):
        _ = c.id
    executions = await asyncio.gather(*(c.run(f"{n}") for n in range(5)))
    assert [one.value for one in executions] == [0, 1, 2, 3, 4]
    assert len(await async_client.contexts.list()) == 1
    await c.delete()
    assert await async_client.contexts.list() == []


async def test_many_at_once(async_client: AsyncClient) -> None:
    made = await asyncio.gather(*(async_client.contexts.create() for _ in range(8)))
    code = "await new Promise((d) => setTimeout(d, 100)); {}"
    cells = [made[n % 8].run(code.format(n)) for n in range(40)]
    assert [one.value for one in await asyncio.gather(*cells)] == list(range(40))
    await asyncio.gather(*(one.close() for one in made))


@pytest.mark.filterwarnings("ignore")  # of what the first loop leaves
def test_one_client_in_several_loops(server: Server) -> None:
    client = AsyncClient(server.url)

    async def run(*, last: bool) -> None:
        async with AsyncContext(client=client) as c:
            assert (await c.run("6 * 7")).value == 42
        if last:
            await client.close()

    asyncio.run(run(last=False))
    asyncio.run(run(last=True))
    gc.collect()


async def test_streams(async_client: AsyncClient) -> None:
    async with AsyncContext(client=async_client) as c:
        events = [event async for event in c.stream("console.log('a')")]
        assert [type(event) for event in events] == [Started, Printed, Ended]
        told: list[str] = []

        async def later(text: str) -> None:
            await asyncio.sleep(0)
            told.append(text)

        await c.run("console.log('a')", on_stdout=later)
        await c.run("console.error('b')", on_stderr=told.append)
        assert told == ["a\n", "b\n"]


async def test_cancelling_a_task_interrupts_the_cell(
    async_client: AsyncClient,
) -> None:
    async with AsyncContext(client=async_client) as c:
        await c.run("let turns = 0")
        begun = asyncio.Event()
        code = "console.log(1); for (;;) turns++"
        task = asyncio.ensure_future(
            c.run(code, timeout=60, on_stdout=lambda _: begun.set())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # It would wait for a minute if the cell went on.
        assert (await c.run("turns > 0")).value is True


async def test_a_context_is_deleted_where_its_task_is_cancelled(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        with anyio.move_on_after(0.5) as scope:
            async with AsyncContext(client=client) as c:
                await c.run("await new Promise(() => {})", timeout=60)
        assert scope.cancelled_caught
        assert await client.contexts.list() == []


async def test_leaving_a_stream_interrupts_the_cell(async_client: AsyncClient) -> None:
    async with AsyncContext(client=async_client) as c:
        code = "let n = 1; console.log(n); await new Promise(() => {})"
        async with c.stream(code, timeout=60) as events:
            assert isinstance(await anext(events), Started)
            assert isinstance(await anext(events), Printed)
        assert (await c.run("n")).value == 1


def _calls(kind: type) -> dict[str, list[tuple[str, Any, str]]]:
    """What can be called, with its parameters, and how types name the other kind."""
    found = {}
    for name, member in inspect.getmembers(kind):
        name = name.replace("__a", "__")  # noqa: PLW2901 -- __aenter__ and the like
        if inspect.isfunction(member) and (
            not name.startswith("_") or name == "__init__"
        ):
            parameters = inspect.signature(member).parameters.values()
            found[name] = [
                (one.name, one.default, str(one.annotation).replace("Async", ""))
                for one in parameters
            ]
    return found


@pytest.mark.parametrize(
    ("blocks", "awaited"),
    [
        (Client, AsyncClient),
        (Context, AsyncContext),
        (sync_module.Contexts, async_module.AsyncContexts),
        (sync_module.Runs, async_module.AsyncRuns),
        (sync_module.Heaps, async_module.AsyncHeaps),
        (context.ContextFiles, async_context.AsyncContextFiles),
        (context.ExecutionStream, async_context.AsyncExecutionStream),
    ],
)
async def test_both_have_the_same(blocks: type, awaited: type) -> None:
    assert _calls(blocks) == _calls(awaited)
