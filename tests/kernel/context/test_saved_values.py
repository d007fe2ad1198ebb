"""What a saved heap holds, and what can't be saved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.errors import SnapshotFailedError
from isokernel.v8.live_objects import unsavable_objects
from isokernel.v8.values import new_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
    "headers": (
        "(h => [h, (i => (i.next(), i))(h.entries())])(new Headers({ B: 2, a: 1 }))",
        "$[0].append('C', '3'), [[...$[1]].join(';'), [...$[0].keys()].join()]",
        "[ 'b,2;c,3', 'a,b,c' ]",
    ),
    "form": (
        "(f => (f.append('a', new Blob(['xy']), 'n.txt'), f))(new FormData())",
        "$.append('b', 'c'), [$.get('a').name, await $.get('a').text(), $.get('b')]",
        "[ 'n.txt', 'xy', 'c' ]",
    ),
    "stream": (
        "new ReadableStream({ start(c) { c.enqueue(1) } }).getReader()",
        "(await $.read()).value",
        "1",
    ),
    "packing": (
        "(s => [s, (w => (w.write(new Uint8Array(1e5).fill(7)), w))"
        "(s.writable.getWriter())])(new CompressionStream('brotli'))",
        "void $[1].write(new Uint8Array(1e5)), void $[1].close(), (await new Blob("
        "await Array.fromAsync($[0].readable.pipeThrough("
        "new DecompressionStream('brotli')))).bytes()).reduce((a, b) => a + b)",
        "700000",
    ),
    "unpacking": (
        "(s => [s.readable.getReader(), (w => (w.write(new Uint8Array("
        "[11, 1, 128, 97, 97, 97])), w))(s.writable.getWriter())])"
        "(new DecompressionStream('brotli')).map((e, i) => i ? e : [e, e.read()])",
        "void $[1].write(new Uint8Array([24, 0, 8, 97, 97, 97, 98, 3])), "
        "[(await $[0][1]).value.length, (await $[0][0].read()).value.at(-1)]",
        "[ 3, 98 ]",
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


def _saved_twice(cells: Iterable[str]) -> Snapshot:
    """What comes of some cells, saved, restored and saved again."""
    session = LocalContext()
    for code in cells:
        assert session.run(code).error is None
    heap = session.context.heaps.save()
    session.context.close()
    session = LocalContext(snapshot=heap)
    heap = session.context.heaps.save()
    session.context.close()
    return heap


@pytest.fixture(scope="module")
def restored() -> Snapshot:
    """All of them in one context, saved and restored twice."""
    return _saved_twice(
        f"var v_{name} = {made}; 0" for name, (made, _, _) in SURVIVES.items()
    )


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


REMADE: dict[str, tuple[str, str, str]] = {
    # kind: (an object, an expression about it, its value)
    "Intl.Collator": (
        "new Intl.Collator('sv', { numeric: true })",
        "['ä10', 'z', 'ä9'].sort($.compare).join()",
        "'z,ä9,ä10'",
    ),
    "Intl.DateTimeFormat": (
        "new Intl.DateTimeFormat('de', { dateStyle: 'full', timeZone: 'Asia/Tokyo' })",
        "$.format(0) + $.formatRange(0, 1e10).length",
        "'Donnerstag, 1. Januar 197046'",
    ),
    "Intl.DisplayNames": (
        "new Intl.DisplayNames('fr', { type: 'region' })",
        "$.of('DE')",
        "'Allemagne'",
    ),
    "Intl.DurationFormat": (
        "new Intl.DurationFormat('en', { style: 'digital' })",
        "$.format({ hours: 1, minutes: 2 })",
        "'1:02:00'",
    ),
    "Intl.ListFormat": (
        "new Intl.ListFormat('de', { type: 'disjunction' })",
        "$.format(['a', 'b'])",
        "'a oder b'",
    ),
    "Intl.Locale": (
        "new Intl.Locale('ar-EG', { calendar: 'islamic-umalqura' })",
        "[$.toString(), $.region].join()",
        "'ar-EG-u-ca-islamic-umalqura,EG'",
    ),
    "Intl.NumberFormat": (
        "new Intl.NumberFormat('de', { style: 'currency', currency: 'EUR' })",
        "$.format(1234.5)",
        "'1.234,50\u00a0€'",
    ),
    "Intl.PluralRules": (
        "new Intl.PluralRules('en', { type: 'ordinal' })",
        "$.select(22)",
        "'two'",
    ),
    "Intl.RelativeTimeFormat": (
        "new Intl.RelativeTimeFormat('en', { numeric: 'auto' })",
        "$.format(-1, 'day')",
        "'yesterday'",
    ),
    "Intl.Segmenter": (
        "new Intl.Segmenter('en', { granularity: 'word' })",
        "[...$.segment('a bc')].length",
        "3",
    ),
    "Temporal.Duration": (
        "Temporal.Duration.from({ minutes: -90, milliseconds: -1500 })",
        "[$.minutes, $.seconds, $.milliseconds].join()",
        "'-90,0,-1500'",
    ),
    "Temporal.Instant": (
        "Temporal.Instant.from('2020-01-01T00:00:00.123456789Z')",
        "$.epochNanoseconds",
        "1577836800123456789n",
    ),
    "Temporal.PlainDate": (
        "Temporal.PlainDate.from('2020-01-01[u-ca=hebrew]')",
        "[$.calendarId, $.year, $.add({ days: 1 }).day].join()",
        "'hebrew,5780,5'",
    ),
    "Temporal.PlainDateTime": (
        "Temporal.PlainDateTime.from('2020-01-01T00:00:00.5')",
        "$.millisecond",
        "500",
    ),
    "Temporal.PlainMonthDay": (
        "Temporal.PlainMonthDay.from('02-29')",
        "$.toPlainDate({ year: 2024 }).toString()",
        "'2024-02-29'",
    ),
    "Temporal.PlainTime": ("Temporal.PlainTime.from('00:00:07')", "$.second", "7"),
    "Temporal.PlainYearMonth": (
        "Temporal.PlainYearMonth.from('2020-02')",
        "$.daysInMonth",
        "29",
    ),
    "Temporal.ZonedDateTime": (
        "Temporal.ZonedDateTime.from('2020-10-25T02:30+01:00[Europe/Berlin]')",
        "$.subtract({ hours: 1 }).toString()",
        "'2020-10-25T02:30:00+02:00[Europe/Berlin]'",
    ),
    "WebAssembly.Global": (
        "new WebAssembly.Global({ value: 'i64', mutable: true }, -5n)",
        "$.value -= 1n, $.value",
        "-6n",
    ),
    "WebAssembly.Memory": (
        "(m => (new Uint8Array(m.buffer)[3] = 9, m))"
        "(new WebAssembly.Memory({ initial: 1, maximum: 2 }))",
        "[new Uint8Array($.buffer)[3], $.grow(1), $.buffer.byteLength]",
        "[ 9, 1, 131072 ]",
    ),
    "WebAssembly.Module": (
        "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
        "Object.keys(new WebAssembly.Instance($).exports).length",
        "0",
    ),
    "WebAssembly.Table": (
        "(t => (t.set(1, 'x'), t))"
        "(new WebAssembly.Table({ initial: 2, maximum: 3, element: 'externref' }))",
        "[$.get(1), $.length, $.grow(1), $.get(0)]",
        "[ 'x', 2, 2, undefined ]",
    ),
}


@pytest.fixture(scope="module")
def taken_apart() -> Snapshot:
    """All of these in one context, saved and restored twice, each with a property."""
    return _saved_twice(
        f"var v_{name.replace('.', '')} = Object.assign({made}, {{ own: 1 }}); 0"
        for name, (made, _, _) in REMADE.items()
    )


@pytest.fixture
def remade(taken_apart: Snapshot) -> Iterator[LocalContext]:
    session = LocalContext(snapshot=taken_apart)
    yield session
    session.context.close()


@pytest.mark.parametrize("kind", REMADE)
def test_it_is_made_again(remade: LocalContext, kind: str) -> None:
    _, look, value = REMADE[kind]
    remade.context.bridge.isolate.collect_garbage()
    name = f"v_{kind.replace('.', '')}"
    assert remade.value(look.replace("$", name)) == value
    assert remade.value(f"{name}.own") == "1"


@pytest.fixture
def reopened(context: LocalContext) -> Iterator[Callable[[], LocalContext]]:
    """Saves the context, and opens another one from the heap."""
    made: list[LocalContext] = []

    def reopen() -> LocalContext:
        made.append(LocalContext(snapshot=context.context.heaps.save()))
        return made[-1]

    yield reopen
    for session in made:
        session.context.close()


Reopened: TypeAlias = "Callable[[], LocalContext]"


def test_what_is_made_again_is_the_same_object(
    context: LocalContext, reopened: Reopened
) -> None:
    context.run(
        "class Money extends Intl.NumberFormat { #n = 7; get n() { return this.#n } }"
        "const money = new Money('fr', { maximumFractionDigits: 1 });"
        "const { format } = money; const known = new Map([[money, 'known']]);"
        "const many = Array.from({ length: 50 },"
        " (_, i) => new Intl.NumberFormat('de', { minimumFractionDigits: i % 3 }))"
    )
    copy = reopened()
    assert copy.value(
        "[money.n, known.get(money), format(1.55), format(2)].join()"
    ) == ("'7,known,1,6,2'")
    assert copy.value("format === money.format && money instanceof Money") == "true"
    assert copy.value("many.map(f => f.format(1)).slice(3, 6).join(' ')") == (
        "'1 1,0 1,00'"
    )


def test_what_users_have_made_of_intl_has_no_say(
    context: LocalContext, reopened: Reopened
) -> None:
    context.run(
        "const f = new Intl.NumberFormat('de'), d = new Intl.DateTimeFormat('en'),"
        " t = Temporal.Duration.from({ days: 3 }); let asked = 0;"
        "const lie = { get() { asked++; return 'lie' }, configurable: true };"
        "for (const name of ['locale', 'style', 'minimumFractionDigits', 'year',"
        " 'days', 'calendarName', 'toJSON'])"
        " Object.defineProperty(Object.prototype, name, lie);"
        "for (const C of [Intl.NumberFormat, Intl.DateTimeFormat, Temporal.Duration])"
        " for (const name of Reflect.ownKeys(C.prototype))"
        "  if (/resolved|^days|toString/.test(String(name)))"
        "   Object.defineProperty(C.prototype, name, { value: () => { asked++ } });"
        "Intl.NumberFormat = Intl.DateTimeFormat = Temporal.Duration = null; 0"
    )
    copy = reopened()
    assert (
        copy.value(
            "[f.format(1234.5), d.format(0), t.negated().abs().toJSON(),"
            " asked].join(' ')"
        )
        == "'1.234,5 1/1/1970 P3D 0'"
    )


def test_a_number_format_is_found_by_trying(
    context: LocalContext, reopened: Reopened
) -> None:
    context.run(
        "const all = [['en', { trailingZeroDisplay: 'stripIfInteger' }],"
        " ['de', { trailingZeroDisplay: 'stripIfInteger', minimumSignificantDigits: 2,"
        " roundingPriority: 'lessPrecision' }], ['zh', { notation: 'compact' }]]"
        ".map(given => new Intl.NumberFormat(...given));"
        "const show = () => all.map(f => [3, 1234.5678, 1e-4].map(f.format)).join();"
        "const collator = new Intl.Collator('zh')"
    )
    copy = reopened()
    assert copy.value("show()") == context.value("show()")
    assert copy.value("collator.resolvedOptions().locale") == "'zh'"


def test_a_date_format_is_found_by_trying(
    context: LocalContext, reopened: Reopened
) -> None:
    context.run(
        "const all = [['en', { minute: 'numeric', second: 'numeric' }],"
        " ['zh-u-ca-chinese', { hour12: true }], ['de', { era: 'short', dayPeriod:"
        " 'narrow', minute: 'numeric' }]]"
        ".map(given => new Intl.DateTimeFormat(...given));"
        "const times = [0, 981173106007, 1331247599999];"
        "const show = () => all.map(f => times.map(f.format).join()).join()"
    )
    copy = reopened()
    assert copy.value("show()") == context.value("show()")


UNSAVABLE = [
    ("Intl.Segments", "new Intl.Segmenter('en').segment('a')"),
    ("Intl.SegmentIterator", "new Intl.Segmenter().segment('a')[Symbol.iterator]()"),
    ("WebAssembly.Tag", "new WebAssembly.Tag({ parameters: ['i32'] })"),
    ("WebAssembly.Suspending", "new WebAssembly.Suspending(() => {})"),
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
    for index, (code, _, _) in enumerate(REMADE.values()):
        assert context.run(f"const remade{index} = {code}").error is None
    kinds = {kind for kind, _ in unsavable_objects(context.context.bridge.isolate)}
    assert kinds == {kind for kind, _ in UNSAVABLE} | set(REMADE)


@pytest.mark.parametrize(
    "kind",
    ["Intl.Segments", "WebAssembly.Tag", "CallSite"],
)
def test_what_cannot_be_saved_is_named(context: LocalContext, kind: str) -> None:
    context.run(f"const held = {dict(UNSAVABLE)[kind]}; let kept = 1")
    error = _refused(context)
    assert (error.kind, error.path) == (kind, "held")
    assert error.reason
    assert context.value("kept") == "1"


INTL = "new Intl.Segmenter('en').segment('a')"


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
    [(kind, value)] = [
        item
        for item in unsavable_objects(bridge.isolate)
        if item[0] != "Intl.Segmenter"
    ]
    found = json.loads(bridge.call("findUnsavable", [value], []))
    assert (kind, found) == ("Intl.Segments", [] if path is None else [0, path])


def test_exports_of_modules_are_ways_too(context: LocalContext) -> None:
    isolate = context.context.bridge.isolate
    modules, library = isolate.modules, isolate.library
    text = (
        "export const words = new Intl.Segmenter().segment('a');"
        "await new Promise(() => {}); export let later = 1"
    )
    with isolate.entered():
        source = new_string(library, isolate.pointer, text)
        assert not modules.compile("npm:/words@1.0.0/index.js", source, {})
        assert not modules.link("npm:/words@1.0.0/index.js")
        slot = modules.slot("npm:/words@1.0.0/index.js")
        library.module_evaluate(slot, isolate.context)
    error = _refused(context)
    assert error.kind == "Intl.Segments"
    assert error.path == '(await import("npm:/words@1.0.0/index.js")).words'


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


def test_long_chains_are_saved(context: LocalContext, reopened: Reopened) -> None:
    """V8's writer defers what is deep, and can't read all of it back by itself."""
    context.run(
        "let chain = null; for (let i = 0; i < 200; i++) chain = { next: chain, i,"
        " re: /a/g, bytes: Uint8Array.of(i), view: new DataView(new ArrayBuffer(9)),"
        " shared: new Uint16Array(new SharedArrayBuffer(8)) };"
        "for (let c = chain; c; c = c.next) {"
        "  c.view.setInt8(8, c.i % 100); c.shared[3] = c.i; }"
        "const sum = () => { let n = 0; for (let c = chain; c; c = c.next)"
        "  n += c.re.test('a') && c.bytes[0] + c.view.getInt8(8) + c.shared[3];"
        "  return n }"
    )
    copy = reopened()
    assert copy.value("sum()") == "49700"
    assert copy.value("Uint8Array.of(1).buffer.resizable") == "false"
