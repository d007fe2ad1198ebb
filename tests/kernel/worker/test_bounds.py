"""What runs in a context's process is stopped, and bounded; and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.workers import ContextEndedError, WorkerClient, await_exit, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.forkserver import ForkServer


MIB = 1 << 20


def test_large_texts_are_shared_and_nobody_can_change_them() -> None:
    code = """if True:
        import os
        from isokernel.runtime import scripts
        before = scripts.source("vendor/typescript", "typescript")
        scripts.preload()
        print(scripts.source("vendor/typescript", "typescript") == before)
        maps = [line.split() for line in open("/proc/self/maps") if "vendor/" in line]
        print({(line[1], line[5]) for line in maps if "typescript" in line[5]})
        try:
            os.pwrite(os.open(f"/proc/self/map_files/{maps[0][0]}", os.O_RDWR), b"x", 0)
        except OSError as error:
            print(type(error).__name__)
    """
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.splitlines()
    assert said[:2] == ["True", "{('r--p', '/memfd:vendor/typescript')}"]
    assert said[2] == "PermissionError"


def test_decorators_run_in_the_sandbox(spawn: Callable[..., WorkerClient]) -> None:
    """TypeScript is in memory before, and its heap is not the code's own."""
    client = spawn(v8_heap_bytes_max=32 * MIB)
    code = "class A { @((_, { name }) => () => name) m() {} accessor x }; new A().m()"
    assert client.value(code) == "'m'"


# -- stopping ----------------------------------------------------------------------


def test_a_busy_loop_is_interrupted(client: WorkerClient) -> None:
    number = client.execute("let kept = 1; for (;;);")
    client.wait(lambda frame: frame.type == "execute_input")
    client.interrupt()
    assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"
    assert client.value("kept") == "1"


def test_an_interrupt_may_come_before_its_execution(client: WorkerClient) -> None:
    client.interrupt(3)  # the requests that say so are 1 and 2
    client.interrupt(4)
    number = client.execute("globalThis.ran = true; for (;;);")
    assert number == 3
    frames = client.finish(number)
    assert frames[-2].content["ename"] == "KeyboardInterrupt"
    assert client.run("1")[-2].content["ename"] == "KeyboardInterrupt"
    assert client.value("globalThis.ran") is None


def test_an_interrupt_of_what_is_over_does_nothing(client: WorkerClient) -> None:
    number = client.execute("1")
    client.finish(number)
    client.interrupt(number)
    client.interrupt()
    assert client.value("2") == "2"


def test_a_hundred_interrupts_right_after_the_request(client: WorkerClient) -> None:
    for _ in range(100):
        number = client.execute("for (;;);", deadline=5)
        client.interrupt(number)
        assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


def test_interrupts_of_whatever_runs_once_it_runs(client: WorkerClient) -> None:
    for _ in range(10):
        number = client.execute("for (;;);", deadline=5)
        client.wait(lambda frame: frame.type == "execute_input")
        client.interrupt()
        assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


def test_a_server_that_does_not_read_can_interrupt(client: WorkerClient) -> None:
    number = client.execute("for (let i = 0;; i++) console.log('x'.repeat(1000), i)")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    frames = client.finish(number)
    assert frames[-2].content["ename"] == "KeyboardInterrupt"
    lines = re.findall(r"x (\d+)\n", texts(frames))
    assert [int(line) for line in lines] == list(range(len(lines)))


def test_both_sides_may_be_full(client: WorkerClient) -> None:
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
    spawn: Callable[..., WorkerClient],
) -> None:
    client = spawn(interrupt_grace_seconds=0.1)
    number = client.execute("for (let i = 0;; i++) console.log('x'.repeat(10000))")
    client.wait(lambda frame: frame.type == "stream")
    client.interrupt(number)
    time.sleep(0.5)  # the grace period passes; it is what the test is about
    assert client.finish(number)[-2].content["ename"] == "KeyboardInterrupt"


# -- bounds ------------------------------------------------------------------------


def test_a_full_heap_is_an_error_and_the_context_lives(
    spawn: Callable[..., WorkerClient],
) -> None:
    client = spawn(v8_heap_bytes_max=32 * MIB)
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
    spawn: Callable[..., WorkerClient], code: str, deadline: float
) -> None:
    # What stops the cell may find the heap still full, and be stopped itself.
    for heap in (16, 32, 64):
        client = spawn(v8_heap_bytes_max=heap * MIB)
        number = client.send("execute_request", {"code": code, "deadline": deadline})
        stopped = client.reply(number)
        assert stopped["ename"] in {"TimeoutError", "OutOfMemoryError", "RangeError"}
        assert client.value("1 + 1") == "2"


def test_array_buffers_have_a_bound(spawn: Callable[..., WorkerClient]) -> None:
    client = spawn(array_buffer_bytes_max=16 * MIB)
    assert "allocation failed" in client.value(f"new ArrayBuffer({32 * MIB})")
    assert client.value("1") == "1"


def test_settings_are_those_of_the_context(spawn: Callable[..., WorkerClient]) -> None:
    client = spawn(output_bytes_max=100, timers_max=1, colors=True)
    assert "\x1b[33m1\x1b[39m" in texts(client.run("console.log([1])"))
    assert len(texts(client.run("console.log('x'.repeat(5000))"))) < 500
    assert "1 timers" in client.value(
        "setTimeout(() => 0, 1e6); setTimeout(() => 0, 1)"
    )


def test_an_output_beyond_the_frames_bound_is_left_out(client: WorkerClient) -> None:
    code = (
        "Jupyter.display({ 'text/plain': 'x'.repeat(70 * 2 ** 20) }, { raw: true }); 5"
    )
    frames = client.run(code)
    assert frames[-2].content["status"] == "ok"
    assert "left out" in texts(frames, "stderr")
    assert client.value("1") == "1"


def test_memory_is_told(client: WorkerClient) -> None:
    before = client.memory()
    client.run("let held = Array.from({ length: 100000 }, (_, i) => ({ i }))")
    client.run("let buffer = new ArrayBuffer(1e6)")
    after = client.memory()
    while after["buffers"] < 1e6:  # V8 is asked after the reply has left
        after = client.memory()
    assert after["heap_used"] > before["heap_used"] + MIB
    assert after["pss"] > MIB


# -- the end -----------------------------------------------------------------------


def test_it_ends_with_its_server(fork_server: ForkServer, client: WorkerClient) -> None:
    client.run("1")
    client.control.close()
    assert await_exit(fork_server, client.pid).status == 0


def test_it_ends_with_its_server_amid_a_busy_loop(
    fork_server: ForkServer, client: WorkerClient
) -> None:
    client.execute("for (;;);")
    client.wait(lambda frame: frame.type == "execute_input")
    client.close()
    assert await_exit(fork_server, client.pid).status == 0


def test_a_heap_that_v8_gives_up_is_out_of_memory(
    fork_server: ForkServer, client: WorkerClient
) -> None:
    client.execute("'x'.repeat(2 ** 28).split('')")
    words = client.last_words()
    assert words is not None
    assert words["reason"] == "out of memory"
    exited = await_exit(fork_server, client.pid)
    assert (exited.status, exited.reason) == (72, "out of memory")


def test_what_cannot_be_stopped_is_ended(
    fork_server: ForkServer, spawn: Callable[..., WorkerClient]
) -> None:
    client = spawn(interrupt_grace_seconds=0.2)
    number = client.execute("'a'.repeat(2 ** 29 - 30).match(/(?:a|b)*?c/)")
    client.wait(lambda frame: frame.type == "execute_input")
    client.interrupt(number)
    try:
        client.finish(number)  # V8 has become able to stop it
    except ContextEndedError:
        assert (
            await_exit(fork_server, client.pid).reason
            == "JavaScript could not be stopped"
        )


def test_a_kill_is_told(fork_server: ForkServer, client: WorkerClient) -> None:
    client.run("1")
    os.kill(client.pid, 9)
    exited = await_exit(fork_server, client.pid)
    assert exited.status == -9
    assert "SIGKILL" in exited.reason
    with pytest.raises(ContextEndedError):
        client.run("1")


def test_bytes_that_are_no_frame_end_it(
    fork_server: ForkServer, client: WorkerClient
) -> None:
    client.run("1")
    client.work.sendall(b"\xff\xff\xff\xff")
    words = client.last_words()
    assert words is not None
    last_line = words["detail"].rpartition("\n")[2]
    assert re.search(r"FrameError: .*\(frames\.py, line \d+\)$", last_line)
    assert await_exit(fork_server, client.pid).status == 73
