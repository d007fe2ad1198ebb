"""What does a fork of a live context cost over HTTP, beside a new context?

From the request to the first cell's result, in turn with new contexts in the same run:
of contexts of three sizes, with 10 live contexts and with 1,000. Then 1,000 forks of
one context, one after the other and sixteen by each request, over one connection and
over eight: the time, the processor time of the server and its processes, the first ten
and the last ten, what each has of its own while nothing was asked of it, and whether
each answers from the state that it was forked with.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.http_client import Connection, request

from isokernel.protocol.frames import FORKS_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ITEM = "({ id: i, name: `item ${i}`, list: [i, i + 0.5] })"
SIZES = {"1 KB": 8, "1 MB": 9_000, "32 MB": 280_000}
"""Objects on the heap, by what they take."""
CROWD = 1000
CROWDS = ((1, 1), (8, 1), (1, FORKS_MAX), (8, FORKS_MAX))
"""Connections, and forks by each request."""
BETWEEN_SECONDS = 0.03
"""Between two samples: what was deleted gives back its memory, and spares are made."""


class Contexts:
    """A client of the server's contexts, over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> Contexts:
        """Connect."""
        return cls(await Connection.open(url))

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self._connection.send(request(method, path, body))
        assert status < 300, answer
        return json.loads(answer or b"null")

    async def create(self) -> str:
        """Make one; its id."""
        found = await self._ask("POST", "/contexts", {"language": "javascript"})
        return str(found["id"])

    async def fork(self, origin: str) -> str:
        """Fork one; the fork's id."""
        return str((await self._ask("POST", f"/contexts/{origin}/fork"))["id"])

    async def forks(self, origin: str, count: int) -> list[str]:
        """Fork one several times at once; the forks' ids."""
        path = f"/contexts/{origin}/forks"
        found = await self._ask("POST", path, {"count": count})
        return [item["id"] for item in found["items"]]

    async def run(self, context: str, code: str = "1+1") -> str:
        """Run a cell; its result."""
        body = {"code": code, "context_id": context}
        return str((await self._ask("POST", "/execute", body))["items"][0]["text"])

    async def delete(self, context: str) -> None:
        """Delete one."""
        await self._ask("DELETE", f"/contexts/{context}")

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()


async def starts(contexts: Contexts, rounds: int) -> dict[str, Any]:
    """Milliseconds up to a first result, of every way in turn."""
    ways: dict[str, Callable[[], Awaitable[str]]] = {"new": contexts.create}
    for name, items in SIZES.items():
        origin = await contexts.create()
        code = f"globalThis.kept = Array.from({{ length: {items} }}, (_, i) => {ITEM})"
        await contexts.run(origin, f"{code}; 0")
        ways[f"fork of {name}"] = partial(contexts.fork, origin)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, make in ways.items():
            start = time.perf_counter()
            context = await make()
            middle = time.perf_counter()
            await contexts.run(context)
            end = time.perf_counter()
            await contexts.delete(context)
            await asyncio.sleep(BETWEEN_SECONDS)
            if turn >= 2:  # they warm up
                made[name].append((middle - start) * 1e3)
                samples[name].append((end - start) * 1e3)
    return {
        name: {
            "made_ms": report.summary(made[name]),
            "with_first_cell_ms": report.summary(samples[name]),
        }
        for name in ways
    }


def processor_seconds(pid: int) -> float:
    """The processor time of a process and what it has forked, while they live."""
    return sum(map(_busy, (pid, *_forked_by(pid))))


def _forked_by(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _busy(pid: int) -> float:
    parts = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(part.read_text().split()[0]) for part in parts) / 1e9


def private(pid: int) -> float:
    """MiB that a process has of its own; 0 if it has ended, as spare ones do."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(sizes) / 1024


async def crowd(url: str, pid: int, at_once: int, together: int) -> dict[str, Any]:
    """Many forks of one context of 1 MB, so many of them by each request."""
    clients = [await Contexts.open(url) for _ in range(at_once)]
    origin = await clients[0].create()
    code = f"var kept = Array.from({{ length: {SIZES['1 MB']} }}, (_, i) => {ITEM})"
    await clients[0].run(origin, f"{code}; 0")
    before = set(_forked_by(pid))
    marks: list[float] = []
    forks: list[str] = []

    async def work(client: Contexts) -> None:
        while (left := CROWD - len(marks)) > 0:
            start = time.perf_counter()
            count = min(together, left)
            place = len(marks)
            marks.extend([0.0] * count)
            if together == 1:
                forks.append(await client.fork(origin))
            else:
                forks.extend(await client.forks(origin, count))
            took = (time.perf_counter() - start) * 1e3
            marks[place : place + count] = [took] * count

    busy = processor_seconds(pid)
    start = time.perf_counter()
    await asyncio.gather(*map(work, clients))
    seconds = time.perf_counter() - start
    busy = processor_seconds(pid) - busy
    own = [private(each) for each in _forked_by(pid) if each not in before]
    right = 0
    for fork in forks:
        right += await clients[0].run(fork, "kept[7].name") == "'item 7'"
    for fork in (*forks, origin):
        await clients[0].delete(fork)
    for client in clients:
        await client.close()
    return {
        "forks": len(forks),
        "at_once": at_once,
        "together": together,
        "processor_ms": busy / len(forks) * 1e3,
        "seconds": seconds,
        "first_ten_ms": report.summary(marks[:10]),
        "last_ten_ms": report.summary(marks[-10:]),
        "private_mib": report.summary(each for each in own if each),
        "right_answers": right,
    }


async def measure(rounds: int) -> dict[str, Any]:
    """Measure everything."""
    flags = ("serve", "--port", "0", "--contexts-max", str(2 * CROWD + 100))
    figures: dict[str, Any] = {}
    with server(SERVE, *flags) as (url, pid):
        contexts = await Contexts.open(url)
        for _ in range(6):
            await contexts.create()
        figures["starts, 10 live"] = await starts(contexts, rounds)
        figures["crowds"] = [
            await crowd(url, pid, at_once, together) for at_once, together in CROWDS
        ]
        for _ in range(CROWD):
            await contexts.create()
        figures["starts, 1,000 live"] = await starts(contexts, rounds // 2)
        await contexts.close()
    return figures


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for name, of in figures["starts, 10 live"].items():
        summaries = [
            part[kind]
            for part in (of, figures["starts, 1,000 live"][name])
            for kind in ("made_ms", "with_first_cell_ms")
        ]
        cells = (f"{each['p50']:.2f} / {each['p95']:.2f}" for each in summaries)
        rows.append((name, *cells))
    head = (
        "ms, p50 / p95",
        "10 live contexts: made",
        "with its first cell",
        "1,000 live: made",
        "with its first cell",
    )
    crowds = [
        (
            f"{each['forks']}",
            f"{each['at_once']}",
            f"{each['together']}",
            f"{each['seconds']:.2f}",
            f"{each['processor_ms']:.2f}",
            f"{each['first_ten_ms']['p50']:.2f} / {each['last_ten_ms']['p50']:.2f}",
            f"{each['private_mib']['p50']:.2f} / {each['private_mib']['p95']:.2f}",
            f"{each['right_answers']}",
        )
        for each in figures["crowds"]
    ]
    crowd_head = (
        "forks of one context",
        "connections",
        "by each request",
        "all there, s",
        "processor, ms each",
        "first ten / last ten, ms p50",
        "of its own while idle, MiB p50 / p95",
        "right answers",
    )
    return f"{report.table(head, rows)}\n\n{report.table(crowd_head, crowds)}"


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds))
    report.publish(options, "forks", figures, tables(figures))


if __name__ == "__main__":
    main()
