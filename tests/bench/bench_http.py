"""What does POST /execute cost, beside an empty Tornado handler in the same run?

`1+1` in live contexts over 1, 8, 64 and 256 connections, a context of its own for each;
create, first cell and delete; and many live contexts that each answer from their own
state, with the memory that all of them take (PSS). Beside them the same jobs through
jupyter_kernel_gateway with the Deno kernel and with ipykernel, as many as the memory
and some minutes allow. The client of the gateway acknowledges at once, since most of
what another one measures is 40 ms of delayed acknowledgement (see gateway.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import gateway, peers, report
from tests.bench.http_client import Connection, request
from tests.bench.plots import Plot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS = (1, 8, 64, 256)
SECONDS = 2.0
LIVE = 1000
PEER_CONNECTIONS = (1, 8)
PEER_LIVE = 8
PEER_LIVES = 5
SERVE = (
    "import sys; from isoserver.cli.main import main; sys.argv[0] = 'isokernel'; main()"
)
EMPTY = """
import asyncio, tornado.web
class Empty(tornado.web.RequestHandler):
    def post(self): self.finish(b"{}")
async def main():
    from tornado.netutil import bind_sockets
    from tornado.httpserver import HTTPServer
    sockets = bind_sockets(0, "127.0.0.1")
    app = tornado.web.Application([("/execute", Empty)], log_function=lambda h: None)
    HTTPServer(app).add_sockets(sockets)
    print(f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def server(code: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and its process."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split()[-1], process.pid
        finally:
            process.terminate()
            process.wait()


async def load(url: str, requests: Sequence[bytes]) -> dict[str, Any]:
    """Send each request over a connection of its own, again and again."""
    connections = [await Connection.open(url) for _ in requests]
    samples: list[float] = []
    end = time.perf_counter() + SECONDS

    async def work(connection: Connection, data: bytes) -> None:
        while (start := time.perf_counter()) < end:
            status, _ = await connection.send(data)
            samples.append(time.perf_counter() - start)
            assert status == 200, status

    start = time.perf_counter()
    await asyncio.gather(*map(work, connections, requests))
    taken = time.perf_counter() - start
    for connection in connections:
        await connection.close()
    figures = report.summary(sample * 1e3 for sample in samples)
    return {**figures, "per_second": len(samples) / taken}


async def create(url: str) -> str:
    """Make a context."""
    connection = await Connection.open(url)
    status, body = await connection.send(
        request("POST", "/contexts", {"language": "javascript"})
    )
    assert status == 201, body
    await connection.close()
    context_id: str = json.loads(body)["id"]
    return context_id


async def trips(url: str, empty: str) -> dict[str, Any]:
    """`1+1` against an empty handler, in turn."""
    ids = [await create(url) for _ in range(max(CONNECTIONS))]
    bodies = [
        request("POST", "/execute", {"code": "1+1", "context_id": each}) for each in ids
    ]
    await load(url, bodies[:8])  # warm
    rows = {}
    for number in CONNECTIONS:
        rows[str(number)] = {
            "empty": await load(empty, bodies[:number]),
            "execute": await load(url, bodies[:number]),
        }
    return rows


async def lives(url: str, number: int) -> dict[str, Any]:
    """Create, first cell, delete, one after the other."""
    connection = await Connection.open(url)
    parts: dict[str, list[float]] = {"create": [], "first cell": [], "delete": []}
    for _ in range(number):
        marks = [time.perf_counter()]
        _, body = await connection.send(
            request("POST", "/contexts", {"language": "javascript"})
        )
        here = json.loads(body)["id"]
        marks.append(time.perf_counter())
        asked = request("POST", "/execute", {"code": "1+1", "context_id": here})
        status, _ = await connection.send(asked)
        assert status == 200
        marks.append(time.perf_counter())
        await connection.send(request("DELETE", f"/contexts/{here}"))
        marks.append(time.perf_counter())
        for name, begin, end in zip(parts, marks, marks[1:], strict=False):
            parts[name].append((end - begin) * 1e3)
    await connection.close()
    both = [
        sum(pair) for pair in zip(parts["create"], parts["first cell"], strict=True)
    ]
    summaries = {name: report.summary(values) for name, values in parts.items()}
    return {"created and first result": report.summary(both), **summaries}


def pss(pid: int) -> int:
    """Bytes of a process, what it shares counted in shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


async def live(url: str, pid: int, number: int) -> dict[str, Any]:
    """Many contexts at once, each with a state of its own."""
    connection = await Connection.open(url)
    ids = []
    start = time.perf_counter()
    for index in range(number):
        code = f"let own = {{ number: {index} }}; 0"
        body = {"code": code, "language": "javascript"}
        status, answer = await connection.send(request("POST", "/execute", body))
        assert status == 200, answer
        ids.append(json.loads(answer)["context_id"])
    made = time.perf_counter() - start
    samples, wrong = [], 0
    for index, here in enumerate(ids):
        asked = request("POST", "/execute", {"code": "own.number", "context_id": here})
        begin = time.perf_counter()
        _, answer = await connection.send(asked)
        samples.append((time.perf_counter() - begin) * 1e3)
        wrong += json.loads(answer)["items"][0]["text"] != str(index)
    await connection.close()
    children = psutil.Process(pid).children(recursive=True)
    total = sum(pss(child.pid) for child in children)
    return {
        "contexts": number,
        "seconds_to_make": made,
        "wrong_answers": wrong,
        "answer_ms": report.summary(samples),
        "pss_mib_each": total / number / 2**20,
        "server_pss_mib": pss(pid) / 2**20,
    }


async def peer_trips(kernels: Sequence[gateway.Kernel]) -> dict[str, Any]:
    """`1+1` in each kernel, again and again."""
    samples: list[float] = []
    end = time.perf_counter() + SECONDS

    async def work(kernel: gateway.Kernel) -> None:
        while (start := time.perf_counter()) < end:
            assert await kernel.run("1+1")
            samples.append((time.perf_counter() - start) * 1e3)

    start = time.perf_counter()
    await asyncio.gather(*map(work, kernels))
    taken = time.perf_counter() - start
    return {**report.summary(samples), "per_second": len(samples) / taken}


async def peer(url: str, pid: int, spec: str) -> dict[str, Any]:
    """The same jobs in another kernel, over the gateway."""
    samples: dict[str, list[float]] = {"created and first result": [], "delete": []}
    for _ in range(PEER_LIVES):
        begin = time.perf_counter()
        kernel = await gateway.Kernel.start(url, spec)
        await kernel.run("1+1")
        middle = time.perf_counter()
        await kernel.delete()
        samples["created and first result"].append((middle - begin) * 1e3)
        samples["delete"].append((time.perf_counter() - middle) * 1e3)
    kernels = [await gateway.Kernel.start(url, spec) for _ in range(PEER_LIVE)]
    for index, kernel in enumerate(kernels):
        state = f"own = {index}" if spec == "python3" else f"let own = {index}"
        await kernel.run(f"{state}\nown")
    found: dict[str, Any] = {
        "trips": {str(n): await peer_trips(kernels[:n]) for n in PEER_CONNECTIONS},
        "lives": {name: report.summary(values) for name, values in samples.items()},
        "wrong_answers": 0,
    }
    for index, kernel in enumerate(kernels):
        found["wrong_answers"] += str(index) not in await kernel.run("own")
    total = sum(pss(each.pid) for each in psutil.Process(pid).children(recursive=True))
    found["pss_mib_each"] = total / len(kernels) / 2**20
    for kernel in kernels:
        await kernel.delete()
    return found


async def others() -> dict[str, Any]:
    """The peers that this environment has."""
    if not gateway.available():
        return {}
    with peers.environment():
        specs = {each.spec: each.title for each in peers.available()}
        with gateway.gateway() as (url, pid):
            return {
                specs[spec]: await peer(url, pid, spec)
                for spec in ("deno", "python3")
                if spec in specs
            }


async def measure(rounds: int) -> dict[str, Any]:
    """Measure everything."""
    flags = ("serve", "--port", "0", "--contexts-max", str(LIVE + 300))
    figures: dict[str, Any] = {}
    with server(EMPTY) as (empty, _), server(SERVE, *flags) as (url, pid):
        figures["trips"] = await trips(url, empty)
        figures["lives"] = await lives(url, 50 * rounds)
    with server(SERVE, *flags) as (url, pid):
        figures["live"] = await live(url, pid, LIVE)
    figures["peers"] = await others()
    return figures


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| connections | empty handler p50 / p95 ms, a second "
        "| `1+1` p50 / p95 ms, a second | p50, times | throughput, share |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, row in figures["trips"].items():
        empty, execute = row["empty"], row["execute"]
        cells = [
            f"{part['p50']:.2f} / {part['p95']:.2f}, {part['per_second']:.0f}"
            for part in (empty, execute)
        ]
        slower = execute["p50"] / empty["p50"]
        share = execute["per_second"] / empty["per_second"]
        lines.append(
            f"| {number} | {cells[0]} | {cells[1]} | {slower:.2f} | {share:.2f} |"
        )
    lines += ["", "| | p50 ms | p95 ms |", "| --- | --- | --- |"]
    for name, part in figures["lives"].items():
        lines.append(f"| {name} | {part['p50']:.2f} | {part['p95']:.2f} |")
    many = figures["live"]
    lines += [
        "",
        f"{many['contexts']} live contexts, made in {many['seconds_to_make']:.1f} s: "
        f"{many['wrong_answers']} wrong answers, answer p50 "
        f"{many['answer_ms']['p50']:.2f} ms, {many['pss_mib_each']:.2f} MiB PSS each, "
        f"the server itself {many['server_pss_mib']:.0f} MiB.",
    ]
    lines += _peers(figures["peers"])
    return "\n".join(lines)


def _peers(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    lines = [
        "",
        "The same through jupyter_kernel_gateway, whose websocket has Nagle on; "
        "our client acknowledges at once, others wait 40 ms more:",
        "",
        "| kernel | `1+1` over 1 websocket, p50 / p95 ms, a second | over 8 "
        "| created and first result, p50 ms | delete, p50 ms | PSS each of 8, MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, of in found.items():
        trips = [
            f"{part['p50']:.2f} / {part['p95']:.2f}, {part['per_second']:.0f}"
            for part in of["trips"].values()
        ]
        lives = [f"{part['p50']:.0f}" for part in of["lives"].values()]
        cells = [title, *trips, *lives, f"{of['pss_mib_each']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds))
    plots = [_plot(figures["trips"])]
    report.publish(options, "http", figures, tables(figures), plots=plots)


def _plot(trips: dict[str, Any]) -> Plot:
    lines = {
        name: [(int(number), of[what]["per_second"]) for number, of in trips.items()]
        for name, what in (("an empty handler", "empty"), ("/execute", "execute"))
    }
    title = "Requests a second, by connections"
    return Plot("connections", title, "connections", "a second", lines)


if __name__ == "__main__":
    main()
