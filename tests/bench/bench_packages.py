"""Which packages of npm load, do their job and come back from heaps; beside Deno?

Each package has a program whose answer is known (tests/support/npm_programs.json). It
is run by a server that has no package yet, with the registry; by another one that has
only what the first has kept, offline; in a context that goes on from a heap of that
one, which is another process; and in Deno, with the registry and then without. Times
are those of the import alone, told by the program.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench import report
from tests.support.client import Client
from tests.support.packages import PROGRAMS
from tests.support.server import JAVASCRIPT_FLAGS, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.packages import Program

SECONDS = 150
LOAD = """
const name = {name}, started = performance.now();
globalThis.m = await import(name);
const ms = performance.now() - started;
"""
TELL = "console.log(JSON.stringify([{ms}, String({code})]))"
GROUPS = {
    "spike": "those that were tried first",
    "most used": "the 40 that are downloaded most",
    "others": "others",
}


class Told(NamedTuple):
    """What a program has told.

    Attributes:
        ms: Milliseconds of the import; None if the program failed.
        wrong: What is wrong with its answer; nothing if it is right.
    """

    ms: float | None
    wrong: str = ""


def load(program: Program) -> str:
    """The program's text, for a context and for Deno."""
    name = json.dumps(f"npm:{program.specifier}")
    return LOAD.format(name=name) + TELL.format(ms="ms", code=program.code)


def told(program: Program, said: str, error: str = "") -> Told:
    """Read what a program has said."""
    lines = [line for line in said.splitlines() if line.startswith("[")]
    if error or not lines:
        return Told(None, error or "it said nothing")
    ms, result = json.loads(lines[-1])
    wrong = "" if result == program.result else f"its answer is {result!r}"
    return Told(ms, wrong)


class Kernel:
    """A server with a folder of packages."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._server = Server(
            *JAVASCRIPT_FLAGS,
            *("--modules", "on", "--net", "on", "--files", "on"),
            *("--package-cache-dir", str(folder), *flags),
        )
        self._client = Client(base_url=self._server.url, timeout=SECONDS)

    def run(self, program: Program, code: str, context_id: str) -> Told:
        """Run code in a context."""
        body = {"code": code, "context_id": context_id, "timeout_ms": SECONDS * 1000}
        answer = self._client.post("/execute", json=body).json()
        if "logs" not in answer:
            return Told(None, str(answer))
        error = answer["error"] or {}
        said = "\n".join(answer["logs"]["stdout"])
        return told(program, said, str(error.get("value") or error.get("name", "")))

    def load(self, program: Program) -> tuple[Told, str]:
        """Run a program in a new context."""
        context_id = self._client.create()
        return self.run(program, load(program), context_id), context_id

    def restored(self, program: Program, context_id: str) -> tuple[Told, int]:
        """What the program tells in a context that goes on from a heap of another."""
        answer = self._client.post(f"/contexts/{context_id}/checkpoint", json={})
        if answer.status_code != 200:
            return Told(None, answer.json()["message"]), 0
        self._client.delete(f"/contexts/{context_id}")
        made = self._client.post("/contexts", json={"heap": answer.json()["heap"]})
        if made.status_code != 201:
            return Told(None, made.json()["message"]), 0
        code = TELL.format(ms="0", code=program.code)
        return self.run(program, code, made.json()["id"]), 0

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._server.stop()


def with_deno(program: Program, folder: Path, *flags: str) -> Told:
    """What the program tells in Deno."""
    (folder / "program.mjs").write_text(load(program), encoding="utf-8")
    done = subprocess.run(
        ["deno", "run", "-A", "--no-lock", "--quiet", *flags, "program.mjs"],  # noqa: S607 -- the one on the path
        cwd=folder,
        env={**os.environ, "DENO_DIR": str(folder / "deno"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    error = done.stderr.strip() if done.returncode else ""
    return told(program, done.stdout, error[:300])


def measure(program: Program, rounds: int) -> dict[str, Any]:
    """All that is asked of one package."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        kernel = Kernel(folder / "packages")
        cold, _ = kernel.load(program)
        kernel.close()
        kernel = Kernel(folder / "packages", "--package-offline")
        try:
            warm, context_id = kernel.load(program)
            restored = Told(None, "it wasn't loaded")
            if not warm.wrong:
                restored, _ = kernel.restored(program, context_id)
            times = [warm.ms, *(kernel.load(program)[0].ms for _ in range(rounds - 1))]
        finally:
            kernel.close()
        found = {
            "cold": cold._asdict(),
            "warm": {**warm._asdict(), "ms": median(times)},
            "restored": restored._asdict(),
        }
        if shutil.which("deno"):
            first = with_deno(program, folder)
            again = functools.partial(with_deno, program, folder, "--cached-only")
            told = [again() for _ in range(rounds)]
            times = [one.ms for one in told]
            found["deno_cold"] = first._asdict()
            found["deno_warm"] = {**told[0]._asdict(), "ms": median(times)}
    return found


def median(times: Sequence[float | None]) -> float | None:
    """The middle of the times that there are."""
    known = [one for one in times if one is not None]
    return report.summary(known)["p50"] if known else None


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="of warm imports")
    parser.add_argument("--only", nargs="*", help="packages, as `d3@7`")
    options = parser.parse_args()
    figures = {}
    for program in PROGRAMS.values():
        if options.only and program.specifier not in options.only:
            continue
        figures[program.specifier] = measure(program, options.rounds)
        print(program.specifier, figures[program.specifier], flush=True)
    report.publish(options, "packages", figures, _rendered(figures))


def _rendered(figures: dict[str, dict[str, Any]]) -> str:
    parts = []
    for group, title in GROUPS.items():
        rows = [
            [
                specifier,
                *(_cell(found.get(name)) for name in ("cold", "warm")),
                "yes" if not found["restored"]["wrong"] else "no",
                *(_cell(found.get(name)) for name in ("deno_cold", "deno_warm")),
            ]
            for specifier, found in figures.items()
            if PROGRAMS[specifier].group == group
        ]
        head = ["ms", "cold", "warm", "from a heap", "Deno, cold", "Deno, warm"]
        head[0] = title
        parts.append(report.table(head, rows))
    return "\n\n".join(parts)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return "fails" if found["wrong"] else report.rounded(found["ms"])


if __name__ == "__main__":
    main()
