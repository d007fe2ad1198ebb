"""What is changed, decided or made by one of three servers is known to all of them."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.agents import call, connect_agent
from tests.support.clusters import AnyServer
from tests.support.server import RUN_FLAGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client
    from tests.support.postgresql import PostgreSQL

pytestmark = pytest.mark.timeout(180)  # three servers start with the first

KEY = "the-secret-key-of-all"


class Service:
    """A service whose document has more and more operations, which all answer 7."""

    def __init__(self) -> None:
        service = self
        self.operations = ["first"]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(service.document() if self.path == "/doc" else 7)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def document(self) -> dict[str, Any]:
        ok = {"200": {"description": "ok"}}
        return {
            "openapi": "3.0.3",
            "info": {"title": "S", "version": "1"},
            "servers": [{"url": self.url}],
            "paths": {
                f"/{name}": {"get": {"operationId": name, "responses": ok}}
                for name in self.operations
            },
        }

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture(scope="module")
def three(postgresql: PostgreSQL) -> Iterator[AnyServer]:
    servers = AnyServer(
        *(3, postgresql.database(), *RUN_FLAGS, "--sources-private"),
        *("--api-key", KEY, "--execute-rate-per-minute", "0"),
        *("--default-language", "typescript"),
        key=KEY,
    )
    yield servers
    assert servers.stop() == 0
    assert not [line for server in servers.servers for line in server.wrong()]


@pytest.fixture
def clients(three: AnyServer) -> Iterator[list[Client]]:
    made = three.clients(**{"X-API-Key": KEY})
    yield made
    made[0].clean()
    for each in made:
        each.close()


def run(client: Client, code: str, *, wait: bool = True) -> dict[str, Any]:
    """Run a task on the very server of a client."""
    answer = client.post("/tasks", json={"code": code, "waitForResult": wait})
    assert answer.status_code in {200, 202}, answer.text
    task: dict[str, Any] = answer.json()
    return task


def is_completed(client: Client, task: str) -> bool:
    return bool(client.get(f"/tasks/{task}").json()["status"] == "completed")


def known(clients: list[Client], look: Callable[[Client], object]) -> Iterator[Client]:
    """Each client, once its server knows something."""
    for each in clients:
        wait_for(partial(look, each))
        yield each


def test_sources_policies_and_approvals_count_everywhere(
    clients: list[Client], service: Service
) -> None:
    one, two, three = clients
    source = {"type": "openapi", "name": "s", "document": f"{service.url}/doc"}
    assert one.post("/sources", json=source).status_code == 201
    for each in known(clients, lambda each: each.get("/sources").json()["items"]):
        assert run(each, "return await tools.s.first({})")["result"] == 7

    service.operations.append("second")
    assert two.post("/sources/s/refresh").json()["tools"] == 2
    for each in known(
        clients, lambda each: each.get("/sources/s").json()["tools"] == 2
    ):
        assert run(each, "return await tools.s.second({})")["result"] == 7

    rule = three.post("/policies", json={"effect": "require_approval", "tool": "s.*"})
    assert rule.status_code == 201, rule.text
    for decider in (two, three):
        wait_for(lambda: len(one.get("/policies").json()["items"]) == 1)
        task = run(one, "return await tools.s.first({})", wait=False)["taskId"]
        (asked,) = wait_for(lambda: two.get("/approvals").json()["items"])
        for each in clients:
            page = each.get("/approvals?limit=1").json()
            assert (page["total"], page["items"][0]["id"]) == (1, asked["id"])
        answer = decider.post(
            f"/approvals/{asked['id']}", json={"decision": "approved"}
        )
        assert answer.status_code == 200, answer.text
        wait_for(partial(is_completed, one, task))
        assert three.get(f"/tasks/{task}").json()["result"] == 7
        assert all(each.get("/approvals").json()["total"] == 0 for each in clients)
    assert two.delete(f"/policies/{rule.json()['id']}").status_code == 204
    for each in known(clients, lambda each: not each.get("/policies").json()["items"]):
        assert run(each, "return await tools.s.first({})")["result"] == 7

    assert three.delete("/sources/s").status_code == 204
    list(known(clients, lambda each: each.get("/sources/s").status_code == 404))
    audits = [each.get("/audit?limit=5").json() for each in clients]
    assert audits[0]["total"] > 5
    assert audits[0]["next_offset"] == 5
    assert audits[1:] == audits[:1] * 2


def test_what_is_asked_for_at_once_is_there_before_it_is_heard_of(
    three: AnyServer, clients: list[Client], service: Service, postgresql: PostgreSQL
) -> None:
    one, two, third = clients
    assert all(each.get("/sources").json()["items"] == [] for each in clients)
    source = {"type": "openapi", "name": "s", "document": f"{service.url}/doc"}
    with postgresql.unheard(three.database_url, len(clients)):
        assert one.post("/sources", json=source).status_code == 201
        assert run(third, "return await tools.s.first({})")["result"] == 7
        assert two.get("/sources/s").status_code == 200
        assert two.delete("/sources/s").status_code == 204
        assert one.get("/sources/s").status_code == 404
        assert third.get("/sources").json()["items"] == []
        assert one.put("/capabilities", json={"net": "off"}).status_code == 200
        assert two.get("/capabilities").json()["narrowed"] == {"net": "off"}
        assert two.put("/capabilities", json={}).status_code == 200
        assert third.get("/capabilities").json()["narrowed"] == {}


def test_what_a_workspace_may_do_is_narrowed_everywhere(clients: list[Client]) -> None:
    for each, other in zip(clients, [*clients[1:], clients[0]], strict=True):
        for files in ("off", "read"):
            put = each.put("/capabilities", json={"files": files})
            assert put.status_code == 200, put.text
            assert other.get("/capabilities").json() == put.json()
    clients[0].put("/capabilities", json={})


def test_lists_have_pages_of_all_servers(clients: list[Client]) -> None:
    runs = [each.submit("1") for _ in range(3) for each in clients]
    waiting = [each.submit("await new Promise(() => {})") for each in clients]
    tasks = [run(each, "return 1")["taskId"] for _ in range(2) for each in clients]
    for each in clients:
        for name in runs:
            each.ended(name)
        for path, field, key, wanted in (
            ("/api/executions?", "executions", "execution_id", runs + waiting),
            ("/api/executions?status=running&", "executions", "execution_id", waiting),
            ("/tasks?", "tasks", "taskId", tasks),
        ):
            found: list[str] = []
            offset: int | None = 0
            while offset is not None:
                page = each.get(f"{path}limit=2&offset={offset}").json()
                assert 0 < len(page[field]) <= 2
                found += [one[key] for one in page[field]]
                offset = page["next_offset"]
            assert len(found) == len(set(found))
            # What the fixtures have made may be older.
            assert found[: len(wanted)] == wanted[::-1]
    for name in waiting:
        clients[0].cancel(name)


@pytest.mark.anyio
async def test_lists_over_mcp_have_what_all_servers_have(
    three: AnyServer, clients: list[Client]
) -> None:
    runs = [
        each.done("1", session=f"s{number}")["execution_id"]
        for number, each in enumerate(clients)
    ]
    for server in three.servers:
        async with connect_agent(server.url, headers={"X-API-Key": KEY}) as agent:
            with anyio.fail_after(30):
                sessions = await call(agent, "list_sessions")
                assert {"s0", "s1", "s2"} <= set(sessions["sessions"])
                listed = await call(agent, "list_executions", limit=3)
                found = [one["execution_id"] for one in listed["executions"]]
                assert found == runs[::-1]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
