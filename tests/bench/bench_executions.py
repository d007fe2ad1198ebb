"""How long is it from an order of code to its end, and how many end in a second?

`1+1` by POST /api/exec, then GET, whose answer waits for the end: stateless, and
stateful with a heap each, with a context of its own each or one session for a client;
one at a time, then 16 clients, with the processor time that the whole machine takes for
each. How that grows: with the size of what a heap has, and with the number of runs of a
session.
Beside that: pages of output, early and late in 10 MB, which shall take the same; and
JavaScript's speed inside both kinds of runs, as seconds of one loop.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.http_client import Connection, request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CLIENTS = 16
SECONDS = 3.0
ALONE = 40
WAIT_MS = 60_000
"""How long an answer waits for the end of an execution."""
PAGES = 100
SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
"""Bytes of texts in objects, 50 each."""
SIZED = 7
LONG = 300
"""Runs of one session."""
LINES = "for (let i = 0; i < 131072; i++) console.log('x'.repeat(79)); 0"
WORK = """
(() => { const begin = performance.now();
  const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);
  fib(30); return performance.now() - begin; })()
"""


async def end(connection: Connection, body: dict[str, Any]) -> dict[str, Any]:
    """Order code and return how it has ended."""
    status, answer = await connection.send(request("POST", "/api/exec", body))
    assert status == 202, answer
    path = f"/api/executions/{json.loads(answer)['execution_id']}"
    _, answer = await connection.send(request("GET", f"{path}?wait_ms={WAIT_MS}"))
    info: dict[str, Any] = json.loads(answer)
    assert info["status"] == "completed", info
    return info


async def alone(url: str, body: dict[str, Any]) -> report.Summary:
    """Milliseconds of each, one at a time."""
    connection = await Connection.open(url)
    for _ in range(5):
        await end(connection, body)
    samples = []
    for _ in range(ALONE):
        begin = time.perf_counter()
        await end(connection, body)
        samples.append((time.perf_counter() - begin) * 1e3)
    await connection.close()
    return report.summary(samples)


def _busy() -> float:
    """Seconds that all processors have worked."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.steal)


async def together(url: str, bodies: list[dict[str, Any]]) -> tuple[float, float]:
    """Ended ones a second, with a client for each body; processor ms for each."""
    count = 0
    stop = time.perf_counter() + SECONDS

    async def work(body: dict[str, Any]) -> None:
        nonlocal count
        connection = await Connection.open(url)
        while time.perf_counter() < stop:
            await end(connection, body)
            count += 1
        await connection.close()

    begin, busy = time.perf_counter(), _busy()
    await asyncio.gather(*map(work, bodies))
    taken, busy = time.perf_counter() - begin, _busy() - busy
    return count / taken, busy * 1e3 / count


async def runs(url: str, *, session: bool) -> dict[str, Any]:
    """Both, and how fast code is."""
    named = [{"session": f"bench-{n}"} if session else {} for n in range(CLIENTS)]
    connection = await Connection.open(url)
    work = [
        float((await end(connection, {"code": WORK, **named[0]}))["result"])
        for _ in range(3)
    ]
    await connection.close()
    alone_ms = await alone(url, {"code": "1+1", **named[0]})
    bodies = [{"code": "1+1", **each} for each in named]
    per_second, processor_ms = await together(url, bodies)
    return {
        "alone_ms": alone_ms,
        "per_second": per_second,
        "processor_ms": processor_ms,
        "fib_ms": min(work),
    }


async def sizes(url: str) -> dict[str, Any]:
    """Milliseconds of runs that save a heap of some bytes, by its size."""
    connection = await Connection.open(url)
    found: dict[str, Any] = {}
    for size in SIZES:
        code = (
            f"let data = Array.from({{ length: {size // 50} }},"
            " (_, i) => ({ i, text: `${i}`.padEnd(30, '.') })); 0"
        )
        samples = []
        for _ in range(SIZED if size < SIZES[-1] else 3):
            begin = time.perf_counter()
            await end(connection, {"code": code})
            samples.append((time.perf_counter() - begin) * 1e3)
        found[f"{size:,} bytes"] = report.summary(samples)
    await connection.close()
    return found


async def long(url: str) -> dict[str, float]:
    """Milliseconds of one session's runs: about the 10th, and the last."""
    connection = await Connection.open(url)
    samples = []
    for number in range(LONG):
        begin = time.perf_counter()
        await end(connection, {"code": f"globalThis.n = {number}", "session": "long"})
        samples.append((time.perf_counter() - begin) * 1e3)
    await connection.close()
    return {
        "the 10th": statistics.median(samples[5:16]),
        f"the {LONG}th": statistics.median(samples[-11:]),
    }


async def pages(url: str) -> dict[str, Any]:
    """Milliseconds of a page at the begin and at the end of 10 MB."""
    connection = await Connection.open(url)
    info = await end(connection, {"code": LINES, "execution_timeout_secs": 60})
    path = f"/api/executions/{info['execution_id']}/output"
    found = {}
    for name, query in (
        ("first 100 lines", "line_offset=1"),
        ("last 100 lines", "line_offset=130973"),
        ("first 4 KiB", "byte_offset=0"),
        ("last 4 KiB", "byte_offset=10480000"),
    ):
        ask = request("GET", f"{path}?{query}")
        samples = []
        for _ in range(PAGES):
            begin = time.perf_counter()
            status, _ = await connection.send(ask)
            samples.append((time.perf_counter() - begin) * 1e3)
            assert status == 200
        found[name] = report.summary(samples)
    await connection.close()
    return found


def measure(ask: Callable[[str], Awaitable[Any]], *flags: str) -> Any:
    """Ask something of a server of its own."""
    languages = ("--languages", "javascript,typescript", "--default-language", "js")
    with tempfile.TemporaryDirectory() as folder:
        line = ("serve", "--port", "0", "--no-access-log", "--data-dir", folder)
        with server(SERVE, *line, *languages, *flags) as (url, _):
            return asyncio.run(ask(url))  # type: ignore[arg-type]  # a coroutine


def main() -> None:
    """Measure and print."""
    options = report.arguments(__doc__ or "").parse_args()
    figures = {
        "stateless": measure(lambda url: runs(url, session=False), "--stateless"),
        "stateful": measure(lambda url: runs(url, session=False)),
        "stateful, sessions": measure(lambda url: runs(url, session=True)),
    }
    sized, session = measure(sizes), measure(long)
    read = measure(pages, "--stateless", "--output-bytes-max", "20000000")
    text = "\n".join(
        [
            "From the order of `1+1` to its end:\n",
            report.table(
                (
                    "",
                    "p50, ms",
                    "p95, ms",
                    f"a second, {CLIENTS} clients",
                    "to stateless",
                    "processor, ms each",
                    "fib(30), ms",
                ),
                (
                    (
                        name,
                        report.rounded(each["alone_ms"]["p50"]),
                        report.rounded(each["alone_ms"]["p95"]),
                        report.rounded(each["per_second"]),
                        report.rounded(
                            each["per_second"] / figures["stateless"]["per_second"]
                        ),
                        report.rounded(each["processor_ms"]),
                        report.rounded(each["fib_ms"]),
                    )
                    for name, each in figures.items()
                ),
            ),
            "\nA run alone that makes objects, to its end with a heap of them; and "
            f"runs of one session, {LONG} in a row:\n",
            report.table(
                ("", "p50, ms"),
                [
                    *(
                        (name, report.rounded(each["p50"]))
                        for name, each in sized.items()
                    ),
                    *((name, report.rounded(each)) for name, each in session.items()),
                ],
            ),
            "\nA page of 10 MB of output:\n",
            report.table(
                ("", "p50, ms", "p95, ms"),
                (
                    (name, report.rounded(each["p50"]), report.rounded(each["p95"]))
                    for name, each in read.items()
                ),
            ),
        ]
    )
    grown = {"sizes_ms": sized, "session_ms": session}
    data = {"runs": figures, **grown, "pages_ms": read}
    report.publish(options, "executions", data, text)


if __name__ == "__main__":
    main()
