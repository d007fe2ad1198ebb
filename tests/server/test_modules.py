"""Imports over each of the server's fronts; what they load is the runtime's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.agents import connect_agent
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.server import Server

CODE = "import { join } from 'node:path';\nexport default join('a', 'b')"
BODY = "import { join } from 'node:path';\nconst part: string = 'b';"
BODY += "\nreturn join('a', part)"
ABSENT = "import table from './absent.js'"


def _run(client: Client, code: str) -> dict[str, Any]:
    accepted = client.post("/api/exec", json={"code": code}).json()
    path = f"/api/executions/{accepted['execution_id']}"

    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(path).json()
        return None if shown["status"] in {"queued", "running"} else shown

    return wait_for(look)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_execute(client: Client, language: str) -> None:
    context = client.create(language)

    def execute(code: str) -> dict[str, Any]:
        body = {"code": code, "context_id": context}
        answer: dict[str, Any] = client.post("/execute", json=body).json()
        return answer

    assert execute(CODE)["items"][-1]["text"] == "'a/b'"
    assert execute("join('c', 'd')")["items"][-1]["text"] == "'c/d'"
    error = execute(ABSENT)["error"]
    assert "absent.js" in error["value"]
    assert "cell 3:1:19" in error["traceback"]


def test_runs(client: Client) -> None:
    shown = _run(client, CODE)
    assert (shown["status"], shown["result"]) == ("completed", '"a/b"')
    shown = _run(client, ABSENT)
    assert shown["status"] == "failed"
    assert "absent.js" in str(shown["error"])


@pytest.mark.anyio
async def test_mcp(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        result: Any = await agent.call_tool("execute", {"code": BODY})
        assert not result.is_error, result.content
        assert "a/b" in str(result.content)
