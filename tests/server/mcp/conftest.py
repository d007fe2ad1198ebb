"""The SDK's own client, over each transport and in each era of the protocol."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from tests.server.conftest import DEADLINE, START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


UPSTREAM = Path(__file__).parents[1] / "tools" / "upstream.py"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings with another MCP server as a source."""
    file = tmp_path_factory.mktemp("execute") / "isokernel.toml"
    file.write_text(
        "execute_approval_wait_seconds = 0.5\n"
        "[[sources]]\n"
        'type = "mcp"\nname = "up"\nworkspace = "default"\n'
        f"command = {json.dumps(sys.executable)}\n"
        f"args = [{json.dumps(str(UPSTREAM))}, 'stdio']\n"
    )
    return file


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
