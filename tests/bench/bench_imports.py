"""What does an import cost: from the cache, a template, a registry; and not at all?

And is the first save of a context with packages as fast as those after it?

A server on loopback, confined as it is by itself, and a registry on loopback that
offers what npm has installed. A request with an import is the first cell of a new
context, whose process is there already; the time is that of the request, and beside it
the processor time that the server and all its processes take for it. Deno, if it is
there, imports the same from its own cache, and from the same registry.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench import report
from tests.support.client import NO_TLS, Client
from tests.support.registry import serve_registry
from tests.support.server import JAVASCRIPT_FLAGS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = ("d3@7", "lodash-es@4", "zod@4")
ALLOWED = ("--modules", "on")
BUILTIN = "import { EventEmitter } from 'node:events'; typeof EventEmitter"
SECONDS = 120
LOOK_SECONDS = 0.1
SETTLED_SECONDS = 0.005
"""Processor time that a server takes between two looks when nothing is left to do."""


class Sample(NamedTuple):
    """One request.

    Attributes:
        ms: Its time.
        cpu: Milliseconds of processor time, of the server and its processes.
    """

    ms: float
    cpu: float


class Measured(Server):
    """A server whose processor time is known."""

    def cpu(self) -> float:
        """Seconds that it and its processes have taken."""
        return sum(_seconds(pid) for pid in (self.process.pid, *self.children()))

    def settle(self) -> None:
        """Wait until it computes nothing: spare processes are made, code is kept."""
        before = -1.0
        while (now := self.cpu()) - before > SETTLED_SECONDS:
            before = now
            time.sleep(LOOK_SECONDS)


def _seconds(pid: int) -> float:
    """Processor time of a process, in nanosecond steps."""
    total = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


@contextlib.contextmanager
def server(*flags: str) -> Iterator[tuple[Measured, Client]]:
    """A server and a client of it."""
    made = Measured(*JAVASCRIPT_FLAGS, *flags)
    try:
        with Client(base_url=made.url, timeout=SECONDS, verify=NO_TLS) as client:
            yield made, client
    finally:
        made.stop()


def first_cell(
    made: Measured, client: Client, code: str, **fields: Any
) -> tuple[Sample, Sample]:
    """A new context and its first cell: the two requests."""
    made.settle()
    began, cpu = time.perf_counter(), made.cpu()
    body = {"language": "javascript", **fields}
    answer = client.post("/contexts", json=body)
    created, created_cpu = time.perf_counter(), made.cpu()
    if answer.status_code != 201:
        raise RuntimeError(answer.text)
    context_id = answer.json()["id"]
    made.settle()  # a spare process is forked in its place
    middle, middle_cpu = time.perf_counter(), made.cpu()
    told = client.post("/execute", json={"code": code, "context_id": context_id})
    end, end_cpu = time.perf_counter(), made.cpu()
    if told.status_code != 200 or told.json()["error"]:
        raise RuntimeError(told.text)
    client.delete(f"/contexts/{context_id}")
    return (
        Sample((created - began) * 1e3, (created_cpu - cpu) * 1e3),
        Sample((end - middle) * 1e3, (end_cpu - middle_cpu) * 1e3),
    )


def load(package: str) -> str:
    """A cell that imports a package."""
    return f"import * as m from 'npm:{package}'; typeof m"


class Rows:
    """Samples by the row that they are of."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {}

    def add(self, name: str, sample: Sample) -> None:
        """Add a sample."""
        self._samples.setdefault(name, []).append(sample)

    def figures(self) -> dict[str, dict[str, report.Summary]]:
        """All that was measured."""
        return {
            name: {
                "ms": report.summary(sample.ms for sample in found),
                "cpu_ms": report.summary(sample.cpu for sample in found),
            }
            for name, found in self._samples.items()
        }


def warm(
    rows: Rows, flags: Sequence[str], packages: Sequence[str], rounds: int
) -> None:
    """First cells of new contexts, with all packages in the cache, in turn."""
    with (
        server(*ALLOWED, *flags, "--package-offline") as (on, client),
        server() as (off, sealed),
    ):
        cells = {
            "`1+1`": "1+1",
            "a module of Node.js": BUILTIN,
            **{package: load(package) for package in packages},
        }
        for turn in range(rounds + 2):
            for name, code in cells.items():
                created, cell = first_cell(on, client, code)
                if turn > 1:
                    rows.add(f"first cell: {name}", cell)
                    if name == "`1+1`":
                        rows.add("a new context", created)
            created, cell = first_cell(off, sealed, "1+1")
            if turn > 1:
                rows.add("a new context, modules off", created)
                rows.add("first cell: `1+1`, modules off", cell)
        for package in packages:
            for turn in range(rounds + 2):
                created, cell = first_cell(
                    on, client, load(package), packages=[package]
                )
                if turn > 1:
                    rows.add(f"a new context from a template: {package}", created)
                    rows.add(f"first cell from a template: {package}", cell)


def saves(
    rows: Rows, flags: Sequence[str], packages: Sequence[str], rounds: int
) -> None:
    """Saves of contexts, one after the other, each with something new."""
    with server(*ALLOWED, *flags, "--package-offline") as (made, client):
        for turn in range(rounds + 1):
            for package in packages:
                answer = client.post("/contexts", json={"language": "javascript"})
                context_id = answer.json()["id"]
                for number, which in enumerate(("first", "second", "third")):
                    code = f"globalThis.n = {number}" if number else load(package)
                    body = {"code": code, "context_id": context_id}
                    client.post("/execute", json=body).raise_for_status()
                    made.settle()
                    began, cpu = time.perf_counter(), made.cpu()
                    path = f"/contexts/{context_id}/checkpoint"
                    client.post(path, json={}).raise_for_status()
                    ended, ended_cpu = time.perf_counter(), made.cpu()
                    if turn > 0:
                        sample = Sample((ended - began) * 1e3, (ended_cpu - cpu) * 1e3)
                        rows.add(f"{which} save: {package}", sample)
                client.delete(f"/contexts/{context_id}")


def cold(rows: Rows, npmrc: Path, packages: Sequence[str], rounds: int) -> None:
    """First cells with an empty cache: the first import of a server."""
    for _ in range(rounds):
        for package in packages:
            with tempfile.TemporaryDirectory() as cache:
                flags = ("--package-cache-dir", cache, "--package-npmrc", str(npmrc))
                with server(*ALLOWED, *flags) as (made, client):
                    first_cell(made, client, "1+1")
                    _, cell = first_cell(made, client, load(package))
                    rows.add(f"cold: {package}", cell)


def deno(
    rows: Rows, folder: Path, registry: str, packages: Sequence[str], rounds: int
) -> None:
    """The same in Deno, whose process and import are timed by the program itself."""
    for turn in range(rounds):
        for package in packages:
            home = folder / f"deno-{turn}-{package}"
            for name, flags in (("cold", ()), ("first cell", ("--cached-only",))):
                began = time.perf_counter()
                code = (
                    f"const name = 'npm:{package}', t = performance.now(); "
                    "await import(name); console.log(performance.now() - t)"
                )
                done = subprocess.run(
                    ["deno", "run", "-A", "--no-lock", "--quiet", *flags, "-"],  # noqa: S607 -- the one on the path
                    input=code,
                    cwd=folder,
                    env={
                        **os.environ,
                        "DENO_DIR": str(home),
                        "NPM_CONFIG_REGISTRY": registry,
                        "NO_COLOR": "1",
                    },
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=SECONDS,
                )
                whole = (time.perf_counter() - began) * 1e3
                rows.add(f"{name}: {package}, Deno", Sample(float(done.stdout), whole))


def install(folder: Path, packages: Sequence[str]) -> Path:
    """Install packages by npm; the folder in which they are."""
    subprocess.run(
        ["npm", "install", "--prefix", str(folder), "--ignore-scripts", *packages],  # noqa: S607 -- the one on the path
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "node_modules"


def measure(
    packages: Sequence[str], rounds: int, installed: Path | None, parts: Sequence[str]
) -> dict[str, dict[str, report.Summary]]:
    """All rows."""
    rows = Rows()
    with tempfile.TemporaryDirectory() as made, serve_registry() as registry:
        folder = Path(made)
        registry.offer(installed or install(folder / "npm", packages))
        npmrc = registry.write_npmrc(folder)
        cache = folder / "packages"
        flags = ("--package-cache-dir", str(cache), "--package-npmrc", str(npmrc))
        with server(*ALLOWED, *flags) as (one, client):
            for package in packages:  # also has the registry pack what npm installed
                first_cell(one, client, load(package))
            one.settle()
        if "warm" in parts:
            warm(rows, flags, packages, rounds)
        if "saves" in parts:
            saves(rows, flags, packages, rounds)
        few = max(3, rounds // 3)
        if "cold" in parts:
            cold(rows, npmrc, packages, few)
        if shutil.which("deno") and "deno" in parts:
            deno(rows, folder, registry.url, packages, few)
    return rows.figures()


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", nargs="*", default=PACKAGES, help="as `d3@7`")
    parts = ("warm", "saves", "cold", "deno")
    parser.add_argument("--parts", nargs="*", default=parts, choices=parts)
    parser.add_argument(
        "--installed", type=Path, help="node_modules with them; else npm installs them"
    )
    options = parser.parse_args()
    figures = measure(options.only, options.rounds, options.installed, options.parts)
    rows = [
        [
            name,
            report.rounded(found["ms"]["p50"]),
            report.rounded(found["ms"]["p95"]),
            report.rounded(found["cpu_ms"]["p50"]),
        ]
        for name, found in figures.items()
    ]
    head = ["ms", "p50", "p95", "processor time, p50"]
    report.publish(options, "imports", figures, report.table(head, rows))


if __name__ == "__main__":
    main()
