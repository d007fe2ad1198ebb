"""Sessions and heaps in executions: what stays, what goes on from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from tests.support.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

SQLITE_ONLY = pytest.mark.parametrize("database_flags", ["sqlite"], indirect=True)


def test_a_session_is_the_context_of_that_id(api: Client) -> None:
    api.result("let count = 1; const more = () => ++count", session="s-1")
    assert api.result("more()", session="s-1") == "2"
    assert api.run("count", context_id="s-1")["items"][0]["text"] == "2"
    api.run("count = 10", context_id="s-1")
    assert api.result("more()", session="s-1") == "11"
    assert [one["id"] for one in api.get("/contexts").json()["items"]] == ["s-1"]


def test_a_context_can_be_a_session(api: Client) -> None:
    context_id = api.create("typescript")
    api.run("var here = 5", context_id=context_id)
    assert api.result("here + 1", session=context_id) == "6"


@SQLITE_ONLY
def test_a_memory_bound_holds_for_its_run(api: Client) -> None:
    """In a session too, up and down; it isn't the session's."""
    much = """{ const all = [];
      for (let i = 0; i < 5000; i++) all.push(new Array(1000).fill(0.5));
      globalThis.last = all.length }"""  # 40 MB
    api.result("let kept = 1", session="s", heap_memory_max_mb=16)
    info = api.done(much, session="s", heap_memory_max_mb=16)
    assert info["status"] == "failed"
    assert "Out of memory: the heap of the context is full (16 MiB)" in info["error"]
    assert api.result("kept", session="s") == "1"
    assert api.result(much, session="s", heap_memory_max_mb=200) == "5000"
    assert api.result(much, session="s") == "5000"


def test_a_failed_run_leaves_its_session(api: Client) -> None:
    api.result("let kept = 1", session="s")
    assert api.done("kept = 2; boom()", session="s")["status"] == "failed"
    code = "kept = 3; while (true) {}"
    info = api.done(code, session="s", execution_timeout_secs=1)
    assert info["status"] == "timed_out"
    assert api.result("kept", session="s") == "3"


def test_runs_of_a_session_come_in_their_order(api: Client) -> None:
    api.result("const seen = []", session="s")
    ids = [api.submit(f"seen.push({n}); {n}", session="s") for n in range(12)]
    assert [api.ended(one)["result"] for one in ids] == [str(n) for n in range(12)]
    assert (
        api.result("seen.join()", session="s") == f'"{",".join(map(str, range(12)))}"'
    )


def test_a_run_goes_on_from_a_heap(api: Client) -> None:
    code = "let n = 1; const up = () => ++n; class A { #x = 7; x() { return this.#x } }"
    first = api.done(code)
    assert first["heap_error"] is None
    assert len(first["heap"]) == 64
    second = api.done("up() + new A().x()", heap=first["heap"])
    assert second["result"] == "9"
    assert second["heap"] != first["heap"]
    # It is the heap that goes on, whatever was run from it before.
    assert api.result("up()", heap=first["heap"]) == "2"
    assert api.result("up()", heap=second["heap"]) == "3"
    assert api.get("/contexts").json()["items"] == []


def test_a_heap_resets_a_session(api: Client) -> None:
    heap = api.done("let n = 1", session="s")["heap"]
    assert api.result("n = 50", session="s") == "50"
    assert api.result("n", session="s", heap=heap) == "1"
    assert api.result("n + 1", session="s") == "2"
    assert api.result("n", session="new", heap=heap) == "1"


@SQLITE_ONLY
def test_what_did_not_complete_yields_no_heap(api: Client) -> None:
    for code in ("throw 1", "while (true) {}"):
        info = api.done(code, execution_timeout_secs=1)
        assert (info["heap"], info["heap_error"]) == (None, None)


@SQLITE_ONLY
def test_what_can_not_be_saved_is_said(api: Client) -> None:
    info = api.done("globalThis.fmt = new Intl.Segmenter().segment('a'); 7")
    assert (info["status"], info["result"], info["heap"]) == ("completed", "7", None)
    assert "Intl.Segments at globalThis.fmt" in info["heap_error"]


@SQLITE_ONLY
def test_the_heap_has_the_tags_and_the_session_its_history(api: Client) -> None:
    first = api.done("let n: number = 1", session="told", tags={"env": "test"})
    second = api.done("n + 1", session="told")
    tags = api.get(f"/api/heaps/{first['heap']}").json()["tags"]
    assert tags == {"env": "test"}
    entries: list[dict[str, Any]] = api.get("/api/sessions/told/snapshots").json()[
        "entries"
    ]
    assert [one["code"] for one in entries] == ["let n: number = 1", "n + 1"]
    assert [one["output_heap"] for one in entries] == [first["heap"], second["heap"]]
    assert [one["input_heap"] for one in entries] == [None, first["heap"]]


def test_a_session_of_another_language_is_refused(
    servers: Callable[..., Server],
) -> None:
    with connect(servers("--languages", "python,javascript")) as api:
        session = api.create("python")
        body = {"code": "1", "session": session, "language": "javascript"}
        answer = api.post("/api/exec", json=body)
        assert answer.status_code == 400
        assert "the session is in python" in answer.json()["error"]
        assert api.done("type(1).__name__", session=session)["result"] == '"int"'


def test_a_stateless_server_has_no_heaps_and_no_sessions(
    servers: Callable[..., Server],
) -> None:
    with connect(servers("--stateless", "--languages", "javascript")) as api:
        code = "setTimeout(() => console.log('late'), 50); console.log('soon'); 4"
        info = api.done(code)
        assert (info["result"], info["heap"], info["heap_error"]) == ("4", None, None)
        assert api.output(info["execution_id"])["data"] == "soon\nlate"
        for field in ({"session": "s"}, {"heap": "0" * 64}, {"tags": {"a": "b"}}):
            answer = api.post("/api/exec", json={"code": "1", **field})
            assert answer.status_code == 400
            assert "stateless" in answer.json()["error"]


@pytest.mark.parametrize("name", ["my session", "a/b", "Übung №1: 50%", "x" * 128])
def test_names_are_any_text(api: Client, name: str) -> None:
    assert api.result("var kept = 7", session=name) == "null"
    assert api.result("kept", session=name) == "7"
    assert name in api.get("/api/sessions").json()["sessions"]
    path = quote(name, safe="")
    assert len(api.get(f"/api/sessions/{path}/snapshots").json()["entries"]) == 2
    assert api.get(f"/contexts/{path}").json()["id"] == name
    # The context's id is a header of a stream, which is ASCII.
    asked = {"code": "1", "context_id": name, "language": "javascript"}
    answer = api.post("/execute/async", json=asked)
    assert unquote(answer.headers["X-Context-Id"]) == name
    assert api.delete(f"/contexts/{path}").is_success
