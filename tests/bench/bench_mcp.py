"""What do agents wait for over MCP: a run, and tools called by code or one by one?

By the SDK's own client over stdio, streamable HTTP and SSE: `run_js` of `1+1`, to the
answer and to the end of the run as `get_execution` tells it; stateless `run_js`, which
waits; and `list_sessions`, which does next to nothing: that is what the SDK takes.

Then `execute` whose code calls a tool of another MCP server 0, 1 and 100 times, one
after the other and side by side, against an agent that calls the tool itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.support.programs import UPSTREAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TIMES = 50
TRANSPORTS = ("stdio", "http", "sse")
CALLS = (0, 1, 100)
ONE = {"code": "1+1"}


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


async def repeat(work: Callable[[], Awaitable[Any]], times: int = TIMES) -> Any:
    """Do something again and again: milliseconds."""
    for _ in range(3):
        await work()
    samples = []
    for _ in range(times):
        start = time.perf_counter()
        await work()
        samples.append((time.perf_counter() - start) * 1e3)
    return report.summary(samples)


async def call(agent: Client, name: str, arguments: dict[str, Any]) -> Any:
    """Call a tool, which must succeed; its structured answer."""
    result = await agent.call_tool(name, arguments)
    assert not result.is_error, result
    return result.structured_content


async def to_end(agent: Client) -> None:
    """Run code, and ask until its end is there."""
    begun = await call(agent, "run_js", ONE)
    info = {"status": "running"}
    while info["status"] == "running":
        info = await call(agent, "get_execution", begun)
    assert info["result"] == "2"


async def measure_runs() -> dict[str, dict[str, Any]]:
    """run_js over each transport."""
    rows: dict[str, dict[str, Any]] = {}
    for transport in TRANSPORTS:
        row = rows[transport] = {}
        async with connect(transport) as agent:
            row["list_sessions"] = await repeat(
                lambda: call(agent, "list_sessions", {})
            )
            row["run_js"] = await repeat(lambda: call(agent, "run_js", ONE))
            row["run_js to its end"] = await repeat(lambda: to_end(agent))
        async with connect(transport, "--stateless") as agent:
            row["run_js, stateless"] = await repeat(lambda: call(agent, "run_js", ONE))
    return rows


def code(number: int, *, together: bool) -> str:
    """Code that calls a tool so often."""
    if together:
        return (
            f"const all = Array.from({{length: {number}}}, (_, a) => a);"
            "const sums = await Promise.all("
            "all.map(async a => (await tools.up.add({a, b: 1})).result));"
            "return sums.length"
        )
    return (
        f"let done = 0; for (let a = 0; a < {number}; a++)"
        " { await tools.up.add({a, b: 1}); done++ } return done"
    )


async def one_by_one(agent: Client, number: int) -> None:
    """Call the tool itself, as an agent does that has it."""
    for a in range(number):
        await call(agent, "add", {"a": a, "b": 1})


async def measure_execute(folder: Path) -> dict[str, dict[str, Any]]:
    """Execute over HTTP, and the tool's own server over stdio."""
    config = folder / "isokernel.toml"
    config.write_text(
        "[[sources]]\n"
        'type = "mcp"\nname = "up"\nworkspace = "default"\n'
        f"command = {json.dumps(sys.executable)}\n"
        f"args = [{json.dumps(str(UPSTREAM))}, 'stdio']\n"
    )
    upstream = StdioServerParameters(
        command=sys.executable, args=[str(UPSTREAM), "stdio"]
    )
    rows: dict[str, dict[str, Any]] = {}
    async with (
        connect(
            "http", "--config", str(config), "--execute-rate-per-minute", "0"
        ) as agent,
        Client(upstream) as direct,
    ):
        for number in CALLS:
            times = 5 if number > 1 else TIMES

            async def execute(*, together: bool, number: int = number) -> None:
                arguments = {"code": code(number, together=together)}
                answer = await call(agent, "execute", arguments)
                assert answer["result"] == number

            row = rows[str(number)] = {}
            row["in order"] = await repeat(lambda: execute(together=False), times)
            row["together"] = await repeat(lambda: execute(together=True), times)
            row["one by one"] = await repeat(
                lambda: one_by_one(direct, number),  # noqa: B023
                times,
            )
    return rows


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = list(figures["runs"]["http"])
    head = ["ms, p50 / p95", *names]
    runs = [
        [transport, *(_cell(row[name]) for name in names)]
        for transport, row in figures["runs"].items()
    ]
    names = ["in order", "together", "one by one"]
    head_2 = [
        "calls of a tool",
        "execute, one after the other",
        "execute, side by side",
        "by the agent itself",
    ]
    calls = [
        [number, *(_cell(row[name]) for name in names)]
        for number, row in figures["execute"].items()
    ]
    return f"{report.table(head, runs)}\n\n{report.table(head_2, calls)}"


def _cell(part: dict[str, float]) -> str:
    return f"{report.rounded(part['p50'])} / {report.rounded(part['p95'])}"


async def measure() -> dict[str, Any]:
    """Measure all of it."""
    with tempfile.TemporaryDirectory() as folder:
        execute = await measure_execute(Path(folder))
    return {"execute": execute, "runs": await measure_runs()}


def main() -> None:
    """Measure, and publish."""
    options = report.arguments(__doc__ or "").parse_args()
    figures = asyncio.run(measure())
    report.publish(options, "mcp", figures, tables(figures))


if __name__ == "__main__":
    main()
