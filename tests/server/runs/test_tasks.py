"""Tasks over HTTP: ordered, looked up, cancelled; what they give and how they fail."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.client import connect
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.tasks import Tasks

TERMINAL = ("completed", "failed", "timed_out", "denied", "cancelled")


# -- values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("return 1", 1),
        ("const a: number = 1; return { a, b: [a] }", {"a": 1, "b": [1]}),
        ("6 * 7", 42),
        ("if (1 > 2) { return 'no' }\nreturn 'yes'", "yes"),
        ("enum A { X = 4 }\nreturn A.X as number", 4),
        ("return await Promise.resolve('later')", "later"),
        ("return Promise.resolve('later')", "later"),
        ("return new Promise((r) => setTimeout(() => r(1), 1))", 1),
        ("[1, 2].map((x) => { return x * 2 })", [2, 4]),
        ("return", None),
        ("let x = 1", None),
        ("return null", None),
    ],
)
def test_the_value_is_what_the_code_returns(
    tasks: Tasks, code: str, value: object
) -> None:
    assert tasks.result(code) == value


def test_a_task_has_all_its_fields(tasks: Tasks) -> None:
    task = tasks.run(
        "console.log('out'); console.error('err'); return 1",
        metadata={"for": "a test"},
        timeoutMs=5000,
    )
    assert task["taskId"].startswith("task_")
    assert task["status"] == "completed"
    assert task["runtimeId"] == "isokernel-v8"
    assert task["sessionId"] is None
    assert task["metadata"] == {"for": "a test"}
    assert task["timeoutMs"] == 5000
    assert task["createdAt"] <= task["startedAt"] <= task["endedAt"]
    assert task["exitCode"] == 0
    assert task["error"] is None
    assert task["result"] == 1
    assert task["logs"] == {"stdout": ["out"], "stderr": ["err"]}
    assert task["displays"] == []
    assert task["diagnostics"] == []
    assert tasks.show(task["taskId"]) == task


def test_what_is_shown_is_kept(tasks: Tasks) -> None:
    task = tasks.run("await display({ 'image/png': 'aGk=' }, { raw: true }); return 1")
    assert task["displays"][0]["data"]["image/png"] == "aGk="
    svg = "({ [Symbol.for('Jupyter.display')]: () => ({ 'image/svg+xml': '<svg/>' }) })"
    task = tasks.run(f"return {svg}")
    assert task["displays"][0]["data"]["image/svg+xml"] == "<svg/>"


def test_an_error_has_name_message_and_stack(tasks: Tasks) -> None:
    task = tasks.run("const a = 1;\nnull.f;")
    assert task["status"] == "failed"
    assert task["exitCode"] == 1
    assert task["error"]["name"] == "TypeError"
    assert "reading 'f'" in task["error"]["message"]
    assert ":2:6" in task["error"]["stack"]


def test_code_that_can_not_be_parsed_fails(tasks: Tasks) -> None:
    task = tasks.run("return (;")
    assert (task["status"], task["error"]["name"]) == ("failed", "SyntaxError")


def test_a_process_that_dies_fails_the_task(tasks: Tasks) -> None:
    task_id = tasks.start("for (;;);")
    os.kill(tasks.server.busy_process(), signal.SIGKILL)
    task = tasks.wait(task_id, "failed")
    assert "SIGKILL" in task["error"]["message"]


# -- time --------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["for (;;);", "await new Promise(() => {})"])
def test_code_has_its_time_and_no_more(tasks: Tasks, code: str) -> None:
    task = tasks.run(code, timeoutMs=100)
    assert (task["status"], task["exitCode"]) == ("timed_out", 124)
    assert task["error"]["name"] == "TimeoutError"


def test_an_error_that_is_called_like_the_end_of_time_is_none(tasks: Tasks) -> None:
    code = "throw Object.assign(new Error('x'), { name: 'TimeoutError' })"
    assert tasks.run(code)["status"] == "failed"


def test_waiting_for_the_result_has_a_bound(tasks: Tasks) -> None:
    answer = tasks.post(
        "await new Promise(() => {})", waitForResult=True, resultTimeoutMs=100
    )
    assert answer.status_code == 202
    assert answer.json()["status"] in {"queued", "running"}
    assert "result" not in answer.json()


# -- sessions ----------------------------------------------------------------------


def test_a_session_keeps_what_its_tasks_declare(tasks: Tasks) -> None:
    tasks.run("const kept = [1]; return kept.length", sessionId="s1")
    assert tasks.result("kept.push(2); return kept", sessionId="s1") == [1, 2]
    assert tasks.client.show("s1")["execution_count"] == 2


def test_a_session_is_the_context_of_that_id(tasks: Tasks) -> None:
    context = tasks.client.create()
    tasks.client.run("var a = 5", context_id=context)
    assert tasks.result("return a", sessionId=context) == 5


def test_contexts_of_tasks_without_a_session_are_gone(tasks: Tasks) -> None:
    tasks.run("globalThis.kept = 1")
    assert tasks.client.get("/contexts").json() == {"items": []}
    assert tasks.run("return kept")["status"] == "failed"


def test_a_session_of_another_language_can_not_be_used(tasks: Tasks) -> None:
    context = tasks.client.create("python")
    task = tasks.run("return 1", sessionId=context)
    assert task["status"] == "failed"
    assert "sessionId" in task["error"]["message"]


# -- requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"code": ""}, "code"),
        ({"code": " \n"}, "code"),
        ({}, "code"),
        ({"code": "1", "timeoutMs": 0}, "timeoutMs"),
        ({"code": "1", "timeoutMs": 600_001}, "timeoutMs"),
        ({"code": "1", "resultTimeoutMs": 99}, "resultTimeoutMs"),
        ({"code": "1", "resultTimeoutMs": 900_001}, "resultTimeoutMs"),
        ({"code": "1", "runtimeId": "deno"}, "runtimeId"),
        ({"code": "1", "metadata": [1]}, "metadata"),
        ({"code": "1", "sessionId": "a\nb"}, "sessionId"),
        ({"code": "1", "runtimeId": "python", "typecheck": True}, "typecheck"),
        ({"code": "1", "more": 1}, "more"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tasks: Tasks, fields: dict[str, Any], field: str
) -> None:
    answer = tasks.client.post("/tasks", json=fields)
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("task_id", ["task_none", "x" * 300])
def test_what_is_not_there_is_told(tasks: Tasks, task_id: str) -> None:
    assert tasks.client.get(f"/tasks/{task_id}").status_code == 404
    assert tasks.cancel(task_id).status_code == 404


def test_tasks_are_listed_newest_first(tasks: Tasks) -> None:
    done = [tasks.run(f"return {i}")["taskId"] for i in range(2)]
    failed = tasks.run("throw 1")["taskId"]
    running = tasks.start("await new Promise(() => {})")
    tasks.wait(running, "running")

    def listed(**query: Any) -> list[dict[str, Any]]:
        answer = tasks.client.get("/tasks", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["tasks"]
        return found

    newest = listed(limit=4)
    assert [task["taskId"] for task in newest] == [running, failed, *reversed(done)]
    assert newest[0]["status"] == "running"
    assert "result" not in newest[-1]
    assert listed(status="failed", limit=1)[0]["taskId"] == failed
    assert [task["taskId"] for task in listed(status="running")] == [running]
    assert listed(status="queued") == []
    # By pages, and by what was kept with them.
    pages: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = tasks.client.get(f"/tasks?limit=3&offset={offset}").json()
        pages += page["tasks"]
        offset = page["next_offset"]
    assert pages == listed(limit=1000)
    marked = tasks.run("return 1", metadata={"a:b": "c:d", "n": 7})["taskId"]
    for query in ({"metadata": r"a\:b:c:d"}, {"metadata": [r"a\:b:c:d", "n:7"]}):
        assert [task["taskId"] for task in listed(**query)] == [marked]
    assert listed(metadata="n:8") == listed(metadata="n:7", status="failed") == []
    live = tasks.start("await new Promise(() => {})", metadata={"n": 7})
    tasks.wait(live, "running")
    found = listed(metadata="n:7", status="running")
    assert [task["taskId"] for task in found] == [live]
    assert tasks.client.get("/tasks?metadata=x").status_code == 400
    assert tasks.client.get("/tasks?status=bad").status_code == 400
    assert tasks.client.get("/tasks?limit=0").status_code == 400
    tasks.cancel(running)


# -- cancelling --------------------------------------------------------------------


@pytest.mark.parametrize("code", ["for (;;);", "await new Promise(() => {})"])
def test_a_task_can_be_cancelled(tasks: Tasks, code: str) -> None:
    task_id = tasks.start(code)
    tasks.wait(task_id, "running")
    answer = tasks.cancel(task_id)
    assert answer.status_code == 200
    task = answer.json()
    assert (task["status"], task["exitCode"]) == ("cancelled", 130)
    assert tasks.show(task_id) == task
    again = tasks.cancel(task_id)
    assert again.status_code == 409
    assert "cancelled" in again.json()["message"]


def test_a_cancelled_task_leaves_its_session_alive(tasks: Tasks) -> None:
    tasks.run("globalThis.kept = 1", sessionId="s2")
    task_id = tasks.start("for (;;);", sessionId="s2")
    tasks.wait(task_id, "running")
    tasks.cancel(task_id)
    assert tasks.result("return kept", sessionId="s2") == 1


def test_a_task_that_waits_for_its_session_can_be_cancelled(tasks: Tasks) -> None:
    first = tasks.start("await new Promise(() => {})", sessionId="s3")
    tasks.wait(first, "running")
    second = tasks.start("globalThis.ran = true", sessionId="s3")
    assert tasks.show(second)["status"] == "queued"
    assert tasks.cancel(second).json()["status"] == "cancelled"
    assert tasks.show(second)["startedAt"] is None
    tasks.cancel(first)
    assert tasks.result("return typeof ran", sessionId="s3") == "undefined"


# -- bounds, restarts --------------------------------------------------------------


def test_tasks_have_bounds(start_tasks: Callable[..., Tasks]) -> None:
    tasks = start_tasks("--tasks-unfinished-max", "2", "--tasks-running-max", "1")
    first = tasks.start("await new Promise(() => {})")
    tasks.wait(first, "running")
    second = tasks.start("return 2")
    refused = tasks.post("return 3")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    assert tasks.show(second)["status"] == "queued"
    tasks.cancel(first)
    assert tasks.wait(second, "completed")["result"] == 2


def test_tasks_outlive_the_server(
    start_tasks: Callable[..., Tasks], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = str(tmp_path_factory.mktemp("data"))
    tasks = start_tasks("--data-dir", data, "--tasks-kept-max", "2")
    forgotten = tasks.run("return 0")["taskId"]
    done = tasks.run("console.log('x'); return { a: 1 }", metadata={"m": 1})
    lost = tasks.start("await new Promise(() => {})")
    tasks.wait(lost, "running")
    tasks.server.stop(signal.SIGKILL)
    tasks = start_tasks("--data-dir", data, "--tasks-kept-max", "2")
    assert tasks.show(done["taskId"]) == done
    # With others, once the lost one's lease has ended.
    task = tasks.wait(lost, "failed")
    assert task["error"]["name"] == "ServerStoppedError"
    # What is too much is swept beside the first requests.
    place = f"/tasks/{forgotten}"
    wait_for(lambda: tasks.client.get(place).status_code == 404)


def test_a_stopping_server_ends_its_tasks(
    start_tasks: Callable[..., Tasks], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = str(tmp_path_factory.mktemp("data"))
    flags = ("--data-dir", data, "--shutdown-grace-seconds", "0.2")
    tasks = start_tasks(*flags)
    running = tasks.start("await new Promise(() => {})")
    tasks.wait(running, "running")
    waiting = tasks.start("await tools.people.ask({ name: 'never' })")
    tasks.wait(waiting, "waiting_for_approval")
    assert tasks.server.stop() == 0
    tasks = start_tasks(*flags)
    for task_id in (running, waiting):
        assert tasks.show(task_id)["error"]["message"] == "the server stopped"


def test_keys_are_asked_for(start_tasks: Callable[..., Tasks]) -> None:
    tasks = start_tasks("--api-key", "k")
    assert tasks.client.get("/tasks").status_code == 401
    with connect(tasks.server, **{"X-API-Key": "k"}) as client:
        assert client.get("/tasks").json() == {"tasks": [], "next_offset": None}
