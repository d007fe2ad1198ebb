"""Two workspaces over MCP: connections, tools and resources of each other's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.workspaces import executed, make_approval, make_task, use_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client
    from tests.support.workspaces import Two

pytest.importorskip("isoserver.mcp")

ACCEPT = {"Accept": "application/json, text/event-stream"}
CONNECTION = "Mcp-Session-Id"
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
ABSENT = {
    "execution_id": "nobody",
    "heap": "0" * 64,
    "session": "nobody",
    "taskId": "nobody",
    "approvalId": "nobody",
}
"""What tools name, and an id that nobody has."""
MADE = {"sessionId", "runtimeId"}
"""What a tool makes under the name that is given, or that is nobody's own."""
OTHERS: dict[str, dict[str, Any]] = {
    # What else tools want.
    "set_heap_tags": {"tags": {"a": "b"}},
    "run_js": {"code": "1"},
    "resume": {"decision": "deny"},
}
LISTS: dict[str, dict[str, Any]] = {
    "list_executions": {},
    "list_sessions": {},
    "query_heaps_by_tags": {"tags": {}},
}


def _post(client: Client, message: dict[str, Any], **headers: str) -> Any:
    content = {"jsonrpc": "2.0", **message}
    return client.post("/mcp", json=content, headers={**ACCEPT, **headers})


class Agent:
    """A connection of a client's."""

    def __init__(self, client: Client) -> None:
        self.client = client
        opened = _post(client, {"id": 0, "method": "initialize", "params": INITIALIZE})
        assert opened.status_code == 200, opened.text
        self.connection = opened.headers[CONNECTION]

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        message = {"id": 1, "method": method, "params": parameters}
        answer = _post(self.client, message, **{CONNECTION: self.connection})
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.splitlines() if line.startswith("data:")]
        found: dict[str, Any] = json.loads(lines[-1].removeprefix("data:"))
        return found

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("tools/call", name=tool, arguments=arguments)
        result: dict[str, Any] = found["result"]
        return result

    def close(self) -> None:
        self.client.delete("/mcp", headers={CONNECTION: self.connection})


@pytest.fixture
def agents(two: Two) -> Iterator[tuple[Agent, Agent]]:
    """An agent of red's, and one of blue's."""
    made = (Agent(two.red), Agent(two.blue))
    yield made
    for agent in made:
        agent.close()


@pytest.fixture
def red_has(two: Two) -> dict[str, str]:
    """Red's things, by what tools call them."""
    done = executed(two.red, tags={"owner": "red"})
    return {
        "execution_id": done["execution_id"],
        "heap": done["heap"],
        "session": use_session(two.red),
        "taskId": make_task(two.red),
        "approvalId": make_approval(two),
    }


def test_tools_do_not_show_what_another_has(
    agents: tuple[Agent, Agent], red_has: dict[str, str]
) -> None:
    red, blue = agents
    tried = set()
    for tool in blue.ask("tools/list")["result"]["tools"]:
        name, given = tool["name"], tool["inputSchema"].get("properties", {})
        for parameter in given:
            if not re.search(r"(^|_)(id|heap|session|key)$|[a-z]Id$", parameter):
                continue
            if parameter in MADE:
                continue
            assert parameter in ABSENT, f"say what {name} means by {parameter}"
            rest = OTHERS.get(name, {})
            foreign = blue.call(name, **rest, **{parameter: red_has[parameter]})
            absent = blue.call(name, **rest, **{parameter: ABSENT[parameter]})
            texts = [
                json.dumps(answer).replace(each, "ID")
                for answer, each in (
                    (foreign, red_has[parameter]),
                    (absent, ABSENT[parameter]),
                )
            ]
            assert texts[0] == texts[1], name
            tried.add(name)
    assert {"get_execution", "get_heap_tags", "run_js", "get_task", "resume"} <= tried
    assert red.call("get_heap_tags", heap=red_has["heap"])["structuredContent"] == {
        "tags": {"owner": "red"}
    }
    mine = red.call("get_execution", execution_id=red_has["execution_id"])
    assert mine["structuredContent"]["status"] == "completed"


def test_lists_of_tools_do_not_either(
    agents: tuple[Agent, Agent], red_has: dict[str, str]
) -> None:
    red, blue = agents
    for tool, arguments in LISTS.items():
        shown = json.dumps(red.call(tool, **arguments))
        hidden = json.dumps(blue.call(tool, **arguments))
        assert any(each in shown for each in red_has.values()), tool
        assert not any(each in hidden for each in red_has.values()), tool


def test_resources_do_not_either(
    agents: tuple[Agent, Agent], red_has: dict[str, str]
) -> None:
    red, blue = agents
    for template, name in (
        ("execution://{}", "execution_id"),
        ("execution://{}/output", "execution_id"),
        ("heap://{}", "heap"),
    ):
        place = template.format(red_has[name])
        assert "result" in red.ask("resources/read", uri=place)
        foreign = blue.ask("resources/read", uri=place)
        absent = blue.ask("resources/read", uri=template.format(ABSENT[name]))
        assert "error" in foreign
        assert json.dumps(foreign).replace(red_has[name], "ID") == json.dumps(
            absent
        ).replace(ABSENT[name], "ID")


def test_a_task_runs_in_its_own_workspace(
    agents: tuple[Agent, Agent], red_has: dict[str, str]
) -> None:
    red, blue = agents
    for agent, seen in ((red, "string"), (blue, "undefined")):
        given = {"code": "return typeof mine", "sessionId": red_has["session"]}
        assert agent.call("execute", **given)["structuredContent"]["result"] == seen


def test_a_session_of_one_name_is_another_in_another_workspace(
    two: Two, red_has: dict[str, str]
) -> None:
    session = red_has["session"]
    message = {"id": 0, "method": "initialize", "params": INITIALIZE}
    opened = _post(two.blue, message, **{"X-MCP-Session-Id": session})
    agent = Agent.__new__(Agent)
    agent.client, agent.connection = two.blue, opened.headers[CONNECTION]
    history = agent.call("list_session_snapshots")["structuredContent"]["entries"]
    assert history == []
    agent.close()


def test_connections_of_another_are_as_if_they_were_not(
    two: Two, agents: tuple[Agent, Agent]
) -> None:
    red, _ = agents
    message = {"id": 5, "method": "tools/list"}
    for method in ("POST", "DELETE"):
        answers = [
            two.blue.request(
                method,
                "/mcp",
                json={"jsonrpc": "2.0", **message} if method == "POST" else None,
                headers={**ACCEPT, CONNECTION: connection},
            )
            for connection in (red.connection, "0" * 32)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text == answers[1].text
    assert "result" in red.ask("tools/list")


def test_streams_of_another_take_no_messages(two: Two) -> None:
    message = {"jsonrpc": "2.0", "id": 5, "method": "ping"}
    with two.red.stream("GET", "/sse") as stream:
        lines = stream.iter_lines()
        place = next(line for line in lines if line.startswith("data:"))[5:].strip()
        absent = re.sub("session_id=.*", f"session_id={'0' * 32}", place)
        answers = [two.blue.post(each, json=message) for each in (place, absent)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text == answers[1].text
        assert two.red.post(place, json=message).status_code == 202
