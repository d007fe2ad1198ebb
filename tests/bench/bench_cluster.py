"""What does a request cost that is passed on, and what do two and three servers do?

`POST /execute`, a cell through a front's websocket and a megabyte of file, asked of the
context's owner and of another server in turn: by the clock, and by the processor time
of all servers. Beside them a server that is of no cluster. Then `1+1` in contexts
spread over one, two and three servers, each asked of its owner, and of any server. A
machine with as many cores as servers and their contexts need would show the throughput;
on fewer, the processor time of a request does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from typing import TYPE_CHECKING, Any

from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.bench_requests import Account, median
from tests.bench.http_client import Connection, request
from tests.bench.websocket_client import Front
from tests.support.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROUNDS = 8
EACH = 12
SERVERS = 3
SECONDS = 2.0
CONNECTIONS = 12
FLAGS = (
    *("serve", "--port", "0", "--no-access-log", "--execute-rate-per-minute", "0"),
    *("--languages", "javascript", "--default-language", "javascript"),
)
SECRET = "x" * 32
OWNER = b"x-isokernel-owner: "


@contextlib.contextmanager
def cluster(database: str, number: int) -> Iterator[list[tuple[str, int]]]:
    """Some servers on one database: addresses and processes."""
    with tempfile.TemporaryDirectory() as heaps, contextlib.ExitStack() as stack:
        flags = (
            *("--cluster", "--cluster-secret", SECRET),
            *("--database-url", database, "--heap-store", heaps),
        )
        yield [
            stack.enter_context(server(SERVE, *FLAGS, *flags)) for _ in range(number)
        ]


async def made_at(url: str) -> str:
    """Make a context on this very server."""
    connection = await Connection.open(url)
    while True:
        data = request("POST", "/contexts", {"language": "javascript"})
        connection._writer.write(data)
        head = await connection._reader.readuntil(b"\r\n\r\n")
        lines = [line.lower() for line in head.split(b"\r\n")]
        length = next(line for line in lines if line.startswith(b"content-length"))
        body = await connection._reader.readexactly(int(length[15:]))
        owner = [line for line in lines if line.startswith(OWNER)]
        context_id: str = json.loads(body)["id"]
        if not owner or owner[0].removeprefix(OWNER).decode() == url:
            await connection.close()
            return context_id
        await connection.send(request("DELETE", f"/contexts/{context_id}"))


async def executing(url: str, context: str) -> Callable[[], Awaitable[None]]:
    """What runs `1+1` over a connection of its own."""
    connection = await Connection.open(url)
    data = request("POST", "/execute", {"code": "1+1", "context_id": context})

    async def work() -> None:
        status, answer = await connection.send(data)
        assert status == 200, answer

    return work


async def fetching(url: str, context: str) -> Callable[[], Awaitable[None]]:
    """What reads a megabyte of file."""
    connection = await Connection.open(url)
    code = "require('node:fs').writeFileSync('big', new Uint8Array(1 << 20))"
    asked = {"code": code, "context_id": context}
    status, answer = await connection.send(request("POST", "/execute", asked))
    assert status == 200, answer
    data = request("GET", f"/contexts/{context}/files/big")

    async def work() -> None:
        status, answer = await connection.send(data)
        assert (status, len(answer)) == (200, 1 << 20)

    return work


async def fronting(url: str, context: str) -> Callable[[], Awaitable[Any]]:
    """What runs `1+1` through a websocket."""
    front = await Front.attach(url, context)
    return lambda: front.run("1+1")


async def both_ways(
    alone: tuple[str, int], owner: tuple[str, int], other: tuple[str, int]
) -> dict[str, Any]:
    """The same asked of the owner and of another server, in turn."""
    kinds = {"`POST /execute`": executing, "1 MiB of file": fetching}
    kinds["a cell by websocket"] = fronting
    accounts = [Account(pid) for _, pid in (alone, owner, other)]
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        context = await made_at(owner[0])
        works = {
            "of no cluster": await kind(alone[0], await made_at(alone[0])),
            "the owner": await kind(owner[0], context),
            "another": await kind(other[0], context),
        }
        rows: dict[str, list[tuple[float, float, float]]] = {way: [] for way in works}
        for turn in range(ROUNDS + 2):
            for way, work in works.items():
                for account in accounts:
                    account.look()
                before = [account.read() for account in accounts]
                start = time.perf_counter()
                for _ in range(EACH):
                    await work()
                taken = (time.perf_counter() - start) / EACH * 1e6
                after = [account.read() for account in accounts]
                own, others = (
                    sum(b[part] - a[part] for a, b in zip(before, after, strict=True))
                    for part in (0, 1)
                )
                if turn >= 2:
                    rows[way].append((own / EACH / 1e3, others / EACH / 1e3, taken))
        found[name] = {
            way: {**median(values), "clock_least_us": min(row[2] for row in values)}
            for way, values in rows.items()
        }
    return found


async def throughput(servers: list[tuple[str, int]], *, anywhere: bool) -> Any:
    """`1+1` in contexts of all servers, each asked of its owner or of any server."""
    works = []
    for number in range(CONNECTIONS):
        owner = servers[number % len(servers)][0]
        asked = servers[(number // len(servers)) % len(servers)][0]
        works.append(
            await executing(asked if anywhere else owner, await made_at(owner))
        )
    accounts = [Account(pid) for _, pid in servers]
    for work in works:
        await work()
    before = [account.read() for account in accounts]
    count, start = 0, time.perf_counter()

    async def repeat(work: Callable[[], Awaitable[None]]) -> None:
        nonlocal count
        while time.perf_counter() < start + SECONDS:
            await work()
            count += 1

    await asyncio.gather(*map(repeat, works))
    taken = time.perf_counter() - start
    after = [account.read() for account in accounts]
    used = sum(b[0] - a[0] for a, b in zip(before, after, strict=True))
    return {"per_second": count / taken, "servers_us": used / count / 1e3}


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = ("server_us", "contexts_us", "clock_us", "clock_least_us")
    head = ["asked", "servers, µs", "contexts, µs", "by the clock, µs", "least"]
    rows = [
        [f"{kind}, {way}", *(report.rounded(row[name]) for name in names)]
        for kind, ways in figures["ways"].items()
        for way, row in ways.items()
    ]
    more = ["servers", "of the owner, a second", "servers, µs"]
    more += ["of any, a second", "servers, µs"]
    counted = [
        [
            number,
            *(
                report.rounded(row[way][name])
                for way in ("direct", "anywhere")
                for name in ("per_second", "servers_us")
            ),
        ]
        for number, row in figures["throughput"].items()
    ]
    return f"{report.table(head, rows)}\n\n{report.table(more, counted)}"


async def measure(database: Callable[[], str]) -> dict[str, Any]:
    """All of it."""
    of_none = (*FLAGS, "--database-url", database())
    with server(SERVE, *of_none) as alone, cluster(database(), 2) as (owner, other):
        ways = await both_ways(alone, owner, other)
    found = {}
    for number in range(1, SERVERS + 1):
        with cluster(database(), number) as servers:
            direct = await throughput(servers, anywhere=False)
            anywhere = await throughput(servers, anywhere=True)
        found[str(number)] = {"direct": direct, "anywhere": anywhere}
    return {"ways": ways, "throughput": found}


def main() -> None:
    """Run from the command line."""
    options = report.arguments(__doc__ or "").parse_args()
    postgresql = PostgreSQL()
    try:
        figures = asyncio.run(measure(postgresql.database))
    finally:
        postgresql.stop()
    report.publish(options, "cluster", figures, tables(figures))


if __name__ == "__main__":
    main()
