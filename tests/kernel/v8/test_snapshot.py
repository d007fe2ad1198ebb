"""Saved heaps."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import SnapshotFailedError, SnapshotFormatError
from isokernel.v8 import snapshot, writer
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.isolates import HostedIsolate

STATE = """
let count = 40; const next = () => ++count;
class Secret { #value = 5; get value() { return this.#value } }
const secret = new Secret();
const map = new Map([[{}, 1], ['k', new Set([1, 2])]]);
const bytes = new Uint8Array(100000).fill(7);
const weak = new WeakRef(map), weakly = new WeakMap([[secret, 'held']]);
const date = new Date(5), pattern = /a(b)/gi, big = 2n ** 100n;
function* counter() { yield 1; yield 2 }
const generator = counter(); generator.next();
var resume;
const waiting = new Promise((r) => { resume = r }).then((v) => v * 2);
"""
LOOK = """
next(); resume(21);
[count, secret.value, map.get('k').size, bytes[5], weak.deref() === map,
 weakly.get(secret), +date, pattern.exec('xAB')[1], big, generator.next().value,
 await waiting, typeof Temporal, typeof WebAssembly, typeof Float16Array].join()
"""
SEEN = (
    "41,5,2,7,true,held,5,B,1267650600228229401496703205376,2,42,object,object,function"
)


def test_a_live_heap_is_saved_and_restored(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate]
) -> None:
    bench.cell(STATE)
    data = writer.save(bench.isolate).to_bytes()
    copy = benches(Snapshot.from_bytes(data))
    assert copy.cell(LOOK) == SEEN
    assert bench.cell(LOOK) == SEEN, "the original went on from where it was"


@pytest.mark.parametrize(
    "code",
    [
        "var held = new Error('x')",
        "var held = (() => { try { null.x } catch (error) { return error } })()",
        "var held = Promise.reject(new TypeError('x')); held.catch(() => {}); 0",
    ],
)
def test_errors_with_unread_stacks(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate], code: str
) -> None:
    """V8 writes call sites that it can't read back, unless the text was made."""
    bench.cell(code)
    copy = benches(writer.save(bench.isolate))
    assert "cell-1" in copy.cell(
        "String((held.stack ?? (await held.catch((e) => e)).stack))"
    )


def test_host_functions_survive(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate]
) -> None:
    copy = benches(writer.save(bench.isolate))
    copy.cell("note('from the copy')")
    assert copy.notes == [("from the copy",)]


def test_chains(bench: HostedIsolate, benches: Callable[..., HostedIsolate]) -> None:
    bench.cell("let n = 0")
    sizes = []
    for _ in range(12):
        saved = writer.save(bench.isolate)
        sizes.append(len(saved.blob))
        bench = benches(saved)
        bench.cell("n += 1")
    assert bench.cell("n") == 12
    assert sizes[-1] < 1.1 * sizes[0]


@pytest.mark.parametrize("nodes", [40, 30_000])
def test_regular_expressions_are_shared(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate], nodes: int
) -> None:
    """Regular expressions of one literal share their data, however deep they lie."""
    bench.cell(
        "class Node { constructor(next) { this.next = next; this.re = /^[a-z]+$/i } }"
        f"let list = null; for (let i = 0; i < {nodes}; i++) list = new Node(list); 0"
    )
    look = """
        let found = 0;
        for (let at = list; at; at = at.next) {
          found += at.re.test('Abc') && !at.re.test('1');
        }
        found
    """
    copy = benches(Snapshot.from_bytes(writer.save(bench.isolate).to_bytes()))
    assert copy.cell(look) == nodes
    again = benches(writer.save(copy.isolate))
    assert again.cell(look) == nodes
    assert bench.cell(look) == nodes


def test_optimized_code_does_not_hinder(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate]
) -> None:
    bench.cell(
        "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }; fib(25)"
    )
    copy = benches(writer.save(bench.isolate))
    assert copy.isolate.optimizer.found
    assert copy.cell("fib(20)") == 6765


def test_what_was_compiled_is_saved(bench: HostedIsolate) -> None:
    """So that the first cell after a restore needn't compile it again."""
    body = "".join(f"sum += Math.max(sum, {number}); " for number in range(5000))
    bench.cell(f"function long(sum) {{ {body} return sum }}")
    before = len(writer.save(bench.isolate).blob)
    bench.cell("long(1)")
    assert len(writer.save(bench.isolate).blob) > before + 10 * 5000


@pytest.mark.parametrize(
    "code",
    [
        "globalThis.held = new Intl.DateTimeFormat('en')",
        "globalThis.held = Temporal.Now.instant()",
        "globalThis.held = new WebAssembly.Module("
        "new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
    ],
)
def test_what_v8_cannot_save_harms_nothing(bench: HostedIsolate, code: str) -> None:
    bench.cell("let kept = 1")
    bench.cell(code)
    with pytest.raises(SnapshotFailedError) as caught:
        writer.save(bench.isolate)
    assert caught.value.reason
    assert bench.cell("kept") == 1
    bench.cell("held = null")
    bench.isolate.collect_garbage()


def test_prepare_runs_on_the_copy_alone(
    bench: HostedIsolate, benches: Callable[..., HostedIsolate]
) -> None:
    bench.cell("let where = 'original'")

    class Change(writer.Preparation):
        def begin(self) -> None:
            bench.cell("where = 'copy'")

    saved = writer.save(bench.isolate, Change())
    assert bench.cell("where") == "original"
    assert benches(saved).cell("where") == "copy"


def test_a_failing_preparation_is_told(bench: HostedIsolate) -> None:
    class Failing(writer.Preparation):
        def finish(self, *left: Any) -> None:
            message = f"not now {left}"
            raise RuntimeError(message)

    with pytest.raises(SnapshotFailedError, match="RuntimeError: not now"):
        writer.save(bench.isolate, Failing())


def test_too_little_memory_is_told(bench: HostedIsolate) -> None:
    """V8's allocator ends the process without a word."""
    bench.cell("var list = []; for (let i = 0; i < 1e6; i++) list.push(i / 3)")

    class Starving(writer.Preparation):
        def begin(self) -> None:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            size = int(status.partition("VmData:")[2].split()[0]) << 10
            resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    with pytest.raises(SnapshotFailedError, match="out of memory"):
        writer.save(bench.isolate, Starving())
    assert bench.cell("list.length") == 1_000_000


def _change(data: bytes, **changes: object) -> bytes:
    header, blob = snapshot._split(data)
    raw = json.dumps({**header, **changes}).encode()
    return b"".join((snapshot._MAGIC, snapshot._LENGTH.pack(len(raw)), raw, blob))


def test_bytes_that_are_no_heap_are_refused(bench: HostedIsolate) -> None:
    data = writer.save(bench.isolate).to_bytes()
    for bad in (
        b"",
        b"nonsense",
        data[:10],
        data[:30],
        data[:-1],
        data + b"x",
        snapshot._MAGIC + b"\xff\xff\xff\xff",
        snapshot._MAGIC + snapshot._LENGTH.pack(4) + b"oops",
        snapshot._MAGIC + snapshot._LENGTH.pack(2) + b"[]",
    ):
        with pytest.raises(SnapshotFormatError):
            Snapshot.from_bytes(bad)
    with pytest.raises(SnapshotFormatError, match="was saved by the engine 'other'"):
        Snapshot.from_bytes(_change(data, engine="other"))
    assert Snapshot.from_bytes(_change(data)).blob
