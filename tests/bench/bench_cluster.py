"""What do passing on, moving and failing over cost, and what do three servers do?

`POST /execute`, a cell through a front's websocket and a megabyte of file, asked of the
context's owner and of another server in turn: by the clock, and by the processor time
of all servers. Beside them a server that is of no cluster. Then `1+1` in contexts
spread over one, two and three servers, each asked of its owner, and of any server. A
machine with as many cores as servers and their contexts need would show the throughput;
on fewer, the processor time of a request does.

A context goes back and forth between two servers: until the answer to the move, and
until that of the first cell there. Then its server is stopped, or killed, and another
one asked for it until it has it: by SIGTERM that takes as long as saving does, by
SIGKILL a lease and what comes after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import psutil
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
MOVES = 10
FAILOVERS = 3
LEASE_SECONDS = 2.0
ASK_SECONDS = 0.01
"""Between two requests to a server that hasn't got a context yet."""
MEGABYTE = (
    "globalThis.n = 41; globalThis.data = Array.from({length: 5600}, "
    "(_, n) => ({n, name: 'name' + n, list: [n, n + 1, n + 2]})); 1"
)
"""A heap of 1 MB, of which a blank context's is 0.3."""


@contextlib.contextmanager
def cluster(
    database: str, number: int, *more: str, heaps: str = ""
) -> Iterator[list[tuple[str, int]]]:
    """Some servers on one database: addresses and processes."""
    with contextlib.ExitStack() as stack:
        store = heaps or stack.enter_context(tempfile.TemporaryDirectory())
        flags = (
            *("--cluster", "--cluster-secret", SECRET),
            *("--database-url", database, "--heap-store", store),
            *more,
        )
        yield [
            stack.enter_context(server(SERVE, *FLAGS, *flags)) for _ in range(number)
        ]


def owner_of(connection: Connection) -> str:
    """The URL of the server that owns what the last answer was about, if it has one."""
    for line in connection.head.split(b"\r\n"):
        if line.lower().startswith(OWNER):
            return line[len(OWNER) :].decode()
    return ""


async def made_at(url: str) -> str:
    """Make a context on this very server."""
    connection = await Connection.open(url)
    data = request("POST", "/contexts", {"language": "javascript"})
    while True:
        context_id: str = (await answered(connection, data))["id"]
        if owner_of(connection) in {"", url}:
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
        # Each has a context of its own: what one says goes to all of its fronts.
        works = {
            "of no cluster": await kind(alone[0], await made_at(alone[0])),
            "the owner": await kind(owner[0], await made_at(owner[0])),
            "another": await kind(other[0], await made_at(owner[0])),
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
            way: {
                # Without those in which a process has ended that a context had begun.
                **median([row for row in values if not math.isnan(row[1])] or values),
                "clock_least_us": min(row[2] for row in values),
            }
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


async def answered(connection: Connection, data: bytes) -> Any:
    """Send a request that must succeed; its answer."""
    status, answer = await connection.send(data)
    assert status in {200, 201}, answer
    return json.loads(answer)


async def moved(one: tuple[str, int], other: tuple[str, int]) -> dict[str, Any]:
    """A context back and forth: ms until it is there, until its first answer, used."""
    found = {}
    addresses = [one[0], other[0]]
    connections = [await Connection.open(address) for address in addresses]
    cell = {"code": "globalThis.n === undefined || n === 41"}
    for name, code in (("a blank context", "1"), ("with 1 MB", MEGABYTE)):
        context = await made_at(addresses[0])
        first = {"code": code, "context_id": context}
        await answered(connections[0], request("POST", "/execute", first))
        asked = request("POST", "/execute", {**cell, "context_id": context})
        rows = []
        for turn in range(MOVES + 2):
            here, there = turn % 2, (turn + 1) % 2
            before = spent(one[1], other[1])
            start = time.perf_counter()
            place = {"server": addresses[there]}
            move = request("POST", f"/contexts/{context}/move", place)
            assert (await answered(connections[here], move))["id"] == context
            arrived = time.perf_counter()
            answer = await answered(connections[there], asked)
            end = time.perf_counter()
            assert answer["items"][0]["text"] == "true", answer
            used = spent(one[1], other[1]) - before
            if turn >= 2:
                row = (arrived - start, end - arrived, end - start, used)
                rows.append([each * 1e3 for each in row])
        found[name] = [report.summary(column) for column in zip(*rows, strict=True)]
    heap = await answered(
        connections[0], request("POST", f"/contexts/{context}/checkpoint")
    )
    shown = await answered(connections[0], request("GET", f"/api/heaps/{heap['heap']}"))
    found["heap_bytes"] = shown["size"]
    for connection in connections:
        await connection.close()
    return found


def spent(*pids: int) -> float:
    """Processor seconds of servers, and of all that they have started and ended."""
    total = 0.0
    for pid in pids:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
    return total


async def failed_over(database: Callable[[], str], number: int) -> list[float]:
    """Seconds from a signal to a server until another one answers for its context."""
    samples = []
    lease = ("--cluster-lease-seconds", str(LEASE_SECONDS))
    with cluster(database(), FAILOVERS + 1, *lease) as [*victims, (other, _)]:
        for url, pid in victims:
            context = await made_at(url)
            connection = await Connection.open(url)
            first = {"code": MEGABYTE, "context_id": context}
            await answered(connection, request("POST", "/execute", first))
            save = request("POST", f"/contexts/{context}/checkpoint")
            await answered(connection, save)
            await connection.close()
            connection = await Connection.open(other)
            cell = {"code": "n + data.length", "context_id": context}
            data = request("POST", "/execute", cell)
            await answered(connection, data)  # it knows the owner
            start = time.perf_counter()
            os.kill(pid, number)
            while True:
                status, answer = await connection.send(data)
                if status == 200 and owner_of(connection) == other:
                    break
                assert status in {200, 502, 503}, (status, answer)
                await asyncio.sleep(ASK_SECONDS)
            samples.append(time.perf_counter() - start)
            assert json.loads(answer)["items"][0]["text"] == "5641", answer
            await connection.close()
    return samples


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = ("server_us", "contexts_us", "clock_us", "clock_least_us")
    head = ["asked", "servers, µs", "contexts, µs", "by the clock, µs", "least"]
    rows = [
        [f"{kind}, {way}", *(report.rounded(row[name]) for name in names)]
        for kind, ways in figures["ways"].items()
        for way, row in ways.items()
    ]
    moves = ["a context that moves", "until it is there, ms p50 / p95 / least"]
    moves += ["until its first answer there", "both", "processor time of both servers"]
    went = [
        [name, *(triple(column) for column in columns)]
        for name, columns in figures["moves"].items()
        if name != "heap_bytes"
    ]
    failed = ["its server is", "until another one answers, s: median", "least", "most"]
    failed += ["median beyond the lease"]
    lost = []
    for name, samples in figures["failovers"].items():
        row = [statistics.median(samples), min(samples), max(samples)]
        beyond = report.rounded(row[0] - LEASE_SECONDS) if name != "stopped" else "-"
        lost.append([name, *map(report.rounded, row), beyond])
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
    heap = figures["moves"]["heap_bytes"] / 1e6
    return "\n\n".join(
        [
            report.table(head, rows),
            report.table(more, counted),
            report.table(moves, went) + f"\n\nThe larger heap has {heap:.2f} MB.",
            report.table(failed, lost),
        ]
    )


def triple(column: report.Summary) -> str:
    """Median, 95th percentile and the least of them."""
    return " / ".join(
        map(report.rounded, (column["p50"], column["p95"], column["minimum"]))
    )


async def measure(database: Callable[[], str]) -> dict[str, Any]:
    """All of it."""
    of_none = (*FLAGS, "--database-url", database())
    with server(SERVE, *of_none) as alone, cluster(database(), 2) as (owner, other):
        ways = await both_ways(alone, owner, other)
        moves = await moved(owner, other)
    found = {}
    for number in range(1, SERVERS + 1):
        with cluster(database(), number) as servers:
            direct = await throughput(servers, anywhere=False)
            anywhere = await throughput(servers, anywhere=True)
        found[str(number)] = {"direct": direct, "anywhere": anywhere}
    failovers = {
        f"killed (a lease of {LEASE_SECONDS:g} s)": signal.SIGKILL,
        "stopped": signal.SIGTERM,
    }
    return {
        "ways": ways,
        "throughput": found,
        "moves": moves,
        "failovers": {
            name: await failed_over(database, number)
            for name, number in failovers.items()
        },
    }


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
