"""Interrupt, shutdown, signals, and the deaths of the kernel and of its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import zmq

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.kernels import Kernel

BUSY = "while (true) {}"
AWAITING = "await new Promise(() => {})"


def process(kernel: Kernel) -> subprocess.Popen[bytes]:
    provisioner: Any = kernel.manager.provisioner
    found: subprocess.Popen[bytes] = provisioner.process
    return found


@pytest.mark.parametrize("code", [BUSY, AWAITING], ids=["busy", "awaiting"])
@pytest.mark.parametrize("how", ["message", "signal"])
def test_an_interrupt_stops_the_cell_and_keeps_state(
    kernel: Kernel, code: str, how: str
) -> None:
    kernel.run("globalThis.kept = 'state'")
    request = kernel.execute(code)
    kernel.begun(request)
    if how == "message":
        assert kernel.ask("interrupt_request", {}, "control") == {"status": "ok"}
    else:
        process(kernel).send_signal(signal.SIGINT)
    reply = kernel.reply(request)["content"]
    assert reply["status"] == "error"
    assert reply["ename"] == "KeyboardInterrupt"
    assert kernel.run("kept").result == "'state'"


def test_an_interrupt_of_nothing_does_nothing(kernel: Kernel) -> None:
    kernel.ask("interrupt_request", {}, "control")
    assert kernel.run("'fine'").result == "'fine'"


def test_an_interrupt_ends_a_question(kernel: Kernel) -> None:
    request = kernel.execute("prompt('?')", allow_stdin=True)
    kernel.validator.check(kernel.client.get_stdin_msg(timeout=20))
    kernel.ask("interrupt_request", {}, "control")
    assert kernel.outcome(request).reply["content"]["status"] == "error"
    assert kernel.run("'fine'").result == "'fine'"


def test_an_answer_to_an_earlier_question_answers_nothing(kernel: Kernel) -> None:
    asked = []
    for prompt in ("prompt('first?')", "prompt('second?')"):
        request = kernel.execute(prompt, allow_stdin=True)
        asked.append(kernel.client.get_stdin_msg(timeout=20))
        kernel.validator.check(asked[-1])
        if len(asked) == 1:
            kernel.ask("interrupt_request", {}, "control")
            kernel.outcome(request)
    for question, value in zip(asked, ("too late", "in time"), strict=True):
        session, socket = kernel.client.session, kernel.client.stdin_channel.socket
        session.send(socket, "input_reply", {"value": value}, parent=question)
    assert kernel.outcome(request).result == "'in time'"


def test_control_and_heartbeat_answer_during_a_busy_loop(kernel: Kernel) -> None:
    request = kernel.execute(BUSY)
    kernel.begun(request)
    info = kernel.ask("kernel_info_request", {}, "control")
    assert info["implementation"] == "isokernel"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.REQ) as heartbeat:
        heartbeat.linger = 0
        heartbeat.connect(f"tcp://127.0.0.1:{kernel.manager.hb_port}")
        heartbeat.send(b"ping")
        assert heartbeat.poll(5000)
        assert heartbeat.recv() == b"ping"
    kernel.ask("interrupt_request", {}, "control")
    assert kernel.outcome(request).reply["content"]["status"] == "error"


def test_an_interrupt_aborts_the_cells_that_wait(kernel: Kernel) -> None:
    running = kernel.execute(BUSY)
    kernel.begun(running)
    waiting = kernel.execute("1")
    # Long enough for ZMQ to carry it over: shell can't answer while the loop runs.
    kernel.ask("kernel_info_request", {}, "control")
    kernel.ask("interrupt_request", {}, "control")
    assert kernel.outcome(running).reply["content"]["status"] == "error"
    assert kernel.outcome(waiting).reply["content"]["status"] == "aborted"


@pytest.mark.parametrize("code", ["1", BUSY, AWAITING], ids=["idle", "busy", "await"])
@pytest.mark.parametrize("restart", [False, True])
def test_shutdown_is_answered_and_quick(
    start: Callable[..., Kernel], code: str, *, restart: bool
) -> None:
    kernel = start()
    kernel.begun(kernel.execute(code))
    request = kernel.send("shutdown_request", {"restart": restart}, "control")
    reply = kernel.reply(request, "control")
    assert reply["content"] == {"status": "ok", "restart": restart}
    assert process(kernel).wait(10) == 0
    broadcast = kernel.until(lambda m: m["msg_type"] == "shutdown_reply")
    assert broadcast[-1]["parent_header"]["msg_id"] == request


def test_sigterm_ends_the_kernel_cleanly(start: Callable[..., Kernel]) -> None:
    kernel = start()
    kernel.begun(kernel.execute(BUSY))
    process(kernel).send_signal(signal.SIGTERM)
    assert process(kernel).wait(10) == 0


def test_a_restarted_kernel_has_forgotten(start: Callable[..., Kernel]) -> None:
    kernel = start()
    kernel.run("globalThis.x = 1")
    kernel.kept.clear()
    kernel.manager.restart_kernel(now=True)
    kernel.until(lambda m: m["msg_type"] == "iopub_welcome")
    outcome = kernel.run("typeof x")
    assert outcome.result == "'undefined'"
    assert outcome.reply["content"]["execution_count"] == 1


def test_a_kernel_leaves_no_process_and_no_file(
    start: Callable[..., Kernel], tmp_path: Path
) -> None:
    kernel = start()
    kernel.run("1")
    children = psutil.Process(process(kernel).pid).children(recursive=True)
    assert children == []
    connection_file = Path(kernel.manager.connection_file)
    kernel.manager.shutdown_kernel()
    kernel.manager.cleanup_resources()
    assert not connection_file.exists()
    assert list(tmp_path.iterdir()) == []


PARENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="v8-javascript")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=30)
print(manager.provisioner.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_kernel_dies_with_its_parent(tmp_path: Path) -> None:
    environment = {**os.environ, "ISOKERNEL_HISTORY": "off"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
    )
    with parent:
        assert parent.stdout is not None
        kernel = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        psutil.wait_procs([kernel], timeout=10)
        assert not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE


def test_v8s_fatal_errors_are_told_before_the_end(start: Callable[..., Kernel]) -> None:
    kernel = start()
    request = kernel.execute("'x'.repeat(2 ** 28).split('')")
    outcome = kernel.outcome(request)
    assert outcome.reply["content"]["ename"] == "EngineFatalError"
    assert "state is lost" in outcome.text("stderr")
    assert process(kernel).wait(10) == 71


@pytest.mark.slow
def test_what_cant_be_stopped_is_killed_and_said_so(
    start: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_INTERRUPT_GRACE_SECONDS", "0.5")
    kernel = start()
    kernel.run(
        "const numbers = new Float64Array(2 ** 25);"
        "for (let i = 0; i < numbers.length; i++) numbers[i] = Math.random()"
    )
    # One call of C++ that never looks whether it should stop, some seconds long.
    # What is written to another stream has the first line leave at once.
    code = "console.log('on'); console.error('and on'); numbers.sort(); 0"
    request = kernel.execute(code)
    waiting = kernel.execute("1")
    kernel.printed(request)
    kernel.ask("interrupt_request", {}, "control")
    outcome = kernel.outcome(request)
    assert outcome.reply["content"]["ename"] == "KernelKilledError"
    assert "state is lost" in outcome.text("stderr")
    assert process(kernel).wait(10) == 70
    assert waiting not in kernel.replies
