"""What goes wrong on the way: the error tree, and what is sent again."""

from __future__ import annotations

import contextlib
import inspect
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, get_args

import pytest
from tests.support.waiting import DEADLINE, wait_for

from isokernel.client import (
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    Client,
    ClientSettingsError,
    ConflictError,
    Context,
    ErrorCode,
    NetworkError,
    NetworkTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    Printed,
    ProtocolError,
    Started,
    StatusError,
    UnavailableError,
    errors,
)
from isokernel.client.errors import status_error
from isoserver import errors as server_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.server import Server


def _errors() -> list[type]:
    return [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if item.__module__ == errors.__name__
    ]


def test_the_tree_of_the_docstring_is_that_of_the_classes() -> None:
    drawn = {"ClientError": {"Exception"}}
    path = ["ClientError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]+)(\w+) *(?:\((\w+)\))?", line):
            path = [*path[: len(found[1]) // 4], found[2]]
            drawn[found[2]] = {path[-2], *([found[3]] if found[3] else [])}
    assert drawn == {
        error.__name__: {base.__name__ for base in error.__bases__}
        for error in _errors()
    }


def test_codes_are_those_of_the_server() -> None:
    known = {
        error.code
        for _, error in inspect.getmembers(server_errors, inspect.isclass)
        if issubclass(error, server_errors.ServerError)
    }
    assert set(get_args(ErrorCode)) == known


def test_every_status_of_the_server_has_a_kind() -> None:
    for _, error in inspect.getmembers(server_errors, inspect.isclass):
        if issubclass(error, server_errors.ServerError):
            status = error.http_status
            kind = type(status_error(status, {}, None, ""))
            # Nothing asks for what these are about.
            plain = {
                HTTPStatus.METHOD_NOT_ALLOWED,
                HTTPStatus.MISDIRECTED_REQUEST,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            }
            assert (kind is StatusError) == (status in plain), error


def test_keys(servers: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers("--api-key", "the-secret-key", "--languages", "javascript")
    for key in (None, "another"):
        with Client(server.url, key) as client, pytest.raises(AuthenticationError) as e:
            client.contexts.list()
        assert (e.value.status, e.value.code) == (401, "key_missing")
        assert e.value.request_id
    monkeypatch.setenv("ISOKERNEL_API_KEY", "the-secret-key")
    with Context(base_url=server.url, language="javascript") as c:
        assert c.run("1").value == 1
    with Client(server.url, workspace="elsewhere") as client:
        with pytest.raises(PermissionDeniedError) as denied:
            client.contexts.list()
        assert denied.value.code == "workspace"
        assert "the-secret-key" not in repr(client) + repr(vars(denied.value))


def test_the_server_s_words(client: Client) -> None:
    with pytest.raises(BadRequestError, match="language: ") as raised:
        client.contexts.create(language="cobol")
    assert raised.value.code == "invalid_request"
    assert raised.value.body["errors"][0]["field"] == "language"
    with pytest.raises(BadRequestError, match="64 lower-case hex digits"):
        client.heaps.get("x")
    with pytest.raises(NotFoundError) as missing:
        client.contexts.connect("nobody").run("1")
    assert missing.value.code == "context_missing"
    assert isinstance(missing.value, LookupError)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("nowhere", None),
        ("ftp://127.0.0.1", None),
        ("http://", None),
        ("http://127.0.0.1/?a=b", None),
        ("http://127.0.0.1", "a key\n"),
        ("http://127.0.0.1", "clé"),
    ],
)
def test_what_can_t_be_a_server_or_a_key(url: str, key: str | None) -> None:
    with pytest.raises(ClientSettingsError) as raised:
        Client(url, key)
    assert key is None or key not in str(raised.value)


def test_what_can_t_be_sent_is_not_sent(client: Client) -> None:
    with client.contexts.create() as c:
        for code, policy in (("'\ud800'", None), ("1", {"net": object()})):
            with pytest.raises(ClientSettingsError, match="can't be sent"):
                c.run(code, capabilities=policy)
        for name in ("", "..", "\ud800"):
            with pytest.raises(ClientSettingsError):
                client.contexts.delete(name)
        assert c.run("'\\ud800'.length").value == 1


def _unused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.anyio
async def test_nobody_there(anyio_backend: str) -> None:
    del anyio_backend
    url = _unused()
    with Client(url, retries_max=0) as client:
        with pytest.raises(NetworkError, match=url) as raised:
            client.contexts.list()
        assert not raised.value.sent
        with pytest.raises(NetworkError), Context(client=client):
            pass
    async with AsyncClient(url, retries_max=0) as client:
        with pytest.raises(NetworkError, match=url):
            await client.contexts.list()


# -- others that answer ----------------------------------------------------------------


class Odd:
    """A program that answers each request with the next of some texts.

    Attributes:
        asked: The first line of each request.
    """

    def __init__(self, *answers: bytes) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._answers:
            connection, _ = self._socket.accept()
            with connection, contextlib.suppress(OSError, IndexError):
                head = connection.recv(65536)  # clients send it at once
                if head:
                    self.asked.append(head.partition(b"\r\n")[0].decode())
                    answer = self._answers.pop(0)
                    connection.sendall(answer)
                    if not answer:
                        connection.recv(1)  # until the client has enough of it

    def close(self) -> None:
        self._answers.clear()
        with contextlib.suppress(OSError):
            socket.create_connection(self._socket.getsockname()).close()
        self._thread.join(DEADLINE)
        self._socket.close()


@pytest.fixture
def odd() -> Iterator[Callable[..., Odd]]:
    made: list[Odd] = []

    def make(*answers: bytes) -> Odd:
        made.append(Odd(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, *headers]).encode() + b"\r\n\r\n" + body


LIST = _answer("200 OK", b'{"items": [], "and": "more"}')
STOPPING = _answer("503 Stopping", b'{"message": "m"}', "X-Error-Code: stopping")
FULL = _answer("429 Too Many", b'{"message": "m"}', "Retry-After: 0")


@pytest.mark.parametrize("failure", [STOPPING, FULL, b"HTTP/1.1 200 OK\r\n"])
def test_reading_is_tried_again(odd: Callable[..., Odd], failure: bytes) -> None:
    server = odd(failure, failure, LIST)
    with Client(server.url) as client:
        assert client.contexts.list() == []
    assert server.asked == ["GET /contexts HTTP/1.1"] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [STOPPING, FULL, b"HTTP/1.1 200 OK\r\n"])
async def test_reading_is_tried_again_by_tasks(
    odd: Callable[..., Odd], failure: bytes
) -> None:
    server = odd(failure, LIST)
    async with AsyncClient(server.url) as client:
        assert await client.contexts.list() == []
    assert len(server.asked) == 2


def test_what_the_server_has_refused_is_sent_again(odd: Callable[..., Odd]) -> None:
    accepted = _answer("202 Accepted", b'{"execution_id": "one"}')
    server = odd(FULL, STOPPING, accepted)
    with Client(server.url) as client:
        assert client.runs.submit("1") == "one"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\n", NetworkError),
        (_answer("500 Failed"), StatusError),
        (_answer("504 Late"), UnavailableError),
        (_answer("429 Too Many", b"", "Retry-After: 3600"), StatusError),
    ],
)
def test_what_may_have_been_done_is_not_sent_again(
    odd: Callable[..., Odd], failure: bytes, kind: type[Exception]
) -> None:
    server = odd(failure, failure)
    with Client(server.url) as client, pytest.raises(kind):
        client.runs.submit("1")
    assert server.asked == ["POST /api/exec HTTP/1.1"]


def test_silence_is_a_timeout(odd: Callable[..., Odd]) -> None:
    server = odd(b"")
    with Client(server.url, timeout=0.2, retries_max=0) as client:
        with pytest.raises(NetworkTimeoutError) as raised:
            client.contexts.list()
        assert isinstance(raised.value, TimeoutError)
        assert raised.value.sent


@pytest.mark.parametrize(
    "answer",
    [
        _answer("200 OK", b"<html>"),
        _answer("200 OK", b'{"items": 5}'),
        _answer("200 OK", b"[" * 100_000),
        _answer("200 OK", b"\x1f\x8b no gzip", "Content-Encoding: gzip"),
    ],
)
def test_another_program_is_noticed(odd: Callable[..., Odd], answer: bytes) -> None:
    with Client(odd(answer).url) as client, pytest.raises(ProtocolError):
        client.contexts.list()


def test_a_redirect_is_not_followed(odd: Callable[..., Odd]) -> None:
    """A key is for one server only."""
    there = odd(LIST)
    here = odd(_answer("307 Elsewhere", b"", f"Location: {there.url}/contexts"))
    with Client(here.url, "key") as client, pytest.raises(StatusError) as raised:
        client.contexts.list()
    assert raised.value.status == 307
    assert there.asked == []


# -- connections that break ------------------------------------------------------------


class Gate:
    """Passes connections on to a server, and breaks them.

    Attributes:
        made: How many there were.
    """

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.made = 0
        self._there = (host, int(port))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._start(self._accept)

    def _start(self, call: Callable[..., None], *given: socket.socket) -> None:
        self._threads.append(threading.Thread(target=call, args=given))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            here, _ = self._socket.accept()
            if self._closed:
                here.close()
                return
            self.made += 1
            there = socket.create_connection(self._there)
            self._open += [here, there]
            self._start(self._pass, here, there)
            self._start(self._pass, there, here)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break all that there are."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self.cut()
        socket.create_connection(self._socket.getsockname()).close()
        for thread in self._threads:
            thread.join(DEADLINE)
        self._socket.close()
        for one in self._open:
            one.close()


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    made = Gate(server.url)
    yield made
    made.close()


COUNTING = (
    "for (let n = 0; n < 200; n++) {"
    " console.log(n); await new Promise((d) => setTimeout(d, 5)) } 'done'"
)
COUNTED = "".join(f"{n}\n" for n in range(200))


def test_a_stream_goes_on_where_it_broke(gate: Gate) -> None:
    with Client(gate.url) as client, client.contexts.create() as c:
        told: list[str] = []
        pieces = 0

        def tell(text: str) -> None:
            nonlocal pieces
            told.append(text)
            pieces += 1
            if pieces % 10 == 0:
                gate.cut()

        execution = c.run(COUNTING, timeout=60, on_stdout=tell)
        assert execution.value == "done"
        assert execution.stdout == "".join(told) == COUNTED
        assert gate.made > 3
        assert c.run("1").execution_count == 2


@pytest.mark.anyio
async def test_a_stream_of_a_task_goes_on_where_it_broke(gate: Gate) -> None:
    async with AsyncClient(gate.url) as client, await client.contexts.create() as c:
        text = ""
        async for event in c.stream(COUNTING, timeout=60):
            if isinstance(event, Printed):
                text += event.text
                if len(text) % 7 == 0:
                    gate.cut()
        assert text == COUNTED
        assert (await c.run("1")).execution_count == 2


def test_an_execution_is_found_by_its_name(client: Client) -> None:
    with client.contexts.create() as c:
        with c.stream(COUNTING, execution_id="order-7", on_leave="continue") as events:
            assert events.execution_id == "order-7"
            next(events)
        again = client.contexts.connect(c.id)
        execution = again.follow("order-7").wait()
        assert (execution.stdout, execution.value) == (COUNTED, "done")
        assert (execution.id, execution.status) == ("order-7", "completed")
        # The same request, once more, runs nothing.
        same = c.run(COUNTING, execution_id="order-7")
        assert (same.stdout, same.execution_count) == (COUNTED, 1)
        with pytest.raises(ConflictError) as raised:
            c.run("1", execution_id="order-7")
        assert raised.value.code == "execution_named"
        with pytest.raises(NotFoundError):
            c.follow("nothing").wait()
        again.cancel("order-7")


def test_one_of_several_is_cancelled(client: Client) -> None:
    with client.contexts.create() as c, ThreadPoolExecutor() as pool:
        running = c.stream("await new Promise(() => {})", timeout=60)
        next(running)
        waiting = pool.submit(c.run, "globalThis.ran = true", execution_id="waits")
        wait_for(lambda: c.info().waiting == 1)
        c.cancel("waits")
        execution = waiting.result()
        assert execution.status == "cancelled"
        assert execution.error is not None
        assert execution.error.name == "CancelledError"
        c.cancel(running.execution_id)
        assert running.wait().status == "cancelled"
        assert c.run("typeof ran").value == "undefined"


# -- a server that ends ----------------------------------------------------------------


def test_a_server_that_is_killed(
    servers: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers("--languages", "javascript")
    monkeypatch.setenv("ISOKERNEL_URL", server.url)

    def run() -> None:
        code = "await new Promise(() => {})"
        client = Client(retries_max=1)
        with (
            Context(language="js", client=client) as c,
            c.stream(code, timeout=60) as events,
        ):
            assert isinstance(next(events), Started)
            server.stop(signal.SIGKILL)
            events.wait()

    # That it can't be deleted either doesn't hide it.
    with pytest.raises(NetworkError, match="there is no answer"):
        run()


def test_a_server_that_is_started_again(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    """The client goes on, with its context from its heap, and the stream as well."""
    flags = ("--languages", "javascript", "--data-dir", str(tmp_path))
    server = servers(*flags, "--shutdown-grace-seconds", "0.1")
    port = server.url.rpartition(":")[2]
    with Client(server.url, retries_max=4) as client:
        c = client.contexts.create(language="javascript")
        c.run("let n = 41")
        with c.stream("n++; await new Promise(() => {})", timeout=60) as events:
            assert isinstance(next(events), Started)
            server.stop()
            servers(*flags, "--port", port)
            execution = events.wait()
        assert execution.status == "cancelled"
        assert c.run("n").value == 42
        c.close()
