"""Faults: after each the server answers, others work on, and nothing has leaked."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.support.client import connect
from tests.support.server import AT_REST
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client
    from tests.support.server import Server


@pytest.fixture(autouse=True)
def _others_work(client: Client) -> Iterator[None]:
    """Another context has its state before and after, and answers at once."""
    other = client.run("let kept = 'kept'")["context_id"]
    yield
    begin = time.monotonic()
    assert client.text("kept", context_id=other) == "'kept'"
    assert time.monotonic() - begin < 2
    assert client.get("/healthz").json() == {"status": "ok"}


class Posts:
    """Requests that are waited for in threads."""

    def __init__(self, client: Client, *bodies: dict[str, Any]) -> None:
        self.answers: list[Any] = [None] * len(bodies)
        self._threads = [
            threading.Thread(target=self._post, args=(client, number, body))
            for number, body in enumerate(bodies)
        ]

    def _post(self, client: Client, number: int, body: dict[str, Any]) -> None:
        self.answers[number] = client.post("/execute", json=body)

    def start(self, number: int) -> None:
        self._threads[number].start()

    def join(self) -> list[Any]:
        for thread in self._threads:
            thread.join()
        return self.answers


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_killed_context_tells_all_who_wait(
    server: Server, client: Client, language: str
) -> None:
    here = client.create(language)
    loop = {"javascript": "while (true) {}", "python": "while True: pass"}[language]
    body = {"code": loop, "context_id": here, "timeout_ms": 60_000}
    posts = Posts(client, body, {**body, "code": "1"})
    posts.start(0)
    pid = server.busy_process()
    posts.start(1)
    wait_for(lambda: client.show(here)["waiting"] == 1)
    os.kill(pid, signal.SIGKILL)
    first, second = posts.join()
    assert first.status_code == 200
    error = first.json()["error"]
    assert error["name"] == "ContextDiedError"
    assert "killed" in error["value"]
    assert second.status_code == 409
    shown = client.show(here)
    assert shown["state"] == "dead"
    assert "killed" in shown["reason"]
    assert client.run("1", 409, context_id=here)["message"].startswith("the context")
    assert client.post(f"/contexts/{here}/interrupt").status_code == 409
    assert client.post(f"/contexts/{here}/restart").status_code == 200
    assert client.text("2", context_id=here) == "2"


def test_a_killed_fork_server_is_replaced(servers: Callable[..., Server]) -> None:
    server: Server = servers("--languages", "javascript")
    with connect(server) as client:
        fork_server = server.fork_server()
        here = client.create()
        client.run("let a = 1", context_id=here)
        posts = Posts(client, {"code": "while (true) {}", "context_id": here})
        posts.start(0)
        context = server.busy_process()
        os.kill(fork_server, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(fork_server))
        client.post(f"/contexts/{here}/interrupt")
        assert posts.join()[0].json()["error"]["name"] == "KeyboardInterrupt"
        assert client.text("++a", context_id=here) == "2"
        other = client.create()
        assert client.text("1", context_id=other) == "1"
        # One that has lost its fork server dies as visibly as any.
        os.kill(context, signal.SIGKILL)
        wait_for(lambda: client.show(here)["state"] == "dead")
        assert "SIGKILL" in client.show(here)["reason"]
        assert client.delete(f"/contexts/{here}").status_code == 204


HARD = {
    "heap": "const a = []; while (true) a.push(new Array(1000).fill({}))",
    "heap-at-once": "'x'.repeat(2 ** 28).split('').length",
    "buffers": "const b = []; while (true) b.push(new Uint8Array(1 << 26).fill(1))",
    "strings": "let s = 'x'; while (true) { s += s; s.charCodeAt(0) }",
    "many-strings": "const c = []; for (let i = 0;; i++) c.push(String(i).repeat(99))",
    "infinite-regexp": "/^(a+)+$/.test('a'.repeat(99) + 'b')",
    "deep-recursion": "const f = () => f() + 1; f()",
    "mutual-recursion": "const p = () => JSON.stringify({ toJSON: p }); p()",
    "endless-printing": "while (true) console.log('x'.repeat(1000))",
    "endless-errors": "while (true) console.error('x')",
    "endless-promises": "const g = () => Promise.resolve().then(g); await g()",
    "endless-timers": "const t = () => { setTimeout(t); setTimeout(t) }; t(); "
    "await new Promise(() => {})",
    "endless-sort": "new Array(1e6).fill(0).sort(() => { while (true); })",
    "endless-getter": "({ get a() { while (true); } }).a",
    "result-with-endless-getter": "({ toString() { while (true); }, "
    "[Symbol.toPrimitive]() { while (true); } }) + ''",
}


@pytest.mark.parametrize("code", HARD.values(), ids=HARD)
def test_hard_code_is_answered(client: Client, code: str) -> None:
    begin = time.monotonic()
    answer = client.run(code, timeout_ms=500)
    assert time.monotonic() - begin < 15
    assert answer["error"] is not None
    here = answer["context_id"]
    shown = client.show(here)
    if shown["state"] == "dead":
        assert client.post(f"/contexts/{here}/restart").status_code == 200
    assert client.text("1 + 1", context_id=here) == "2"


@pytest.mark.parametrize("name", ["stack", "message", "name"])
def test_what_an_endless_error_says_is_not_waited_for(
    client: Client, name: str
) -> None:
    """Its time is up as that of any code, and the state is kept."""
    here = client.create("javascript")
    client.run("const kept = 41", context_id=here)
    thrown = (
        f"Object.defineProperty(new Error('e'), '{name}', {{ get() {{ while (true); }} "
        "})"
    )
    answer = client.run(f"throw {thrown}", context_id=here, timeout_ms=300)
    assert answer["error"]["name"] == "TimeoutError"
    assert client.text("kept + 1", context_id=here) == "42"


def test_python_that_takes_all_memory(client: Client) -> None:
    code = "a = []\nwhile True: a.append(bytearray(1 << 26))"
    answer = client.run(code, language="python", timeout_ms=20_000)
    assert answer["error"]["name"] in {"MemoryError", "ContextDiedError"}


def test_python_that_ends_itself(client: Client) -> None:
    answer = client.run("import os\nos._exit(3)", language="python")
    assert answer["error"]["name"] == "ContextDiedError"
    assert "exit" in answer["error"]["value"]
    here = answer["context_id"]
    assert client.post(f"/contexts/{here}/restart").status_code == 200
    assert client.text("1", context_id=here) == "1"


ENDS_AMID_A_MESSAGE = """
import os, time
kernel = get_ipython().kernel
for _ in range(200):
    kernel.session.send(kernel.iopub_thread, "stream", {}, buffers=[b"1"] * 500)
time.sleep(0.1)  # its thread sends meanwhile
os._exit(3)
"""


def test_python_that_ends_amid_its_messages(client: Client) -> None:
    """Its connection is closed while parts of a message have been read."""
    answer = client.run(ENDS_AMID_A_MESSAGE, language="python")
    assert answer["error"]["name"] == "ContextDiedError"
    assert client.text("1") == "1"


def _loop_in_all(server: Server, number: int) -> None:
    with connect(server) as client:
        client.timeout = httpx.Timeout(120)
        ids = [client.create() for _ in range(number)]
        answers: list[Any] = []

        def post(here: str) -> None:
            body = {"code": "while (true) {}", "context_id": here}
            answer = client.post("/execute", json={**body, "timeout_ms": 120_000})
            answers.append(answer.json()["error"]["name"])

        threads = [threading.Thread(target=post, args=(here,)) for here in ids]
        for thread in threads:
            thread.start()
        wait_for(lambda: _states(client, ids) == {"busy"}, 60)
        times = []
        for _ in range(3):
            begin = time.monotonic()
            assert client.text("6 * 7", timeout_ms=60_000) == "42"
            times.append(time.monotonic() - begin)
        assert sorted(times)[1] < DEADLINE / 2
        for here in ids:
            assert client.post(f"/contexts/{here}/interrupt").status_code == 200
        for thread in threads:
            thread.join()
        assert answers == ["KeyboardInterrupt"] * number


def _states(client: Client, ids: list[str]) -> set[str]:
    shown = client.get("/contexts").json()["items"]
    return {context["state"] for context in shown if context["id"] in ids}


def test_twenty_contexts_that_loop(server: Server) -> None:
    _loop_in_all(server, 20)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_contexts_that_loop(servers: Callable[..., Server]) -> None:
    # They leave the server and this test what these need.
    server = servers("--languages", "javascript", "--context-niceness", "19")
    _loop_in_all(server, 200)
    wait_for(lambda: not _alive(server))


def _alive(server: Server) -> bool:
    with connect(server) as client:
        client.clean()
    return len(server.children()) > AT_REST


def test_many_contexts_come_and_go(client: Client) -> None:
    for _ in range(50):
        here = client.run("let a = new Uint8Array(1e6)")["context_id"]
        assert client.delete(f"/contexts/{here}").status_code == 204
