"""What do the engine's own steps cost?

`1+1` at the engine and in a context, a call from JavaScript to Python, a new isolate, a
new context, saving and restoring heaps of 0, 1 and 32 MB, and how long the fork
takes.
"""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any

from tests.bench import report

from isokernel.context import Context
from isokernel.settings import ContextSettings
from isokernel.v8 import writer
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 3000
HEAPS = {
    "0 MB": "0",
    "1 MB": (
        "globalThis.kept = Array.from({ length: 9000 },"
        " (_, i) => ({ id: i, name: `item ${i}`, list: [i, i + 0.5] })); 0"
    ),
    "32 MB": (
        "globalThis.kept = Array.from({ length: 290000 },"
        " (_, i) => ({ id: i, name: `item ${i}`, list: [i, i + 0.5] })); 0"
    ),
}


def cells() -> dict[str, report.Summary]:
    """Microseconds of small things."""
    isolate = Isolate({"ping": Operation(lambda: None), "one": Operation(lambda n: n)})
    found = {}
    try:
        count = iter(range(10**9))
        found["evaluate `1+1`, engine"] = _micros(
            lambda: isolate.evaluate("1+1", f"cell-{next(count)}")
        )
        found["evaluate `1+1` and microtasks, engine"] = _micros(
            lambda: (
                isolate.evaluate("1+1", f"cell-{next(count)}"),
                isolate.run_microtasks(),
            )
        )
        found.update(_host_calls(isolate))
    finally:
        isolate.close()
    context = Context(ContextSettings(), lambda _event: None)
    try:
        found["a cell `1+1`, context, all events"] = _micros(
            lambda: context.begin("1+1", execution_id=1)
        )
    finally:
        context.close()
    return found


def _micros(function: Callable[[], Any]) -> report.Summary:
    report.timed(function, 200)
    return report.summary(s * 1e6 for s in report.timed(function, TIMES))


def _host_calls(isolate: Isolate) -> dict[str, report.Summary]:
    """From JavaScript to Python and back; the loop's own cost is below 0.01 µs."""
    native = isolate.native_function()
    isolate.set(isolate.global_object(), "native", native)
    names = list(isolate.operation_names)
    found = {}
    for label, call in {
        "host call, no argument": f"native({names.index('ping')})",
        "host call, a number there and back": f"native({names.index('one')}, 7)",
        "host call, 1 kB of text there and back": (
            f"native({names.index('one')}, text)"
        ),
    }.items():
        code = (
            "globalThis.text = 'x'.repeat(1000);"
            f"for (let i = 0; i < 1000; i++) {call}; 0"
        )
        evaluate = functools.partial(isolate.evaluate, code, "cell-1")
        runs = report.timed(evaluate, 50)
        found[label] = report.summary(seconds * 1e3 for seconds in runs)
    return found


def creation() -> dict[str, report.Summary]:
    """Milliseconds of a new isolate, and of a new context with its first cell."""
    made: list[Any] = []

    def isolate() -> None:
        made.append(Isolate())

    def context() -> None:
        new = Context(ContextSettings(), lambda _event: None)
        new.begin("1+1", execution_id=1)
        made.append(new)

    found = {}
    for name, make in {
        "new isolate": isolate,
        "new context and first result, in this process": context,
    }.items():
        samples = []
        for _ in range(30):
            samples += report.timed(make, 1)
            made.pop().close()
        found[name] = report.summary(seconds * 1e3 for seconds in samples)
    return found


def heaps(rounds: int) -> dict[str, dict[str, Any]]:
    """Saving and restoring contexts, by the size of what the user keeps."""
    return {name: _heap(code, rounds) for name, code in HEAPS.items()}


def _heap(code: str, rounds: int) -> dict[str, Any]:
    context = Context(ContextSettings(), lambda _event: None)
    try:
        context.begin(code, execution_id=1)
        isolate = context.bridge.isolate
        isolate.collect_garbage()
        used = isolate.memory.statistics().heap_used_bytes
        saved = writer.save(isolate)
        saves = report.timed(lambda: writer.save(isolate), rounds)
        forks = [_fork(isolate) for _ in range(rounds)]
    finally:
        context.close()
    restores = []
    for _ in range(rounds):
        start = time.perf_counter()
        again = Context(ContextSettings(), lambda _event: None, snapshot=saved)
        again.begin("1+1", execution_id=2)
        restores.append(time.perf_counter() - start)
        again.close()
    return {
        "heap_mb": used / 1e6,
        "blob_mb": len(saved.blob) / 1e6,
        "save_ms": report.summary(s * 1e3 for s in saves),
        "fork_ms": report.summary(s * 1e3 for s in forks),
        "restore_ms": report.summary(s * 1e3 for s in restores),
    }


def _fork(isolate: Isolate) -> float:
    """How long the fork takes; all that the live heap would have to stand still for."""
    taken: list[float] = []
    real = os.fork

    def fork() -> int:
        start = time.perf_counter()
        pid = real()
        taken.append(time.perf_counter() - start)
        return pid

    os.fork = fork
    try:
        writer.save(isolate)
    finally:
        os.fork = real
    return taken[0]


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    small, created, big = cells(), creation(), heaps(options.rounds)
    lines = [_line(name, "µs", found) for name, found in small.items()]
    lines += [_line(name, "ms", found) for name, found in created.items()]
    text = report.table(["step", "unit", "p50", "p95", "n"], lines)
    lines = [
        [
            name,
            f"{found['heap_mb']:.1f}",
            f"{found['blob_mb']:.1f}",
            *(
                f"{found[key]['p50']:.1f} ({found[key]['minimum']:.1f})"
                for key in ("save_ms", "restore_ms", "fork_ms")
            ),
        ]
        for name, found in big.items()
    ]
    head = ["heap", "used, MB", "blob, MB", "save, ms p50 (min)"]
    head += ["restore and `1+1`, ms", "fork, ms"]
    text = f"{text}\n\n{report.table(head, lines)}"
    figures = {"cells_us": small, "creation_ms": created, "heaps": big}
    report.publish(options, "engine", figures, text)


def _line(name: str, unit: str, found: report.Summary) -> list[str]:
    middle, high = report.rounded(found["p50"]), report.rounded(found["p95"])
    return [name, unit, middle, high, str(found["n"])]


if __name__ == "__main__":
    main()
