"""Runs and heaps, as the client has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.client import (
    AsyncClient,
    Client,
    Context,
    ExecutionError,
    NotFoundError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from tests.support.server import Server


def test_a_run_is_kept(client: Client, server: Server) -> None:
    run_id = client.runs.submit("console.log('one'); console.log('two'); 6 * 7")
    run = client.runs.wait(run_id, timeout=30)
    assert (run.status, run.value, run.raise_for_error()) == ("completed", 42, run)
    page = client.runs.output(run_id, line_offset=2)
    assert (page.data, page.has_more, page.status) == ("two", False, "completed")
    assert client.runs.output(run_id, byte_offset=0, byte_limit=3).data == "one"
    with Client(server.url) as another:
        assert another.runs.get(run_id) == run
        assert another.runs.list(limit=1)[0].execution_id == run_id


def test_a_run_in_python(client: Client) -> None:
    code = "import sys\nprint(sys.version_info.major)\n[n ** 2 for n in range(3)]"
    run = client.runs.wait(client.runs.submit(code, language="python"), timeout=60)
    assert (run.status, run.value, run.heap) == ("completed", [0, 1, 4], None)
    assert client.runs.output(run.execution_id).data == "3"


def test_following_a_run(client: Client) -> None:
    run_id = client.runs.submit(
        "for (const n of [1, 2, 3]) {"
        " console.log(n); await new Promise((d) => setTimeout(d, 100)) }"
    )
    pieces = list(client.runs.follow(run_id))
    assert "".join(pieces) == "1\n2\n3\n"
    assert len(pieces) > 1
    assert list(client.runs.follow(run_id)) == ["1\n2\n3\n"]


def test_much_output_is_followed_page_by_page(client: Client) -> None:
    run_id = client.runs.submit(
        "for (let n = 0; n < 3e5; n++) console.log('0123456789')"
    )
    pieces = list(client.runs.follow(run_id))
    assert "".join(pieces) == "0123456789\n" * 300_000
    assert max(map(len, pieces)) <= 1 << 20


def test_failures_and_cancels(client: Client) -> None:
    failed = client.runs.wait(client.runs.submit("throw new RangeError('no')"))
    assert failed.status == "failed"
    with pytest.raises(ExecutionError, match="RangeError: no") as raised:
        failed.raise_for_error()
    assert (raised.value.error.name, raised.value.error.message) == ("RangeError", "no")
    assert client.runs.cancel(failed.execution_id) == failed
    run_id = client.runs.submit(
        "await new Promise(d => setTimeout(d, 60_000))", timeout=60
    )
    with pytest.raises(WaitTimeoutError):
        client.runs.wait(run_id, timeout=0.1)
    assert client.runs.cancel(run_id).status == "cancelled"
    with pytest.raises(NotFoundError):
        client.runs.cancel("nobody")
    timed_out = client.runs.wait(client.runs.submit("for (;;) {}", timeout=1))
    assert timed_out.status == "timed_out"
    assert {one.execution_id for one in client.runs.list(status="failed")} >= {
        failed.execution_id
    }


def test_heaps_and_sessions(client: Client) -> None:
    name = "a session: ä/b"
    for code in ("let total = 1", "total += 41"):
        run = client.runs.wait(client.runs.submit(code, session=name))
        assert run.status == "completed"
    assert name in client.heaps.sessions()
    steps = client.heaps.history(name)
    assert [step.code for step in steps] == ["let total = 1", "total += 41"]
    assert steps[0].output_heap == steps[1].input_heap
    assert run.heap is not None
    with Context(heap=run.heap, client=client) as c:
        assert c.run("total").value == 42
    tags = {"a:b\\": "c:d", "plain": ""}
    client.heaps.set_tags(run.heap, tags)
    assert client.heaps.get(run.heap).tags == tags
    assert [one.heap for one in client.heaps.list(tags)] == [run.heap]
    assert client.heaps.list({"plain": "other"}) == []
    tagged = client.runs.wait(
        client.runs.submit("total", heap=run.heap, tags={"t": "u"})
    )
    assert tagged.value == 42
    assert [one.input_heap for one in client.heaps.list({"t": "u"})] == [run.heap]
    client.contexts.delete(name)  # the session's
    assert client.contexts.list() == []
    client.heaps.delete(run.heap)
    with pytest.raises(NotFoundError) as raised:
        client.heaps.get(run.heap)
    assert raised.value.code == "heap_missing"


@pytest.mark.anyio
async def test_awaited(async_client: AsyncClient) -> None:
    runs, heaps = async_client.runs, async_client.heaps
    run_id = await runs.submit("console.log('hello'); 6 * 7", session="awaited")
    assert [text async for text in runs.follow(run_id)] == ["hello\n"]
    run = await runs.wait(run_id)
    assert (run.value, (await runs.output(run_id)).data) == (42, "hello")
    assert await runs.get(run_id) == await runs.cancel(run_id) == run
    assert run_id in {one.execution_id for one in await runs.list()}
    assert run.heap is not None
    await heaps.set_tags(run.heap, {"x": "y"})
    assert [one.heap for one in await heaps.list({"x": "y"})] == [run.heap]
    assert (await heaps.get(run.heap)).session == "awaited"
    assert "awaited" in await heaps.sessions()
    assert len(await heaps.history("awaited")) == 1
    await heaps.delete(run.heap)
    code = "await new Promise(d => setTimeout(d, 60_000))"
    slow = await runs.submit(code, timeout=60)
    with pytest.raises(WaitTimeoutError):
        await runs.wait(slow, 0.05)
    assert (await runs.cancel(slow)).status == "cancelled"
