"""Sources, rules, approvals and the audit over REST, of a real server."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.support.client import connect
from tests.support.programs import UPSTREAM
from tests.support.server import Server, run_server
from tests.support.starts import program_command, run_isokernel
from tests.support.tools import tools_on
from tests.support.waiting import wait_for

from isoserver.app import ROUTES
from isoserver.cli.serve import load, serve
from isoserver.errors import ToolError
from isoserver.http.openapi import make_document
from isoserver.tools.calls import Call
from isoserver.tools.routes import TOOL_ROUTES

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.postgresql import PostgreSQL

KEY = "a-key-that-is-in-no-answer"
ADMIN = "key-of-the-administrator-0123456789"
AGENT = "key-of-the-agent-0123456789abcdef"
FILE = f"""
[[workspaces]]
name = "default"
api_keys = [
    {{ key = "{ADMIN}", client = "ops", admin = true }},
    {{ key = "{AGENT}", client = "agent" }},
]

[[sources]]
type = "openapi"
name = "elsewhere"
workspace = "other"
document = "http://127.0.0.1:1/openapi.json?key=hidden"
auth = {{ type = "api_key", value = "{KEY}", query = "key" }}

[[policies]]
effect = "deny"
tool = "up.drop"

[[policies]]
effect = "allow"
tool = "**"
workspace = "other"
conditions = [{{ key = "a.b", operator = "matches", value = "^x" }}]

[[sources]]
type = "mcp"
name = "up"
env = {{ KEY = {{ env = "UPSTREAM_KEY" }} }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    command, *arguments = program_command(UPSTREAM, "stdio")
    started = f"command = {json.dumps(command)}\nargs = {json.dumps(arguments)}\n"
    (folder / "isokernel.toml").write_text(FILE + started)
    return folder


@contextmanager
def serving(folder: Path, data: Path, *flags: str) -> Iterator[Server]:
    """A server with the file in a folder."""
    flags = (
        *flags,
        "--config",
        str(folder / "isokernel.toml"),
        "--data-dir",
        str(data),
    )
    flags += ("--languages", "javascript", "--default-language", "javascript")
    with run_server(*flags, "--sources-private", env={"UPSTREAM_KEY": KEY}) as server:
        yield server
    assert KEY not in server.said


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, folder) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connect(server, **{"X-API-Key": ADMIN}) as made:
        yield made


def check(answer: Any, status: int, model: str | None = None) -> Any:
    """An answer's body, which must be what the document says."""
    assert answer.status_code == status, answer.text
    assert not any(key in answer.text for key in (KEY, ADMIN, AGENT))
    if model is None:
        return answer.json() if answer.content else None
    schema = {"$ref": f"#/components/schemas/{model}", **make_document(ROUTES)}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    return answer.json()


def test_sources(client: Client, server: Server) -> None:
    (up,) = check(client.get("/sources"), 200, "SourcesModel")["items"]
    up = check(client.post("/sources/up/refresh"), 200, "SourceShownModel")
    assert (up["state"], up["origin"], up["type"]) == ("ready", "configuration", "mcp")
    assert up["tools"] == 13
    assert up["location"] == sys.executable.rpartition("/")[2]
    assert check(client.get("/sources/up"), 200)["name"] == "up"
    own = {"type": "openapi", "name": "own", "document": f"{server.url}/openapi.json"}
    made = check(client.post("/sources", json=own), 201, "SourceShownModel")
    assert (made["state"], made["origin"]) == ("ready", "rest")
    assert made["location"] == server.url
    check(client.post("/sources", json=own), 409, "ErrorResponse")
    assert len(check(client.get("/sources"), 200)["items"]) == 2
    check(client.delete("/sources/own"), 204)
    check(client.delete("/sources/own"), 404, "ErrorResponse")
    check(client.get("/sources/own"), 404, "ErrorResponse")
    check(client.post("/sources/own/refresh"), 404, "ErrorResponse")
    check(client.delete("/sources/up"), 409, "ErrorResponse")
    # Of another workspace.
    check(client.get("/sources/elsewhere"), 404, "ErrorResponse")


def test_sources_that_are_refused(client: Client) -> None:
    url = "http://127.0.0.1:1/x"
    for body, field in (
        ({}, "body"),
        ({"type": "ftp", "name": "a"}, "body"),
        ({"type": "mcp", "name": "a"}, "mcp"),
        ({"type": "mcp", "name": "a", "command": "a", "url": url}, "mcp"),
        ({"type": "mcp", "name": "A-b", "url": url}, "mcp.name"),
        ({"type": "mcp", "name": "discover", "url": url}, "mcp.name"),
        ({"type": "mcp", "name": "a", "url": "file:///etc/passwd"}, "mcp.url"),
        ({"type": "mcp", "name": "a", "url": "http://u:p@host/"}, "mcp.url"),
        ({"type": "mcp", "name": "a", "url": url, "workspace": "b"}, "mcp.workspace"),
        ({"type": "mcp", "name": "a", "command": "sh"}, "body"),
        ({"type": "openapi", "name": "a", "document": "/etc/passwd"}, "body"),
        ({"type": "graphql", "name": "a", "url": url, "schema": "/etc/x"}, "body"),
        ({"type": "graphql", "name": "a", "url": url, "depth": 9}, "graphql.depth"),
        (
            {"type": "mcp", "name": "a", "url": url, "auth": {"type": "bearer"}},
            "mcp.auth",
        ),
        ({"type": "mcp", "name": "a", "url": url, "headers": {"a b": "c"}}, None),
    ):
        answer = client.post("/sources", json=body)
        errors = check(answer, 400, "ValidationErrorResponse")["errors"]
        assert field in (None, errors[0]["field"]), errors
    assert len(client.get("/sources").json()["items"]) == 1


def test_policies(client: Client) -> None:
    (fixed,) = check(client.get("/policies"), 200, "PoliciesModel")["items"]
    assert (fixed["origin"], fixed["tool"]) == ("configuration", "up.drop")
    condition = {"key": "to", "operator": "contains", "value": "@example.org"}
    rule = {"effect": "allow", "tool": "mail.**", "conditions": [condition]}
    made = check(client.post("/policies", json=rule), 201, "PolicyModel")
    assert made["conditions"] == [condition]
    items = check(client.get("/policies"), 200, "PoliciesModel")["items"]
    assert [item["id"] for item in items] == [fixed["id"], made["id"]]
    check(client.delete(f"/policies/{made['id']}"), 204)
    check(client.delete(f"/policies/{made['id']}"), 404, "ErrorResponse")
    check(client.delete(f"/policies/{fixed['id']}"), 404, "ErrorResponse")
    slow = {"key": "a", "operator": "matches", "value": "(a)\\1"}
    for body in (
        {},
        {"effect": "maybe"},
        {"effect": "allow", "session": "whatever-the-client-says"},
        {"effect": "deny", "tool": "a b"},
        {"effect": "deny", "conditions": [{"key": "a", "operator": "like"}]},
        {"effect": "deny", "conditions": [slow]},
    ):
        answer = client.post("/policies", json=body)
        check(answer, 400, "ValidationErrorResponse")


async def call(folder: Path, url: str, path: str, given: Any) -> Any:
    """Make a call as another server on the same database would."""
    async with tools_on(folder, url, sources_private=True) as tools:
        try:
            return await tools.call(
                Call("default", "s", "ada", "task", "call", path, given)
            )
        except ToolError as error:
            return error.as_data()


def test_approvals_and_audit_on_postgresql(
    folder: Path, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.database()
    with (
        serving(folder, tmp_path, "--database-url", url) as server,
        connect(server, **{"X-API-Key": ADMIN}) as client,
    ):
        _approvals_and_audit(client, server, tmp_path, url)


def _approvals_and_audit(
    client: Client, server: Server, folder: Path, url: str
) -> None:
    own = {
        "type": "openapi",
        "name": "own",
        "document": f"{server.url}/openapi.json",
        "auth": {"type": "bearer", "token": AGENT},
    }
    check(client.post("/sources", json=own), 201)
    results = []
    for decision in ("approved", "denied"):
        given = {"body": {"language": "javascript"}}
        calling = asyncio.run(
            _decide(client, call(folder, url, "own.post_contexts", given), decision)
        )
        results.append(calling)
    approved, denied = results
    check(client.delete(f"/contexts/{approved['id']}"), 204)
    assert denied["reason"] == "because"
    assert denied["denied"] is True
    made = check(client.get("/audit", params={"kind": "approval.decided"}), 200)
    assert {item["client"] for item in made["items"]} == {"ops"}
    check(client.delete("/sources/own"), 204)
    page = check(client.get("/audit", params={"limit": 2}), 200, "AuditModel")
    assert (len(page["items"]), page["next_offset"]) == (2, 2)
    asked = {"task_id": "task", "kind": "call"}

    def outcomes() -> list[str]:
        page = check(client.get("/audit", params=asked), 200, "AuditModel")
        return [item["outcome"] for item in page["items"]]

    wait_for(lambda: outcomes() == ["denied", "completed"])  # that is written soon
    assert check(client.get("/audit?outcome=failed"), 200)["items"] == []
    for query in ("limit=0", "limit=x", "offset=-1", "limit=1001", "limit=%D9%A3"):
        check(client.get(f"/audit?{query}"), 400, "ValidationErrorResponse")


async def _decide(client: Client, made: Coroutine[Any, Any, Any], decision: str) -> Any:
    """Decide about a call, in the words of REST; what the call gives."""
    calling = asyncio.create_task(made)
    items: list[Any] = []
    while not items and not calling.done():
        items = (await _get(client, "/approvals"))["items"]
    (waiting,) = items
    assert waiting["path"] == "own.post_contexts"
    place = f"/approvals/{waiting['id']}"
    check(client.get(place), 200, "ApprovalModel")
    check(client.post(place, json={"decision": "maybe"}), 400)
    check(client.post("/approvals/guess", json={"decision": decision}), 404)
    body = {"decision": decision, "reason": "because"}
    first = check(client.post(place, json=body), 200, "ApprovalModel")
    assert check(client.post(place, json=body), 200) == first
    other = {"approved": "denied", "denied": "approved"}[decision]
    check(client.post(place, json={"decision": other}), 409, "ErrorResponse")
    return await calling


async def _get(client: Client, path: str) -> Any:
    answer = await asyncio.to_thread(client.get, path)
    return check(answer, 200, "ApprovalsModel")


def test_only_administrators(client: Client, server: Server) -> None:
    before = client.get("/policies").json()
    with connect(server, **{"X-API-Key": AGENT}) as agent:
        assert agent.get("/contexts").status_code == 200
        for route in TOOL_ROUTES:
            path = re.sub(r"\{\w+\}", "up", route.path)
            for operation in route.operations:
                answer = agent.request(operation.method, path, json={})
                check(answer, 403, "ErrorResponse")
    assert before == client.get("/policies").json()
    names = [source["name"] for source in client.get("/sources").json()["items"]]
    assert names == ["up"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[sources]]\ntype = "mcp"\nname = "a"', "must have either command or url"),
        ('[[sources]]\ntype = "soap"\nname = "a"', "'mcp', 'openapi', 'graphql'"),
        ('[[policies]]\neffect = "perhaps"', "policies.0.effect"),
    ],
)
def test_a_wrong_file_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(text)
    assert serve(["--config", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_source_that_can_not_be_is_said(tmp_path: Path) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(
        '[[sources]]\ntype = "mcp"\nname = "a"\ncommand = "b"\n'
        'env = { K = { env = "NOT_SET_AT_ALL" } }'
    )
    said = run_isokernel("serve", "--port", "0", "--config", str(file))
    assert said.returncode == 1
    words = "source a: the variable NOT_SET_AT_ALL is empty or isn't there"
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_secrets_of_the_file_are_not_shown(folder: Path) -> None:
    settings = load(["--config", str(folder / "isokernel.toml")])
    assert len(settings.sources) == 2
    assert KEY not in repr(settings)
