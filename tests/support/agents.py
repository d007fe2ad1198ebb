"""Clients of the MCP server: the SDK's, over each transport, and one of our own."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import httpx2
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from tests.support.client import NO_TLS
from tests.support.starts import isokernel_command
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterable
    from typing import IO

    from tests.support.starts import Started


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
USUAL = {Way("http"), Way("sse", HANDSHAKE), Way("stdio")}


def usual(ways: Iterable[Way]) -> list[Any]:
    """Ways of a test whose rule is the same on all: each transport and each era once.

    What differs between ways has tests for all of them: how a connection begins, how a
    request is cancelled, what becomes of a task whose client is gone. The others here
    are slow.
    """
    slow = pytest.mark.slow
    return [way if way in USUAL else pytest.param(way, marks=slow) for way in ways]


def _http_client(
    headers: dict[str, str] | None = None,
    timeout: httpx2.Timeout | float | None = DEADLINE,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        headers=headers, timeout=timeout, auth=auth, verify=NO_TLS
    )


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
        program, *arguments = isokernel_command("mcp", "--log-level", "error", *flags)
        parameters = StdioServerParameters(command=program, args=arguments)
        async with Client(parameters, **options) as client:
            yield client
    elif way.transport == "sse":
        events = sse_client(f"{url}/sse", headers, httpx_client_factory=_http_client)
        async with Client(events, **options) as client:
            yield client
    else:
        async with (
            _http_client(headers) as http,
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


class StdioPeer:
    """A client that speaks line by line."""

    def __init__(self, process: Started | subprocess.Popen[str]) -> None:
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

    def notify(self, method: str, **parameters: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": parameters}
        self.stdin.write(f"{json.dumps(message)}\n")
        self.stdin.flush()

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
