"""What do new contexts cost beside those of workerd and isolated-vm?

Ours and workerd's are asked over HTTP, one connection each, in turn: a new context (a
worker that its loader loads) and the first result, and a result of a live one; forks
and heaps, for which workerd has nothing alike. isolated-vm is a library: what it takes
is measured in its own process, which has no HTTP, no sandbox of its own and, for what
goes on from a state, a snapshot that code has made. Then the memory of many at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from tests.bench import report
from tests.bench.bench_http import SERVE, pss, server
from tests.bench.http_client import Asker, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE: Final = Path(__file__).parent
FLAGS: Final = ("serve", "--port", "0", "--no-access-log")
ONCE: Final = 20
"""Samples of one side before it is another's turn."""
WAYS: Final = (
    "new, and its first result",
    "fork of a live one, and its first result",
    "from a saved state, and its first result",
    "a result of a live one",
)
LIVE: Final = 300
"""So many are kept, for what each takes of memory."""


class Side:
    """One of those compared.

    Attributes:
        title: What the table calls it.
        pids: Processes whose memory counts, with all that they have begun.
        ways: By `WAYS`: milliseconds of so many times.
        keep: Makes so many, and keeps them.
    """

    def __init__(self, title: str, pid: int) -> None:
        self.title = title
        self.pid = pid
        self.ways: dict[str, Callable[[int], list[float]]] = {}
        self.keep: Callable[[int], Any] = lambda _times: None

    def mebibytes(self) -> float:
        """Memory of its processes, what they share counted in shares."""
        process = psutil.Process(self.pid)
        every = [process, *process.children(recursive=True)]
        return sum(pss(each.pid) for each in every) / 2**20


def _timed(work: Callable[[], object]) -> Callable[[int], list[float]]:
    return lambda times: [1e3 * taken for taken in report.timed(work, times)]


@contextlib.contextmanager
def isokernel() -> Iterator[Side]:
    """Contexts of a server, confined as usual."""
    flags = (*FLAGS, "--contexts-max", "5000")
    with server(SERVE, *flags) as (url, pid), contextlib.closing(Asker(url)) as asker:
        side = Side("isokernel", pid)
        body = {"code": "let own = 1; own + 1", "language": "javascript"}

        def execute(code: str, **more: str) -> str:
            data = request("POST", "/execute", {"code": code, **more})
            answer = asker.ask(data)
            if answer["items"][-1]["text"] != "2":
                raise RuntimeError(answer)
            context: str = answer["context_id"]
            return context

        live = execute(**body)
        heap = asker.ask(request("POST", f"/contexts/{live}/checkpoint", {}))["heap"]

        def fork() -> None:
            path = f"/contexts/{live}/fork"
            new = asker.ask(request("POST", path))
            execute("own + 1", context_id=new["id"])

        def restore() -> None:
            new = asker.ask(request("POST", "/contexts", {"heap": heap}))
            execute("own + 1", context_id=new["id"])

        works: tuple[Callable[[], object], ...] = (
            lambda: execute(**body),
            fork,
            restore,
            lambda: execute("own + 1", context_id=live),
        )
        side.ways = {way: _timed(work) for way, work in zip(WAYS, works, strict=True)}
        side.keep = side.ways[WAYS[0]]
        yield side


@contextlib.contextmanager
def workerd() -> Iterator[Side]:
    """Workers that a worker loads, all in one process of workerd."""
    command = ["workerd", "serve", "--experimental", "--control-fd=1"]
    with subprocess.Popen(
        [*command, str(HERE / "isolates.capnp")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        names = itertools.count()

        def calls(name: Callable[[], str]) -> Callable[[int], list[float]]:
            def work(times: int) -> list[float]:
                # A connection each time: workerd closes one that was idle for 5 s.
                url = f"http://127.0.0.1:{port}"
                with contextlib.closing(Asker(url)) as asker:

                    def call() -> None:
                        said = asker.ask(request("GET", f"/{name()}"))
                        if said != "2":
                            raise RuntimeError(said)

                    return _timed(call)(times)

            return work

        side = Side("workerd", process.pid)
        side.ways = {
            WAYS[0]: calls(lambda: f"new-{next(names)}"),
            WAYS[3]: calls(lambda: "live"),
        }
        side.keep = side.ways[WAYS[0]]
        try:
            yield side
        finally:
            process.kill()


@contextlib.contextmanager
def isolated_vm() -> Iterator[Side]:
    """Isolates in one process of Node.js, without HTTP."""
    command = ["node", "--no-node-snapshot", str(HERE / "isolates.js")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def job(name: str) -> Callable[[int], list[float]]:
            def work(times: int) -> list[float]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps({"do": name, "times": times}) + "\n")
                process.stdin.flush()
                return list(json.loads(process.stdout.readline()))

            return work

        side = Side("isolated-vm, no HTTP", process.pid)
        side.ways = {
            WAYS[0]: job("new"),
            WAYS[2]: job("snapshot"),
            WAYS[3]: job("again"),
        }
        side.keep = job("keep")
        try:
            yield side
        finally:
            process.kill()


def available() -> Iterator[Callable[[], contextlib.AbstractContextManager[Side]]]:
    """Those that this environment has; tells which it hasn't."""
    yield isokernel
    if shutil.which("workerd"):
        yield workerd
    else:
        print("left out: workerd isn't on the path")
    look = ["node", "-e", "require('isolated-vm')"]
    if (
        shutil.which("node")
        and not subprocess.run(look, check=False, stderr=subprocess.DEVNULL).returncode
    ):
        yield isolated_vm
    else:
        print("left out: Node.js doesn't find isolated-vm (NODE_PATH)")


def measure(rounds: int) -> dict[str, Any]:
    """Measure all in turn; then the memory of many in each."""
    samples: dict[str, dict[str, list[float]]] = {}
    memory: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(make()) for make in available()]
        for number in range(-1, max(1, rounds // ONCE)):
            for side in sides:
                for way, work in side.ways.items():
                    found = work(ONCE)
                    if number >= 0:  # before that, they warm up
                        mine = samples.setdefault(side.title, {})
                        mine.setdefault(way, []).extend(found)
        for side in sides:
            before = side.mebibytes()
            side.keep(LIVE)
            memory[side.title] = (side.mebibytes() - before) / LIVE
    return {
        "ms": {
            title: {way: report.summary(found) for way, found in ways.items()}
            for title, ways in samples.items()
        },
        "mib_each": memory,
    }


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    figures = measure(options.rounds)
    sides = list(figures["ms"])

    def cell(side: str, way: str) -> str:
        found = figures["ms"][side].get(way)
        if found is None:
            return "has none"
        return f"{report.rounded(found['p50'])} / {report.rounded(found['p95'])}"

    rows = [[way, *(cell(side, way) for side in sides)] for way in WAYS]
    each = [report.rounded(figures["mib_each"][side]) for side in sides]
    rows.append([f"memory of each of {LIVE} live ones, MiB PSS", *each])
    text = report.table(["ms, p50 / p95", *sides], rows)
    report.publish(
        options, "isolates", figures, text, extra_versions=_peer_versions(sides)
    )


def _peer_versions(sides: list[str]) -> dict[str, str]:
    found = {}
    if "workerd" in sides:
        said = subprocess.run(
            ["workerd", "--version"],  # noqa: S607 -- the one on the path
            check=True,
            capture_output=True,
            text=True,
        )
        found["workerd"] = said.stdout.split()[-1]
    if len(sides) > len(found) + 1:
        look = "console.log(require('isolated-vm/package.json').version)"
        said = subprocess.run(
            ["node", "-e", look],  # noqa: S607 -- as above
            check=True,
            capture_output=True,
            text=True,
        )
        found["isolated-vm"] = said.stdout.strip()
        found |= report.node_versions()
    return found


if __name__ == "__main__":
    main()
