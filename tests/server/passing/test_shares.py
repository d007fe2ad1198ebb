"""Shares of workspaces over several servers: all that they have, and no more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.agents import HANDSHAKE, MODERN, Way, connect_agent, said
from tests.support.client import Client, connect
from tests.support.clusters import AnyServer
from tests.support.server import RUN_FLAGS
from tests.support.waiting import wait_for
from tests.support.workspaces import BLUE, FILE, RED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgresql import PostgreSQL

pytestmark = pytest.mark.timeout(180)  # three servers start with the first

OWNER = "X-Isokernel-Owner"
NUMBER, EACH = 3, 2
"""Servers, and what a workspace may have on each: a half of four."""
OWN = {"Sec-Fetch-Site": "same-origin"}
FOREVER = "await new Promise(() => {})"


@pytest.fixture(scope="module")
def three(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnyServer]:
    """Three servers with two workspaces."""
    file = tmp_path_factory.mktemp("shares") / "isokernel.toml"
    file.write_text(FILE)
    servers = AnyServer(
        *(NUMBER, postgresql.database(), *RUN_FLAGS, "--config", str(file)),
        *("--default-language", "typescript"),
        *("--contexts-max", "4", "--tasks-unfinished-max", "4"),
        *("--executions-running-max", "3", "--executions-queued-max", "1"),
        key=RED,
    )
    yield servers
    assert servers.stop() == 0
    assert not [line for server in servers.servers for line in server.wrong()]


@pytest.fixture
def red(three: AnyServer) -> Iterator[Client]:
    """A client of one of them, whose workspace has nothing afterwards."""
    with connect(three.servers[0], **{"X-API-Key": RED}) as client:
        yield client
        client.clean()


@pytest.fixture
def blue(three: AnyServer) -> Iterator[Client]:
    """One of the other workspace."""
    with connect(three.servers[0], **{"X-API-Key": BLUE}) as client:
        yield client
        client.clean()


def make(client: Client) -> tuple[str, str] | None:
    """Make a context; its id and its owner, or None if there is no room."""
    answer = client.post("/contexts", json={"language": "javascript"})
    if answer.status_code == 429:
        assert answer.headers["X-Error-Code"] == "context_limit", answer.text
        return None
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], answer.headers[OWNER]


def test_a_workspace_gets_its_share_of_all_servers_by_any(
    three: AnyServer, red: Client, blue: Client
) -> None:
    made = [made for _ in range(NUMBER * EACH) if (made := make(red)) is not None]
    owners = [owner for _, owner in made]
    assert sorted(owners) == sorted(
        server.url for server in three.servers for _ in "12"
    )
    assert make(red) is None
    refused = red.post("/execute", json={"code": "1"})
    assert refused.headers["X-Error-Code"] == "context_limit"
    # What one workspace has leaves the others theirs.
    assert len([each for _ in range(NUMBER * EACH) if (each := make(blue))]) == 6
    assert make(blue) is None
    # A place that is free is found wherever it is, by the UI as well.
    red.delete(f"/contexts/{made.pop()[0]}")
    form = {"language": "javascript"}
    shown = red.post("/ui/contexts", data=form, headers=OWN)
    assert shown.status_code == 303, shown.text
    assert red.get("/ui/" + shown.headers["Location"][2:]).status_code == 200
    for name, owner in made[:3]:
        assert red.delete(f"/contexts/{name}").status_code == 204
        again = make(red)
        assert again is not None
        assert again[1] == owner
    assert make(red) is None


def test_a_workspace_never_gets_more_at_once(three: AnyServer, red: Client) -> None:
    clients = three.clients(**{"X-API-Key": RED})
    for _ in range(3):
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(make, clients * 4))
        # Of many at a time, one may be refused whose place is taken just then.
        assert NUMBER <= len([each for each in found if each]) <= NUMBER * EACH
        assert len(red.get("/contexts").json()["items"]) <= NUMBER * EACH
        while make(red) is not None:
            pass
        assert len(red.get("/contexts").json()["items"]) == NUMBER * EACH
        red.clean()
    for client in clients:
        client.close()


def test_contexts_of_heaps_find_room_by_the_ui(three: AnyServer, red: Client) -> None:
    made, _ = made_by(red, three.servers[0].url)
    red.run("let n = 41", context_id=made)
    heap = red.post(f"/contexts/{made}/checkpoint").json()["heap"]
    place = f"/ui/heaps/{heap}/begin"
    began = [red.post(place, headers=OWN) for _ in range(NUMBER * EACH)]
    assert [each.status_code for each in began] == [303] * (NUMBER * EACH - 1) + [429]
    for each in began[:-1]:
        name = each.headers["Location"].rpartition("/")[2]
        assert red.text("n + 1", context_id=name) == "42"


def test_kernels_that_fronts_switch_to_find_room(three: AnyServer, red: Client) -> None:
    document = {"path": "a.ipynb", "kernel": {"name": "v8-javascript"}}
    session = red.post("/jupyter/api/sessions", json=document).json()
    place, asked = (
        f"/jupyter/api/sessions/{session['id']}",
        {"kernel": {"name": "v8-typescript"}},
    )
    # All but one place are taken, here as elsewhere.
    others = [made for _ in range(NUMBER * EACH - 2) if (made := make(red)) is not None]
    assert len(others) == NUMBER * EACH - 2
    clients, kernels = three.clients(**{"X-API-Key": RED}), {session["kernel"]["id"]}
    for client in clients:
        switched = client.patch(place, json=asked)
        assert switched.status_code == 200, switched.text
        assert switched.json()["id"] == session["id"]
        kernels.add(switched.json()["kernel"]["id"])
        # The one that the front had before has ended, wherever that was.
        assert len(red.get("/contexts").json()["items"]) == NUMBER * EACH - 1
        for each in clients:
            assert each.get(place).json()["kernel"] == switched.json()["kernel"]
    assert len(kernels) == NUMBER + 1
    assert make(red) is not None
    for client in clients:
        refused = client.patch(place, json=asked)
        assert refused.headers["X-Error-Code"] == "context_limit", refused.text
        client.close()


def test_sessions_find_room(red: Client) -> None:
    names = [f"s{number}" for number in range(NUMBER * EACH)]
    for name in names:
        assert red.result("globalThis.n = 1", session=name) == "1"
    refused = red.done("1", session="more")
    assert "share of 2 contexts" in refused["error"]
    for name in names:
        assert red.result("n += 1", session=name) == "2"


def test_named_executions_find_room_and_run_once(three: AnyServer, red: Client) -> None:
    """Without a context that is named, and sent again to any server."""
    clients = three.clients(**{"X-API-Key": RED})
    asked = [
        {"code": "Math.random()", "execution_id": f"order-{number}"}
        for number in range(NUMBER * EACH)
    ]
    first = [red.post("/execute", json=each) for each in asked]
    assert [answer.status_code for answer in first] == [200] * len(asked)
    refused = red.post("/execute", json={"code": "1", "execution_id": "more"})
    assert refused.headers["X-Error-Code"] == "context_limit", refused.text
    # A place that is free by now changes nothing of where the others are.
    gone = first.pop().json()["context_id"]
    assert red.delete(f"/contexts/{gone}").status_code == 204
    for client in clients:
        for each, before in zip(asked, first, strict=False):
            assert client.post("/execute", json=each).json() == before.json()
    other = {"code": "2", "execution_id": asked[0]["execution_id"]}
    assert {client.post("/execute", json=other).status_code for client in clients} == {
        409
    }
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["execution", "task"])
def test_runs_find_room(red: Client, kind: str) -> None:
    path = {"execution": "/api/exec", "task": "/tasks"}[kind]
    answers = [red.post(path, json={"code": FOREVER}) for _ in range(NUMBER * EACH + 1)]
    assert [each.status_code for each in answers[:-1]] == [202] * (NUMBER * EACH)
    assert answers[-1].status_code == 429
    assert answers[-1].headers["X-Error-Code"] == f"{kind}_limit"
    for each in answers[:-1]:
        if kind == "task":
            gone = red.post(f"/tasks/{each.json()['taskId']}/cancel")
            assert gone.status_code == 200
        else:
            red.cancel(each.json()["execution_id"])


@pytest.mark.parametrize("kind", ["execution", "task"])
@pytest.mark.parametrize("era", [HANDSHAKE, MODERN])
def test_runs_over_mcp_find_room(
    three: AnyServer, red: Client, era: str, kind: str
) -> None:
    """Though their connection is to one server, which has two places."""
    name = {"execution": "run_js", "task": "execute"}[kind]
    arguments: dict[str, Any] = {"code": FOREVER}
    if kind == "task":
        arguments["waitForResult"] = False

    async def use() -> tuple[list[str], str]:
        headers = {"X-API-Key": RED}
        way = Way("http", era)
        async with connect_agent(three.servers[0].url, way, headers) as agent:
            answers = [
                await agent.call_tool(name, arguments) for _ in range(NUMBER * EACH)
            ]
            assert not [said(each) for each in answers if each.is_error]
            data = [each.structured_content for each in answers]
            found = [each.get("execution_id") or each["taskId"] for each in data]
            refused = await agent.call_tool(name, arguments)
            assert refused.is_error
            return found, said(refused)

    runs, refusal = anyio.run(use)
    assert "share of 2" in refusal
    for each in runs:
        if kind == "task":
            assert red.post(f"/tasks/{each}/cancel").status_code == 200
        else:
            red.cancel(each)


def test_sleepers_that_nobody_owns_count(postgresql: PostgreSQL) -> None:
    flags = ("--hibernate-after-seconds", "0.2", "--hibernated-contexts-max", "1")
    servers = AnyServer(2, postgresql.database(), *RUN_FLAGS, *flags)
    one, other = servers.clients()
    try:
        left, _ = made_by(one, servers.servers[0].url)
        one.wait_state(left, "hibernated")
        assert servers.servers[0].stop() == 0
        (here, _), (there, _) = (
            made_by(other, servers.servers[1].url) for _ in range(2)
        )
        # There is room for one sleeper, which the first server has left.
        for name in (here, there):
            other.run("1", context_id=name)

        def looked() -> bool:
            """Whether they have been idle for five times as long as is enough."""
            shown = [other.show(name) for name in (here, there)]
            assert {one["state"] for one in shown} == {"idle"}
            used = max(datetime.fromisoformat(one["last_used"]) for one in shown)
            return (datetime.now(timezone.utc) - used).total_seconds() > 1

        wait_for(looked)
        assert other.delete(f"/contexts/{left}").status_code == 204
        wait_for(
            lambda: (
                sorted(other.show(name)["state"] for name in (here, there))
                == ["hibernated", "idle"]
            )
        )
    finally:
        one.close()
        other.close()
        servers.stop()


def made_by(client: Client, url: str) -> tuple[str, str]:
    """Make a context that a server owns."""
    while True:
        made = make(client)
        assert made is not None
        if made[1] == url:
            return made
        client.delete(f"/contexts/{made[0]}")
