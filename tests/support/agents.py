"""Clients of the MCP server: the SDK's, over each transport, and one of our own."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import httpx2
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from tests.support.server import START
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from typing import IO


MODERN, HANDSHAKE = "auto", "legacy"
"""Each request for itself (2026-07-28), or a connection that begins by a handshake."""


class Way(NamedTuple):
    """A transport and an era."""

    transport: str
    era: str = MODERN

    def __str__(self) -> str:
        return f"{self.transport}-{self.era}"


NETWORK = [
    Way(transport, era) for transport in ("http", "sse") for era in (MODERN, HANDSHAKE)
]
WAYS = [*NETWORK, Way("stdio", MODERN), Way("stdio", HANDSHAKE)]


@asynccontextmanager
async def connect_agent(
    url: str,
    way: Way = NETWORK[0],
    headers: dict[str, str] | None = None,
    flags: tuple[str, ...] = (),
    **options: Any,
) -> AsyncIterator[Client]:
    """Connect; over stdio to a server of its own, with the flags."""
    options = {"mode": way.era, "read_timeout_seconds": DEADLINE, **options}
    if way.transport == "stdio":
        arguments = ["-c", START, "mcp", "--log-level", "error", *flags]
        parameters = StdioServerParameters(command=sys.executable, args=arguments)
        async with Client(parameters, **options) as client:
            yield client
    elif way.transport == "sse":
        async with Client(sse_client(f"{url}/sse", headers), **options) as client:
            yield client
    else:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=DEADLINE) as http,
            Client(
                streamable_http_client(f"{url}/mcp", http_client=http), **options
            ) as client,
        ):
            yield client


def said(result: Any) -> str:
    """The text block of a tool's answer."""
    text: str = result.content[0].text
    return text


DROP = "return await tools.up.drop({name: 'users'})"


async def execute(agent: Client, code: str, **arguments: Any) -> Any:
    """Run code; the structured answer, which may be a failure."""
    result = await agent.call_tool("execute", {"code": code, **arguments})
    assert result.structured_content, said(result)
    status = result.structured_content["status"]
    ended = status in {"completed", "failed", "timed_out", "denied", "cancelled"}
    assert result.is_error == (ended and status != "completed")
    assert f"status: {status}" in said(result) or not arguments.get(
        "waitForResult", True
    )
    return result.structured_content


STDIO_COMMAND = [sys.executable, "-c", START, "mcp"]


class StdioPeer:
    """A client that speaks line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.number = 0

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def send(self, method: str, **parameters: Any) -> int:
        self.number += 1
        message = {
            "jsonrpc": "2.0",
            "id": self.number,
            "method": method,
            "params": parameters,
        }
        self.stdin.write(f"{json.dumps(message)}\n")
        self.stdin.flush()
        return self.number

    def ask(self, method: str, **parameters: Any) -> Any:
        number = self.send(method, **parameters)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == number:
                return message["result"]
        return pytest.fail("it ended")

    def begin(self) -> None:
        self.ask(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        )

    def run(self, code: str) -> Any:
        arguments = {"code": code}
        return self.ask("tools/call", name="run_js", arguments=arguments)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


async def call(agent: Client, name: str, **arguments: Any) -> Any:
    """Call a tool that must not fail; its data, which the text block has too."""
    result = await agent.call_tool(name, arguments)
    assert not result.is_error, said(result)
    assert json.loads(said(result)) == result.structured_content
    return result.structured_content


async def run_js(agent: Client, code: str, **arguments: Any) -> Any:
    """Run code and wait for its end; what get_execution tells."""
    submitted = await call(agent, "run_js", code=code, **arguments)
    return await ended(agent, submitted["execution_id"])


async def ended(agent: Client, execution_id: str) -> Any:
    """Wait for the end of an execution."""
    with anyio.fail_after(DEADLINE):
        while True:
            info = await call(agent, "get_execution", execution_id=execution_id)
            if info["status"] != "running":
                return info


BOTH = "application/json, text/event-stream"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
