"""The client of a cluster: straight to owners, and on from checkpoints."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.client import Cluster

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
OWNER = "X-Isokernel-Owner"
PASSED = re.compile(
    r'^isokernel_passed_requests_total{outcome="\w+"} (\S+)$', re.MULTILINE
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _passed(nodes: Nodes) -> int:
    """How many requests the servers have passed on."""
    texts = [client.get("/metrics").text for client in nodes.clients]
    return sum(int(float(value)) for text in texts for value in PASSED.findall(text))


async def test_requests_go_straight_to_the_owner(nodes: Nodes) -> None:
    servers = [nodes.start()[0] for _ in range(2)]
    async with (
        Cluster([one.url for one in servers]) as cluster,
        cluster.context(language="javascript") as c,
    ):
        await c.run("let n = 0")
        # Who doesn't know the owner begins where this client has fewer: elsewhere.
        other = [cluster.connect(c.id) for _ in range(4)]
        for one in other:
            await one.run("n++")
        before = _passed(nodes)
        assert before >= len(other)
        for _ in range(5):
            for one in (c, *other):
                await one.run("n++")
        assert _passed(nodes) == before
        assert (await c.run("n")).value == 29


async def test_a_context_that_has_moved_is_asked_for_where_it_is(nodes: Nodes) -> None:
    servers = [nodes.start()[0] for _ in range(2)]
    async with (
        Cluster([one.url for one in servers]) as cluster,
        cluster.context(language="javascript") as c,
    ):
        for number in range(3):
            assert (await c.run("globalThis.n = (globalThis.n ?? 0) + 1")).value == (
                2 * number + 1
            )
            moved = nodes.clients[0].post(f"/contexts/{c.id}/move")
            assert moved.status_code == 200, moved.text
            await c.run("n++")  # by the server that had it
            before = _passed(nodes)
            assert (await c.run("n")).value == 2 * number + 2
            assert _passed(nodes) == before


async def test_what_was_saved_goes_on_when_its_server_is_lost(nodes: Nodes) -> None:
    servers = [nodes.start()[0] for _ in range(2)]
    async with Cluster([one.url for one in servers]) as cluster:
        async with cluster.context(language="javascript", keep=True) as c:
            await c.run("let n = 41")
            await c.save()
        found = nodes.clients[0].get(f"/contexts/{c.id}")
        [owner] = (one for one in servers if one.url == found.headers[OWNER])
        owner.stop(signal.SIGKILL)
        again = cluster.connect(c.id)
        assert (await again.run("n + 1")).value == 42
        await again.delete()
        assert (await cluster.run("6 * 7", language="javascript")).value == 42


async def test_nothing_that_was_answered_is_lost_with_a_server(nodes: Nodes) -> None:
    """If a context is made to be saved with each execution."""
    servers = [nodes.start()[0] for _ in range(2)]
    async with Cluster([one.url for one in servers]) as cluster:
        options: dict[str, Any] = {"language": "javascript"}
        options["durability"] = "execution"
        async with cluster.context(**options) as c:
            for number in range(3):
                await c.run(f"globalThis.n = {number}")
            found = nodes.clients[0].get(f"/contexts/{c.id}")
            [owner] = (one for one in servers if one.url == found.headers[OWNER])
            owner.stop(signal.SIGKILL)
            assert (await c.run("n")).value == 2
        saved = await cluster.run("6 * 7", **options)
        assert saved.value == 42
