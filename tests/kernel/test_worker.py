"""A context's process: real, confined, asked over its sockets."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.kernel.contexts import (
    Client,
    ContextEndedError,
    await_exit,
    texts,
)

from isokernel.sandbox import SandboxSettings
from isokernel.settings import ContextSettings
from isokernel.v8 import writing
from isokernel.zygote import ForkServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Session

MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(sandbox=SandboxSettings())
    server.start()
    yield server
    server.close()


@pytest.fixture
def spawn(server: ForkServer) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def start(saved: bytes | None = None, **settings: object) -> Client:
        spawned = server.spawn(ContextSettings(**settings), snapshot=saved)  # type: ignore[arg-type]
        made.append(Client(*spawned))
        return made[-1]

    yield start
    for client in made:
        client.close()


@pytest.fixture
def client(spawn: Callable[..., Client]) -> Client:
    return spawn()


# -- cells -------------------------------------------------------------------------


def test_a_cell_has_jupyters_messages(client: Client) -> None:
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


def test_a_cell_that_nobody_watches_begins_silently(client: Client) -> None:
    frames = client.run("console.log('hello'); 6 * 7", announce=False)
    assert [frame.type for frame in frames] == [
        "stream",
        "execute_result",
        "execute_reply",
        "status",
    ]


def test_nothing_is_left_of_what_the_fork_server_has_run(client: Client) -> None:
    code = "[Object.keys(In), Object.keys(Out), '_1' in globalThis, typeof _]"
    assert client.value(code) == "[ [ '1' ], [], false, 'undefined' ]"


def test_state_persists(client: Client) -> None:
    client.run("let x = 1; class A { #p = 2; get() { return this.#p } }")
    assert client.value("x + new A().get()") == "3"


def test_cells_run_in_order(client: Client) -> None:
    numbers = [
        client.execute("let list = []"),
        client.execute("await new Promise(r => setTimeout(r, 20)); list.push(1)"),
        client.execute("list.push(2)"),
        client.execute("list"),
    ]
    assert client.finish(numbers[-1])[2].content["data"]["text/plain"] == "[ 1, 2 ]"
    replies = [f.parent for f in client.frames if f.type == "execute_reply"]
    assert replies == numbers[:3]


def test_an_error_is_told(client: Client) -> None:
    frames = client.run("const a = 1;\nnope(a)")
    [error] = [frame.content for frame in frames if frame.type == "error"]
    assert error["ename"] == "ReferenceError"
    assert "cell 1:2:1" in "\n".join(error["traceback"])
    assert frames[-2].content["status"] == "error"
    assert client.value("a") == "1"


def test_a_failed_cell_aborts_the_rest_only_if_asked_to(client: Client) -> None:
    first = client.execute("throw 1", stop_on_error=True)
    second = client.execute("2", stop_on_error=True)
    client.finish(first)
    assert client.finish(second)[1].content["status"] == "aborted"
    first, second = client.execute("throw 1"), client.execute("2")
    client.finish(first)
    assert client.finish(second)[-2].content["status"] == "ok"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("enum Color { Red, Green }; Color.Green", "1"),
        ("let n: number = 5; n as any", "5"),
        ("const m = <T,>(x: T): T => x; m<number>(3)", "3"),
    ],
)
def test_typescript_runs_confined(client: Client, code: str, text: str) -> None:
    assert client.value(code, language="typescript") == text


def test_the_language_of_the_context_is_the_default(
    spawn: Callable[..., Client],
) -> None:
    assert spawn(language="typescript").value("let f = (x: 1) => x; f(1)") == "1"


def test_a_name_can_be_declared_anew_confined(client: Client) -> None:
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
            "(await WebAssembly.compile(new Uint8Array([0,97,115,109,1,0,0,0]))) + ''",
            "'[object WebAssembly.Module]'",
        ),
        ("'äöü'.localeCompare('z')", "-1"),
        ("new Intl.Segmenter('ja').resolvedOptions().locale", "'ja'"),
        ("console.table([{ a: 1 }]); 1", "1"),
    ],
)
def test_everything_works_confined(client: Client, code: str, text: str | None) -> None:
    value = client.value(code)
    if text is not None:
        assert value == text


def test_silent_cells_show_and_count_nothing(client: Client) -> None:
    frames = client.run("console.log(1); 2", silent=True)
    assert [frame.type for frame in frames] == ["status", "execute_reply", "status"]
    assert client.run("1")[1].content["execution_count"] == 1


def test_user_expressions(client: Client) -> None:
    frames = client.run("let y = 2", user_expressions={"a": "y * 2", "b": "nope"})
    found = frames[-2].content["user_expressions"]
    assert found["a"]["data"] == {"text/plain": "4"}
    assert found["b"]["ename"] == "ReferenceError"


def test_the_environment_is_lent_for_one_execution(client: Client) -> None:
    client.run("process.env.KEPT = 'own'")
    environment = {"KEPT": "lent", "NEW": "x"}
    assert client.value("process.env", env=environment) == (
        "{ KEPT: 'lent', NEW: 'x' }"
    )
    assert client.value("process.env") == "{ KEPT: 'own' }"


def test_the_result_as_json_is_in_the_reply(client: Client) -> None:
    def reply(code: str, **content: object) -> dict[str, object]:
        return client.run(code, **content)[-2].content

    assert reply("({ a: 1 })", result_json=True)["result_json"] == '{"a":1}'
    assert "result_json" not in reply("undefined", result_json=True)
    assert "result_json" not in reply("({ a: 1 })")
    cut = reply("'x'.repeat(2e7)", result_json=True)
    assert cut["result_cut"] is True


def test_levels_and_timers_of_an_execution(client: Client) -> None:
    frames = client.run(
        "setTimeout(() => console.warn('late'), 5); console.info('now')",
        levels=True,
        drain=True,
    )
    assert texts(frames) == "[INFO] now\n"
    assert texts(frames, "stderr") == "[WARN] late\n"
    assert frames[-2].type == "execute_reply"


def test_a_deadline_of_its_own(client: Client) -> None:
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
    client: Client, content: dict[str, object]
) -> None:
    number = client.send("execute_request", content)
    assert client.finish(number)[1].content["ename"] == "MessageError"
    assert client.value("1") == "1"


def test_an_unknown_request_is_refused(client: Client) -> None:
    assert client.reply(client.send("dance_request"))["ename"] == "MessageError"
    number = client.send("dance_request", control=True)
    assert client.reply(number, control=True)["ename"] == "MessageError"


# -- questions ---------------------------------------------------------------------


def test_questions_are_answered_amid_an_await(client: Client) -> None:
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


def test_comms_go_both_ways(client: Client) -> None:
    client.run(
        "Jupyter.registerCommTarget?.('echo', (comm) =>"
        " comm.onMessage((data) => comm.send(data)))"
    )
    number = client.send("comm_open", {"comm_id": "c", "target_name": "none"})
    closed = client.wait(lambda frame: frame.type == "comm_close")
    assert (closed.parent, closed.content["comm_id"]) == (number, "c")


# -- time --------------------------------------------------------------------------


def test_timers_fire_while_idle(client: Client) -> None:
    number = client.execute("setTimeout(() => console.log('later'), 30); 0")
    client.finish(number)
    late = client.wait(lambda frame: frame.type == "stream")
    assert (late.parent, late.content["text"]) == (number, "later\n")


def test_output_is_seen_while_the_cell_runs(client: Client) -> None:
    number = client.execute("console.log('early'); for (;;);")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    client.finish(number)


def test_the_clock_starts_with_the_context(client: Client) -> None:
    origin = float(client.value("performance.timeOrigin"))
    now = time.time() * 1000
    assert now - 5000 < origin <= now + 1
    assert float(client.value("performance.now()")) < 5000


# -- chance ------------------------------------------------------------------------


def test_no_two_contexts_share_their_random_numbers(
    spawn: Callable[..., Client],
) -> None:
    clients = [spawn() for _ in range(4)]
    code = "[Math.random(), Math.random()].join()"
    assert len({client.value(code) for client in clients}) == 4
    bytes_ = "crypto.getRandomValues(new Uint8Array(16)).join()"
    assert len({client.value(bytes_) for client in clients}) == 4


# -- stopping ----------------------------------------------------------------------


def test_a_busy_loop_is_interrupted(client: Client) -> None:
    number = client.execute("let kept = 1; for (;;);")
    client.wait(lambda frame: frame.type == "execute_input")
    client.interrupt()
    assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert client.value("kept") == "1"


def test_an_interrupt_may_come_before_its_execution(client: Client) -> None:
    client.interrupt(3)  # the requests that say so are 1 and 2
    client.interrupt(4)
    number = client.execute("globalThis.ran = true; for (;;);")
    assert number == 3
    frames = client.finish(number)
    assert frames[-2].content["ename"] == "KeyboardInterrupt"
    assert client.run("1")[-2].content["ename"] == "KeyboardInterrupt"
    assert client.value("globalThis.ran") is None


def test_an_interrupt_of_what_is_over_does_nothing(client: Client) -> None:
    number = client.execute("1")
    client.finish(number)
    client.interrupt(number)
    client.interrupt()
    assert client.value("2") == "2"


def test_a_hundred_interrupts_right_after_the_request(client: Client) -> None:
    for _ in range(100):
        number = client.execute("for (;;);", deadline=5)
        client.interrupt(number)
        assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


def test_interrupts_of_whatever_runs_once_it_runs(client: Client) -> None:
    for _ in range(10):
        number = client.execute("for (;;);", deadline=5)
        client.wait(lambda frame: frame.type == "execute_input")
        client.interrupt()
        assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


def test_a_server_that_does_not_read_can_interrupt(client: Client) -> None:
    number = client.execute("for (let i = 0;; i++) console.log('x'.repeat(1000), i)")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    frames = client.finish(number)
    assert frames[-2].content["ename"] == "KeyboardInterrupt"
    lines = re.findall(r"x (\d+)\n", texts(frames))
    assert [int(line) for line in lines] == list(range(len(lines)))


def test_both_sides_may_be_full(client: Client) -> None:
    """The context takes requests in while its own output waits for the server."""
    first = client.execute(
        "for (let i = 0; i < 5000; i++) console.log('x'.repeat(500))"
    )
    filler = f"/* {'y' * 100_000} */"
    numbers = [client.execute(f"{filler} {i}") for i in range(20)]
    assert len(texts(client.finish(first))) == 5000 * 501
    for i, number in enumerate(numbers):
        frames = client.finish(number)
        assert frames[-3].content["data"]["text/plain"] == f"{i}"


def test_a_reader_that_waits_is_no_reason_to_give_up(
    spawn: Callable[..., Client],
) -> None:
    client = spawn(interrupt_grace=0.1)
    number = client.execute("for (let i = 0;; i++) console.log('x'.repeat(10000))")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    time.sleep(0.5)  # the grace period passes; it is what the test is about
    assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


# -- bounds ------------------------------------------------------------------------


def test_a_full_heap_is_an_error_and_the_context_lives(
    spawn: Callable[..., Client],
) -> None:
    client = spawn(heap_memory_max=32 * MIB)
    client.run("let kept = 1")
    code = "let all = []; for (;;) all.push(new Array(1000).fill({}))"
    assert client.value(code).startswith("OutOfMemoryError: the heap")
    assert client.value("all = 0; kept") == "1"


@pytest.mark.parametrize("deadline", [0.02, 0.05, 0.1])
@pytest.mark.parametrize(
    "code",
    [
        "let s = 'x'; while (true) { s += s; s.charCodeAt(0) }",
        "const c = []; for (let i = 0;; i++) c.push(String(i).repeat(99))",
    ],
)
def test_a_deadline_amid_a_full_heap_leaves_the_context_idle(
    spawn: Callable[..., Client], code: str, deadline: float
) -> None:
    # What stops the cell may find the heap still full, and be stopped itself.
    for heap in (16, 32, 64):
        client = spawn(heap_memory_max=heap * MIB)
        number = client.send("execute_request", {"code": code, "deadline": deadline})
        stopped = client.reply(number)
        assert stopped["ename"] in {"TimeoutError", "OutOfMemoryError", "RangeError"}
        assert client.value("1 + 1") == "2"


def test_array_buffers_have_a_bound(spawn: Callable[..., Client]) -> None:
    client = spawn(array_buffer_max=16 * MIB)
    assert "allocation failed" in client.value(f"new ArrayBuffer({32 * MIB})")
    assert client.value("1") == "1"


def test_settings_are_those_of_the_context(spawn: Callable[..., Client]) -> None:
    client = spawn(output_max=100, timers_max=1, colors=True)
    assert "\x1b[33m1\x1b[39m" in texts(client.run("console.log([1])"))
    assert len(texts(client.run("console.log('x'.repeat(5000))"))) < 500
    assert "1 timers" in client.value(
        "setTimeout(() => 0, 1e6); setTimeout(() => 0, 1)"
    )


def test_an_output_beyond_the_frames_bound_is_left_out(client: Client) -> None:
    code = (
        "Jupyter.display({ 'text/plain': 'x'.repeat(70 * 2 ** 20) }, { raw: true }); 5"
    )
    frames = client.run(code)
    assert frames[-2].content["status"] == "ok"
    assert "left out" in texts(frames, "stderr")
    assert client.value("1") == "1"


def test_memory_is_told(client: Client) -> None:
    before = client.memory()
    client.run("let held = Array.from({ length: 100000 }, (_, i) => ({ i }))")
    client.run("let buffer = new ArrayBuffer(1e6)")
    after = client.memory()
    assert after["heap_used"] > before["heap_used"] + MIB
    assert after["buffers"] >= 1e6
    assert after["pss"] > MIB


# -- the end -----------------------------------------------------------------------


def test_it_ends_with_its_server(server: ForkServer, client: Client) -> None:
    client.run("1")
    client.control.close()
    assert await_exit(server, client.pid).status == 0


def test_it_ends_with_its_server_amid_a_busy_loop(
    server: ForkServer, client: Client
) -> None:
    client.execute("for (;;);")
    client.wait(lambda frame: frame.type == "execute_input")
    client.close()
    assert await_exit(server, client.pid).status == 0


def test_a_heap_that_v8_gives_up_is_out_of_memory(
    server: ForkServer, client: Client
) -> None:
    client.execute("new Array(1e9).fill(0)")
    words = client.last_words()
    assert words is not None
    assert words["reason"] == "out of memory"
    exited = await_exit(server, client.pid)
    assert (exited.status, exited.reason) == (72, "out of memory")


def test_what_cannot_be_stopped_is_ended(
    server: ForkServer, spawn: Callable[..., Client]
) -> None:
    client = spawn(interrupt_grace=0.2)
    number = client.execute("'a'.repeat(2 ** 29 - 30).match(/(?:a|b)*?c/)")
    client.wait(lambda frame: frame.type == "execute_input")
    client.interrupt(number)
    try:
        client.finish(number)  # V8 has become able to stop it
    except ContextEndedError:
        assert (
            await_exit(server, client.pid).reason == "JavaScript could not be stopped"
        )


def test_a_kill_is_told(server: ForkServer, client: Client) -> None:
    client.run("1")
    os.kill(client.pid, 9)
    exited = await_exit(server, client.pid)
    assert exited.status == -9
    assert "SIGKILL" in exited.reason
    with pytest.raises(ContextEndedError):
        client.run("1")


def test_bytes_that_are_no_frame_end_it(server: ForkServer, client: Client) -> None:
    client.run("1")
    client.work.sendall(b"\xff\xff\xff\xff")
    words = client.last_words()
    assert words is not None
    assert "FrameError" in words["detail"]
    assert await_exit(server, client.pid).status == 73


# -- heaps and clones ----------------------------------------------------------------


def test_it_goes_on_from_a_snapshot(
    spawn: Callable[..., Client], context: Session
) -> None:
    context.run("let saved = { list: [1, 2] }; const f = () => saved.list.length")
    heap = writing.save(context.context.bridge.isolate).to_bytes()
    first, second = spawn(heap), spawn(heap)
    assert first.value("saved.list.push(3); f()") == "3"
    assert second.value("f()") == "2"
    assert first.value("Math.random()") != second.value("Math.random()")


def test_a_heap_that_is_none_is_said(
    server: ForkServer, spawn: Callable[..., Client]
) -> None:
    client = spawn(b"nothing of the kind")
    words = client.last_words()
    assert words is not None
    assert "SnapshotFormatError" in words["detail"]
    assert await_exit(server, client.pid).status == 73


@pytest.fixture
def clone(server: ForkServer) -> Iterator[Callable[[Client], Client]]:
    made: list[Client] = []

    def fork(client: Client) -> Client:
        made.append(client.clone())
        server.adopt(made[-1].pid)
        return made[-1]

    yield fork
    for client in made:
        client.close()
        await_exit(server, client.pid)


def test_a_clone_has_the_state_and_goes_its_own_way(
    client: Client, clone: Callable[[Client], Client]
) -> None:
    client.run("let n = 1; const bump = () => ++n; let p = Promise.resolve(7)")
    other = clone(client)
    assert client.value("bump()") == "2"
    assert other.value("bump(); bump()") == "3"
    assert client.value("n") == "2"
    assert other.value("await p") == "7"
    frames = other.run("1")
    assert frames[1].content["execution_count"] == 4
    assert client.value("Math.random()") != other.value("Math.random()")


def test_a_clone_can_be_cloned(
    client: Client, clone: Callable[[Client], Client]
) -> None:
    client.run("let depth = 0")
    current = client
    for depth in range(1, 6):
        current = clone(current)
        assert current.value("++depth") == f"{depth}"
    assert client.value("depth") == "0"


def test_a_clone_outlives_its_original_and_stops_alone(
    server: ForkServer, client: Client, clone: Callable[[Client], Client]
) -> None:
    client.run("let m = 5")
    other = clone(client)
    client.close()
    await_exit(server, client.pid)
    number = other.execute("for (;;);")
    other.interrupt(number)
    assert other.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert other.value("m") == "5"
    assert "heap_used" in other.memory()


def test_timers_go_on_in_both(
    client: Client, clone: Callable[[Client], Client]
) -> None:
    number = client.execute("setTimeout(() => console.log('fired'), 200); 0")
    client.finish(number)
    other = clone(client)
    for each in (client, other):
        late = each.wait(lambda frame: frame.type == "stream")
        assert (late.parent, late.content["text"]) == (number, "fired\n")


def test_a_fork_request_without_sockets_is_refused(client: Client) -> None:
    assert client.reply(client.send("fork_request"))["ename"] == "MessageError"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = client.send("fork_request", descriptors=[theirs.fileno()])
        assert client.reply(number)["ename"] == "MessageError"
        # Nobody has kept it: the other end is the last one.
        theirs.close()
        ours.settimeout(20)
        assert ours.recv(1) == b""
    assert client.value("1") == "1"
