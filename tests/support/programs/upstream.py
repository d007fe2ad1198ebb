"""An MCP server as others write them, and worse: run as a program of its own.

python upstream.py stdio
python upstream.py http     prints its port
python upstream.py sse      prints its port
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("upstream", log_level="ERROR")
READS = ToolAnnotations(read_only_hint=True)
DESTROYS = ToolAnnotations(destructive_hint=True)


@server.tool(annotations=READS)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=READS, structured_output=False)
def report(text: str) -> str:
    """Give back a text."""
    return text


@server.tool(annotations=READS)
def picture() -> Image:
    """Show a picture."""
    return Image(data=b"\x89PNG", format="png")


@server.tool(name="createNote", annotations=ToolAnnotations(destructive_hint=False))
def create_note(title: str, token: str = "") -> dict[str, Any]:
    """Create a note."""
    return {"title": title, "length": len(token)}


@server.tool(annotations=DESTROYS)
def drop(name: str) -> str:
    """Drop a table."""
    return f"dropped {name}"


@server.tool(annotations=READS)
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool(annotations=READS)
async def hang() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


@server.tool(annotations=READS)
async def until(path: str) -> str:
    """Answer once a file is there."""
    while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240, PTH110 - by a test
        await asyncio.sleep(0.01)
    return "there"


@server.tool(annotations=READS)
async def freeze() -> str:
    """Never answer anything any more."""
    time.sleep(3600)  # noqa: ASYNC251 - that is it
    return ""


@server.tool(annotations=READS, structured_output=False)
def big(size: int) -> str:
    """Answer a lot."""
    return "x" * size


@server.tool(annotations=READS)
def die() -> str:
    """End at once."""
    os._exit(3)


@server.tool(annotations=READS, structured_output=False)
def variable(name: str) -> str:
    """Tell a variable of the environment, however secret it is."""
    return f"it is {os.environ.get(name, 'not there')}!"


@server.tool(annotations=READS)
async def grow(ctx: Context) -> str:
    """Have one more tool."""
    server.add_tool(lambda: "late", name="late", description="A late tool.")
    await ctx.notify_tools_changed()
    return "grown"


def serve(kind: str) -> None:
    app = server.sse_app() if kind == "sse" else server.streamable_http_app()
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    made = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.create_task(made.serve())
        while not made.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        (listening,) = made.servers
        print(listening.sockets[0].getsockname()[1], flush=True)  # noqa: T201
        await serving

    asyncio.run(run())


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        serve(sys.argv[1])
