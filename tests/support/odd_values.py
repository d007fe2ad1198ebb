"""Values that are odd to show or to send, as code, and what JSON makes of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

DEPTH_MAX: Final = 100
"""Levels of a result that is JSON; docs/http.md and docs/executions.md have it."""


class _Mark:
    """What stands in an expected value for something special."""


OMITTED: Final = _Mark()
"""Left out of an object, null in an array."""
UNKNOWN: Final = _Mark()
"""Whatever JSON it becomes."""


class OddValue(NamedTuple):
    """A value.

    Attributes:
        code: A JavaScript expression.
        data: What its JSON holds, or UNKNOWN.
        is_plain: Whether JSON holds all of it; None where that isn't known.
        may_fail: Whether the error may be the user's.
    """

    code: str
    data: Any
    is_plain: bool | None
    may_fail: bool = False


PLANES: Final = (
    *("a", "it's", '"', "\\", "`${1}`", "\x00", "\x1b[31m", "\x7f", "\r\n", "\t"),
    *("ä", "ß\u0301", "\u200f", "\u2028", "\ufeff", "\ufffe", "\uffff", "한", "\ue000"),
    *(
        "😀",
        "👩‍👩‍👧",
        "\U0001d518",
        "\U00020000",
        "\U000e0001",
        "\U000f0000",
        "\U0010fffd",
    ),
    *("</script>", "<!--", "data: x\n\n", "\x85", "%s%d", "-->", "NaN", "{", "]"),
    *("\ud83d", "\ude00", "\ud800\ud800", "\udfff"),
)
"""Parts of texts; the last ones are halves of surrogate pairs."""
_LONE: Final = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|[\ud800-\udfff]")

PLAIN_ATOMS: Final = (
    *("null", "true", "false", "0", "-1", "1e21", "5e-324", "9007199254740993"),
    *("1.7976931348623157e308", "0.1", "123456789012345680000", "[]", "{}", "''"),
)
_UINT8: Final = "new Uint8Array([1, 2])"
TOLD: Final[tuple[tuple[str, Any], ...]] = (
    *((code, None) for code in ("NaN", "Infinity", "-Infinity")),
    ("-0", 0),
    ("() => 1", OMITTED),
    ("(class A { static x = 1 })", OMITTED),
    ("function* () {}", OMITTED),
    ("async (a) => a", OMITTED),
    ("Math.max", OMITTED),
    ("Symbol('s')", OMITTED),
    ("Symbol.iterator", OMITTED),
    ("new Map([[{}, new Set([NaN])], ['k', 1n]])", {}),
    ("new Set(['\\ud83d', -0, new Map()])", {}),
    ("new Map([[Symbol('k'), () => 1]])", {}),
    ("new WeakMap()", {}),
    ("new WeakRef({})", {}),
    ("/x/giu", {}),
    ("new Error('e\\ud83d')", {}),
    ("Object.assign(new TypeError('t'), { status: 404 })", {"status": 404}),
    ("Promise.resolve({ a: 1 })", {}),
    ("new Promise(() => {})", {}),
    ("(function* () { yield 1 })()", {}),
    ("[1, 2].values()", {}),
    ("new Intl.NumberFormat('de')", {}),
    ("new WebAssembly.Memory({ initial: 1 })", {}),
    ("new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))", {}),
    ("new Float64Array([0.5])", {"0": 0.5}),
    (_UINT8, "[Uint8Array of 2 bytes]"),
    ("new Uint8Array(3e5)", "[Uint8Array of 300000 bytes]"),
    (f"new DataView({_UINT8}.buffer)", "[DataView of 2 bytes]"),
    ("new ArrayBuffer(8)", "[ArrayBuffer of 8 bytes]"),
    ("new SharedArrayBuffer(4)", "[SharedArrayBuffer of 4 bytes]"),
)
"""What JSON has no form for, and what it makes of it, which is told."""
NO_LOSS: Final[tuple[tuple[str, Any], ...]] = (
    ("new Date(0)", "1970-01-01T00:00:00.000Z"),
    ("new Number(3)", 3),
    ("new String('s')", "s"),
    ("new Boolean(false)", False),
    ("new Proxy({ a: [1] }, {})", {"a": [1]}),
    ("Object.assign(Object.create(null), { a: 1 })", {"a": 1}),
    ("new (class A { #p = 1; x = 2; get g() { return 3 } })", {"x": 2}),
    ("new (class A extends Array {})", []),
    ("(function () { return arguments })(1)", {"0": 1}),
    ("({ [Symbol('k')]: 1, a: 2 })", {"a": 2}),
    ('JSON.parse(\'{"__proto__": {"a": 1}, "constructor": 2}\')', UNKNOWN),
    ("Object.defineProperty({}, 'hidden', { value: NaN })", {}),
    ("({ toJSON() { return [1] } })", UNKNOWN),
    ("({ get a() { return 1 } })", {"a": 1}),
)
NOT_JSON: Final = (
    *("5n", "new Object(5n)", "({ big: 2n ** 70n })"),
    "(() => { const a = { b: [] }; a.b.push(a); return a })()",
    "(() => { const m = { m: new Map() }; m.m.set(m, m); m.self = m; return m })()",
    "({ get a() { throw new Error('getter') } })",
    "({ get a() { throw null } })",
    "({ toJSON() { throw new Error('toJSON') } })",
    "new Proxy({ a: 1 }, { ownKeys() { throw new Error('trap') } })",
    "new Proxy({}, { get() { throw undefined } })",
    "(() => { const p = Proxy.revocable({}, {}); p.revoke(); return p.proxy })()",
)
"""What JSON.stringify throws at; the result is then the value as text."""
UNCLEAR: Final = (
    "[JSON.rawJSON?.('1e1000')]",
    *("new Date(NaN)", "undefined", "Atomics", "globalThis", "Math", "WebAssembly"),
    *("new Array(5)", "[1, , 3]", "Object.assign([1], { x: 2, '-1': 3 })"),
    "Object.assign([], { 4294967294: 1 })",
    "new Array(100000)",
    "new Proxy([], { get: (t, k) => k === 'length' ? 3 : k })",
    "new Proxy(function () {}, {})",
    "new Proxy({}, { getPrototypeOf() { throw 1 }, has() { throw 2 } })",
    "({ toJSON: () => undefined })",
    "({ toJSON: (key) => ({ key, toJSON: 1 }) })",
    "({ toJSON: () => '\\udc00' })",
    "({ toString() { throw 1 }, valueOf() { throw 2 }, [Symbol.toPrimitive]: 3 })",
    "({ get [Symbol.toStringTag]() { throw new Error('tag') } })",
    "({ [Symbol.toStringTag]: 5, constructor: null })",
    "({ constructor: { get name() { throw 1 } } })",
    "({ [Symbol.for('nodejs.util.inspect.custom')]: () => ({ a: NaN }) })",
    "({ [Symbol.for('nodejs.util.inspect.custom')]: () => '\\ud83d'.repeat(9) })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'text/plain': '\\udfff' }) })",
    "({ [Symbol.for('Jupyter.display')]: () => null })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'image/png': '\\ud800' }) })",
    "({ _repr_html_() { throw new Error('html') } })",
    "({ _repr_html_: () => ({ a: 1 }), _repr_png_: () => 7 })",
    "({ _repr_html_: () => '\\ud83d', _repr_json_: () => ({ a: '\\ud83d' }) })",
    "({ _repr_mimebundle_: () => [] })",
    "({ _repr_mimebundle_: () => ({ 'application/x+json': 5n }) })",
    "new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10, 255])",
    "new Blob(['a'], { type: 'image/png' })",
    "new Blob([new Uint8Array([255])], { type: 'text/\\u00e9' })",
    "html`<b>${'\\ud83d'}</b>`",
    "Object.assign(new Error(), { message: 5, stack: { a: 1 }, name: null })",
    "Object.defineProperty(new Error('x'), 'stack', { get() { throw 1 } })",
    "Object.assign(new Error('c'), { cause: Symbol('c'), errors: 1 })",
    "new AggregateError([1, null, new Error('\\ud800')], 'a'.repeat(9999))",
    "Object.setPrototypeOf(new Error('p'), null)",
    "Promise.reject(Object.assign(new Error('r'), { a: 1n })).catch((e) => e)",
    "Promise.resolve(Promise.resolve([Promise.resolve(1), -0]))",
    "(() => { const b = new ArrayBuffer(8); const v = new Uint8Array(b);"
    " structuredClone(b, { transfer: [b] }); return { b, v } })()",
    "(() => { const b = new ArrayBuffer(8, { maxByteLength: 16 });"
    " const v = new Uint8Array(b, 4); b.resize(2); return { b, v } })()",
    "Object.freeze(Object.assign(() => 1, { a: NaN }))",
    "new Function('a', 'return ' + '1;'.repeat(999))",
    "(async function* () { yield 1 })()",
    "new Intl.DateTimeFormat('en').formatToParts",
    "new WebAssembly.Table({ initial: 2, element: 'anyfunc' })",
    "new Map(Array.from({ length: 5000 }, (_, i) => [i, { i }]))",
    "new Set(Array.from({ length: 300 }, (_, i) => ({ i, s: '\\ud83d' })))",
    "Object.fromEntries(Array.from({ length: 3000 }, (_, i) => ['k' + i, i % 7]))",
    "Object.fromEntries(Array.from({ length: 200 }, (_, i) =>"
    " [String.fromCharCode(0xd800 + i), i]))",
    "Array.from({ length: 60000 }, (_, i) => i)",
    "Array.from({ length: 400 }, () => Array(400).fill('\\ud83d'))",
    "Array.from({ length: 2000 }, (_, i) => ({ i, t: 't'.repeat(i) }))",
    "'x'.repeat(3000000)",
    "'\\ud83d'.repeat(300000)",
    "'\\u0000\"'.repeat(200000)",
    "'\\n'.repeat(100000)",
    "{}.constructor.prototype",
    "new Temporal.Duration(1)",
    "Iterator.prototype",
    "Symbol.prototype",
    "Object.create(Object.create({ inherited: NaN }))",
    "Object.create(Array.prototype, { length: { value: 2 ** 32 } })",
    "({ then: 1, catch: null })",
    "({ type: 'FeatureCollection', features: NaN })",
    "({ $schema: 'https://vega.github.io/schema/vega/v5.json', data: 5n })",
    "new EventTarget()",
    "new URL('http://ä.example/?\\ud83d')",
    "new AbortController()",
    "new DOMException('d', 'DataCloneError')",
    "crypto",
    "performance",
    "process",
    "console",
    "structuredClone(new Error('clone', { cause: [1] }))",
)
"""Whose form is for others to say, or differs with the front; each must be valid."""
FAILING: Final = (
    "({ [Symbol.for('nodejs.util.inspect.custom')]() { throw new Error('no') } })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'text/html': 5 }) })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'application/json': NaN }) })",
    "({ [Symbol.for('Jupyter.display')]: async () => { throw 1 } })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'no mime': 1, '': 2, 'x/y': '' }) })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'image/svg+xml': { a: 1 } }) })",
    "({ [Symbol.for('Jupyter.display')]: () => ({ 'application/json': 5n }) })",
)
"""Whose own display fails: that is the cell's error, or the answer all the same."""


def odd_values(choose: random.Random, count: int) -> Iterator[OddValue]:
    """Make values: most of a tree, with something odd in it or instead of it."""
    for _ in range(count):
        kind = choose.random()
        if kind < 0.05:
            yield OddValue(f"({choose.choice(FAILING)})", UNKNOWN, None, may_fail=True)
        elif kind < 0.3:
            yield OddValue(f"({choose.choice(UNCLEAR)})", UNKNOWN, None)
        elif kind < 0.4:
            yield _deep(choose, choose.choice((5, 99, 100, 101, 150, 600, 1500)))
        else:
            yield _placed(choose, _tree(choose, choose.choice((0, 0, 1, 2, 4))))


def _deep(choose: random.Random, levels: int) -> OddValue:
    """Nested so deeply; beyond a bound it is text."""
    is_list = choose.random() < 0.5
    step = "v = [v]" if is_list else "v = { v }"
    code = f"(() => {{ let v = 7; for (let i = 0; i < {levels}; i++) {step};"
    data: Any = 7
    for _ in range(levels if levels <= DEPTH_MAX else 0):
        data = [data] if is_list else {"v": data}
    is_plain = levels <= DEPTH_MAX
    return OddValue(f"{code} return v }})()", data if is_plain else UNKNOWN, is_plain)


def _tree(choose: random.Random, depth: int) -> OddValue:
    if depth == 0:
        return _leaf(choose)
    parts = [_tree(choose, depth - 1) for _ in range(choose.randrange(1, 5))]
    is_plain = (
        None
        if any(part.is_plain is None for part in parts)
        else all(part.is_plain for part in parts)
    )
    unknown = any(part.data is UNKNOWN for part in parts)
    if choose.random() < 0.5:
        code = f"[{', '.join(part.code for part in parts)}]"
        data: Any = [None if part.data is OMITTED else part.data for part in parts]
    else:
        names = [f"{_text(choose)}{at}" for at in range(len(parts))]
        pairs = zip(names, parts, strict=True)
        code = ", ".join(f"[{json.dumps(n)}]: {part.code}" for n, part in pairs)
        code = f"({{ {code} }})"
        pairs = zip(names, parts, strict=True)
        data = {_formed(n): p.data for n, p in pairs if p.data is not OMITTED}
        unknown = unknown or len({*map(_formed, names)}) < len(names)
    return OddValue(code, UNKNOWN if unknown else data, is_plain)


def _leaf(choose: random.Random) -> OddValue:
    kind = choose.random()
    if kind < 0.3:
        text = _text(choose)
        return OddValue(json.dumps(text), _formed(text), is_plain=True)
    if kind < 0.45:
        code = choose.choice(PLAIN_ATOMS)
        data = json.loads(code.replace("'", '"'))
        return OddValue(code if code != "{}" else "({})", data, is_plain=True)
    if kind < 0.7:
        code, data = choose.choice(TOLD)
        return OddValue(f"({code})", data, is_plain=False)
    if kind < 0.85:
        code, data = choose.choice(NO_LOSS)
        return OddValue(f"({code})", data, None if data is UNKNOWN else True)
    if kind < 0.95:
        return OddValue(f"({choose.choice(NOT_JSON)})", UNKNOWN, is_plain=False)
    return OddValue("undefined", OMITTED, is_plain=None)


def _placed(choose: random.Random, value: OddValue) -> OddValue:
    """A value as a whole result, where some of them are something else."""
    code, data, is_plain, _ = value
    alone = code.startswith(("(", "un")) and data is OMITTED
    if alone or "Promise" in code or "=>" in code:
        # Called, awaited or without a word in JSON: not as what stands deeper.
        if choose.random() < 0.5 and "new Promise" not in code:
            return OddValue(code, UNKNOWN, None)
        data = UNKNOWN if data is OMITTED else data
        return OddValue(f"[{code}]", UNKNOWN if data is UNKNOWN else [data], is_plain)
    return value


def _text(choose: random.Random) -> str:
    length = choose.choice((0, 1, 2, 3, 5, 30))
    return "".join(choose.choice(PLANES) for _ in range(length))


def _formed(text: str) -> str:
    """With U+FFFD for halves of surrogate pairs, as text leaves the runtime."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole if "\ufffd" in text or _LONE.search(text) else text


# -- what came of it -------------------------------------------------------------------


def read_json(text: str | bytes) -> Any:
    """Read what a client got: valid UTF-8, JSON without NaN, and no half of a pair."""

    def refuse(constant: str) -> None:
        message = f"JSON has no {constant}"
        raise ValueError(message)

    if isinstance(text, bytes):
        text = text.decode()
    value = json.loads(text, parse_constant=refuse)
    check_text(value)
    return value


def check_text(value: Any) -> None:
    """Check that all texts of plain data can be written as UTF-8."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def in_javascript(data: Any) -> Any:
    """Plain data as JavaScript has it, which knows no integers."""
    return json.loads(json.dumps(data), parse_int=float)


def check_data(value: OddValue, data: Any, note: str | None, text: str | None) -> None:
    """Check a result as data, by the rule that the documents have.

    Args:
        value: What it was.
        data: What the client got.
        note: What is said of what JSON doesn't hold of it, if anything is.
        text: The value as text, which comes with a note.
    """
    check_text([data, note, text])
    if value.is_plain is not None:
        assert bool(note) is not value.is_plain, (value, note)
    if note:
        assert text or "isn't JSON" in note, (value, note)
    if value.data is not UNKNOWN:
        assert in_javascript(data) == in_javascript(value.data), (value, data)
    elif note and "is the value as text" in note:
        assert isinstance(data, str), (value, data)
