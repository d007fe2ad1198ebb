"""What does it cost that contexts last?

Checkpoints and new contexts from heaps of several sizes, through HTTP; how long other
cells of a context wait for its checkpoint; and many contexts that sleep: what it takes
to make and save one, its memory and disk, and how long a cell takes that wakes one. And
servers that find rows of sleeping contexts when they start, up to 10,000, and only wake
them; by the number of rows, and by the size of the heap.

Run: python -m tests.bench.bench_durable [--contexts 10000], which makes that many:
seven minutes for 10,000.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import report
from tests.bench.http_client import Connection, request
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
OBJECTS = (
    "globalThis.kept = Array.from({{ length: {count} }},"
    " (_, i) => ({{ id: i, name: `item ${{i}}`, list: [i, i + 0.5] }})); 0"
)
SIZES = {"blank": 0, "1 KiB": 20, "1 MiB": 9_000, "16 MiB": 200_000}
ROWS = (10, 1_000, 10_000)
"""Sleeping contexts that a server finds."""
WOKEN = {
    "blank": "0",
    "1 MiB": OBJECTS.format(count=9_000),
    "10 MiB": "globalThis.kept = new Float64Array(1.3e6).map((_, i) => i / 3); 0",
    "32 MiB": "globalThis.kept = new Float64Array(4e6).map((_, i) => i / 3); 0",
}
WOKEN_ROWS = 100
"""Copies of each of those."""
PAUSE_SECONDS = 0.02
"""Before each, which so finds a process that waits for it, as what comes alone does."""
FLAGS = ("--languages", "javascript", "--default-language", "javascript")
MAKERS = 4
"""Who make contexts at a time while many are made."""
AWAKE_MAX = 256
"""Contexts that may be awake by then: what is measured is the saving, not the wait."""
SLEEPY = 0.5
WAKES = 100
LARGE_ROUNDS = 5
"""Of the largest heaps, which take a second or so each."""


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[tuple[Server, Path]]:
    """A server with a data folder."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = ("--no-access-log", "--data-dir", folder)
        server = Server(*FLAGS, *quiet, *flags)
        try:
            yield server, Path(folder)
        finally:
            server.stop()


class Api:
    """Requests over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, which must succeed; the answer."""
        data = request(method, path, body)
        status, answer = await self._connection.send(data)
        if status >= 300:
            raise RuntimeError(answer)
        return json.loads(answer) if answer else None

    async def run(self, here: str, code: str) -> Any:
        """Run a cell."""
        body = {"code": code, "context_id": here, "timeout_ms": 120_000}
        return await self.ask("POST", "/execute", body)


async def sizes(server: Server, rounds: int) -> dict[str, Any]:
    """Checkpoint and restore by size; milliseconds."""
    found: dict[str, Any] = {}
    api = Api(await Connection.open(server.url))
    other = Api(await Connection.open(server.url))
    for name, count in SIZES.items():
        here = (await api.ask("POST", "/contexts", {}))["id"]
        await api.run(here, OBJECTS.format(count=count))
        saves, pauses, starts = [], [], []
        for _ in range(min(rounds, LARGE_ROUNDS) if count > 1e5 else rounds):
            start = time.perf_counter()
            saving = asyncio.ensure_future(
                api.ask("POST", f"/contexts/{here}/checkpoint")
            )
            await asyncio.sleep(0)
            began = time.perf_counter()
            await other.run(here, "globalThis.last = 1")
            pauses.append((time.perf_counter() - began) * 1e3)
            heap = (await saving)["heap"]
            saves.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            made = (await api.ask("POST", "/contexts", {"heap": heap}))["id"]
            await api.run(made, "1+1")
            starts.append((time.perf_counter() - start) * 1e3)
            await api.ask("DELETE", f"/contexts/{made}")
        known = await api.ask("GET", f"/api/heaps/{heap}")
        found[name] = {
            "checkpoint_ms": report.summary(saves),
            "cell_meanwhile_ms": report.summary(pauses),
            "restore_and_first_result_ms": report.summary(starts),
            "bytes": known["size"],
            "stored_bytes": known["compressed_size"],
        }
        await api.ask("DELETE", f"/contexts/{here}")
    return found


async def sleepers(
    server: Server, folder: Path, count: int, seconds: float
) -> dict[str, Any]:
    """Make contexts that sleep, as many as there is time for; wake some of them."""
    process = psutil.Process(server.process.pid)
    api = Api(await Connection.open(server.url))
    before = process.memory_info().rss
    disk_before = _disk(folder)
    start = time.perf_counter()
    ids: list[str] = []
    cpu = _processor_time(process)
    end = start + seconds
    makers = [_make(server, folder, ids, count, end) for _ in range(MAKERS)]
    await asyncio.gather(*makers)
    while _asleep(folder) < len(ids):  # noqa: ASYNC110 -- it is in another process
        await asyncio.sleep(SLEEPY / 5)
    made = time.perf_counter() - start
    cpu = _processor_time(process) - cpu
    memory, disk = process.memory_info().rss - before, _disk(folder) - disk_before
    wakes = []
    chosen = range(0, len(ids), max(1, len(ids) // WAKES))
    for number in chosen:
        start = time.perf_counter()
        answer = await api.run(ids[number], "mine")
        wakes.append((time.perf_counter() - start) * 1e3)
        if answer["items"][0]["text"] != str(number):
            raise RuntimeError(answer)
    start = time.perf_counter()
    await _states(api)
    listing = (time.perf_counter() - start) * 1e3
    return {
        "n": len(ids),
        "wanted": count,
        "seconds_to_make_all": made,
        "processor_ms_each": cpu / len(ids) * 1e3,
        "memory_bytes_each": memory / len(ids),
        "disk_bytes_each": disk / len(ids),
        "wake_ms": report.summary(wakes),
        "list_all_ms": listing,
    }


def copies(count: int, code: str) -> dict[str, Any]:
    """Start a server beside whose one sleeping context stand copies of its row."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (*FLAGS, "--no-access-log", "--data-dir", folder)
        first = Server(*flags)
        asyncio.run(_prepare(first, code))
        first.stop()
        bare = Server(*flags)
        before = psutil.Process(bare.process.pid).memory_info().rss
        bare.stop()
        _copy(Path(folder) / "isokernel.sqlite", count)
        start = time.perf_counter()
        server = Server(*flags, "--shutdown-save-timeout-seconds", "1")
        seconds = time.perf_counter() - start
        memory = psutil.Process(server.process.pid).memory_info().rss - before
        wakes, blank = asyncio.run(_wake_copies(server, count))
        server.stop()
    return {
        "n": count,
        "start_seconds": seconds,
        "memory_bytes_each": memory / count,
        "wake_ms": report.summary(wakes),
        "blank_ms": report.summary(blank),
    }


async def _prepare(server: Server, code: str) -> None:
    api = Api(await Connection.open(server.url))
    here = (await api.ask("POST", "/contexts", {}))["id"]
    await api.run(here, f"globalThis.mine = 7; {code}")


def _copy(file: Path, count: int) -> None:
    """Copy the only row of contexts, under ids of their own."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT * FROM contexts")
        names = [column[0] for column in found.description]
        row = found.fetchone()
        place = names.index("id")
        rows = (
            [f"copy-{number}" if n == place else value for n, value in enumerate(row)]
            for number in range(count)
        )
        marks = ", ".join("?" * len(names))
        # The number of columns is all that goes into it.
        database.executemany(f"INSERT INTO contexts VALUES ({marks})", rows)  # noqa: S608
        database.commit()


async def _wake_copies(server: Server, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of cells that wake a context, and of new ones' first, in turn."""
    api = Api(await Connection.open(server.url))
    wakes, blank = [], []
    for number in range(0, count, max(1, count // WAKES)):
        await asyncio.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        answer = await api.run(f"copy-{number}", "mine")
        wakes.append((time.perf_counter() - start) * 1e3)
        if answer["items"][0]["text"] != "7":
            raise RuntimeError(answer)
        await asyncio.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        made = (await api.ask("POST", "/contexts", {}))["id"]
        await api.run(made, "7")
        blank.append((time.perf_counter() - start) * 1e3)
        await api.ask("DELETE", f"/contexts/{made}")
    return wakes, blank


async def _make(
    server: Server, folder: Path, ids: list[str], count: int, end: float
) -> None:
    """Make contexts that each have their number, as long as there is room and time."""
    connection = await Connection.open(server.url)
    api = Api(connection)
    while len(ids) < count and time.perf_counter() < end:
        if len(ids) - _asleep(folder) >= AWAKE_MAX:
            await asyncio.sleep(SLEEPY / 5)
            continue
        number = len(ids)
        ids.append("")
        ids[number] = (await api.ask("POST", "/contexts", {}))["id"]
        await api.run(ids[number], f"globalThis.mine = {number}")
    await connection.close()


def _asleep(folder: Path) -> int:
    """Count the contexts that sleep, behind the server's back: asking it would cost."""
    place = f"file:{folder / 'isokernel.sqlite'}?mode=ro"
    query = "SELECT count(*) FROM contexts WHERE state = 'hibernated'"
    with contextlib.closing(sqlite3.connect(place, uri=True)) as database:
        (number,) = database.execute(query).fetchone()
    return int(number)


def _processor_time(process: psutil.Process) -> float:
    """Seconds that a server has computed, with processes of it that have ended."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            total += times.children_user + times.children_system
    return total


async def _states(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.ask("GET", "/contexts"))["items"]
    return found


def _disk(folder: Path) -> int:
    return sum(
        file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()
    )


def _size_row(name: str, found: dict[str, Any]) -> list[str]:
    parts = ("checkpoint_ms", "cell_meanwhile_ms", "restore_and_first_result_ms")
    times = [
        f"{report.rounded(found[part]['p50'])} / {report.rounded(found[part]['p95'])}"
        for part in parts
    ]
    stored = [f"{found[part] / MIB:.2f}" for part in ("bytes", "stored_bytes")]
    return [name, str(found["checkpoint_ms"]["n"]), *times, *stored]


def text(figures: dict[str, Any]) -> str:
    """Both tables."""
    first = report.table(
        [
            "heap",
            "n",
            "checkpoint, ms p50 / p95",
            "cell meanwhile",
            "new context and result",
            "MiB",
            "stored",
        ],
        [_size_row(name, found) for name, found in figures["sizes"].items()],
    )
    found = figures["sleepers"]
    wake = found["wake_ms"]
    second = report.table(
        [
            "contexts asleep",
            "seconds to make and save all",
            "processor, ms each",
            "KiB of memory each",
            "KiB on disk each",
            f"cell that wakes one (n {wake['n']}), ms p50 / p95",
            "list all, ms",
        ],
        [
            [
                f"{found['n']:,} of {found['wanted']:,}",
                f"{found['seconds_to_make_all']:.0f}",
                report.rounded(found["processor_ms_each"]),
                f"{found['memory_bytes_each'] / 1024:.1f}",
                f"{found['disk_bytes_each'] / 1024:.0f}",
                f"{report.rounded(wake['p50'])} / {report.rounded(wake['p95'])}",
                report.rounded(found["list_all_ms"]),
            ]
        ],
    )
    return f"{first}\n\n{second}\n\n{_copies_table(figures['copies'])}"


def _copies_table(copied: dict[str, dict[str, Any]]) -> str:
    """Servers that only wake, after they have found the contexts."""

    def pair(part: report.Summary) -> str:
        return f"{report.rounded(part['p50'])} / {report.rounded(part['p95'])}"

    def row(heap: str, found: dict[str, Any]) -> list[str]:
        wake, blank = found["wake_ms"], found["blank_ms"]
        return [
            f"{found['n']:,}",
            heap,
            report.rounded(found["start_seconds"]),
            report.rounded(found["memory_bytes_each"] / 1024),
            pair(wake),
            pair(blank),
            f"{wake['p50'] / blank['p50']:.1f} x",
        ]

    head = [
        "found asleep (copies of one row)",
        "heap",
        "start, s",
        "KiB of memory each",
        "cell that wakes one, ms p50 / p95",
        "new context and its first cell, in turn",
        "woken against new",
    ]
    return report.table(
        head,
        [row(key.partition(", ")[2], found) for key, found in copied.items()],
    )


def main() -> None:
    """Measure and publish."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--contexts", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    figures: dict[str, Any] = {"cores": os.cpu_count()}
    with serving("--request-body-bytes-max", str(64 * MIB)) as (server, _):
        figures["sizes"] = asyncio.run(sizes(server, options.rounds))
    with serving(
        "--hibernate-after-seconds", str(SLEEPY), "--shutdown-save-timeout-seconds", "5"
    ) as (
        server,
        folder,
    ):
        figures["sleepers"] = asyncio.run(
            sleepers(server, folder, options.contexts, options.seconds)
        )
    found = {f"{count}, blank": copies(count, "0") for count in ROWS}
    found |= {
        f"{WOKEN_ROWS}, {heap}": copies(WOKEN_ROWS, code)
        for heap, code in WOKEN.items()
        if heap != "blank"
    }
    figures["copies"] = found
    report.publish(options, "durable", figures, text(figures))


if __name__ == "__main__":
    main()
