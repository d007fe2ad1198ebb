"""Policies of what code may do: settings, requests, contexts that are live."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import programs
from tests.support.client import Client, connect
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(programs.__file__).parent / "capabilities.py"
CONFIGURATION = """
modules = ["npm:d3"]
net = ["a.com", "b.com", "ask.com"]
env = ["SEEN_*"]

[[capability_rules]]
effect = "require_approval"
capability = "net"
target = "ask.com"

[[capability_rules]]
workspace = "*"
effect = "deny"
capability = "net"
target = "https://b.com/secret/**"

[[secrets]]
name = "A_TOKEN"
value = { env = "A_TOKEN_OF_THE_TESTS" }
hosts = [
  "a.com", "*.a.com", "C.com.:8443", "10.0.0.0/8", "[::1]:3914", "bücher.example"
]
"""
ASK = """
globalThis.net = (host, path = '/') => {
  const known = {scheme: 'https', host, port: 443, method: 'GET'};
  const facts = {...known, address: '93.184.216.34', network: 'public'};
  try {
    return callNow('small.ask',
      {capability: 'net', target: `https://${host}${path}`, facts}).value;
  } catch (error) {
    return error.message;
  }
};
globalThis.other = (capability, target) => {
  try {
    return callNow('small.ask', {capability, target}).value;
  } catch (error) {
    return error.message;
  }
};
0
"""


@pytest.fixture(scope="module")
def policed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with a policy, and the heap whose code can make calls."""
    folder = tmp_path_factory.mktemp("policed")
    file = folder / "server.toml"
    file.write_text(CONFIGURATION)
    with run_server(
        *V8_FLAGS,
        *("--config", str(file)),
        program=(str(PROGRAM), str(folder)),
        env={
            "A_TOKEN_OF_THE_TESTS": "the-value-of-the-token",
            "SEEN_ONE": "1",
            "UNSEEN": "2",
            "PYTHONPATH": str(PROGRAM.parents[3]),
        },
    ) as server:
        yield server, (folder / "heap").read_text()


class Code:
    """A context whose code can ask."""

    def __init__(self, client: Client, heap: str, **fields: Any) -> None:
        self.client = client
        answer = client.post("/contexts", json={"heap": heap, **fields})
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        self.run(ASK)

    def run(self, code: str, **fields: Any) -> Any:
        """The value of a cell."""
        result = self.client.run(code, context_id=self.id, **fields)
        assert result["error"] is None, result["error"]
        item = result["items"][-1]
        return item["json"] if "json" in item else item["text"]

    def net(self, host: str, path: str = "/", **fields: Any) -> str:
        text = self.client.run(
            f"console.log(net({host!r}, {path!r}))", context_id=self.id, **fields
        )
        said: str = "".join(text["logs"]["stdout"])
        return said

    def shown(self) -> dict[str, Any]:
        answer = self.client.get(f"/contexts/{self.id}/capabilities")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def put(self, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.client.put(f"/contexts/{self.id}/capabilities", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def client(policed: tuple[Server, str]) -> Iterator[Client]:
    with connect(policed[0]) as made:
        yield made
        made.clean()


@pytest.fixture
def code(client: Client, policed: tuple[Server, str]) -> Code:
    return Code(client, policed[1])


def test_the_settings_decide(code: Code) -> None:
    assert code.net("a.com") == "done"
    assert code.net("c.com") == (
        "net: https://c.com/ is denied: no policy allows it; "
        "--net c.com, or a rule of the server, would allow it"
    )
    assert code.net("b.com", "/x") == "done"
    assert "taking back the rule capability-2 would" in code.net("b.com", "/secret/x")


def test_a_request_only_narrows(code: Code) -> None:
    narrow: dict[str, Any] = {"capabilities": {"net": ["b.com", "c.com"]}}
    assert code.net("b.com", **narrow) == "done"
    assert "--net c.com" in code.net("c.com", **narrow)
    assert code.net("a.com", **narrow) == (
        "net: https://a.com/ is denied: no policy allows it; "
        "net a.com in the capabilities of the request would allow it"
    )
    assert code.net("a.com") == "done"


def test_what_an_execution_leaves_behind_stays_narrow(code: Code) -> None:
    code.run(
        "globalThis.later = new Promise(r => setTimeout(() => r(net('a.com')), 50)); 0",
        capabilities={"net": "off"},
    )
    result = code.client.run("console.log(await later)", context_id=code.id)
    assert "in the capabilities of the request" in result["logs"]["stdout"][0]


def test_a_context_is_made_narrow_and_changed_while_it_lives(
    client: Client, policed: tuple[Server, str]
) -> None:
    code = Code(client, policed[1], capabilities={"net": ["b.com"]})
    assert "in the capabilities of the context" in code.net("a.com")
    assert code.shown()["context"] == {"net": ["b.com"]}
    fork = client.post(f"/contexts/{code.id}/fork").json()
    fork = (fork.get("items") or [fork])[0]["id"]
    shown = client.get(f"/contexts/{fork}/capabilities").json()
    assert shown["context"] == {"net": ["b.com"]}
    made = code.put(net=["a.com"])
    assert made["context"] == {"net": ["a.com"]}
    assert code.net("a.com") == "done"
    assert "in the capabilities of the context" in code.net("b.com")
    code.put()
    assert code.net("b.com") == "done"
    assert "--net c.com" in code.net("c.com")


def test_a_policy_changes_amid_an_execution(code: Code) -> None:
    execution = code.client.submit(
        "console.log(net('a.com')); while (net('a.com') === 'done');"
        "console.log('changed')",
        session=code.id,
    )
    wait_for(lambda: code.client.info(execution)["started_at"])
    wait_for(lambda: code.shown()["asked"])
    code.put(net="off")
    assert code.client.ended(execution)["status"] == "completed"


def test_runs_are_narrowed_too(client: Client, policed: tuple[Server, str]) -> None:
    script = f"{ASK}; net('a.com')"
    fields = {"heap": policed[1]}
    wide = client.ended(client.submit(script, **fields))
    assert json.loads(wide["result"]) == "done"
    narrow = client.ended(client.submit(script, **fields, capabilities={"net": "off"}))
    assert "in the capabilities of the request" in json.loads(narrow["result"])


@pytest.mark.parametrize(
    "capabilities",
    [
        {"net": ["a b"]},
        {"net": 1},
        {"disk": "on"},
        {"mode": "audit"},
        {"files": ["../x"]},
        {"rules": [{"effect": "allow", "capability": "net", "target": "http://u@h/"}]},
    ],
)
def test_what_cant_be_understood_is_refused(
    code: Code, capabilities: dict[str, Any]
) -> None:
    code.put(400, **capabilities)
    body = {"code": "1", "capabilities": capabilities}
    for path in ("/execute", "/api/exec"):
        assert code.client.post(path, json=body).status_code == 400
    body = {"capabilities": capabilities}
    assert code.client.post("/contexts", json=body).status_code == 400


# -- approvals, audit, report ------------------------------------------------------


def pending(client: Client) -> dict[str, Any]:
    """The approval that waits."""
    found: dict[str, Any] = wait_for(
        lambda: (client.get("/approvals").json()["items"] or [None])[0]
    )
    return found


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_an_approval_is_waited_for(code: Code, decision: str) -> None:
    execution = code.client.submit(
        "const first = net('ask.com', '/x'); [first, net('ask.com', '/x')]",
        session=code.id,
        execution_timeout_secs=1,
    )
    approval = pending(code.client)
    assert approval["path"] == "net"
    assert "https://ask.com/x" in approval["description"]
    body = {"decision": decision, "reason": "as it is"}
    # Longer than the code may run, as the wait doesn't count.
    end = time.monotonic() + 1.3
    while time.monotonic() < end:
        assert code.client.info(execution)["status"] == "running"
    answer = code.client.post(f"/approvals/{approval['id']}", json=body)
    assert answer.status_code == 200, answer.text
    if decision == "denied":
        again = pending(code.client)
        code.client.post(f"/approvals/{again['id']}", json=body)
    ended = code.client.ended(execution)
    assert ended["status"] == "completed", ended
    first, second = json.loads(ended["result"])
    if decision == "approved":
        assert (first, second) == ("done", "done")
    else:
        assert "as it is" in first


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
def test_a_stopped_cell_withdraws_its_approvals(code: Code, way: str) -> None:
    """Of what it awaits and of what it doesn't; that of another cell's timer waits."""
    client = code.client
    ask = (
        "const ask = (path) => call('small.ask', {capability: 'net',"
        " target: `https://ask.com${path}`, facts: {scheme: 'https', host: 'ask.com',"
        " port: 443, method: 'GET', address: '93.184.216.34', network: 'public'}})"
        ".then((r) => console.log(path, r.value), () => {}); 0"
    )
    code.run(f"globalThis.{ask.removeprefix('const ')}")
    code.run("setTimeout(() => ask('/timer'), 0); 0")

    def approvals() -> dict[str, dict[str, Any]]:
        items = client.get("/approvals").json()["items"]
        return {item["description"].rpartition("/")[2]: item for item in items}

    wait_for(lambda: set(approvals()) == {"timer"})
    execution = client.submit(
        "ask('/one'); ask('/two'); await new Promise(() => 0)", session=code.id
    )
    wait_for(lambda: len(approvals()) == 3)
    found = approvals()
    assert found["one"]["task_id"] == found["two"]["task_id"] == execution
    assert found["timer"]["task_id"] == ""
    if way == "interrupt":
        client.post(f"/contexts/{code.id}/interrupt")
    else:
        client.post(f"/api/executions/{execution}/cancel")
    assert client.ended(execution)["status"] in {"failed", "cancelled"}
    wait_for(lambda: set(approvals()) == {"timer"})
    for name in ("one", "two"):
        shown = client.get(f"/approvals/{found[name]['id']}").json()
        assert shown["state"] == "withdrawn"
    place = f"/approvals/{found['timer']['id']}"
    assert client.post(place, json={"decision": "approved"}).status_code == 200
    wait_for(lambda: not approvals())


def test_decisions_are_in_the_audit(code: Code) -> None:
    code.net("a.com", "/audited")
    code.net("denied.com")

    def outcomes() -> dict[str, str]:
        listed = code.client.get("/audit", params={"kind": "capability"}).json()
        return {
            entry["reason"]: entry["outcome"]
            for entry in listed["items"]
            if entry["session"] == code.id
        }

    # How a call has ended is written soon, and another server doesn't wait for that.
    told = {
        "GET https://a.com/audited": "completed",
        "GET https://denied.com/": "denied",
    }
    wait_for(lambda: outcomes() == told)


def test_what_was_asked_for_makes_a_policy(code: Code) -> None:
    code.net("a.com")
    code.net("x.org", "/y")
    code.run("other('modules', 'npm:lodash-es@4.17.21')")
    code.run("other('files', '/data/a.csv')")
    shown = code.shown()
    assert shown["mode"] == "enforce"
    assert shown["workspace"]["net"] == ["a.com", "b.com", "ask.com"]
    assert shown["asked"] == [
        {"capability": "net", "target": "a.com", "outcome": "allowed"},
        {"capability": "net", "target": "x.org", "outcome": "denied"},
        {"capability": "modules", "target": "npm:lodash-es", "outcome": "denied"},
        {"capability": "files", "target": "/data/a.csv", "outcome": "allowed"},
    ]
    code.put(**shown["suggested"])
    inside = code.run("JSON.stringify((await Jupyter.capabilities()).suggested)")
    assert json.loads(inside.strip("'")) == shown["suggested"]


# -- variables and secrets ---------------------------------------------------------


def test_variables_that_are_allowed_are_seen(code: Code) -> None:
    seen = "JSON.stringify([process.env.SEEN_ONE, process.env.UNSEEN ?? null])"
    assert json.loads(code.run(seen).strip("'")) == ["1", None]
    narrowed = code.run(seen, capabilities={"env": "off"})
    assert json.loads(narrowed.strip("'")) == [None, None]


@pytest.mark.parametrize(
    ("host", "port", "has"),
    [
        ("a.com", 443, True),
        ("a.com", 8443, True),
        ("x.a.com", 443, True),
        ("b.com", 443, False),
        ("a.com.evil.com", 443, False),
        ("c.com", 8443, True),
        ("c.com", 443, False),
        ("10.1.2.3", 80, True),
        ("11.1.2.3", 80, False),
        ("::1", 3914, True),
        ("::1", 80, False),
        ("xn--bcher-kva.example", 443, True),
    ],
)
def test_a_secret_is_a_placeholder_and_goes_to_its_hosts_only(
    code: Code, host: str, port: int, *, has: bool
) -> None:
    """An address among the hosts is that address in a URL: any name may lead there."""
    assert code.run("process.env.A_TOKEN").strip("'") == "{{secret:A_TOKEN}}"
    asked = json.dumps({"host": host, "port": port})
    text = code.run(f"JSON.stringify(callNow('small.secrets', {asked}).value)")
    found = json.loads(text.strip("'"))
    assert found == ({"{{secret:A_TOKEN}}": 22} if has else {})
