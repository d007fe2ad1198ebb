"""What do Python contexts cost: a new one, `1+1` in a live one, many at once?

Each beside the same with a bare ipykernel and jupyter_client's own client, in one run
and in turn. New contexts come from spare kernels as long as there are some; the rows of
many at once say how it grows when they are used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import AsyncKernelManager
from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.http_client import Connection, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from jupyter_client.asynchronous.client import AsyncKernelClient

CODE = "1+1"
CROWDS = (1, 10, 50)
BLOCK = 10
"""Cells before it is the other one's turn."""
BUSY = 503


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[AsyncKernelClient]:
    """An ipykernel as jupyter_client starts it, with its client."""
    manager = AsyncKernelManager(kernel_name="python3")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    await manager.start_kernel(**quiet)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def ask(client: AsyncKernelClient) -> None:
    """One cell by jupyter_client, up to its reply and its idle."""
    asked = client.execute(CODE)
    idle = False
    while not idle:
        said = await client.get_iopub_msg()
        mine = said["parent_header"].get("msg_id") == asked
        idle = mine and said["content"].get("execution_state") == "idle"
    while (await client.get_shell_msg())["parent_header"].get("msg_id") != asked:
        pass


async def answer(connection: Connection, body: bytes, status: int = 200) -> Any:
    """Send a request; the answer's JSON."""
    found, data = await connection.send(body)
    assert found == status, data
    return json.loads(data) if data else None


async def create(connection: Connection) -> str:
    """Make a Python context."""
    body = request("POST", "/contexts", {"language": "python"})
    context_id: str = (await answer(connection, body, 201))["id"]
    return context_id


def cell(context_id: str) -> bytes:
    """The request of one cell."""
    return request("POST", "/execute", {"code": CODE, "context_id": context_id})


async def wait_spares(url: str, number: int) -> None:
    """Wait until so many spare kernels are there."""
    connection = await Connection.open(url)
    wanted = f"isokernel_spare_kernels {number}.0\n".encode()
    asked = request("GET", "/metrics")
    while wanted not in (await connection.send(asked))[1]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # it is another process, which can only be asked
    await connection.close()


async def in_turn(
    asks: dict[str, Callable[[], Awaitable[object]]], rounds: int
) -> dict[str, report.Summary]:
    """Milliseconds of each."""
    samples: dict[str, list[float]] = {name: [] for name in asks}
    for turn in range(rounds + 2):
        for name, call in asks.items():
            for _ in range(BLOCK):
                start = time.perf_counter()
                await call()
                if turn >= 2:
                    samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: report.summary(found) for name, found in samples.items()}


async def warm(url: str, rounds: int) -> dict[str, report.Summary]:
    """`1+1` in a live context, and in a bare ipykernel."""
    connection = await Connection.open(url)
    body = cell(await create(connection))
    async with bare() as client:
        return await in_turn(
            {
                "`POST /execute`": lambda: answer(connection, body),
                "ipykernel, jupyter_client": lambda: ask(client),
            },
            rounds,
        )


async def new(url: str, rounds: int) -> dict[str, report.Summary]:
    """From the wish for a context to its first result."""
    connection = await Connection.open(url)
    made: list[float] = []
    whole: list[float] = []
    peer: list[float] = []
    for _ in range(rounds):
        await wait_spares(url, 1)
        start = time.perf_counter()
        context_id = await create(connection)
        made.append((time.perf_counter() - start) * 1e3)
        await answer(connection, cell(context_id))
        whole.append((time.perf_counter() - start) * 1e3)
        await connection.send(request("DELETE", f"/contexts/{context_id}"))
    await wait_spares(url, 1)  # so that none is started beside the peer
    for _ in range(min(rounds, 5)):
        start = time.perf_counter()
        async with bare() as client:
            await ask(client)
            peer.append((time.perf_counter() - start) * 1e3)
    return {
        "`POST /contexts`, a spare kernel": report.summary(made),
        "and its first result": report.summary(whole),
        "ipykernel, jupyter_client": report.summary(peer),
    }


async def crowd(url: str, number: int) -> dict[str, float]:
    """Many contexts asked for at once: when the first and the last has its result."""
    await wait_spares(url, 1)
    connections = [await Connection.open(url) for _ in range(number)]
    start = time.perf_counter()

    async def one(connection: Connection) -> float | None:
        body = request("POST", "/contexts", {"language": "python"})
        status, data = await connection.send(body)
        if status == BUSY:  # its turn did not come in `context_start_timeout_seconds`
            return None
        context_id = json.loads(data)["id"]
        await answer(connection, cell(context_id))
        seconds = time.perf_counter() - start
        await connection.send(request("DELETE", f"/contexts/{context_id}"))
        return seconds

    done = await asyncio.gather(*map(one, connections))
    for connection in connections:
        await connection.close()
    took = report.summary(seconds for seconds in done if seconds is not None)
    return {
        "first": took["minimum"],
        "p50": took["p50"],
        "last": took["maximum"],
        "refused": done.count(None),
    }


async def first(url: str) -> float:
    """Milliseconds of a server's first Python context, with no spare kernel."""
    connection = await Connection.open(url)
    start = time.perf_counter()
    await answer(connection, cell(await create(connection)))
    return (time.perf_counter() - start) * 1e3


async def measure(rounds: int) -> dict[str, Any]:
    """All figures."""
    with server(SERVE, "serve", "--port", "0", "--log-level", "error") as (url, _):
        figures: dict[str, Any] = {"first_ms": await first(url)}
        figures["warm_ms"] = await warm(url, rounds)
        figures["new_ms"] = await new(url, rounds)
        figures["crowds_s"] = {str(each): await crowd(url, each) for each in CROWDS}
    return figures


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds))
    ours, peer = (row["p50"] for row in figures["warm_ms"].values())
    figures["warm_ratio"] = ours / peer
    head = ("", "p50", "p95", "min", "n")
    rows = [
        ("the server's first, no spare kernel", report.rounded(figures["first_ms"])),
        *(_row(name, of) for name, of in figures["new_ms"].items()),
    ]
    rows = [(*row, *("",) * (len(head) - len(row))) for row in rows]
    parts = [
        "From the wish for a Python context to its first result, ms:\n",
        report.table(head, rows),
        "\n`1+1` in a live one, ms:\n",
        report.table(head, (_row(name, of) for name, of in figures["warm_ms"].items())),
        f"\nThe ratio is {figures['warm_ratio']:.2f}.\n",
        "\nAsked for at once, with one spare kernel, s until the first result:\n",
        report.table(
            ("contexts", "of the first", "p50", "of the last", "refused"),
            (
                (number, *map(report.rounded, found.values()))
                for number, found in figures["crowds_s"].items()
            ),
        ),
    ]
    report.publish(options, "python", figures, "\n".join(parts))


def _row(name: str, of: report.Summary) -> tuple[str, ...]:
    figures = (of["p50"], of["p95"], of["minimum"])
    return name, *map(report.rounded, figures), f"{of['n']}"


if __name__ == "__main__":
    main()
