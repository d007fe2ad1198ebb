"""How long do saving and going on take, by the size of the heap, and who waits for it?

Contexts are real ones: forked by the fork server, confined, asked over their sockets.
Run: python -m tests.bench.bench_snapshots [--rounds N]
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import zstandard
from tests.bench import report
from tests.bench.plots import Plot
from tests.support.workers import WorkerClient, read_to_end

from isokernel.forkserver import ForkServer
from isokernel.sandbox import SandboxSettings
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAPS = {
    # name: what is on the heap; sizes are those of the blob beyond an empty one
    "0 MB": "0",
    "1 KB of objects": "let data = Array.from({ length: 16 }, (_, i) => ({ i })); 0",
    "1 MB of objects": (
        "let data = Array.from({ length: 16e3 }, (_, i) => ({ i, text: `${i}` })); 0"
    ),
    "1 MB of bytes": "let data = new Uint8Array(1e6).map((_, i) => i * 7); 0",
    "10 MB of bytes": "let data = new Float64Array(1.25e6).map((_, i) => i / 3); 0",
    "32 MB of bytes": "let data = new Float64Array(4e6).map((_, i) => i / 3); 0",
    "32 MB of objects": (
        "let data = Array.from({ length: 45e4 }, (_, i) => ({ i, text: `${i}` })); 0"
    ),
}
# What saving costs as a heap grows: with their texts these are twice as many objects.
HEAPS |= {
    f"{count:,} objects": (
        f"let data = Array.from({{ length: {count} }},"
        " (_, i) => ({ i, text: `${i}` })); 0"
    )
    for count in (10_000, 100_000, 1_000_000)
}
PAUSE_SECONDS = 0.02
"""Before each context, so that it finds a process that waits for it."""
MILLION = "1,000,000 objects"
"""Seconds each: measured thrice at most."""


def _checkpoint(client: WorkerClient) -> tuple[float, float, bytes]:
    """Milliseconds that the context waited, and until all was done; the heap."""
    file = os.memfd_create("heap")
    reader, writer = os.pipe()
    start = time.perf_counter()
    number = client.send("checkpoint_request", descriptors=(file, writer))
    os.close(writer)
    client.reply(number)
    paused = time.perf_counter() - start
    outcome = json.loads(read_to_end(reader))
    done = time.perf_counter() - start
    assert outcome["status"] == "ok", outcome
    data = os.pread(file, os.fstat(file).st_size, 0)
    os.close(file)
    os.close(reader)
    return paused * 1e3, done * 1e3, data


def _begin(server: ForkServer, data: bytes | None) -> float:
    """Milliseconds to a first result: from a heap whose hash was checked, or blank."""
    time.sleep(PAUSE_SECONDS)
    start = time.perf_counter()
    spawned = server.spawn(ContextSettings(), snapshot=data, checked=True)
    client = WorkerClient(*spawned)
    client.value("1 + 1")
    taken = time.perf_counter() - start
    client.close()
    return taken * 1e3


def _beginnings(
    server: ForkServer, data: bytes, times: int
) -> tuple[list[float], list[float]]:
    """Milliseconds from a heap to a first result, and to that of a blank context."""
    pairs = [(_begin(server, data), _begin(server, None)) for _ in range(times)]
    return [restored for restored, _ in pairs], [blank for _, blank in pairs]


def _figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "min": round(ordered[0], 2),
    }


def measure(server: ForkServer, rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, code in HEAPS.items():
        times = min(rounds, 3) if name == MILLION else rounds
        client = WorkerClient(*server.spawn(ContextSettings()))
        client.run(code)
        saved = [_checkpoint(client) for _ in range(times)]
        data = saved[-1][2]
        start = time.perf_counter()
        packed = zstandard.ZstdCompressor(level=3).compress(data)
        packing = (time.perf_counter() - start) * 1e3
        restored, blank = _beginnings(server, data, times)
        yield (
            name,
            {
                "bytes": len(data),
                "pause": _figures([paused for paused, _, _ in saved]),
                "checkpoint": _figures([done for _, done, _ in saved]),
                "restore": _figures(restored),
                "blank": _figures(blank),
                "zstd_ratio": round(len(data) / len(packed), 2),
                "zstd_ms": round(packing, 2),
            },
        )
        client.close()


def _table(figures: dict[str, Any]) -> str:
    def pair(part: dict[str, float]) -> str:
        return f"{report.rounded(part['p50'])} / {report.rounded(part['p95'])}"

    return report.table(
        (
            "heap",
            "MB",
            "pause, ms",
            "checkpoint, ms",
            "restored to first result, ms",
            "against a blank context, p50",
            "zstd",
        ),
        (
            (
                name,
                report.rounded(each["bytes"] / 1e6),
                pair(each["pause"]),
                pair(each["checkpoint"]),
                pair(each["restore"]),
                f"{each['restore']['p50'] / each['blank']['p50']:.1f} x",
                f"{report.rounded(each['zstd_ratio'])} times smaller in "
                f"{report.rounded(each['zstd_ms'])} ms",
            )
            for name, each in figures.items()
        ),
    )


def main() -> None:
    """Measure, and publish."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    server = ForkServer(sandbox=SandboxSettings())
    server.start()
    try:
        figures = dict(measure(server, options.rounds))
    finally:
        server.close()
    plots = [_plot(figures)]
    report.publish(options, "snapshots", figures, _table(figures), plots=plots)


def _plot(figures: dict[str, Any]) -> Plot:
    def line(what: str, kind: str) -> list[tuple[float, float]]:
        return [
            (each["bytes"] / 1e6, each[what]["p50"])
            for name, each in figures.items()
            if name.endswith(kind) or name == "0 MB"
        ]

    lines = {
        f"{what}, {kind}": line(what, kind)
        for kind in ("objects", "bytes")
        for what in ("pause", "checkpoint", "restore")
    }
    title = "What saving and going on cost, by the size of the heap"
    return Plot("sizes", title, "heap, MB", "ms, p50", lines)


if __name__ == "__main__":
    main()
