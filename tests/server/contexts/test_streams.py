"""POST /execute/async: the events of a stream, and clients that don't read it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server


def stream(client: Client, code: str, query: str = "", **fields: Any) -> list[Any]:
    """Run code; all events of its stream."""
    if "context_id" not in fields:
        fields.setdefault("language", "javascript")
    body = {"code": code, **fields}
    with client.stream("POST", f"/execute/async{query}", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        text = answer.read().decode()
    assert text.endswith("\n\n")
    frames = text.split("\n\n")[:-1]
    events = [frame for frame in frames if not frame.startswith(":")]
    found = [parsed(event)[1] for event in events]
    first = found[0]
    assert first.pop("context_id") == answer.headers["X-Context-Id"]
    assert first.pop("execution_id") == answer.headers["X-Execution-Id"]
    return found


def parsed(frame: str) -> tuple[str, Any]:
    """A frame's id, and its event."""
    *named, data = frame.split("\n")
    assert len(named) <= 1
    name = named[0].removeprefix("id: ") if named else ""
    assert data.startswith("data: ")
    return name, json.loads(data.removeprefix("data: "))


def test_lines_and_the_exit(client: Client) -> None:
    """The exit has what was displayed as well, the value last."""
    code = "console.log('a\\nb'); console.error('c'); console.log('d'); 5"
    assert stream(client, code) == [
        {"type": 0, "data": "a"},
        {"type": 0, "data": "b"},
        {"type": 1, "data": "c"},
        {"type": 0, "data": "d"},
        {"type": 2, "code": 0, "items": [{"is_primary": True, "text": "5"}]},
    ]


def test_python_lines_and_the_exit(client: Client) -> None:
    code = "print('a', end='')\nprint('b')\nprint('c', end='')"
    assert stream(client, code, language="python") == [
        {"type": 0, "data": "ab"},
        {"type": 0, "data": "c"},
        {"type": 2, "code": 0},
    ]


def test_the_context_is_the_persistent_one(client: Client) -> None:
    here = client.create()
    stream(client, "let a = 4", context_id=here)
    assert client.text("a", context_id=here) == "4"
    client.run("a++", context_id=here)
    events = stream(client, "console.log(a)", context_id=here)
    assert events[0] == {"type": 0, "data": "5"}
    assert client.show(here)["execution_count"] == 4


def test_the_context_is_named_in_a_header(client: Client) -> None:
    body = {"code": "let a = 4", "language": "js"}
    with client.stream("POST", "/execute/async", json=body) as answer:
        here = answer.headers["X-Context-Id"]
        answer.read()
    assert client.text("a", context_id=here) == "4"


def test_failing_code(client: Client) -> None:
    events = stream(client, "console.log(1); throw new TypeError('no')")
    assert events[0] == {"type": 0, "data": "1"}
    assert events[-1] == {"type": 2, "code": 1}
    shown = [event["data"] for event in events if event["type"] == 1]
    assert any("TypeError: no" in line for line in shown)


def test_a_timeout(client: Client) -> None:
    events = stream(client, "while (true) {}", timeout_ms=200)
    assert events[-2:] == [{"type": 3, "data": "timeout"}, {"type": 2, "code": 1}]


def test_a_timeout_of_another_language_is_told_as_one(client: Client) -> None:
    """Its kernel knows only that it was interrupted."""
    body = {"code": "import time; time.sleep(60)", "language": "python"}
    text = client.post(
        "/execute/async?format=jupyter", json={**body, "timeout_ms": 300}
    ).text
    reply = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert reply["msg_type"] == "execute_reply"
    assert reply["content"]["ename"] == "TimeoutError"
    assert reply["content"]["stopped"] is True


def test_lines_come_while_the_cell_runs(client: Client) -> None:
    here = client.create()
    code = "console.log('now'); while (true) {}"
    body = {"code": code, "context_id": here}
    with client.stream("POST", "/execute/async", json=body) as answer:
        pieces = answer.iter_lines()
        assert next(pieces).startswith("id: ")
        assert next(pieces).startswith('data: {"type":0,"data":"now",')
        assert client.show(here)["state"] == "busy"
        client.post(f"/contexts/{here}/interrupt")
        assert list(pieces)[-2] == 'data: {"type":2,"code":1}'


def test_jupyter_messages(client: Client) -> None:
    events = stream(client, "console.log('a'); 5", "?format=jupyter")
    assert [event["msg_type"] for event in events] == [
        "status",
        "execute_input",
        "stream",
        "execute_result",
        "execute_reply",
    ]
    assert events[3]["content"]["data"]["text/plain"] == "5"
    assert events[4]["content"]["status"] == "ok"
    assert len({event["parent_header"]["msg_id"] for event in events}) == 1


def test_problems_before_the_stream_are_plain_answers(client: Client) -> None:
    answer = client.post("/execute/async", json={"code": "1", "env_vars": {}})
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "env_vars", "error": "unknown field"}]
    body = {"code": "1", "context_id": "nobody"}
    assert client.post("/execute/async", json=body).status_code == 404


def test_heartbeats_are_comments(servers: Callable[..., Server]) -> None:
    with connect(
        servers("--stream-heartbeat-interval-seconds", "0.05", "--languages", "js")
    ) as client:
        body = {"code": "await new Promise(d => setTimeout(d, 400))", "language": "js"}
        text = client.post("/execute/async", json=body).text
        assert text.count(": ping\n\n") >= 2
        assert 'data: {"type":2,"code":0,"execution_id":' in text.split("\n\n")[-2]


def test_a_stream_that_waits_for_a_deleted_context_ends(client: Client) -> None:
    here = client.create()
    body = {"code": "while (true) {}", "context_id": here}
    with client.stream("POST", "/execute/async", json=body) as answer:
        client.wait_state(here, "busy")
        client.delete(f"/contexts/{here}")
        frames = answer.read().decode().split("\n\n")[:-1]
    found = [parsed(frame)[1] for frame in frames]
    assert found[-2]["type"] == 3
    assert found[-2]["data"] == "the context was deleted"
    assert found[-1] == {"type": 2, "code": 1}


def _deaf(server: Server, context_id: str, code: str) -> socket.socket:
    """A client that asks for a stream and doesn't read it."""
    host, port = server.url.removeprefix("http://").split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(DEADLINE)
    deaf.connect((host, int(port)))
    body = json.dumps({"code": code, "context_id": context_id}).encode()
    head = (
        "POST /execute/async HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    deaf.sendall(head.encode() + body)
    return deaf


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_client_that_reads_late_is_told_what_it_missed(
    servers: Callable[..., Server], language: str
) -> None:
    """What waits for it is bounded; then it gets the rest, up to the end."""
    flags = (
        "--transcript-bytes-max",
        "100000",
        "--stream-stall-timeout-seconds",
        "600",
    )
    server: Server = servers(*flags)
    code = {
        "javascript": "for (let i = 0; i < 9e4; i++) console.log('x'.repeat(99));d = 1",
        "python": "for i in range(90000): print('x' * 99)\nd = 1",
    }[language]
    with connect(server) as client:
        here = client.create(language)
        with _deaf(server, here, code) as deaf:
            wait_for(lambda: client.show(here)["state"] == "busy")
            # Others are answered meanwhile, and the execution goes on to its end.
            assert client.text("1 + 1", language=language) == "2"
            wait_for(lambda: client.show(here)["execution_count"] == 1)
            assert client.text("d", context_id=here) == "1"
            said = b""
            while b"0\r\n\r\n" not in said[-16:]:
                piece = deaf.recv(1 << 20)
                assert piece
                said += piece
        frames = said.decode().split("data: ")[1:]
        told = [json.loads(frame.partition("\n")[0]) for frame in frames]
        dropped = [event for event in told if event["type"] == 1]
        assert 1 <= len(dropped) <= 3
        for event in dropped:
            assert " messages were dropped before they could be sent" in event["data"]
        assert (told[-1]["type"], told[-1]["code"]) == (2, 0)


def test_a_client_that_stalls_is_cut_off(servers: Callable[..., Server]) -> None:
    flags = (
        "--transcript-bytes-max",
        "50000000",
        "--stream-stall-timeout-seconds",
        "0.3",
    )
    server: Server = servers(*flags)
    with connect(server) as client:
        here = client.create()
        code = "for (let i = 0; i < 9e4; i++) console.log('x'.repeat(99)); d = 1"
        with _deaf(server, here, code) as deaf:
            said = b""
            wait_for(lambda: '"stalled"' in server.log())
            while piece := deaf.recv(1 << 20):
                said += piece
        assert b'"type":2' not in said
        assert client.text("d", context_id=here) == "1"


def test_late_output_is_in_the_next_stream(client: Client) -> None:
    """Marked as such: before the cell's own, and while it runs."""
    here = client.create()
    code = "setTimeout(() => console.log('late'), 30); 0"
    client.run(code, context_id=here)
    events = stream(
        client,
        "await new Promise((done) => setTimeout(done, 100)); console.log('own')",
        context_id=here,
    )
    assert [event for event in events if event["type"] == 0] == [
        {"type": 0, "data": "late", "late": True},
        {"type": 0, "data": "own"},
    ]
