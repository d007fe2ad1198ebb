"""Executions by their id: looked up, followed, asked again, cancelled."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx
    from tests.support.client import Client
    from tests.support.server import Server

LANGUAGES = pytest.mark.parametrize("language", ["javascript", "python"])
ENDLESS = {"javascript": "for (;;) {}", "python": "while True: pass"}
PRINTING = {
    # Lines in pieces, of both streams at once, and one without an end.
    "javascript": "for (let i = 0; i < 20; i++) {"
    " process.stdout.write(`a${i} `);"
    " if (i % 3 == 0) console.error(`e${i}`);"
    " await new Promise((done) => setTimeout(done, 1));"
    " if (i % 2) console.log(`b\\nc${i}`);"
    "} process.stdout.write('end'); [1, 2]",
    "python": "import sys, time\n"
    "for i in range(20):\n"
    " print(f'a{i}', end=' ', flush=True)\n"
    " if i % 3 == 0: print(f'e{i}', file=sys.stderr, flush=True)\n"
    " if i % 2: print(f'b\\nc{i}', flush=True)\n"
    "print('end', end='')\n[1, 2]",
}


def frames(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, each with its id."""
    found = []
    for frame in text.split("\n\n")[:-1]:
        if not frame.startswith(":"):
            fields = dict(line.split(": ", 1) for line in frame.split("\n"))
            found.append((fields.get("id", ""), json.loads(fields["data"])))
    return found


def told(events: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What events say, without what names the execution in the first one."""
    own = {"execution_id", "context_id"}
    return [{k: v for k, v in event.items() if k not in own} for _, event in events]


def shown(client: Client, answer: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """GET the execution that an answer tells the ids of."""
    path = f"/contexts/{answer['context_id']}/executions/{answer['execution_id']}"
    found = client.get(path, params=asked)
    assert found.status_code == 200, found.text
    result: dict[str, Any] = found.json()
    return result


def follow(client: Client, answer: dict[str, Any], **asked: Any) -> httpx.Response:
    """GET the events of the execution that an answer tells the ids of."""
    path = f"/contexts/{answer['context_id']}/executions/{answer['execution_id']}"
    return client.get(f"{path}/events", params=asked)


def begin(client: Client, here: str, name: str, code: str) -> None:
    """Have an execution begin, without waiting for it."""
    body = {"code": code, "context_id": here, "execution_id": name}
    with client.stream("POST", "/execute/async", json=body) as answer:
        assert answer.status_code == 200


# -- looking ---------------------------------------------------------------------------


@LANGUAGES
def test_an_answer_tells_the_id_and_the_execution_is_found_by_it(
    client: Client, language: str
) -> None:
    answer = client.run("print = 1; 6 * 7", language=language)
    assert shown(client, answer) == {**answer, "status": "completed"}
    failed = client.run("boom", context_id=answer["context_id"])
    assert failed["execution_id"] != answer["execution_id"]
    assert shown(client, failed) == {**failed, "status": "failed"}


@LANGUAGES
def test_what_runs_and_waits_is_shown(client: Client, language: str) -> None:
    here = client.create(language)
    say = {"javascript": "console.log('now')", "python": "print('now', flush=True)"}
    begin(client, here, "one", f"{say[language]}\n{ENDLESS[language]}")
    begin(client, here, "two", "2")
    one = {"context_id": here, "execution_id": "one"}
    two = {"context_id": here, "execution_id": "two"}
    wait_for(lambda: shown(client, one)["logs"]["stdout"] == ["now"])
    assert shown(client, one)["status"] == "running"
    assert shown(client, two, wait_ms=1)["status"] == "queued"
    client.post(f"/contexts/{here}/interrupt")
    assert shown(client, two, wait_ms=10_000)["status"] == "completed"
    assert shown(client, one)["status"] == "cancelled"


def test_a_timeout_is_a_status(client: Client) -> None:
    answer = client.run("for (;;) {}", timeout_ms=100)
    assert shown(client, answer)["status"] == "timed_out"


def test_what_is_not_there(client: Client) -> None:
    here = client.create()
    for path in ("", "/events"):
        assert client.get(f"/contexts/{here}/executions/1{path}").status_code == 404
        assert client.get(f"/contexts/none/executions/1{path}").status_code == 404
    assert client.post(f"/contexts/{here}/executions/1/cancel").status_code == 404
    client.run("1", context_id=here, execution_id="a")
    one = f"/contexts/{here}/executions/a"
    assert client.get(f"{one}?wait_ms=x").status_code == 400
    assert client.get(f"{one}/events?last_event_id=x").status_code == 400


def test_cells_of_other_fronts_are_found_too(client: Client) -> None:
    """As those of a notebook that is run in the context."""
    here = client.create()
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "source": "5"}
    cell.update(outputs=[], execution_count=None)
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    assert client.post(f"/contexts/{here}/notebook", json=notebook).status_code == 200
    after = client.run("6", context_id=here)
    before = {**after, "execution_id": str(int(after["execution_id"]) - 1)}
    assert shown(client, before)["items"] == [{"is_primary": True, "text": "5"}]


@LANGUAGES
def test_late_output_belongs_to_what_caused_it(client: Client, language: str) -> None:
    here = client.create(language)
    code = {
        "javascript": "setTimeout(() => console.log('late'), 500); console.log('own')",
        "python": "import threading\n"
        "threading.Timer(0.5, lambda: print('late', flush=True)).start()\n"
        "print('own')",
    }[language]
    first = client.run(code, context_id=here)
    wait_for(lambda: shown(client, first)["logs"]["stdout"] == ["own", "late"])
    second = client.run("1", context_id=here)
    assert second["late"]["stdout"] == ["late"]
    assert shown(client, second)["logs"]["stdout"] == []


def test_output_of_threads_belongs_to_the_cell_that_began_them(client: Client) -> None:
    here = client.create("python")
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Event, Thread
        go, pool = Event(), ThreadPoolExecutor(1)
        def say(what):
            go.wait()
            print(f"{what}\\n", end="", flush=True)  # in one piece
        def twice():
            Thread(target=say, args=["inner"]).start()
            say("outer")
        Thread(target=twice).start()
        pooled = pool.submit(say, "pooled")"""
    first = client.run(dedent(code), context_id=here)
    second = client.run("go.set(); pooled.result(); print('own')", context_id=here)
    wait_for(lambda: len(shown(client, first)["logs"]["stdout"]) == 3)
    said = sorted(shown(client, first)["logs"]["stdout"])
    assert said == ["inner", "outer", "pooled"]
    assert shown(client, second)["logs"]["stdout"] == ["own"]


# -- following -------------------------------------------------------------------------


@LANGUAGES
def test_whoever_comes_back_gets_the_rest_and_no_more(
    client: Client, language: str
) -> None:
    """After each of the events, in both formats; after the last one there is none."""
    here = client.create(language)
    body = {"code": PRINTING[language], "context_id": here, "execution_id": "it"}
    text = client.post("/execute/async", json=body).text
    events = frames(text)
    assert len(events) > 20
    first = events[0][1]
    assert (first["context_id"], first["execution_id"]) == (here, "it")
    assert not any("context_id" in event for _, event in events[1:])
    assert frames(follow(client, first).text) == events
    for number, (name, _) in enumerate(events[:-1], 1):
        rest = frames(follow(client, first, last_event_id=name).text)
        assert told(rest) == told(events[number:])
        assert [name for name, _ in rest] == [name for name, _ in events[number:]]
    assert follow(client, first, last_event_id=events[-1][0]).status_code == 204
    messages = frames(follow(client, first, format="jupyter").text)
    assert {event["parent_header"]["msg_id"] for _, event in messages} == {"it"}
    for number, (name, _) in enumerate(messages[:-1], 1):
        asked = {"last_event_id": name, "format": "jupyter"}
        assert told(frames(follow(client, first, **asked).text)) == told(
            messages[number:]
        )


@LANGUAGES
def test_a_stream_that_is_cut_goes_on(client: Client, language: str) -> None:
    """While the code runs, with the header that browsers send."""
    here = client.create(language)
    events: list[tuple[str, dict[str, Any]]] = []
    body = {"code": PRINTING[language], "context_id": here, "execution_id": "it"}
    headers: dict[str, str] = {}
    for _ in range(200):
        with client.stream(
            "POST", "/execute/async", json=body, headers=headers
        ) as answer:
            assert answer.status_code == 200
            text = ""
            for piece in answer.iter_text():
                text += piece
                if "\n\n" in text:
                    break  # and the connection is cut
        events += frames(text[: text.rindex("\n\n") + 2])
        headers = {"Last-Event-ID": events[-1][0]}
        if events[-1][1]["type"] == 2:
            break
    whole = follow(client, {"context_id": here, "execution_id": "it"})
    assert told(events) == told(frames(whole.text))
    assert client.show(here)["execution_count"] == 1
    again = client.post("/execute/async", json=body, headers=headers)
    assert again.status_code == 204


def test_a_stream_is_not_begun_anew_by_a_client_that_comes_back(
    client: Client,
) -> None:
    """Without an id, the code would run twice."""
    answer = client.post(
        "/execute/async",
        json={"code": "1", "language": "js"},
        headers={"Last-Event-ID": "3.1"},
    )
    assert answer.status_code == 400
    assert "execution_id" in answer.text


def test_messages_that_are_gone_are_counted(servers: Callable[..., Server]) -> None:
    """Whoever begins anew gets the outputs that the context remembers."""
    server = servers("--transcript-bytes-max", "3000", "--languages", "js")
    with connect(server) as client:
        here = client.create()
        body = {"code": "console.log('a'); 1", "context_id": here, "execution_id": "a"}
        events = frames(client.post("/execute/async", json=body).text)
        for _ in range(10):
            client.run("console.log('x'.repeat(500))", context_id=here)
        first = events[0][1]
        (line, rest) = frames(follow(client, first, last_event_id=events[0][0]).text)
        assert "messages were dropped" in line[1]["data"]
        assert told([rest]) == told(events[-1:])
        assert told(frames(follow(client, first).text)) == told(events)


def test_a_fork_has_the_executions_of_its_origin(client: Client) -> None:
    """Its own messages, which have the same numbers, are not taken for theirs."""
    answer = client.run("console.log('a'); 1")
    fork = client.post(f"/contexts/{answer['context_id']}/fork").json()["id"]
    client.run("console.log('b'); 2", context_id=fork)
    there = {**answer, "context_id": fork}
    assert shown(client, there) == {**there, "status": "completed"}
    assert told(frames(follow(client, there).text)) == [
        {"type": 0, "data": "a"},
        {"type": 2, "code": 0, "items": answer["items"]},
    ]


# -- ending ----------------------------------------------------------------------------


@LANGUAGES
def test_cancelling_ends_only_that_one(client: Client, language: str) -> None:
    here = client.create(language)
    client.run("x = 1", context_id=here)
    begin(client, here, "one", ENDLESS[language])
    begin(client, here, "two", "x = 2")
    begin(client, here, "three", "x + 10")
    path = f"/contexts/{here}/executions"
    wait_for(lambda: client.get(f"{path}/one").json()["status"] == "running")

    cancelled = client.post(f"{path}/two/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert client.get(f"{path}/one").json()["status"] == "running"
    assert client.get(f"{path}/two").json()["error"]["value"] == (
        "the execution was cancelled"
    )
    assert told(frames(client.get(f"{path}/two/events").text)) == [
        {"type": 3, "data": "the execution was cancelled"},
        {"type": 2, "code": 1},
    ]

    client.post(f"{path}/one/cancel")
    ended = client.get(f"{path}/three?wait_ms=10000").json()
    assert ended["items"][0]["text"] == "11"
    assert client.get(f"{path}/one").json()["status"] == "cancelled"
    for name, status in (("one", "cancelled"), ("three", "completed")):
        answer = client.post(f"{path}/{name}/cancel")
        assert answer.status_code == 409
        assert status in answer.json()["message"]


def test_cancelling_by_the_id_of_a_request_that_waits(client: Client) -> None:
    """Whoever waits for its answer is told."""
    here = client.create()
    path = f"/contexts/{here}/executions"
    with ThreadPoolExecutor() as pool:
        body = {"code": "for (;;) {}", "context_id": here, "execution_id": "mine"}
        answer = pool.submit(client.post, "/execute", json=body)
        wait_for(lambda: client.get(f"{path}/mine").status_code == 200)
        assert client.post(f"{path}/mine/cancel").status_code == 200
        ended = answer.result().json()
    assert ended["error"] is not None
    assert shown(client, ended)["status"] == "cancelled"


# -- asking again ----------------------------------------------------------------------


@LANGUAGES
def test_the_same_request_runs_once(client: Client, language: str) -> None:
    """Also when it makes its context, and when it comes many times at once."""
    body = {"code": "x = 1\nx", "language": language, "execution_id": f"o:{language}"}
    gate = threading.Barrier(8)

    def ask(_: int) -> dict[str, Any]:
        gate.wait()
        answer: dict[str, Any] = client.post("/execute", json=body).json()
        return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer == answers[0] for answer in answers)
    here = answers[0]["context_id"]
    assert answers[0]["execution_id"] == f"o:{language}"
    assert client.show(here)["execution_count"] == 1
    assert len(client.get("/contexts").json()["items"]) == 1
    again = client.post("/execute", json={**body, "context_id": here})
    assert again.json() == answers[0]
    assert client.show(here)["execution_count"] == 1


def test_an_id_is_of_one_request(client: Client) -> None:
    here, there = client.create(), client.create()
    client.run("1", context_id=here, execution_id="a")
    body = {"code": "2", "context_id": here, "execution_id": "a"}
    answer = client.post("/execute", json=body)
    assert answer.status_code == 409
    assert "'a'" in answer.json()["message"]
    assert client.show(here)["execution_count"] == 1
    assert client.text("2", context_id=there, execution_id="a") == "2"
    made = client.run("1", execution_id="a")
    body = {"code": "2", "context_id": made["context_id"], "execution_id": "a"}
    assert client.post("/execute", json=body).status_code == 409


def test_what_could_not_begin_may_be_asked_again(client: Client) -> None:
    body = {"code": "1", "context_id": "nobody", "execution_id": "b"}
    assert client.post("/execute", json=body).status_code == 404
    assert client.post("/execute", json=body).status_code == 404
    client.run("1", execution_id="b")


def test_what_is_forgotten_does_not_run_again(client: Client) -> None:
    here = client.create()
    client.run("1", context_id=here, execution_id="c")
    client.post(f"/contexts/{here}/restart")
    body = {"code": "1", "context_id": here, "execution_id": "c"}
    assert client.post("/execute", json=body).status_code == 410
    assert client.show(here)["execution_count"] == 0
    client.delete(f"/contexts/{here}")
    assert client.post("/execute", json=body).status_code == 404


@pytest.mark.parametrize("name", ["", "12", "a b", "a/b", ".a", "é", "a" * 129])
def test_ids_are_safe_in_a_path(client: Client, name: str) -> None:
    """Those of digits are the server's."""
    body = {"code": "1", "language": "js", "execution_id": name}
    answer = client.post("/execute", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "execution_id"


def test_a_server_that_comes_back_knows_what_has_run(
    servers: Callable[..., Server], tmp_path: Path
) -> None:
    """As far as the state that the context has come back with."""
    flags = ("--data-dir", str(tmp_path), "--languages", "js")
    server = servers(*flags)
    code = "globalThis.n = (globalThis.n ?? 0) + 1; console.log('a'); n"
    with connect(server) as client:
        here = client.create()
        numbered = client.run("throw new TypeError('no')", context_id=here)
        body = {"code": code, "context_id": here, "execution_id": "d"}
        text = client.post("/execute/async", json=body).text
    server.stop()
    with connect(servers(*flags)) as client:
        answer = client.post("/execute", json=body).json()
        assert answer["items"] == [{"is_primary": True, "text": "1"}]
        assert answer["logs"]["stdout"] == ["a"]
        assert answer["execution_count"] == 2
        assert shown(client, answer)["status"] == "completed"
        events = frames(text)
        assert told(frames(follow(client, answer).text)) == told(events)
        rest = follow(client, answer, last_event_id=events[0][0]).text
        assert told(frames(rest)) == told(events[1:])
        found = shown(client, numbered)
        assert found["status"] == "failed"
        assert found["error"] == numbered["error"]
        assert client.post("/execute", json={**body, "code": "1"}).status_code == 409
        assert client.text("n", context_id=here) == "1"
