"""Has something become slow? Ratios of half a minute, compared with the last ones.

    python -m tests.bench.quick           compare with what the tree has
    python -m tests.bench.quick --keep    and keep these ratios from now on

What is ours is measured in turn with something fixed beside it, so that a ratio says
little about the machine and what else it does. It ends with 0 whatever the ratios are:
a slower one is a warning, for a person to look at. Only what fails to run is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from tests.bench import report
from tests.bench.bench_http import EMPTY, SERVE, pss, server
from tests.bench.http_client import Asker, request
from tests.support.workers import WorkerClient

from isokernel.context import Context
from isokernel.forkserver import ForkServer
from isokernel.sandbox import SandboxSettings
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import TypeAlias

    Rounds: TypeAlias = "Generator[Pair, None, None]"

KEPT: Final = Path(__file__).with_name("quick.json")
TOLERANCE: Final = 1.5
"""How many times the last ratio is worth a warning; on two machines of the same kind,
and beside other work, ratios of one commit differ by a third."""
SECONDS: Final = 2.0
"""For the rounds of one question, its start aside."""
MEMORY_CONTEXTS: Final = 20
LOOP: Final = 20_000
HEAP_BYTES: Final = 700_000
SERVER: Final = ("serve", "--port", "0", "--no-access-log")
PROGRAM: Final = """
let text = "", sum = 0; const map = new Map();
for (let i = 0; i < 10000; i++) {
  map.set(`key ${i % 500}`, [i, i + 1].map((x) => x * 2));
  sum += JSON.parse(JSON.stringify({ a: [i] })).a[0];
}
sum + map.size
"""
NODE: Final = """
const { runInThisContext } = require("vm");
process.stdin.on("data", () => {
  const start = process.hrtime.bigint();
  runInThisContext("{" + process.argv[1] + "}");
  console.log(Number(process.hrtime.bigint() - start) / 1e6);
});
"""


class Pair(NamedTuple):
    """One measurement, and its reference's, taken right after it; in one unit."""

    ours: float
    reference: float


class Ratio(TypedDict):
    """What is kept of one question."""

    ratio: float
    ours: float
    reference: float
    unit: str


class Question(NamedTuple):
    """One thing to look at.

    Attributes:
        name: What is measured, and against what.
        unit: Of both figures.
        measure: Yields a pair a round, as long as it is asked.
    """

    name: str
    unit: str
    measure: Callable[[], Rounds]


def cells() -> Rounds:
    """A cell in this process, against a loop in Python."""
    context = Context(ContextSettings(), lambda _event: None)
    numbers = itertools.count(1)

    def cell() -> None:
        context.begin("1+1", execution_id=next(numbers))

    try:
        report.timed(cell, 500)
        while True:
            yield Pair(1e3 * min(report.timed(cell, 100)), _python_loop())
    finally:
        context.close()


def _python_loop() -> float:
    """Milliseconds of a fixed loop, the least of three."""

    def loop() -> None:
        found: dict[int, int] = {}
        for number in range(LOOP):
            found[number & 255] = number

    return 1e3 * min(report.timed(loop, 3))


def contexts() -> Rounds:
    """A new context and its first result, against a bare fork of this process."""
    with contextlib.closing(ForkServer(sandbox=SandboxSettings())) as forks:
        forks.start()

        def begin() -> None:
            client = WorkerClient(*forks.spawn(ContextSettings()))
            client.run("1+1")
            client.close()

        report.timed(begin, 3)
        while True:
            yield Pair(1e3 * min(report.timed(begin, 5)), _bare_fork())


def clones() -> Rounds:
    """A fork of a live context and its first cell, against a bare fork."""
    with contextlib.closing(ForkServer(sandbox=SandboxSettings())) as forks:
        forks.start()
        original = WorkerClient(*forks.spawn(ContextSettings()))
        original.run("let own = 1; own")

        def clone() -> None:
            client = original.clone()
            client.run("own")
            client.close()

        try:
            report.timed(clone, 3)
            while True:
                yield Pair(1e3 * min(report.timed(clone, 5)), _bare_fork())
        finally:
            original.close()


def _bare_fork() -> float:
    """Milliseconds of a fork that ends at once, the least of ten."""

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return 1e3 * min(report.timed(fork, 10))


@contextlib.contextmanager
def asker(code: str, *arguments: str) -> Iterator[Asker]:
    """A connection to a server of its own."""
    with server(code, *arguments) as (url, _), contextlib.closing(Asker(url)) as found:
        yield found


def requests() -> Rounds:
    """`POST /execute` in a live context, against an empty handler of Tornado's."""
    with asker(EMPTY) as empty, asker(SERVE, *SERVER) as ours:
        body = {"code": "1+1", "language": "javascript"}
        body["context_id"] = ours.ask(request("POST", "/execute", body))["context_id"]
        data = request("POST", "/execute", body)
        while True:
            yield Pair(
                1e3 * min(report.timed(lambda: ours.ask(data), 60)),
                1e3 * min(report.timed(lambda: empty.ask(data), 60)),
            )


def runs() -> Rounds:
    """A run with a heap, from its order to its end, against packing and syncing."""
    with asker(SERVE, *SERVER) as ours, tempfile.TemporaryFile() as file:
        order = request("POST", "/api/exec", {"code": "1+1"})
        data = os.urandom(HEAP_BYTES // 2).hex().encode()

        def store() -> None:
            file.write(zlib.compress(data, 1))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)

        ours.run(order)
        while True:
            yield Pair(
                1e3 * min(report.timed(lambda: ours.run(order), 3)),
                1e3 * min(report.timed(store, 5)),
            )


def programs() -> Rounds:
    """A program in a context, against Node.js."""
    context = Context(ContextSettings(), lambda _event: None)
    node = subprocess.Popen(
        ["node", "-e", NODE, PROGRAM],  # noqa: S607 -- the node that the machine has
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert node.stdin is not None
    assert node.stdout is not None
    code = f"{{{PROGRAM}}}"
    try:
        for number in itertools.count(1):
            start = time.perf_counter()
            context.begin(code, execution_id=number)
            ours = 1e3 * (time.perf_counter() - start)
            node.stdin.write("\n")
            node.stdin.flush()
            theirs = float(node.stdout.readline())
            yield Pair(ours, theirs)
    finally:
        context.close()
        node.kill()
        node.communicate()


def memory() -> Rounds:
    """A live context's memory after its first cell, against a Python that is forked."""
    with contextlib.closing(ForkServer(sandbox=SandboxSettings())) as forks:
        forks.start()
        clients = [
            WorkerClient(*forks.spawn(ContextSettings()))
            for _ in range(MEMORY_CONTEXTS)
        ]
        for client in clients:
            client.run("let own = 1; own")
        ours = statistics.median(client.memory()["pss"] for client in clients)
        for client in clients:
            client.close()
    # A fork leaves the loop, and so doesn't fork itself.
    program = (
        "import gc, os, json, asyncio; gc.freeze();"
        f"any(os.fork() == 0 for _ in range({MEMORY_CONTEXTS}));"
        "json.loads(json.dumps({'a': [1]})); os.write(1, b'%d\\n' % os.getpid());"
        "os.read(0, 1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as bare:
        assert bare.stdout is not None
        pids = [int(bare.stdout.readline()) for _ in range(MEMORY_CONTEXTS + 1)]
        theirs = statistics.median(pss(pid) for pid in pids)
        assert bare.stdin is not None
        bare.stdin.close()  # all of them read it, and end
    yield Pair(ours / 2**20, theirs / 2**20)


QUESTIONS: Final = (
    Question("a cell / a loop in Python", "ms", cells),
    Question("a new context and its first result / a bare fork", "ms", contexts),
    Question("a fork and its first cell / a bare fork", "ms", clones),
    Question("/execute / an empty handler", "ms", requests),
    Question("a run with a heap / packing 700 kB", "ms", runs),
    Question("a program / the same in Node.js", "ms", programs),
    Question("memory of a live context / of a forked Python", "MiB", memory),
)


def ask(question: Question) -> Ratio:
    """Measure; the least of either side, as other work only adds to both."""
    gc.collect()
    pairs: list[Pair] = []
    with contextlib.closing(question.measure()) as rounds:
        for pair in rounds:
            if not pairs:
                end = time.monotonic() + SECONDS
            pairs.append(pair)
            if time.monotonic() > end:
                break
    ours = min(pair.ours for pair in pairs)
    reference = min(pair.reference for pair in pairs)
    return {
        "ratio": ours / reference,
        "ours": ours,
        "reference": reference,
        "unit": question.unit,
    }


def warnings(found: dict[str, Ratio], last: dict[str, Ratio]) -> list[str]:
    """Tell which ratios have grown, each with both figures."""
    said = []
    for name, now in found.items():
        before = last.get(name)
        if before is None or now["ratio"] <= TOLERANCE * before["ratio"]:
            continue
        said.append(
            f"warning: {name}: {_told(now)}; the last time {_told(before)}. "
            f"That is {now['ratio'] / before['ratio']:.1f} times as much"
        )
    return said


def _told(of: Ratio) -> str:
    ours, reference = (report.rounded(of[key]) for key in ("ours", "reference"))
    return f"{report.rounded(of['ratio'])} ({ours} / {reference} {of['unit']})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="write the file of ratios")
    parser.add_argument("--file", type=Path, default=KEPT, help="another file of them")
    parser.add_argument("--only", help="questions that have this in their name")
    options = parser.parse_args(arguments)
    found: dict[str, Ratio] = {}
    for question in QUESTIONS:
        if options.only and options.only not in question.name:
            continue
        if question.measure is programs and not shutil.which("node"):
            print(f"left out, as there is no node: {question.name}")
            continue
        found[question.name] = ask(question)
        print(f"{question.name}: {_told(found[question.name])}", flush=True)
    last = _read(options.file)
    for line in warnings(found, last):
        print(line)
    if options.keep:
        kept = {"ratios": {**last, **found}, "machine": report.machine()}
        kept["versions"] = report.versions()
        options.file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _read(file: Path) -> dict[str, Ratio]:
    if not file.exists():
        return {}
    ratios: dict[str, Ratio] = json.loads(file.read_text(encoding="utf-8"))["ratios"]
    return ratios


if __name__ == "__main__":
    main()
