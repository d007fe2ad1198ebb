"""`tools` in tasks: calls, failures, denials that can't be forged, approvals."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.tasks import Tasks


def test_code_calls_tools(tasks: Tasks) -> None:
    assert tasks.result("return await tools.math.add({ a: 1, b: 2 })") == 3
    code = """
        const { add } = tools.math;
        return await Promise.all([1, 2, 3].map((a) => add({ a, b: 1 })));
    """
    assert tasks.result(code) == [2, 3, 4]


def test_a_call_says_whose_it_is(tasks: Tasks) -> None:
    task = tasks.run("return await tools.who.am.i({ x: 1 })", sessionId="who")
    call = task["result"]
    assert call["workspace"] == "default"
    assert call["session"] == "who"
    assert call["task_id"] == task["taskId"]
    assert call["call_id"].startswith(task["taskId"])
    assert call["input"] == {"x": 1}
    tasks.told(f"ended-default-{task['taskId']}")


def test_only_tasks_have_tools(tasks: Tasks) -> None:
    tasks.run("globalThis.kept = tools", sessionId="t1")
    assert tasks.client.text("typeof tools", context_id="t1") == "'undefined'"
    answer = tasks.client.run("await kept.math.add({ a: 1, b: 2 })", context_id="t1")
    assert answer["error"]["name"] == "ToolError"


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("bad.http", ["ToolError", "http", 503, {"body": "later"}, True]),
        ("bad.missing", ["ToolError", "tool_not_found"]),
        ("bad.defect", ["ToolError", "internal_error"]),
        ("bad.object", ["ToolError", "internal_error"]),
    ],
)
def test_failures_are_errors_with_fields(
    tasks: Tasks, tool: str, expected: list[Any]
) -> None:
    code = f"""
        try {{ await tools.{tool}() }} catch (e) {{
          return [e.name, e.code, e.status, e.details, e.retryable, e.message];
        }}
    """
    found = tasks.result(code)
    assert found[: len(expected)] == expected
    assert "secret" not in str(found)


def test_a_result_that_is_too_large_is_an_error(tasks: Tasks) -> None:
    code = "try { await tools.bad.large({ bytes: 50e6 }) } catch (e) { return e.code }"
    assert tasks.result(code) == "result_too_large"
    fits = "return (await tools.bad.large({ bytes: 999_990 })).length"
    assert tasks.result(fits) == 999_990


def test_a_call_that_nobody_awaits_is_cancelled(tasks: Tasks) -> None:
    task = tasks.run("void tools.bad.hang(); return 1")
    assert task["result"] == 1
    assert "not awaited, and so cancelled: 1" in task["logs"]["stderr"][-1]
    tasks.told(f"cancelled-{task['taskId']}")


def test_code_that_awaits_a_call_runs_to_its_end(tasks: Tasks) -> None:
    """Though nothing awaits that code."""
    code = (
        "const main = async () => console.log(await tools.math.add({ a: 1, b: 2 }));"
        "main(); console.log('started'); return 1"
    )
    assert tasks.run(code)["logs"]["stdout"] == ["started", "3"]


def test_an_error_that_nobody_catches_fails_the_task(tasks: Tasks) -> None:
    task = tasks.run("setTimeout(() => { throw new RangeError('late') }, 1); return 1")
    assert (task["status"], task["result"]) == ("failed", None)
    assert task["error"]["name"] == "RangeError"


def test_a_tool_that_hangs_ends_with_the_time(tasks: Tasks) -> None:
    task = tasks.run("await tools.bad.hang()", timeoutMs=200)
    assert task["status"] == "timed_out"
    tasks.told(f"cancelled-{task['taskId']}")


def test_a_tool_that_hangs_ends_with_the_task(tasks: Tasks) -> None:
    task_id = tasks.start("await tools.bad.hang()")
    tasks.told(f"hangs-{task_id}")
    assert tasks.cancel(task_id).json()["status"] == "cancelled"
    tasks.told(f"cancelled-{task_id}")


def test_a_context_that_dies_ends_its_calls(tasks: Tasks) -> None:
    code = "void tools.bad.hang(); await tools.math.add({ a: 1, b: 1 }); for (;;);"
    task_id = tasks.start(code)
    os.kill(tasks.server.busy_process(), signal.SIGKILL)
    tasks.wait(task_id, "failed")
    tasks.told(f"cancelled-{task_id}")


# -- denials -----------------------------------------------------------------------


def test_an_uncaught_denial_ends_the_task_denied(tasks: Tasks) -> None:
    task = tasks.run("await tools.bad.denied(); return 1")
    assert (task["status"], task["exitCode"]) == ("denied", 126)
    assert task["error"]["name"] == "ApprovalDeniedError"
    assert "the policy says no" in task["error"]["message"]
    assert task["result"] is None


def test_a_caught_denial_does_not(tasks: Tasks) -> None:
    code = """
        try { await tools.bad.denied() } catch (e) {
          return [e instanceof ApprovalDeniedError, e instanceof ToolError, e.reason];
        }
    """
    assert tasks.result(code) == [True, True, "the policy says no"]


@pytest.mark.parametrize(
    "code",
    [
        "throw new ApprovalDeniedError('x', { reason: 'x' })",
        "throw Object.assign(new Error('APPROVAL_DENIED: x'), { denied: true })",
        "try { await tools.bad.denied() } catch (cause) { throw Error('', { cause }) }",
        "try { await tools.bad.denied() } catch (e) { throw structuredClone(e) }",
        "try { await tools.bad.http() } catch (e) {"
        " throw Object.setPrototypeOf(e, ApprovalDeniedError.prototype) }",
        "console.error('ApprovalDeniedError'); throw 'ApprovalDeniedError'",
    ],
)
def test_a_denial_can_not_be_forged(tasks: Tasks, code: str) -> None:
    assert tasks.run(code)["status"] == "failed"


# -- approvals ---------------------------------------------------------------------


def test_a_task_goes_on_when_its_call_is_approved(tasks: Tasks) -> None:
    code = "return (await tools.people.ask({ name: 'a1' })).asked"
    task_id = tasks.start(code)
    assert tasks.wait(task_id, "waiting_for_approval")["exitCode"] is None
    tasks.answer("a1", "yes")
    assert tasks.wait(task_id, "completed")["result"] == "a1"


def test_a_reviewer_may_say_no(tasks: Tasks) -> None:
    task_id = tasks.start("return await tools.people.ask({ name: 'a2' })")
    tasks.answer("a2", "not today")
    task = tasks.wait(task_id, "denied")
    assert "not today" in task["error"]["message"]


def test_waiting_for_people_takes_no_time(tasks: Tasks) -> None:
    code = """
        await tools.people.ask({ name: 'a3' });
        return await tools.math.add({ a: 1, b: 1 });
    """
    task_id = tasks.start(code, timeoutMs=1500)
    tasks.wait(task_id, "waiting_for_approval")
    # A whole other task takes longer than this one may.
    tasks.run("await new Promise(() => {})", timeoutMs=1600)
    assert tasks.show(task_id)["status"] == "waiting_for_approval"
    tasks.answer("a3", "yes")
    assert tasks.wait(task_id, "completed", "timed_out")["result"] == 2


def test_javascript_that_runs_while_people_think_takes_time(tasks: Tasks) -> None:
    code = "setTimeout(() => { for (;;); }, 5); await tools.people.ask({ name: 'a4' })"
    task = tasks.run(code, timeoutMs=1500)
    assert task["status"] == "timed_out"
    tasks.told("over-a4")


def test_a_task_that_waits_can_be_cancelled(tasks: Tasks) -> None:
    task_id = tasks.start("await tools.people.ask({ name: 'a5' })")
    tasks.wait(task_id, "waiting_for_approval")
    assert tasks.cancel(task_id).json()["status"] == "cancelled"
    tasks.told("over-a5")


def test_tasks_that_wait_take_no_place(start_tasks: Callable[..., Tasks]) -> None:
    tasks: Tasks = start_tasks("--tasks-running-max", "1")
    waiting = [
        tasks.start(f"return await tools.people.ask({{ name: 'w{i}' }})")
        for i in range(2)
    ]
    for task_id in waiting:
        tasks.wait(task_id, "waiting_for_approval")
    assert tasks.result("return 1") == 1
    for i in range(2):
        tasks.answer(f"w{i}", "yes")
    for task_id in waiting:
        tasks.wait(task_id, "completed")
    assert tasks.result("return 2") == 2


def test_several_approvals_at_a_time(tasks: Tasks) -> None:
    code = """
        const asked = ["m1", "m2"].map((name) => tools.people.ask({ name }));
        return (await Promise.allSettled(asked)).map((one) => one.status);
    """
    task_id = tasks.start(code)
    tasks.answer("m1", "yes")
    tasks.told("over-m1")
    assert tasks.show(task_id)["status"] == "waiting_for_approval"
    tasks.answer("m2", "no")
    assert tasks.wait(task_id, "completed")["result"] == ["fulfilled", "rejected"]
