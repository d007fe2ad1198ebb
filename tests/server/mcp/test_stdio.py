"""`isokernel mcp`: the process itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.agents import StdioPeer
from tests.support.server import START
from tests.support.starts import run_isokernel, start_isokernel
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def peer() -> Iterator[StdioPeer]:
    with start_isokernel("mcp") as process:
        peer = StdioPeer(process)
        peer.begin()
        yield peer
        process.kill()


def _ended(peer: StdioPeer, children: list[psutil.Process]) -> str:
    """Wait for the end of all processes; what was logged."""
    assert peer.process.wait(DEADLINE) == 0
    wait_for(lambda: not any(child.is_running() for child in children))
    assert peer.process.stderr is not None
    logged = peer.process.stderr.read()
    assert "Traceback" not in logged
    assert "destroyed" not in logged  # tasks of asyncio
    return logged


@pytest.mark.parametrize("code", ["1", "for (;;);"], ids=["idle", "busy"])
def test_it_ends_when_stdin_does(peer: StdioPeer, code: str) -> None:
    assert not peer.run(code)["isError"]
    children = peer.children()
    assert children
    peer.stdin.close()
    _ended(peer, children)


def test_it_ends_quietly_amid_what_was_cancelled(peer: StdioPeer) -> None:
    """Processes of contexts are killed, calls cancelled, and the client goes."""
    calls = [
        peer.send("tools/call", name="execute", arguments={"code": code})
        for code in ("for (;;);", "await new Promise(() => {})")
    ]
    assert not peer.run("for (;;);")["isError"]
    children = peer.children()
    for child in peer.children()[1:]:
        with suppress(psutil.NoSuchProcess):  # some end with the one before
            child.kill()
    for number in calls:
        peer.notify("notifications/cancelled", requestId=number)
    peer.stdin.close()
    _ended(peer, children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(peer: StdioPeer, number: int) -> None:
    assert not peer.run("1")["isError"]
    children = peer.children()
    peer.process.send_signal(number)
    _ended(peer, children)


def test_nothing_but_messages_is_on_stdout() -> None:
    """Also as users start it, with all that it imports."""
    with subprocess.Popen(
        [sys.executable, "-c", START, "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        peer = StdioPeer(process)
        peer.begin()
        peer.stdin.write("this is no JSON\n")
        peer.send("nope")
        assert "tools" in peer.ask("tools/list")
        assert not peer.run("1")["isError"]
        peer.stdin.close()
        assert process.wait(DEADLINE) == 0


def test_wrong_flags_are_said() -> None:
    done = run_isokernel("mcp", "--port", "x")
    assert done.returncode == 2
    assert "port" in done.stderr
    assert not done.stdout
