"""The tools of stateful mode, over each transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jsonschema
import pytest
from mcp import MCPError
from mcp_types import PromptReference, ResourceTemplateReference
from tests.support.agents import (
    HANDSHAKE,
    NETWORK,
    WAYS,
    Way,
    call,
    connect_agent,
    ended,
    run_js,
    said,
    usual,
)

from isoserver.mcp.peers import read_name

if TYPE_CHECKING:
    from mcp import Client
    from tests.support.client import Client as HttpClient
    from tests.support.server import Server

pytestmark = pytest.mark.anyio

DOCUMENTED = {
    "run_js": {
        "code",
        "heap",
        "heap_memory_max_mb",
        "execution_timeout_secs",
        "tags",
        "capabilities",
    },
    "get_execution": {"execution_id"},
    "get_execution_output": {
        "execution_id",
        "line_offset",
        "line_limit",
        "byte_offset",
        "byte_limit",
    },
    "cancel_execution": {"execution_id"},
    "list_executions": {"limit", "offset"},
    "list_sessions": set(),
    "list_session_snapshots": {"session", "fields"},
    "get_heap_tags": {"heap"},
    "set_heap_tags": {"heap", "tags"},
    "delete_heap_tags": {"heap", "keys"},
    "query_heaps_by_tags": {"tags", "limit", "offset"},
}
NO_HEAP = "0" * 64


async def fail(agent: Client, name: str, **arguments: Any) -> str:
    """Call a tool that must fail; what it says."""
    result = await agent.call_tool(name, arguments)
    assert result.is_error
    return said(result)


async def test_the_tools_are_those_that_are_documented(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
    shown = {name: set(tool.input_schema["properties"]) for name, tool in tools.items()}
    assert {name: shown[name] for name in DOCUMENTED} == DOCUMENTED
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema is not None
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
    # What a model is given of all of them: a token is four characters, about.
    given = [(one.name, one.description, one.input_schema) for one in tools.values()]
    assert len(json.dumps(given, ensure_ascii=False)) / 4 <= 2500
    assert "\\u0000" not in json.dumps(given)
    whole = [
        tool.model_dump(by_alias=True, exclude_none=True) for tool in tools.values()
    ]
    assert len(json.dumps(whole, ensure_ascii=False)) / 4 <= 5000
    page = tools["get_execution_output"].input_schema
    defaults = {
        name: part.get("default")
        for name, part in page["properties"].items()
        if name != "execution_id"
    }
    assert defaults == {
        "line_offset": 1,
        "line_limit": 100,
        "byte_offset": None,
        "byte_limit": 4096,
    }
    assert tools["run_js"].input_schema["required"] == ["code"]


def test_headers_have_names_as_utf_8() -> None:
    for header, name in (
        (None, None),
        ("", None),
        ("me:1", "me:1"),
        ("Übung 1/2".encode().decode("latin-1"), "Übung 1/2"),
        (quote("Übung 1/2"), "Übung 1/2"),
        ("50%", "50%"),
    ):
        assert read_name(header) == name


async def test_descriptions_say_how_it_is_here(server: Server) -> None:
    for headers, words in (
        ({}, "each run begins blank"),
        ({"X-MCP-Session-Id": "me"}, "session 'me' persists"),
        ({"X-MCP-Session-Id": quote("Übung 1/2")}, "session 'Übung 1/2' persists"),
    ):
        async with connect_agent(server.url, headers=headers) as agent:
            tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
        for name in ("run_js", "execute"):
            assert words in (tools[name].description or "")
            assert "{" not in (tools["run_js"].description or "")
        assert "has no sources" in (tools["execute"].description or "")
        assert "local-bun" in (tools["execute"].description or "")


async def test_arguments_are_completed(server: Server) -> None:
    tag = {"completed": "yes: it is"}
    async with connect_agent(server.url) as agent:
        done = await run_js(agent, "1", tags=tag)
        for reference, name, begun, found in (
            (_template("execution://{id}"), "id", "", done["execution_id"]),
            (_template("heap://{key}"), "key", done["heap"][:9], done["heap"]),
            (
                PromptReference(name="explore_state"),
                "tag",
                "com",
                "completed=yes: it is",
            ),
        ):
            told = await agent.complete(reference, {"name": name, "value": begun})
            assert found in told.completion.values
        free = PromptReference(name="solve_with_code")
        told = await agent.complete(free, {"name": "task", "value": ""})
        assert told.completion.values == []
        with pytest.raises(MCPError, match=r"explore_state"):
            await agent.complete(PromptReference(name="no"), {"name": "a", "value": ""})


def _template(uri: str) -> ResourceTemplateReference:
    return ResourceTemplateReference(uri=uri)


@pytest.mark.parametrize("way", usual(WAYS), ids=str)
async def test_every_tool(server: Server, way: Way) -> None:
    session = f"every-{way}"
    headers = {"X-MCP-Session-Id": session}
    flags = ("--session-id", session)
    tag = {"way": str(way)}
    async with connect_agent(server.url, way, headers, flags) as agent:
        first = await run_js(
            agent, "let n: number = 40; console.log('a\\nb')", tags=tag
        )
        assert first["status"] == "completed", first
        assert first["error"] is None
        heap = first["heap"]
        assert heap, first["heap_error"]
        assert len(heap) == 64
        second = await run_js(agent, "n + 2")
        assert second["result"] == "42", second

        page = await call(
            agent,
            "get_execution_output",
            execution_id=first["execution_id"],
            line_limit=1,
        )
        assert (page["data"], page["next_line_offset"]) == ("a", 2)
        assert page["has_more"]
        page = await call(
            agent,
            "get_execution_output",
            execution_id=first["execution_id"],
            byte_offset=2,
        )
        assert (page["data"], page["total_bytes"]) == ("b\n", 4)

        listed = (await call(agent, "list_executions"))["executions"]
        ids = [execution["execution_id"] for execution in listed]
        assert ids[:2] == [second["execution_id"], first["execution_id"]]
        one = await call(agent, "list_executions", limit=1)
        assert one["next_offset"] == 1
        page = await call(agent, "list_executions", limit=1, offset=1)
        assert page["executions"] == listed[1:2]
        assert session in (await call(agent, "list_sessions"))["sessions"]
        entries = (await call(agent, "list_session_snapshots"))["entries"]
        assert [entry["code"] for entry in entries][-1] == "n + 2"
        assert entries[0]["output_heap"] == heap
        some = await call(
            agent, "list_session_snapshots", session=session, fields="index,code"
        )
        assert set(some["entries"][0]) == {"index", "code"}

        assert await call(agent, "get_heap_tags", heap=heap) == {"tags": tag}
        both = {**tag, "b": "2"}
        assert (await call(agent, "set_heap_tags", heap=heap, tags=both))["ok"]
        found = await call(agent, "query_heaps_by_tags", tags=both)
        results = [{"heap": heap, "tags": both}]
        assert found == {"results": results, "next_offset": None}
        assert (await call(agent, "delete_heap_tags", heap=heap, keys="b, c"))["ok"]
        assert await call(agent, "get_heap_tags", heap=heap) == {"tags": tag}
        assert (await call(agent, "delete_heap_tags", heap=heap))["ok"]
        assert await call(agent, "get_heap_tags", heap=heap) == {"tags": {}}

        submitted = await call(agent, "run_js", code="for (;;);")
        running = submitted["execution_id"]
        assert await call(agent, "cancel_execution", execution_id=running) == {
            "ok": True
        }
        info = await ended(agent, running)
        assert (info["status"], info["error"]) == ("cancelled", "Cancelled by user")
        assert (await run_js(agent, "n"))["result"] == "40"


async def test_a_heap_is_gone_on_from(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        first = await run_js(agent, "const list = [1]; const add = x => list.push(x)")
        for value in (2, 3):
            branch = await run_js(
                agent, f"add({value}); list.join()", heap=first["heap"]
            )
            assert branch["result"] == f'"1,{value}"'
        assert (await run_js(agent, "typeof list"))["result"] == '"undefined"'


async def test_failures_of_the_code_are_no_failures_of_the_tool(
    server: Server,
) -> None:
    async with connect_agent(server.url) as agent:
        thrown = await run_js(agent, "throw new TypeError('no')")
        assert thrown["status"] == "failed"
        assert "TypeError: no" in thrown["error"]
        unparsed = await run_js(agent, "let let = 1 +")
        assert "SyntaxError" in unparsed["error"]
        late = await run_js(agent, "for (;;);", execution_timeout_secs=1)
        assert late["status"] == "timed_out"


async def test_failures_say_what_to_do(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        for tool in ("get_execution", "get_execution_output"):
            text = await fail(agent, tool, execution_id="nope")
            assert "'nope' not found" in text
            assert "list_executions" in text
        text = await fail(agent, "cancel_execution", execution_id="nope")
        assert json.loads(text)["ok"] is False
        assert "list_executions" in json.loads(text)["error"]
        done = await run_js(agent, "1")
        text = await fail(agent, "cancel_execution", execution_id=done["execution_id"])
        assert "is not running (status: completed)" in text
        for tool, more in (
            ("run_js", {"code": "1"}),
            ("get_heap_tags", {}),
            ("set_heap_tags", {"tags": {}}),
            ("delete_heap_tags", {}),
        ):
            text = await fail(agent, tool, heap=NO_HEAP, **more)
            assert "query_heaps_by_tags" in text
        text = await fail(agent, "list_session_snapshots")
        assert "X-MCP-Session-Id" in text
        text = await fail(agent, "list_session_snapshots", session="a", fields="x")
        assert "input_heap" in text


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "code: Field required"),
    ({"code": 1}, "code: Input should be a valid string"),
    ({"code": "1", "cod": "2"}, "cod: unknown"),
    ({"code": "1", "execution_timeout_secs": 301}, "execution_timeout_secs"),
    ({"code": "1", "execution_timeout_secs": "5"}, "valid integer"),
    ({"code": "1", "heap_memory_max_mb": 1 << 20}, "must be at most"),
    ({"code": "1", "heap": "../x"}, "heap"),
    ({"code": "1", "tags": {"a": 1}}, "tags.a"),
]


async def test_wrong_arguments_are_told(server: Server) -> None:
    async with connect_agent(server.url) as agent:
        for arguments, words in WRONG:
            assert words in await fail(agent, "run_js", **arguments)


@pytest.mark.parametrize("way", NETWORK, ids=str)
async def test_an_unknown_tool_is_an_error_of_the_protocol(
    server: Server, way: Way
) -> None:
    async with connect_agent(server.url, way) as agent:
        with pytest.raises(MCPError, match="run_js"):
            await agent.call_tool("nope", {})


async def test_a_session_is_shared_with_the_other_doors(
    server: Server, client: HttpClient
) -> None:
    headers = {"X-MCP-Session-Id": "shared"}
    async with connect_agent(server.url, Way("http", HANDSHAKE), headers) as agent:
        assert (await run_js(agent, "let there = 1"))["status"] == "completed"
    assert client.text("there + 1", context_id="shared") == "2"


async def test_the_name_of_a_session_is_that_of_the_handshake(
    server: Server, client: HttpClient
) -> None:
    headers = {"X-MCP-Session-Id": "no%0Aname"}
    async with connect_agent(server.url, NETWORK[0], headers) as agent:
        assert "x-mcp-session-id" in await fail(agent, "run_js", code="1")
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    opened = client.post(
        "/mcp", json=asked, headers={**accept, "X-MCP-Session-Id": "named-once"}
    )
    transport = {"Mcp-Session-Id": opened.headers["mcp-session-id"], **accept}
    code = {"name": "run_js", "arguments": {"code": "let once = 5"}}
    asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": code}
    assert "execution_id" in client.post("/mcp", json=asked, headers=transport).text
    async with connect_agent(
        server.url, NETWORK[0], {"X-MCP-Session-Id": "named-once"}
    ) as agent:
        assert (await run_js(agent, "once"))["result"] == "5"
    assert client.delete("/mcp", headers=transport).status_code == 200


async def test_a_big_output_comes_whole(server: Server) -> None:
    lines = 20_000
    async with connect_agent(server.url) as agent:
        code = f"for (let i = 1; i <= {lines}; i++) console.log(i)"
        done = await run_js(agent, code)
        page = {"next_line_offset": 1, "has_more": True}
        got: list[str] = []
        while page["has_more"]:
            page = await call(
                agent,
                "get_execution_output",
                execution_id=done["execution_id"],
                line_offset=page["next_line_offset"],
                line_limit=10_000,
            )
            got += page["data"].split("\n")
        assert got == [str(i) for i in range(1, lines + 1)]


async def test_a_run_goes_on_without_its_client(server: Server) -> None:
    async with connect_agent(server.url, Way("http", HANDSHAKE)) as agent:
        code = "await new Promise(r => setTimeout(r, 300)); 'done'"
        submitted = await call(agent, "run_js", code=code)
    async with connect_agent(server.url, Way("sse")) as agent:
        done = await ended(agent, submitted["execution_id"])
        assert done["result"] == '"done"'
