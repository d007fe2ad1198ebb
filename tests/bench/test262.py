"""How much of test262 holds: in V8 alone, in cells, as TypeScript, after a restore.

    python -m tests.bench.test262 CHECKOUT [PART OF A FILE'S PATH] [--every 10]

The checkout is one of https://github.com/tc39/test262. Prints the sums, and what
doesn't hold although it does in V8 alone, with its reason. `--ways saved` saves the
context of each case, which takes a hundred times as long: choose a part.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import re
import signal
import struct
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from tests.support.test262 import Case, harness, read, run
from tests.support.test262_hosts import WAYS, Cells, make, run_saved

from isokernel.typescript.transpiler import transpiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Order: TypeAlias = tuple[str, tuple[tuple[str, ...], list[Case]]]
    """How to run, the files of the harness, the cases."""
    Outcomes: TypeAlias = dict[tuple[str, str], dict[str, str]]
    """By path and mode: what is wrong in which way; nothing if it holds."""

FOLDERS: Final = ("language", "built-ins")
CPU_SECONDS: Final = 30
WALL_SECONDS: Final = 120
GROUP: Final = 400
"""Cases of one process; as many run in it one after the other, unless one fails."""
DEFAULT: Final = ("bare", "javascript", "typescript", "restored")
WORDS_MAX: Final = 300
_NUMBER: Final = struct.Struct("=I")
_OF_PROPOSAL: Final = 0.5
"""From this share on, failing files that need a feature fail for the lack of it."""


class Reason(NamedTuple):
    """Why some cases don't hold in a context although they do in V8 alone.

    Attributes:
        text: In words.
        paths: Fits their paths.
        words: What their fault begins with.
        ways: In which ways.
    """

    text: str
    paths: str
    words: str = "SyntaxError wanted"
    ways: tuple[str, ...] = ("javascript", "typescript", "restored")


REASONS: Final = (
    Reason(
        "a cell may import and export, and has `import.meta`",
        r"global-code/(import|export)\.js|import\.meta/syntax/goal-script\.js",
    ),
    Reason(
        "private fields can be read outside of their class", r"private|invalid-names-"
    ),
    Reason("`using` may stand at the top level", r"using-not-allowed-at-top-level"),
    Reason(
        "to show a value takes arrays, which have a setter that nobody can take away",
        r"^built-ins/Promise/all.*/does-not-invoke-array-setters",
        "Test262Error",
    ),
    Reason(
        "TypeScript leaves out what is imported and not used",
        r"^language/(module-code|import)/",
        ways=("typescript",),
    ),
    Reason(
        "TypeScript leaves out what is imported and not used",
        r"^language/module-code/(eval-rqstd-order|instn-named-bndng-dflt-expr)\.js"
        r"|module-import-rejection|import-defer-of-missing-module-fails",
        "",
        ways=("typescript",),
    ),
    Reason(
        "a file without imports and exports is CommonJS where it can be",
        r"top-level-await/await-expr-regexp\.js",
        "SyntaxError: Unexpected",
        ways=("typescript",),
    ),
    Reason(
        "SWC sometimes drops a comment between the parentheses of a getter",
        r"^built-ins/Function/prototype/toString/getter-object\.js",
        "Test262Error",
        ways=("typescript",),
    ),
)


def cases(checkout: Path, part: str, every: int, first: int) -> list[Case]:
    """Read the files."""
    paths = sorted(
        path
        for folder in FOLDERS
        for path in (checkout / "test" / folder).rglob("*.js")
        if not path.stem.endswith("_FIXTURE") and part in path.as_posix()
    )
    return [read(checkout, path) for path in paths[first::every]]


def orders(ways: Iterable[str], found: Iterable[Case]) -> list[Order]:
    """Group cases by the files of the harness that they need."""
    groups = defaultdict(list)
    for case in found:
        if not case.unfit:
            groups[harness(case)].append(case)
    parts = [
        (files, group[start : start + GROUP])
        for files, group in groups.items()
        for start in range(0, len(group), GROUP)
    ]
    return list(itertools.product(ways, parts))


def forked(work: Callable[[], Iterable[str]]) -> tuple[int, list[str]]:
    """Do something in a copy of this process: how it ended, and the lines it made."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(reader)
            os.dup2(writer, 2)  # where V8 says what it ends for
            for line in work():
                _write(writer, f"{line}\n")
            status = 0
        except BaseException as error:  # noqa: BLE001 -- the copy must not go on
            _write(writer, f"{type(error).__name__}: {error}"[:WORDS_MAX])
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as file:
        lines = file.read().split("\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lines


def _write(descriptor: int, text: str) -> None:
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(descriptor, data) :]


def run_group(
    way: str, checkout: Path, files: Sequence[str], group: Sequence[Case]
) -> Iterator[str]:
    """Run cases; a line of JSON for each: way, path, mode, what is wrong.

    A process runs them one after the other, until one fails. That one is run again, in
    a process of its own: what others have left behind may be the reason.
    """
    host = make(way, checkout, files)
    gc.freeze()
    gc.disable()
    runs = [(case, mode) for case in group for mode in case.modes]
    if way == "saved":  # nothing is left to be saved of the others
        runs = [one for one in runs if not one[0].phase and one[1] != "module"]
    # What V8 must refuse declares nothing, but what others have declared may be why V8
    # refuses it.
    runs.sort(key=lambda one: one[0].phase)
    while runs:
        phase = runs[0][0].phase
        batch = [one for one in runs if one[0].phase == phase]
        if way == "saved" or phase not in ("", "parse"):
            del batch[1:]

        def work(batch: list[tuple[Case, str]] = batch) -> Iterator[str]:
            for case, mode in batch:
                signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
                signal.alarm(WALL_SECONDS)
                host.printed.clear()
                if way == "saved" and isinstance(host, Cells):
                    wrong = run_saved(host, case, mode)
                else:
                    wrong = run(host, case, mode)
                yield json.dumps([way, case.path, mode, wrong[:WORDS_MAX]])
                if wrong:
                    break

        status, lines = forked(work)
        done = list(itertools.takewhile(lambda line: line.startswith('["'), lines))
        if status and not done:
            words = " ".join(line.strip("# ") for line in lines)[:WORDS_MAX]
            case, mode = batch[0]
            done = [json.dumps([way, case.path, mode, f"ended by {status}: {words}"])]
        elif not status and len(done) > 1 and json.loads(done[-1])[3]:
            done.pop()
        yield from done
        del runs[: len(done)]


def work_off(todo: Sequence[Order], checkout: Path, output: Path, workers: int) -> None:
    """Run all orders in some processes, which take the next one when they are done."""
    transpiler()
    reader, writer = os.pipe()
    pids = []
    for _ in range(workers):
        pid = os.fork()
        if not pid:
            os.close(writer)
            while number := os.read(reader, _NUMBER.size):
                _work_off_one(todo[_NUMBER.unpack(number)[0]], checkout, output)
            os._exit(0)
        pids.append(pid)
    os.close(reader)
    for index in range(len(todo)):
        os.write(writer, _NUMBER.pack(index))
    os.close(writer)
    for pid in pids:
        os.waitpid(pid, 0)


def _work_off_one(order: Order, checkout: Path, output: Path) -> None:
    way, (files, group) = order
    status, lines = forked(lambda: run_group(way, checkout, files, group))
    if status:
        words = f"the runner ended with {status}: {lines.pop()}"
        lines.append(json.dumps([way, " ".join(files), "", words]))
    with output.open("a", encoding="utf-8") as file:
        file.write("\n".join(line for line in lines if line) + "\n")


def outcomes_in(output: Path) -> Outcomes:
    """Read what has come out."""
    found: Outcomes = defaultdict(dict)
    for line in output.read_text(encoding="utf-8").splitlines():
        way, path, mode, wrong = json.loads(line)
        found[path, mode][way] = wrong
    return found


def deviations(found: Outcomes, way: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return path, mode and fault of what doesn't hold only there, by the reason."""
    known: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for (path, mode), wrong in sorted(found.items()):
        if wrong.get(way) and not wrong.get("bare"):
            reason = _reason(path, way, wrong[way])
            known[reason].append((path, mode, wrong[way]))
    return known


def _reason(path: str, way: str, wrong: str) -> str:
    for reason in REASONS:
        is_its_way = way in reason.ways and wrong.startswith(reason.words)
        if is_its_way and re.search(reason.paths, path):
            return reason.text
    return ""


def report(found: Outcomes, all_cases: Sequence[Case]) -> None:
    """Print the figures, and what holds in V8 alone and not elsewhere."""
    ways = [way for way in WAYS if any(way in one for one in found.values())]
    for way in ways:
        held = sum(not one[way] for one in found.values() if way in one)
        print(f"{way}: {held} of {sum(way in one for one in found.values())} hold")
    for way in ways:
        for reason, those in deviations(found, way).items() if way != "bare" else ():
            print(f"\n{way}, {reason or 'UNKNOWN'}: {len(those)}")
            for path, mode, wrong in those:
                print(f"    {path} ({mode}) {wrong[:WORDS_MAX]}")
    unfit = Counter(case.unfit for case in all_cases if case.unfit)
    print("\nFiles that aren't run:", dict(unfit))
    print("Files that don't hold in V8 alone:", _lacking(found, all_cases))


def _lacking(found: Outcomes, all_cases: Sequence[Case]) -> dict[str, int]:
    """Return how many files fail in V8 alone, by the feature that it lacks."""
    failed = {path for (path, _), wrong in found.items() if wrong.get("bare")}
    ran = {path for (path, _), wrong in found.items() if "bare" in wrong}
    all_cases = [case for case in all_cases if case.path in ran]
    needed: Counter[str] = Counter()
    lacked: Counter[str] = Counter()
    for case in all_cases:
        needed.update(case.features)
        lacked.update(case.features if case.path in failed else ())
    share = {name: lacked[name] / needed[name] for name in needed}
    why: Counter[str] = Counter()
    for case in all_cases:
        if case.path in failed:
            name = max(case.features, key=share.__getitem__, default="")
            why[name if name and share[name] > _OF_PROPOSAL else "other"] += 1
    return dict(why.most_common())


def main() -> None:
    """Run the cases and print what doesn't hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("part", nargs="?", default="")
    parser.add_argument("--every", type=int, default=1, help="one file of so many")
    parser.add_argument("--first", type=int, default=0, help="where to begin with that")
    parser.add_argument("--ways", default=",".join(DEFAULT), help=", ".join(WAYS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="a file for each outcome as JSON")
    chosen = parser.parse_args()
    found = cases(chosen.checkout, chosen.part, chosen.every, chosen.first)
    output = chosen.output or Path(tempfile.mkdtemp()) / "outcomes.jsonl"
    output.write_text("", encoding="utf-8")
    todo = orders(chosen.ways.split(","), found)
    print(f"{len(found)} files in {len(todo)} processes", file=sys.stderr)
    work_off(todo, chosen.checkout, output, chosen.workers)
    report(outcomes_in(output), found)


if __name__ == "__main__":
    main()
