"""Connections that send nothing, half of a request or too much keep nobody out."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.client import CLIENT
from tests.support.server import AT_REST, JAVASCRIPT_FLAGS, MIB, START, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import io
    import socket
    from collections.abc import Callable, Iterator

FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)); "
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """Closes connections at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def started() -> Iterator[Callable[..., Server]]:
    """Starts servers with flags of one's own; stops them at the end."""
    servers: list[Server] = []

    def start(*flags: str, **options: Any) -> Server:
        servers.append(Server(*JAVASCRIPT_FLAGS, *flags, **options))
        return servers[-1]

    yield start
    for server in servers:
        assert server.stop() == 0
        assert server.wrong() == []


def _healthy(server: Server) -> bool:
    return CLIENT.get(f"{server.url}/healthz").status_code == 200


def _execution(content: dict[str, str]) -> bytes:
    body = json.dumps(content).encode()
    head = (
        "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        f"\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _next_answer(answers: io.BufferedReader) -> str:
    """Read one answer of many to `/execute`, and return its value's text."""
    length = 0
    while line := answers.readline().strip():
        name, _, value = line.partition(b":")
        if name == b"Content-Length":
            length = int(value)
    text: str = json.loads(answers.read(length))["items"][0]["text"]
    return text


def _answer(connection: socket.socket) -> tuple[int, Any]:
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def test_half_requests_keep_nobody_out(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started(program=("-c", FEW_FILES + START))
    for number in range(330):
        opened.enter_context(server.connection()).sendall(b"G")
        if number % 50 == 0:
            assert _healthy(server)
    assert _healthy(server)
    # As many lines as requests that were answered, and not one a connection.
    assert len(server.log().splitlines()) < 40


def test_a_head_must_arrive_in_time(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started("--request-head-timeout-seconds", "0.4")
    slow, idle, used = (opened.enter_context(server.connection()) for _ in range(3))
    used.sendall(HEALTH)
    assert _answer(used)[0] == 200
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
    used.sendall(b"G")
    assert slow.recv(1) == b""
    assert used.recv(1) == b""
    # One that has sent nothing may wait, as browsers open connections in advance.
    idle.sendall(HEALTH)
    assert _answer(idle)[0] == 200


def test_a_body_may_come_later_than_a_head(started: Callable[..., Server]) -> None:
    server = started("--request-head-timeout-seconds", "0.4")
    request = _execution({"code": "1 + 1"})
    end = request.index(b"{")
    with server.connection() as connection:
        connection.sendall(request[:end])
        later = time.monotonic() + 1
        wait_for(lambda: time.monotonic() > later)
        connection.sendall(request[end : end + 1])
        assert _healthy(server)
        connection.sendall(request[end + 1 :])
        assert _answer(connection)[1]["items"][0]["text"] == "2"


def test_idle_connections_are_closed(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started("--connection-idle-timeout-seconds", "0.4")
    new, used, busy = (opened.enter_context(server.connection()) for _ in range(3))
    used.sendall(HEALTH)
    assert _answer(used)[0] == 200
    code = {"code": "await new Promise(done => setTimeout(done, 1500)); 7"}
    busy.sendall(_execution(code))
    assert new.recv(1) == b""
    assert used.recv(1) == b""
    assert _answer(busy)[1]["items"][0]["text"] == "7"


def test_requests_that_follow_at_once_are_answered_in_order(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started()
    connection = opened.enter_context(server.connection())
    asked = [f"/*{'x' * 50_000}*/ {number}" for number in range(40)]
    sending = threading.Thread(
        target=connection.sendall,
        args=(b"".join(_execution({"code": code}) for code in asked[:-1]),),
    )
    sending.start()  # it waits, once the server has as much as it keeps
    with connection.makefile("rb") as answers:
        found = [_next_answer(answers) for _ in asked[:-1]]
        sending.join()
        connection.sendall(_execution({"code": asked[-1]}))
        found.append(_next_answer(answers))
    assert found == [str(number) for number in range(40)]


def test_connections_in_use_are_left_alone(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started("--connections-max", "2", "--shutdown-grace-seconds", "0.1")
    code = {"code": "await new Promise(done => setTimeout(done, 1e5))"}
    for _ in range(2):
        opened.enter_context(server.connection()).sendall(_execution(code))
    wait_for(lambda: len(server.children()) == AT_REST + 2)

    def refused() -> Any:
        with server.connection() as connection:
            connection.sendall(HEALTH)
            status, content = _answer(connection)
            return content if status == 503 else None

    message = "the limit of 2 connections is reached (connections_max)"
    assert wait_for(refused) == {"message": message}


def test_one_address_has_its_share(
    started: Callable[..., Server], opened: contextlib.ExitStack
) -> None:
    server = started("--connections-per-address-max", "3")
    first, *_others = (opened.enter_context(server.connection()) for _ in range(4))
    # The one that has waited longest makes room.
    assert first.recv(1) == b""
    assert _healthy(server)


def _urllib(url: str, data: bytes | None, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - http
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code if json.loads(error.read())["message"] else 0


def _httpx(url: str, data: bytes | None, headers: dict[str, str]) -> int:
    method = "GET" if data is None else "POST"
    return httpx.request(method, url, content=data, headers=headers).status_code


def _curl(url: str, data: bytes | None, headers: dict[str, str]) -> int:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = [curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", url]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if data is not None:
        command += ["--data-binary", "@-"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return int(done.stdout)


_FETCH = """
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const [url, headers, method] = process.argv.slice(1);
const body = method === "POST" ? Buffer.concat(chunks) : undefined;
const answer = await fetch(url, { method, headers: JSON.parse(headers), body });
await answer.text();
console.log(answer.status);
"""


def _node(url: str, data: bytes | None, headers: dict[str, str]) -> int:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    method = "GET" if data is None else "POST"
    script = ["--input-type=module", "-e", _FETCH, "--", url, json.dumps(headers)]
    done = subprocess.run(
        [node, *script, method], input=data, capture_output=True, check=False
    )
    assert done.stdout, done.stderr
    return int(done.stdout)


CLIENTS = [_urllib, _httpx, _curl, _node]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("mebibytes", [11, 39])
def test_clients_read_that_a_body_is_too_large(
    shared_server: Server, client: Callable[..., int], mebibytes: int
) -> None:
    data = b" " * (mebibytes * MIB)
    headers = {"Content-Type": "application/json"}
    assert client(f"{shared_server.url}/execute", data, headers) == 413


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kibibytes", [70, 120])
def test_clients_read_that_headers_are_too_large(
    shared_server: Server, client: Callable[..., int], kibibytes: int
) -> None:
    headers = {"X-Long": "x" * (kibibytes * 1024)}
    assert client(f"{shared_server.url}/healthz", None, headers) == 431


def test_far_too_large_headers_are_answered(shared_server: Server) -> None:
    with shared_server.connection() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                connection.sendall(b"x" * (100 << 10))
        assert _answer(connection) == (
            431,
            {"message": "the headers are larger than 65536 bytes"},
        )
