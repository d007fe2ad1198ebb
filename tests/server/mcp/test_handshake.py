"""What opens a connection is answered as the SDK answers it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.server.stdio import stdio_server

from isoserver.app import Server
from isoserver.mcp.handshake import Opening
from isoserver.mcp.peers import Connection, HttpConnections, current_connection
from isoserver.mcp.protocol import Protocol
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

_CLIENT = {"name": "test", "version": "1"}
_META = "io.modelcontextprotocol/"
OPENINGS: dict[str, dict[str, Any]] = {
    version: {
        "method": "initialize",
        "params": {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": _CLIENT,
        },
    }
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
} | {
    "discover": {
        "method": "server/discover",
        "params": {
            "_meta": {
                f"{_META}protocolVersion": "2026-07-28",
                f"{_META}clientInfo": _CLIENT,
                f"{_META}clientCapabilities": {},
            }
        },
    }
}


class _Lines:
    """Collects what the SDK writes."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.arrived = anyio.Event()

    async def write(self, text: str) -> None:
        self.written.append(text)
        self.arrived.set()

    async def flush(self) -> None:
        pass


@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize("opening", OPENINGS)
async def test_the_answer_is_that_of_the_sdk(opening: str, *, stateless: bool) -> None:
    settings = read_settings(stateless=stateless)
    message = {"jsonrpc": "2.0", "id": 1, **OPENINGS[opening]}
    ours = Opening(settings).answer(json.dumps(message).encode())
    assert ours is not None
    server = Server(settings, io.StringIO())
    lines = _Lines()

    async def given() -> AsyncIterator[str]:
        yield json.dumps(message)
        await lines.arrived.wait()

    protocol = Protocol(server.parts, HttpConnections(0))
    current_connection.set(Connection(None, asyncio.Event()))
    source: Any = given()
    output: Any = lines
    with anyio.fail_after(20):
        async with stdio_server(source, output) as streams:
            options = protocol.server.create_initialization_options()
            await protocol.server.run(streams[0], streams[1], options)
    assert json.loads(ours) == json.loads(lines.written[0])
    server.abandon()
