"""How many lines a second can one cell print, and do they all arrive in order?

Measured at the context (text handed to its sink) and through the kernel over ZeroMQ to
a client that reads every message.
"""

from __future__ import annotations

import functools
import re
import select
import time
from typing import TYPE_CHECKING, Any

from tests.bench import report
from tests.bench.peers import JAVASCRIPT, TYPESCRIPT, environment
from tests.bench.session import session

from isokernel.context import Context
from isokernel.context.events import Stream
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from isokernel.context.events import Event

COUNT = 100_000
TARGET = 150_000
CELLS = {
    "short lines": ("for (let i = 0; i < {n}; i++) console.log('line ' + i);", 1),
    "two arguments": ("for (let i = 0; i < {n}; i++) console.log('line', i);", 1),
    "objects": ("for (let i = 0; i < {n}; i++) console.log({{ line: i }});", 10),
    "awaiting each 1,000 lines": (
        "for (let i = 0; i < {n}; i++) {{ console.log('line ' + i);"
        " if (i % 1000 === 999) await new Promise((d) => setTimeout(d)); }}",
        1,
    ),
}
NUMBER = re.compile(r"line:? (\d+)")


def context_rate(code: str, count: int) -> dict[str, Any]:
    """Lines a second out of one context."""
    events: list[Event] = []
    context = Context(ContextSettings(), events.append)
    try:
        start = time.perf_counter()
        context.begin(code, execution_id=1)
        while context.busy:
            select.select([context.wakeup], [], [], context.wait_time())
            context.step()
        seconds = time.perf_counter() - start
    finally:
        context.close()
    texts = [event.text for event in events if isinstance(event, Stream)]
    return _checked("".join(texts), count, seconds, len(texts))


def kernel_rate(spec: Any, code: str, count: int) -> dict[str, Any]:
    """Lines a second through a kernel, until idle is there."""
    with environment(), session(spec) as opened:
        opened.run("1+1")
        run = opened.run(code, seconds=60)
        return _checked(run.text(), count, run.seconds, len(run.of("stream")))


def _checked(text: str, count: int, seconds: float, pieces: int) -> dict[str, Any]:
    numbers = [int(number) for number in NUMBER.findall(text)]
    return {
        "lines": len(numbers),
        "lost": count - len(set(numbers)),
        "ordered": numbers == list(range(count)),
        "pieces": pieces,
        "seconds": seconds,
        "lines_per_second": len(numbers) / seconds,
    }


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    lines = []
    for name, (template, divisor) in CELLS.items():
        count = COUNT // divisor
        code = template.format(n=count)
        ways = {
            "context": functools.partial(context_rate, code, count),
            JAVASCRIPT.title: functools.partial(kernel_rate, JAVASCRIPT, code, count),
            TYPESCRIPT.title: functools.partial(kernel_rate, TYPESCRIPT, code, count),
        }
        for where, measure in ways.items():
            runs = [measure() for _ in range(options.rounds)]
            rate = report.summary(run["lines_per_second"] for run in runs)
            spread = f"{rate['minimum']:,.0f}-{rate['maximum']:,.0f}"
            lost = sum(run["lost"] for run in runs)
            figures[f"{name}, {where}"] = {"rate": rate, "runs": runs}
            order = "yes" if all(run["ordered"] for run in runs) else "NO"
            pieces = report.summary(run["pieces"] for run in runs)["p50"]
            lines.append(
                [
                    f"{count:,} {name}, {where}",
                    f"{rate['p50']:,.0f} ({spread})",
                    str(lost),
                    order,
                    f"{pieces:.0f}",
                ]
            )
    head = ["one cell", "lines/s, p50 (min-max)", "lost", "in order", "messages"]
    report.publish(options, "output", figures, report.table(head, lines))


if __name__ == "__main__":
    main()
