"""What all benchmarks share: samples, percentiles, versions, and where figures go.

A benchmark prints its figures, and writes them with `--json FILE` as JSON. With
`--page` it also puts its tables into docs/benchmarks.md, between two markers of its
own, and its plots beside that page.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tests.bench import plots as drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PLOTS = PAGE.parent / "plots"
PACKAGES = ("isokernel", "mini-racer", "ipykernel", "jupyter_client", "pyzmq", "deno")


class Summary(TypedDict):
    """One measured quantity; the unit is in its name."""

    n: int
    p50: float
    p95: float
    minimum: float
    maximum: float


def summary(samples: Iterable[float]) -> Summary:
    """Number, median, 95th percentile and extremes."""
    values = sorted(samples)
    return {
        "n": len(values),
        "p50": statistics.median(values),
        "p95": values[min(len(values) - 1, int(len(values) * 0.95))],
        "minimum": values[0],
        "maximum": values[-1],
    }


def timed(function: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each of a number of calls."""
    samples = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        samples.append(time.perf_counter() - start)
    return samples


def machine() -> dict[str, Any]:
    """The machine in general terms."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "system": platform.system(),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        ),
    }


def versions() -> dict[str, str]:
    """Versions of everything that is measured."""
    from isokernel.v8.library import V8_VERSION  # noqa: PLC0415 -- bench_start, too

    found = {"python": platform.python_version(), "v8": V8_VERSION}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def node_versions() -> dict[str, str]:
    """Node.js's version and that of its V8."""
    script = "console.log(JSON.stringify(process.versions))"
    said = subprocess.run(
        ["node", "-e", script],  # noqa: S607 -- the node that the machine has
        check=True,
        capture_output=True,
    )
    known = json.loads(said.stdout)
    return {"node": known["node"], "node_v8": known["v8"]}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def rounded(value: float) -> str:
    """Three digits that count, without powers of ten."""
    for limit, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.4f}"


def arguments(description: str) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--page", action="store_true", help="put the tables into docs/benchmarks.md"
    )
    return parser


def publish(  # noqa: PLR0913 -- all that a benchmark has to tell
    options: argparse.Namespace,
    question: str,
    figures: dict[str, Any],
    text: str,
    *,
    extra_versions: dict[str, str] | None = None,
    plots: Sequence[drawn.Plot] = (),
) -> None:
    """Print a benchmark's figures and write them where the options say.

    Args:
        options: From `arguments`.
        question: Name of the benchmark, without `bench_`.
        figures: What was measured.
        text: The same as Markdown.
        extra_versions: Versions beside those of `versions`.
        plots: How figures grow; the page shows them below the tables.
    """
    report = {
        "question": question,
        "date": dt.datetime.now(tz=dt.timezone.utc).isoformat("T", "minutes"),
        "machine": machine(),
        "versions": {**versions(), **(extra_versions or {})},
        "figures": figures,
        "plots": [plot._asdict() for plot in plots],
    }
    print(text)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.page:
        pictures = [_draw(question, plot) for plot in plots]
        _put(question, "\n\n".join([_origin(report), text, *pictures]))


def _draw(question: str, plot: drawn.Plot) -> str:
    """Write a plot's file; the Markdown that shows it."""
    PLOTS.mkdir(exist_ok=True)
    file = PLOTS / f"{question}-{plot.name}.svg"
    file.write_text(drawn.svg(plot), encoding="utf-8")
    return f"![{plot.title}: {plot.y} by {plot.x}](plots/{file.name})"


def _origin(report: dict[str, Any]) -> str:
    host = report["machine"]
    names = ", ".join(f"{name} {is_}" for name, is_ in report["versions"].items())
    return (
        f"*Measured on {report['date'][:10]}, {host['cores']} shared "
        f"{host['architecture']} cores, {host['memory_gib']} GiB, {host['system']}; "
        f"{names}. "
        f"Command: `python -m tests.bench.bench_{report['question']} --page`*"
    )


def _put(question: str, text: str) -> None:
    """Replace what stands between the benchmark's markers on the page."""
    begin, end = f"<!-- begin {question} -->", f"<!-- end {question} -->"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not rest:
        message = f"{PAGE.name} has no place for {question}"
        raise ValueError(message)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
