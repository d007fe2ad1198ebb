"""The UI without a browser: who may see what, and where actions may come from."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import CLIENT, Client, connect
from tests.support.server import JAVASCRIPT_FLAGS, Server, run_server
from tests.support.waiting import wait_for
from tests.support.workspaces import BLUE, FILE, RED, Two, make_approval

from isoserver.ui.routes import UI_ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN = {"Sec-Fetch-Site": "same-origin"}
AGENT = "the-secret-key-of-an-agent"
PLAIN = f"""
[[workspaces]]
name = "default"
api_keys = [{{ key = "{AGENT}", client = "agent" }}]
"""
OPEN = {"/ui", "/ui/static/{name}", "/ui/sign-in", "/ui/sign-out"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server with keys."""
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Server]:
    """A server with three keys: two administrators, of two workspaces, and an agent."""
    (folder / "isokernel.toml").write_text(FILE + PLAIN)
    flags = ("--config", str(folder / "isokernel.toml"), "--data-dir", str(folder))
    friend = ("--cors-origin", "https://friend.example", "--sources-private")
    public = ("--public-url", "http://LOCALHOST:80/")
    with run_server(*flags, *friend, *public, *JAVASCRIPT_FLAGS) as made:
        yield made
    for key in (RED, BLUE, AGENT):
        assert key not in made.said


@contextmanager
def signed_in(server: Server, key: str, **fields: str) -> Iterator[Client]:
    """A client with a browser's cookie."""
    with connect(server, **OWN) as client:
        answer = client.post("/ui/sign-in", data={"key": key, **fields})
        assert answer.status_code == 303, answer.text
        assert answer.headers["Location"] == "./" + fields.get("target", "")
        yield client


def test_the_index_is_for_programs_and_leads_people_here(client: Client) -> None:
    assert client.get("/").json()["ui"] == "/ui/"
    for accepted in ("*/*", "application/json"):
        assert client.get("/", headers={"Accept": accepted}).status_code == 200
    accepted = "text/html,application/xhtml+xml,*/*;q=0.8"
    answer = client.get("/", headers={"Accept": accepted})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "ui/"
    assert client.get("/ui").headers["Location"] == "ui/"


def test_without_keys_it_opens_at_once(client: Client) -> None:
    answer = client.get("/ui/")
    assert answer.status_code == 200
    assert "New context" in answer.text
    assert "<noscript>" in answer.text
    assert client.get("/ui/sign-in").headers["Location"] == "./"


PLACES = [
    (route.path, operation.method)
    for route in UI_ROUTES
    for operation in route.operations
    if route.path not in OPEN
]


@pytest.mark.parametrize(("path", "method"), PLACES)
def test_every_page_asks_for_a_key(guarded: Server, path: str, method: str) -> None:
    place = re.sub(r"\{\w+\}", "x", path)
    answer = CLIENT.request(method, guarded.url + place, headers=OWN)
    assert answer.status_code == 401
    assert "Sign in" in answer.text
    with connect(guarded, Cookie="isokernel-default=x; isokernel-80=x") as client:
        assert client.request(method, place, headers=OWN).status_code == 401


def test_signing_in_and_out(guarded: Server) -> None:
    with connect(guarded, **OWN) as client:
        answer = client.get("/ui/contexts/a%2Fb?path=c")
        assert answer.status_code == 401
        assert 'name="target" value="contexts/a%2Fb?path=c"' in answer.text
        assert 'action="../sign-in"' in answer.text
        for key in ("", "wrong", "<b>\u202e", "a\nb: c"):
            answer = client.post("/ui/sign-in", data={"key": key, "target": "x"})
            assert answer.status_code == 401
            assert 'role="alert"' in answer.text
            assert 'name="target" value="x"' in answer.text
            assert "Set-Cookie" not in answer.headers
    with signed_in(guarded, RED, target="contexts/a%2Fb?path=c") as client:
        (cookie,) = client.cookies.jar
        assert cookie.path == "/ui"
        assert not cookie.secure
        assert set(cookie._rest) == {"HttpOnly", "SameSite"}  # type: ignore[attr-defined]
        assert str(guarded.url.rpartition(":")[2]) in cookie.name
        assert RED not in str(cookie.value)
        assert "red" in client.get("/ui/").text
        kept = {"Cookie": f"{cookie.name}={cookie.value}"}
        assert client.post("/ui/sign-out").headers["Location"] == "./sign-in"
        assert not [cookie for cookie in client.cookies.jar if cookie.value != '""']
        assert client.get("/ui/", headers=kept).status_code == 401


def test_the_cookie_opens_nothing_but_the_ui(guarded: Server) -> None:
    with signed_in(guarded, RED) as client:
        (cookie,) = client.cookies.jar
        kept = {"Cookie": f"{cookie.name}={cookie.value}"}
        for path in ("/contexts", "/api/heaps", "/jupyter/api/kernels", "/approvals"):
            assert CLIENT.get(guarded.url + path, headers=kept).status_code == 401


def test_the_way_on_stays_on_this_server(guarded: Server) -> None:
    with connect(guarded, **OWN) as client:
        for target in (
            "https://a.example",
            "//a.example",
            "\\\\a.example",
            "x\r\ny: z",
        ):
            fields = {"key": RED, "target": target}
            answer = client.post("/ui/sign-in", data=fields)
            place = answer.headers["Location"]
            assert place.startswith("./")
            assert "\n" not in place


def test_another_workspace_than_the_keys_is_refused(guarded: Server) -> None:
    with connect(guarded, **OWN) as client:
        fields = {"key": RED, "workspace": "blue"}
        answer = client.post("/ui/sign-in", data=fields)
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
    with signed_in(guarded, RED, workspace="red") as client:
        assert client.get("/ui/").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        # It may call the API, with a key; it may not use a person's.
        ({"Origin": "https://friend.example"}, 403),
        ({"Origin": "https://friend.example", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "OWN"}, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "http://localhost:8080"}, 403),
    ],
)
def test_actions_come_from_the_ui(
    guarded: Server, headers: dict[str, str], status: int
) -> None:
    with signed_in(guarded, RED) as client:
        made = client.post("/ui/contexts", data={"language": "javascript"})
        place = "/ui/" + made.headers["Location"].removeprefix("./")
        del client.headers["Sec-Fetch-Site"]
        given = {n: guarded.url if v == "OWN" else v for n, v in headers.items()}
        answer = client.post(f"{place}/delete", headers=given)
        assert answer.status_code == status, answer.text
        there = client.get(place).status_code
        assert there == (404 if status == 303 else 200)


def test_actions_have_no_get(guarded: Server) -> None:
    with signed_in(guarded, RED) as client:
        for path, method in PLACES:
            if method == "POST" and (path, "GET") not in PLACES:
                place = re.sub(r"\{\w+\}", "x", path)
                assert client.get(place).status_code in {404, 405}, path


@pytest.fixture
def things(guarded: Server, folder: Path) -> dict[str, str]:
    """What the workspace red has, by the names that routes have for it."""
    with (
        connect(guarded, **{"X-API-Key": RED}) as red,
        connect(guarded, **{"X-API-Key": BLUE}) as blue,
    ):
        here = red.create()
        red.run("require('fs').writeFileSync('f', 'x')", context_id=here)
        ended = red.done("1")
        name = f"red{secrets.token_hex(4)}"
        source = {"type": "graphql", "name": name, "url": "http://127.0.0.1:9/"}
        assert red.post("/sources", json=source).status_code == 201
        rule = red.post("/policies", json={"effect": "deny", "tool": "a.b"}).json()
        return {
            "context_id": here,
            "path": "f",
            "kind_name": "script",
            "run_id": ended["execution_id"],
            "key": ended["heap"],
            "name": name,
            "policy_id": rule["id"],
            "approval_id": make_approval(Two(guarded, folder, red, blue)),
        }


ACTIONS = {"contexts": "interrupt", "heaps": "untag", "sources": "delete"}
FIELDS = {"decision": "denied", "name": "x"}
NAMED = [each for each in PLACES if "{" in each[0] and each[0] != "/ui/{path}"]


@pytest.mark.parametrize(("path", "method"), NAMED)
def test_workspaces_see_nothing_of_each_other(
    guarded: Server, things: dict[str, str], path: str, method: str
) -> None:
    action = ACTIONS.get(path.split("/")[2], "")
    named = {**things, "action": action}
    place = re.sub(r"\{(\w+)\}", lambda found: named[found[1]], path)
    data = FIELDS if method == "POST" else None
    with signed_in(guarded, BLUE) as blue, signed_in(guarded, RED) as red:
        assert blue.request(method, place, data=data).status_code == 404
        status = red.request(method, place, data=data).status_code
        # The run has ended, and can't be cancelled.
        assert status in ({400, 409} if path.endswith("cancel") else {200, 303})


@pytest.mark.parametrize("path", [path for path, method in PLACES if method == "GET"])
def test_lists_have_nothing_of_another_workspace(
    guarded: Server, things: dict[str, str], path: str
) -> None:
    if "{" in path:
        return
    own = {name: thing for name, thing in things.items() if len(thing) > 8}
    with signed_in(guarded, BLUE) as blue:
        shown = blue.get(path).text
        assert [name for name, thing in own.items() if thing in shown] == []
        assert ">red<" not in shown


ADMINS = ("/ui/approvals", "/ui/sources", "/ui/policies", "/ui/audit")


@pytest.mark.parametrize(("path", "method"), PLACES)
def test_agents_administrate_nothing(guarded: Server, path: str, method: str) -> None:
    place = re.sub(r"\{\w+\}", "x", path)
    with signed_in(guarded, AGENT) as agent:
        answer = agent.request(method, place)
        if path.startswith(ADMINS):
            assert answer.status_code == 403
            assert "administrator" in answer.text
        elif path == "/ui/servers":  # there is no such page but in a cluster
            assert answer.status_code in {403, 404}
        else:
            assert answer.status_code in {200, 303, 400, 404}
        assert "Audit" not in answer.text


def test_errors_are_pages(client: Client) -> None:
    answer = client.get("/ui/contexts/%3Cscript%3E")
    assert answer.status_code == 404
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text
    answer = client.post("/ui/contexts", data={"language": "cobol"}, headers=OWN)
    assert answer.status_code == 400
    assert "language" in answer.text
    for place in ("/ui/nothing", "/ui/contexts/a/b/c", "/ui/nothing/"):
        answer = client.get(place)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "<h1>Not Found</h1>" in answer.text
        assert client.post(place, headers=OWN).status_code == 404


def test_headers(client: Client) -> None:
    answer = client.get("/ui/")
    policy = answer.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)';", policy)
    assert nonce
    assert f'nonce="{nonce[1]}"' in answer.text
    assert "default-src 'none'" in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    again = client.get("/ui/")
    assert again.headers["Content-Security-Policy"] != policy

    def is_unchanged() -> bool:
        tag = client.get("/ui/").headers["ETag"]
        same = client.get("/ui/", headers={"If-None-Match": tag})
        return bool(same.status_code == 304)

    wait_for(is_unchanged)  # contexts of tests before may just be ending
    for name in re.findall(r"static/([\w.]+)", answer.text):
        file = client.get(f"/ui/static/{name}")
        assert file.status_code == 200
        assert "immutable" in file.headers["Cache-Control"]
    assert client.get("/ui/static/ui.css").status_code == 404


def test_looking_leaves_contexts_asleep(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("asleep")
    flags = ("--data-dir", str(folder), "--hibernate-after-seconds", "0.3")
    server = Server(*flags, *JAVASCRIPT_FLAGS)
    with connect(server) as client:
        here = client.create()
        client.run("'what it ran'", context_id=here)
        client.wait_state(here, "hibernated")
        used = client.show(here)["last_used"]
        shown = client.get(f"/ui/contexts/{here}")
        assert "what it ran" in shown.text
        assert "asleep" in shown.text
        assert client.show(here)["state"] == "hibernated"
        assert client.show(here)["last_used"] == used
    assert server.stop() == 0
    # What an earlier server has stored is shown as well.
    server = Server("--data-dir", str(folder), *JAVASCRIPT_FLAGS)
    with connect(server) as client:
        assert "what it ran" in client.get(f"/ui/contexts/{here}").text
        assert client.show(here)["state"] == "hibernated"
    assert server.stop() == 0


def test_what_runs_in_a_cell_is_shown_in_bounds(client: Client) -> None:
    here = client.create()
    for number in range(25):
        client.run(
            f"console.log('cell number {number};'.repeat(10000))", context_id=here
        )
    shown = client.get(f"/ui/contexts/{here}").text
    assert len(shown) < 25 * 30_000
    assert "number 4;" not in shown
    assert "number 5;" in shown
    assert "number 24;" in shown
    assert "The last 20 of 25" in shown


def test_forms_are_checked(client: Client) -> None:
    here = client.create()
    for fields in (
        {"code": " "},
        {"code": "1", "seconds": "0"},
        {"code": "1", "seconds": "1e3"},
        {"code": "1", "seconds": "9999999"},
        {},
    ):
        answer = client.post(f"/ui/contexts/{here}/run", data=fields, headers=OWN)
        assert answer.status_code in {400, 422}, answer.text
        assert 'role="alert"' in answer.text
    assert client.post(f"/ui/contexts/{here}/x", headers=OWN).status_code == 404
    assert client.show(here)["execution_count"] == 0


def test_pages_of_contexts(client: Client) -> None:
    for offset in ("-1", "x", "9" * 40, "7"):
        answer: Any = client.get("/ui/", params={"offset": offset})
        assert answer.status_code == 200
