"""What a saved heap holds, and what can't be saved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.errors import SnapshotFailedError
from isokernel.v8.live_objects import unsavable_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.v8.snapshot import Snapshot

SURVIVES: dict[str, tuple[str, str, str]] = {
    # name of a global: (what it is, an expression about it, its value)
    "closure": ("(() => { let n = 1; return () => ++n })()", "$(), $()", "3"),
    "private": (
        "new (class { #p = 1; #m() { return this.#p } get v() { return this.#m() } })",
        "$.v",
        "1",
    ),
    "decorated": (
        "new (class { @((f) => function () { return f.call(this) + 1 }) m() "
        "{ return 1 } accessor n = 3 })",
        "[$.m(), $.n]",
        "[ 2, 3 ]",
    ),
    "map": ("new Map([['k', new Set([1, 2])], [NaN, -0]])", "$.get('k').size", "2"),
    "typed": ("new Float64Array(1e4).fill(1.5)", "$[9999] + $.length", "10001.5"),
    "views": (
        "[new Uint8Array(200)].map(v => [v, new DataView(v.buffer, 8)])[0]",
        "$[0][9] = 7, [$[1].getUint8(1), $[0].buffer === $[1].buffer]",
        "[ 7, true ]",
    ),
    "resizable": (
        "new ArrayBuffer(8, { maxByteLength: 64 })",
        "$.resize(32), $.byteLength",
        "32",
    ),
    "detached": ("(b => (b.transfer(), b))(new ArrayBuffer(8))", "$.detached", "true"),
    "shared": (
        "(b => (new Uint8Array(b)[3] = 9, b))(new SharedArrayBuffer(16))",
        "[$.byteLength, new Uint8Array($)[3], $ instanceof SharedArrayBuffer]",
        "[ 16, 9, true ]",
    ),
    "sharedview": (
        "(v => (v.fill(5), [v, new DataView(v.buffer, 8)]))"
        "(new Int32Array(new SharedArrayBuffer(1e5)))",
        "Atomics.add($[0], 2, 1), $[1].getInt32(0, true)",
        "6",
    ),
    "growable": (
        "(b => { const v = new Uint8Array(b); b.grow(32); v[20] = 3; return v })"
        "(new SharedArrayBuffer(16, { maxByteLength: 64 }))",
        "$.buffer.grow(64), [$.length, $[20], $.buffer.growable]",
        "[ 64, 3, true ]",
    ),
    "emptyshared": ("new SharedArrayBuffer(0)", "$.byteLength", "0"),
    "emptygrowable": (
        "new SharedArrayBuffer(0, { maxByteLength: 64 })",
        "$.grow(8), $.byteLength",
        "8",
    ),
    "date": ("new Date(5)", "+$", "5"),
    "regexp": (
        "(r => (r.exec('aab'), r))(/(?<n>a)/y)",
        "[$.lastIndex, $.exec('aab').groups.n]",
        "[ 1, 'a' ]",
    ),
    "weakmap": ("(k => [k, new WeakMap([[k, 1]])])({})", "$[1].get($[0])", "1"),
    "weakref": ("(k => [k, new WeakRef(k)])({})", "$[1].deref() === $[0]", "true"),
    "registry": (
        "(r => (r.register({}, 1), r.register(globalThis, 2, r), r))"
        "(new FinalizationRegistry(() => {}))",
        "$.unregister($)",
        "true",
    ),
    "generator": (
        "(g => (g.next(), g))(function* () { try { yield 1; yield 2 } catch {} }())",
        "$.next().value",
        "2",
    ),
    "asyncgenerator": (
        "(async function* () { yield 1; yield 2 })()",
        "(await $.next(), (await $.next()).value)",
        "2",
    ),
    "helper": ("[1, 2, 3].values().map(x => x * 2).drop(1)", "[...$]", "[ 4, 6 ]"),
    "iterator": (
        "(i => (i.next(), i))(new Map([[1, 2], [3, 4]]).entries())",
        "$.next().value",
        "[ 3, 4 ]",
    ),
    "matches": (
        "(i => (i.next(), i))('a1b2'.matchAll(/\\d/g))",
        "$.next().value[0]",
        "'2'",
    ),
    "disposable": (
        "(s => (s.defer(() => { s.x = 1 }), s))(new DisposableStack())",
        "$.dispose(), $.x",
        "1",
    ),
    "proxy": ("new Proxy({}, { get: (_, k) => k })", "$.name", "'name'"),
    "revoked": (
        "(r => (r.revoke(), r.proxy))(Proxy.revocable({}, {}))",
        "typeof $",
        "'object'",
    ),
    "symbol": ("Symbol.for('x')", "$ === Symbol.for('x')", "true"),
    "bigint": ("2n ** 100n", "$", "1267650600228229401496703205376n"),
    "promise": ("Promise.withResolvers()", "$.resolve(3), await $.promise", "3"),
    "all": (
        "(p => [p.resolve, Promise.all([p.promise, 2])])(Promise.withResolvers())",
        "$[0](1), await $[1]",
        "[ 1, 2 ]",
    ),
    "eval": ("(s => { let x = 5; return c => eval(c) })()", "$('x')", "5"),
    "function": ("new Function('a', 'return a + 1')", "$(1)", "2"),
    "bound": (
        "(function (a, b) { return this.x + a + b }).bind({ x: 1 }, 2)",
        "$(3)",
        "6",
    ),
    "arguments": ("(function () { return arguments })(1, 2)", "$[1]", "2"),
    "sparse": ("[1, , 3]", "[1 in $, $.length]", "[ false, 3 ]"),
    "accessor": ("({ get a() { return 4 } })", "$.a", "4"),
    "float16": ("new Float16Array([1.5])", "$[0]", "1.5"),
    "error": ("new Error('x')", "$.stack.split('\\n').length > 1", "true"),
    "caught": (
        "(() => { try { null.x } catch (e) { return e } })()",
        "$.stack.includes('cell')",
        "true",
    ),
    "captured": (
        "(o => (Error.captureStackTrace(o), o))({})",
        "typeof $.stack",
        "'string'",
    ),
    "hidden": (
        "(() => { const o = []; Error.captureStackTrace(o); return () => o.stack })()",
        "typeof $()",
        "'string'",
    ),
    "deleted": ("(e => (delete e.stack, e))(new Error('x'))", "$.message", "'x'"),
    "replaced": (
        "(e => Object.defineProperty(e, 'stack', { value: 5 }))(new Error('x'))",
        "$.stack",
        "5",
    ),
    "subclass": (
        "new (class E extends Error { get stack() { throw 1 } })('x')",
        "$.message",
        "'x'",
    ),
    "url": ("new URL('http://a/b?c=1')", "$.searchParams.get('c')", "'1'"),
    "blob": ("new Blob(['abc'])", "await $.text()", "'abc'"),
    "stream": (
        "new ReadableStream({ start(c) { c.enqueue(1) } }).getReader()",
        "(await $.read()).value",
        "1",
    ),
    "abort": ("new AbortController()", "$.abort(), $.signal.aborted", "true"),
    "events": (
        "(t => (t.addEventListener('x', () => { t.got = 1 }), t))(new EventTarget())",
        "$.dispatchEvent(new Event('x')), $.got",
        "1",
    ),
    "decoder": ("new TextDecoder()", "$.decode(new TextEncoder().encode('ä'))", "'ä'"),
    "global": (
        "new WebAssembly.Global({ value: 'i32', mutable: true }, 5)",
        "$.value += 1",
        "6",
    ),
}


@pytest.fixture(scope="module")
def restored() -> Snapshot:
    """All of them in one context, saved and restored twice."""
    session = LocalContext()
    for name, (made, _, _) in SURVIVES.items():
        assert session.run(f"var v_{name} = {made}; 0").error is None
    heap = session.context.heaps.save()
    session.context.close()
    session = LocalContext(snapshot=heap)
    heap = session.context.heaps.save()
    session.context.close()
    return heap


@pytest.fixture
def copy(restored: Snapshot) -> Iterator[LocalContext]:
    session = LocalContext(snapshot=restored)
    yield session
    session.context.close()


@pytest.mark.parametrize("name", SURVIVES)
def test_it_survives(copy: LocalContext, name: str) -> None:
    _, look, value = SURVIVES[name]
    assert copy.value(look.replace("$", f"v_{name}")) == value


def test_all_of_it_can_be_collected(copy: LocalContext) -> None:
    copy.context.bridge.isolate.collect_garbage()
    for name in SURVIVES:
        copy.run(f"v_{name} = null")
    copy.run("_ = __ = ___ = null")
    copy.context.bridge.isolate.collect_garbage()
    assert copy.value("1 + 1") == "2"


def test_formatters_of_the_runtime_do_not_hinder(context: LocalContext) -> None:
    for code in (
        "new Date().toLocaleString()",
        "new Date().toLocaleDateString('de', { dateStyle: 'long' })",
        "(1234.5).toLocaleString()",
        "(10n).toLocaleString('de')",
        "[1, new Date()].toLocaleString()",
        "'a'.localeCompare('ä', 'de')",
        "'i'.toLocaleUpperCase('tr')",
        "console.log(new Date(), [1234.5, new Date()])",
        "console.table([{ a: new Date() }])",
        "new Intl.DateTimeFormat('en').format(0)",
        "{ const f = new Intl.NumberFormat('en').format; f(1) }",
        "Temporal.Now.instant().toString()",
    ):
        assert context.run(code).error is None
    assert context.context.heaps.save().blob


UNSAVABLE = [
    ("Intl.Collator", "new Intl.Collator('en')"),
    ("Intl.DateTimeFormat", "new Intl.DateTimeFormat('en')"),
    ("Intl.DisplayNames", "new Intl.DisplayNames('en', { type: 'region' })"),
    ("Intl.DurationFormat", "new Intl.DurationFormat('en')"),
    ("Intl.ListFormat", "new Intl.ListFormat('en')"),
    ("Intl.Locale", "new Intl.Locale('en')"),
    ("Intl.NumberFormat", "new Intl.NumberFormat('en')"),
    ("Intl.PluralRules", "new Intl.PluralRules('en')"),
    ("Intl.RelativeTimeFormat", "new Intl.RelativeTimeFormat('en')"),
    ("Intl.Segmenter", "new Intl.Segmenter('en')"),
    ("Intl.Segments", "new Intl.Segmenter('en').segment('a')"),
    ("Temporal.Duration", "Temporal.Duration.from({ hours: 1 })"),
    ("Temporal.Instant", "Temporal.Now.instant()"),
    ("Temporal.PlainDate", "Temporal.PlainDate.from('2020-01-01')"),
    ("Temporal.PlainDateTime", "Temporal.PlainDateTime.from('2020-01-01T00')"),
    ("Temporal.PlainMonthDay", "Temporal.PlainMonthDay.from('01-01')"),
    ("Temporal.PlainTime", "Temporal.PlainTime.from('00:00')"),
    ("Temporal.PlainYearMonth", "Temporal.PlainYearMonth.from('2020-01')"),
    ("Temporal.ZonedDateTime", "Temporal.Now.zonedDateTimeISO()"),
    (
        "WebAssembly.Module",
        "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
    ),
    ("WebAssembly.Memory", "new WebAssembly.Memory({ initial: 1 })"),
    (
        "WebAssembly.Table",
        "new WebAssembly.Table({ initial: 1, element: 'anyfunc' })",
    ),
    (
        "CallSite",
        "(() => { Error.prepareStackTrace = (e, s) => s[0]; const { stack } ="
        " new Error(); delete Error.prepareStackTrace; return stack })()",
    ),
]


def _refused(session: LocalContext) -> SnapshotFailedError:
    with pytest.raises(SnapshotFailedError) as caught:
        session.context.heaps.save()
    return caught.value


def test_every_kind_is_known(context: LocalContext) -> None:
    for index, (_, code) in enumerate(UNSAVABLE):
        assert context.run(f"const held{index} = {code}").error is None
    kinds = [kind for kind, _ in unsavable_objects(context.context.bridge.isolate)]
    assert sorted(set(kinds)) == sorted(kind for kind, _ in UNSAVABLE)


@pytest.mark.parametrize(
    "kind",
    ["Intl.DateTimeFormat", "Temporal.Instant", "WebAssembly.Memory", "CallSite"],
)
def test_what_cannot_be_saved_is_named(context: LocalContext, kind: str) -> None:
    context.run(f"const held = {dict(UNSAVABLE)[kind]}; let kept = 1")
    error = _refused(context)
    assert (error.kind, error.path) == (kind, "held")
    assert error.reason
    assert context.value("kept") == "1"


INTL = "new Intl.Locale('en')"


@pytest.mark.parametrize(
    ("code", "path"),
    [
        (f"globalThis.held = {INTL}; 0", "globalThis.held"),
        (f"let held = {INTL}", "held"),
        (f"class A {{ static held = {INTL} }}", "A.held"),
        (f"const o = {{ 'a b': [0, {{ é: {INTL} }}] }}", 'o["a b"][1].é'),
        (f"const o = {{ [Symbol.for('s')]: {INTL} }}", "o[Symbol(s)]"),
        (f"const m = new Map([['k', {INTL}]])", 'm.get("k")'),
        (f"const m = new Map([[{{}}, {INTL}]])", "[...m.values()][0]"),
        (f"const m = new Map([[{INTL}, 1]])", "[...m.keys()][0]"),
        (f"const s = new Set([1, {{ a: {INTL} }}])", "[...s][1].a"),
        (f"const f = () => 1; f.held = {INTL}", "f.held"),
        (f"const f = (() => {{ const l = {INTL}; return () => l }})()", None),
        (f"const o = {{ get a() {{ throw 1 }}, b: {INTL} }}", "o.b"),
        (
            f"const p = new Proxy({{ l: {INTL} }}, {{ ownKeys() {{ for (;;); }} }})",
            None,
        ),
        (f"{INTL}", "globalThis._"),
    ],
)
def test_the_way_to_it_is_told(
    context: LocalContext, code: str, path: str | None
) -> None:
    context.run(code)
    bridge = context.context.bridge
    [(kind, value)] = unsavable_objects(bridge.isolate)
    found = json.loads(bridge.call("findUnsavable", [value]))
    assert (kind, found) == ("Intl.Locale", [] if path is None else [0, path])


def test_nothing_of_the_users_is_run_to_find_it(context: LocalContext) -> None:
    context.run(
        "const trap = new Proxy({}, { ownKeys() { for (;;); } });"
        "const o = { get a() { for (;;); } };"
        f"const held = {INTL}"
    )
    assert _refused(context).path == "held"


def test_what_left_traces_but_no_object_is_named_too(
    sessions: Callable[..., LocalContext],
) -> None:
    session = sessions()
    session.run("Atomics.waitAsync(new Int32Array(new SharedArrayBuffer(8)), 0, 0); 0")
    error = _refused(session)
    assert (error.kind, error.path) == ("Atomics.waitAsync", None)


def test_output_of_the_copy_is_nobodys(context: LocalContext) -> None:
    context.run(
        "Error.prepareStackTrace = (e, s) => { console.log('copy'); return s };"
        "const held = new Error('x')"
    )
    before = len(context.events)
    heap = context.context.heaps.save()
    assert context.events[before:] == []
    copy = LocalContext(snapshot=heap)
    assert copy.value("held.stack").startswith("'Error: x\\n    at cell 1:1:")
    copy.context.close()
