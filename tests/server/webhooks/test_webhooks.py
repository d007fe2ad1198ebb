"""Webhooks, against receivers that take them, fail, hang, redirect or are gone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import signal
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from sqlalchemy import event, text
from tests.support.client import connect
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import DEADLINE, wait_for

from isoserver import app
from isoserver.cli.serve import load
from isoserver.cluster import tables
from isoserver.errors import DatabaseError
from isoserver.runs.records import Ending, Kind, RunRecord, Status
from isoserver.runs.store import Store
from isoserver.settings.logs import make_log
from isoserver.storage.database import SERVER_VARIABLE, Database, url_of
from isoserver.webhooks.sender import sign
from isoserver.webhooks.service import is_allowed
from isoserver.webhooks.store import PendingWebhook, WebhookStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.outages import Away

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
FLAGS = (
    *("--webhook-host", "127.0.0.1:*", "--webhook-private"),
    *("--webhook-secret", SECRET, "--webhook-retry-seconds", "0.02"),
    *("--webhook-attempts-max", "4"),
)
HASTY = ("--webhook-timeout-seconds", "0.3")


PATIENT = ("--webhook-attempts-max", "1000000", "--webhook-retry-seconds-max", "0.1")


class Received(NamedTuple):
    """A request that a receiver has had."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        """Its body, once its signature has been checked as the standard says."""
        headers = self.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{self.body}"
        digest = hmac.new(KEY, signed.encode(), hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        assert expected in headers["webhook-signature"].split(" ")
        assert headers["content-type"] == "application/json"
        found: dict[str, Any] = json.loads(self.body)
        assert set(found) == {"type", "timestamp", "data"}
        return found


class Receiver:
    """A server that answers by a script, one entry a request; the last one repeats.

    An entry is a status, perhaps with headers, or None to say nothing.
    """

    def __init__(self, port: int = 0) -> None:
        self.script: list[Any] = [204]
        self.received: list[Received] = []
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size).decode()
                headers = {name.lower(): text for name, text in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                script = receiver.script
                step = script.pop(0) if len(script) > 1 else script[0]
                if step is None:
                    receiver.ended.wait(DEADLINE)
                    return
                status, more = step if isinstance(step, tuple) else (step, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **more}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - as a redirect may ask

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks?key=hidden"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def one(self) -> Received:
        """The first request, once it is there."""
        wait_for(lambda: self.received)
        return self.received[0]

    def close(self) -> None:
        """Stop."""
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver for a while."""
    receiver = Receiver(port)
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes all, unless a test says otherwise."""
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def hooked() -> Iterator[Server]:
    """A server that may send webhooks to this machine."""
    with run_server(*V8_FLAGS, *FLAGS) as server:
        yield server


@pytest.fixture
def api(hooked: Server) -> Iterator[Client]:
    """Its client."""
    with connect(hooked) as client:
        yield client
        client.clean()


def audit(client: Client) -> list[dict[str, Any]]:
    """What the audit has of webhooks, newest first."""
    found: list[dict[str, Any]] = client.get("/audit?kind=webhook").json()["items"]
    return found


def figures(client: Client) -> dict[str, float]:
    """The attempts so far, by outcome."""
    return {
        line.split('"')[1]: float(line.rsplit(" ", 1)[1])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("isokernel_webhooks_total{")
    }


# -- what is told ----------------------------------------------------------------------


def test_an_execution_tells_its_end(api: Client, receiver: Receiver) -> None:
    """Its ids and how it did; neither code nor result unless they are wanted."""
    code = "console.log('printed'); 'the' + 'value'"
    execution_id = api.submit(code, webhook={"url": receiver.url}, session="s")
    got = receiver.one()
    assert got.path == "/hooks?key=hidden"
    event, info = got.event, api.info(execution_id)
    assert event["type"] == "execution.ended"
    assert event["data"] == {
        "execution_id": execution_id,
        "status": "completed",
        "session": "s",
        "started_at": info["started_at"],
        "completed_at": info["completed_at"],
        "heap": info["heap"],
        "error": None,
    }
    # An earlier test's may still be written.
    (entry,) = wait_for(
        lambda: [one for one in audit(api) if one["task_id"] == execution_id]
    )
    assert entry["outcome"] == "completed"
    assert entry["path"] == f"http://127.0.0.1:{receiver.port}"  # not what is in it


def test_result_and_output_if_they_are_wanted(api: Client, receiver: Receiver) -> None:
    """The beginning of each: a body is bounded."""
    hook = {"url": receiver.url, "output": True}
    api.submit("console.log('a'); ({ x: 1 })", webhook=hook)
    data = receiver.one().event["data"]
    assert (data["result"], data["output"]) == ('{"x":1}', "a\n")
    receiver.received.clear()
    code = "for (let i = 0; i < 9999; i++) console.log('ä'.repeat(99)); 'é'.repeat(1e6)"
    api.submit(code, webhook=hook)
    got = receiver.one()
    assert len(got.body.encode()) < 64 * 1024
    assert len(got.event["data"]["output"]) > 4000


def test_what_failed_is_told_without_code(api: Client, receiver: Receiver) -> None:
    api.submit(
        "const secret = 1; throw new TypeError('x'.repeat(9999))",
        webhook={"url": receiver.url},
    )
    got = receiver.one()
    data = got.event["data"]
    assert data["status"] == "failed"
    assert data["error"]["name"] == "TypeError"
    assert len(data["error"]["message"]) <= 1000
    assert "secret" not in got.body


def test_a_task_tells_its_end(api: Client, receiver: Receiver) -> None:
    body = {
        "code": "console.log('a'); return [1]",
        "metadata": {"ticket": 7},
        "webhook": {"url": receiver.url, "output": True},
    }
    task_id = api.post("/tasks", json=body).json()["taskId"]
    event = receiver.one().event
    assert event["type"] == "task.ended"
    data = event["data"]
    assert (data["taskId"], data["status"]) == (task_id, "completed")
    assert (data["result"], data["output"]) == ([1], "a\n")
    assert data["metadata"] == {"ticket": 7}


def test_a_cell_tells_its_end(api: Client, receiver: Receiver) -> None:
    """Once, however often its request is sent; and if it never had its turn."""
    here = api.create()
    hook = {"url": receiver.url, "output": True}
    body: dict[str, Any] = {"code": "console.log('a'); 6 * 7", "context_id": here}
    body |= {"execution_id": "it", "webhook": hook}
    for _ in range(2):
        assert api.post("/execute/async", json=body).status_code == 200
    event = receiver.one().event
    assert event["type"] == "cell.ended"
    assert event["data"] == {
        "context_id": here,
        "execution_id": "it",
        "status": "completed",
        "execution_count": 1,
        "error": None,
        "result": "42",
        "output": "a\n",
    }
    busy = {"code": "for (;;) {}", "context_id": here, "execution_id": "busy"}
    with api.stream("POST", "/execute/async", json=busy):
        pass
    with api.stream(
        "POST", "/execute/async", json={**body, "execution_id": "never", "code": "1"}
    ):
        pass
    for name in ("never", "busy"):
        answer = api.post(f"/contexts/{here}/executions/{name}/cancel")
        assert answer.status_code == 200
    wait_for(lambda: len(receiver.received) == 2)
    assert receiver.received[1].event["data"]["status"] == "cancelled"


# -- receivers -------------------------------------------------------------------------


def test_what_fails_is_sent_again(api: Client, receiver: Receiver) -> None:
    """As the same webhook, signed anew, until it is taken."""
    receiver.script = [500, (503, {"Retry-After": "0"}), 200]
    before = figures(api)
    api.submit("1", webhook={"url": receiver.url})
    wait_for(lambda: len(receiver.received) == 3)
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert len({got.body for got in receiver.received}) == 1
    assert receiver.received[2].event
    wait_for(lambda: figures(api).get("delivered") == before.get("delivered", 0) + 1)
    assert figures(api)["failed"] == before.get("failed", 0) + 2


def test_who_hangs_is_given_up(
    servers: Callable[..., Server], receiver: Receiver
) -> None:
    """Each attempt has its time, and there is a last one."""
    receiver.script = [None]
    server = servers(*V8_FLAGS, *FLAGS, *HASTY)
    with connect(server) as client:
        execution_id = client.submit("1", webhook={"url": receiver.url})
        wait_for(lambda: audit(client))
        entry = audit(client)[0]
        assert figures(client) == {"failed": 3, "given_up": 1}
    assert (entry["task_id"], entry["outcome"]) == (execution_id, "failed")
    assert entry["reason"] == "no answer within 0.3 s"
    assert '"attempts": 4' in server.log() or '"attempts":4' in server.log()


def test_redirects_are_not_followed(api: Client, receiver: Receiver) -> None:
    with receiving() as other:
        receiver.script = [(307, {"Location": other.url})]
        before = figures(api).get("given_up", 0)
        api.submit("1", webhook={"url": receiver.url})
        wait_for(lambda: figures(api).get("given_up", 0) == before + 1)
        assert len(receiver.received) == 4
        assert not other.received


def test_who_is_gone_is_not_asked_again(api: Client, receiver: Receiver) -> None:
    receiver.script = [410]
    before = figures(api).get("given_up", 0)
    api.submit("1", webhook={"url": receiver.url})
    wait_for(lambda: figures(api).get("given_up", 0) == before + 1)
    assert len(receiver.received) == 1


def test_those_that_hang_do_not_keep_others_waiting(
    servers: Callable[..., Server], receiver: Receiver
) -> None:
    """There are more of them than may be sent at a time."""
    flags = ("--webhooks-running-max", "2", *HASTY)
    with receiving() as deaf, connect(servers(*V8_FLAGS, *FLAGS, *flags)) as client:
        deaf.script = [None]
        for _ in range(4):
            client.done("1", webhook={"url": deaf.url})
        client.submit("1", webhook={"url": receiver.url})
        assert receiver.one().event


# -- the life of the server ------------------------------------------------------------


def test_what_is_not_delivered_outlives_the_server(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    """Also one that was killed while a run went on: that has failed."""
    flags = (*V8_FLAGS, *FLAGS, *PATIENT, "--data-dir", str(tmp_path))
    with receiving() as receiver:
        port = receiver.port
    hook = {"url": f"http://127.0.0.1:{port}/"}
    server = servers(*flags)
    with connect(server) as client:
        done = client.submit("1", webhook=hook)
        wait_for(lambda: figures(client).get("failed", 0) > 0)
        running = client.submit("for (;;) {}", webhook=hook)
        here = client.create()
        cell = {"code": "for (;;) {}", "context_id": here, "webhook": hook}
        with client.stream("POST", "/execute/async", json=cell) as answer:
            cell_id = answer.headers["X-Execution-Id"]
        wait_for(lambda: client.show(here)["state"] == "busy")
        server.stop(signal.SIGKILL)
    with receiving(port) as receiver:
        servers(*flags)
        wait_for(lambda: len(receiver.received) == 3)
        told = [got.event["data"] for got in receiver.received]
        status = {one["execution_id"]: one["status"] for one in told}
        assert status == {done: "completed", running: "failed", cell_id: "failed"}
        assert {one.get("context_id") for one in told} == {None, here}


def test_a_server_that_stops_leaves_its_ends_to_the_next(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    grace = ("--shutdown-grace-seconds", "0")
    flags = (*V8_FLAGS, *FLAGS, *PATIENT, *grace, "--data-dir", str(tmp_path))
    with receiving() as receiver:
        port = receiver.port
    hook = {"url": f"http://127.0.0.1:{port}/"}
    server = servers(*flags)
    with connect(server) as client:
        running = client.submit("for (;;) {}", webhook=hook)
        cell = {"code": "for (;;) {}", "language": "js", "webhook": hook}
        with client.stream("POST", "/execute/async", json=cell) as answer:
            cell_id = answer.headers["X-Execution-Id"]
        server.stop()
    with receiving(port) as receiver:
        servers(*flags)
        wait_for(lambda: len(receiver.received) == 2)
        told = [got.event["data"] for got in receiver.received]
        status = {one["execution_id"]: one["status"] for one in told}
        # The cell is interrupted, as anybody might have done.
        assert status == {running: "failed", cell_id: "cancelled"}


# -- while the database is away --------------------------------------------------------


def test_an_end_that_can_not_be_kept_is_told_once_it_can(
    servers: Callable[..., Server], receiver: Receiver, away: Away
) -> None:
    """A cell needs no database to end."""
    server = servers(*V8_FLAGS, *FLAGS, "--database-url", away.url)
    with connect(server) as client:
        here = client.create()
        cell = {"code": "for (;;) {}", "context_id": here, "execution_id": "it"}
        hook = {"webhook": {"url": receiver.url}}
        with client.stream("POST", "/execute/async", json={**cell, **hook}):
            pass
        client.wait_state(here, "busy")
        away.leave()
        answer = client.post(f"/contexts/{here}/executions/it/cancel")
        assert answer.status_code == 200
        wait_for(lambda: "a webhook can't be kept" in server.log())
        assert not receiver.received
        away.come_back()
        assert receiver.one().event["data"]["status"] == "cancelled"


def test_an_end_that_can_not_be_kept_delays_no_stop(
    servers: Callable[..., Server], receiver: Receiver, away: Away
) -> None:
    """The next server tells of it what it can."""
    flags = (*V8_FLAGS, *FLAGS, "--database-url", away.url)
    server = servers(*flags)
    with connect(server) as client:
        here = client.create()
        cell = {"code": "for (;;) {}", "context_id": here}
        hook = {"webhook": {"url": receiver.url}}
        with client.stream("POST", "/execute/async", json={**cell, **hook}):
            pass
        client.wait_state(here, "busy")
        away.leave()
        client.post(f"/contexts/{here}/interrupt")
        wait_for(lambda: "a webhook can't be kept" in server.log())
    assert server.stop() == 0
    away.come_back()
    servers(*flags)
    assert receiver.one().event["data"]["status"] == "failed"


def test_what_is_taken_over_as_the_database_goes_away_is_told(
    receiver: Receiver, away: Away, tmp_path: Path
) -> None:
    """All of it, also what the server is told of no more by the database."""
    flags = (
        *(*V8_FLAGS, *FLAGS, "--port", "0", "--no-access-log"),
        *("--cluster", "--cluster-secret", "0123456789" * 3),
        *("--cluster-url", "http://127.0.0.1:1", "--heap-store", "memory://heaps"),
        *("--data-dir", str(tmp_path), "--database-url", away.url),
    )

    async def run() -> None:
        said = io.StringIO()
        server = app.Server(load([*flags]), said)
        assert server.cluster is not None
        await server.open()
        try:
            await _leave_behind(away.url, tmp_path, receiver.url)
            _leave_once_taken(server.database, away)
            with suppress(DatabaseError):
                await server.runs.take_over(server.cluster)
            kept = "a webhook can't be kept"
            await asyncio.to_thread(wait_for, lambda: kept in said.getvalue())
            away.come_back()
            await server.runs.take_over(server.cluster)
            await asyncio.to_thread(wait_for, lambda: len(receiver.received) == 3)
        finally:
            await server.stop()

    asyncio.run(run())
    told = [got.event["data"] for got in receiver.received]
    status = {one["execution_id"]: one["status"] for one in told}
    assert status == {"r": "completed", "a": "failed", "b": "failed"}


async def _leave_behind(url: str, folder: Path, receiver: str) -> None:
    """Be a server that has left two cells and a run, whose ends are to be told."""
    database = Database(url_of(url, folder), {SERVER_VARIABLE: "gone"})
    async with database.begin() as connection:
        joined = "SELECT 'gone', '', proof, 0, 0, TRUE, FALSE, 60, now(), now()"
        query = f"INSERT INTO cluster_servers {joined} FROM cluster_servers"
        await connection.execute(text(query))
    hooks = WebhookStore(database, shared=True)
    for kind, subject in (("cell", "c/a"), ("script", "r"), ("cell", "c/b")):
        ordered = f"msg_{subject}", "default", kind, subject, "", receiver, False
        await hooks.add(PendingWebhook(*ordered))
    runs = Store(database, make_log("error", io.StringIO()))
    record = RunRecord(
        *("r", Kind.SCRIPT, "default", None, 1.0, {}, Status.QUEUED, 1.0)
    )
    await runs.add(record, "")
    ending = Ending(Status.COMPLETED)
    await runs.end(record._replace(status=ending.status, ended_at=2.0, ending=ending))
    async with database.begin() as connection:
        await tables.deregister(connection, "gone")
    await database.close()


def _leave_once_taken(database: Database, away: Away) -> None:
    """Have the database be away as soon as webhooks are taken over."""
    taken: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if "cluster_owners AS mine" in statement:
            taken.append(statement)

    def leave(*_: object) -> None:
        if len(taken) == 1:
            taken.append("")
            away.leave()

    engine = database.engine.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    event.listen(engine, "checkin", leave)  # codespell:ignore checkin


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/", "https://example.com is not allowed (webhook_host)"),
        ("ftp://127.0.0.1/", "must be a URL of http or https"),
        ("http://127.0.0.1:x/", "must be a URL of http or https"),
        ("http://", "must be a URL of http or https"),
        ("http://127.0.0.1/a b", "must be a URL of http or https"),
        ("http://127.0.0.1/\r\nX: y", "must be a URL of http or https"),
        ("http://user:word@127.0.0.1/", "without a user"),
        ("http://127.0.0.1/#x", "without a user, password or fragment"),
        ("http://127.0.0.1@example.com/", "without a user"),
        ("http://127.0.0.1.example.com/", "is not allowed (webhook_host)"),
        ("http://[::1]/", "is not allowed (webhook_host)"),
        ("", "at least 1 character"),
    ],
)
def test_urls_that_are_refused(api: Client, url: str, said: str) -> None:
    """By each of the routes, before anything runs."""
    code = {"code": "1", "webhook": {"url": url}}
    for path in ("/api/exec", "/tasks", "/execute/async"):
        answer = api.post(path, json=code)
        assert answer.status_code == 400
        assert said in answer.text
        assert "webhook.url" in answer.text
    assert api.get("/contexts").json()["items"] == []


def test_nothing_is_allowed_unless_a_setting_says_so(
    servers: Callable[..., Server],
) -> None:
    with connect(servers(*V8_FLAGS)) as client:
        body = {"code": "1", "webhook": {"url": "https://example.com/"}}
        assert "(webhook_host)" in client.post("/api/exec", json=body).text
    with connect(servers(*V8_FLAGS, "--webhook-host", "*")) as client:
        assert "(webhook_secret)" in client.post("/api/exec", json=body).text


def test_addresses_are_public_unless_a_setting_says_otherwise(
    servers: Callable[..., Server], receiver: Receiver
) -> None:
    """Whatever the name: what it means is looked at when it is used."""
    flags = ("--webhook-host", "*:*", "--webhook-secret", SECRET)
    server = servers(*V8_FLAGS, *flags)
    with connect(server) as client:
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # noqa: S104
            hook = {"url": f"http://{host}:{receiver.port}/"}
            client.submit("1", webhook=hook)
        wait_for(lambda: figures(client).get("given_up") == 3)
        assert {entry["reason"] for entry in audit(client)} == {
            "its host is not at a public address (webhook_private)"
        }
    assert not receiver.received


def test_a_workspace_signs_with_its_own_secrets(
    servers: Callable[..., Server], tmp_path: Path, receiver: Receiver
) -> None:
    """One that has none can't order webhooks."""
    config = tmp_path / "isokernel.toml"
    config.write_text(
        '[[workspaces]]\nname = "red"\napi_keys = [{ key = "red-0123456789abcdef" }]\n'
        f'webhook_secrets = [{{ key = "{"x" * 24}" }}, {{ key = "{SECRET}" }}]\n'
        '[[workspaces]]\nname = "blue"\n'
        'api_keys = [{ key = "blue-0123456789abcdef" }]\n',
        encoding="utf-8",
    )
    flags = ("--webhook-host", "127.0.0.1:*", "--webhook-private")
    server = servers(*V8_FLAGS, *flags, "--config", str(config))
    body = {"code": "1", "webhook": {"url": receiver.url}}
    with connect(server, **{"X-API-Key": "blue-0123456789abcdef"}) as client:
        answer = client.post("/api/exec", json=body)
        assert answer.status_code == 400
        assert "(webhook_secrets of the workspace)" in answer.text
    with connect(server, **{"X-API-Key": "red-0123456789abcdef"}) as client:
        client.submit("1", webhook={"url": receiver.url})
        got = receiver.one()
        assert got.event
        assert len(got.headers["webhook-signature"].split(" ")) == 2


def test_there_are_no_more_than_may_be(servers: Callable[..., Server]) -> None:
    flags = (*V8_FLAGS, *FLAGS, "--webhooks-pending-max", "1")
    with receiving() as receiver, connect(servers(*flags)) as client:
        hook = {"url": receiver.url}
        body = {"code": "for (;;) {}", "webhook": hook}
        running = client.submit("for (;;) {}", webhook=hook)
        answer = client.post("/api/exec", json=body)
        assert answer.status_code == 429
        assert "webhooks_pending_max" in answer.text
        client.cancel(running)
        assert receiver.one().event["data"]["status"] == "cancelled"
        body["code"] = "1"
        wait_for(lambda: client.post("/api/exec", json=body).status_code == 202)


# -- parts -----------------------------------------------------------------------------


def test_signatures_are_as_in_the_standard() -> None:
    """The example of its libraries' tests."""
    signed = sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("url", "allowed", "is_so"),
    [
        ("https://example.com/x", "example.com", True),
        ("http://EXAMPLE.com./x", "Example.com", True),
        ("https://example.com:8443/", "example.com", False),
        ("https://example.com:8443/", "example.com:8443", True),
        ("https://example.com/", "example.com:443", True),
        ("https://example.com:1/", "example.com:*", True),
        ("https://a.b.example.com/", "*.example.com", True),
        ("https://example.com/", "*.example.com", False),
        ("https://badexample.com/", "*.example.com", False),
        ("https://example.com.evil.net/", "example.com", False),
        ("http://[::1]/", "[::1]", True),
        ("http://[::1]:81/", "[::1]:81", True),
        ("http://[0:0::1]/", "[::1]", True),
        ("http://localhost./", "localhost", True),
        ("http://0x7f.1/", "*", True),
        ("http://0x7f.1/", "127.0.0.1", False),
        ("http://x/", "*", True),
        ("http://x:9/", "*", False),
        ("http://x:9/", "*:*", True),
    ],
)
def test_hosts_that_are_allowed(url: str, allowed: str, *, is_so: bool) -> None:
    assert is_allowed(url, [allowed]) is is_so
