"""What does a busy server's own memory grow to?

Each kind of work has a server of its own, which has done ten times as much from one
reading to the next: cells in live contexts, contexts that are made and deleted, runs
without and with a heap. The memory is that of the server's process and of the largest
one below it, which is the fork server; files that they map aside. Beside it stands what
else could be left behind.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from tests.bench import report
from tests.bench.bench_http import SERVE, server
from tests.bench.http_client import Connection, request
from tests.bench.plots import Plot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FLAGS: Final = ("serve", "--port", "0", "--no-access-log")
CONNECTIONS: Final = 8
SETTLED_SECONDS: Final = 1.0
ERRORS: Final = 400


async def _ask(connection: Connection, method: str, path: str, body: Any = None) -> Any:
    status, answer = await connection.send(request(method, path, body))
    if status >= ERRORS:
        raise RuntimeError(answer)
    return json.loads(answer) if answer else None


class Client:
    """One of those who keep the server busy."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._live = ""

    async def cell(self) -> None:
        """A cell in this client's context."""
        body = {"code": "1+1", "language": "javascript"}
        if self._live:
            body["context_id"] = self._live
        answer = await _ask(self._connection, "POST", "/execute", body)
        self._live = answer["context_id"]

    async def context(self) -> None:
        """A context, from its beginning to its end."""
        wish = {"language": "javascript"}
        made = await _ask(self._connection, "POST", "/contexts", wish)
        body = {"code": "1+1", "context_id": made["id"]}
        await _ask(self._connection, "POST", "/execute", body)
        await _ask(self._connection, "DELETE", f"/contexts/{made['id']}")

    async def run(self) -> None:
        """A run, from its order to its end."""
        ordered = await _ask(self._connection, "POST", "/api/exec", {"code": "1+1"})
        path = f"/api/executions/{ordered['execution_id']}?wait_ms=60000"
        info = await _ask(self._connection, "GET", path)
        if info["status"] != "completed":
            raise RuntimeError(info)


KINDS: Final[
    dict[str, tuple[Callable[[Client], Awaitable[None]], tuple[int, ...], str]]
] = {
    "cells": (Client.cell, (100, 1_000, 10_000, 100_000), ""),
    "contexts": (Client.context, (10, 100, 1_000, 10_000), ""),
    "runs": (Client.run, (10, 100, 1_000, 10_000), "--stateless"),
    "runs with a heap": (Client.run, (10, 100, 1_000), ""),
}
"""What is done, how often until each reading, and a flag of the server's."""


def reading(pid: int, count: int) -> dict[str, float]:
    """What a server's process has, and its fork server's."""
    process = psutil.Process(pid)
    children = process.children()
    largest = max(map(_anonymous, (child.pid for child in children)), default=0)
    return {
        "count": count,
        "server_mib": _anonymous(pid),
        "largest_child_mib": largest,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
    }


def _anonymous(pid: int) -> float:
    """MiB of a process that are no file's, shared with forked ones or not."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (found,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(found.split()[1]) / 1024


async def grow(kind: str, seconds: float) -> list[dict[str, float]]:
    """Do one kind of work, as often as there is time for."""
    work, counts, flag = KINDS[kind]
    readings = []
    with server(SERVE, *FLAGS, *([flag] if flag else [])) as (url, pid):
        opened = [await Connection.open(url) for _ in range(CONNECTIONS)]
        clients = [Client(each) for each in opened]
        await asyncio.gather(*map(work, clients))
        done = itertools.count(CONNECTIONS + 1)
        end = time.monotonic() + seconds

        async def busy(client: Client, until: int) -> None:
            while next(done) <= until and time.monotonic() < end:
                await work(client)

        for count in counts:
            await asyncio.gather(*(busy(client, count) for client in clients))
            if time.monotonic() >= end:
                break
            done = itertools.count(count + 1)
            await asyncio.sleep(SETTLED_SECONDS)  # for what ends in the background
            readings.append(reading(pid, count))
        for each in opened:
            await each.close()
    return readings


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=150, help="for each kind")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    figures = {kind: asyncio.run(grow(kind, options.seconds)) for kind in options.kinds}
    rows = [
        [
            f"{of['count']:,.0f} {kind}",
            *(report.rounded(of[name]) for name in ("server_mib", "largest_child_mib")),
            *(f"{of[name]:.0f}" for name in ("descriptors", "threads", "processes")),
        ]
        for kind, readings in figures.items()
        for of in readings
    ]
    head = ["after", "server, MiB", "its largest child, MiB", "descriptors"]
    text = report.table([*head, "threads", "processes below"], rows)
    lines = {
        kind: [(of["count"], of["server_mib"]) for of in readings]
        for kind, readings in figures.items()
    }
    title = "A busy server's own memory"
    plots = [Plot("growth", title, "done so far", "MiB", lines)]
    report.publish(options, "memory", figures, text, plots=plots)


if __name__ == "__main__":
    main()
