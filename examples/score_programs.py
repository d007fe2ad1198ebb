"""Score programs that a model might have written: thousands, each in its own context.

    python examples/score_programs.py --programs 10000 http://10.0.0.1:3000
    python examples/score_programs.py --programs 10000 --ray auto

Each candidate has to define `solve`, the greatest common divisor of two numbers. Its
score is the share of cases that it gets right: 0 if it throws or never ends. What it
does to its context, its built-ins among it, is no concern of any other's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from isokernel.client import Cluster, Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CASES: Final = [
    [a, b, math.gcd(a, b)] for a, b in ((12, 18), (7, 5), (100, 75), (9, 0))
]
RIGHT: Final = "const solve = (a: number, b: number): number => b ? solve(b, a % b) : a"
CANDIDATES: Final = {
    RIGHT: 1.0,
    "function solve(a, b) { while (b) [a, b] = [b, a % b]; return a }": 1.0,
    "const solve = (a, b) => Math.min(a, b)": 0.0,
    "const solve = (a, b) => a % b === 0 ? b : 1": 0.25,
    "const solve = (a, b) => { throw new Error('to do') }": 0.0,
    "Array.prototype.map = () => [true]; const solve = () => 0": 0.25,
    "const solve = (a, b) => { while (true) a++ }": 0.0,
}
"""Candidates with their scores. One overwrites what counts, and gains little by it."""
ENDLESS: Final = "while (true)"
RARE: Final = 200


def candidates(number: int) -> Iterator[str]:
    """Yield so many programs; one in `RARE` never ends."""
    chosen = random.Random(number)  # noqa: S311 -- the same ones each time
    usual = [source for source in CANDIDATES if ENDLESS not in source]
    [endless] = (source for source in CANDIDATES if ENDLESS in source)
    for index in range(number):
        yield endless if index % RARE == RARE - 1 else chosen.choice(usual)


def with_cases(source: str) -> str:
    """Return a program that counts which cases a candidate gets right."""
    return (
        f"{source}\n;{json.dumps(CASES)}"
        ".map(([a, b, wanted]) => solve(a, b) === wanted).filter(Boolean).length"
    )


def score_of(execution: object) -> float:
    """Return the score of what became of a candidate; 0 if nothing did."""
    if not isinstance(execution, Execution) or not isinstance(execution.value, int):
        return 0.0
    return min(execution.value / len(CASES), 1.0)


async def score(
    cluster: Cluster,
    sources: Iterator[str],
    on_execution: Callable[[int, Execution], Any] | None = None,
) -> list[float]:
    """Score candidates, as many at a time as the cluster has contexts for."""
    programs = map(with_cases, sources)
    found = await cluster.run_all(programs, timeout=2, on_execution=on_execution)
    return [score_of(execution) for execution in found]


async def main() -> None:
    """Score, and tell how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", nargs="*", help="URLs; ISOKERNEL_URL if none")
    parser.add_argument("--ray", help="the address of a Ray cluster, or auto")
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=100)
    given = parser.parse_args()
    began = time.monotonic()
    async with Cluster(
        given.servers or None, ray=given.ray, contexts_max=given.at_once
    ) as cluster:
        scores = await score(cluster, candidates(given.programs))
    seconds = time.monotonic() - began
    print(f"{len(scores)} programs in {seconds:.1f} s, {len(scores) / seconds:.0f}/s")
    for points, times in sorted(Counter(scores).items(), reverse=True):
        print(f"  {points:4.0%} of the cases right: {times} programs")


if __name__ == "__main__":
    asyncio.run(main())
