"""Requests that come in one piece are answered as those that come in several are."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import threading
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import CLIENT
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from typing import BinaryIO

    from tests.support.server import Server

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = "Content-Type: application/json\r\n"
OWN = {"date", "x-request-id"}
MISSING = json.dumps({"code": "1", "context_id": "none"})
REQUESTS: dict[str, bytes | str] = {
    "get": b"GET /languages HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "query": b"GET /execute?a=%20b&a=2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an id in the path": b"GET /contexts/none HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "delete": b"DELETE /contexts/none HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no such path": b"GET /n%6fne HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "preflight": b"OPTIONS /execute HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "head": b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown method": b"BREW /execute HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "lower case": b"GET /languages HTTP/1.1\r\nhost:localhost\r\nX-a:\t b \t\r\n\r\n",
    "no host": b"GET /languages HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two hosts": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
    "odd host": b"GET /languages HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host not allowed": b"GET /languages HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    "host list": b"GET /languages HTTP/1.1\r\nHost: localhost,localhost\r\n\r\n",
    "HTTP/1.0": b"GET /languages HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "close": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "keep-alive": (
        b"GET /languages HTTP/1.1\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\n"
    ),
    "no colon": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nodd\r\n\r\n",
    "space in a name": b"GET /languages HTTP/1.1\r\nHost: localhost\r\na b: c\r\n\r\n",
    "space before colon": b"GET /languages HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
    "NUL": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
    "CR": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nA: b\rc\r\n\r\n",
    "LF alone": b"GET /languages HTTP/1.1\nHost: localhost\n\n",
    "latin-1": b"GET /languages HTTP/1.1\r\nHost: localhost\r\nA: \xe9\r\n\r\n",
    "latin-1 path": b"GET /\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "whole URL": b"GET http://localhost/languages HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "empty line before": b"\r\nGET /languages HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "execute": MISSING,
    "body of a get": "GET",
    "no type": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    ),
    "no length": b"POST /execute HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "plus": b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\na",
    "not a number": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\na"
    ),
    "two lengths": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\nab"
    ),
    "the same length twice": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 1\r\n\r\na"
    ),
    "length and chunks": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "expects": (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        b"Expect: odd\r\n\r\n"
    ),
    "no upgrade": (
        b"GET /languages HTTP/1.1\r\nHost: localhost\r\nUpgrade: odd\r\n"
        b"Connection: upgrade\r\n\r\n"
    ),
}
"""Texts are bodies of POST /execute."""


def _bytes(request: bytes | str) -> bytes:
    if isinstance(request, bytes):
        return request
    method, body = ("GET", "{}") if request == "GET" else ("POST", request)
    head = f"{method} /execute HTTP/1.1\r\nHost: localhost\r\n{JSON}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _answer(
    connection: socket.socket, method: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    answer = HTTPResponse(connection, method=method)
    answer.begin()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


def _told(connection: socket.socket, data: bytes) -> list[Any]:
    """What is answered to a request, and to another one after it."""
    found: list[Any] = []
    method = data.split(b" ")[0].decode("latin-1")
    status, headers, body = _answer(connection, method)
    found.append((status, {k: v for k, v in headers.items() if k not in OWN}, body))
    try:
        connection.sendall(HEALTH)
        found.append(_answer(connection)[0])
    except OSError:
        found.append("closed")
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_in_pieces_is_one_in_one_piece(
    shared_server: Server, name: str
) -> None:
    data = _bytes(REQUESTS[name])
    head = data.find(b"\r\n\r\n") + 4
    with shared_server.connection() as connection:
        connection.sendall(data)
        told = _told(connection, data)
    for places in ([1], [head], [head - 2], [head, head + 1]):
        pieces = [*places, len(data)]
        with shared_server.connection() as connection:
            for start, end in itertools.pairwise([0, *pieces]):
                if select.select([connection], [], [], 0)[0]:
                    break  # it is answered already, and may be closed
                connection.sendall(data[start:end])
                # The server has read that when it has answered what came later.
                CLIENT.get(f"{shared_server.url}/healthz")
            assert _told(connection, data) == told


def _next(reader: BinaryIO, *, has_body: bool = True) -> tuple[bytes, bytes]:
    """The first line and the body of the next answer."""
    line, length = reader.readline(), 0
    for field in iter(reader.readline, b"\r\n"):
        name, _, value = field.lower().partition(b":")
        length = int(value) if name == b"content-length" else length
    return line.strip(), reader.read(length if has_body else 0)


def test_answers_follow_in_order(shared_server: Server) -> None:
    requests = (MISSING, HEALTH, REQUESTS["head"], HEALTH)
    with shared_server.connection() as connection:
        connection.sendall(b"".join(map(_bytes, requests)))
        with connection.makefile("rb") as reader:
            found = [_next(reader, has_body=each != requests[2]) for each in requests]
    ok = b"HTTP/1.1 200 OK"
    refused = b"HTTP/1.1 404 Not Found", b"HTTP/1.1 405 Method Not Allowed"
    assert [line for line, _ in found] == [refused[0], ok, refused[1], ok]
    assert found[1] == found[3]


def test_what_follows_amid_an_answer_waits(shared_server: Server) -> None:
    code = "await new Promise(done => setTimeout(done, 200)); 7"
    body = json.dumps({"code": code, "language": "javascript"})
    with shared_server.connection() as connection:
        connection.sendall(_bytes(body))
        connection.sendall(HEALTH[:5])
        connection.sendall(HEALTH[5:])
        with connection.makefile("rb") as reader:
            found = _next(reader), _next(reader)
    assert json.loads(found[0][1])["items"][0]["text"] == "7"
    assert found[1][0] == b"HTTP/1.1 200 OK"


def test_a_stream_ends_and_its_connection_goes_on(shared_server: Server) -> None:
    body = json.dumps({"code": "console.log(1); 2", "language": "javascript"})
    data = _bytes(body).replace(b"/execute ", b"/execute/async ")
    with shared_server.connection() as connection:
        for _ in range(3):
            connection.sendall(data)
            status, headers, body_read = _answer(connection)
            assert status == 200
            assert headers["transfer-encoding"] == "chunked"
            assert b'"type":2' in body_read


def test_answers_that_no_buffer_holds_arrive(shared_server: Server) -> None:
    size = 5_000_000
    code = f"'x'.repeat({size})"
    body = {"code": code, "language": "javascript", "result_characters_max": size}
    with shared_server.connection() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(_bytes(json.dumps(body)))
        with connection.makefile("rb") as reader:
            line, answer = _next(reader)
            assert line == b"HTTP/1.1 200 OK"
            assert len(answer) > size // 10
            connection.sendall(HEALTH)
            assert _next(reader)[0] == line


def test_a_client_that_leaves_stops_its_code(shared_server: Server) -> None:
    made = CLIENT.post(f"{shared_server.url}/contexts", json={"language": "javascript"})
    context = made.json()["id"]
    body = json.dumps({"code": "while (true);", "context_id": context})
    data = _bytes(body).replace(b"/execute ", b"/execute?on_disconnect=interrupt ")
    where = f"{shared_server.url}/contexts/{context}"
    with shared_server.connection() as connection:
        connection.sendall(data)
        wait_for(lambda: CLIENT.get(where).json()["state"] == "busy")
    wait_for(lambda: CLIENT.get(where).json()["state"] == "idle")
    assert CLIENT.delete(where).status_code == 204


def test_odd_heads_end_no_server(shared_server: Server) -> None:
    """Bytes of requests, changed at random, get an answer or a closed connection."""
    import random  # noqa: PLC0415

    source = random.Random(os.environ.get("PYTHONHASHSEED", "1"))  # noqa: S311
    plain = [_bytes(each) for each in REQUESTS.values()]
    lock = threading.Lock()
    failed: list[bytes] = []

    def send(number: int) -> None:
        for _ in range(number):
            with lock:
                data = bytearray(source.choice(plain))
                for _ in range(source.randint(1, 3)):
                    data[source.randrange(len(data))] = source.randrange(256)
            with shared_server.connection() as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                try:
                    while connection.recv(1 << 16):
                        pass
                except ConnectionError:
                    continue
                except OSError:
                    failed.append(bytes(data))

    threads = [threading.Thread(target=send, args=(50,)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    assert CLIENT.get(f"{shared_server.url}/healthz").status_code == 200
