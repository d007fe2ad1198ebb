"""What do many contexts cost a cluster: rows asleep, and programs scored?

A row of a context that was saved is copied 100,000 times, into a thousand workspaces:
bytes in PostgreSQL, look-ups, the start of one more server beside them, and cells that
wake some through any of three servers. Then programs, each in a context of its own,
through `Cluster`: so many a second, and the processor time of servers and client.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import psutil
from tests.bench import report
from tests.bench.bench_cluster import SERVERS, cluster
from tests.support.postgresql import PostgreSQL

from isokernel.client import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROWS = 100_000
WORKSPACES = 1000
LOOKS = 500
WAKES = 40
PROGRAMS = 400
AT_ONCE = 12
KIND: Any = {"language": "javascript"}
_COPY = """
    INSERT INTO contexts
    SELECT CASE WHEN n % $1 = 0 THEN workspace ELSE 'w' || n % $1 END,
        left(md5(n::text), 21), language, cwd, 'hibernated', reason, created_at,
        last_used, execution_count, heap_memory_max, heap, heap_count, heap_at
    FROM contexts, generate_series(1, $2) AS n WHERE id = $3
"""
_OWN = """
    INSERT INTO cluster_owners (kind, workspace, id, server, generation)
    SELECT 'context', workspace, id, 'gone', 0 FROM contexts
    ON CONFLICT DO NOTHING
"""
_OWNER = (
    "SELECT server, generation, url FROM cluster_owners AS o "
    "LEFT JOIN cluster_servers AS s ON o.server = s.id "
    "WHERE kind = 'context' AND workspace = $1 AND o.id = $2"
)
_ROW = "SELECT * FROM contexts WHERE workspace = $1 AND id = $2"
_PAGE = "SELECT * FROM contexts WHERE workspace = $1"


def spent(pids: Iterable[int]) -> float:
    """Processor seconds of processes and of all that they have started."""
    total = 0.0
    for pid in pids:
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            total += times.children_user + times.children_system
    return total


async def looked(
    connection: asyncpg.Connection, query: str, keys: Sequence[tuple[Any, ...]]
) -> report.Summary:
    """Milliseconds of a prepared query, for each of some keys."""
    prepared = await connection.prepare(query)
    samples = []
    for key in keys:
        start = time.perf_counter()
        assert await prepared.fetch(*key)
        samples.append((time.perf_counter() - start) * 1e3)
    return report.summary(samples)


async def asleep(database: str, urls: list[str]) -> dict[str, Any]:
    """Rows of contexts that sleep: their size, look-ups, and cells that wake some."""
    connection = await asyncpg.connect(database)
    try:
        async with Cluster(urls[0]) as first, first.context(**KIND, keep=True) as c:
            await c.run("let n = 41; const names = new Map([['Bern', 134]])")
            await c.save()
            made = c.id
        # A checkpoint's row is written before its key is given out.
        start = time.perf_counter()
        await connection.execute(_COPY, WORKSPACES, ROWS, made)
        await connection.execute(_OWN)
        await connection.execute("VACUUM ANALYZE contexts, cluster_owners")
        copied = time.perf_counter() - start
        sizes = {
            table: await connection.fetchval(
                f"SELECT pg_total_relation_size('{table}')"
            )
            / ROWS
            for table in ("contexts", "cluster_owners")
        }
        every = await connection.fetch("SELECT workspace, id FROM contexts")
        chosen = random.Random(1)  # noqa: S311 -- the same ones each time
        keys = [tuple(row) for row in chosen.sample(every, LOOKS)]
        own = [key for key in map(tuple, every) if key[0] == "default"]
        found: dict[str, Any] = {
            "bytes": sizes,
            "copied_s": copied,
            "owner": await looked(connection, _OWNER, keys),
            "row": await looked(connection, _ROW, keys),
            "page": await looked(connection, _PAGE, [key[:1] for key in keys[:50]]),
        }
    finally:
        await connection.close()
    samples = []
    async with Cluster(urls, contexts_max=1) as many:
        for _, context_id in chosen.sample([k for k in own if k[1] != made], WAKES):
            c = many.connect(context_id)
            start = time.perf_counter()
            assert (await c.run("n + names.size")).value == 42
            samples.append((time.perf_counter() - start) * 1e3)
            await c.delete()
    return {**found, "wake": report.summary(samples)}


async def scored(urls: list[str], pids: list[int]) -> dict[str, Any]:
    """Programs, each in a context of its own, over all servers."""
    before, own, start = spent(pids), time.process_time(), time.perf_counter()
    async with Cluster(urls, contexts_max=AT_ONCE) as many:
        programs = (f"{n} % 7 === 0" for n in range(PROGRAMS))
        found = await many.run_all(programs, **KIND)
    taken = time.perf_counter() - start
    values = Counter(getattr(one, "value", str(one)) for one in found)
    assert values == Counter(n % 7 == 0 for n in range(PROGRAMS))
    return {
        "programs": PROGRAMS,
        "a_second": PROGRAMS / taken,
        "servers_ms": (spent(pids) - before) / PROGRAMS * 1e3,
        "client_ms": (time.process_time() - own) / PROGRAMS * 1e3,
    }


def measure() -> dict[str, Any]:
    """All of it, with a PostgreSQL of its own."""
    postgresql = PostgreSQL()
    try:
        database = postgresql.database()
        with cluster(database, SERVERS) as servers:
            urls = [url for url, _ in servers]
            pids = [pid for _, pid in servers]
            found: dict[str, Any] = {
                "scored": asyncio.run(scored(urls, pids)),
                "asleep": asyncio.run(asleep(database, urls)),
            }
            start = time.perf_counter()
            with cluster(database, 1) as [(url, pid)]:
                asyncio.run(_answers(url))
                found["start_s"] = time.perf_counter() - start
                found["server_mib"] = psutil.Process(pid).memory_info().rss / 2**20
        return found
    finally:
        postgresql.stop()


async def _answers(url: str) -> None:
    async with Cluster(url) as one:
        await one.client.version()


def text(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows, scores = found["asleep"], found["scored"]

    def times(name: str) -> str:
        return f"{report.rounded(rows[name]['p50'])} / " + report.rounded(
            rows[name]["p95"]
        )

    first = report.table(
        [
            "contexts asleep",
            "bytes of a row, with its indexes",
            "of its owner's",
            "who owns one, ms p50 / p95",
            "its row",
            "all of a workspace's (100)",
            "cell that wakes one",
            "one more server starts, s",
            "its memory, MiB",
        ],
        [
            [
                f"{ROWS:,}",
                report.rounded(rows["bytes"]["contexts"]),
                report.rounded(rows["bytes"]["cluster_owners"]),
                *map(times, ("owner", "row", "page", "wake")),
                report.rounded(found["start_s"]),
                report.rounded(found["server_mib"]),
            ]
        ],
    )
    second = report.table(
        [
            f"programs over {SERVERS} servers, {AT_ONCE} at a time",
            "a second",
            "processor time of all servers, ms each",
            "of the client",
        ],
        [
            [
                f"{scores['programs']:,}",
                report.rounded(scores["a_second"]),
                report.rounded(scores["servers_ms"]),
                report.rounded(scores["client_ms"]),
            ]
        ],
    )
    return f"{first}\n\n{second}"


def main() -> None:
    """Measure and publish."""
    options = report.arguments(__doc__ or "").parse_args()
    found = measure()
    report.publish(options, "scale", found, text(found))


if __name__ == "__main__":
    main()
