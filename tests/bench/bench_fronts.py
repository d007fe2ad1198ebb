"""What do fronts cost: to attach, a cell through one, many starts, a thousand fronts?

Attaching is a websocket's opening, from the connection to the reply to the first
`kernel_info_request`. A cell through a front is over when its reply and idle have come;
beside it, in turn, the same cell over `POST /execute` in the same context, and in one
without fronts. Starts
at once are as many `POST /jupyter/api/kernels` without waiting for one another. Then
ten fronts are attached to each of more and more contexts: what the server's memory
grows by, and how long a cell takes, for the one that runs it and until all ten have
heard of it; and one for each front, all at once.

The fronts are all in this process, and share two cores with the server.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import report
from tests.bench.bench_http import SERVE, create, server
from tests.bench.http_client import Connection, request
from tests.bench.websocket_client import Front

if TYPE_CHECKING:
    from collections.abc import Awaitable

ATTACHED = 10
"""Fronts of each context."""
CONTEXTS = (1, 10, 100)
STARTS = 500
FLAGS = (
    *("serve", "--port", "0", "--contexts-max", "700"),
    *("--execute-rate-per-minute", "0", "--request-rate-per-minute", "0"),
)


async def milliseconds(work: Awaitable[Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    await work
    return (time.perf_counter() - start) * 1e3


async def make(url: str, language: str) -> str:
    """Make a context of any language."""
    connection = await Connection.open(url)
    body = {"language": language}
    status, answer = await connection.send(request("POST", "/contexts", body))
    assert status == 201, answer
    await connection.close()
    made: str = json.loads(answer)["id"]
    return made


async def attach(url: str, language: str, rounds: int) -> dict[str, Any]:
    """Open a websocket, and ask what the kernel is."""
    context = await make(url, language)
    opened, answered = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        front = await Front.attach(url, context)
        opened.append((time.perf_counter() - start) * 1e3)
        await front.answered(front.ask("kernel_info_request", {}))
        answered.append((time.perf_counter() - start) * 1e3)
        await front.close()
    return {"open": report.summary(opened), "reply": report.summary(answered)}


async def cells(url: str, language: str, rounds: int) -> dict[str, Any]:
    """`1+1` through a front and over HTTP, in turn."""
    context = await make(url, language)
    connection = await Connection.open(url)
    asked = request("POST", "/execute", {"code": "1+1", "context_id": context})
    watched = await make(url, language)
    other = request("POST", "/execute", {"code": "1+1", "context_id": watched})
    front = await Front.attach(url, context)
    slow = await Front.attach(url, await make(url, language), nagle=True)
    names = ("front", "nagle", "execute", "alone")
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 50):
        took = {
            "front": await milliseconds(front.run("1+1")),
            "nagle": await milliseconds(slow.run("1+1")),
            "execute": await milliseconds(connection.send(asked)),
            "alone": await milliseconds(connection.send(other)),
        }
        if turn >= 50:
            for name, one in took.items():
                samples[name].append(one)
    await front.close()
    await slow.close()
    await connection.close()
    return {name: report.summary(values) for name, values in samples.items()}


async def starts(url: str, number: int) -> dict[str, Any]:
    """Start many kernels at once, and run a cell in each."""
    connections = [await Connection.open(url) for _ in range(number)]
    asked = request("POST", "/jupyter/api/kernels", {"name": "v8-javascript"})
    samples: list[float] = []
    made: list[str] = []
    wrong = 0

    async def one(connection: Connection) -> None:
        nonlocal wrong
        start = time.perf_counter()
        status, answer = await connection.send(asked)
        if status != 201:
            wrong += 1
            return
        samples.append((time.perf_counter() - start) * 1e3)
        made.append(json.loads(answer)["id"])

    start = time.perf_counter()
    await asyncio.gather(*map(one, connections))
    taken = time.perf_counter() - start
    for index, (connection, kernel) in enumerate(zip(connections, made, strict=False)):
        cell = {"code": f"{index} + 1", "context_id": kernel}
        _, answer = await connection.send(request("POST", "/execute", cell))
        wrong += json.loads(answer)["items"][0]["text"] != str(index + 1)
        path = f"/jupyter/api/kernels/{kernel}"
        status, _ = await connection.send(request("DELETE", path))
        wrong += status != 204
    for connection in connections:
        await connection.close()
    return {
        "n": number,
        "wrong": wrong,
        "seconds": taken,
        "answer_ms": report.summary(samples),
    }


def memory(pid: int) -> int:
    """Bytes of the server's process alone."""
    found: int = psutil.Process(pid).memory_full_info().uss
    return found


async def together(fronts: list[Front]) -> tuple[float, float]:
    """A cell of the first: until it is over for that, and for all."""
    start = time.perf_counter()
    number = fronts[0].ask("execute_request", {"code": "1+1"})
    others = asyncio.gather(*(each.over(number) for each in fronts[1:]))
    await fronts[0].answered(number)
    own = (time.perf_counter() - start) * 1e3
    await others
    return own, (time.perf_counter() - start) * 1e3


async def crowd(url: str, pid: int, contexts: int, rounds: int) -> dict[str, Any]:
    """Attach fronts to a number of contexts, and run cells."""
    ids = [await create(url) for _ in range(contexts)]
    first = await Front.attach(url, ids[0])
    await first.run("1")  # what is loaded for the first one is nobody's
    await first.close()
    before = memory(pid)
    start = time.perf_counter()
    groups = [[await Front.attach(url, each) for _ in range(ATTACHED)] for each in ids]
    taken = time.perf_counter() - start
    fronts = [front for group in groups for front in group]
    for group in groups:  # each context has run a cell, as those that people attach to
        await together(group)
    after = memory(pid)
    turns = [await together(groups[turn % contexts]) for turn in range(rounds)]
    samples: list[float] = []

    async def run(front: Front) -> None:
        # What it hears until then are the cells of the others, too.
        samples.append(await milliseconds(front.run("1+1")))

    at_once = await milliseconds(asyncio.gather(*map(run, fronts)))
    for front in fronts:
        await front.close()
    connection = await Connection.open(url)
    for each in ids:
        await connection.send(request("DELETE", f"/contexts/{each}"))
    await connection.close()
    own, all_ = zip(*turns, strict=True)
    return {
        "contexts": contexts,
        "fronts": len(fronts),
        "seconds_to_attach": taken,
        "server_mib": after / 2**20,
        "kib_each": (after - before) / len(fronts) / 1024,
        "cell_ms": report.summary(own),
        "heard_by_all_ms": report.summary(all_),
        "at_once_seconds": at_once / 1e3,
        "at_once_ms": report.summary(samples),
    }


async def measure(rounds: int) -> dict[str, Any]:
    """Measure everything; many fronts in a server of their own."""
    figures: dict[str, Any] = {"attach": {}, "cells": {}, "crowd": []}
    with server(SERVE, *FLAGS) as (url, _):
        for language in ("javascript", "python"):
            figures["attach"][language] = await attach(url, language, rounds)
            figures["cells"][language] = await cells(url, language, 5 * rounds)
        figures["starts"] = await starts(url, STARTS)
    for contexts in CONTEXTS:
        with server(SERVE, *FLAGS) as (url, pid):
            figures["crowd"].append(await crowd(url, pid, contexts, rounds))
    return figures


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""

    def both(found: report.Summary) -> str:
        return f"{report.rounded(found['p50'])} / {report.rounded(found['p95'])}"

    rows = []
    for language, found in figures["attach"].items():
        of = figures["cells"][language]
        timed = [found["open"], found["reply"], *of.values()]
        rows.append([language, *map(both, timed)])
    head = ["language", "websocket open, ms p50 / p95", "first reply", "`1+1`, a front"]
    head += [
        "by a client with Nagle on",
        "`/execute`, a front attached",
        "none attached",
    ]
    first = report.table(head, rows)
    begun = figures["starts"]
    second = (
        f"{begun['n']} kernels started at once: all there after "
        f"{begun['seconds']:.1f} s, {begun['wrong']} wrong; "
        f"an answer took {both(begun['answer_ms'])} ms (p50 / p95)."
    )
    head = ["contexts", "fronts", "server, MiB", "KiB for each front"]
    head += ["`1+1`, ms p50 / p95", "until 10 have heard of it"]
    head += ["a cell of each front at once, s", "each of those, ms p50 / p95"]
    rows = [
        [
            str(each["contexts"]),
            f"{each['fronts']:,}",
            f"{each['server_mib']:.0f}",
            f"{each['kib_each']:.1f}",
            both(each["cell_ms"]),
            both(each["heard_by_all_ms"]),
            f"{each['at_once_seconds']:.2f}",
            both(each["at_once_ms"]),
        ]
        for each in figures["crowd"]
    ]
    return f"{first}\n\n{second}\n\n{report.table(head, rows)}"


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds))
    report.publish(options, "fronts", figures, tables(figures))


if __name__ == "__main__":
    main()
