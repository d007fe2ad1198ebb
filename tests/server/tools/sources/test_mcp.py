"""Tools of MCP servers, over each transport; servers that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.support.programs import UPSTREAM
from tests.support.tools import UPSTREAM_KEY, refused, remote, serve_upstream, stdio
from tests.support.waiting import DEADLINE, POLL_SECONDS

from isoserver.errors import ToolError
from isoserver.storage import tasks
from isoserver.storage.tasks import end_tasks
from isoserver.tools.sources import mcp_stdio
from isoserver.tools.sources.mcp_stdio import Lines, Pipes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.tools import World

    from isoserver.tools.sources.base import Source

MIB = 1 << 20


async def results(world: World) -> None:
    """What every transport has to do."""
    assert await world.call("up.add", {"a": 1, "b": 2}) == {"result": 3}
    for text, value in (
        ('{"a": [1]}', {"a": [1]}),
        ("42", 42),
        ("plain", "plain"),
        ("{not json", "{not json"),
    ):
        assert await world.call("up.report", {"text": text}) == value
    picture = {"type": "image", "mimeType": "image/png", "data": "iVBORw=="}
    assert await world.call("up.picture") == picture
    told = await refused(world, "up.fail", {"why": "because"})
    assert told["code"] == "tool_failed"
    assert "because" in told["message"]
    told = await refused(world, "up.add", {"a": 1, "b": "2"})
    assert told["code"] == "invalid_arguments"
    assert told["details"]["problems"][0]["field"] == "b"
    told = await refused(world, "up.subtract")
    assert told["code"] == "tool_not_found"


async def approvals(world: World) -> None:
    """What annotations say, with nobody there who decides."""
    catalog = await world.tools.sources.catalog("default")
    by_path = {tool.path: tool.reads for tool in catalog.tools}
    assert by_path["up.add"]
    assert not by_path["up.drop"]
    assert not by_path["up.create_note"]
    for path, given in (
        ("up.drop", {"name": "t"}),
        ("up.createNote", {"title": "t", "token": "hunter2"}),
    ):
        told = await refused(world, path, given)
        assert told["code"] == "approval_expired"


def test_over_stdio(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await results(world)
        await approvals(world)
        # Calls run at the same time, and don't get each other's answers.
        sums = await asyncio.gather(
            *(world.call("up.add", {"a": n, "b": 1}) for n in range(50))
        )
        assert sums == [{"result": n + 1} for n in range(50)]
        # What the process knows that is secret doesn't come back.
        told = await world.call("up.variable", {"name": "KEY"})
        assert told == "it is [redacted]!"
        assert await world.call("up.variable", {"name": "PLAIN"}) == "it is seen!"
        assert await world.call("up.variable", {"name": "ISOKERNEL_OWN"}) == (
            "it is not there!"
        )

    source = stdio(env={"KEY": {"env": "UPSTREAM_KEY"}, "PLAIN": "seen"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM_KEY", UPSTREAM_KEY)
        patch.setenv("ISOKERNEL_OWN", "ours")
        run(scenario, sources=lambda _: [source], approval_timeout_seconds=0.2)


@pytest.mark.parametrize("kind", ["http", "sse"])
def test_over_http(run: Callable[..., None], kind: str) -> None:
    async def scenario(world: World) -> None:
        await results(world)
        await approvals(world)
        if kind == "http":
            told = await refused(world, "up.big", {"size": 50 * MIB})
            assert told["code"] == "response_too_large"
            assert await world.call("up.add", {"a": 1, "b": 1})

    with serve_upstream(kind) as url:
        run(scenario, sources=lambda _: [remote(url)], approval_timeout_seconds=0.2)


def test_a_remote_server_that_goes_away(run: Callable[..., None]) -> None:
    with serve_upstream("http") as url:
        (serving,) = children()

        async def scenario(world: World) -> None:
            assert await world.call("up.add", {"a": 1, "b": 2})
            hanging = asyncio.create_task(world.call("up.hang"))
            while len(await world.audit()) < 2:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(POLL_SECONDS)
            os.kill(serving, signal.SIGKILL)
            with pytest.raises(ToolError) as caught:
                await hanging
            assert caught.value.code == "source_lost"
            told = await refused(world, "up.add", {"a": 1, "b": 2})
            assert told["code"] in {"source_lost", "source_unavailable"}
            told = await refused(world, "up.add", {"a": 1, "b": 2})
            assert told["code"] == "source_unavailable"

        run(scenario, sources=lambda _: [remote(url)])


def test_answers_that_are_too_large(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        slow = asyncio.create_task(world.call("up.hang"))
        told = await refused(world, "up.big", {"size": 50 * MIB})
        assert told["code"] == "response_too_large"
        assert "ask for less" in told["message"]
        # The session goes on, and so do the calls in it.
        (source,) = await world.tools.sources.list("default")
        assert source.version == 1
        assert len(await world.call("up.big", {"size": 1000})) == 1000
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    run(scenario, sources=lambda _: [stdio()])


def test_a_server_that_dies_is_started_again(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        (source,) = await world.tools.sources.list("default")
        together = await asyncio.gather(
            world.call("up.hang"), world.call("up.die"), return_exceptions=True
        )
        for error in together:
            assert isinstance(error, ToolError)
            assert error.code == "source_lost"
        assert await world.call("up.add", {"a": 2, "b": 2}) == {"result": 4}
        assert source.state == "ready"

    run(scenario, sources=lambda _: [stdio()])


def test_a_server_that_hangs_is_replaced(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        (source,) = await world.tools.sources.list("default")
        await source.settled()
        told = await refused(world, "up.hang")
        assert (told["code"], told["retryable"]) == ("tool_timeout", True)
        assert await world.call("up.add", {"a": 2, "b": 2}) == {"result": 4}
        before = children()
        # It answers nothing more, not even that it is there.
        assert (await refused(world, "up.freeze"))["code"] == "tool_timeout"
        await changed(source)
        assert await world.call("up.add", {"a": 3, "b": 3}) == {"result": 6}
        assert not before & children()

    run(scenario, sources=lambda _: [stdio(call_deadline=1.5)])


async def changed(source: Source) -> None:
    """Wait until a source has listed its tools again."""
    version = source.version
    while source.version == version:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(POLL_SECONDS)


def children() -> set[int]:
    """The processes of our MCP server."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess):
            if str(UPSTREAM) in child.cmdline():
                found.add(child.pid)
    return found


def test_new_tools_are_noticed(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        (source,) = await world.tools.sources.list("default")
        await source.settled()
        assert (await refused(world, "up.late"))["code"] == "tool_not_found"
        before = await world.tools.describe("default")
        await asyncio.gather(world.call("up.grow"), changed(source))
        assert await world.call("up.late") == "late"
        after = await world.tools.describe("default")
        assert ("late" in before, "late:" in after) == (False, True)

    run(scenario, sources=lambda _: [stdio(writes="allow")])


def test_servers_that_can_not_be_started(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        reasons = {}
        for source in await world.tools.sources.list("default"):
            await source.settled()
            reasons[source.name] = source.reason
            told = await refused(world, f"{source.name}.add")
            assert told["code"] == "source_unavailable"
            assert UPSTREAM_KEY not in json.dumps(told)
        assert "FileNotFoundError" in reasons["missing"]
        assert "did not start in 1 seconds" in reasons["silent"]
        assert "it wrote: no, [redacted]" in reasons["broken"]
        assert reasons["refused"]

    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    broken = [sys.executable, "-c", "import os; exit(f'no, {os.environ[\"KEY\"]}')"]
    sources = [
        stdio(name="missing", command="/nowhere/at/all"),
        stdio(name="silent", command=silent[0], args=silent[1:]),
        stdio(
            name="broken",
            command=broken[0],
            args=broken[1:],
            env={"KEY": {"env": "UPSTREAM_KEY"}},
        ),
        remote("http://127.0.0.1:1/mcp", name="refused"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM_KEY", UPSTREAM_KEY)
        run(scenario, sources=lambda _: sources, source_start_timeout_seconds=1.0)


def test_a_server_that_others_wrote(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        given = {"timezone": "Asia/Tokyo"}
        now = await world.call("time.getCurrentTime", given)
        assert now["timezone"] == "Asia/Tokyo"
        given = {
            "source_timezone": "Europe/Berlin",
            "target_timezone": "Asia/Tokyo",
            "time": "12:00",
        }
        made = await world.call("time.convert_time", given)
        assert made["target"]["timezone"] == "Asia/Tokyo"
        found = await world.call("discover", "current time")
        assert found["bestPath"] == "time.get_current_time"

    source = stdio(name="time", args=["-m", "mcp_server_time"], writes="allow")
    run(scenario, sources=lambda _: [source])


def test_being_cancelled_while_a_process_ends() -> None:
    """It is waited for all the same, and every stream closes."""
    before = set(psutil.Process().children())

    async def scenario() -> None:
        code = (
            "import sys, time; sys.stdin.read();"
            "print('input closed', file=sys.stderr, flush=True); time.sleep(60)"
        )
        pipes = Pipes([sys.executable, "-c", code], {}, None, MIB, lambda: None)

        async def use() -> None:
            async with pipes.open() as opened:
                streams.extend(opened)

        streams: list[Any] = []
        using = asyncio.create_task(use())
        while "input closed" not in pipes.complaint:
            assert not using.done()
            await asyncio.sleep(POLL_SECONDS)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        received, sent = streams
        assert received.statistics().open_receive_streams == 0
        assert received.statistics().open_send_streams == 0
        assert sent.statistics().open_receive_streams == 0
        assert sent.statistics().open_send_streams == 0
        assert set(psutil.Process().children()) == before

    asyncio.run(asyncio.wait_for(scenario(), 50))


def test_being_cancelled_while_a_process_starts() -> None:
    """Whenever that is, nothing is left of it, and nothing waits for ever."""
    before = set(psutil.Process().children())

    async def use() -> None:
        pipes = Pipes(["/bin/cat"], {}, None, MIB, lambda: None)
        async with pipes.open():
            await asyncio.Event().wait()

    async def scenario() -> None:
        for turns in range(12):
            using = asyncio.create_task(use())
            for _ in range(turns):
                await asyncio.sleep(0)
            using.cancel()
            with pytest.raises(asyncio.CancelledError):
                await using
            assert set(psutil.Process().children()) == before

    asyncio.run(asyncio.wait_for(scenario(), 50))


def test_lines_have_a_bound() -> None:
    lines = Lines(100)
    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.feed(b"o\n\n") == [b"two", b""]
    head = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * 300 + b'"}\n'
    assert lines.feed(head + b"three\n") == [7, b"three"]
    tail = b'{"result":"' + b"x" * 300 + b'","jsonrpc":"2.0","id":8}\n'
    made = [
        line for at in range(0, len(tail), 7) for line in lines.feed(tail[at : at + 7])
    ]
    assert made == [8]
    assert lines.feed(b'"id":9' * 100 + b"\n") == [None]
    assert lines.feed(b"four\n") == [b"four"]


def test_what_is_to_end_whole_is_given_up_however_often_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_stdio, "_PATIENCE", 0.3)
    monkeypatch.setattr(tasks, "_AGAIN_SECONDS", 0.05)

    async def scenario() -> None:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        outer = asyncio.ensure_future(mcp_stdio._whole(inner))
        await asyncio.sleep(0)
        await asyncio.wait_for(end_tasks(outer), DEADLINE)
        assert inner.cancelled()
        assert outer.cancelled()

    asyncio.run(scenario())
