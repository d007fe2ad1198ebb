"""What do contexts cost that a fork server starts?

A blank context from the request to its first result, one that goes on from a saved
heap of 1 MB, a clone of a live one; `1+1` in a live context; and the memory of many at
once, each of which then answers from its own state. All contexts are confined, but for
one row that tells what the confinement costs.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import time
from typing import TYPE_CHECKING, Any

import psutil
from tests.bench import report
from tests.bench.plots import Plot
from tests.support.workers import WorkerClient

from isokernel.context import Context
from isokernel.forkserver import ForkServer
from isokernel.protocol.frames import Decoder, Frame, encode
from isokernel.sandbox import SandboxSettings
from isokernel.settings import ContextSettings
from isokernel.v8 import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = ContextSettings()
MIB = 1 << 20
HEAP = (
    "globalThis.kept = Array.from({ length: 9000 },"
    " (_, i) => ({ id: i, name: `item ${i}`, list: [i, i + 0.5] })); 0"
)
PER_CONTEXT_MIB = 8
"""Memory that must be free for each context before many are started; to be safe."""


@contextlib.contextmanager
def fork_server(sandbox: SandboxSettings | None) -> Iterator[ForkServer]:
    """A warm fork server."""
    server = ForkServer(sandbox=sandbox)
    server.start()
    try:
        yield server
    finally:
        server.close()


def milliseconds(
    begin: Callable[[], WorkerClient], times: int, code: str = "1+1"
) -> report.Summary:
    """From the wish for a context to the result of its first cell."""
    samples = []
    for _ in range(times + 5):
        start = time.perf_counter()
        client = begin()
        client.run(code)
        samples.append((time.perf_counter() - start) * 1e3)
        client.close()
    return report.summary(samples[5:])


def saved_heap() -> bytes:
    """A heap of 1 MB."""
    context = Context(SETTINGS, lambda _event: None)
    try:
        context.begin(HEAP, execution_id=1)
        return writer.save(context.bridge.isolate).to_bytes()
    finally:
        context.close()


def starts(rounds: int) -> dict[str, report.Summary]:
    """Milliseconds of every way to a context."""
    found = {}
    heap = saved_heap()
    with fork_server(None) as server:
        found["blank, not confined"] = milliseconds(
            lambda: WorkerClient(*server.spawn(SETTINGS)), rounds
        )
    with fork_server(SandboxSettings()) as server:
        found["blank"] = milliseconds(
            lambda: WorkerClient(*server.spawn(SETTINGS)), rounds
        )
        found["blank, first cell is TypeScript"] = milliseconds(
            lambda: WorkerClient(
                *server.spawn(SETTINGS._replace(language="typescript"))
            ),
            rounds,
            "enum E { a, b }; const n: number = E.b; n",
        )
        found["from a heap of 1 MB"] = milliseconds(
            lambda: WorkerClient(*server.spawn(SETTINGS, snapshot=heap)), rounds
        )
        original = WorkerClient(*server.spawn(SETTINGS))
        original.run(HEAP)
        found["clone of a live context of 1 MB"] = milliseconds(original.clone, rounds)
        original.close()
    return found


class Question:
    """One cell, asked again and again, with as little of the client's as can be."""

    def __init__(self, client: WorkerClient, code: str) -> None:
        self._socket = client.work
        self._socket.settimeout(None)
        self._code = code
        self._decoder = Decoder()
        self._ids = itertools.count(1000)

    def __call__(self) -> None:
        """Ask, and read up to `idle`."""
        content = {"code": self._code}
        self._socket.sendall(encode("execute_request", content, id=next(self._ids)))
        frames: list[Frame] = []
        while not frames or frames[-1].content.get("execution_state") != "idle":
            frames = self._decoder.feed(self._socket.recv(1 << 16)) or frames


def cells(times: int) -> dict[str, report.Summary]:
    """Microseconds in a live context, through its socket, with the client's part."""
    found = {}
    with fork_server(SandboxSettings()) as server:
        client = WorkerClient(*server.spawn(SETTINGS))
        for name, code in (
            ("`1+1`", "1+1"),
            ("`await 1`", "await 1"),
            ("an object", "({ a: [1, 'b'] })"),
            ("an error", "nope"),
        ):
            ask = Question(client, code)
            report.timed(ask, 100)
            samples = report.timed(ask, times)
            found[name] = report.summary(sample * 1e6 for sample in samples)
        client.close()
    return found


def crowd(count: int) -> dict[str, Any]:
    """Many contexts at once: time, memory, and whether each has its own state."""
    with fork_server(SandboxSettings()) as server:
        start = time.perf_counter()
        clients = [WorkerClient(*server.spawn(SETTINGS)) for _ in range(count)]
        for number, client in enumerate(clients):
            client.value(f"let own = {number}; own")
        seconds = time.perf_counter() - start
        shares = [client.memory()["pss"] / MIB for client in clients]
        assert server.pid is not None
        server_pss = psutil.Process(server.pid).memory_full_info().pss / MIB
        start = time.perf_counter()
        for client in clients:
            client.execute("own")
        right = sum(
            client.finish(3)[2].content["data"]["text/plain"] == f"{number}"
            for number, client in enumerate(clients)
        )
        answers = time.perf_counter() - start
        lost = len(server.poll_exits())
        for client in clients:
            client.close()
    return {
        "contexts": count,
        "all_started_s": seconds,
        "all_answered_s": answers,
        "pss_mib": report.summary(shares),
        "pss_total_mib": sum(shares) + server_pss,
        "right_answers": right,
        "lost": lost,
    }


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--crowds", type=int, nargs="*", default=[10, 100, 1000])
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    started, live = starts(options.rounds), cells(options.rounds * 20)
    free = psutil.virtual_memory().available / MIB
    fitting = [count for count in options.crowds if count * PER_CONTEXT_MIB < free]
    crowds = [crowd(count) for count in fitting]
    head = ("", "p50", "p95", "n")
    parts = [
        "From the request to the first result, ms:\n",
        report.table(head, (_row(name, of) for name, of in started.items())),
        "\nA cell in a live context, µs:\n",
        report.table(head, (_row(name, of) for name, of in live.items())),
        "\nMany contexts, each after its first cell:\n",
        report.table(
            (
                "contexts",
                "PSS each, MiB: p50 / p95",
                "PSS in all, with the fork server",
                "started and answered, s",
                "all answer again, s",
                "right answers",
                "lost",
            ),
            (
                (
                    f"{each['contexts']}",
                    f"{each['pss_mib']['p50']:.2f} / {each['pss_mib']['p95']:.2f}",
                    f"{each['pss_total_mib']:.0f}",
                    report.rounded(each["all_started_s"]),
                    report.rounded(each["all_answered_s"]),
                    f"{each['right_answers']}",
                    f"{each['lost']}",
                )
                for each in crowds
            ),
        ),
    ]
    figures = {"starts_ms": started, "cells_us": live, "crowds": crowds}
    report.publish(options, "contexts", figures, "\n".join(parts), plots=_plots(crowds))


def _plots(crowds: list[dict[str, Any]]) -> list[Plot]:
    if not crowds:
        return []

    def each(take: Callable[[dict[str, Any]], float]) -> list[tuple[float, float]]:
        return [(crowd["contexts"], take(crowd)) for crowd in crowds]

    return [
        Plot(
            "crowds",
            "What each of many live contexts costs",
            "live contexts",
            "each",
            {
                "memory, MiB": each(lambda of: of["pss_mib"]["p50"]),
                "to begin, ms": each(
                    lambda of: of["all_started_s"] / of["contexts"] * 1e3
                ),
                "an answer, ms": each(
                    lambda of: of["all_answered_s"] / of["contexts"] * 1e3
                ),
            },
        )
    ]


def _row(name: str, of: report.Summary) -> tuple[str, ...]:
    return name, report.rounded(of["p50"]), report.rounded(of["p95"]), f"{of['n']}"


if __name__ == "__main__":
    main()
