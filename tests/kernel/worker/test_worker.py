"""A context's process: real, confined, asked over its sockets."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.workers import WorkerClient, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.protocol.frames import Frame


# -- cells -------------------------------------------------------------------------


def test_a_cell_has_jupyters_messages(client: WorkerClient) -> None:
    frames = client.run("console.log('hello'); 6 * 7")
    assert [frame.type for frame in frames] == [
        "status",
        "execute_input",
        "stream",
        "execute_result",
        "execute_reply",
        "status",
    ]
    assert frames[1].content == {
        "code": "console.log('hello'); 6 * 7",
        "execution_count": 1,
    }
    assert frames[2].content == {"name": "stdout", "text": "hello\n"}
    assert frames[3].content["data"] == {"text/plain": "42"}
    assert frames[4].content["status"] == "ok"
    assert frames[4].content["execution_count"] == 1


@pytest.mark.parametrize("code", ["console.log('hello'); 6 * 7", "oh no"])
def test_of_a_cell_that_is_not_announced_the_reply_is_the_end(
    client: WorkerClient, code: str
) -> None:
    number = client.execute(code, announce=False)
    assert client.reply(number)["idle"] is True
    client.run("1")
    mine = [frame.type for frame in client.frames if frame.parent == number]
    works = ["stream", "execute_result", "execute_reply"]
    assert mine == (["error", "execute_reply"] if code == "oh no" else works)


def test_nothing_is_left_of_what_the_fork_server_has_run(client: WorkerClient) -> None:
    code = "[Object.keys(In), Object.keys(Out), '_1' in globalThis, typeof _]"
    assert client.value(code) == "[ [ '1' ], [], false, 'undefined' ]"


def test_state_persists(client: WorkerClient) -> None:
    client.run("let x = 1; class A { #p = 2; get() { return this.#p } }")
    assert client.value("x + new A().get()") == "3"


def test_cells_run_in_order(client: WorkerClient) -> None:
    numbers = [
        client.execute("let list = []"),
        client.execute("await new Promise(r => setTimeout(r, 20)); list.push(1)"),
        client.execute("list.push(2)"),
        client.execute("list"),
    ]
    assert client.finish(numbers[-1])[2].content["data"]["text/plain"] == "[ 1, 2 ]"
    replies = [f.parent for f in client.frames if f.type == "execute_reply"]
    assert replies == numbers[:3]


def test_an_error_is_told(client: WorkerClient) -> None:
    frames = client.run("const a = 1;\nnope(a)")
    [error] = [frame.content for frame in frames if frame.type == "error"]
    assert error["ename"] == "ReferenceError"
    assert "cell 1:2:1" in "\n".join(error["traceback"])
    assert frames[-2].content["status"] == "error"
    assert client.value("a") == "1"


def test_a_failed_cell_aborts_the_rest_only_if_asked_to(client: WorkerClient) -> None:
    def fail_before(content: dict[str, Any]) -> list[Frame]:
        first = client.execute("console.log('begun'); for (;;);", **content)
        client.wait(lambda frame: frame.parent == first and frame.type == "stream")
        second = client.execute("2", **content)
        client.interrupt(first)
        assert client.finish(first)[-2].content["ename"] == "KeyboardInterrupt"
        return client.finish(second)

    aborted = fail_before({"stop_on_error": True})
    assert aborted[1].content["status"] == "aborted"
    assert fail_before({})[-2].content["status"] == "ok"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("enum Color { Red, Green }; Color.Green", "1"),
        ("let n: number = 5; n as any", "5"),
        ("const m = <T,>(x: T): T => x; m<number>(3)", "3"),
    ],
)
def test_typescript_runs_confined(client: WorkerClient, code: str, text: str) -> None:
    assert client.value(code, language="typescript") == text


def test_the_language_of_the_context_is_the_default(
    spawn: Callable[..., WorkerClient],
) -> None:
    assert spawn(language="typescript").value("let f = (x: 1) => x; f(1)") == "1"


def test_a_name_can_be_declared_anew_confined(client: WorkerClient) -> None:
    client.run("let again = 1")
    assert client.value("const again = 2; again") == "2"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("new URL('https://user@example.org/a?b#c').host", "'example.org'"),
        ("new TextDecoder('shift_jis').decode(new Uint8Array([0x82, 0xa0]))", "'あ'"),
        ("(await new Response?.('x'))", None),
        ("crypto.getRandomValues(new Uint8Array(4)).length", "4"),
        ("crypto.randomUUID().length", "36"),
        ("structuredClone({ a: [1n] })", "{ a: [ 1n ] }"),
        ("new Intl.NumberFormat('de').format(1234.5)", "'1.234,5'"),
        ("new Date(0).toISOString()", "'1970-01-01T00:00:00.000Z'"),
        ("typeof new Date(0).toString()", "'string'"),
        ("new ReadableStream({ start(c) { c.close() } }).locked", "false"),
        ("(await new Blob(['ab']).text())", "'ab'"),
        (
            "new Headers(), new FormData(), (await new Blob(await Array.fromAsync(new "
            "Blob(['ab']).stream().pipeThrough(new CompressionStream('brotli'))"
            ".pipeThrough(new DecompressionStream('brotli')))).text())",
            "'ab'",
        ),
        (
            "(await WebAssembly.compile(new Uint8Array([0,97,115,109,1,0,0,0]))) + ''",
            "'[object WebAssembly.Module]'",
        ),
        ("'äöü'.localeCompare('z')", "-1"),
        ("new Intl.Segmenter('ja').resolvedOptions().locale", "'ja'"),
        ("console.table([{ a: 1 }]); 1", "1"),
    ],
)
def test_everything_works_confined(
    client: WorkerClient, code: str, text: str | None
) -> None:
    value = client.value(code)
    if text is not None:
        assert value == text


def test_silent_cells_show_and_count_nothing(client: WorkerClient) -> None:
    frames = client.run("console.log(1); 2", silent=True)
    assert [frame.type for frame in frames] == ["status", "execute_reply", "status"]
    assert client.run("1")[1].content["execution_count"] == 1


def test_user_expressions(client: WorkerClient) -> None:
    frames = client.run("let y = 2", user_expressions={"a": "y * 2", "b": "nope"})
    found = frames[-2].content["user_expressions"]
    assert found["a"]["data"] == {"text/plain": "4"}
    assert found["b"]["ename"] == "ReferenceError"


def test_the_environment_is_lent_for_one_execution(client: WorkerClient) -> None:
    client.run("process.env.KEPT = 'own'")
    environment = {"KEPT": "lent", "NEW": "x"}
    assert client.value("process.env", env=environment) == (
        "{ KEPT: 'lent', NEW: 'x' }"
    )
    assert client.value("process.env") == "{ KEPT: 'own' }"


def test_the_result_as_json_is_in_the_reply(client: WorkerClient) -> None:
    def reply(code: str, **content: object) -> dict[str, object]:
        return client.run(code, **content)[-2].content

    assert reply("({ a: 1 })", result_json=True)["result_json"] == '{"a":1}'
    assert "result_json" not in reply("undefined", result_json=True)
    assert "result_json" not in reply("({ a: 1 })")
    cut = reply("'x'.repeat(2e7)", result_json=True)
    assert cut["result_cut"] is True


def test_levels_and_timers_of_an_execution(client: WorkerClient) -> None:
    frames = client.run(
        "setTimeout(() => console.warn('late'), 5); console.info('now')",
        levels=True,
        drain=True,
    )
    assert texts(frames) == "[INFO] now\n"
    assert texts(frames, "stderr") == "[WARN] late\n"
    assert frames[-2].type == "execute_reply"


def test_a_deadline_of_its_own(client: WorkerClient) -> None:
    assert "longer than 0.1 s" in client.value("for (;;);", deadline=0.1)
    assert "longer than 0.1 s" in client.value(
        "await new Promise(() => {})", deadline=0.1
    )
    assert client.value("1") == "1"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"code": 1},
        {"code": "1", "language": "cobol"},
        {"code": "1", "deadline": "soon"},
        {"code": "1", "env": []},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    client: WorkerClient, content: dict[str, object]
) -> None:
    number = client.send("execute_request", content)
    assert client.finish(number)[1].content["ename"] == "MessageError"
    assert client.value("1") == "1"


def test_an_unknown_request_is_refused(client: WorkerClient) -> None:
    assert client.reply(client.send("dance_request"))["ename"] == "MessageError"
    number = client.send("dance_request", control=True)
    assert client.reply(number, control=True)["ename"] == "MessageError"


# -- questions ---------------------------------------------------------------------


def test_questions_are_answered_amid_an_await(client: WorkerClient) -> None:
    waiting = client.execute("let found = 1; await new Promise(() => {})")
    number = client.send("complete_request", {"code": "foun", "cursor_pos": 4})
    assert client.reply(number)["matches"] == ["found"]
    number = client.send("inspect_request", {"code": "Math.max", "cursor_pos": 8})
    assert client.reply(number)["found"] is True
    number = client.send("is_complete_request", {"code": "if (1) {"})
    assert client.reply(number) == {"status": "incomplete", "indent": "  "}
    number = client.send("comm_info_request")
    assert client.reply(number) == {"status": "ok", "comms": {}}
    client.interrupt(waiting)
    assert client.finish(waiting)[-2].content["ename"] == "KeyboardInterrupt"


def test_comms_go_both_ways(client: WorkerClient) -> None:
    client.run(
        "Jupyter.registerCommTarget?.('echo', (comm) =>"
        " comm.onMessage((data) => comm.send(data)))"
    )
    number = client.send("comm_open", {"comm_id": "c", "target_name": "none"})
    closed = client.wait(lambda frame: frame.type == "comm_close")
    assert (closed.parent, closed.content["comm_id"]) == (number, "c")


# -- time --------------------------------------------------------------------------


def test_timers_fire_while_idle(client: WorkerClient) -> None:
    number = client.execute("setTimeout(() => console.log('later'), 300); 0")
    client.finish(number)
    late = client.wait(lambda frame: frame.type == "stream")
    assert (late.parent, late.content["text"]) == (number, "later\n")


def test_output_is_seen_while_the_cell_runs(client: WorkerClient) -> None:
    number = client.execute("console.log('early'); for (;;);")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    client.finish(number)


def test_the_clock_starts_with_the_context(client: WorkerClient) -> None:
    origin = float(client.value("performance.timeOrigin"))
    now = time.time() * 1000
    assert now - 5000 < origin <= now + 1
    assert float(client.value("performance.now()")) < 5000


# -- chance ------------------------------------------------------------------------


def test_no_two_contexts_share_their_random_numbers(
    spawn: Callable[..., WorkerClient],
) -> None:
    clients = [spawn() for _ in range(4)]
    code = "[Math.random(), Math.random()].join()"
    assert len({client.value(code) for client in clients}) == 4
    bytes_ = "crypto.getRandomValues(new Uint8Array(16)).join()"
    assert len({client.value(bytes_) for client in clients}) == 4


TICKING = """
import socket
from isokernel.forkserver.contexts import ContextTemplate
from isokernel.forkserver.process import load
from isokernel.settings import ContextSettings
from isokernel.worker.loop import Sockets, Worker

base = load(ContextTemplate).base
set_up = base.after_fork

def set_up_slowly(*values, **options):
    options["on_tick"]()
    set_up(*values, **options)

base.after_fork = set_up_slowly
pairs = [socket.socketpair() for _ in range(2)]
Worker(base, ContextSettings(), Sockets(*(p[1] for p in pairs)), origin="blank")
print("made", flush=True)
"""


def test_a_tick_amid_its_start_is_one_as_any() -> None:
    """To set a context up is JavaScript, too, and takes longer on a busy machine."""
    ran = subprocess.run(
        [sys.executable, "-c", TICKING], capture_output=True, check=False
    )
    assert ran.stdout == b"made\n", ran.stderr.decode()
