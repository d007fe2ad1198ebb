"""`isokernel mcp`: the process itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.server.conftest import DEADLINE, START, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

COMMAND = [sys.executable, "-c", START, "mcp"]


class Peer:
    """A client that speaks line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.number = 0

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def send(self, method: str, **parameters: Any) -> int:
        self.number += 1
        message = {
            "jsonrpc": "2.0",
            "id": self.number,
            "method": method,
            "params": parameters,
        }
        self.stdin.write(f"{json.dumps(message)}\n")
        self.stdin.flush()
        return self.number

    def ask(self, method: str, **parameters: Any) -> Any:
        number = self.send(method, **parameters)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == number:
                return message["result"]
        return pytest.fail("it ended")

    def begin(self) -> None:
        self.ask(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        )

    def run(self, code: str) -> Any:
        arguments = {"code": code}
        return self.ask("tools/call", name="run_js", arguments=arguments)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        peer = Peer(process)
        peer.begin()
        yield peer
        process.kill()


def _ended(peer: Peer, children: list[psutil.Process]) -> str:
    """Wait for the end of all processes; what was logged."""
    assert peer.process.wait(DEADLINE) == 0
    wait_for(lambda: not any(child.is_running() for child in children))
    assert peer.process.stderr is not None
    logged = peer.process.stderr.read()
    assert "Traceback" not in logged
    return logged


@pytest.mark.parametrize("code", ["1", "for (;;);"], ids=["idle", "busy"])
def test_it_ends_when_stdin_does(peer: Peer, code: str) -> None:
    assert not peer.run(code)["isError"]
    children = peer.children()
    assert children
    peer.stdin.close()
    _ended(peer, children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(peer: Peer, number: int) -> None:
    assert not peer.run("1")["isError"]
    children = peer.children()
    peer.process.send_signal(number)
    _ended(peer, children)


def test_nothing_but_messages_is_on_stdout(peer: Peer) -> None:
    peer.stdin.write("this is no JSON\n")
    peer.send("nope")
    assert "tools" in peer.ask("tools/list")


def test_wrong_flags_are_said() -> None:
    done = subprocess.run(
        [*COMMAND, "--port", "x"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert "port" in done.stderr
    assert not done.stdout
