"""Calls over MCP whose session another server has by now: as if it were here."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp_types import ElicitRequestParams, ElicitResult
from tests.server.cluster.conftest import LONG_LEASE_SECONDS
from tests.support.agents import HANDSHAKE, MODERN, Way, connect_agent, execute, said
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp import Client as Agent
    from tests.server.cluster.conftest import Nodes
    from tests.support.client import Client

pytestmark = pytest.mark.anyio

ERAS = (MODERN, HANDSHAKE)
RULE = """
[[capability_rules]]
effect = "require_approval"
capability = "files"
target = "asked/**"
workspace = "*"
"""
WAYS = [
    Way("http", HANDSHAKE),
    *(pytest.param(Way("sse", era), marks=pytest.mark.slow) for era in ERAS),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def two(nodes: Nodes, tmp_path: Path) -> tuple[Client, Client]:
    """Clients of two servers, which ask before some files are written."""
    nodes.lease_seconds = LONG_LEASE_SECONDS
    file = tmp_path / "isokernel.toml"
    file.write_text(RULE)
    flags = ("--config", str(file), "--languages", "javascript,typescript")
    (_, one), (_, other) = (nodes.start(*flags) for _ in range(2))
    wait_for(lambda: len(other.get("/cluster/servers").json()["items"]) == 2)
    return one, other


@asynccontextmanager
async def moved(
    one: Client, other: Client, way: Way, **options: Any
) -> AsyncIterator[tuple[Agent, str]]:
    """Connect to a server with a session of its, which then goes to the other one."""
    url = str(one.base_url).rstrip("/")
    for number in range(100):
        session = f"s{number}"
        one.done("globalThis.n = 41", session=session)
        owner = one.get(f"/contexts/{session}").headers["X-Isokernel-Owner"]
        if owner == url:
            break
    headers = {"X-MCP-Session-Id": session}
    async with connect_agent(url, way, headers, **options) as agent:
        assert (await execute(agent, "return n"))["result"] == 41
        (here,) = (
            each["id"]
            for each in one.get("/cluster/servers").json()["items"]
            if each["here"]
        )
        assert one.post(f"/cluster/servers/{here}/drain").status_code == 202
        left = str(other.base_url).rstrip("/")

        def is_there() -> bool:
            answer = other.get(f"/contexts/{session}")
            return bool(answer.headers.get("X-Isokernel-Owner") == left)

        await anyio.to_thread.run_sync(wait_for, is_there)
        yield agent, session


def statuses(client: Client) -> list[str]:
    return [task["status"] for task in client.get("/tasks").json()["tasks"]]


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_call_goes_where_its_session_has_gone(
    two: tuple[Client, Client], way: Way
) -> None:
    one, other = two
    asked: list[str] = []
    told: list[str] = []

    async def person(_context: Any, question: ElicitRequestParams) -> ElicitResult:
        asked.append(question.message)
        return ElicitResult(action="accept", content={"decision": "approve"})

    async with moved(one, other, way, elicitation_callback=person) as (agent, session):

        async def note(
            progress: float, total: float | None, message: str | None
        ) -> None:
            assert (progress, total) == (len(told) + 1, None)
            told.append(message or "")
            # The code goes on when the client has heard so far.
            put = f"/contexts/{session}/files/{message}"
            await anyio.to_thread.run_sync(lambda: other.put(put, content=b""))

        result = await agent.call_tool(
            "execute",
            {
                "code": "const fs = require('node:fs');"
                " for (const name of ['a', 'b']) { console.log(name);"
                " while (!fs.existsSync(name)) await new Promise(r => setTimeout(r, 9))"
                " } return n + 1"
            },
            progress_callback=note,
        )
        assert not result.is_error, said(result)
        assert (result.structured_content or {})["result"] == 42
        assert told == ["a", "b"]

        make = "require('node:fs').mkdirSync('asked'); return 7"
        assert (await execute(agent, make))["result"] == 7
        assert len(asked) == 1
        assert "(files)" in asked[0]

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(agent.call_tool, "execute", {"code": "for (;;);"})
                await anyio.to_thread.run_sync(
                    wait_for, lambda: "running" in statuses(other)
                )
                group.cancel_scope.cancel()
        await anyio.to_thread.run_sync(
            wait_for, lambda: statuses(other).count("cancelled") == 1
        )
        assert (await execute(agent, "return n"))["result"] == 41
