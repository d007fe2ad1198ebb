"""How long is it from an order of code to its end, and how many end in a second?

`1+1` by POST /api/exec, then GET until it has ended: stateless, and stateful with a
heap each, with a context of its own each or one session for a client; one at a time,
then 16 clients. Beside that: pages of output, early and late in 10 MB, which shall take
the same; and JavaScript's speed inside both kinds of runs, as seconds of one loop.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from typing import TYPE_CHECKING, Any

from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.http_client import Connection, request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CLIENTS = 16
SECONDS = 3.0
ALONE = 40
PAUSE = 0.005
"""Seconds between two questions of one of many clients."""
PAGES = 100
LINES = "for (let i = 0; i < 131072; i++) console.log('x'.repeat(79)); 0"
WORK = """
(() => { const begin = performance.now();
  const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);
  fib(30); return performance.now() - begin; })()
"""


async def end(
    connection: Connection, body: dict[str, Any], pause: float = 0.0
) -> dict[str, Any]:
    """Order code and ask until it has ended, with pauses in between."""
    status, answer = await connection.send(request("POST", "/api/exec", body))
    assert status == 202, answer
    ask = request("GET", f"/api/executions/{json.loads(answer)['execution_id']}")
    while True:
        status, answer = await connection.send(ask)
        info: dict[str, Any] = json.loads(answer)
        if info["status"] != "running":
            assert info["status"] == "completed", info
            return info
        await asyncio.sleep(pause)


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


async def together(url: str, bodies: list[dict[str, Any]]) -> float:
    """Ended ones a second, with a client for each body."""
    count = 0
    stop = time.perf_counter() + SECONDS

    async def work(body: dict[str, Any]) -> None:
        nonlocal count
        connection = await Connection.open(url)
        while time.perf_counter() < stop:
            await end(connection, body, PAUSE)
            count += 1
        await connection.close()

    begin = time.perf_counter()
    await asyncio.gather(*map(work, bodies))
    return count / (time.perf_counter() - begin)


async def runs(url: str, *, session: bool) -> dict[str, Any]:
    """Both, and how fast code is."""
    named = [{"session": f"bench-{n}"} if session else {} for n in range(CLIENTS)]
    connection = await Connection.open(url)
    work = [
        float((await end(connection, {"code": WORK, **named[0]}))["result"])
        for _ in range(3)
    ]
    await connection.close()
    return {
        "alone_ms": await alone(url, {"code": "1+1", **named[0]}),
        "per_second": await together(url, [{"code": "1+1", **each} for each in named]),
        "fib_ms": min(work),
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
                    "fib(30), ms",
                ),
                (
                    (
                        name,
                        report.rounded(each["alone_ms"]["p50"]),
                        report.rounded(each["alone_ms"]["p95"]),
                        report.rounded(each["per_second"]),
                        report.rounded(each["fib_ms"]),
                    )
                    for name, each in figures.items()
                ),
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
    report.publish(options, "executions", {"runs": figures, "pages_ms": read}, text)


if __name__ == "__main__":
    main()
