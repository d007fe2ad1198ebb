"""A server is drained or stopped amid its work: requests go on, there or elsewhere."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.server.cluster.conftest import LONG_LEASE_SECONDS
from tests.support.agents import BOTH, INITIALIZE
from tests.support.server import V8_FLAGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes
    from tests.support.client import Client
    from tests.support.postgresql import PostgreSQL

OWNER = "X-Isokernel-Owner"
SILENCE_SECONDS = 25.0
"""The grace period, the silence of a database, and what a busy machine takes."""
LONG = "await new Promise((done) => setTimeout(done, 60_000))"


@pytest.fixture(autouse=True)
def _nobody_is_lost(nodes: Nodes) -> None:
    nodes.lease_seconds = LONG_LEASE_SECONDS


def drain(client: Client) -> None:
    """Drain the very server of a client."""
    (own,) = [s for s in client.get("/cluster/servers").json()["items"] if s["here"]]
    asked = client.post(f"/cluster/servers/{own['id']}/drain")
    assert asked.status_code == 202, asked.text
    wait_for(lambda: "isokernel_serving 0" in client.get("/metrics").text)


def test_contexts_go_on_before_their_server_has_ended(nodes: Nodes) -> None:
    first, one = nodes.start("--shutdown-grace-seconds", "60")
    second, other = nodes.start()
    idle = one.create()
    one.run("let n = 41", context_id=idle)
    busy = one.submit(LONG)  # without a session, it stays where it came in
    first.process.send_signal(signal.SIGTERM)

    def goes_on() -> bool:
        asked = {"code": "n + 1", "context_id": idle}
        answer = other.post("/execute", json=asked)
        if answer.status_code == 200:
            assert answer.json()["items"][0]["text"] == "42"
            return answer.headers[OWNER] == second.url  # else it was asked too soon
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "1"
        return False

    wait_for(goes_on)
    # Who still has a connection to it loses nothing.
    made = one.post("/contexts", json={"language": "javascript"})
    assert made.status_code == 201, made.text
    assert made.headers[OWNER] == second.url
    assert made.headers["Connection"] == "close"
    assert one.text("n + 2", context_id=idle) == "43"
    asked = one.get("/healthz")
    assert (asked.status_code, asked.headers["Connection"]) == (503, "close")
    assert other.info(busy)["status"] == "running"
    other.cancel(busy)
    assert first.stop() == 0


def test_a_drained_server_begins_nothing_new(nodes: Nodes) -> None:
    first, one = nodes.start(*V8_FLAGS)
    second, _ = nodes.start(*V8_FLAGS)
    drain(one)
    assert one.get("/healthz").status_code == 503
    run = one.submit("1 + 1")
    assert one.ended(run)["result"] == "2"
    task = one.post("/tasks", json={"code": "return 1"})
    assert task.status_code == 202, task.text
    opened = one.post(
        "/mcp",
        json=INITIALIZE,
        headers={"Accept": BOTH},
    )
    assert opened.status_code == 200, opened.text
    assert {task.headers[OWNER], opened.headers[OWNER]} == {second.url}
    (listed, _) = one.get("/cluster/servers").json()["items"]
    assert (listed["url"], listed["runs"]) == (first.url, 0)
    assert one.get("/tasks").headers.get(OWNER) is None


def test_servers_of_which_all_are_drained_still_serve(nodes: Nodes) -> None:
    _, one = nodes.start()
    drain(one)
    assert one.get("/healthz").status_code == 200
    assert one.result("1 + 1", session="s") == "2"
    assert one.text("2 + 2", context_id=one.create()) == "4"


def test_who_waits_for_another_server_s_answer_is_told_that_none_came(
    nodes: Nodes,
) -> None:
    first, one = nodes.start("--shutdown-grace-seconds", "1")
    _, other = nodes.start("--shutdown-grace-seconds", "1")
    there = other.create()
    body = {"code": "for (;;) {}", "context_id": there}
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(one.post, "/execute", json=body)
        other.wait_state(there, "busy")
        assert first.stop() == 0
        answer = asked.result()
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (502, "peer_lost")


@pytest.mark.slow
@pytest.mark.parametrize("lease_seconds", [1, LONG_LEASE_SECONDS])
def test_a_server_ends_whose_database_is_silent(
    nodes: Nodes, postgresql: PostgreSQL, lease_seconds: int
) -> None:
    nodes.lease_seconds = lease_seconds
    server, one = nodes.start("--shutdown-grace-seconds", "1")
    body = {"language": "javascript", "durability": "execution"}
    here = one.post("/contexts", json=body).json()["id"]
    one.result("let n = 1", session="s")
    with ThreadPoolExecutor() as pool, postgresql.paused():
        # Amid a checkpoint, which a statement belongs to.
        asked = pool.submit(_status, one, {"code": "1", "context_id": here})
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < SILENCE_SECONDS
        assert asked.result() != 200


def _status(client: Client, body: dict[str, str]) -> int:
    """Of an answer; 0 if there is none, as the connection was closed."""
    with suppress(httpx.TransportError):
        answer = client.post("/execute", json=body)
        return (
            500
            if answer.status_code == 200 and answer.json()["error"]
            else (answer.status_code)
        )
    return 0
