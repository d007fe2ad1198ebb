"""Requests that aren't cells, also while a cell awaits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.kernels import Kernel


@pytest.fixture
def awaiting(kernel: Kernel) -> Iterator[Kernel]:
    """A kernel in which a cell awaits."""
    request = kernel.execute("await new Promise(done => { globalThis.end = done })")
    kernel.begun(request)
    yield kernel
    kernel.ask("interrupt_request", {}, "control")
    kernel.outcome(request)


def test_kernel_info_names_language_and_protocol(kernel: Kernel) -> None:
    for channel in ("shell", "control"):
        content = kernel.ask("kernel_info_request", {}, channel)
        assert content["protocol_version"] == "5.4"
        assert content["implementation"] == "isokernel"
        assert content["language_info"]["name"] == "javascript"
        assert content["language_info"]["file_extension"] == ".js"


def test_completion_knows_members_and_types(kernel: Kernel) -> None:
    content = kernel.ask("complete_request", {"code": "Math.sqr", "cursor_pos": 8})
    assert content["matches"] == ["sqrt"]
    assert (content["cursor_start"], content["cursor_end"]) == (5, 8)
    types = content["metadata"]["_jupyter_types_experimental"]
    assert types == [{"start": 5, "end": 8, "text": "sqrt", "type": "function"}]


@pytest.mark.parametrize("cursor", [-5, 999, None])
def test_a_cursor_outside_is_taken_as_the_nearest_end(
    kernel: Kernel, cursor: int | None
) -> None:
    content = {"code": "Math.sqr", "cursor_pos": cursor}
    assert kernel.ask("complete_request", content)["status"] == "ok"


def test_inspection_finds_and_doesnt_find(kernel: Kernel) -> None:
    kernel.run("function twice(x) { return 2 * x }")
    found = kernel.ask("inspect_request", {"code": "twice", "cursor_pos": 5})
    assert found["found"]
    assert "twice" in found["data"]["text/plain"]
    absent = kernel.ask("inspect_request", {"code": "thrice", "cursor_pos": 5})
    assert absent["found"] is False
    assert absent["data"] == {}


def test_a_question_mark_asks_about_a_name(kernel: Kernel) -> None:
    """`name?` fills the pager, `name??` with the source; nothing else happens."""
    kernel.run("function twice(x) { return 2 * x }")
    (page,) = kernel.run("twice?").reply["content"]["payload"]
    assert page["source"] == "page"
    assert "twice" in page["data"]["text/plain"]
    (page,) = kernel.run(" twice?? ").reply["content"]["payload"]
    assert "return 2 * x" in page["data"]["text/plain"]
    absent = kernel.run("thrice?")
    assert absent.reply["content"]["payload"] == []
    assert absent.text() == "thrice is not known.\n"


def test_exit_asks_the_front_to_end(kernel: Kernel) -> None:
    """Unless the user has something of that name."""
    for code in ("exit", "quit()", " exit; "):
        (end,) = kernel.run(code).reply["content"]["payload"]
        assert end == {"source": "ask_exit", "keepkernel": False}
    kernel.run("let exit = 5")
    outcome = kernel.run("exit")
    assert outcome.reply["content"]["payload"] == []
    assert outcome.result == "5"


@pytest.mark.parametrize(
    ("code", "status"),
    [("1 + 1", "complete"), ("function f() {", "incomplete"), ("let = ;", "invalid")],
)
def test_a_console_learns_whether_to_go_on(
    kernel: Kernel, code: str, status: str
) -> None:
    assert kernel.ask("is_complete_request", {"code": code})["status"] == status


def test_everything_but_cells_is_served_while_a_cell_awaits(awaiting: Kernel) -> None:
    code = {"code": "Math.", "cursor_pos": 5}
    assert "sqrt" in awaiting.ask("complete_request", code)["matches"]
    assert awaiting.ask("inspect_request", {"code": "Math", "cursor_pos": 4})["found"]
    complete = awaiting.ask("is_complete_request", {"code": "1"})
    assert complete["status"] == "complete"
    assert awaiting.ask("kernel_info_request", {})["status"] == "ok"
    history = awaiting.ask("history_request", {"hist_access_type": "tail", "n": 1})
    assert history["status"] == "ok"
    assert awaiting.ask("comm_info_request", {})["status"] == "ok"


def test_the_cell_is_still_busy_after_other_requests(awaiting: Kernel) -> None:
    request = awaiting.send("is_complete_request", {"code": "1"})
    awaiting.until_idle(request)
    status = awaiting.heard()
    assert status["content"] == {"execution_state": "busy"}
    assert status["parent_header"]["msg_type"] == "execute_request"
    awaiting.reply(request)


def test_connect_gives_the_ports(kernel: Kernel) -> None:
    content = kernel.ask("connect_request", {})
    assert content["shell_port"] == kernel.manager.shell_port
    assert content["hb_port"] == kernel.manager.hb_port


def test_history_is_kept_over_restarts(
    start: Callable[..., Kernel], tmp_path: Path
) -> None:
    file = str(tmp_path / "data" / "history.sqlite")
    first = start(history=file)
    first.run("let first = 1; first")
    first.ask("shutdown_request", {"restart": False}, "control")
    first.manager.finish_shutdown()
    second = start(history=file)
    second.run("'second'")
    content = second.ask(
        "history_request", {"hist_access_type": "tail", "n": 9, "output": True}
    )
    assert content["history"] == [
        [1, 1, ["let first = 1; first", "1"]],
        [2, 1, ["'second'", "'second'"]],
    ]


def test_what_isnt_stored_isnt_in_the_history(kernel: Kernel) -> None:
    kernel.run("'stored'")
    kernel.run("'silent'", silent=True)
    kernel.run("'unstored'", store_history=False)
    content = kernel.ask("history_request", {"hist_access_type": "tail", "n": 1})
    assert content["history"][0][2] == "'stored'"


def test_a_comm_of_an_unknown_target_is_closed(kernel: Kernel) -> None:
    content = {"comm_id": "c0", "target_name": "nobody", "data": {}}
    request = kernel.send("comm_open", content)
    messages = kernel.until_idle(request)
    assert [m["content"] for m in messages if m["msg_type"] == "comm_close"] == [
        {"comm_id": "c0", "data": {}}
    ]


def test_comms_carry_data_and_buffers_both_ways(kernel: Kernel) -> None:
    kernel.run(
        "Jupyter.comms.registerTarget('echo', comm => {"
        "  comm.onMsg = msg => comm.send({got: msg.data}, {buffers: msg.buffers});"
        "})"
    )
    opening = {"comm_id": "c1", "target_name": "echo", "data": {}}
    kernel.until_idle(kernel.send("comm_open", opening))
    known = kernel.ask("comm_info_request", {"target_name": "echo"})
    assert known["comms"] == {"c1": {"target_name": "echo"}}
    said = {"comm_id": "c1", "data": {"x": 1}}
    request = kernel.send("comm_msg", said, buffers=[b"\x00\x01"])
    messages = kernel.until_idle(request) + kernel.kept
    answers = [m for m in messages if m["msg_type"] == "comm_msg"]
    assert answers[0]["content"]["data"] == {"got": {"x": 1}}
    assert [bytes(buffer) for buffer in answers[0]["buffers"]] == [b"\x00\x01"]
    kernel.until_idle(kernel.send("comm_close", {"comm_id": "c1", "data": {}}))
    assert "c1" not in kernel.ask("comm_info_request", {})["comms"]


def test_a_comm_can_end_what_a_cell_awaits(kernel: Kernel) -> None:
    kernel.run(
        "globalThis.answered = new Promise(done => Jupyter.comms.registerTarget("
        "'answer', () => done(42)))"
    )
    request = kernel.execute("await answered")
    kernel.begun(request)
    opening = {"comm_id": "c2", "target_name": "answer", "data": {}}
    kernel.send("comm_open", opening)
    assert kernel.outcome(request).result == "42"
