"""Random heaps and histories, saved, restored in another process, and compared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.local_contexts import LocalContext
from tests.support.workers import read_to_end

from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

CANONICAL = r"""
function canonical(root) {
  const seen = new Map(), out = [];
  const walk = (v) => {
    if (v === null || (typeof v !== 'object' && typeof v !== 'function')) {
      const text = typeof v === 'symbol' ? v.toString() : Object.is(v, -0) ? '-0'
        : typeof v === 'string' ? JSON.stringify(v) : String(v);
      return `${typeof v}:${text}`;
    }
    if (seen.has(v)) return `#${seen.get(v)}`;
    const id = seen.size;
    seen.set(v, id);
    const tag = Object.prototype.toString.call(v);
    const parts = [];
    if (v instanceof Map) for (const [k, x] of v) parts.push(`${walk(k)}=>${walk(x)}`);
    if (v instanceof Set) for (const x of v) parts.push(walk(x));
    if (v instanceof Date) parts.push(+v);
    if (v instanceof RegExp) parts.push(`${v}@${v.lastIndex}`);
    if (v instanceof WeakRef) parts.push(walk(v.deref()));
    if (v instanceof Secret) parts.push(walk(v.reveal()));
    if (ArrayBuffer.isView(v)) parts.push(walk(v.buffer));
    if (tag === '[object ArrayBuffer]' || tag === '[object SharedArrayBuffer]')
      parts.push(new Uint8Array(v).join());
    if (typeof v === 'function' && v.closure) parts.push(walk(v()));
    if (!ArrayBuffer.isView(v)) for (const key of Reflect.ownKeys(v)) {
      if (typeof v === 'function' && key !== 'link') continue;
      const d = Object.getOwnPropertyDescriptor(v, key);
      const flags = `${+d.writable}${+d.enumerable}${+d.configurable}`;
      parts.push(`${String(key)}${flags}:${'value' in d ? walk(d.value) : 'get'}`);
    }
    out.push(`${id} ${tag} ${Object.isFrozen(v)} {${parts.join(', ')}}`);
    return `#${id}`;
  };
  return walk(root) + '\n' + out.join('\n');
}
class Secret { #held; constructor(v) { this.#held = v } reveal() { return this.#held } }
0
"""

_PRIMITIVES = st.one_of(
    st.sampled_from(["null", "undefined", "true", "-0", "NaN", "Infinity", "0.1"]),
    st.integers(-(2**40), 2**40).map(str),
    st.integers(-(2**90), 2**90).map("{}n".format),
    st.text("aé€😀'\\\n", max_size=20).map(lambda text: f"{text!a}"),
    st.sampled_from(["Symbol.for('r')", "Symbol.iterator", "'x'.repeat(3000)"]),
)
_MAKERS = (
    "{{ a: {0}, [Symbol.for('s')]: {1} }}",
    "[{0}, , {1}]",
    "Object.assign([], {{ 70000: {0} }})",
    "new Map([[{0}, {1}]])",
    "new Set([{0}, {1}])",
    "new Secret({0})",
    "(v => Object.assign(() => v, {{ closure: true }}))({0})",
    "Object.create(null, {{ a: {{ value: {0} }} }})",
    "Object.freeze([{0}])",
    "Object.defineProperty({{}}, 'g', {{ get() {{ return 1 }}, enumerable: true }})",
    "new Date(1e12)",
    "new Date(NaN)",
    "/a(?<n>b)/giu",
    "new Uint8Array([1, 2, 255])",
    "new Float64Array(200).fill(-0.5)",
    "new BigInt64Array([5n])",
    "new DataView(new ArrayBuffer(24), 8)",
    "new Int16Array(new SharedArrayBuffer(64)).fill(7)",
    "new Error({0} === 1 ? 'one' : 'other')",
    "new Proxy({{ p: {0} }}, {{}})",
    "new (class extends Map {{ own = {0} }})()",
    "Object(Symbol.for('boxed'))",
)


@st.composite
def graphs(draw: st.DrawFn) -> str:
    """A program that makes an array `nodes` of objects with links, cycles included."""
    lines = ["var nodes = []"]
    count = draw(st.integers(1, 12))
    for index in range(count):

        def value(before: int = index) -> str:
            if before and draw(st.booleans()):
                return f"nodes[{draw(st.integers(0, before - 1))}]"
            return draw(_PRIMITIVES)

        maker = draw(st.sampled_from(_MAKERS))
        lines.append(f"nodes[{index}] = {maker.format(value(), value())}")
    ends = st.integers(0, count - 1)
    for start, end in draw(st.lists(st.tuples(ends, ends), max_size=12)):
        lines.append(
            f"if (Object.isExtensible(nodes[{start}]) && !ArrayBuffer.isView("
            f"nodes[{start}])) nodes[{start}].link = nodes[{end}]"
        )
    return ";\n".join(lines) + "; 0"


_CELLS = st.sampled_from(
    [
        "let a = 1",
        "let a = [1, 2]",
        "const a = 'constant'",
        "var a = { deep: { er: 1 } }",
        "function a() { return 'called' }",
        "class a { static s = 1 }",
        "a = 5",
        "a",
        "typeof a === 'function' ? String(a) : a",
        "let b = a",
        "const { c = 1, ...rest } = { d: 2 }",
        "[typeof b, typeof c, typeof rest]",
        "b.push?.(3), b",
        "await Promise.resolve(a)",
        "await new Promise(r => setTimeout(r, 1, 'slept'))",
        "var count = 0; setTimeout(() => { count += 1 }, 1); 0",
        "await new Promise(r => setTimeout(r, 5)); typeof count",
        "var gen ??= (function* () { let i = 0; for (;;) yield i++ })(); gen.next()",
        "var later ??= Promise.withResolvers(); 0",
        "typeof later === 'object' && (later.resolve('x'), await later.promise)",
        "throw new TypeError('thrown')",
        "nope",
        "let x = ;",
        "_",
        "Object.keys(Out).length + Object.keys(In).length",
        "console.log('printed', typeof a)",
        "globalThis.kept = (globalThis.kept ?? 0) + 1",
        "new Map([[1, new Set([2])]])",
    ]
)


def elsewhere(heap: Snapshot, look: Callable[[LocalContext], str]) -> str:
    """What a context that goes on from a heap says, in another process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            said = look(LocalContext(snapshot=Snapshot.from_bytes(heap.to_bytes())))
            os.write(writer, said.encode("utf-8", "replace")[: 1 << 15])
        finally:
            os._exit(0)
    os.close(writer)
    said = read_to_end(reader).decode()
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0
    return said


def _graph(session: LocalContext) -> str:
    outcome = session.run("canonical(nodes).slice(0, 10000)")
    return f"{outcome.error}\n{outcome.text}"


def _check_graph(code: str) -> None:
    session = LocalContext()
    try:
        session.run(CANONICAL)
        assert session.run(code).error is None
        before = _graph(session)
        heap = session.context.heaps.save()
        assert elsewhere(heap, _graph) == before
        assert _graph(session) == before
    finally:
        session.context.close()


def _history(session: LocalContext, cells: list[str]) -> str:
    said = []
    for cell in cells:
        outcome = session.run(cell)
        said.append(f"{outcome.text} {outcome.error} {outcome.stdout}")
    return f"{session.context.execution_count}\n" + "\n".join(said)


def _check_history(before: list[str], after: list[str]) -> None:
    session = LocalContext()
    try:
        _history(session, before)
        session.wait(lambda: session.context.wait_time() is None)
        heap = session.context.heaps.save()
        theirs = elsewhere(heap, lambda copy: _history(copy, after))
        assert theirs == _history(session, after)
    finally:
        session.context.close()


_FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
_MANY = settings(_FEW, max_examples=60)
_HISTORIES = (st.lists(_CELLS, max_size=8), st.lists(_CELLS, min_size=1, max_size=6))


@_FEW
@given(graphs())
def test_random_graphs(code: str) -> None:
    _check_graph(code)


@_FEW
@given(*_HISTORIES)
def test_random_histories(before: list[str], after: list[str]) -> None:
    _check_history(before, after)


@pytest.mark.slow
@_MANY
@given(graphs())
def test_many_random_graphs(code: str) -> None:
    _check_graph(code)


@pytest.mark.slow
@_MANY
@given(*_HISTORIES)
def test_many_random_histories(before: list[str], after: list[str]) -> None:
    _check_history(before, after)


# -- chains ------------------------------------------------------------------------


def _check_chain(length: int) -> None:
    session = LocalContext()
    session.run("let n = 0; const f = () => { nope }; const data = [{ a: 1 }]")
    sizes = []
    for number in range(length):
        heap = session.context.heaps.save()
        session.context.close()
        sizes.append(len(heap.blob))
        session = LocalContext(snapshot=heap)
        isolate = session.context.bridge.isolate
        assert isolate.library.use_optimizer(isolate.pointer)
        assert session.value("n += data[0].a") == str(number + 1)
        assert session.context.execution_count == number + 2
    error = session.run("f()").error
    session.context.close()
    assert error is not None
    assert "at f (cell 1:1:30)" in "\n".join(error.traceback)
    # Each cell leaves its text and its result; nothing else may add up.
    assert sizes[-1] - sizes[1] < 2000 * length


def test_a_chain() -> None:
    _check_chain(12)  # each link takes 0.2 s; the slow test has a hundred


@pytest.mark.slow
def test_a_long_chain() -> None:
    _check_chain(100)
