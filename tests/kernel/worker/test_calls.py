"""Calls that go from a context's process to the server, and its answers."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.capabilities import heap_with_calls
from tests.support.workers import ContextEndedError, WorkerClient, texts

from isokernel.protocol.frames import Frame, encode

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = "callNow('a.b', {a: 1}, Uint8Array.of(1, 2)).value"


@pytest.fixture
def caller(spawn: Callable[..., WorkerClient]) -> WorkerClient:
    """A client of a context whose code can make calls."""
    return spawn(heap_with_calls())


def asked(client: WorkerClient, number: int) -> Frame:
    """The call of an execution."""
    frame = client.wait(lambda f: f.type == "capability_call" and f.parent == number)
    client.frames.remove(frame)
    return frame


def answer(client: WorkerClient, call: Frame, value: Any, data: bytes = b"") -> None:
    content = {
        "call_id": call.content["call_id"],
        "answer": "value",
        "content": json.dumps(value),
    }
    buffers = [data] if data else []
    client.work.sendall(encode("capability_result", content, id=0, buffers=buffers))


def result(client: WorkerClient, number: int) -> Any:
    for frame in client.finish(number):
        if frame.type == "execute_result":
            return frame.content["data"]["text/plain"]
        if frame.type == "error":
            return frame.content["ename"]
    return None


@pytest.mark.parametrize(
    "code", [WAIT, f"(await {WAIT.replace('Now', '')[:-6]}).value"]
)
def test_a_call_is_a_frame(caller: WorkerClient, code: str) -> None:
    number = caller.execute(code)
    call = asked(caller, number)
    assert call.content["name"] == "a.b"
    assert call.content["arguments"] == '{"a":1}'
    assert call.buffers == [b"\1\2"]
    answer(caller, call, "fine")
    assert result(caller, number) == "'fine'"


def test_all_else_waits_while_javascript_does(caller: WorkerClient) -> None:
    first = caller.execute("call('c.d').then(r => console.log(r.value)); 0")
    other = asked(caller, first)
    number = caller.execute(WAIT)
    call = asked(caller, number)
    question = caller.send("names_request")
    second = caller.execute("1 + 1")
    answer(caller, other, "other")
    answer(caller, call, "fine")
    assert result(caller, number) == "'fine'"
    assert result(caller, second) == "2"
    assert caller.reply(question)["status"] == "ok"
    late = caller.wait(lambda frame: frame.type == "stream" and frame.parent == first)
    assert late.content["text"] == "other\n"


def test_an_interrupt_ends_the_wait(caller: WorkerClient) -> None:
    number = caller.execute(WAIT)
    call = asked(caller, number)
    caller.interrupt(number)
    cancelled = caller.wait(lambda frame: frame.type == "capability_cancel")
    assert cancelled.content == {"call_id": call.content["call_id"]}
    assert result(caller, number) == "KeyboardInterrupt"
    answer(caller, call, "late")
    assert caller.value("6 * 7") == "42"


def test_an_interrupt_that_came_before_ends_no_later_wait(
    caller: WorkerClient,
) -> None:
    busy = caller.execute("console.log('begun'); for (;;);")
    number = caller.execute(WAIT)
    caller.wait(lambda frame: frame.type == "stream" and frame.parent == busy)
    caller.interrupt(busy)
    assert result(caller, busy) == "KeyboardInterrupt"
    answer(caller, asked(caller, number), "fine")
    assert result(caller, number) == "'fine'"


def test_the_deadline_ends_the_wait(caller: WorkerClient) -> None:
    number = caller.execute(WAIT, deadline=0.3)
    asked(caller, number)
    assert result(caller, number) == "TimeoutError"


def test_the_servers_end_ends_the_process(caller: WorkerClient) -> None:
    asked(caller, caller.execute(WAIT))
    caller.work.close()
    with pytest.raises(ContextEndedError):
        caller.wait(lambda _frame: False, control=True)


def test_what_was_printed_comes_while_javascript_waits(caller: WorkerClient) -> None:
    number = caller.execute(f"console.log('loading'); {WAIT}")
    call = asked(caller, number)
    caller.wait(lambda frame: frame.type == "stream")
    answer(caller, call, 1)
    assert texts(caller.finish(number)) == "loading\n"


def test_memory_is_told_while_javascript_waits(caller: WorkerClient) -> None:
    number = caller.execute(WAIT)
    call = asked(caller, number)
    assert caller.memory()["heap_used"] > 0
    answer(caller, call, 1)
    assert result(caller, number) == "1"


def test_sixteen_megabytes_go_both_ways(caller: WorkerClient) -> None:
    size = (16 << 20) - 2
    number = caller.execute(
        f"r = callNow('a.b', {{}}, new Uint8Array({size})); r.data.byteLength"
    )
    call = asked(caller, number)
    assert len(call.buffers[0]) == size
    answer(caller, call, None, call.buffers[0])
    assert result(caller, number) == str(size)


@pytest.mark.parametrize(
    ("content", "buffers"),
    [
        ({}, []),
        ({"call_id": "1", "answer": "value", "content": "1"}, []),
        ({"call_id": 1, "answer": "other", "content": "1"}, []),
        ({"call_id": 1, "answer": "value"}, []),
        ({"call_id": 1, "answer": "value", "content": "1"}, [b"1", b"2"]),
    ],
)
def test_an_answer_that_is_none_is_refused(
    caller: WorkerClient, content: dict[str, Any], buffers: list[bytes]
) -> None:
    caller.work.sendall(encode("capability_result", content, id=90, buffers=buffers))
    assert caller.reply(90)["ename"] == "MessageError"
    assert caller.value("6 * 7") == "42"


def test_a_clone_has_calls_of_its_own(caller: WorkerClient) -> None:
    number = caller.execute("p = call('c.d'); p.catch(() => 0); 0")
    asked(caller, number)
    clone = caller.clone()
    try:
        code = "try { await p } catch (e) { e.code }"
        assert clone.value(code) == "'call_lost'"
        number = clone.execute(WAIT)
        answer(clone, asked(clone, number), "mine")
        assert result(clone, number) == "'mine'"
        assert caller.value("p").startswith("Promise { <pending>")
    finally:
        clone.close()


def test_a_process_that_waits_can_be_killed(caller: WorkerClient) -> None:
    asked(caller, caller.execute(WAIT))
    os.kill(caller.pid, signal.SIGKILL)
    with pytest.raises(ContextEndedError):
        caller.wait(lambda _frame: False)
