"""Cells through a real kernel: what comes back, in which order, to whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.kernels import Kernel
    from tests.support.local_contexts import LocalContext


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["msg_type"] for message in messages]


def test_a_cell_is_busy_input_result_idle(kernel: Kernel) -> None:
    outcome = kernel.run("1 + 1")
    assert kinds(outcome.messages) == [
        "status",
        "execute_input",
        "execute_result",
        "status",
    ]
    assert outcome.result == "2"
    assert outcome.reply["content"]["status"] == "ok"


def test_the_count_is_the_same_everywhere(kernel: Kernel) -> None:
    outcome = kernel.run("'x'")
    count = outcome.reply["content"]["execution_count"]
    assert outcome.contents("execute_input")[0]["execution_count"] == count
    assert outcome.contents("execute_result")[0]["execution_count"] == count
    assert kernel.run("1").reply["content"]["execution_count"] == count + 1


def test_output_comes_before_idle_and_in_order(kernel: Kernel) -> None:
    outcome = kernel.run("for (let i = 0; i < 20000; i++) console.log(i)")
    assert outcome.text() == "".join(f"{i}\n" for i in range(20_000))
    assert len(outcome.contents("stream")) < 500
    kernel.quiet()


def test_a_failed_cell_says_so_twice(kernel: Kernel) -> None:
    outcome = kernel.run("null.x")
    reply, error = outcome.reply["content"], outcome.contents("error")[0]
    assert reply["status"] == "error"
    assert reply["ename"] == error["ename"] == "TypeError"
    assert reply["traceback"] == error["traceback"]
    assert outcome.reply["metadata"]["status"] == "error"


def test_a_traceback_is_colored(kernel: Kernel, context: LocalContext) -> None:
    """Its text is what it is elsewhere; the message has no colours."""
    codes = (
        "null.x",
        "const fail = () => { throw new Error('no\\nmore', { cause: 1 }) };\nfail()",
        "throw new AggregateError([new TypeError('inner')], 'outer')",
        "let a = ;",
        "throw 'text'",
    )
    for code in codes:
        [error] = kernel.run(code).contents("error")
        plain = context.run(code).failure
        traceback = "\n".join(error["traceback"])
        assert traceback.startswith(f"\x1b[1;31m{plain.ename}\x1b[0m: ")
        assert "\x1b[90m    at " in traceback or code == "throw 'text'"
        assert "\x1b" not in error["ename"] + error["evalue"]
        for line in error["traceback"]:
            assert line.count("\x1b[0m") * 2 == line.count("\x1b"), line
        shown = re.sub(r"\x1b\[[\d;]*m", "", traceback)
        number = re.compile(r"cell \d+")
        expected = number.sub("cell", "\n".join(plain.traceback))
        assert number.sub("cell", shown) == expected
    [error] = kernel.run("null.x").contents("error")
    assert error["traceback"][-2:] == [
        "\x1b[90m     1 | \x1b[0mnull.x",
        "\x1b[90m       | \x1b[0m     \x1b[31m^\x1b[0m",
    ]


def test_what_nobody_catches_is_printed_without_colors(kernel: Kernel) -> None:
    """It is text on stderr, as other logs are."""
    outcome = kernel.run(
        "setTimeout(() => { throw new Error('later') });"
        "await new Promise((resolve) => setTimeout(resolve, 20))"
    )
    assert outcome.text("stderr").startswith("Uncaught Error: later\n    at cell ")
    assert "\x1b" not in outcome.text("stderr")


def test_an_empty_cell_has_a_reply(kernel: Kernel) -> None:
    outcome = kernel.run("")
    assert outcome.reply["content"]["status"] == "ok"
    assert outcome.result is None


def test_a_cell_that_awaits_ends_with_its_promise(kernel: Kernel) -> None:
    outcome = kernel.run(
        "await new Promise(done => setTimeout(done, 30)); console.log('a'); 7"
    )
    assert outcome.result == "7"
    assert outcome.text() == "a\n"


def test_late_output_goes_to_the_cell_that_started_it(kernel: Kernel) -> None:
    first = kernel.execute("setTimeout(() => console.log('late'), 150); 0")
    kernel.outcome(first)
    second = kernel.run("'between'")
    late = [m for m in kernel.kept if m["msg_type"] == "stream"]
    late += [] if late else kernel.until(lambda m: m["msg_type"] == "stream")
    assert late[-1]["content"]["text"] == "late\n"
    assert late[-1]["parent_header"]["msg_id"] == first
    assert second.text() == ""


def test_a_silent_cell_leaves_no_trace(kernel: Kernel) -> None:
    before = kernel.run("0").reply["content"]["execution_count"]
    outcome = kernel.run("console.log('x'); 5", silent=True)
    assert kinds(outcome.messages) == ["status", "status"]
    assert outcome.reply["content"]["status"] == "ok"
    assert kernel.run("0").reply["content"]["execution_count"] == before + 1


def test_a_silent_cell_that_fails_says_so_in_the_reply(kernel: Kernel) -> None:
    outcome = kernel.run("nothing.here", silent=True)
    assert outcome.reply["content"]["ename"] == "ReferenceError"
    assert outcome.contents("error") == []


def test_a_cell_outside_history_isnt_counted(kernel: Kernel) -> None:
    before = kernel.run("0").reply["content"]["execution_count"]
    outcome = kernel.run("'shown'", store_history=False)
    assert outcome.result is not None
    assert outcome.reply["content"]["execution_count"] == before
    assert kernel.run("0").reply["content"]["execution_count"] == before + 1


def test_user_expressions_are_evaluated_after_the_cell(kernel: Kernel) -> None:
    outcome = kernel.run(
        "let counted = 20", user_expressions={"good": "counted + 1", "bad": "nope.x"}
    )
    values = outcome.reply["content"]["user_expressions"]
    assert values["good"]["data"]["text/plain"] == "21"
    assert values["bad"]["status"] == "error"
    assert values["bad"]["ename"] == "ReferenceError"


def test_cells_run_in_the_order_in_which_they_came(kernel: Kernel) -> None:
    kernel.run("globalThis.order = []")
    pause = "await new Promise(done => setTimeout(done, 20));"
    requests = [kernel.execute(f"{pause} order.push({i}); {i}") for i in range(5)]
    outcomes = [kernel.outcome(request) for request in requests]
    assert [outcome.result for outcome in outcomes] == list("01234")
    assert kernel.run("order.join()").result == "'0,1,2,3,4'"


def test_an_error_aborts_the_cells_that_wait_and_only_those(kernel: Kernel) -> None:
    target = "go => Jupyter.comms.registerTarget('fail', go)"
    failing = kernel.execute(f"await new Promise({target}); throw new Error('stop')")
    kernel.begun(failing)
    waiting = [kernel.execute("globalThis.ran = true") for _ in range(3)]
    kernel.send("comm_open", {"comm_id": "1", "target_name": "fail", "data": {}})
    assert kernel.reply(failing)["content"]["status"] == "error"
    later = kernel.execute("typeof ran")
    kernel.until_idle(failing)
    for request in waiting:
        outcome = kernel.outcome(request)
        assert outcome.reply["content"]["status"] == "aborted"
        assert kinds(outcome.messages) == ["status", "status"]
    assert kernel.outcome(later).result == "'undefined'"


def test_a_cell_on_its_way_when_another_fails_is_aborted(kernel: Kernel) -> None:
    kernel.run("globalThis.arrived = false")
    message = kernel.client.session.msg(
        "execute_request", {"code": "globalThis.arrived = true"}
    )
    failing = kernel.execute("throw new Error('stop')")
    assert kernel.outcome(failing).reply["content"]["status"] == "error"
    kernel.client.session.send(kernel.client.shell_channel.socket, message)
    outcome = kernel.outcome(message["header"]["msg_id"])
    assert outcome.reply["content"] == {"status": "aborted"}
    assert kernel.run("arrived").result == "false"


@pytest.mark.parametrize("date", ["", "yesterday", None, 5, "9999-12-31T23:59:59Z"])
def test_without_a_date_that_is_one_the_next_cell_runs(
    kernel: Kernel, date: object
) -> None:
    kernel.run("throw new Error('stop')")
    message = kernel.client.session.msg("execute_request", {"code": "'ran'"})
    message["header"]["date"] = date
    kernel.client.session.send(kernel.client.shell_channel.socket, message)
    assert kernel.outcome(message["header"]["msg_id"]).result == "'ran'"


def test_without_stop_on_error_the_next_cells_run(kernel: Kernel) -> None:
    failing = kernel.execute("throw 1", stop_on_error=False)
    following = kernel.execute("'ran'")
    assert kernel.outcome(failing).reply["content"]["status"] == "error"
    assert kernel.outcome(following).result == "'ran'"


def test_a_full_queue_refuses(
    start: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_CELLS_QUEUED_MAX", "2")
    kernel = start()
    pending = kernel.execute("await new Promise(done => { globalThis.end = done })")
    kernel.begun(pending)
    requests = [kernel.execute("1") for _ in range(3)]
    refused = kernel.outcome(requests[2])
    assert refused.reply["content"]["status"] == "error"
    assert "waiting" in refused.reply["content"]["evalue"]
    kernel.ask("interrupt_request", {}, "control")
    assert kernel.outcome(pending).reply["content"]["status"] == "error"


def test_displays_can_be_updated_and_cleared(kernel: Kernel) -> None:
    outcome = kernel.run(
        "const raw = true, id = 'one', kind = 'text/html';"
        "Jupyter.display({[kind]: '<b>1</b>'}, {raw, id});"
        "Jupyter.display({[kind]: '<b>2</b>'}, {raw, update: id});"
        "Jupyter.clearOutput(true)"
    )
    shown = outcome.contents("display_data")[0]
    assert shown["data"]["text/html"] == "<b>1</b>"
    assert shown["transient"] == {"display_id": "one"}
    updated = outcome.contents("update_display_data")[0]
    assert updated["data"]["text/html"] == "<b>2</b>"
    assert updated["transient"] == {"display_id": "one"}
    assert outcome.contents("clear_output") == [{"wait": True}]


@pytest.mark.parametrize(
    ("asked", "answer", "expected"),
    [("prompt('Name?')", "Ada", "'Ada'"), ("confirm('Sure?')", "y", "true")],
)
def test_input_is_asked_of_the_front_end_that_sent_the_cell(
    kernel: Kernel, asked: str, answer: str, expected: str
) -> None:
    request = kernel.execute(asked, allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=20)
    kernel.validator.check(question)
    assert question["parent_header"]["msg_id"] == request
    assert not question["content"]["password"]
    kernel.client.input(answer)
    assert kernel.outcome(request).result == expected


def test_a_password_is_asked_for_as_one(kernel: Kernel) -> None:
    request = kernel.execute("Jupyter.getpass('Key?').length", allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=20)
    kernel.validator.check(question)
    assert question["content"] == {"prompt": "Key? ", "password": True}
    kernel.client.input("secret")
    assert kernel.outcome(request).result == "6"


def test_a_front_end_that_cant_ask_gets_an_error(kernel: Kernel) -> None:
    outcome = kernel.run("prompt('Name?')", allow_stdin=False)
    assert outcome.reply["content"]["status"] == "error"


def test_typescript_cells_run(start: Callable[..., Kernel]) -> None:
    kernel = start("v8-typescript")
    assert (
        kernel.run("enum Color { Red = 3 }; const c: Color = Color.Red; c").result
        == "3"
    )
