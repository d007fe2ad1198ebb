"""Keys of one workspace over MCP: who may not approve elsewhere may not do so here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp_types import ElicitRequestParams, ElicitResult
from tests.support.agents import (
    BOTH,
    DROP,
    HANDSHAKE,
    INITIALIZE,
    MODERN,
    Way,
    connect_agent,
    execute,
    said,
)
from tests.support.client import connect
from tests.support.programs import UPSTREAM
from tests.support.server import run_server
from tests.support.starts import program_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import Server

pytestmark = pytest.mark.anyio

ADMIN, USER = (f"the-secret-key-of-the-{name}" for name in ("admin", "user"))
FILE = f"""
execute_approval_wait_seconds = 0.5
languages = ["javascript", "typescript"]
default_language = "typescript"

[[workspaces]]
name = "red"
api_keys = [{{ key = "{ADMIN}", admin = true }}, {{ key = "{USER}" }}]

[[sources]]
type = "mcp"
name = "up"
workspace = "red"
"""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two keys of one workspace, neither of which has a name."""
    file = tmp_path_factory.mktemp("keyed") / "isokernel.toml"
    command, *arguments = program_command(UPSTREAM, "stdio")
    started = f"command = {json.dumps(command)}\nargs = {json.dumps(arguments)}\n"
    file.write_text(FILE + started)
    with run_server("--config", str(file)) as server:
        yield server


@pytest.mark.parametrize("era", [MODERN, HANDSHAKE])
async def test_who_may_not_approve_is_not_asked(keyed: Server, era: str) -> None:
    asked: list[str] = []

    async def answer(_context: Any, question: ElicitRequestParams) -> ElicitResult:
        asked.append(question.message)
        return ElicitResult(action="accept", content={"decision": "approve"})

    headers = {"X-API-Key": USER}
    async with connect_agent(
        keyed.url, Way("http", era), headers, elicitation_callback=answer
    ) as agent:
        waiting = await execute(agent, DROP)
        assert waiting["status"] == "waiting_for_approval", waiting
        assert asked == []
        (approval,) = waiting["approvals"]
        given = {"approvalId": approval["approvalId"], "decision": "approve"}
        refused = await agent.call_tool("resume", given)
        assert refused.is_error
        assert "may not approve" in said(refused)
        with connect(keyed, **{"X-API-Key": ADMIN}) as client:
            place = f"/approvals/{approval['approvalId']}"
            decided = client.post(place, json={"decision": "approved"})
            assert decided.status_code == 200, decided.text
        given = {"taskId": waiting["taskId"], "resultTimeoutMs": 30_000}
        done = (await agent.call_tool("get_task", given)).structured_content
        assert done["status"] == "completed", done


def test_a_connection_is_of_keys_that_may_do_the_same(keyed: Server) -> None:
    with (
        connect(keyed, **{"X-API-Key": ADMIN}) as admin,
        connect(keyed, **{"X-API-Key": USER}) as user,
    ):
        opened = admin.post("/mcp", json=INITIALIZE, headers={"Accept": BOTH})
        assert opened.status_code == 200, opened.text
        own = {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"], "Accept": BOTH}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert admin.post("/mcp", json=listing, headers=own).status_code == 200
        assert user.post("/mcp", json=listing, headers=own).status_code == 404
        assert admin.delete("/mcp", headers=own).status_code in {200, 204}
