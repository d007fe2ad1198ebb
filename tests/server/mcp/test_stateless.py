"""Stateless mode: run_js waits, tells what is printed meanwhile, and can be ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.agents import (
    HANDSHAKE,
    NETWORK,
    WAYS,
    Way,
    connect_agent,
    said,
    usual,
)
from tests.support.client import connect
from tests.support.server import run_server
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp import Client
    from tests.support.server import Server

pytestmark = pytest.mark.anyio

FOREVER = "console.log('begun'); for (;;);"


@pytest.fixture(scope="module")
def stateless() -> Iterator[Server]:
    """A server of the kind, for all tests here."""
    with run_server(
        "--stateless",
        "--mcp-instructions",
        "Mine.",
        "--run-js-description",
        "Runs.",
    ) as server:
        yield server


async def _run(agent: Client, code: str, **arguments: Any) -> Any:
    result = await agent.call_tool("run_js", {"code": code, **arguments})
    assert json.loads(said(result)) == result.structured_content
    assert result.is_error == ("error" in result.structured_content)
    return result.structured_content


@pytest.mark.parametrize("way", usual(WAYS), ids=str)
async def test_output_comes_back(stateless: Server, way: Way) -> None:
    async with connect_agent(stateless.url, way, flags=("--stateless",)) as agent:
        assert [tool.name for tool in (await agent.list_tools()).tools] == ["run_js"]
        code = "const n: number = 2; console.log('a'); console.error('b', n); n"
        assert await _run(agent, code) == {"output": "a\n[ERROR] b 2"}
        late = "setTimeout(() => console.log('later'), 20)"
        assert await _run(agent, late) == {"output": "later"}
        failed = await _run(agent, "console.log(1); throw new Error('no')")
        assert failed["output"] == "1"
        assert "Error: no" in failed["error"]
        assert (await _run(agent, "typeof n"))["output"] == ""


async def test_limits_end_the_run(stateless: Server) -> None:
    async with connect_agent(stateless.url) as agent:
        late = await _run(agent, FOREVER, execution_timeout_secs=1)
        assert late["output"] == "begun"
        assert "timed out" in late["error"]
        code = "const all = []; for (;;) all.push(new Array(1e4).fill(1.5))"
        full = await _run(agent, code, heap_memory_max_mb=16)
        assert "Out of memory" in full["error"]


async def test_waiting_has_an_end(servers: Callable[..., Server]) -> None:
    server = servers("--stateless", "--run-js-wait-seconds", "0.5")
    async with connect_agent(server.url) as agent:
        answer = await _run(agent, FOREVER, execution_timeout_secs=300)
    error = "Execution did not complete within polling timeout"
    assert answer == {"output": "begun", "error": error}
    await anyio.to_thread.run_sync(_wait_status, server, "cancelled")


async def test_nothing_else_is_taken(stateless: Server) -> None:
    async with connect_agent(stateless.url) as agent:
        result = await agent.call_tool("run_js", {"code": "1", "heap": "0" * 64})
        assert result.is_error
        assert "heap: unknown" in said(result)


async def test_texts_can_be_set(stateless: Server) -> None:
    async with connect_agent(stateless.url) as agent:
        assert agent.instructions == "Mine."
        (tool,) = (await agent.list_tools()).tools
        assert tool.description == "Runs."


@pytest.mark.parametrize("way", usual(NETWORK), ids=str)
async def test_what_is_printed_is_progress(stateless: Server, way: Way) -> None:
    told: list[tuple[float, str | None]] = []
    all_told = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((progress, message))
        if progress == 5:
            all_told.set()

    async with connect_agent(stateless.url, way) as agent:
        code = (
            "for (let i = 0; i < 3; i++) { console.log(i);"
            " await new Promise(r => setTimeout(r, 60)) } console.log('end\\n!')"
        )
        result = await agent.call_tool("run_js", {"code": code}, progress_callback=note)
        # The client gives the answer away before the last callback has run.
        with anyio.fail_after(DEADLINE):
            await all_told.wait()
    assert result.structured_content == {"output": "0\n1\n2\nend\n!"}
    assert "\n".join(text or "" for _, text in told) == "0\n1\n2\nend\n!"
    # That they come while it runs is in the next test: on a machine that is busy, all
    # of them may have been printed before the first is sent.
    counts = [count for count, _ in told]
    assert counts == sorted(set(counts))
    assert counts[-1] == 5


@pytest.mark.parametrize("way", usual(NETWORK), ids=str)
async def test_a_cancelled_request_ends_its_run(stateless: Server, way: Way) -> None:
    begun = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert (progress, total, message) == (1, None, "begun")
        begun.set()

    async def run(agent: Client) -> None:
        arguments = {"code": FOREVER, "execution_timeout_secs": 300}
        await agent.call_tool("run_js", arguments, progress_callback=note)

    async with connect_agent(stateless.url, way) as agent:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run, agent)
                await begun.wait()
                group.cancel_scope.cancel()
            await anyio.to_thread.run_sync(_wait_status, stateless, "cancelled")


def _wait_status(server: Server, status: str) -> None:
    """Wait until the newest execution is at something; it is there already."""
    with connect(server) as client:

        def reached() -> bool:
            newest = client.get("/api/executions?limit=1").json()["executions"][0]
            return bool(newest["status"] == status)

        wait_for(reached)


@pytest.mark.parametrize("header", ["2025-11-25", "2026-07-28"])
def test_a_run_ends_with_its_client(stateless: Server, header: str) -> None:
    call = {
        "name": "run_js",
        "arguments": {"code": FOREVER, "execution_timeout_secs": 300},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "Mcp-Protocol-Version": header,
    }
    with connect(stateless) as client:
        if header == "2025-11-25":
            asked: dict[str, Any] = {
                "protocolVersion": header,
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            }
            opened = client.post(
                "/mcp",
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "initialize",
                    "params": asked,
                },
                headers=headers,
            )
            headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
        else:
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "run_js"}
            prefix = "io.modelcontextprotocol"
            call["_meta"] = {
                f"{prefix}/protocolVersion": header,
                f"{prefix}/clientCapabilities": {},
                f"{prefix}/clientInfo": {"name": "test", "version": "1"},
            }
        call.setdefault("_meta", {})["progressToken"] = 1  # type: ignore[index]
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
        with client.stream("POST", "/mcp", json=asked, headers=headers) as stream:
            for text in stream.iter_text():
                if "begun" in text:
                    break
    _wait_status(stateless, "cancelled")


async def test_two_clients_run_at_once(stateless: Server) -> None:
    outputs: dict[int, Any] = {}

    async def run(number: int, way: Way) -> None:
        async with connect_agent(stateless.url, way) as agent:
            outputs[number] = await _run(agent, f"console.log({number})")

    async with anyio.create_task_group() as group:
        for number, way in enumerate([*NETWORK, Way("http", HANDSHAKE)]):
            group.start_soon(run, number, way)
    assert outputs == {number: {"output": str(number)} for number in range(5)}


async def test_a_large_output_comes_whole(stateless: Server) -> None:
    async with connect_agent(stateless.url) as agent:
        code = "for (let i = 0; i < 3000; i++) console.log('x'.repeat(999))"
        output = (await _run(agent, code))["output"]
        assert output == "\n".join(["x" * 999] * 3000)
