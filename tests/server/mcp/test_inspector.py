"""MCP Inspector's command line; where it is installed, which takes npm and 150 MB."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.server import START
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.support.server import Server

INSPECTOR = shutil.which("mcp-inspector")

pytestmark = pytest.mark.skipif(
    INSPECTOR is None, reason="npm install -g @modelcontextprotocol/inspector"
)


def _ask(*arguments: str) -> Any:
    assert INSPECTOR is not None
    done = subprocess.run(
        [INSPECTOR, "--cli", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return json.loads(done.stdout)


# Each starts Node.js twice. The old transport over SSE is tested by our own clients.
@pytest.mark.parametrize(
    "transport", ["http", pytest.param("sse", marks=pytest.mark.slow), "stdio"]
)
def test_it_lists_and_calls(server: Server, transport: str) -> None:
    path = "mcp" if transport == "http" else "sse"
    way = [f"{server.url}/{path}", "--transport", transport]
    if transport == "stdio":
        way = [sys.executable, "-c", START, "mcp"]
    tools = _ask(*way, "--method", "tools/list")["tools"]
    assert "run_js" in {tool["name"] for tool in tools}
    call = ["--method", "tools/call", "--tool-name", "run_js", "--tool-arg", "code=1"]
    answer = _ask(*way, *call)
    assert answer["structuredContent"]["execution_id"]
