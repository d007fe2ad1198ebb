"""What outlives the server: its end, in good order or by kill -9."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.client import connect
from tests.support.server import RUN_FLAGS, Server

from isoserver.heaps.content import unpack, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client

SQLITE_ONLY = pytest.mark.parametrize("database_flags", ["sqlite"], indirect=True)
ENDED = "the server ended while the execution was running"
HEAP_MAX = 64 << 20
TICKS = (
    "for (let i = 0; ; i++) { console.log(i); await new Promise(d => setTimeout(d)) }"
)


@pytest.fixture
def restart(
    servers: Callable[..., Server],
    tmp_path: Path,
    database_flags: Callable[[], tuple[str, ...]],
) -> Callable[..., Any]:
    """Starts servers on the same data."""
    flags = (*RUN_FLAGS, "--data-dir", str(tmp_path), *database_flags())
    return lambda *more: servers(*flags, *more)


def test_all_is_there_after_a_restart(restart: Callable[..., Any]) -> None:
    server = restart()
    with connect(server) as api:
        ids = [
            api.submit("console.log('é'.repeat(50000)); ({a: 1})"),
            api.submit("console.log('before'); throw new Error('boom')"),
        ]
        before = [api.ended(one) for one in ids]
        pages = [api.output(one, line_limit=5) for one in ids]
        listed = api.get("/api/executions").json()
    assert server.stop() == 0
    with connect(restart()) as api:
        assert [api.info(one) for one in ids] == before
        assert [api.output(one, line_limit=5) for one in ids] == pages
        assert api.get("/api/executions").json() == listed
        if before[0]["heap"]:
            assert api.result("1", heap=before[0]["heap"]) == "1"


def test_what_ran_when_the_server_was_killed_has_failed(
    restart: Callable[..., Any],
) -> None:
    server = restart("--executions-running-max", "1")
    with connect(server) as api:
        running = api.submit("console.log('one');\nconsole.log('two'); while (true) {}")
        api.printed(running, "two")
        waiting = api.submit("1")
        page = api.output(running)
        server.stop(signal.SIGKILL)
    with connect(restart()) as api:
        for one in (running, waiting):
            info = api.ended(one)  # with others, once the lost one's lease has ended
            assert (info["status"], info["error"]) == ("failed", ENDED)
            assert info["completed_at"] >= info["started_at"]
        after = api.output(running)
        assert after == {**page, "status": "failed"}
        assert api.cancel(running, 400)["ok"] is False
        assert api.output(waiting)["total_bytes"] == 0


@SQLITE_ONLY
def test_a_server_that_stops_lets_runs_end(restart: Callable[..., Any]) -> None:
    server = restart("--executions-running-max", "1")
    with connect(server) as api:
        code = "console.log('on'); await new Promise(d => setTimeout(d, 500)); 'done'"
        running = api.submit(code)
        api.printed(running, "on")
        waiting = api.submit("1")
        assert server.stop() == 0
    with connect(restart()) as api:
        assert api.info(running)["result"] == '"done"'
        info = api.info(waiting)
        assert (info["status"], info["error"]) == ("failed", "the server stopped")


@SQLITE_ONLY
def test_a_server_that_stops_ends_what_does_not_end(
    restart: Callable[..., Any],
) -> None:
    server = restart("--shutdown-grace-seconds", "0.3")
    with connect(server) as api:
        running = api.submit("console.log('on'); while (true) {}")
        api.printed(running, "on")
        assert server.stop() == 0
    with connect(restart()) as api:
        info = api.info(running)
        assert (info["status"], info["error"]) == ("failed", "the server stopped")
        assert api.output(running)["data"] == "on"


class Clients:
    """Clients of a server that is about to be killed, and what they were told."""

    def __init__(self, api: Client) -> None:
        self.ends: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        self.ids: list[str] = []
        self._api = api
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed),))  # noqa: S311
            for seed in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random) -> None:
        try:
            while True:
                self._turn(chance)
        except httpx.TransportError:
            pass  # it was killed

    def _turn(self, chance: random.Random) -> None:
        code = chance.choice(["console.log('x'); 1", TICKS, "throw 1"])
        session = chance.choice([None, f"s-{chance.randint(0, 9)}"])
        one = self._api.submit(code, session=session)
        self.ids.append(one)
        for _ in range(chance.randint(1, 6)):
            page = self._api.output(one, byte_offset=0, byte_limit=1 << 20)
            self.texts[one] = page["data"]
        if code == TICKS and chance.random() < 0.8:
            self._api.cancel(one)
        info = self._api.info(one)
        if info["status"] != "running":
            self.ends[one] = info


@pytest.mark.slow
@pytest.mark.race
def test_what_was_told_is_so_after_kill_9(
    restart: Callable[..., Any], tmp_path: Path, times: int
) -> None:
    told, seen = 0, set[str]()
    chance = random.Random(7)  # noqa: S311
    clients: Clients | None = None
    for _ in range(5 * times):
        server = restart()
        with connect(server) as api:
            if clients is not None:
                told += _compare(api, clients)
                _check_heaps(api, tmp_path, clients, seen)
            clients = Clients(api)
            end = time.monotonic() + 0.2 + 0.8 * chance.random()
            while time.monotonic() < end and len(clients.ids) < 100:
                api.get("/api/version")
            server.stop(signal.SIGKILL)
            clients.join()
    assert told > 10


def _check_heaps(api: Client, folder: Path, clients: Clients, seen: set[str]) -> None:
    """No file is half a heap, and whoever was told of a heap can go on from it."""
    for file in (folder / "heaps").glob("*.heap"):
        if file.stem not in seen:
            verify(file.stem, unpack(file.read_bytes(), HEAP_MAX))
            seen.add(file.stem)
    heaps = [end["heap"] for end in clients.ends.values() if end["heap"]]
    for heap in heaps:
        assert api.get(f"/api/heaps/{heap}").status_code == 200
    if heaps:
        assert api.result("6 * 7", heap=heaps[-1]) == "42"


def _compare(api: Client, clients: Clients) -> int:
    """Compare what clients were told with what there is; of how many executions."""
    for one in clients.ids:
        info = api.info(one)
        assert info["status"] != "running"
        assert info == clients.ends.get(one, info)
        page = api.output(one, byte_offset=0, byte_limit=1 << 20)
        assert page["data"].startswith(clients.texts.get(one, ""))
        if info["error"] == ENDED:
            assert info["result"] is None
    api.clean()
    return len(clients.ids)
