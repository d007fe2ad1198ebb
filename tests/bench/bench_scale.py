"""What do many contexts cost a cluster: rows asleep, live ones, and programs scored?

A row of a context that was saved is copied 100,000 times, into a thousand workspaces:
bytes in PostgreSQL, look-ups, the start of one more server beside them, and cells that
wake some through any of three servers. Then programs, each in a context of its own,
through `Cluster`: so many a second, and the processor time of servers and client; and
those of examples/score_programs.py, whose scores are known.

Heaps of as many sleepers, each with a row and a file in a folder: what it takes a
server to look for those to delete, and the database to count what all take.

Contexts of three servers: some are live, each with a number of its own, the others are
such rows. Each is asked for through any server, many run cells through others, and
after that no server may have lost one, nor two servers the same. `--full` is all of it
as large as it is told of: 10,000 contexts, 1,500 of them live, 10,000 programs, and a
million heaps.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
from tests.bench import report
from tests.bench.bench_cluster import SERVERS, answered, cluster, spent
from tests.bench.http_client import Connection, request
from tests.support.postgresql import PostgreSQL

from isokernel.client import Cluster
from isoserver.contexts.store import ContextStore
from isoserver.files.service import Files
from isoserver.heaps.service import Heaps
from isoserver.heaps.tables import HeapTables
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Iterable, Sequence

ROWS = 100_000
WORKSPACES = 1000
LOOKS = 500
WAKES = 40
PROGRAMS = 400
AT_ONCE = 12
CONTEXTS = 2_000
LIVE = 150
CELLS = 300
"""In sleepers, each of which wakes."""
SCORED = 400
HEAPS = 100_000
FULL = {
    "contexts": 10_000,
    "live": 1_500,
    "cells": 1_500,
    "programs": 10_000,
    "heaps": 1_000_000,
}
_WATCH_SECONDS = 0.001
LINKS_MAX = 50_000
"""Names of one file: they take less room than as many files."""
ROOM = (
    *("--languages", "javascript,typescript", "--contexts-max", "1200"),
    *("--hibernated-contexts-max", "200000", "--request-rate-per-minute", "0"),
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "score_programs.py"
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
_SLEEPERS = """
    INSERT INTO contexts
    SELECT workspace, 'asleep' || n, language, cwd, 'hibernated', reason, created_at,
        extract(epoch FROM now()), execution_count, heap_memory_max, heap, heap_count,
        heap_at
    FROM contexts, generate_series(1, $1) AS n WHERE id = $2
"""
_KEY = "md5(n::text) || md5('x' || n)"
_HEAPS = f"""
    INSERT INTO heaps (workspace, key, size, compressed_size, created_at, last_used,
        engine, language, execution_count, automatic)
    SELECT 'w' || n % $1, {_KEY}, 1000000, 170000, now.at, now.at, 'v8', 'javascript',
        1, true
    FROM generate_series(1, $2) AS n,
        (SELECT extract(epoch FROM now()) AS at) AS now
"""  # noqa: S608 - nobody's text
_THEIRS = f"""
    INSERT INTO contexts (workspace, id, language, cwd, state, reason, created_at,
        last_used, execution_count, heap, heap_count, heap_at)
    SELECT 'w' || n % $1, left(md5(n::text), 21), 'javascript', '/', 'hibernated', '',
        0, 0, 1, {_KEY}, 1, 0
    FROM generate_series(1, $2) AS n
"""  # noqa: S608 - as above
_OWNED = "SELECT id, server FROM cluster_owners WHERE kind = 'context'"
_STATES = re.compile(r'^isokernel_contexts\{state="\w+"\} (\d+)', re.MULTILINE)
_PAGE = "SELECT * FROM contexts WHERE workspace = $1"


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


async def collected(database: str, folder: Path, number: int) -> dict[str, Any]:
    """Heaps that contexts sleep in: what it takes to find that all are needed."""
    url = url_of(database, folder)
    made = read_settings(
        data_dir=folder, heaps_total_bytes_max=1 << 50, workspace_heaps_max=number
    )
    store = Database(url)
    heaps = Heaps(
        *(made, store, folder, Files(made, folder / "files"), make_log("error"))
    )
    await store.start()
    await heaps.start(collect=False)
    connection = await asyncpg.connect(database)
    try:
        for query in (_HEAPS, _THEIRS):
            await connection.execute(query, WORKSPACES, number)
        await connection.execute("VACUUM ANALYZE heaps, contexts")
        keys = [row["key"] for row in await connection.fetch("SELECT key FROM heaps")]
        _link(folder / "heaps", keys)
        found: dict[str, Any] = {"number": number}
        for table in ("heaps", "contexts"):
            query = f"SELECT pg_total_relation_size('{table}')"
            found[table] = await connection.fetchval(query) / number
    finally:
        await connection.close()
    tables, contexts = HeapTables(store), ContextStore(store, 1, 1)
    for name, ask in (
        ("total_s", tables.size_bytes),
        ("shares_s", tables.usage),
        ("sleepers_s", contexts.count_asleep),
    ):
        start = time.perf_counter()
        assert await ask()
        found[name] = time.perf_counter() - start
    holds = [0.0]
    watching = asyncio.ensure_future(_watch(holds))
    start, own = time.perf_counter(), time.process_time()
    assert await heaps.collect() == (0, 0, 0)
    found["collect_s"] = time.perf_counter() - start
    found["collect_processor_s"] = time.process_time() - own
    found["hold_ms"] = holds[0] * 1e3
    watching.cancel()
    await heaps.close()
    await store.close()
    return found


def _link(folder: Path, keys: Sequence[str]) -> None:
    """Have a heap's file for each key, all old enough to be deleted."""
    for number, key in enumerate(keys):
        path = folder / f"{key}.heap"
        if number % LINKS_MAX == 0:
            source = path
            path.write_bytes(b"heap")
            os.utime(path, (0, 0))
        else:
            path.hardlink_to(source)


async def _watch(holds: list[float]) -> None:
    """Note the longest time for which the loop came to nothing else."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(_WATCH_SECONDS)
        holds[0] = max(holds[0], time.perf_counter() - start - _WATCH_SECONDS)


async def scored(urls: list[str], pids: list[int]) -> dict[str, Any]:
    """Programs, each in a context of its own, over all servers."""
    before, own, start = spent(*pids), time.process_time(), time.perf_counter()
    async with Cluster(urls, contexts_max=AT_ONCE) as many:
        programs = (f"{n} % 7 === 0" for n in range(PROGRAMS))
        found = await many.run_all(programs, **KIND)
    taken = time.perf_counter() - start
    values = Counter(getattr(one, "value", str(one)) for one in found)
    assert values == Counter(n % 7 == 0 for n in range(PROGRAMS))
    return {
        "programs": PROGRAMS,
        "a_second": PROGRAMS / taken,
        "servers_ms": (spent(*pids) - before) / PROGRAMS * 1e3,
        "client_ms": (time.process_time() - own) / PROGRAMS * 1e3,
    }


async def scored_example(urls: list[str], pids: list[int], number: int) -> Any:
    """Those of the example, whose scores are known, as it scores them."""
    spec = importlib.util.spec_from_file_location("score_programs", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    before, own, start = spent(*pids), time.process_time(), time.perf_counter()
    async with Cluster(urls, contexts_max=AT_ONCE) as many:
        found = await example.score(many, example.candidates(number))
    taken = time.perf_counter() - start
    assert found == [example.CANDIDATES[one] for one in example.candidates(number)]
    return {
        "programs": number,
        "a_second": number / taken,
        "servers_ms": (spent(*pids) - before) / number * 1e3,
        "client_ms": (time.process_time() - own) / number * 1e3,
    }


async def worked(
    urls: list[str], todo: Iterable[Any], work: Callable[..., Awaitable[None]]
) -> report.Summary:
    """Do something for each, some at a time, each by any server; ms."""
    left, samples = iter(todo), []
    chosen = random.Random(2)  # noqa: S311 -- the same ones each time

    async def worker() -> None:
        connections = [await Connection.open(url) for url in urls]
        for each in left:
            start = time.perf_counter()
            await work(chosen.choice(connections), each)
            samples.append((time.perf_counter() - start) * 1e3)
        for connection in connections:
            await connection.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return report.summary(samples)


async def run(connection: Connection, context: str, code: str) -> str:
    """Run a cell; the text of its result."""
    cell = {"code": code, "context_id": context}
    answer = await answered(connection, request("POST", "/execute", cell))
    assert answer["error"] is None, answer
    text: str = answer["items"][0]["text"]
    return text


async def inhabited(
    database: str, urls: list[str], pids: list[int], given: argparse.Namespace
) -> dict[str, Any]:
    """Contexts of all servers, live ones and sleepers, used through any of them."""
    live: dict[int, str] = {}

    async def make(connection: Connection, number: int) -> None:
        data = request("POST", "/contexts", {"language": "javascript"})
        live[number] = (await answered(connection, data))["id"]
        await run(connection, live[number], f"var n = {number}; n")

    before = spent(*pids)
    made = await worked(urls, range(given.live), make)
    used = spent(*pids) - before
    connection = await asyncpg.connect(database)
    one = await Connection.open(urls[0])
    data = request("POST", "/contexts", {"language": "javascript"})
    origin = (await answered(one, data))["id"]
    await run(one, origin, "var n = 0; n")
    await answered(one, request("POST", f"/contexts/{origin}/checkpoint"))
    await one.send(request("GET", f"/contexts/{origin}"))
    await connection.execute(_SLEEPERS, given.contexts - given.live - 1, origin)
    sleepers = [f"asleep{n}" for n in range(1, given.contexts - given.live)]
    memory = sum(
        process.memory_full_info().pss
        for pid in pids
        for whole in [psutil.Process(pid)]
        for process in (whole, *whole.children(recursive=True))
    )

    async def find(connection: Connection, context: str) -> None:
        shown = await answered(connection, request("GET", f"/contexts/{context}"))
        assert shown["id"] == context

    every = [origin, *live.values(), *sleepers]
    chosen = random.Random(3)  # noqa: S311 -- the same ones each time
    chosen.shuffle(every)
    found = await worked(urls, every, find)

    async def use(connection: Connection, item: tuple[int, str]) -> None:
        assert await run(connection, item[1], "n++") == str(item[0])

    cells = await worked(urls, live.items(), use)
    woken = chosen.sample(sleepers, min(given.cells, len(sleepers)))
    wakes = await worked(urls, [(0, each) for each in woken], use)
    # Once more, through others: what has run is there.
    again = [(number + 1, each) for number, each in live.items()]
    again += [(1, each) for each in woken]
    chosen.shuffle(again)
    await worked(urls, again, use)
    await worked(urls, every, find)
    owners = await connection.fetch(_OWNED)
    assert sorted(row["id"] for row in owners) == sorted(every)
    here = []
    for url in urls:
        asked = await Connection.open(url)
        status, metrics = await asked.send(request("GET", "/metrics"))
        assert status == 200
        here.append(sum(map(int, _STATES.findall(metrics.decode()))))
        await asked.close()
    # Each server has in its memory what is its own, and nothing else.
    owned = Counter(row["server"] for row in owners)
    listed = await answered(one, request("GET", "/cluster/servers"))
    ids = {each["url"]: each["id"] for each in listed["items"]}
    assert here == [owned[ids[url]] for url in urls]
    await one.close()
    await connection.close()
    return {
        "contexts": len(every),
        "live": given.live,
        "cells": len(woken),
        "made": made,
        "made_ms": used / max(1, given.live) * 1e3,
        "memory_mib": memory / 2**20 / max(1, given.live),
        "found": found,
        "cell": cells,
        "wake": wakes,
        "owned": sorted(here),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All of it, with a PostgreSQL of its own."""
    postgresql = PostgreSQL()
    try:
        database = postgresql.database()
        with (
            tempfile.TemporaryDirectory() as heaps,
            cluster(database, SERVERS, *ROOM, heaps=heaps) as servers,
        ):
            urls = [url for url, _ in servers]
            pids = [pid for _, pid in servers]
            found: dict[str, Any] = {
                "scored": asyncio.run(scored(urls, pids)),
                "example": asyncio.run(scored_example(urls, pids, given.programs)),
                "asleep": asyncio.run(asleep(database, urls)),
            }
            start = time.perf_counter()
            with cluster(database, 1, *ROOM, heaps=heaps) as [(url, pid)]:
                asyncio.run(_answers(url))
                found["start_s"] = time.perf_counter() - start
                found["server_mib"] = psutil.Process(pid).memory_info().rss / 2**20
        with tempfile.TemporaryDirectory() as folder:
            found["collected"] = asyncio.run(
                collected(postgresql.database(), Path(folder), given.heaps)
            )
        database = postgresql.database()
        with cluster(database, SERVERS, *ROOM) as servers:
            urls = [url for url, _ in servers]
            pids = [pid for _, pid in servers]
            found["inhabited"] = asyncio.run(inhabited(database, urls, pids, given))
        return found
    finally:
        postgresql.stop()


async def _answers(url: str) -> None:
    async with Cluster(url) as one:
        await one.client.version()


def text(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows, many = found["asleep"], found["inhabited"]

    def pair(summary: report.Summary) -> str:
        return " / ".join(map(report.rounded, (summary["p50"], summary["p95"])))

    def times(name: str) -> str:
        return pair(rows[name])

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
                f"{scores['programs']:,}{what}",
                report.rounded(scores["a_second"]),
                report.rounded(scores["servers_ms"]),
                report.rounded(scores["client_ms"]),
            ]
            for what, scores in (
                (" of one line", found["scored"]),
                (" of examples/score_programs.py, all scores right", found["example"]),
            )
        ],
    )
    third = report.table(
        [
            f"contexts of {SERVERS} servers, used through any",
            "of each server at the end",
            "lost, or owned twice",
            f"made, with a cell, {AT_ONCE} at a time, ms p50 / p95",
            "processor time of one, ms",
            "its memory with its server's, MiB",
            "any found by its id, ms",
            "a cell in a live one",
            "a cell that wakes one",
        ],
        [
            [
                f"{many['contexts']:,}, of which {many['live']:,} live, and "
                f"{many['cells']:,} woken",
                " / ".join(f"{number:,}" for number in many["owned"]),
                "0",  # or there would be no figures
                pair(many["made"]),
                report.rounded(many["made_ms"]),
                report.rounded(many["memory_mib"]),
                *(pair(many[name]) for name in ("found", "cell", "wake")),
            ]
        ],
    )
    kept = found["collected"]
    seconds = ("total_s", "shares_s", "sleepers_s", "collect_s", "collect_processor_s")
    fourth = report.table(
        [
            "heaps that contexts sleep in",
            "bytes of a row, with its indexes",
            "of its context's",
            "what all take, s",
            "what each workspace has",
            "sleepers by workspace",
            "a search for those to delete",
            "its processor time",
            "longest hold of the loop, ms",
        ],
        [
            [
                f"{kept['number']:,}",
                *(report.rounded(kept[name]) for name in ("heaps", "contexts")),
                *(report.rounded(kept[name]) for name in seconds),
                report.rounded(kept["hold_ms"]),
            ]
        ],
    )
    return f"{first}\n\n{fourth}\n\n{second}\n\n{third}"


def main() -> None:
    """Measure and publish."""
    parser = report.arguments(__doc__ or "")
    defaults = (CONTEXTS, LIVE, CELLS, SCORED, HEAPS)
    for name, number in zip(FULL, defaults, strict=True):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument(
        "--full", action="store_true", help=f"the same as {json.dumps(FULL)}"
    )
    options = parser.parse_args()
    if options.full:
        vars(options).update(FULL)
    found = measure(options)
    report.publish(options, "scale", found, text(found))


if __name__ == "__main__":
    main()
