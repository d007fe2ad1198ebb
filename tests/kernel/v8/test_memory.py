"""Bounds on memory: the execution fails, the context and its state live on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.v8.isolate import Thrown

if TYPE_CHECKING:
    from tests.support.isolates import HostedIsolate

MIB = 1 << 20


def _survives(bench: HostedIsolate) -> None:
    memory = bench.isolate.memory
    assert memory.out_of_memory
    memory.reset()
    assert not bench.isolate.memory.out_of_memory
    assert bench.cell("kept") == "state"


@pytest.mark.parametrize(
    "code",
    [
        "const all = []; for (;;) all.push({ x: [1, 2, 3] })",
        "const all = []; for (;;) all.push(new Array(1000).fill(1.5))",
        "let text = 'x'; const all = []; for (;;) all.push((text += 'y').repeat(1000))",
        "const map = new Map(); for (let i = 0; ; i++) map.set(i, [i])",
        "for (const all = [];;) { try { for (;;) all.push([1]) } catch {} }",
    ],
)
def test_the_heap_is_bounded(bench: HostedIsolate, code: str) -> None:
    bench.isolate.memory.limit(32 * MIB, None)
    bench.cell("let kept = 'state'")
    thrown = bench.isolate.evaluate(f"{{ {code} }}", "cell-1")
    assert isinstance(thrown, Thrown)
    assert thrown.terminated
    assert bench.isolate.memory.statistics().heap_used_bytes < 128 * MIB
    _survives(bench)


def test_garbage_does_not_count(bench: HostedIsolate) -> None:
    bench.isolate.memory.limit(64 * MIB, None)
    code = "for (let i = 0; i < 300; i++) new Array(100000).fill(i + 0.5); 'done'"
    assert bench.cell(code) == "done"


@pytest.mark.slow
def test_the_isolates_own_limit_is_a_bound_as_well(bench: HostedIsolate) -> None:
    bench.cell("let kept = 'state'")
    code = "{ const all = []; for (;;) all.push(new Array(1000).fill(1.5)) }"
    thrown = bench.isolate.evaluate(code, "cell-1")
    assert isinstance(thrown, Thrown)
    assert thrown.terminated
    _survives(bench)


def test_a_heap_beyond_the_limit_of_birth(bench: HostedIsolate) -> None:
    """A higher bound than V8's own lets V8's own grow."""
    memory = bench.isolate.memory
    memory.limit(memory.initial_limit_bytes + 512 * MIB, None)
    assert (
        memory.next_limit(memory.initial_limit_bytes) == memory.initial_limit_bytes
    )  # far from it


@pytest.mark.parametrize(
    "code",
    [
        "JSON.parse('[' + '1,'.repeat(1e7) + '1]').length",
        "new Array(1e7).fill(0).length",
        "'x'.repeat(1e7).split('').length",
    ],
)
def test_a_large_object_is_looked_at_before_it_is_made(
    bench: HostedIsolate, code: str
) -> None:
    bench.isolate.memory.limit(16 * MIB, None)
    bench.cell("let kept = 'state'")
    bench.isolate.evaluate(code, "cell-1")
    assert bench.isolate.memory.out_of_memory
    bench.isolate.resume()
    _survives(bench)


@pytest.mark.parametrize(
    "code",
    [
        "for (;;) all.push(new SharedArrayBuffer(1e6))",
        "for (;;) all.push(new WebAssembly.Memory({ initial: 16 }))",
        "all[0] = new WebAssembly.Memory({ initial: 1 }); for (;;) all[0].grow(16)",
        "all[0] = new ArrayBuffer(0, { maxByteLength: 1e9 });"
        " for (let n = 1e6; ; n += 1e6) all[0].resize(n)",
        "all[0] = new SharedArrayBuffer(0, { maxByteLength: 1e9 });"
        " for (let n = 1e6; ; n += 1e6) all[0].grow(n)",
    ],
)
def test_buffers_of_every_kind_are_bounded(bench: HostedIsolate, code: str) -> None:
    memory = bench.isolate.memory
    memory.limit(None, 32 * MIB)
    thrown = bench.cell(f"const all = []; {code}")
    assert bench.text(thrown.value).startswith("RangeError: ")
    assert 30_000_000 < memory.buffers.used_bytes <= 32 * MIB


@pytest.mark.parametrize(
    "buffer",
    [
        "new ArrayBuffer(3e7)",
        "new SharedArrayBuffer(3e7)",
        "new ArrayBuffer(3e7, { maxByteLength: 1e9 })",
        "new SharedArrayBuffer(3e7, { maxByteLength: 1e9 })",
        "new WebAssembly.Memory({ initial: 458 })",
    ],
)
def test_buffers_that_are_garbage_make_room(bench: HostedIsolate, buffer: str) -> None:
    memory = bench.isolate.memory
    memory.limit(None, 32 * MIB)
    bench.cell(f"globalThis.held = {buffer}; 1")
    assert 30_000_000 <= memory.buffers.used_bytes <= 32 * MIB
    bench.cell("held = null")
    assert bench.cell("new ArrayBuffer(3e7).byteLength") == 30_000_000


def test_buffers_are_bounded_by_an_ordinary_error(bench: HostedIsolate) -> None:
    bench.isolate.memory.limit(None, 32 * MIB)
    thrown = bench.cell("const all = []; for (;;) all.push(new Uint8Array(1e6))")
    assert bench.text(thrown.value) == "RangeError: Array buffer allocation failed"
    assert bench.isolate.memory.statistics().buffers_bytes <= 32 * MIB
    assert bench.cell("all.length") == 33
    bench.cell("all.length = 0")
    assert bench.cell("new ArrayBuffer(3e7).byteLength") == 30_000_000


def test_statistics(bench: HostedIsolate) -> None:
    bench.cell("globalThis.held = new Uint8Array(5e6)")
    statistics = bench.isolate.memory.statistics()
    assert statistics.buffers_bytes >= 5_000_000
    assert (
        0
        < statistics.heap_used_bytes
        <= statistics.heap_total_bytes
        <= statistics.heap_limit_bytes
    )
