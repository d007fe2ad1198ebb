"""Types of tasks, checked before they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.tasks import Tasks


def test_ill_typed_code_does_not_run(tasks: Tasks) -> None:
    tasks.run("globalThis.ran = false", sessionId="c1")
    code = "globalThis.ran = true;\nconst sum: string = await tools.math.add({ a: 1 });"
    task = tasks.run(code, sessionId="c1", typecheck=True)
    assert (task["status"], task["exitCode"]) == ("failed", 1)
    assert task["error"]["name"] == "TypeCheckError"
    assert "1:" not in task["error"]["message"]
    assert "2:7 - TS2322" in task["error"]["stack"]
    places = [(d["line"], d["column"], d["code"]) for d in task["diagnostics"]]
    assert places == [(2, 7, 2322), (2, 42, 2345)]
    assert task["startedAt"] is None
    assert tasks.result("return ran", sessionId="c1") is False
    assert tasks.show(task["taskId"]) == task


def test_well_typed_code_runs(tasks: Tasks) -> None:
    code = """
        const sum: number = await tools.math.add({ a: 1, b: 2 });
        return { sum };
    """
    assert tasks.result(code, typecheck=True) == {"sum": 3}


def test_nothing_is_checked_unless_asked(tasks: Tasks) -> None:
    assert tasks.result("const a: string = 1 as any as number; return a") == 1


def test_a_session_knows_its_earlier_names(tasks: Tasks) -> None:
    tasks.run("let first = 1; class Second {}; globalThis.third = 3", sessionId="c2")
    code = "return [first, typeof new Second(), third].length"
    assert tasks.result(code, sessionId="c2", typecheck=True) == 3
    task = tasks.run("return fourth", sessionId="c2", typecheck=True)
    assert task["diagnostics"][0]["code"] == 2304


def test_the_default_is_a_setting_and_a_check_can_be_cancelled(
    start_tasks: Callable[..., Tasks],
) -> None:
    # One server for both: its checker computes for 3 s and more until it is there.
    tasks = start_tasks("--typecheck", "--typechecks-running-max", "1")
    assert tasks.run("return missing")["error"]["name"] == "TypeCheckError"
    assert tasks.run("return missing", typecheck=False)["error"]["name"] == (
        "ReferenceError"
    )
    _cancel_a_check(tasks)


def _cancel_a_check(tasks: Tasks) -> None:
    task_id = tasks.start(SLOW, typecheck=True)
    pid = tasks.server.busy_process()
    assert tasks.cancel(task_id).json()["status"] == "cancelled"
    wait_for(lambda: pid not in tasks.server.children())
    assert tasks.result("return 1", typecheck=True) == 1


SLOW = """
type Twice<T, N extends any[] = []> = N["length"] extends 20
  ? T : Twice<[T, 1], [...N, 1]> | Twice<[T, 2], [...N, 1]>;
let x: Twice<0> = 1;
"""
"""Code whose type has a million parts."""


def test_a_check_that_takes_too_long_is_stopped(
    start_tasks: Callable[..., Tasks],
) -> None:
    tasks: Tasks = start_tasks(
        "--typecheck-timeout-seconds", "1", "--typechecks-running-max", "1"
    )
    tasks.run("return 1", typecheck=True)
    task_id = tasks.start(SLOW, typecheck=True)
    task = tasks.wait(task_id, "failed")
    assert task["error"]["name"] == "TypeCheckerError"
    assert "(typecheck_timeout_seconds)" in task["error"]["message"]
    assert tasks.result("return 1", typecheck=True) == 1
