"""How fast does JavaScript run in a context, compared with Node.js and Deno?

The same text runs in all, the engines in turn: in a new context, in one restored from a
heap, in one that has just been saved, and in `node` and `deno`. Of a round the best run
of a program counts, since other work on the machine only makes runs slower; given is
the ratio to the faster of node and Deno in the same round, the median of all rounds.
1.00 is its speed, more is faster.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bench import report

from isokernel.context import Context
from isokernel.context.events import ExecutionError, Stream
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.events import Event
    from isokernel.v8.snapshot import Snapshot

PROGRAMS = Path(__file__).with_name("programs.js")
SHOW = "measure({runs}).then(console.log);"
PEERS: Final = ("node", "deno")
TARGET: Final = 0.9
Times = dict[str, dict[str, Any]]


class _Cells:
    """A context that runs cells which end by themselves."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._events: list[Event] = []
        self._count = 0
        self.context = Context(
            ContextSettings(), self._events.append, snapshot=snapshot
        )

    def run(self, code: str) -> str:
        """What a cell has printed."""
        self._events.clear()
        self._count += 1
        self.context.begin(code, execution_id=self._count)
        events = self._events
        failed = [event.error for event in events if isinstance(event, ExecutionError)]
        if failed or self.context.busy:
            raise RuntimeError(str(failed))
        return "".join(event.text for event in events if isinstance(event, Stream))

    def measured(self, runs: int) -> Times:
        """What all programs took, which have been defined."""
        try:
            return dict(json.loads(self.run(f"console.log(await measure({runs}))")))
        finally:
            self.context.close()


def _defined() -> _Cells:
    cells = _Cells()
    cells.run(PROGRAMS.read_text(encoding="utf-8"))
    return cells


def in_new_context(runs: int) -> Times:
    """A new context, as the kernel has one."""
    return _defined().measured(runs)


def in_saved_context(runs: int) -> Times:
    """A context after it was saved."""
    cells = _defined()
    cells.context.heaps.save()
    return cells.measured(runs)


def in_restored_context(runs: int) -> Times:
    """A context made from a heap, functions and all."""
    cells = _defined()
    try:
        saved = cells.context.heaps.save()
    finally:
        cells.context.close()
    return _Cells(saved).measured(runs)


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
    peers = {
        "node": in_program(["node"]),
        "deno": in_program(["deno", "run", "--quiet"]),
    }
    found = {name: run for name, run in peers.items() if shutil.which(name)}
    if not found:
        message = "neither node nor deno is there"
        raise RuntimeError(message)
    found["new context"] = in_new_context
    found["restored"] = in_restored_context
    found["after saving"] = in_saved_context
    return found


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="of a program, a round")
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
    ratios = {program: _ratios(cells) for program, cells in times.items()}
    figures = {
        program: {engine: report.summary(found) for engine, found in cells.items()}
        for program, cells in times.items()
    }
    text = _rendered(figures, ratios)
    known = report.node_versions() if "node" in ways else None
    report.publish(options, "javascript", figures, text, extra_versions=known)


def _ratios(cells: dict[str, list[float]]) -> dict[str, float]:
    """Of each of our ways, how fast it is where the faster peer is 1."""
    peers = [cells[name] for name in PEERS if name in cells]
    bests = [min(samples) for samples in zip(*peers, strict=True)]
    return {
        engine: statistics.median(
            base / mine for base, mine in zip(bests, found, strict=True)
        )
        for engine, found in cells.items()
        if engine not in PEERS
    }


def _rendered(
    figures: dict[str, dict[str, report.Summary]], ratios: dict[str, dict[str, float]]
) -> str:
    some = next(iter(ratios))
    peers = [name for name in PEERS if name in figures[some]]
    ours = list(ratios[some])
    lines = [
        [
            program,
            *(report.rounded(figures[program][name]["p50"]) for name in peers),
            *(f"{cells[name]:.2f}" for name in ours),
        ]
        for program, cells in ratios.items()
    ]
    columns = {name: [cells[name] for cells in ratios.values()] for name in ours}
    means = [statistics.geometric_mean(columns[name]) for name in ours]
    enough = [sum(ratio >= TARGET for ratio in columns[name]) for name in ours]
    blank = [""] * len(peers)
    lines.append(["geometric mean", *blank, *(f"{mean:.2f}" for mean in means)])
    lines.append(
        [
            f"programs from {TARGET} on",
            *blank,
            *(f"{count} of {len(ratios)}" for count in enough),
        ]
    )
    heads = [*(f"{name}, ms" for name in peers), *ours]
    return report.table(["program", *heads], lines)


if __name__ == "__main__":
    main()
