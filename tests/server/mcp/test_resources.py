"""Resources and prompts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from mcp import MCPError
from tests.support.agents import NETWORK, Way, connect_agent, run_js

if TYPE_CHECKING:
    from mcp import Client
    from tests.support.server import Server

pytestmark = pytest.mark.anyio


async def _read(agent: Client, uri: str) -> str:
    (contents,) = (await agent.read_resource(uri)).contents
    text: str = contents.text  # type: ignore[union-attr]  # all of ours are texts
    return text


@pytest.mark.parametrize("way", NETWORK[::3], ids=str)
async def test_documents(server: Server, way: Way) -> None:
    async with connect_agent(server.url, way) as agent:
        listed = {str(entry.uri) for entry in (await agent.list_resources()).resources}
        assert listed == {"docs://readme", "docs://tools", "docs://openapi"}
        assert "get_execution_output" in await _read(agent, "docs://readme")
        tools = json.loads(await _read(agent, "docs://tools"))
        names = {tool.name for tool in (await agent.list_tools()).tools}
        assert {tool["name"] for tool in tools} == names
        assert "/execute" in json.loads(await _read(agent, "docs://openapi"))["paths"]


async def test_executions_and_heaps(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        templates = (await agent.list_resource_templates()).resource_templates
        assert {template.uri_template for template in templates} == {
            "execution://{id}",
            "execution://{id}/output",
            "heap://{key}",
        }
        done = await run_js(agent, "console.log('é\\n'); 1", tags={"a": "b"})
        uri = f"execution://{done['execution_id']}"
        assert await _read(agent, f"{uri}/output") == "é\n\n"
        assert json.loads(await _read(agent, uri)) == done
        heap = json.loads(await _read(agent, f"heap://{done['heap']}"))
        assert heap["tags"] == {"a": "b"}


async def test_what_is_not_there(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        for uri in ("docs://no", "execution://no", "execution://no/output", "x:y"):
            with pytest.raises(MCPError, match="There is no resource"):
                await agent.read_resource(uri)
        with pytest.raises(MCPError, match="There is no resource"):
            await agent.read_resource("heap://00")


async def test_prompts(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        names = {prompt.name for prompt in (await agent.list_prompts()).prompts}
        assert names == {"first_use", "solve_with_code", "explore_state"}
        prompt = await agent.get_prompt("solve_with_code", {"task": "{tag} 6 * 7"})
        assert prompt.messages[0].content.text.endswith("{tag} 6 * 7")  # type: ignore[union-attr]
        for name, words in (("solve_with_code", "'task'"), ("nope", "first_use")):
            with pytest.raises(MCPError, match=words):
                await agent.get_prompt(name)
