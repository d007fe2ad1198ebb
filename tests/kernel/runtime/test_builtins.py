"""Answers don't depend on what user code has done to the built-ins."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.support.workers import read_to_end

import isokernel.runtime
from isokernel.context.events import Stream
from isokernel.typescript.transpiler import transpiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local_contexts import LocalContext

    from isokernel.context.events import Event

MUTATIONS: Final = 1000
SIZES: Final = (1, 4, 16, 32)
"""Of groups: what holds with all of a group is asked once, which takes 60 ms."""
GROUPS_PER_PROCESS: Final = 100
BLANK_EVERY: Final = 20
"""One group of so many is the first that its process sees, which takes longer."""

OF_ALL_OBJECTS: Final = 0.2
"""The share of mutations that put a name which the runtime reads onto all objects."""

TURN_SECONDS: Final = 40

Mutation = tuple[str, str, str]
"""Whose property, its name, and what is done to it."""
Group = list[Mutation]
"""Mutations that are there together."""
Answers = dict[str, str]
"""What each of the probes said."""

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
# What a value says of itself; and whose child it is.
SHOWN: Final = ("constructor", "@@toStringTag", "@@inspect", "name")
# What these mean is theirs to say: V8 reads the one, cells the others.
MEANT: Final = {
    ("Error", "stackTraceLimit"),
    ("Error", "prepareStackTrace"),
    *(("globalThis", name) for name in ("console", "display", "kept", "setTimeout")),
    *(("globalThis", name) for name in ("Out", "In", "_", "__", "___")),
    *(("globalThis", name) for name in ("undefined", "Math")),
    *((owner, key) for owner in OWNERS for key in SHOWN),
    *((owner, "__proto__") for owner in OWNERS if owner != "Object.prototype"),
}
HOW: Final = (
    "delete owner[key]",
    "owner[key] = function () { throw new Error('mutated'); }",
    "owner[key] = () => 7",
    "owner[key] = undefined",
    "defineProperty(owner, key, { __proto__: null,"
    " get() { throw new Error('getter'); }, configurable: true })",
    "defineProperty(owner, key, { __proto__: null, set() {}, configurable: true })",
)

# Values, made before; the probes themselves use no built-in.
_KEPT: Final = """var kept = (() => {
  const { getOwnPropertyDescriptor, defineProperty, deleteProperty } = Reflect;
  const { getPrototypeOf, setPrototypeOf } = Reflect;
  const { isArray } = Array;
  // All of these as they are now, as one mutation may be what another stumbles over.
  const owners = OWNERS;
  const how = HOW;
  const symbols = { __proto__: null };
  for (const key of Reflect.ownKeys(Symbol)) {
    if (typeof Symbol[key] === 'symbol') symbols[`@@${key}`] = Symbol[key];
  }
  symbols['@@inspect'] = Symbol.for('nodejs.util.inspect.custom');
  let made = null;
  const mutate = (at, named, done) => {
    const owner = owners[at];
    const key = symbols[named] ?? named;
    const before = getOwnPropertyDescriptor(owner, key);
    // Else it would inherit what a mutation has made of Object.prototype.
    if (before) setPrototypeOf(before, null);
    const parent = getPrototypeOf(owner);
    const length = isArray(owner) ? owner.length : undefined;
    const undo = () => {
      if (getPrototypeOf(owner) !== parent) setPrototypeOf(owner, parent);
      const undone = before ? defineProperty(owner, key, before)
        : deleteProperty(owner, key);
      if (length !== undefined) owner.length = length;
      return undone;
    };
    made = { __proto__: null, undo, earlier: made };
    try { how[done](owner, key); } catch {}
  };
  const png = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10, 0]);
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
    pictures: [png, new DataView(png.buffer), new Uint8ClampedArray(png), png.buffer],
    buffers: [png, new DataView(png.buffer, 1), new Float64Array(2), png.buffer],
    comm: new Jupyter.Comm('kept'),
    later: (f) => setTimeout(f, 1),
    mutate(group) {
      for (let i = 0; i < group.length; i++) {
        mutate(group[i][0], group[i][1], group[i][2]);
      }
    },
    undo() {
      let undone = true;
      for (; made; made = made.earlier) undone = made.undo() && undone;
      return undone;
    },
  };
})(); 0"""
KEPT: Final = _KEPT.replace("OWNERS", f"[{', '.join(OWNERS)}]").replace(
    "HOW", f"[{', '.join(f'(owner, key) => {{ {how} }}' for how in HOW)}]"
)
# What a cell's value goes through; and all the values, each by itself.
PROBES: Final = (
    "display(kept.plain, kept.map, kept.typed, kept.made, kept.odd, kept.error,"
    " kept.errors, kept.null, kept.iterators, kept.html); kept.list",
    "kept.long",
    "console.log('%s %d %o %O %c', 'a', 5, kept.plain, kept.rows, 'x');"
    " console.error('e', kept.error); kept.error",
    "null.x",
    "nope(",
    "(function f() { throw kept.error })()",
    "throw kept.errors",
    "throw 'text'",
    "display.html('<b>x</b>'); display.table(kept.rows); display.json({ a: 1 }); 5n",
    "console.table(kept.rows); console.group('g'); console.log(1); console.groupEnd();"
    " console.table(kept.map); console.dir(kept.plain, { depth: 0 });"
    " console.count(); console.countReset()",
    "kept.later(() => console.log('late')); await null; kept.later(() => { null.y });"
    " kept.rows",
    "let a = 1; const b = 2; function c() {}",
    "const a = 3; let b = 4; a + b",
    "display(kept.pictures[0], kept.pictures[1], kept.pictures[2], kept.pictures[3]);"
    " kept.comm.send({ a: [1] }, { metadata: { b: 2 }, buffers: kept.buffers })",
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
    text = re.sub(r"[0-9a-f]{32}", "ID", json.dumps(said, default=str))
    # Numbers of cells, which grow from one turn to the next.
    text = re.sub(r"\bcell \d+", "cell N", text)
    return re.sub(r'"execution_(count|id)": \d+', r'"execution_\1": N', text)


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


def _turns(session: LocalContext, groups: list[Group]) -> tuple[list[Answers], int]:
    """What a copy of the context answers after each group of mutations.

    One group is undone before the next, which costs a third of a process for each. It
    ends early where one can't be undone, or the copy no longer answers; the number
    is that of the signal that has ended it.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            try:
                for group in groups:
                    signal.alarm(TURN_SECONDS)  # nothing but this ends a lost turn
                    said: Answers = {}
                    places = [
                        (OWNERS.index(owner), key, HOW.index(how))
                        for owner, key, how in group
                    ]
                    session.run(f"kept.mutate({json.dumps(places)}); 0")
                    said.update(_probes(session))
                    print(json.dumps(said), file=pipe, flush=True)
                    if session.run("kept.undo()").text != "true":
                        break
            except BaseException as error:  # noqa: BLE001 - what the test is about
                said["failed"] = repr(error)
                print(json.dumps(said), file=pipe, flush=True)
            finally:
                pipe.flush()
                os._exit(0)
    os.close(writer)
    lines = read_to_end(reader).splitlines()
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return [json.loads(line) for line in lines], status & 0x7F


def _keys(session: LocalContext, owner: str) -> list[str]:
    outcome = session.run(
        f"console.log(JSON.stringify(Reflect.ownKeys({owner}).map((key) => typeof key"
        " === 'symbol' ? key.description.replace('Symbol.', '@@') : key)))"
    )
    own: list[str] = json.loads(outcome.stdout)
    return [key for key in own if not re.match(r"_\d|@@[^a-z]", key)]


def _names_used() -> list[str]:
    """Names of properties in the runtime's own text: each is read from some object."""
    names: set[str] = set()
    for path in Path(isokernel.runtime.__file__).parent.rglob("*.js"):
        if "vendor" not in path.parts:
            text = path.read_text()
            names.update(re.findall(r"[\w$)\]]\??\.([A-Za-z_]\w*)", text))
            for part in re.findall(r"\{([^{}]*)\}\s*(?:=|,|\))", text):
                names.update(re.findall(r"[A-Za-z_]\w*", part))
    # Completion rightly offers these for `kept.pl`.
    return sorted(name for name in names if not name.startswith("pl"))


def _difference(usual: Answers, answers: Answers) -> str:
    for probe, text in usual.items():
        if (said := answers.get(probe, answers.get("failed", ""))) != text:
            pairs = enumerate(zip(said, text, strict=False))
            alike = next((i for i, (one, other) in pairs if one != other), 0)
            part = slice(max(alike - 100, 0), alike + 200)
            return f"{probe}\n  {text[part]}\n  {said[part]}"
    return ""


def _groups(session: LocalContext, seed: int, mutations: int) -> Iterator[Group]:
    """Random mutations, in groups of random sizes."""
    keys = {owner: _keys(session, owner) for owner in OWNERS}
    used = _names_used()
    choose = random.Random(seed)  # noqa: S311 - no secret
    while mutations > 0:
        group: Group = []
        size = min(choose.choice(SIZES), mutations)
        while len(group) < size:
            if choose.random() < OF_ALL_OBJECTS:
                owner, key = "Object.prototype", choose.choice(used)
            else:
                owner = choose.choice(OWNERS)
                key = choose.choice([*keys[owner], *choose.sample(ODD_KEYS, 8)])
            if (owner, key) not in MEANT:
                group.append((owner, key, choose.choice(HOW)))
        mutations -= size
        yield group


def _differences(
    session: LocalContext, groups: list[Group], turns_max: int
) -> Iterator[str]:
    """Which mutations change an answer, and how."""
    (usual,), _ = _turns(session, [[]])
    assert "failed" not in usual, usual
    while groups:
        answers, ended_by = _turns(session, groups[:turns_max])
        done = 0
        for done, said in enumerate(answers, 1):
            if _difference(usual, said):
                yield from _causes(session, usual, groups[done - 1], said)
                break
        else:
            if ended_by:
                yield f"{groups[done]} ended the process by signal {ended_by}"
                done += 1
        groups = groups[done:]


def _causes(
    session: LocalContext, usual: Answers, group: Group, said: Answers
) -> Iterator[str]:
    """Which of a group's mutations it comes from: single ones, or as few as can be."""

    def change(some: Group) -> str:
        answers, _ = _turns(session, [some])
        return _difference(usual, answers[0] if answers else {})

    found = False
    for mutation in group:
        if changed := change([mutation]):
            found = True
            yield f"{mutation} {changed}"
    if found:
        return
    if not change(group):
        yield f"{group} only after others: {_difference(usual, said)}"
        return
    for mutation in [*group]:
        if change(others := [each for each in group if each != mutation]):
            group = others
    yield f"{group} together: {change(group)}"


@pytest.fixture
def blank(sessions: Callable[..., LocalContext]) -> LocalContext:
    """A context that has loaded nothing of the libraries yet."""
    session = sessions()
    session.run(KEPT)
    compiler = transpiler()  # what each copy would load for itself
    compiler.transpile("enum A {}")
    compiler.redeclare("const a = 1", {"a": "let"}, "a")
    return session


@pytest.mark.slow
@pytest.mark.race
def test_no_answer_changes_form_after_a_mutation(
    blank: LocalContext, sessions: Callable[..., LocalContext], times: int
) -> None:
    """Both where the libraries are loaded already, and where they are not."""
    groups = list(_groups(sessions(), times, MUTATIONS * times))
    first = len(groups) // BLANK_EVERY
    found = list(_differences(blank, groups[:first], turns_max=1))
    for _ in _probes(blank):
        pass
    found += _differences(blank, groups[first:], GROUPS_PER_PROCESS)
    assert not found, "\n".join(found)


def test_a_mutation_is_noticed_and_undone(
    blank: LocalContext, sessions: Callable[..., LocalContext]
) -> None:
    """What the test of many stands on; and a few random ones of every run."""
    for _ in _probes(blank):
        pass
    (one,) = _groups(sessions(), random.randrange(1 << 32), 1)  # noqa: S311
    seen = ("globalThis", "display", HOW[0])
    other = ("Array.prototype", "0", HOW[-1])
    groups: list[Group] = [[seen], [], [other, seen], [other], one]
    found = list(_differences(blank, groups, GROUPS_PER_PROCESS))
    assert len(found) == 2, "\n".join(found)
    assert all(text.startswith(str(seen)) for text in found)


@pytest.mark.parametrize("how", ["delete globalThis.globalThis", "globalThis = 7"])
def test_the_name_of_the_global_object_is_the_users(
    context: LocalContext, how: str
) -> None:
    context.run(how)
    assert context.value("var z = [1, new Map()]; z") == "[ 1, Map(0) {} ]"
    assert context.value("typeof new URL('a:b').searchParams") == "'object'"
    assert context.value("let y = 2; y as number") == "2"
    assert context.value("(await import('node:path')).sep") == "'/'"
    assert context.run("null.x").failure.ename == "TypeError"
    assert "z" in context.context.queries.names()


CLASSES: Final = "Error|Map|RangeError|Set|Symbol|TypeError|WeakMap"
TAKES_THEM: Final = {"bootstrap.js", "intrinsics.js", "pristine.js"}


LISTS = """
for (const name of ["push", "pop", "splice"]) {
  Array.prototype[name] = () => { throw new Error("broken") };
}
0"""
STREAM = (
    "new ReadableStream({ start(c) { c.enqueue('a'); c.enqueue('b'); c.close() } })"
)
AS_BEFORE = (
    (f"let all = ''; for await (const one of {STREAM}) all += one; all", "'ab'"),
    ("await new Response(new Blob(['text']).stream()).text()", "'text'"),
    (
        f"let n = 0; await {STREAM}.pipeTo("
        "new WritableStream({ write() { n += 1 } })); n",
        "2",
    ),
    (f"(await {STREAM}.tee()[1].getReader().read()).value", "'a'"),
    (
        "(await new ReadableStream({ type: 'bytes', start(c) {"
        " c.enqueue(new Uint8Array([1, 2])); c.close() } })"
        ".getReader({ mode: 'byob' }).read(new Uint8Array(1))).value[0]",
        "1",
    ),
    (
        "const stop = new AbortController(); const end = "
        f"{STREAM}.pipeTo(new WritableStream(), {{ signal: stop.signal }})"
        ".catch((error) => error.name); stop.abort(); await end",
        "'AbortError'",
    ),
    (
        "const url = new URL('../c?x=1&x=2', 'http://1.2.3.4/a/b/');"
        " url.searchParams.append('y', '3'); url.searchParams.delete('x'); url.href",
        "'http://1.2.3.4/a/c?y=3'",
    ),
    (
        "new URLPattern({ pathname: '/:id' }).exec({ pathname: '/x' })"
        ".pathname.groups.id",
        "'x'",
    ),
)


@pytest.mark.parametrize(("code", "result"), AS_BEFORE)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_libraries_call_the_methods_of_arrays_that_there_were(
    context: LocalContext, code: str, result: str, *, is_loaded: bool
) -> None:
    if is_loaded:
        assert context.value(code) == result
    assert context.value(LISTS) == "0"
    assert context.value(code) == result


def test_classes_are_not_looked_up_on_the_global_object() -> None:
    """A cell may have put others there; an error is as much an answer as a value."""
    for path in Path(isokernel.runtime.__file__).parent.glob("*.js"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
        taken = re.search(r'const \{([^}]*)\} =\s*require\("intrinsics"\)', text)
        names = set(re.findall(r"\w+", taken[1])) if taken else set()
        used = re.findall(rf"(?:new |[=(,\[] ?)({CLASSES})\b(?=[(.,)])", text)
        assert path.name in TAKES_THEM or set(used) <= names, path.name
