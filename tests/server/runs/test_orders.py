"""POST /api/exec: its two forms, its bounds, and what becomes of the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.client import Client

KEYS = {
    "execution_id",
    "status",
    "result",
    "heap",
    "heap_error",
    "result_text",
    "result_note",
    "error",
    "started_at",
    "completed_at",
}
NO_HEAP = "0" * 64
NO_RUN = "00000000-0000-0000-0000-000000000000"
SQLITE_ONLY = pytest.mark.parametrize("database_flags", ["sqlite"], indirect=True)
"""For what comes to no database, or to none in a way of its own."""


def test_code_runs_by_itself(api: Client) -> None:
    info = api.done("const a = 20; a + 22")
    assert set(info) == KEYS
    assert (info["status"], info["result"], info["error"]) == ("completed", "42", None)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
    assert re.fullmatch(moment, info["started_at"])
    assert re.fullmatch(moment, info["completed_at"])
    assert info["started_at"] <= info["completed_at"]


@SQLITE_ONLY
def test_an_answer_waits_for_the_end(api: Client) -> None:
    endless = api.submit("await new Promise(() => setTimeout(() => 0, 60000))")
    waited = api.get(f"/api/executions/{endless}?wait_ms=1").json()
    assert waited["status"] == "running"
    api.cancel(endless)
    one = api.submit("await new Promise(done => setTimeout(done, 200)); 7")
    info = api.get(f"/api/executions/{one}?wait_ms=60000").json()
    assert (info["status"], info["result"]) == ("completed", "7")
    assert api.get(f"/api/executions/{one}?wait_ms=60000").json() == info


@SQLITE_ONLY
def test_an_answer_waits_no_longer_than_it_may(api: Client) -> None:
    one = api.submit("1")
    assert api.get(f"/api/executions/{NO_RUN}?wait_ms=60000").status_code == 404
    for wait in ("x", "-1", "300001"):
        answer = api.get(f"/api/executions/{one}?wait_ms={wait}")
        assert (answer.status_code, "wait_ms" in answer.json()["error"]) == (400, True)
    assert api.ended(one)["status"] == "completed"


RESULTS = [
    ("({a: [1, 'x', null]})", '{"a":[1,"x",null]}'),
    ("'text'", '"text"'),
    ("undefined", "null"),
    ("null", "null"),
    ("await Promise.resolve(7)", "7"),
    ("function f() {}", "null"),
    ("", "null"),
    ("'\\u0000\\ud83d\\ude00'", '"\\u0000😀"'),
]


@SQLITE_ONLY
def test_the_result_is_json_text(api: Client) -> None:
    ids = [api.submit(code) for code, _ in RESULTS]
    found = [api.ended(one)["result"] for one in ids]
    assert found == [result for _, result in RESULTS]


def test_a_running_execution_has_all_keys(api: Client) -> None:
    execution_id = api.submit("await new Promise(() => setTimeout(() => 0, 60000))")
    info = api.info(execution_id)
    assert set(info) == KEYS
    assert info["status"] == "running"
    empty = ("result", "heap", "heap_error", "error", "completed_at")
    assert all(info[key] is None for key in empty)
    assert info["started_at"]
    api.cancel(execution_id)


def test_runs_share_nothing_without_a_session(api: Client) -> None:
    api.result("globalThis.left = 1; let other = 2")
    assert api.result("typeof left + typeof other") == '"undefinedundefined"'
    assert api.get("/contexts").json()["items"] == []


FAILING = [
    ("let = ;", "SyntaxError"),
    ("throw new Error('boom')", "Error: boom"),
    ("nothing.there", "ReferenceError: nothing is not defined"),
    ("<div/>", "SyntaxError"),
    ("throw 'plain'", "plain"),
    ("await Promise.reject(new TypeError('late'))", "TypeError: late"),
]


@SQLITE_ONLY
def test_failing_code_fails(api: Client) -> None:
    ids = [api.submit(code) for code, _ in FAILING]
    for one, (_, error) in zip(ids, FAILING, strict=True):
        info = api.ended(one)
        assert (info["status"], info["result"], info["heap"]) == ("failed", None, None)
        assert error in info["error"]


def test_an_error_names_the_place_in_the_clients_text(api: Client) -> None:
    code = "enum Color { Red }\ntype T = number;\nconst x: T = Color.Red;\nx.y.z"
    assert ":4:" in api.done(code)["error"]


TEXTS = [
    "throw new Error('upstream timed out')",
    "const e = new Error('Execution timed out'); e.name = 'TimeoutError'; throw e",
    "throw new DOMException('timed out', 'TimeoutError')",
    "throw new Error('Out of memory')",
    "throw new Error('Cancelled by user')",
]


@SQLITE_ONLY
def test_a_text_makes_no_status(api: Client) -> None:
    ids = [api.submit(code) for code in TEXTS]
    assert {api.ended(one)["status"] for one in ids} == {"failed"}


def test_typescript_is_taken(api: Client) -> None:
    code = (
        "type P = {x: number}; enum E { A = 3 }; const p: P = {x: 1}; <number>p.x + E.A"
    )
    assert api.result(code) == "4"


def test_the_time_limit_ends_a_run(api: Client) -> None:
    info = api.done("console.log('before'); while (true) {}", execution_timeout_secs=1)
    assert (info["status"], info["result"]) == ("timed_out", None)
    assert info["error"].startswith("Execution timed out")
    assert api.output(info["execution_id"])["data"] == "before"


@SQLITE_ONLY
def test_the_time_limit_ends_an_await(api: Client) -> None:
    info = api.done("await new Promise(() => {})", execution_timeout_secs=1)
    assert info["status"] == "timed_out"


@SQLITE_ONLY
def test_the_memory_bound_ends_a_run(api: Client) -> None:
    code = "const all = []; while (true) all.push(new Array(1000).fill(1.5))"
    info = api.done(code, heap_memory_max_mb=16)
    assert info["status"] == "failed"
    assert "Out of memory" in info["error"]


@SQLITE_ONLY
@pytest.mark.parametrize("megabytes", [0, 1, 7])
def test_a_small_memory_bound_is_raised(api: Client, megabytes: int) -> None:
    code = "new Array(300000).fill(0.5).length"  # 2.4 MB
    assert api.result(code, heap_memory_max_mb=megabytes) == "300000"


def test_levels_have_their_prefixes(api: Client) -> None:
    code = """
    console.log("log"); console.debug("debug"); console.info("info");
    console.warn("two\\nlines"); console.error("error"); console.log({a: [1]});
    """
    assert api.printed_text(code) == (
        "log\ndebug\n[INFO] info\n[WARN] two\nlines\n[ERROR] error\n{ a: [ 1 ] }\n"
    )


@SQLITE_ONLY
@pytest.mark.parametrize(
    "kind",
    ["application/javascript", "text/plain", "application/x-www-form-urlencoded"],
)
def test_a_script_can_be_the_body(api: Client, kind: str) -> None:
    answer = api.post(
        "/api/exec?execution_timeout_secs=20&heap_memory_max_mb=64&session=script",
        content="var here = 'ü=1&b'; here",
        headers={"Content-Type": kind},
    )
    assert answer.status_code == 202
    info = api.ended(answer.json()["execution_id"])
    assert info["result"] == '"ü=1&b"'
    assert api.result("here", session="script") == '"ü=1&b"'


def test_a_body_without_a_type_is_json(api: Client) -> None:
    request = api.build_request("POST", "/api/exec", content=b'{"code": "1"}')
    request.headers.pop("Content-Type", None)
    assert api.send(request).status_code == 202
    vendor = {"Content-Type": "application/vnd.x+json; charset=utf-8"}
    answer = api.post("/api/exec", content=b'{"code": "1"}', headers=vendor)
    assert answer.status_code == 202


WRONG = [
    ({}, "code"),
    ({"code": 1}, "code"),
    ({"code": None}, "code"),
    ([], "body"),
    ({"code": "1", "execution_timeout_secs": 0}, "execution_timeout_secs"),
    ({"code": "1", "execution_timeout_secs": 301}, "execution_timeout_secs"),
    ({"code": "1", "execution_timeout_secs": 1.5}, "execution_timeout_secs"),
    ({"code": "1", "execution_timeout_secs": "5"}, "execution_timeout_secs"),
    ({"code": "1", "heap": ""}, "heap"),
    ({"code": "1", "heap": "0" * 63}, "heap"),
    ({"code": "1", "heap": "A" * 64}, "heap"),
    ({"code": "1", "heap": "0" * 64 + "\n"}, "heap"),
    ({"code": "1", "heap": "../../../etc/passwd"}, "heap"),
    ({"code": "1", "heap_memory_max_mb": -1}, "heap_memory_max_mb"),
    ({"code": "1", "heap_memory_max_mb": 5000}, "heap_memory_max_mb"),
    ({"code": "1", "session": ""}, "session"),
    ({"code": "1", "session": "a\tb"}, "session"),
    ({"code": "1", "session": "x" * 129}, "session"),
    ({"code": "1", "tags": {"a": 1}}, "tags"),
    ({"code": "1", "tags": {str(n): "" for n in range(101)}}, "tags"),
    ({"code": "1", "tags": {"": "x"}}, "tags"),
    ({"code": "1", "unknown": 1}, "unknown"),
]


@SQLITE_ONLY
def test_wrong_orders_are_refused(api: Client) -> None:
    for body, word in WRONG:
        answer = api.post("/api/exec", json=body)
        assert answer.status_code == 400, body
        assert set(answer.json()) == {"error"}
        assert word in answer.json()["error"]


def test_null_is_as_good_as_absent(api: Client) -> None:
    names = ("heap", "heap_memory_max_mb", "session", "tags", "execution_timeout_secs")
    assert api.result("1", **dict.fromkeys(names)) == "1"


@SQLITE_ONLY
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"code": "\\ud800"}'])
def test_malformed_json_is_refused(api: Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.post("/api/exec", content=body, headers=headers)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


@SQLITE_ONLY
@pytest.mark.parametrize("query", ["execution_timeout_secs=abc", "heap=x", "session="])
def test_wrong_queries_are_refused(api: Client, query: str) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = api.post(f"/api/exec?{query}", content="1", headers=headers)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


@SQLITE_ONLY
def test_other_bodies_are_refused(api: Client) -> None:
    script = {"Content-Type": "text/plain"}
    answer = api.post("/api/exec", content=b"\xff\xfe", headers=script)
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]
    answer = api.post("/api/exec", files={"file": b"1"})
    assert answer.status_code == 415
    assert "multipart" in answer.json()["error"]
    answer = api.post("/api/exec", json={"code": " " * (11 << 20)})
    assert answer.status_code == 413
    assert set(answer.json()) == {"error"}


def test_an_unknown_heap_is_missed(api: Client) -> None:
    answer = api.post("/api/exec", json={"code": "1", "heap": NO_HEAP})
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


@pytest.mark.parametrize("path", ["", "/output"])
def test_an_unknown_execution_is_missed(api: Client, path: str) -> None:
    answer = api.get(f"/api/executions/nobody{path}")
    assert answer.status_code == 404
    assert answer.json() == {"error": "Execution 'nobody' not found"}


def test_other_paths_and_methods_have_the_same_errors(api: Client) -> None:
    assert api.get("/api/nothing").json() == {"error": "Not found"}
    answer = api.delete("/api/executions")
    assert (answer.status_code, set(answer.json())) == (405, {"error"})


def test_the_newest_come_first(api: Client) -> None:
    ids = [api.submit(code) for code in ("1", "throw 1", "2", "3")]
    for execution_id in ids:
        api.ended(execution_id)
    listed = api.get("/api/executions").json()["executions"]
    assert [one["execution_id"] for one in listed[:4]] == ids[::-1]
    summary = {"execution_id", "status", "started_at", "completed_at"}
    assert all(set(one) == summary for one in listed)
    two = api.get("/api/executions?limit=2").json()
    assert (two["executions"], two["next_offset"]) == (listed[:2], 2)
    more = api.get("/api/executions?limit=2&offset=2").json()["executions"]
    assert more == listed[2:4]
    everything = api.get("/api/executions?limit=1000").json()
    assert everything["next_offset"] is None
    failed = api.get("/api/executions?limit=1&status=failed").json()["executions"]
    assert [one["execution_id"] for one in failed] == [ids[1]]


@SQLITE_ONLY
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=1001", "status=unknown", "limit=-1", "offset=-1"],
)
def test_wrong_lists_are_refused(api: Client, query: str) -> None:
    answer = api.get(f"/api/executions?{query}")
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_a_running_one_is_listed(api: Client) -> None:
    execution_id = api.submit("while (true) {}")
    listed = api.get("/api/executions?status=running").json()["executions"]
    assert [one["execution_id"] for one in listed] == [execution_id]
    assert listed[0]["completed_at"] is None
    api.cancel(execution_id)
    assert api.get("/api/executions?status=running").json()["executions"] == []


def test_code_and_errors_may_hold_anything(api: Client) -> None:
    info = api.done("throw new Error('nul \\u0000 half \\ud800 😀')")
    assert info["status"] == "failed"
    assert "nul \0 half" in info["error"]
    assert api.done("'\0'")["result"] == '"\\u0000"'


def test_json_is_recognised_whatever_its_type_says(api: Client) -> None:
    """As `curl -d` sends it; a script may look like it and isn't."""
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        answer = api.post(
            "/api/exec",
            content=json.dumps({"code": "6 * 7"}),
            headers={"Content-Type": kind},
        )
        assert api.ended(answer.json()["execution_id"])["result"] == "42"
    answer = api.post(
        "/api/exec", content="{ 6 * 7 }", headers={"Content-Type": "text/plain"}
    )
    assert api.ended(answer.json()["execution_id"])["result"] == "42"


def test_a_fence_is_taken_off(api: Client) -> None:
    """The code that is kept is what was sent."""
    assert api.result("```js\n6 * 7\n```") == "42"
