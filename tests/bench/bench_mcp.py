"""What do agents wait for over MCP: a run, and tools called one by one or by code?

`run_js` of `1+1` over stdio, streamable HTTP and SSE, by the SDK's own client: from the
call to the answer, and to the end of the run as `get_execution` tells it; stateless
`run_js`, which waits. A ping of the same connection shows what the SDK's client and
server take of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from tests.bench import report
from tests.bench.bench_http import SERVE, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CALLS = 100
TRANSPORTS = ("stdio", "http", "sse")


@contextlib.asynccontextmanager
async def connect(transport: str, *flags: str) -> AsyncIterator[Client]:
    """The SDK's client, connected to a server of its own."""
    if transport == "stdio":
        arguments = ["-c", SERVE, "mcp", "--log-level", "error", *flags]
        parameters = StdioServerParameters(command=sys.executable, args=arguments)
        async with Client(parameters) as client:
            yield client
        return
    flags = ("serve", "--port", "0", "--no-access-log", *flags)
    with server(SERVE, *flags) as (url, _):
        if transport == "sse":
            async with Client(sse_client(f"{url}/sse")) as client:
                yield client
            return
        async with httpx2.AsyncClient(timeout=30) as http:
            way = streamable_http_client(f"{url}/mcp", http_client=http)
            async with Client(way) as client:
                yield client


async def repeat(work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """Do something again and again: milliseconds."""
    for _ in range(5):
        await work()
    samples = []
    for _ in range(CALLS):
        start = time.perf_counter()
        await work()
        samples.append((time.perf_counter() - start) * 1e3)
    return report.summary(samples)


async def to_end(agent: Client) -> None:
    """Run code, and ask until its end is there."""
    begun = await agent.call_tool("run_js", {"code": "1+1"})
    given = {"execution_id": begun.structured_content["execution_id"]}
    status = "running"
    while status == "running":
        info = await agent.call_tool("get_execution", given)
        status = info.structured_content["status"]
    assert info.structured_content["result"] == "2"


async def measure() -> dict[str, Any]:
    """Measure all of it."""
    results: dict[str, Any] = {}
    for transport in TRANSPORTS:
        async with connect(transport) as agent:
            results[f"{transport}: list_sessions"] = await repeat(
                lambda agent=agent: agent.call_tool("list_sessions", {})
            )
            results[f"{transport}: run_js"] = await repeat(
                lambda agent=agent: agent.call_tool("run_js", {"code": "1+1"})
            )
            results[f"{transport}: run_js to its end"] = await repeat(
                lambda agent=agent: to_end(agent)
            )
        async with connect(transport, "--stateless") as agent:
            results[f"{transport}: stateless run_js"] = await repeat(
                lambda agent=agent: agent.call_tool("run_js", {"code": "1+1"})
            )
    return results


def main() -> None:
    """Measure, and print."""
    report.emit("mcp", asyncio.run(measure()))


if __name__ == "__main__":
    main()
