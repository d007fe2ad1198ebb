"""Contexts that sleep on a server without room for them wake on one that has some."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes
    from tests.support.client import Client

pytestmark = pytest.mark.timeout(180)  # four servers start

OWNER = "X-Isokernel-Owner"
FLAGS = ("--contexts-max", "1", "--hibernate-after-seconds", "0.2")
FOREVER = "console.log('begun'); await new Promise(() => {})"


def _keep_busy(client: Client, context_id: str, stack: ExitStack) -> None:
    """Have something run in a context until the stack ends."""
    place = "/execute/async?on_disconnect=interrupt"
    asked = {"code": FOREVER, "context_id": context_id}
    answer = stack.enter_context(client.stream("POST", place, json=asked))
    lines = answer.iter_lines()
    stack.enter_context(nullcontext(lines))  # who drops them drops the connection
    next(line for line in lines if "begun" in line)


def _wait_known(client: Client, number: int) -> None:
    """Wait until a server knows of so many."""
    count = f"isokernel_cluster_servers {number:.1f}\n"
    wait_for(lambda: count in client.get("/metrics").text)


def test_contexts_wake_where_there_is_room(nodes: Nodes) -> None:
    _, one = nodes.start(*FLAGS)
    sleeper = one.create()
    one.run("let n = 0", context_id=sleeper)
    one.wait_state(sleeper, "hibernated")
    busy = one.create()
    with ExitStack() as stack:
        _keep_busy(one, busy, stack)
        second, two = nodes.start(*FLAGS)
        _wait_known(one, 2)
        # What doesn't wake it leaves it where it is.
        for method, what in (("GET", ""), ("POST", "/interrupt"), ("POST", "/move")):
            answer = one.request(method, f"/contexts/{sleeper}{what}")
            assert answer.status_code == 200, answer.text
            there = second.url if what == "/move" else nodes.servers[0].url
            assert answer.headers[OWNER] == there
        back = two.post(f"/contexts/{sleeper}/move")
        assert back.headers[OWNER] == nodes.servers[0].url
        woken = one.post("/execute", json={"code": "n += 1", "context_id": sleeper})
        assert woken.json()["items"][0]["text"] == "1", woken.text
        assert woken.headers[OWNER] == second.url

        # Nobody has it, once its server has ended, and the first one has no room.
        third, three = nodes.start(*FLAGS)
        for client in (one, two):
            _wait_known(client, 3)
        assert second.stop() == 0
        _wait_known(one, 2)
        woken = one.post("/execute", json={"code": "n += 1", "context_id": sleeper})
        assert woken.json()["items"][0]["text"] == "2", woken.text
        assert woken.headers[OWNER] == third.url

        # There is no room anywhere.
        three.wait_state(sleeper, "hibernated")
        other = three.create()
        with ExitStack() as more:
            _keep_busy(three, other, more)
            for client in (one, three):
                asked = {"code": "n", "context_id": sleeper}
                refused = client.post("/execute", json=asked)
                assert refused.headers["X-Error-Code"] == "context_limit", refused.text
        three.delete(f"/contexts/{other}")

        # A front switches to what nobody has; then a session goes on where it can.
        assert third.stop() == 0
        _wait_known(one, 1)
        kernel = one.get(f"/jupyter/api/kernels/{busy}").json()["id"]
        switched = one.patch(
            f"/jupyter/api/sessions/{kernel}", json={"kernel": {"id": sleeper}}
        )
        assert switched.json()["kernel"]["context_id"] == sleeper, switched.text
        fourth, _ = nodes.start(*FLAGS)
        _wait_known(one, 2)
        assert one.result("n += 1", session=sleeper) == "3"
        assert one.get(f"/contexts/{sleeper}").headers[OWNER] == fourth.url
