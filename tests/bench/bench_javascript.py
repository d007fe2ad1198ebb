"""How fast does JavaScript run in a context, compared with Node.js and Deno?

The same text runs in all, the engines in turn: in a new context, in a context restored
from a snapshot, in a context that has just been saved, and in `node` and `deno` if they
are there. Of a round the best run of a program counts, since other work on the machine
only makes runs slower; the ratio to node's best in the same round is given, the median
of all rounds. 1.00 is node's speed, more is faster.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import report

from isokernel.context import Context
from isokernel.context.events import ExecutionError, Stream
from isokernel.settings import ContextSettings
from isokernel.v8 import writer
from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.events import Event

PROGRAMS = Path(__file__).with_name("programs.js")
SHOW = "console.log(measure({runs}));"
Times = dict[str, dict[str, Any]]


def in_context(runs: int) -> Times:
    """A new context, as the kernel has one."""
    events: list[Event] = []
    context = Context(ContextSettings(), events.append)
    try:
        code = PROGRAMS.read_text(encoding="utf-8") + SHOW.format(runs=runs)
        context.begin(code, execution_id=1)
    finally:
        context.close()
    failed = [event.error for event in events if isinstance(event, ExecutionError)]
    if failed:
        raise RuntimeError(str(failed))
    text = "".join(event.text for event in events if isinstance(event, Stream))
    return dict(json.loads(text))


def in_saved_isolate(runs: int) -> Times:
    """An isolate after it was saved."""
    isolate = _loaded()
    try:
        writer.save(isolate)
        return _measured(isolate, runs)
    finally:
        isolate.close()


def in_restored_isolate(runs: int) -> Times:
    """An isolate made from a snapshot, functions and all."""
    isolate = _loaded()
    try:
        saved = writer.save(isolate)
    finally:
        isolate.close()
    again = Isolate(snapshot=saved)
    try:
        return _measured(again, runs)
    finally:
        again.close()


def _loaded() -> Isolate:
    isolate = Isolate()
    isolate.evaluate(PROGRAMS.read_text(encoding="utf-8"), "cell-1")
    return isolate


def _measured(isolate: Isolate, runs: int) -> Times:
    # The bare engine has no clock but Date.
    clock = "globalThis.performance ??= { now: () => Date.now() };"
    _, result = isolate.promise(_done(isolate, f"{clock} measure({runs})"))
    return dict(json.loads(str(isolate.get(result, ".repl_result"))))


def _done(isolate: Isolate, code: str) -> Any:
    promise = isolate.evaluate(code, "cell-2")
    isolate.run_microtasks()
    return promise


def in_program(command: list[str]) -> Callable[[int], Times]:
    """An engine of its own, given the text as a file."""

    def run(runs: int) -> Times:
        code = PROGRAMS.read_text(encoding="utf-8") + SHOW.format(runs=runs)
        said = subprocess.run(
            [*command, "-"], input=code, check=True, capture_output=True, text=True
        )
        return dict(json.loads(said.stdout))

    return run


def engines() -> dict[str, Callable[[int], Times]]:
    """All that can be measured here."""
    found: dict[str, Callable[[int], Times]] = {}
    if shutil.which("node"):
        found["node"] = in_program(["node"])
    found["context"] = in_context
    found["restored"] = in_restored_isolate
    found["after saving"] = in_saved_isolate
    if shutil.which("deno"):
        found["deno"] = in_program(["deno", "run", "--quiet"])
    return found


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=7, help="of a program, a round")
    options = parser.parse_args()
    ways = engines()
    times: dict[str, dict[str, list[float]]] = {}
    sums: dict[str, set[object]] = {}
    for _ in range(options.rounds):
        for engine, measure in ways.items():
            for program, found in measure(options.runs).items():
                best = min(found["times"])
                times.setdefault(program, {}).setdefault(engine, []).append(best)
                sums.setdefault(program, set()).add(found["checksum"])
    differing = [program for program, found in sums.items() if len(found) > 1]
    if differing:
        message = f"the engines disagree about {', '.join(differing)}"
        raise AssertionError(message)
    ratios = {
        program: {
            engine: statistics.median(
                base / mine for base, mine in zip(cells["node"], found, strict=True)
            )
            for engine, found in cells.items()
        }
        for program, cells in times.items()
    }
    figures = {
        program: {engine: report.summary(found) for engine, found in cells.items()}
        for program, cells in times.items()
    }
    text = _rendered(figures, ratios, list(ways))
    known = report.node_versions()
    report.publish(options, "javascript", figures, text, extra_versions=known)


def _rendered(
    figures: dict[str, dict[str, report.Summary]],
    ratios: dict[str, dict[str, float]],
    names: list[str],
) -> str:
    others = [name for name in names if name != "node"]
    lines = [
        [
            program,
            f"{figures[program]['node']['p50']:.1f}",
            *(f"{cells[name]:.2f}" for name in others),
        ]
        for program, cells in ratios.items()
    ]
    means = [
        statistics.geometric_mean(cells[name] for cells in ratios.values())
        for name in others
    ]
    lines.append(["geometric mean", "", *(f"{mean:.2f}" for mean in means)])
    return report.table(
        ["program", "node, ms", *(f"{name} vs node" for name in others)], lines
    )


if __name__ == "__main__":
    main()
