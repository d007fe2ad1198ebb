"""execute and its companions: values, tools of another MCP server, approvals."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import INVALID_PARAMS, ElicitRequestParams, ElicitResult, ImageContent
from tests.support.agents import (
    DROP,
    HANDSHAKE,
    NETWORK,
    USUAL,
    Way,
    connect_agent,
    execute,
    said,
    usual,
)
from tests.support.client import connect
from tests.support.server import run_server
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp import Client
    from tests.support.server import Server

pytestmark = pytest.mark.anyio

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def tooled(config: Path) -> Iterator[Server]:
    """A server that has tools, for all tests here."""
    with run_server("--config", str(config)) as server:
        yield server


@pytest.mark.parametrize("way", usual(NETWORK), ids=str)
async def test_tools_are_called(tooled: Server, way: Way) -> None:
    async with connect_agent(tooled.url, way) as agent:
        code = (
            "const sums: number[] = await Promise.all("
            "[1, 2].map(async a => (await tools.up.add({a, b: 40})).result));"
            "console.log('added', sums.length); return { sums }"
        )
        done = await execute(agent, code, metadata={"for": "test"})
        assert done["status"] == "completed", done
        assert done["result"] == {"sums": [41, 42]}, done
        assert done["logs"]["stdout"] == ["added 2"]
        assert done["runtimeId"] == "isokernel-v8"
        assert (done["exitCode"], done["error"]) == (0, None)
        assert done["metadata"] == {"for": "test"}
        again = await agent.call_tool("get_task", {"taskId": done["taskId"]})
        assert again.structured_content == done


async def test_failures(tooled: Server) -> None:
    async with connect_agent(tooled.url) as agent:
        failed = await execute(agent, "return nothing")
        assert failed["status"] == "failed"
        assert failed["error"]["name"] == "ReferenceError"
        late = await execute(agent, "for (;;);", timeoutMs=200)
        assert late["status"] == "timed_out"
        code = "try { await tools.up.fail({why: 'x'}) } catch (e) { return e.code }"
        caught = await execute(agent, code)
        assert caught["status"] == "completed"
        assert caught["result"]
        for arguments, words in (
            ({"code": "1", "runtimeId": "bun"}, "isokernel-v8"),
            ({"code": " "}, "code"),
            ({"code": "1", "timeoutMs": 0}, "timeoutMs"),
            ({"code": "1", "resultTimeoutMs": 99}, "resultTimeoutMs"),
            ({"code": "1", "sessionId": "a\nb"}, "sessionId"),
        ):
            result = await agent.call_tool("execute", arguments)
            assert result.is_error
            assert words in said(result)
        for tool in ("get_task", "cancel_task"):
            result = await agent.call_tool(tool, {"taskId": "nope"})
            assert result.is_error
            assert "nope" in said(result)
        result = await agent.call_tool(
            "resume", {"approvalId": "nope", "decision": "approve"}
        )
        assert "get_task shows" in said(result)


async def test_python_runs_too(tooled: Server) -> None:
    async with connect_agent(
        tooled.url, NETWORK[0], {"X-MCP-Session-Id": "py"}
    ) as agent:
        code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\n{'a': [1]}"
        done = await execute(agent, code, runtimeId="python")
        assert (done["status"], done["runtimeId"]) == ("completed", "python")
        assert done["result"] == {"a": [1]}
        assert done["logs"] == {"stdout": ["out"], "stderr": ["err"]}
        assert done["sessionId"] == "py:python"
        await execute(agent, "kept = 7", runtimeId="python")
        assert (await execute(agent, "kept", runtimeId="python"))["result"] == 7
        # Its session is another context than that of JavaScript.
        assert (await execute(agent, "return typeof kept"))["result"] == "undefined"
        for code, result, text in (
            ("None", None, None),
            ("x = 1", None, None),
            ("float('nan')", None, "nan"),
            ("{1}", None, "{1}"),
        ):
            done = await execute(agent, code, runtimeId="python")
            assert (done["result"], done.get("resultText")) == (result, text), code
        cut = await execute(
            agent, "list(range(1000))", runtimeId="python", resultCharactersMax=100
        )
        assert cut["resultCut"]
        assert cut["result"][:2] == [0, 1]
        failed = await execute(agent, "1 / 0", runtimeId="python")
        assert failed["error"]["name"] == "ZeroDivisionError"
        assert "line 1" in failed["error"]["stack"]
        late = await execute(
            agent, "while True: pass", runtimeId="python", timeoutMs=300
        )
        assert late["status"] == "timed_out"
        queued = await agent.call_tool(
            "execute",
            {"code": "while True: pass", "runtimeId": "python", "waitForResult": False},
        )
        task = {"taskId": queued.structured_content["taskId"]}
        ended = await agent.call_tool("cancel_task", task)
        assert ended.structured_content["status"] == "cancelled"
        assert (await execute(agent, "kept", runtimeId="python"))["result"] == 7
        refused = await agent.call_tool(
            "execute", {"code": "1", "runtimeId": "python", "typecheck": True}
        )
        assert "typecheck" in said(refused)
    with connect(tooled) as client:
        client.clean()


@pytest.mark.parametrize("name", ["local-bun", "cloudflare-worker"])
async def test_runtimes_have_other_names(tooled: Server, name: str) -> None:
    async with connect_agent(tooled.url) as agent:
        done = await execute(agent, "return 1", runtimeId=name)
        assert (done["result"], done["runtimeId"]) == (1, "isokernel-v8")


async def test_a_session_persists_and_is_shared(tooled: Server) -> None:
    headers = {"X-MCP-Session-Id": "tasks"}
    async with connect_agent(tooled.url, NETWORK[0], headers) as agent:
        await execute(agent, "globalThis.kept = 7; return 1")
        assert (await execute(agent, "return kept"))["result"] == 7
        other = await execute(agent, "return typeof kept", sessionId="other")
        assert (other["result"], other["sessionId"]) == ("undefined", "other")
    with connect(tooled) as client:
        assert client.text("kept", context_id="tasks") == "7"
        client.clean()


async def test_without_waiting(tooled: Server) -> None:
    async with connect_agent(tooled.url) as agent:
        queued = await agent.call_tool(
            "execute", {"code": "return 5", "waitForResult": False}
        )
        assert not queued.is_error
        task_id = queued.structured_content["taskId"]
        assert said(queued).startswith(f"Queued task {task_id}")
        done = await agent.call_tool(
            "get_task", {"taskId": task_id, "resultTimeoutMs": 30_000}
        )
        assert done.structured_content["result"] == 5
        slow = await execute(agent, "for (;;);", resultTimeoutMs=100)
        assert slow["status"] in {"queued", "running"}
        ended = await agent.call_tool("cancel_task", {"taskId": slow["taskId"]})
        assert ended.structured_content["status"] == "cancelled"


async def test_what_is_displayed_is_content(tooled: Server) -> None:
    async with connect_agent(tooled.url) as agent:
        code = (
            f"display.png('{PICTURE}'); display.html('<b>x</b>');"
            "display.md('*m*'); return 1"
        )
        result = await agent.call_tool("execute", {"code": code})
        kinds = [block.type for block in result.content]
        assert kinds[:2] == ["text", "image"], said(result)
        image = result.content[1]
        assert isinstance(image, ImageContent)
        assert image.mime_type == "image/png"
        assert base64.b64decode(image.data).startswith(b"\x89PNG")
        assert "*m*" in [getattr(block, "text", "") for block in result.content]


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        ("audio/wav", "audio"),
        ("application/pdf", "resource"),
        ("application/octet-stream", "resource"),
        ("image/svg+xml", "resource"),
        ("application/geo+json", "resource"),
    ],
)
async def test_all_kinds_of_displays_are_content(
    tooled: Server, kind: str, block: str
) -> None:
    value = {"image/svg+xml": "<svg/>", "application/geo+json": {"type": "Point"}}
    shown = value.get(kind)
    given = "new Uint8Array([0, 255, 7])" if shown is None else json.dumps(shown)
    async with connect_agent(tooled.url) as agent:
        code = f"display({{'{kind}': {given}, 'text/plain': 'it'}}, {{raw: true}})"
        result = await agent.call_tool("execute", {"code": f"{code}; return 1"})
        assert [part.type for part in result.content] == ["text", block], said(result)
        content: Any = result.content[1]
        if block == "audio":
            assert (content.mime_type, content.data) == (kind, "AP8H")
            return
        resource = content.resource
        task_id = result.structured_content["taskId"]
        assert str(resource.uri) == f"task://{task_id}/displays/0"
        assert resource.mime_type == kind
        if shown is None:
            assert base64.b64decode(resource.blob) == b"\x00\xff\x07"
        else:
            text = resource.text
            assert (text if isinstance(shown, str) else json.loads(text)) == shown


@pytest.mark.parametrize(
    ("way", "decision"),
    # Each way over a network is asked once, by one server for all. Over stdio a server
    # and its source start for each.
    [
        *((way, "approve" if way in USUAL else "deny") for way in NETWORK),
        (Way("stdio"), "approve"),
        *(
            pytest.param(way, decision, marks=pytest.mark.slow)
            for way, decision in (
                *((way, "deny" if way in USUAL else "approve") for way in NETWORK),
                (Way("stdio", HANDSHAKE), "approve"),
            )
        ),
    ],
    ids=str,
)
async def test_the_client_is_asked(
    tooled: Server, config: Path, way: Way, decision: str
) -> None:
    asked: list[str] = []

    async def answer(_context: Any, question: ElicitRequestParams) -> ElicitResult:
        asked.append(question.message)
        content: dict[str, Any] = {"decision": decision, "reason": "because"}
        return ElicitResult(action="accept", content=content)

    flags = ("--config", str(config))
    async with connect_agent(
        tooled.url, way, flags=flags, elicitation_callback=answer
    ) as agent:
        done = await execute(agent, DROP)
        again = await agent.call_tool("get_task", {"taskId": done["taskId"]})
        assert again.structured_content == done
        late = await agent.call_tool("cancel_task", {"taskId": done["taskId"]})
        assert late.is_error
    (message,) = asked
    assert "up.drop" in message
    assert '"users"' in message
    if decision == "approve":
        assert done["status"] == "completed", done
        assert done["result"] == {"result": "dropped users"}
    else:
        assert done["status"] == "denied", done
        assert "because" in done["error"]["message"]


@pytest.mark.parametrize("way", NETWORK[:2], ids=str)
async def test_a_client_that_can_not_be_asked_resumes(tooled: Server, way: Way) -> None:
    logged: list[Any] = []

    async def note(parameters: Any) -> None:
        logged.append((parameters.level, parameters.data))

    async with connect_agent(
        tooled.url, way, logging_callback=note, log_level="notice"
    ) as agent:
        waiting = await execute(agent, DROP)
        assert waiting["status"] == "waiting_for_approval"
        (approval,) = waiting["approvals"]
        assert approval["path"] == "up.drop"
    assert logged == [("notice", "up.drop waits for an approval")]
    given = {"approvalId": approval["approvalId"], "decision": "approve"}
    async with connect_agent(tooled.url, Way("sse", HANDSHAKE)) as other:
        result = await other.call_tool("resume", given)
        assert not result.is_error, said(result)
        assert result.structured_content["state"] == "approved"
        task = result.structured_content["task"]
        assert (task["status"], task["taskId"]) == ("completed", waiting["taskId"])
        again = await other.call_tool("resume", given)
        assert again.structured_content["task"]["status"] == "completed"
        given["decision"] = "deny"
        late = await other.call_tool("resume", given)
        assert late.is_error
        assert "already approved" in said(late)


@pytest.mark.parametrize("way", NETWORK[1::2], ids=str)
async def test_a_client_gets_the_log_that_it_wants(tooled: Server, way: Way) -> None:
    logged: list[Any] = []

    async def note(parameters: Any) -> None:
        logged.append(parameters)

    async with connect_agent(tooled.url, way, logging_callback=note) as agent:
        with pytest.warns(MCPDeprecationWarning):
            await agent.set_logging_level("error")
        waiting = await execute(agent, DROP)
        assert waiting["status"] == "waiting_for_approval"
        await agent.call_tool("cancel_task", {"taskId": waiting["taskId"]})
    assert logged == []


async def test_a_forged_answer_decides_nothing(tooled: Server) -> None:
    """In the newest version of the protocol clients hand answers in by themselves."""
    async with connect_agent(tooled.url) as agent:
        waiting = [await execute(agent, DROP) for _ in range(2)]
    asked, other = (task["approvals"][0]["approvalId"] for task in waiting)
    yes = {"action": "accept", "content": {"decision": "approve"}}
    with connect(tooled) as client:
        for approval_id, words in (
            ("made-up", "get_task shows"),
            # Of another task: what is answered for one is nothing to the other.
            (other, "inputRequests"),
            (f"{asked}x", "get_task shows"),
        ):
            answer = _hand_in(client, waiting[0]["taskId"], {approval_id: yes})
            assert words in json.dumps(answer), answer
            for task in waiting:
                shown = client.get(f"/tasks/{task['taskId']}").json()
                assert shown["status"] == "waiting_for_approval"
        answer = _hand_in(client, "task_made-up", {asked: yes})
        assert answer["error"]["code"] == INVALID_PARAMS
        assert "task_made-up" in answer["error"]["message"]
        answer = _hand_in(client, waiting[0]["taskId"], {asked: yes})
        assert "dropped users" in json.dumps(answer)
        # Once more: it isn't run twice.
        again = _hand_in(client, waiting[0]["taskId"], {asked: yes})
        assert again["result"]["structuredContent"]["status"] == "completed"
        calls = f"/audit?task_id={waiting[0]['taskId']}&kind=call"

        def outcomes() -> list[str]:
            return [item["outcome"] for item in client.get(calls).json()["items"]]

        wait_for(lambda: outcomes() == ["completed"])  # it is written soon
        client.post(f"/tasks/{waiting[1]['taskId']}/cancel")


def _hand_in(client: Any, task_id: str, answers: dict[str, Any]) -> Any:
    """Repeat a call of execute with answers, as clients do in 2026-07-28."""
    prefix = "io.modelcontextprotocol"
    version = "2026-07-28"
    parameters = {
        "name": "execute",
        "arguments": {"code": DROP, "resultTimeoutMs": 5000},
        "requestState": task_id,
        "inputResponses": answers,
        "_meta": {
            f"{prefix}/protocolVersion": version,
            f"{prefix}/clientCapabilities": {"elicitation": {"form": {}}},
            f"{prefix}/clientInfo": {"name": "test", "version": "1"},
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "Mcp-Protocol-Version": version,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "execute",
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    answer = client.post("/mcp", json=asked, headers=headers)
    if not answer.headers["Content-Type"].startswith("text/event-stream"):
        return answer.json()
    lines = [line for line in answer.text.splitlines() if line.startswith("data:")]
    return json.loads(lines[-1].removeprefix("data:"))


async def test_an_approval_comes_from_elsewhere(tooled: Server) -> None:
    results: list[Any] = []
    code = DROP.replace("users", "elsewhere")

    async def run(agent: Client) -> None:
        results.append(await execute(agent, code))

    async with connect_agent(tooled.url) as agent:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run, agent)
                await anyio.to_thread.run_sync(_approve, tooled, "elsewhere")
        # It may have answered that it waits, a moment before it was approved.
        given = {"taskId": results[0]["taskId"], "resultTimeoutMs": 30_000}
        done = await agent.call_tool("get_task", given)
        assert done.structured_content["status"] == "completed", said(done)
        assert done.structured_content["result"] == {"result": "dropped elsewhere"}


def _approve(server: Server, name: str) -> None:
    """Approve the call with a name in its input; others may be waiting too."""
    with connect(server) as client:

        def asked() -> list[dict[str, Any]]:
            items = client.get("/approvals").json()["items"]
            return [item for item in items if f'"{name}"' in item["input"]]

        found = wait_for(asked)
        answer = client.post(
            f"/approvals/{found[0]['id']}", json={"decision": "approved"}
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("way", NETWORK, ids=str)
async def test_a_cancelled_request_ends_its_task(tooled: Server, way: Way) -> None:
    async with connect_agent(tooled.url, way) as agent:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                arguments = {"code": "for (;;);", "metadata": {"way": str(way)}}
                group.start_soon(agent.call_tool, "execute", arguments)
                await anyio.to_thread.run_sync(_wait_status, tooled, way, "running")
                group.cancel_scope.cancel()
        await anyio.to_thread.run_sync(_wait_status, tooled, way, "cancelled")


async def test_tasks_go_on_without_their_client(tooled: Server, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    code = f"return await tools.up.until({{path: {json.dumps(str(lost))}}})"
    ways = NETWORK[1:]
    # As a process that is killed: the connections end, and nothing is said.
    program = (
        "import anyio, json, os, sys\n"
        "from tests.support.agents import Way, connect_agent\n"
        "url, code, *ways = sys.argv[1:]\n"
        "async def ask(way):\n"
        "    arguments = {'code': code, 'metadata': {'way': f'lost {way}'}}\n"
        "    async with connect_agent(url, way) as agent:\n"
        "        await agent.call_tool('execute', arguments)\n"
        "async def main():\n"
        "    async with anyio.create_task_group() as group:\n"
        "        for way in ways:\n"
        "            group.start_soon(ask, Way(*json.loads(way)))\n"
        "        await anyio.to_thread.run_sync(sys.stdin.readline)\n"
        "        os._exit(0)\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", program, tooled.url, code, *map(json.dumps, ways)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(  # noqa: ASYNC220 - waited for in threads
        command, stdin=subprocess.PIPE, cwd=root
    ) as process:
        for way in ways:
            await anyio.to_thread.run_sync(
                _wait_status, tooled, f"lost {way}", "running"
            )
        process.communicate(b"\n", DEADLINE)
    await anyio.Path(lost).touch()
    for way in ways:
        await anyio.to_thread.run_sync(_wait_status, tooled, f"lost {way}", "completed")


def _wait_status(server: Server, way: object, status: str) -> None:
    with connect(server) as client:

        def reached() -> bool:
            tasks = client.get("/tasks").json()["tasks"]
            found = [task for task in tasks if task["metadata"].get("way") == str(way)]
            return bool(found and found[0]["status"] == status)

        wait_for(reached)


@pytest.mark.parametrize("way", NETWORK[::3], ids=str)
async def test_what_is_printed_is_progress(
    tooled: Server, way: Way, tmp_path: Path
) -> None:
    told: list[str] = []
    all_told = anyio.Event()
    files = [str(tmp_path / str(number)) for number in range(2)]

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        assert progress == len(told) + 1
        told.append(message or "")
        # The code goes on when the client has heard so far.
        if len(told) <= len(files):
            await anyio.Path(files[len(told) - 1]).touch()
        else:
            all_told.set()

    async with connect_agent(tooled.url, way) as agent:
        code = (
            f"let i = 0; for (const path of {json.dumps(files)}) {{"
            " console.log(i++); await tools.up.until({path}) }"
            " console.log(i); return 1"
        )
        result = await agent.call_tool(
            "execute", {"code": code}, progress_callback=note
        )
        assert not result.is_error, said(result)
        # The client gives the answer away before the last callback has run.
        with anyio.fail_after(DEADLINE):
            await all_told.wait()
    assert told == ["0", "1", "2"]


async def test_too_many_tasks_are_refused(servers: Callable[..., Server]) -> None:
    server = servers("--execute-rate-per-minute", "1")
    async with connect_agent(server.url) as agent:
        assert (await execute(agent, "return 1"))["result"] == 1
        result = await agent.call_tool("execute", {"code": "return 1"})
        assert result.is_error
        assert "Too many executions: try again in" in said(result)
        assert (await agent.list_tools()).tools
    # Over HTTP it is the same rate, and what is refused was nothing.
    with connect(server) as client:
        answer = client.post("/tasks", json={"code": "return 1"})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "too many executions" in answer.json()["message"].lower()
        assert len(client.get("/tasks").json()["tasks"]) == 1


async def test_types_are_checked_first(tooled: Server) -> None:
    async with connect_agent(tooled.url) as agent:
        code = (
            "console.log('ran')\nreturn (await tools.up.add({a: 'one', b: 2})).result"
        )
        result = await agent.call_tool("execute", {"code": code, "typecheck": True})
        assert result.is_error
        answer = result.structured_content
        (found,) = answer["diagnostics"]
        assert found["line"] == 2
        assert f"2:{found['column']} - TS{found['code']}" in said(result)
        assert answer["logs"]["stdout"] == []


async def test_text_is_enough_to_debug_with(tooled: Server) -> None:
    """For clients that read text only: output, error with its place, the value."""
    async with connect_agent(tooled.url) as agent:
        code = "console.log('seen'); const a = 1;\nnull.x"
        failed = said(await agent.call_tool("execute", {"code": code}))
        assert "stdout:\nseen" in failed
        assert "TypeError: Cannot read properties of null" in failed
        assert ":2:" in failed
        code = "```ts\nasync () => ({ m: new Map([[1, 2]]), half: '\\ud83d' })\n```"
        done = said(await agent.call_tool("execute", {"code": code}))
        assert "JSON has no form for $.m (Map)" in done
        assert "Map(1) { 1 => 2 }" in done


@pytest.mark.parametrize(
    "way",
    [
        NETWORK[1],
        *(pytest.param(way, marks=pytest.mark.slow) for way in NETWORK[2:]),
    ],
    ids=str,
)
async def test_large_answers_are_cut_for_the_client(tooled: Server, way: Way) -> None:
    """No event is more than they take; NETWORK[0] answers with JSON, of any size."""
    async with connect_agent(tooled.url, way) as agent:
        for code in (
            "return Array.from({ length: 5e5 }, (_, i) => i)",
            "return 'é'.repeat(3e6)",
            "return '\\u0000'.repeat(1e6)",
            "for (let i = 0; i < 1e5; i++) console.log('line', i); return 1",
        ):
            done = await execute(agent, code)
            assert done["status"] == "completed"
            assert len(json.dumps(done)) < 1_000_000
        done = await execute(agent, "return Array.from({ length: 5e5 }, (_, i) => i)")
        assert (done["result"][0], done["result"][-1]) == (0, 499_999)
        assert done["resultCut"]
        assert "the HTTP API has all of it" in done["resultNote"]


@pytest.mark.slow
async def test_late_answers_are_cut_as_events_are(tooled: Server) -> None:
    """The SDK's server makes an event of what has taken 15 s, JSON otherwise."""
    code = "await new Promise((go) => setTimeout(go, 16_000)); return 'x'.repeat(3e6)"
    async with connect_agent(tooled.url, NETWORK[0]) as agent:
        done = await execute(agent, code)
    assert done["status"] == "completed"
    assert len(json.dumps(done)) < 1_000_000
    assert "the HTTP API has all of it" in done["resultNote"]
