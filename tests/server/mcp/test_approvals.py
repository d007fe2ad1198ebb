"""Approvals of what code wants beyond its context, asked of clients over MCP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp_types import ElicitRequestParams, ElicitResult
from tests.support.agents import (
    HANDSHAKE,
    MODERN,
    USUAL,
    WAYS,
    Way,
    connect_agent,
    execute,
    said,
)
from tests.support.client import connect
from tests.support.networks import Site, serve_site
from tests.support.registry import serve_registry
from tests.support.server import run_server
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp import Client
    from tests.support.server import Server

pytestmark = pytest.mark.anyio

ADMIN, USER = (f"the-secret-key-of-the-{name}" for name in ("admin", "user"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve_site() as site:
        yield site


@pytest.fixture(scope="module")
def asking(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a server where one of each capability is asked for."""
    folder = tmp_path_factory.mktemp("approvals")
    with serve_registry() as registry:
        registry.publish("asked", files={"index.js": "export const n = 42"})
        npmrc = registry.write_npmrc(folder)
        file = folder / "server.toml"
        file.write_text(
            "execute_approval_wait_seconds = 0.5\n"
            'languages = ["javascript", "typescript"]\n'
            'default_language = "typescript"\n'
            'modules = "ask"\n'
            f'net = ["127.0.0.1:{site.port}"]\n'
            f"package_npmrc = {json.dumps(str(npmrc))}\n"
            f"package_cache_dir = {json.dumps(str(folder / 'cache'))}\n"
            "[[capability_rules]]\n"
            'effect = "require_approval"\ncapability = "net"\nworkspace = "*"\n'
            "[[capability_rules]]\n"
            'effect = "require_approval"\ncapability = "files"\n'
            'target = "asked/**"\nworkspace = "*"\n'
        )
        yield file


@pytest.fixture(scope="module")
def server(asking: Path) -> Iterator[Server]:
    with run_server("--config", str(asking)) as made:
        yield made


@pytest.fixture(scope="module")
def stateless(asking: Path) -> Iterator[Server]:
    with run_server("--config", str(asking), "--stateless") as made:
        yield made


class Person:
    """Answers what is asked, always alike.

    Attributes:
        asked: The questions.
    """

    def __init__(self, decision: str = "approve", action: Any = "accept") -> None:
        self.asked: list[str] = []
        self._decision = decision
        self._action = action

    async def __call__(
        self, _context: Any, question: ElicitRequestParams
    ) -> ElicitResult:
        self.asked.append(question.message)
        content: dict[str, Any] = {"decision": self._decision, "reason": "because"}
        return ElicitResult(
            action=self._action, content=content if self._action == "accept" else None
        )


def code_for(site: Site) -> dict[str, tuple[str, str]]:
    """Code that needs an approval, and what the question is about."""
    return {
        "net": (f"(await fetch('{site.url}/count')).status", f"{site.url}/count"),
        "modules": ("(await import('npm:asked')).n", "npm:asked@1.0.0"),
        "files": (
            "const fs = require('node:fs'); fs.mkdirSync('asked');"
            " fs.writeFileSync('asked/a.txt', 'x'); 7",
            "/asked",
        ),
    }


RESULTS = {"net": "200", "modules": "42", "files": "7"}


async def ended(agent: Client, execution_id: str) -> dict[str, Any]:
    """Ask for an execution until it is over."""
    with anyio.fail_after(DEADLINE):
        while True:
            answer = await agent.call_tool(
                "get_execution", {"execution_id": execution_id}
            )
            found: dict[str, Any] = answer.structured_content or {}
            if found["status"] != "running":
                return found
            await anyio.sleep(0.02)


ASKED = [
    *((Way("http"), what, "approve") for what in RESULTS),
    (Way("http"), "net", "deny"),
    *((way, "net", "approve") for way in WAYS if way != Way("http")),
    *((Way("sse", HANDSHAKE), what, "deny") for what in ("files", "modules")),
]


@pytest.mark.parametrize(("way", "what", "decision"), ASKED, ids=str)
async def test_execute_asks(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    server: Server, asking: Path, site: Site, way: Way, what: str, decision: str
) -> None:
    person = Person(decision)
    code, about = code_for(site)[what]
    flags = ("--config", str(asking))
    async with connect_agent(
        server.url, way, flags=flags, elicitation_callback=person
    ) as agent:
        done = await execute(agent, code)
    assert person.asked, done
    assert f"beyond its context ({what})" in person.asked[0]
    assert about in person.asked[0]
    if decision == "approve":
        assert done["status"] == "completed", done
        assert done["result"] == int(RESULTS[what])
    else:
        assert len(person.asked) == 1
        assert done["status"] == "failed", done
        assert "because" in done["error"]["message"]


@pytest.mark.parametrize(("way", "what", "decision"), ASKED, ids=str)
async def test_run_js_asks(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    server: Server, asking: Path, site: Site, way: Way, what: str, decision: str
) -> None:
    person = Person(decision)
    code, about = code_for(site)[what]
    flags = ("--config", str(asking))
    async with connect_agent(
        server.url, way, flags=flags, elicitation_callback=person
    ) as agent:
        begun = await agent.call_tool("run_js", {"code": code})
        assert begun.structured_content, said(begun)
        done = await ended(agent, begun.structured_content["execution_id"])
    assert person.asked, done
    assert about in person.asked[0]
    if decision == "approve":
        assert (done["status"], done["result"]) == ("completed", RESULTS[what]), done
    else:
        assert len(person.asked) == 1
        assert done["status"] == "failed", done
        assert "because" in done["error"]


@pytest.mark.parametrize("decision", ["approve", "deny"])
@pytest.mark.parametrize(
    "way",
    [w if w in USUAL else pytest.param(w, marks=pytest.mark.slow) for w in WAYS],
    ids=str,
)
async def test_stateless_run_js_asks(
    stateless: Server, asking: Path, site: Site, way: Way, decision: str
) -> None:
    person = Person(decision)
    flags = ("--config", str(asking), "--stateless")
    code = f"console.log('before'); console.log({code_for(site)['net'][0]})"
    async with connect_agent(
        stateless.url, way, flags=flags, elicitation_callback=person
    ) as agent:
        result = await agent.call_tool("run_js", {"code": code})
    assert len(person.asked) == 1
    answer = result.structured_content or {}
    if decision == "approve":
        assert answer == {"output": "before\n200"}
    else:
        assert answer["output"] == "before"
        assert "because" in answer["error"]


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_task_asks_after_its_answer(
    server: Server, site: Site, transport: str
) -> None:
    """On the connection, as the stream of the request is closed by then."""
    person = Person()
    way = Way(transport, HANDSHAKE)
    pause = "await new Promise((done) => setTimeout(done, 300));"
    code = f"{pause} {code_for(site)['net'][0]}"
    async with connect_agent(server.url, way, elicitation_callback=person) as agent:
        begun = await execute(agent, code, waitForResult=False)
        given = {"taskId": begun["taskId"], "resultTimeoutMs": 30_000}
        done = (await agent.call_tool("get_task", given)).structured_content or {}
    assert len(person.asked) == 1
    assert (done["status"], done["result"]) == ("completed", 200)


async def test_one_approval_is_for_the_context(server: Server, site: Site) -> None:
    person = Person()
    fetch = f"(await fetch('{site.url}/count')).status"
    headers = {"X-MCP-Session-Id": "approved-once"}
    async with connect_agent(
        server.url, Way("http"), headers, elicitation_callback=person
    ) as agent:
        assert (await execute(agent, fetch))["result"] == 200
        assert (await execute(agent, fetch))["result"] == 200
    assert len(person.asked) == 1
    with connect(server) as client:
        client.delete("/contexts/approved-once")


@pytest.mark.parametrize("era", [MODERN, HANDSHAKE])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_client_that_can_not_be_asked_resumes(
    server: Server, site: Site, era: str, decision: str
) -> None:
    code = code_for(site)["net"][0]
    async with connect_agent(server.url, Way("http", era)) as agent:
        waiting = await execute(agent, code)
        assert waiting["status"] == "waiting_for_approval"
        (approval,) = waiting["approvals"]
        assert approval["path"] == "net"
        assert f"{site.url}/count" in approval["input"]
        begun = await agent.call_tool("run_js", {"code": code})
        execution = {"execution_id": (begun.structured_content or {})["execution_id"]}
        with anyio.fail_after(DEADLINE):
            while True:
                shown = await agent.call_tool("get_execution", execution)
                found = shown.structured_content or {}
                if found.get("approvals"):
                    break
                await anyio.sleep(0.02)
        assert found["status"] == "running"
        (other,) = found["approvals"]
        assert other["approvalId"] != approval["approvalId"]
        told = " ".join(getattr(block, "text", "") for block in shown.content)
        assert f"call resume with approvalId {other['approvalId']}" in told
        given = {"decision": decision, "reason": "because"}
        resumed = await agent.call_tool(
            "resume", {"approvalId": approval["approvalId"], **given}
        )
        task = (resumed.structured_content or {})["task"]
        resumed = await agent.call_tool(
            "resume", {"approvalId": other["approvalId"], **given}
        )
        assert not resumed.is_error, said(resumed)
        assert execution["execution_id"] in said(resumed)
        done = await ended(agent, execution["execution_id"])
        if decision == "approve":
            assert (task["status"], task["result"]) == ("completed", 200)
            assert (done["status"], done["result"]) == ("completed", "200")
        else:
            assert "because" in task["error"]["message"]
            assert "because" in done["error"]


async def test_a_dismissed_question_decides_nothing(server: Server, site: Site) -> None:
    """The way over REST remains; the client isn't asked for ever."""
    person = Person(action="cancel")
    code = code_for(site)["net"][0]
    async with connect_agent(
        server.url, Way("http"), elicitation_callback=person
    ) as agent:
        begun = await agent.call_tool("run_js", {"code": code})
        execution = {"execution_id": (begun.structured_content or {})["execution_id"]}
        with anyio.fail_after(DEADLINE):
            while not person.asked:
                shown = await agent.call_tool("get_execution", execution)
        (approval,) = (shown.structured_content or {})["approvals"]
        with connect(server) as client:
            answer = client.post(
                f"/approvals/{approval['approvalId']}", json={"decision": "approved"}
            )
            assert answer.status_code == 200, answer.text
        done = await ended(agent, execution["execution_id"])
    assert (done["status"], done["result"]) == ("completed", "200")


async def test_a_cancelled_run_withdraws_its_approval(
    server: Server, site: Site
) -> None:
    code = code_for(site)["net"][0]
    with connect(server) as client:
        execution = client.submit(code)
        approval = wait_for(
            lambda: next(
                (
                    item
                    for item in client.get("/approvals").json()["items"]
                    if item["task_id"] == execution
                ),
                None,
            )
        )
        assert client.post(f"/api/executions/{execution}/cancel").status_code == 200
        place = f"/approvals/{approval['id']}"
        assert wait_for(lambda: client.get(place).json()["state"] == "withdrawn")


@pytest.fixture
def keyed(asking: Path) -> Iterator[Server]:
    """A server with a key of each kind."""
    file = asking.with_name("keyed.toml")
    file.write_text(
        f'{asking.read_text()}[[workspaces]]\nname = "red"\n'
        f'api_keys = [{{ key = "{ADMIN}", admin = true }}, {{ key = "{USER}" }}]\n'
    )
    with run_server("--config", str(file)) as made:
        yield made


async def test_who_may_not_approve_is_not_asked(keyed: Server, site: Site) -> None:
    person = Person()
    code = code_for(site)["net"][0]
    headers = {"X-API-Key": USER}
    for era in (MODERN, HANDSHAKE):
        async with connect_agent(
            keyed.url, Way("http", era), headers, elicitation_callback=person
        ) as agent:
            waiting = await execute(agent, code)
            assert waiting["status"] == "waiting_for_approval", waiting
            (approval,) = waiting["approvals"]
            given = {"approvalId": approval["approvalId"], "decision": "approve"}
            refused = await agent.call_tool("resume", given)
            assert refused.is_error
            assert "may not approve" in said(refused)
            await agent.call_tool("cancel_task", {"taskId": waiting["taskId"]})
    assert person.asked == []
    headers = {"X-API-Key": ADMIN}
    async with connect_agent(
        keyed.url, Way("http"), headers, elicitation_callback=person
    ) as agent:
        assert (await execute(agent, code))["result"] == 200
    assert len(person.asked) == 1
