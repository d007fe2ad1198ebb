"""The end of a server: cells get their grace period, and no process is left."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.support.client import CLIENT, connect
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server


class Cell:
    """A cell that runs while the server is stopped."""

    def __init__(self, client: Client, code: str, language: str) -> None:
        self.context_id = client.create(language)
        body = {"code": code, "context_id": self.context_id}
        self.answer: Any = None

        def run() -> None:
            self.answer = client.post("/execute", json=body)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        client.wait_state(self.context_id, "busy")

    def join(self) -> Any:
        self._thread.join()
        assert self.answer.status_code == 200
        return self.answer.json()


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_running_cells_end_before_the_server(
    servers: Callable[..., Server], language: str
) -> None:
    server = servers()
    code = {
        "javascript": "await new Promise(d => setTimeout(d, 700)); 'done'",
        "python": "import time\ntime.sleep(0.7)\n'done'",
    }[language]
    with connect(server) as client:
        cell = Cell(client, code, language)
        processes = server.children()
        assert server.stop() == 0
        assert cell.join()["items"][0]["text"] == "'done'"
    assert processes
    _all_gone(processes)


def test_cells_that_do_not_end_are_interrupted(servers: Callable[..., Server]) -> None:
    server = servers(
        "--shutdown-grace-seconds", "0.3", "--interrupt-grace-seconds", "0.5"
    )
    with connect(server) as client:
        cells = [
            Cell(client, "while (true) {}", "javascript"),
            Cell(client, "while True: pass", "python"),
        ]
        processes = server.children()
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 10
        names = {cell.join()["error"]["name"] for cell in cells}
    assert names <= {"KeyboardInterrupt", "ContextDeletedError"}
    _all_gone(processes)


def test_a_second_signal_ends_the_grace_period(servers: Callable[..., Server]) -> None:
    server = servers(
        "--shutdown-grace-seconds", "600", "--interrupt-grace-seconds", "0.5"
    )
    with connect(server) as client:
        cell = Cell(client, "while (true) {}", "javascript")
        server.process.send_signal(signal.SIGTERM)
        # It has stopped listening when a new connection is refused.
        _until_refused(server)
        assert server.stop(signal.SIGINT) == 0
        assert cell.join()["error"] is not None


def _until_refused(server: Server) -> None:
    def refused() -> bool:
        try:
            CLIENT.get(f"{server.url}/healthz")
        except httpx.ConnectError:
            return True
        return False

    wait_for(refused)


def _all_gone(processes: set[int]) -> None:
    gone = {pid for pid in processes if not psutil.pid_exists(pid)}
    assert gone == processes


def test_a_killed_server_leaves_no_process(servers: Callable[..., Server]) -> None:
    server = servers()
    with connect(server) as client:
        client.create()
        client.create("python")
        processes = server.children()
    assert processes
    server.stop(signal.SIGKILL)
    wait_for(lambda: not any(_lives(pid) for pid in processes))


def _lives(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody waits for doesn't."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
