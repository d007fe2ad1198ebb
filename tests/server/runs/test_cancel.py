"""Cancelling, waiting for one's turn, and the bounds of the queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.support.client import connect
from tests.support.server import RUN_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client

FOREVER = "while (true) {}"


@pytest.mark.parametrize(
    "code", [FOREVER, "await new Promise(() => {})", "while (true) console.log('x')"]
)
def test_a_run_can_be_cancelled(api: Client, code: str) -> None:
    execution_id = api.submit(f"console.log('first');\n{code}")
    api.printed(execution_id, "first")
    assert api.cancel(execution_id) == {"ok": True}
    info = api.info(execution_id)
    assert (info["status"], info["error"]) == ("cancelled", "Cancelled by user")
    assert (info["result"], info["heap"]) == (None, None)
    assert info["completed_at"] is not None
    assert api.output(execution_id, line_limit=1)["data"] == "first"


def test_an_end_stays(api: Client) -> None:
    cancelled = api.submit(FOREVER)
    api.cancel(cancelled)
    ends = {
        "cancelled": cancelled,
        "completed": api.done("1")["execution_id"],
        "failed": api.done("throw 1")["execution_id"],
    }
    for status, execution_id in ends.items():
        before = api.info(execution_id)
        answer = api.cancel(execution_id, 400)
        text = f"Execution '{execution_id}' is not running (status: {status})"
        assert answer == {"ok": False, "error": text}
        assert api.info(execution_id) == before
    answer = api.cancel("nobody", 400)
    assert answer == {"ok": False, "error": "Execution 'nobody' not found"}


def test_a_cancelled_session_keeps_its_state(api: Client) -> None:
    api.result("let kept = 1", session="s")
    execution_id = api.submit(
        "kept = 2; console.log('here'); while (true) {}", session="s"
    )
    api.printed(execution_id, "here")
    api.cancel(execution_id)
    assert api.result("kept", session="s") == "2"


def test_what_waits_for_its_session_never_runs_when_cancelled(api: Client) -> None:
    code = "globalThis.ran = []; console.log('begun'); while (true) {}"
    first = api.submit(code, session="s")
    api.printed(first, "begun")
    waiting = [api.submit(f"ran.push({n})", session="s") for n in range(4)]
    assert [api.info(one)["status"] for one in waiting] == ["running"] * 4
    for one in (waiting[2], waiting[0]):
        assert api.cancel(one) == {"ok": True}
        assert api.info(one)["status"] == "cancelled"
    api.cancel(first)
    assert api.ended(waiting[1])["result"] == "1"
    assert api.ended(waiting[3])["result"] == "2"
    assert api.result("ran.join()", session="s") == '"1,3"'


def test_what_an_uninterruptible_run_does_ends_with_its_process(api: Client) -> None:
    # V8 looks for interrupts in no part of this.
    code = "console.log('go'); /(a+)+$/.test('a'.repeat(60) + 'b')"
    execution_id = api.submit(code)
    api.printed(execution_id, "go")
    assert api.cancel(execution_id) == {"ok": True}
    assert api.info(execution_id)["status"] == "cancelled"


def test_the_queue_has_its_bounds(servers: Callable[..., Server]) -> None:
    flags = ("--executions-running-max", "1", "--executions-queued-max", "2")
    server = servers(*RUN_FLAGS, *flags, "--execution-queue-timeout-seconds", "600")
    with connect(server) as api:
        running = api.submit("console.log('on'); while (true) {}")
        api.printed(running, "on")
        waiting = [api.submit("'never'"), api.submit("'in turn'")]
        answer = api.post("/api/exec", json={"code": "1"})
        assert answer.status_code == 429
        assert answer.headers["Retry-After"]
        assert answer.json() == {
            "error": "the limit of 2 executions is reached (executions_queued_max)"
        }
        assert api.info(waiting[0])["status"] == "running"
        api.cancel(waiting[0])
        third = api.submit("3")
        api.cancel(running)
        assert api.ended(waiting[1])["result"] == '"in turn"'
        assert api.ended(third)["result"] == "3"
        assert api.info(waiting[0])["status"] == "cancelled"
        assert api.output(waiting[0])["total_bytes"] == 0
        wait_for(server.is_at_rest)


def test_waiting_has_a_limit_of_its_own(servers: Callable[..., Server]) -> None:
    flags = (
        "--executions-running-max",
        "1",
        "--execution-queue-timeout-seconds",
        "0.5",
    )
    with connect(servers(*RUN_FLAGS, *flags, "--stateless")) as api:
        code = "await new Promise(done => setTimeout(done, 1200)); 'ran'"
        running = api.submit(code, execution_timeout_secs=10)
        info = api.ended(api.submit("1"))
        assert info["status"] == "failed"
        assert "waited for longer than 0.5 s" in info["error"]
        # It began in time, so that the limit isn't its business.
        assert api.ended(running)["result"] == '"ran"'


def test_others_may_keep_a_session_busy_for_too_long(
    servers: Callable[..., Server],
) -> None:
    with connect(
        servers(*RUN_FLAGS, "--execution-queue-timeout-seconds", "0.5")
    ) as api:
        context_id = api.create()
        begin = time.monotonic()
        stream = {"code": FOREVER, "context_id": context_id, "timeout_ms": 5000}
        with api.stream("POST", "/execute/async?on_disconnect=interrupt", json=stream):
            api.wait_state(context_id, "busy")
            info = api.done("1", session=context_id)
        assert info["status"] == "failed"
        assert "waited for longer" in info["error"]
        assert time.monotonic() - begin < 5


def test_the_time_limit_does_not_count_waiting(servers: Callable[..., Server]) -> None:
    with connect(
        servers(*RUN_FLAGS, "--executions-running-max", "1", "--stateless")
    ) as api:
        code = "await new Promise(done => setTimeout(done, 700)); 1"
        ids = [api.submit(code, execution_timeout_secs=1) for _ in range(3)]
        infos = [api.ended(one) for one in ids]
        assert [one["status"] for one in infos] == ["completed"] * 3
