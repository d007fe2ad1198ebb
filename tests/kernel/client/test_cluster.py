"""Programs spread over servers; a server that is lost costs no result.

These servers know nothing of each other. What they do together is tested with the
server (`tests/server/cluster`).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.support.client import connect
from tests.support.server import V8_FLAGS, Server

from isokernel.client import (
    ClientError,
    ClientSettingsError,
    Cluster,
    Execution,
    LimitReachedError,
    NetworkError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio


def _values(found: list[Execution | ClientError]) -> list[object]:
    return [one.value if isinstance(one, Execution) else one for one in found]


def _begun(server: Server) -> int:
    """How many contexts a server has made."""
    with connect(server) as client:
        text = client.get("/metrics").text
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("isokernel_start_seconds_count")
    ]
    return int(sum(found))


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Server]]:
    """Two servers that stay."""
    made = [Server(*V8_FLAGS), Server(*V8_FLAGS)]
    yield made
    for one in made:
        assert one.stop() == 0
        assert not one.wrong()


async def test_contexts_are_spread(pair: list[Server]) -> None:
    before = [_begun(one) for one in pair]
    async with Cluster([one.url for one in pair]) as cluster:
        async with cluster.context() as a, cluster.context() as b:
            await a.run("let n: number = 1")
            await b.run("let n: number = 2")
            assert ((await a.run("n")).value, (await b.run("n")).value) == (1, 2)
            async with await a.fork() as c:
                assert (await c.run("n")).value == 1
            async with cluster.connect(a.id) as again:
                assert again.id == a.id
        assert sorted(await cluster.servers()) == sorted(one.url for one in pair)
    assert [_begun(one) for one in pair] == [there + 1 for there in before]


async def test_many_programs_in_their_order(pair: list[Server]) -> None:
    before = [_begun(one) for one in pair]
    told: dict[int, object] = {}
    taken = 0

    def programs() -> Iterator[str]:
        nonlocal taken
        for n in range(24):
            taken += 1
            yield "throw new Error('no')" if n == 5 else f"globalThis.n ??= {n}"

    async with Cluster([one.url for one in pair], contexts_max=4) as cluster:

        def tell(index: int, execution: Execution) -> None:
            assert taken <= len(told) + 4
            told[index] = execution.value

        found = await cluster.run_all(programs(), on_execution=tell, timeout=20)
        assert _values(found) == [None if n == 5 else n for n in range(24)]
        assert _values(found) == [told[n] for n in range(24)]
        failed = found[5]
        assert isinstance(failed, Execution)
        assert failed.error is not None
        assert failed.error.message == "no"
        assert await cluster.client.contexts.list() == []
    begun = [_begun(one) - there for one, there in zip(pair, before, strict=True)]
    assert sum(begun) == 24
    assert min(begun) >= 6


async def test_so_many_at_a_time(server: Server) -> None:
    running = most = 0

    async def one(cluster: Cluster) -> None:
        nonlocal running, most
        async with cluster.context() as c:
            running += 1
            most = max(most, running)
            await c.run("1")
            running -= 1

    async with (
        Cluster(server.url, contexts_max=2) as cluster,
        anyio.create_task_group() as group,
    ):
        for _ in range(8):
            group.start_soon(one, cluster)
    assert most == 2


async def test_a_server_that_is_lost_costs_no_result(
    servers: Callable[..., Server],
) -> None:
    lost, stays = servers(*V8_FLAGS), servers(*V8_FLAGS)
    done = 0

    def count(_index: int, _execution: Execution) -> None:
        nonlocal done
        done += 1
        if done == 8:
            lost.stop(signal.SIGKILL)

    code = "await new Promise((d) => setTimeout(d, 20)); {}"
    async with Cluster([lost.url, stays.url], contexts_max=6) as cluster:
        found = await cluster.run_all(map(code.format, range(40)), on_execution=count)
    assert _values(found) == list(range(40))


async def test_who_is_patient_gets_a_place(servers: Callable[..., Server]) -> None:
    full = servers(*V8_FLAGS, "--contexts-max", "1")
    async with Cluster(full.url) as cluster, anyio.create_task_group() as group:
        async with cluster.context() as first:
            done = anyio.Event()

            async def second() -> None:
                async with cluster.context() as c:
                    assert (await c.run("2")).value == 2
                done.set()

            group.start_soon(second)
            assert (await first.run("1")).value == 1
            async with Cluster(full.url, patience=0) as hurried:
                with pytest.raises(LimitReachedError):
                    async with hurried.context():
                        pass
        await done.wait()


async def test_nobody_answers(servers: Callable[..., Server]) -> None:
    gone = servers(*V8_FLAGS)
    gone.stop()
    async with Cluster([gone.url], patience=0.5) as cluster:
        with pytest.raises(NetworkError):
            await cluster.run("1", attempts_max=1)
        [error] = await cluster.run_all(["1"], attempts_max=1)
        assert isinstance(error, NetworkError)


async def test_what_it_cannot_be_made_of() -> None:
    with pytest.raises(ClientSettingsError, match="contexts_max"):
        Cluster("http://localhost:1", contexts_max=0)
    with pytest.raises(ClientSettingsError, match="no URL"):
        Cluster(["http://localhost:1", "localhost"])
