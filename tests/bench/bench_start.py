"""Where does the time of a cold start go: a kernel's, and both servers'?

Each step is measured from outside: a fresh Python process does it and no more, and the
differences between the steps are what each costs. The last line is the whole, from
spawning the process to the first reply.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import report, rows_speed, rows_start
from tests.bench.peers import JAVASCRIPT, TYPESCRIPT, available, environment
from tests.bench.session import Sheet

_CONTEXT = (
    "from isokernel.context import Context; "
    "from isokernel.settings import ContextSettings; "
)
STEPS = {
    "Python itself": "pass",
    "+ zmq": "import zmq",
    "+ the channels' modules": "import zmq, isokernel.jupyter.channels",
    "+ all modules of the kernel": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel, "
        "isokernel.jupyter.launch, isokernel.context.context"
    ),
    "+ V8's library loaded and started": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel, "
        "isokernel.context.context; from isokernel.v8.library import load; load()"
    ),
    "+ a blank isolate": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel, "
        "isokernel.context.context; from isokernel.v8.isolate import Isolate; Isolate()"
    ),
    "+ the JavaScript runtime": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel; "
        f"{_CONTEXT} Context(ContextSettings(), print)"
    ),
    "+ a first cell": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel; "
        f"{_CONTEXT} c = Context(ContextSettings(), lambda event: None); "
        "c.begin('1+1', execution_id=1)"
    ),
    "+ a first cell with types instead": (
        "import zmq, isokernel.jupyter.channels, isokernel.jupyter.kernel; "
        f"{_CONTEXT} "
        "c = Context(ContextSettings(language='typescript'), lambda event: None); "
        "c.begin('const n: number = 1; n', execution_id=1)"
    ),
}
_END = "; import os; os._exit(0)"
"""Freeing everything is no part of a start."""


def measure(rounds: int) -> dict[str, report.Summary]:
    """Milliseconds of each step, the steps in turn."""
    samples: dict[str, list[float]] = {name: [] for name in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, code in STEPS.items():
                samples[name].append(_run(code, Path(folder)) * 1e3)
    return {name: report.summary(found) for name, found in samples.items()}


def _run(code: str, folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code + _END], check=True, cwd=folder)
    return time.perf_counter() - start


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    steps = measure(options.rounds)
    lines, before = [], 0.0
    for name, found in steps.items():
        added = found["p50"] - before
        lines.append([name, f"{found['p50']:.1f}", f"{added:+.1f}"])
        if name != "+ a first cell":  # the next one is an alternative to it
            before = found["p50"]
    sheet = Sheet()
    with environment():
        ours = [peer for peer in available() if peer in (JAVASCRIPT, TYPESCRIPT)]
        rows_speed.cold_start(sheet, ours, options.rounds)
    text = report.table(["step, in a fresh process", "ms, p50", "added"], lines)
    whole = report.table(
        ["whole kernel, ms", *(peer.title for peer in ours)],
        [[row, *(cells[p.spec] for p in ours)] for row, cells in sheet.rows.items()],
    )
    servers = rows_start.measure(options.rounds)
    rows = [
        [name, f"{row['p50']:.0f}", f"{row['p95']:.0f}"]
        for name, row in servers.items()
    ]
    table = report.table(["server, ms from spawning it", "p50", "p95"], rows)
    figures = {"steps_ms": steps, "whole_ms": sheet.figures, "servers_ms": servers}
    report.publish(options, "start", figures, f"{text}\n\n{whole}\n\n{table}")


if __name__ == "__main__":
    main()
