"""Answers don't depend on what user code has done to the built-ins."""

from __future__ import annotations

import json
import os
import random
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.support.workers import read_to_end

from isokernel.context.events import Stream
from isokernel.typescript.transpiler import transpiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local_contexts import LocalContext

    from isokernel.context.events import Event

TURNS: Final = 200

OWNERS: Final = (
    *(
        "Object",
        "Array",
        "String",
        "Number",
        "RegExp",
        "Promise",
        "Date",
        "JSON",
        "Math",
    ),
    *("Reflect", "Symbol", "Error", "Proxy", "globalThis", "Map", "Set", "BigInt"),
    *("Object.prototype", "Array.prototype", "String.prototype", "Number.prototype"),
    *("RegExp.prototype", "Map.prototype", "Set.prototype", "WeakMap.prototype"),
    *("Promise.prototype", "Date.prototype", "Symbol.prototype", "Function.prototype"),
    *("Error.prototype", "TypeError.prototype", "Uint8Array.prototype"),
    *("ArrayBuffer.prototype", "BigInt.prototype", "Boolean.prototype"),
    "Iterator.prototype",
    "Object.getPrototypeOf(Uint8Array)",
    "Object.getPrototypeOf(Uint8Array.prototype)",
    "Object.getPrototypeOf([][Symbol.iterator]())",
    "Object.getPrototypeOf(new Map()[Symbol.iterator]())",
    "Object.getPrototypeOf(new Set()[Symbol.iterator]())",
    "Object.getPrototypeOf(''[Symbol.iterator]())",
    "Object.getPrototypeOf(function* () {})",
)
# Beside the keys that the owner has.
ODD_KEYS: Final = (
    *("toJSON", "then", "length", "0", "1", "value", "get", "set", "configurable"),
    *("enumerable", "writable", "constructor", "toString", "valueOf", "data", "text"),
    *("metadata", "start", "frames", "stack", "message", "name", "__proto__", "cause"),
    *("transient", "depth", "colors", "customInspect", "type", "id", "code"),
    *("@@iterator", "@@toPrimitive", "@@toStringTag", "@@species", "@@inspect"),
)
# What a value says of itself.
SHOWN: Final = ("constructor", "@@toStringTag", "@@inspect", "name")
# What these mean is theirs to say: V8 reads the one, cells the others.
MEANT: Final = {
    ("Error", "stackTraceLimit"),
    ("Error", "prepareStackTrace"),
    *(("globalThis", name) for name in ("console", "display", "kept", "setTimeout")),
    *(("globalThis", name) for name in ("globalThis", "Out", "In", "_", "__", "___")),
    ("globalThis", "undefined"),
    *((owner, key) for owner in OWNERS for key in SHOWN),
}
HOW: Final = (
    "delete owner[key]",
    "owner[key] = function () { throw new Error('mutated'); }",
    "owner[key] = () => 7",
    "owner[key] = undefined",
    "Object.defineProperty(owner, key,"
    " { get() { throw new Error('getter'); }, configurable: true })",
    "Object.defineProperty(owner, key, { set() {}, configurable: true })",
)
MUTATE: Final = """(() => {
  const named = %s;
  const key = named === '@@inspect' ? Symbol.for('nodejs.util.inspect.custom')
    : named.startsWith('@@') ? Symbol[named.slice(2)] : named;
  const owner = %s;
  try { %s } catch {}
})(); 0"""

# Values, made before; the probes themselves use no built-in.
KEPT: Final = """var kept = (() => {
  class A { #p = 1; x = 2; get g() { return 3 } }
  const late = Promise.reject(new RangeError('kept'));
  late.catch(() => {});
  return {
    plain: { a: [1, 'x', [2, [3, [4]]]], d: new Date(0), r: /x/g, n: null },
    map: new Map([[1, { b: 2 }], ['k', new Set([1, 'y'])]]),
    typed: [new Uint8Array([1, 2, 3]), new ArrayBuffer(4)],
    made: [new A, A, A.bind(null), Symbol('q'), 5n, -0, new Number(3), Object('s')],
    odd: [late, new Proxy({}, {}), (function () { return arguments })(1), new WeakMap],
    error: new Error('shown', { cause: new TypeError('inner') }),
    errors: new AggregateError([new Error('first')], 'several'),
    rows: [{ a: 1, b: 'y' }, { a: 2, c: [1, 2] }],
    long: 'it\\'s\\n"long" '.repeat(30),
    list: Array.from({ length: 200 }, (_, i) => i),
    null: Object.create(null, { a: { value: 1, enumerable: true } }),
    iterators: [new Map([[1, 2]]).entries(), new Set([3]).values(), [1].values()],
    html: html`<b>${1}</b>`,
    later: (f) => setTimeout(f, 1),
  };
})(); 0"""
PROBES: Final = (
    *(f"kept.{name}" for name in ("plain", "map", "typed", "made", "odd", "error")),
    *(
        f"kept.{name}"
        for name in ("errors", "long", "list", "null", "iterators", "html")
    ),
    "console.log('%s %d %o %j %c', 'a', 5, kept.plain, kept.rows, 'x')",
    "console.error('e', kept.error)",
    "null.x",
    "nope(",
    "(function f() { throw kept.error })()",
    "throw kept.errors",
    "throw 'text'",
    "display.html('<b>x</b>'); display(kept.rows, kept.plain); 5n",
    "display.table(kept.rows); display.json({ a: 1 })",
    "console.table(kept.rows); console.group('g'); console.log(1); console.groupEnd()",
    "console.table(kept.map); console.dir(kept.plain, { depth: 0 }); console.count()",
    "kept.later(() => console.log('late')); await null; kept.rows",
    "kept.later(() => { null.y })",
    "let a = 1; const b = 2; function c() {}",
    "const a = 3; let b = 4; a + b",
    "enum E { A = 5 }; E.A as number",
    "{ a: 1 as number, b: 2 }",
)


def _said(events: list[Event]) -> str:
    """What a front would get, however it is cut into pieces."""
    said: list[list[Any]] = []
    for event in events:
        fields = event._asdict()
        if isinstance(event, Stream) and said and said[-1][0] == f"Stream {event.name}":
            said[-1][1]["text"] += event.text
            continue
        kind = type(event).__name__
        if isinstance(event, Stream):
            kind = f"Stream {event.name}"
        said.append([kind, fields])
    return re.sub(r"[0-9a-f]{32}", "ID", json.dumps(said, default=str))


def _probes(session: LocalContext) -> Iterator[tuple[str, str]]:
    for probe in PROBES:
        said = _said(session.run(probe).events)
        yield probe, said + _said(session.idle())
    queries = session.context.queries
    yield "complete", str(queries.complete("kept.pl", 7))
    yield "complete names", str(queries.complete("Mat", 3))
    yield "inspect", str(queries.inspect("kept.plain", 8))
    yield "inspect class", str(queries.inspect("console.log", 9, 1))
    yield "is_complete", str(queries.is_complete("f("))
    yield "names", str(sorted({"b", "c", "kept"} & {*queries.names()}))
    yield "evaluate", str(session.context.evaluate("kept.rows"))


def _answers(session: LocalContext, mutation: str | None) -> dict[str, str]:
    """What a copy of the context answers after a mutation."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        try:
            said: dict[str, str] = {}
            if mutation is not None:
                session.run(mutation)
            else:
                session.run("0")
            said.update(_probes(session))
        except BaseException as error:  # noqa: BLE001 - what the test is about
            said["failed"] = repr(error)
        finally:
            with os.fdopen(writer, "w") as pipe:
                json.dump(said, pipe)
            os._exit(0)
    os.close(writer)
    answers: dict[str, str] = json.loads(read_to_end(reader))
    os.close(reader)
    os.waitpid(pid, 0)
    return answers


def _keys(session: LocalContext, owner: str) -> list[str]:
    outcome = session.run(
        f"console.log(JSON.stringify(Reflect.ownKeys({owner}).map((key) => typeof key"
        " === 'symbol' ? key.description.replace('Symbol.', '@@') : key)))"
    )
    own: list[str] = json.loads(outcome.stdout)
    return [key for key in own if not re.match(r"_\d|@@[^a-z]", key)]


def difference(session: LocalContext, usual: dict[str, str], mutation: str) -> str:
    """How the answers differ after a mutation; empty if they don't."""
    answers = _answers(session, mutation)
    if answers == usual:
        return ""
    for probe, text in usual.items():
        if answers.get(probe) != text:
            return f"{probe}\n  {text}\n  {answers.get(probe, answers.get('failed'))}"
    return str(answers)


def mutations(
    session: LocalContext, seed: int, turns: int
) -> Iterator[tuple[str, ...]]:
    """Random mutations: owner, key and how."""
    keys = {owner: _keys(session, owner) for owner in OWNERS}
    choose = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(turns):
        owner = choose.choice(OWNERS)
        key = choose.choice([*keys[owner], *choose.sample(ODD_KEYS, 8)])
        if (owner, key) not in MEANT:
            yield owner, key, choose.choice(HOW)


@pytest.mark.slow
@pytest.mark.race
def test_no_answer_changes_form_after_a_mutation(
    sessions: Callable[..., LocalContext], times: int
) -> None:
    """Both where the libraries are loaded already, and where they are not."""
    blank, warm, keys = sessions(), sessions(), sessions()
    for session in (blank, warm):
        session.run(KEPT)
    for probe in PROBES[:12]:
        warm.run(probe)
    compiler = transpiler()  # what each copy would load for itself
    compiler.transpile("enum A {}")
    compiler.redeclare("const a = 1", {"a": "let"}, "a")
    usual = [_answers(session, None) for session in (blank, warm)]
    assert "failed" not in usual[0]
    found = []
    for turn, (owner, key, how) in enumerate(mutations(keys, times, TURNS * times)):
        session = (blank, warm)[turn % 2]
        changed = difference(
            session, usual[turn % 2], MUTATE % (json.dumps(key), owner, how)
        )
        if changed:
            found.append(f"{owner} {key} {how}\n  {changed}")
    assert not found, "\n".join(found)
