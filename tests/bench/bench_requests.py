"""What processor time does a request take, of whom, and does that grow?

The scheduler's own account of the server and of its contexts' processes: it depends
less on what else the machine does than times on a clock. First a request of each kind,
in turn, beside a Tornado handler that does nothing: `POST /execute`, a cell through a
front's websocket, MCP's list of tools, `run_js` and `execute`. Then `POST /execute`
with more and more contexts that do nothing, with larger and larger bodies, over more
and more connections with a context each, and after thousands of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.bench import report
from tests.bench.bench_http import EMPTY, SERVE, create, server
from tests.bench.http_client import Connection, request
from tests.bench.websocket_client import Front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

ROUNDS = 8
EACH = 10
LIVE = (10, 100, 1000)
BODIES = (1_000, 100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 8, 64, 256)
FLAGS = (
    *("serve", "--port", "0", "--contexts-max", "1300", "--no-access-log"),
    *("--execute-rate-per-minute", "0", "--request-rate-per-minute", "0"),
    *("--languages", "javascript,typescript", "--default-language", "javascript"),
)


def processor(pid: int) -> int:
    """Nanoseconds that a process has run, all of its threads."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += int((task / "schedstat").read_text().split()[0])
    return found


class Account:
    """The processor time of a server and of what it has started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._children: list[int] = []
        self.look()

    def look(self) -> None:
        """Note which processes there are now."""
        every = psutil.Process(self._pid).children(recursive=True)
        self._children = [each.pid for each in every]

    def read(self) -> tuple[float, float]:
        """Nanoseconds of the server, and of the others; nan if one of those is gone."""
        try:
            others = float(sum(map(processor, self._children)))
        except FileNotFoundError:
            others = math.nan
        return processor(self._pid), others


async def measured(
    account: Account, work: Callable[[], Awaitable[Any]], times: int
) -> tuple[float, float, float]:
    """Do something so often: µs of the server, of contexts, and by the clock."""
    before, start = account.read(), time.perf_counter()
    for _ in range(times):
        await work()
    taken, after = time.perf_counter() - start, account.read()
    own, others = ((b - a) / times / 1e3 for a, b in zip(before, after, strict=True))
    return own, others, taken / times * 1e6


def median(rows: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """The middle of each column."""
    names = ("server_us", "contexts_us", "clock_us")
    columns = zip(*rows, strict=True)
    return {
        name: statistics.median(values)
        for name, values in zip(names, columns, strict=True)
    }


async def executing(
    url: str, context: str, body: int = 0
) -> Callable[[], Awaitable[None]]:
    """What runs `1+1` over a connection of its own, in a body of so many bytes."""
    connection = await Connection.open(url)
    code = f"1+1 //{'x' * body}" if body else "1+1"
    data = request("POST", "/execute", {"code": code, "context_id": context})

    async def work() -> None:
        status, answer = await connection.send(data)
        assert status == 200, answer

    return work


@contextlib.asynccontextmanager
async def agent(url: str) -> AsyncIterator[Client]:
    """The SDK's client."""
    async with httpx2.AsyncClient(timeout=30) as http:
        way = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(way) as client:
            yield client


async def kinds(url: str, pid: int, empty: tuple[str, int]) -> dict[str, Any]:
    """A request of each kind, in turn."""
    context = await create(url)
    front = await Front.attach(url, await create(url))
    async with agent(url) as client:

        async def tool(name: str, **arguments: Any) -> None:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result

        await tool("run_js", code="1+1")
        account, other = Account(pid), Account(empty[1])
        todo: dict[str, tuple[Account, Callable[[], Awaitable[Any]]]] = {
            "empty handler": (other, await executing(empty[0], "")),
            "`POST /execute`": (account, await executing(url, context)),
            "a cell by websocket": (account, lambda: front.run("1+1")),
            "MCP `tools/list`": (account, client.list_tools),
            "MCP `list_sessions`": (account, lambda: tool("list_sessions")),
            "MCP `run_js`": (account, lambda: tool("run_js", code="1+1")),
            "MCP `execute`": (account, lambda: tool("execute", code="return 1+1")),
        }
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in todo}
        for turn in range(ROUNDS + 2):
            for name, (of, work) in todo.items():
                of.look()
                row = await measured(of, work, EACH)
                if turn >= 2:
                    rows[name].append(row)
    await front.close()
    return {name: median(values) for name, values in rows.items()}


async def live(url: str, pid: int) -> dict[str, Any]:
    """With more and more contexts, which do nothing."""
    work = await executing(url, await create(url))
    found, there = {}, 1
    for number in LIVE:
        while there < number:
            await create(url)
            there += 1
        account = Account(pid)
        rows = [await measured(account, work, EACH) for _ in range(ROUNDS)]
        found[str(number)] = median(rows)
    return found


async def bodies(url: str, pid: int) -> dict[str, Any]:
    """With larger and larger bodies."""
    context, found = await create(url), {}
    for size in BODIES:
        work = await executing(url, context, size)
        account = Account(pid)
        times = 1 if size > 1_000_000 else 5
        rows = [await measured(account, work, times) for _ in range(ROUNDS // 2)]
        found[str(size)] = median(rows)
    return found


async def connections(url: str, pid: int, seconds: float) -> dict[str, Any]:
    """Over more and more connections, with a context for each."""
    works = [await executing(url, await create(url)) for _ in range(max(CONNECTIONS))]
    found = {}
    for number in CONNECTIONS:
        account, count = Account(pid), itertools.count()
        before, start = account.read(), time.perf_counter()

        async def repeat(
            work: Callable[[], Awaitable[None]],
            end: float = start + seconds,
            count: itertools.count[int] = count,
        ) -> None:
            while time.perf_counter() < end:
                await work()
                next(count)

        await asyncio.gather(*map(repeat, works[:number]))
        taken, after, times = time.perf_counter() - start, account.read(), next(count)
        own, others = (b - a for a, b in zip(before, after, strict=True))
        found[str(number)] = {
            "server_us": own / times / 1e3,
            "contexts_us": others / times / 1e3,
            "clock_us": taken / times * 1e6,
        }
    return found


async def later(url: str, pid: int, number: int) -> dict[str, Any]:
    """After more and more requests, in one context."""
    work = await executing(url, await create(url))
    account, found, done = Account(pid), {}, 0
    memory = psutil.Process(pid).memory_full_info
    for place in (10, 1000, number):
        while done < place - EACH:
            await work()
            done += 1
        found[str(place)] = median([await measured(account, work, EACH)])
        found[str(place)]["server_mib"] = memory().uss / 2**20
        done += EACH
    return found


async def measure(requests: int, seconds: float) -> dict[str, Any]:
    """Measure everything, each in a server of its own."""
    figures: dict[str, Any] = {}
    with server(EMPTY) as empty, server(SERVE, *FLAGS) as (url, pid):
        figures["kinds"] = await kinds(url, pid, empty)
    with server(SERVE, *FLAGS) as (url, pid):
        figures["live"] = await live(url, pid)
    with server(SERVE, *FLAGS) as (url, pid):
        figures["bodies"] = await bodies(url, pid)
        figures["requests"] = await later(url, pid, requests)
    with server(SERVE, *FLAGS) as (url, pid):
        figures["connections"] = await connections(url, pid, seconds)
    return figures


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    titles = {
        "kinds": "a request",
        "live": "contexts",
        "bodies": "bytes of code",
        "requests": "the how-manieth request",
        "connections": "connections",
    }
    parts = []
    for name, title in titles.items():
        head = [title, "server, µs", "contexts, µs", "by the clock, µs"]
        rows = [
            [
                label if name == "kinds" else f"{int(label):,}",
                *(
                    "" if math.isnan(row[each]) else report.rounded(row[each])
                    for each in ("server_us", "contexts_us", "clock_us")
                ),
            ]
            for label, row in figures[name].items()
        ]
        parts.append(report.table(head, rows))
    first, *_, last = figures["requests"].values()
    parts.append(
        f"The server's own memory was {first['server_mib']:.0f} MiB at the first of "
        f"those, {last['server_mib']:.0f} at the last."
    )
    return "\n\n".join(parts)


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.requests, options.seconds))
    report.publish(options, "requests", figures, tables(figures))


if __name__ == "__main__":
    main()
