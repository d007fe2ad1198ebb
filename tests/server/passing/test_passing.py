"""Requests for another server: passed on as they came, answered as they are there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.support.agents import BOTH, INITIALIZE, connect_agent
from tests.support.client import NO_TLS, connect
from tests.support.clusters import SECRET, AnyServer
from tests.support.fronts import Front
from tests.support.server import MIB, V8_FLAGS
from tests.support.waiting import wait_for

from isoserver.app import ROUTES
from isoserver.jupyter.routes import JUPYTER_ROUTES
from isoserver.mcp.endpoint import MCP_ROUTES
from isoserver.passing.handlers import PassingHandler, passing_routes
from isoserver.passing.marks import Marks
from isoserver.principal import Principal
from isoserver.ui.routes import UI_ROUTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.client import Client
    from tests.support.postgresql import PostgreSQL
    from tests.support.server import Server

OWNER = "X-Isokernel-Owner"
MARK = "X-Isokernel-Passed"
FLAGS = (*V8_FLAGS, "--interrupt-grace-seconds", "1")
FOREVER = "console.log('begun'); await new Promise(() => {})"
STAY: dict[str, Any] = {
    "/api/exec": {"code": "1"},
    "/tasks": {"code": "return 1"},
    "/mcp": INITIALIZE,
}
"""What begins on the server that is asked, and with which body."""
PLACED: dict[str, Any] = {
    "/contexts": {"language": "javascript"},
    "/execute": {"code": "1"},
    "/jupyter/api/kernels": {},
    "/jupyter/api/sessions": {"path": "b.ipynb", "type": "notebook", "kernel": {}},
}
"""What begins on any."""


@pytest.fixture(scope="module")
def both(postgresql: PostgreSQL) -> Iterator[AnyServer]:
    """Two servers on one database."""
    servers = AnyServer(2, postgresql.database(), *FLAGS)
    yield servers
    assert servers.stop() == 0
    assert not [line for server in servers.servers for line in server.wrong()]


@pytest.fixture
def clients(both: AnyServer) -> Iterator[tuple[Client, Client]]:
    """A client of each; contexts go when the test is over."""
    one, two = both.clients()
    yield one, two
    one.clean()
    one.close()
    two.close()


@pytest.fixture
def own(clients: tuple[Client, Client]) -> str:
    """A context of the first server."""
    return made_at(clients[0])


def made_at(client: Client) -> str:
    """Make a context on the very server of a client."""
    for _ in range(20):
        answer = client.post("/contexts", json={"language": "javascript"})
        if answer.headers[OWNER] == str(client.base_url).rstrip("/"):
            context_id: str = answer.json()["id"]
            return context_id
        client.delete(f"/contexts/{answer.json()['id']}")
    raise AssertionError(answer.headers)


def test_a_context_is_used_by_any_server(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    one, two = clients
    assert one.text("let n = 1; n", context_id=own) == "1"
    assert two.text("n += 1", context_id=own) == "2"
    assert one.text("n", context_id=own) == "2"
    for client in clients:
        answer = client.get(f"/contexts/{own}")
        assert answer.headers[OWNER] == both.servers[0].url
        assert answer.json()["execution_count"] == 3
    fork = two.post(f"/contexts/{own}/fork")
    assert fork.status_code == 201
    assert two.text("n", context_id=fork.json()["id"]) == "2"
    assert two.delete(f"/contexts/{own}").status_code == 204
    for client in clients:
        assert client.get(f"/contexts/{own}").status_code == 404


def _begun(client: Client, path: str, body: Any) -> httpx.Response:
    answer = client.post(path, json=body, headers={"Accept": BOTH})
    assert answer.is_success, answer.text
    return answer


def test_who_begins_something_is_told_where_it_is(
    clients: tuple[Client, Client], both: AnyServer
) -> None:
    for client, server in zip(clients, both.servers, strict=True):
        for path, body in STAY.items():
            assert _begun(client, path, body).headers[OWNER] == server.url, path
        for path, body in PLACED.items():
            answer = _begun(client, path, body)
            made = answer.json()
            made = made.get("kernel", made)
            here = made.get("context_id") or made["id"]
            shown = client.get(f"/contexts/{here}")
            assert answer.headers[OWNER] == shown.headers[OWNER], path


def test_a_server_alone_names_no_owner(client: Client) -> None:
    for path, body in {**STAY, **PLACED}.items():
        assert OWNER not in _begun(client, path, body).headers, path


def test_answers_are_the_owner_s(clients: tuple[Client, Client], own: str) -> None:
    """What is refused, and how, doesn't depend on who was asked."""
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/execute", {"json": {"code": "1", "context_id": own, "x": 1}}),
        (
            "POST",
            "/execute",
            {"json": {"code": "1", "context_id": own, "language": "no"}},
        ),
        ("GET", f"/contexts/{own}/executions/none", {}),
        ("POST", f"/contexts/{own}/restart", {"json": {"from": "checkpoint"}}),
        ("GET", f"/contexts/{own}/files/none", {}),
        ("PATCH", f"/contexts/{own}", {}),
        ("GET", f"/contexts/{own}/messages", {"params": {"after": "?"}}),
    ]
    for method, path, more in asked:
        answers = [client.request(method, path, **more) for client in clients]
        statuses = [answer.status_code for answer in answers]
        assert statuses[0] == statuses[1] >= 400, path
        assert answers[0].json() == answers[1].json()
        codes = [answer.headers["X-Error-Code"] for answer in answers]
        assert codes[0] == codes[1]


def test_headers_pass_both_ways(clients: tuple[Client, Client], own: str) -> None:
    headers = {
        "X-Request-Id": "mine-1",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
    }
    answer = clients[1].get(f"/contexts/{own}", headers=headers)
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.headers.get_list("Date", split_commas=False) == [
        answer.headers["Date"]
    ]
    assert "Transfer-Encoding" not in answer.headers


def test_events_come_while_the_cell_runs(
    clients: tuple[Client, Client], own: str
) -> None:
    _, two = clients
    asked = {"code": FOREVER, "context_id": own}
    with two.stream("POST", "/execute/async", json=asked) as answer:
        lines = answer.iter_lines()
        assert any("begun" in line for line in lines)
        assert two.post(f"/contexts/{own}/interrupt").status_code == 200
        assert any("KeyboardInterrupt" in line for line in lines)  # to its end


def test_files_pass_both_ways(clients: tuple[Client, Client], own: str) -> None:
    data = bytes(range(256)) * 4096 * 5 + b"end"
    pieces = [data[at : at + 100_001] for at in range(0, len(data), 100_001)]
    for client, content in ((clients[1], iter(pieces)), (clients[0], data)):
        path = f"/contexts/{own}/files/a%20b/{id(client)}"
        sent = client.put(path, content=content)
        assert sent.status_code == 201, sent.text
        assert sent.json()["size"] == len(data)
        tag = sent.headers["ETag"]
        for other in clients:
            assert other.get(path).content == data
            part = other.get(path, headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, data[10:20])
            same = other.get(path, headers={"If-None-Match": tag})
            assert (same.status_code, same.content) == (304, b"")
            refused = other.put(
                path, content=iter(pieces), headers={"If-Match": '"no"'}
            )
            assert refused.status_code == 412


def _rss(server: Server) -> int:
    found: int = psutil.Process(server.process.pid).memory_info().rss
    return found


def test_files_are_resources_elsewhere(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    """Also those whose names no header can have as they are."""
    clients[0].put(f"/contexts/{own}/files/söme file.csv", content=b"a,b\n")

    async def read(url: str) -> str:
        async with connect_agent(url) as agent:
            place = f"context://{own}/files/s%C3%B6me%20file.csv"
            (found,) = (await agent.read_resource(place)).contents
            text: str = found.text  # type: ignore[union-attr]  # it is a text
            return text

    for server in both.servers:
        assert asyncio.run(read(server.url)) == "a,b\n"


def test_who_passes_on_keeps_little_of_it(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    """A client that reads slowly makes the owner wait, not the server between fill."""
    one, two = clients
    code = "require('node:fs').writeFileSync('big', new Uint8Array(96 << 20))"
    assert one.run(code, context_id=own)["error"] is None
    before = _rss(both.servers[1])
    seen = hashlib.sha256()
    with two.stream("GET", f"/contexts/{own}/files/big") as answer:
        most = 0
        for number, piece in enumerate(answer.iter_bytes(1 << 16)):
            seen.update(piece)
            if number % 100 == 0:
                most = max(most, _rss(both.servers[1]) - before)
    assert seen.digest() == hashlib.sha256(bytes(96 << 20)).digest()
    assert most < 24 * MIB


def _asked(server: Server, path: str, body: str) -> socket.socket:
    """A request whose answer isn't awaited."""
    connection = server.connection()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall((head + body).encode())
    return connection


def test_a_client_that_leaves_is_gone_for_the_owner(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    one, _ = clients
    body = json.dumps({"code": FOREVER, "context_id": own})
    for path in ("/execute", "/execute/async"):
        asked = f"{path}?on_disconnect=interrupt"
        with _asked(both.servers[1], asked, body) as connection:
            one.wait_state(own, "busy")
            connection.close()
            one.wait_state(own, "idle")
    with _asked(both.servers[1], "/execute", body) as connection:
        one.wait_state(own, "busy")
        connection.close()
    assert one.show(own)["state"] == "busy"  # it goes on, as without the other server
    one.post(f"/contexts/{own}/interrupt")
    one.wait_state(own, "idle")


def test_runs_are_found_by_any_server(clients: tuple[Client, Client]) -> None:
    one, two = clients
    for session in (None, "mine"):
        fields = {} if session is None else {"session": session}
        here = one.submit(FOREVER, **fields)
        two.printed(here, "begun")
        assert two.info(here)["status"] == "running"
        listed = two.get("/api/executions?status=running").json()["executions"]
        assert [each["execution_id"] for each in listed] == [here]
        assert two.cancel(here)["ok"] is True
        assert [client.ended(here)["status"] for client in clients] == ["cancelled"] * 2


def test_lists_have_what_all_servers_have(clients: tuple[Client, Client]) -> None:
    made = {made_at(client) for client in clients for _ in range(2)}
    for client in clients:
        listed = client.get("/contexts").json()["items"]
        assert {one["id"] for one in listed} == made
        assert [one["created_at"] for one in listed] == sorted(
            one["created_at"] for one in listed
        )
        kernels = client.get("/jupyter/api/kernels").json()
        assert {one["context_id"] for one in kernels} == made
        sessions = client.get("/jupyter/api/sessions").json()
        assert {one["name"] for one in sessions} == made
        assert client.get("/jupyter/api/status").json()["kernels"] == 4
        page = client.get("/ui/").text
        assert all(name in page for name in made)


def test_sessions_of_fronts_are_known_to_all(clients: tuple[Client, Client]) -> None:
    one, two = clients
    asked = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {}}
    made = one.post("/jupyter/api/sessions", json=asked).json()
    path = f"/jupyter/api/sessions/{made['id']}"
    for client in clients:
        assert client.get(path).json()["kernel"]["id"] == made["kernel"]["id"]
        changed = client.patch(path, json={"path": f"{id(client)}.ipynb"})
        assert changed.status_code == 200
        assert [
            each.get("/jupyter/api/sessions").json()[0]["path"] for each in clients
        ] == [f"{id(client)}.ipynb"] * 2
    assert two.delete(path).status_code == 204
    assert [client.get(path).status_code for client in clients] == [404, 404]


def test_a_session_gets_a_kernel_of_another_server(
    clients: tuple[Client, Client],
) -> None:
    """Whichever server is asked; a context that a front has made ends then."""
    agents = [made_at(client) for client in clients]
    asked = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {}}
    for asking in clients:
        made = asking.post("/jupyter/api/sessions", json=asked).json()
        before = made["kernel"]["context_id"]
        path = f"/jupyter/api/sessions/{made['id']}"
        for there in (*agents, *reversed(agents)):
            kernel = asking.get(f"/jupyter/api/kernels/{there}").json()
            switched = asking.patch(path, json={"kernel": {"id": kernel["id"]}})
            assert switched.status_code == 200, switched.text
            assert switched.json() == {
                **{name: made[name] for name in ("id", "path", "name", "type")},
                "notebook": made["notebook"],
                "kernel": kernel,
            }
            for client in clients:
                assert client.get(path).json()["kernel"]["id"] == kernel["id"]
                rows = client.get("/jupyter/api/sessions").json()
                assert [row["path"] for row in rows].count("a.ipynb") == 1
                assert client.get(f"/contexts/{before}").status_code == 404
        for client in clients:
            assert client.patch(path, json={"name": "b"}).json()["name"] == "b"
            missing = client.patch(path, json={"kernel": {"id": "nobody"}})
            assert missing.status_code == 404
        assert asking.delete(path).status_code == 204
        assert [client.get(path).status_code for client in clients] == [404, 404]
    for client in clients:
        nobody = client.patch(
            "/jupyter/api/sessions/nobody", json={"kernel": {"id": agents[0]}}
        )
        assert nobody.status_code == 404
        listed = client.get("/contexts").json()["items"]
        assert {one["id"] for one in listed} == {*agents}


def test_the_session_that_a_context_has_by_itself_gets_another_kernel(
    clients: tuple[Client, Client],
) -> None:
    first, second = [made_at(client) for client in clients]
    for client in clients:
        kernel = client.get(f"/jupyter/api/kernels/{first}").json()
        path = f"/jupyter/api/sessions/{kernel['id']}"
        for there in (second, first, second):
            other = client.get(f"/jupyter/api/kernels/{there}").json()
            switched = client.patch(path, json={"kernel": {"id": other["id"]}})
            assert switched.json()["kernel"] == other, switched.text
            assert [each.get(path).json()["kernel"]["id"] for each in clients] == [
                other["id"]
            ] * 2
        assert client.delete(path).status_code == 204
        assert client.get(path).json()["kernel"]["id"] == kernel["id"]


def test_a_document_that_has_another_kernel_has_no_other_session(
    clients: tuple[Client, Client],
) -> None:
    for client in clients:
        made_at(client)
    kernels = clients[0].get("/jupyter/api/kernels").json()
    for kernel in kernels * 4:
        asked = {"path": "a.ipynb", "kernel": {"id": kernel["id"]}}
        answer = clients[0].post("/jupyter/api/sessions", json=asked)
        assert answer.status_code == 201, answer.text
        for client in clients:
            rows = client.get("/jupyter/api/sessions").json()
            (row,) = [each for each in rows if each["path"] == "a.ipynb"]
            assert row["kernel"]["id"] == kernel["id"]


def test_a_document_has_one_session_over_postgresql_s_servers(
    clients: tuple[Client, Client],
) -> None:
    for number in range(4):
        asked = {"path": f"{number}.ipynb", "kernel": {"name": "v8-javascript"}}

        def post(client: Client, asked: dict[str, Any] = asked) -> str:
            answer = client.post("/jupyter/api/sessions", json=asked)
            assert answer.status_code == 201, answer.text
            name: str = answer.json()["kernel"]["context_id"]
            return name

        with ThreadPoolExecutor(4) as pool:
            assert len({*pool.map(post, clients * 2)}) == 1
    assert len(clients[0].get("/contexts").json()["items"]) == 4


def test_lists_say_who_is_connected_elsewhere(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    def look(client: Client) -> None:
        status = client.get("/jupyter/api/status").json()
        (row,) = client.get("/jupyter/api/sessions").json()
        kernel = row["kernel"]
        assert client.get("/jupyter/api/kernels").json() == [kernel]
        assert client.get(f"/jupyter/api/kernels/{own}").json() == kernel
        assert kernel["execution_state"] == "busy"
        assert kernel["connections"] == status["connections"] == 1
        assert kernel["last_activity"] == status["last_activity"]

    async def work() -> None:
        one, two = clients
        url = f"{both.servers[1].url.replace('http', 'ws', 1)}/jupyter/api/kernels/"
        front = await Front(f"{url}{own}/channels").connect()
        await front.ask("execute_request", {"code": FOREVER})
        await front.hear_until(lambda message: message.kind == "stream")
        for client in (one, two):
            await asyncio.to_thread(look, client)
        await front.close()
        one.post(f"/contexts/{own}/interrupt")

    asyncio.run(work())


def test_tasks_run_where_their_session_is(
    clients: tuple[Client, Client], own: str
) -> None:
    code = "return globalThis.n = (globalThis.n ?? 0) + 1"
    asked = {"code": code, "sessionId": own, "typecheck": False}
    for number, client in enumerate(clients * 2, 1):
        body = {**asked, "waitForResult": True}
        answer = client.post("/tasks", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"] == number


def test_lists_say_when_contexts_elsewhere_are_saved(
    clients: tuple[Client, Client], own: str
) -> None:
    made = clients[0].post("/contexts", json={"durability": "execution"}).json()["id"]
    for client in clients:
        items = {one["id"]: one for one in client.get("/contexts").json()["items"]}
        assert items[made]["durability"] == "execution"
        assert "durability" not in items[own]


def test_the_same_name_is_one_session(clients: tuple[Client, Client]) -> None:
    """Two servers that are asked at once for what isn't there make one of it."""
    for number in range(5):
        asked = {
            "code": "globalThis.n = (globalThis.n ?? 0) + 1",
            "session": f"s{number}",
        }
        runs = [
            client.post("/api/exec", json=asked).json()["execution_id"]
            for client in clients * 3
        ]
        ended = [clients[0].ended(run) for run in runs]
        assert {each["status"] for each in ended} == {"completed"}
        assert {each["result"] for each in ended} == set("123456")


def test_a_request_that_is_sent_again_elsewhere_runs_once(
    clients: tuple[Client, Client],
) -> None:
    for number in range(5):
        asked = {"code": "Math.random()", "execution_id": f"once-{number}"}
        answers = [client.post("/execute", json=asked).json() for client in clients * 2]
        assert len({each["context_id"] for each in answers}) == 1
        assert len({each["items"][0]["text"] for each in answers}) == 1


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
def test_websockets_pass_both_ways(both: AnyServer, own: str, v1: bool) -> None:  # noqa: FBT001
    async def work() -> None:
        fronts = []
        for server in both.servers:
            base = server.url.replace("http", "ws", 1)
            url = f"{base}/jupyter/api/kernels/{own}/channels"
            fronts.append(await Front(url, v1=v1).connect())
        for front in fronts:
            number = await front.ask("execute_request", {"code": "console.log(1); 2"})
            assert (await front.reply_to(number))["status"] == "ok"
        size = 3 << 20
        number = await fronts[1].ask(
            "execute_request", {"code": f"console.log('x'.repeat({size})); 0"}
        )
        assert (await fronts[1].reply_to(number))["status"] == "ok"
        assert len(fronts[1].texts(parent=number)) == size + 1
        for front in fronts:
            await front.close()

    asyncio.run(work())


def test_no_handler_has_names_of_what_passes_its_requests_on() -> None:
    own = {name for name in vars(PassingHandler) if not name.startswith("__")}
    own -= {"prepare", "write_error", "on_connection_close"}  # each calls the next
    routes = passing_routes((*ROUTES, *JUPYTER_ROUTES, *MCP_ROUTES, *UI_ROUTES))
    for route in routes:
        classes = route.handler.__mro__[1:]
        if PassingHandler in classes:
            for each in classes[: classes.index(PassingHandler)]:
                assert not own & (vars(each).keys() | each.__annotations__.keys())


# -- who may pass on -------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "x", "W10=.00", "x" * 10_000])
def test_a_mark_that_is_none_is_refused(
    clients: tuple[Client, Client], own: str, mark: str
) -> None:
    for client in clients:
        answer = client.get(f"/contexts/{own}", headers={MARK: mark})
        assert answer.status_code == 403
        assert answer.headers["X-Error-Code"] == "peer_mark"
    assert clients[0].get("/cluster/contexts").status_code == 404
    answer = clients[0].get("/cluster/contexts", headers={MARK: mark})
    assert answer.status_code == 403


def test_nothing_is_passed_on_twice_nor_taken_twice(
    clients: tuple[Client, Client], both: AnyServer, own: str
) -> None:
    """A server that is sent what is another one's says so; a mark counts once."""
    ids = {
        one["url"]: one["id"]
        for one in clients[0].get("/cluster/servers").json()["items"]
    }
    one, two = (ids[server.url] for server in both.servers)
    marks = Marks(SECRET, "tester")
    path = f"/contexts/{own}"

    def asked(client: Client, server_id: str) -> tuple[httpx.Response, str]:
        mark = marks.make(server_id, "GET", path, Principal())
        return client.get(path, headers={MARK: mark}), mark

    answer, _ = asked(clients[1], two)
    assert answer.status_code == 421
    assert answer.headers["X-Error-Code"] == "elsewhere"
    assert answer.headers[OWNER] == both.servers[0].url
    answer, mark = asked(clients[0], one)
    assert answer.status_code == 200
    again = clients[0].get(path, headers={MARK: mark})
    assert again.status_code == 403
    assert again.headers["X-Error-Code"] == "peer_mark"
    for astray in (
        clients[1].get(path, headers={MARK: mark}),
        asked(clients[0], two)[0],
    ):
        assert astray.status_code == 503
        assert astray.headers["X-Error-Code"] == "peer_unreachable"


def test_keys_count_at_any_server_of_postgresql_s(postgresql: PostgreSQL) -> None:
    """Whose context it is, and who has signed in with a browser."""
    red, blue = "a-key-of-red-0123456789", "a-key-of-blue-0123456789"
    tables = [
        {"name": name, "api_keys": [{"key": key, "client": name, "admin": True}]}
        for name, key in (("red", red), ("blue", blue))
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "isokernel.toml"
        file.write_text(f"workspaces = {json.dumps(tables).replace(': ', ' = ')}\n")
        servers = AnyServer(
            2, postgresql.database(), *FLAGS, "--config", str(file), key=red
        )
        one, two = servers.clients(**{"X-API-Key": red})
        try:
            here = made_at(one)
            assert two.text("let n = 1; n", context_id=here) == "1"
            foreign = {"X-API-Key": blue}
            assert two.get(f"/contexts/{here}", headers=foreign).status_code == 404
            assert two.get("/contexts", headers=foreign).json()["items"] == []
            assert (
                two.get(f"/contexts/{here}", headers={"X-API-Key": ""}).status_code
                == 401
            )
            with httpx.Client(verify=NO_TLS) as browser:
                host = {"Host": "localhost:80", "Sec-Fetch-Site": "same-origin"}
                first, second = (server.url for server in servers.servers)
                form = {"key": red}
                signed = browser.post(f"{first}/ui/sign-in", data=form, headers=host)
                assert signed.status_code == 303, signed.text
                name, _, value = (
                    signed.headers["Set-Cookie"].partition(";")[0].partition("=")
                )
                cookie = {**host, "Cookie": f"{name}={value}"}
                shown = browser.get(f"{second}/ui/contexts/{here}", headers=cookie)
                assert shown.status_code == 200
                assert "sign-out" in shown.text
                browser.post(f"{second}/ui/sign-out", headers=cookie)
                shown = browser.get(f"{first}/ui/", headers=cookie)
                assert shown.status_code != 200
        finally:
            one.close()
            two.close()
            servers.stop()


# -- servers that are lost -------------------------------------------------------------


@contextmanager
def _pair(postgresql: PostgreSQL) -> Iterator[tuple[AnyServer, Client, Client]]:
    servers = AnyServer(
        2, postgresql.database(), *FLAGS, "--cluster-lease-seconds", "2"
    )
    one, two = servers.clients()
    try:
        yield servers, one, two
    finally:
        one.close()
        two.close()
        servers.stop()


def test_what_is_lost_with_postgresql_s_knowledge(postgresql: PostgreSQL) -> None:
    """A server is killed amid a stream, an answer and a websocket."""
    with _pair(postgresql) as (servers, one, two):
        streamed, asked, attached = (made_at(one) for _ in range(3))
        told: list[httpx.Response] = []

        def ask() -> None:
            with connect(servers.servers[1]) as client:
                told.append(
                    client.post("/execute", json={"code": FOREVER, "context_id": asked})
                )

        async def front() -> None:
            base = servers.servers[1].url.replace("http", "ws", 1)
            url = f"{base}/jupyter/api/kernels/{attached}/channels"
            made = await Front(url).connect()
            number = await made.ask("execute_request", {"code": "1"})
            await made.reply_to(number)
            servers.servers[0].process.send_signal(signal.SIGKILL)
            while await made.hear() is not None:
                pass

        thread = threading.Thread(target=ask)
        body = {"code": FOREVER, "context_id": streamed}
        with two.stream("POST", "/execute/async", json=body) as answer:
            lines = answer.iter_lines()
            assert any("begun" in line for line in lines)
            thread.start()
            one.wait_state(asked, "busy")
            asyncio.run(front())
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        thread.join()
        assert told[0].status_code == 502
        assert told[0].headers["X-Error-Code"] == "peer_lost"
        refused = two.get(f"/contexts/{asked}")
        assert refused.status_code in {200, 503}

        def taken() -> bool:
            answer = two.get(f"/contexts/{asked}")
            if answer.status_code == 503:
                assert answer.headers["Retry-After"]
                return False
            return bool(answer.json()["state"] == "dead")

        wait_for(taken)


def test_no_request_waits_for_one_that_is_stopped(postgresql: PostgreSQL) -> None:
    with _pair(postgresql) as (servers, one, two):
        context = made_at(one)
        two.run("1", context_id=context)
        process = servers.servers[0].process
        process.send_signal(signal.SIGSTOP)
        try:
            answer = two.post("/execute", json={"code": "2", "context_id": context})
            assert answer.status_code in {502, 503}
        finally:
            process.send_signal(signal.SIGCONT)


def test_a_server_that_stops_gives_its_contexts_away(postgresql: PostgreSQL) -> None:
    with _pair(postgresql) as (servers, one, two):
        context = made_at(one)
        assert two.text("let n = 41; n", context_id=context) == "41"
        assert servers.servers[0].stop() == 0

        def goes_on() -> bool:
            answer = two.post("/execute", json={"code": "n + 1", "context_id": context})
            assert answer.status_code in {200, 503}, answer.text
            return (
                answer.status_code == 200 and answer.json()["items"][0]["text"] == "42"
            )

        wait_for(goes_on)


# -- counted over all ------------------------------------------------------------------


def test_rates_hold_over_postgresql_s_servers(postgresql: PostgreSQL) -> None:
    rates = ("--execute-rate-per-minute", "6", "--failure-rate-per-minute", "12")
    key = "the-secret-key-of-all"
    servers = AnyServer(
        2, postgresql.database(), *FLAGS, *rates, "--api-key", key, key=key
    )
    one, two = servers.clients(**{"X-API-Key": key})
    try:
        asked = {"code": "return 1"}
        answers = [client.post("/tasks", json=asked) for client in (one, two) * 6]
        passed = [each for each in answers if each.status_code != 429]
        assert len(passed) == 6
        assert {each.headers["X-Error-Code"] for each in answers[6:]} == {"rate_limit"}

        def refused(client: Client) -> int:
            """How long it is to be waited after a wrong key; 0 if it isn't."""
            answer = client.get("/contexts", headers={"X-API-Key": "wrong"})
            return int(answer.headers.get("Retry-After", 0))

        # One server alone would have it waited for 5 s.
        wait_for(lambda: max(refused(one), refused(two)) > 10)
    finally:
        one.close()
        two.close()
        servers.stop()
