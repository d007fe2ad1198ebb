"""Resources and prompts."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from mcp import MCPError
from tests.support.agents import NETWORK, Way, connect_agent, run_js

if TYPE_CHECKING:
    from mcp import Client
    from tests.support.client import Client as HttpClient
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
            "context://{context_id}/files",
            "context://{context_id}/files/{+path}",
        }
        done = await run_js(agent, "console.log('é\\n'); 1", tags={"a": "b"})
        uri = f"execution://{done['execution_id']}"
        assert await _read(agent, f"{uri}/output") == "é\n\n"
        assert json.loads(await _read(agent, uri)) == done
        heap = json.loads(await _read(agent, f"heap://{done['heap']}"))
        assert heap["tags"] == {"a": "b"}


async def test_files_of_contexts(server: Server, client: HttpClient) -> None:
    context = client.create()
    place = f"/contexts/{context}/files"
    client.put(f"{place}/data/söme file.csv", content=b"a,b\n")
    client.put(f"{place}/raw", content=b"\xff\x00")
    async with connect_agent(server.url) as agent:
        listed = json.loads(await _read(agent, f"context://{context}/files"))["files"]
        uris = {each["path"]: each["uri"] for each in listed}
        assert list(uris) == ["data", "data/söme file.csv", "raw"]
        (text,) = (await agent.read_resource(uris["data/söme file.csv"])).contents
        assert (text.text, text.mime_type) == ("a,b\n", "text/csv")  # type: ignore[union-attr]
        (blob,) = (await agent.read_resource(uris["raw"])).contents
        assert base64.b64decode(blob.blob) == b"\xff\x00"  # type: ignore[union-attr]
        for path in ("no", "..%2F..%2Fsecret", "data", "%ff"):
            with pytest.raises(MCPError, match="There is no resource"):
                await agent.read_resource(f"context://{context}/files/{path}")
        with pytest.raises(MCPError, match="Context nobody not found"):
            await agent.read_resource("context://nobody/files/raw")


async def test_results_link_what_was_written(server: Server) -> None:
    code = """
      const fs = require("node:fs");
      for (let i = 0; i < 21; i++) fs.writeFileSync(`${i}.csv`, "a,b");
      "x".repeat(40_000)
    """
    headers = {"X-MCP-Session-Id": "links"}
    async with connect_agent(server.url, headers=headers) as agent:
        done = await run_js(agent, code)
        name = f"results/{done['execution_id']}.txt"
        assert done["result_note"] == f"40.0 kB, whole in {name}"
        asked = {"execution_id": done["execution_id"]}
        blocks = (await agent.call_tool("get_execution", asked)).content
        links = {one.name: one for one in blocks if one.type == "resource_link"}
        assert len(links) == 20
        assert blocks[-1].type == "text"
        assert blocks[-1].text.startswith("2 more files were written")
        assert (links[name].mime_type, links[name].size) == ("text/plain", 40_000)
        assert await _read(agent, links[name].uri) == "x" * 40_000
        asked = {"code": "return Array.from({ length: 20_000 }, (_, i) => i)"}
        answer = await agent.call_tool("execute", asked)
        (link,) = [one for one in answer.content if one.type == "resource_link"]
        assert link.mime_type == "application/json"
        assert json.loads(await _read(agent, link.uri)) == [*range(20_000)]
        again = await agent.call_tool("execute", {"code": "return 1"})
        assert [one.type for one in again.content] == ["text"]


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
