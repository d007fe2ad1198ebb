"""What is used again and again does not grow."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from tests.support.isolates import HostedIsolate

PAGE = os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _growth(bench: HostedIsolate, work: Any, rounds: int) -> tuple[int, int]:
    """Bytes that the process and the V8 heap grow by, after a first half."""
    for _ in range(rounds):
        work()
    bench.isolate.collect_garbage()
    before = _resident(), bench.isolate.memory.statistics().heap_used_bytes
    for _ in range(rounds):
        work()
    bench.isolate.collect_garbage()
    after = _resident(), bench.isolate.memory.statistics().heap_used_bytes
    return after[0] - before[0], after[1] - before[1]


def test_evaluations(bench: HostedIsolate) -> None:
    """10,000 cells."""
    process, heap = _growth(bench, lambda: bench.cell("({ a: [1 + 1] })"), 5_000)
    # Each script leaves its name table entry and little else: under 400 bytes a cell.
    assert heap < 5_000 * 400
    assert process < 8 << 20
    assert len(bench.isolate.handles) < 10


def test_host_calls(bench: HostedIsolate) -> None:
    """1,000 calls with objects, strings and bytes in and out."""
    code = "for (let i = 0; i < 10; i++) echo({ i }), echo('text' + i), random(100)"
    bench.cell(f"function calls() {{ {code} }}")
    calls = bench.cell("calls")
    process, heap = _growth(bench, lambda: bench.isolate.call(calls), 100)
    assert heap < 64 << 10
    assert process < 2 << 20


def test_thrown_errors(bench: HostedIsolate) -> None:
    process, heap = _growth(
        bench, lambda: bench.isolate.evaluate("let = ;", "c"), 1_000
    )
    assert heap < 1_000 * 400
    assert process < 4 << 20


def test_isolates() -> None:
    """Opening and closing one leaves nothing."""
    for _ in range(50):
        Isolate().close()
    before = _resident()
    for _ in range(50):
        Isolate().close()
    assert _resident() - before < 8 << 20
