"""Keys, hosts, origins, headers, the log and the metrics."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.support.client import CLIENT, connect
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client

CLOSED = ["/contexts", "/languages", "/metrics"]
OPEN = ["/", "/healthz", "/openapi.json", "/docs"]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server with keys and an origin, which runs nothing."""
    flags = ("--api-key", "first", "--api-key", "sécond", "--languages", "python")
    server = Server(*flags, "--cors-origin", "https://a.example")
    yield server
    server.stop()


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic first"},
        {"Authorization": "first"},
        {"X-API-Key": "first!"},
        {"X-API-Key": ""},
    ],
)
def test_without_a_key(guarded: Server, path: str, headers: dict[str, str]) -> None:
    answer = CLIENT.get(guarded.url + path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "API key" in answer.json()["message"]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first"},
        {"authorization": "bearer first"},
        {"X-API-Key": "first"},
        {"Authorization": "Bearer wrong", "X-API-Key": "first"},
    ],
)
def test_with_a_key(guarded: Server, path: str, headers: dict[str, str]) -> None:
    assert CLIENT.get(guarded.url + path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_what_needs_no_key(guarded: Server, path: str) -> None:
    assert CLIENT.get(guarded.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/execute", "/execute/async", "/contexts"])
def test_a_key_comes_before_everything_else(guarded: Server, path: str) -> None:
    assert CLIENT.post(guarded.url + path, content=b"{").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:3000", 200),
        ("127.0.0.1:3000", 200),
        ("[::1]:3000", 200),
        ("10.1.2.3", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:3000", 403),
    ],
)
def test_names_of_others_are_refused(client: Client, host: str, status: int) -> None:
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == status


def test_a_name_can_be_allowed(servers: Callable[..., Server]) -> None:
    names = "Box.Example.,bücher.example"
    server = servers("--allowed-host", names, "--languages", "python")
    with connect(server) as client:
        for host, status in (
            ("box.example", 200),
            ("BOX.example.:3000", 200),
            ("xn--bcher-kva.example", 200),
            ("other.example", 403),
            ("a.box.example", 403),
        ):
            answer = client.get("/healthz", headers={"Host": host})
            assert answer.status_code == status


def test_pages_of_others_are_refused(client: Client) -> None:
    for origin in ("https://a.example", "null"):
        headers = {"Origin": origin}
        answer = client.post("/execute", json={"code": "1"}, headers=headers)
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert client.options("/execute", headers=headers).status_code == 405


def test_an_origin_can_be_allowed(guarded: Server) -> None:
    headers = {"Origin": "https://a.example", "X-API-Key": "first"}
    asked = CLIENT.options(f"{guarded.url}/execute", headers=headers)
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert asked.headers["Access-Control-Allow-Methods"] == "POST"
    answer = CLIENT.get(f"{guarded.url}/languages", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    headers["Origin"] = "https://b.example"
    assert CLIENT.get(f"{guarded.url}/languages", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/docs"])
def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Server"] == "isokernel"


def test_every_answer_has_a_request_id(client: Client) -> None:
    first, second = (client.get(path) for path in ("/healthz", "/nothing"))
    ids = [answer.headers["X-Request-Id"] for answer in (first, second)]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)
    given = client.get("/healthz", headers={"X-Request-Id": "mine-1"})
    assert given.headers["X-Request-Id"] == "mine-1"
    odd = client.get("/healthz", headers={"X-Request-Id": "a b"})
    assert odd.headers["X-Request-Id"] != "a b"


def test_the_log_tells_without_code_or_secrets(servers: Callable[..., Server]) -> None:
    server = servers("--api-key", "the-secret-key", "--languages", "python")
    with connect(server, **{"X-API-Key": "the-secret-key"}) as client:
        answer = client.post(
            "/execute",
            json={"code": "'the-secret-code'", "env_vars": {"A": "the-secret-value"}},
            headers={"X-Request-Id": "mine"},
        )
        here = answer.json()["context_id"]
        client.get(f"/contexts/{here}?q=the-secret-query")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.said.splitlines()]
    entry = next(line for line in lines if line.get("request_id") == "mine")
    assert entry["event"] == "request"
    assert (entry["method"], entry["route"]) == ("POST", "/execute")
    assert (entry["status"], entry["level"]) == (200, "info")
    assert entry["ms"] > 0
    assert "the-secret" not in server.said
    assert here not in server.said


def test_the_access_log_can_be_off(servers: Callable[..., Server]) -> None:
    server = servers("--no-access-log", "--languages", "python")
    with connect(server) as client:
        client.get("/healthz")
    assert server.stop() == 0
    # What it can't enforce here, it says at its start.
    lines = [line for line in server.said.splitlines() if "not confined" not in line]
    assert lines == []


def test_metrics(client: Client) -> None:
    client.run("1")
    client.run("null.x")
    client.run("while (true) {}", timeout_ms=100)
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    figures: dict[str, float] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            figures[name] = float(value)
    assert figures['isokernel_contexts{state="idle"}'] == 3
    executed = 'isokernel_executions_total{language="javascript",outcome='
    for outcome in ("ok", "error", "timeout"):
        assert figures[f'{executed}"{outcome}"}}'] >= 1
    assert figures['isokernel_start_seconds_count{language="javascript"}'] >= 3
    assert figures['isokernel_context_memory_bytes{language="javascript"}'] > 1e6
    served = 'isokernel_requests_total{method="POST",route="/execute",status="200"}'
    assert figures[served] >= 3
