"""`isokernel mcp`: the process itself."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.agents import STDIO_COMMAND, StdioPeer
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil


@pytest.fixture
def peer() -> Iterator[StdioPeer]:
    with subprocess.Popen(
        STDIO_COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
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
    return logged


@pytest.mark.parametrize("code", ["1", "for (;;);"], ids=["idle", "busy"])
def test_it_ends_when_stdin_does(peer: StdioPeer, code: str) -> None:
    assert not peer.run(code)["isError"]
    children = peer.children()
    assert children
    peer.stdin.close()
    _ended(peer, children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(peer: StdioPeer, number: int) -> None:
    assert not peer.run("1")["isError"]
    children = peer.children()
    peer.process.send_signal(number)
    _ended(peer, children)


def test_nothing_but_messages_is_on_stdout(peer: StdioPeer) -> None:
    peer.stdin.write("this is no JSON\n")
    peer.send("nope")
    assert "tools" in peer.ask("tools/list")


def test_wrong_flags_are_said() -> None:
    done = subprocess.run(
        [*STDIO_COMMAND, "--port", "x"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert "port" in done.stderr
    assert not done.stdout
