"""WebAssembly, and heaps that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
from tests.support import wasm
from tests.support.local_contexts import LocalContext
from tests.support.wasm import I32, body, name, signature, unsigned

from isokernel.errors import SnapshotFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.workers import WorkerClient

Saved: TypeAlias = "Callable[[LocalContext], LocalContext]"

FUNCTION, TABLE, MEMORY, GLOBAL = range(4)
GET, SET = b"\x20", b"\x21"
CALLBACK = name("env") + name("callback") + b"\0" + unsigned(0)
TYPES = [signature(1, 1), signature(0, 1), signature(2, 0), signature(2, 1)]
BUMP = b"\x23\0\x41\x10\x6b\x24\0\x23\0"  # the first global, less 16
LOAD = b"\x20\0\x2d\0\0"
STORE = b"\x20\0\x20\1\x3a\0\0"
CALL_BACK = b"\x20\0\x10\0\x41\x01\x6a"  # one more than it gives
CALL_ENTRY = b"\x20\1\x20\0\x11\0\0"  # of the table, with an argument
COUNT = b"\x23\1\x41\x01\x6a\x24\1\x23\1"
GROW = b"\x20\0\x40\0"
ADD_ONE = b"\x20\0\x41\x01\x6a"
VARIABLES = [
    I32 + b"\1" + wasm.constant(1000),
    I32 + b"\1" + wasm.constant(7),
]
CODE = [body(one) for one in (BUMP, LOAD, STORE, CALL_BACK, CALL_ENTRY, COUNT, GROW)]
CODE.append(body(ADD_ONE))
NAMES = ("bump", "load", "store", "callBack", "callEntry", "count", "grow")
FUNCTIONS = [
    name(each) + bytes((FUNCTION, index)) for index, each in enumerate(NAMES, 1)
]
OTHERS = [
    name(each) + bytes((kind, index))
    for each, kind, index in (
        ("memory", MEMORY, 0),
        ("table", TABLE, 0),
        ("counter", GLOBAL, 1),
    )
]
ENTRIES = b"\0" + wasm.constant(1) + wasm.vector([unsigned(8), unsigned(2)])


def machine(*, private: bool = False) -> bytes:
    """A module with a memory, a table, two variables and functions for all of them.

    Args:
        private: It exports functions only.
    """
    return wasm.module(
        {
            1: TYPES,
            2: [CALLBACK],
            3: [unsigned(index) for index in (1, 0, 2, 0, 3, 1, 0, 0)],
            4: [b"\x70\x01" + unsigned(4) + unsigned(8)],
            5: [b"\x01" + unsigned(1) + unsigned(10)],
            6: VARIABLES,
            7: [*FUNCTIONS, *(() if private else OTHERS)],
            9: [ENTRIES],
            10: CODE,
            11: [b"\0" + wasm.constant(16) + name("hello")],
        }
    )


def array(data: bytes) -> str:
    return f"Uint8Array.from({list(data)})"


def made(data: bytes, imports: str = "{ env: { callback: (x) => x * 2 } }") -> str:
    return f"new WebAssembly.Instance(new WebAssembly.Module({array(data)}), {imports})"


@pytest.fixture
def context() -> Iterator[LocalContext]:
    session = LocalContext()
    yield session
    session.context.close()


@pytest.fixture
def saved() -> Iterator[Saved]:
    """Saves a context, and opens another one from the heap."""
    sessions: list[LocalContext] = []

    def reopen(session: LocalContext) -> LocalContext:
        sessions.append(LocalContext(snapshot=session.context.heaps.save()))
        return sessions[-1]

    yield reopen
    for session in sessions:
        session.context.close()


def test_it_goes_on_confined(spawn: Callable[..., WorkerClient]) -> None:
    client = spawn()
    client.run(f"const e = {made(machine())}.exports; e.store(3, 99)")
    data, outcome = client.checkpoint()
    assert outcome["status"] == "ok", outcome
    look = "[e.load(3), e.bump(), e.callBack(4), e.memory.grow(1)].join()"
    copy = spawn(data)
    assert copy.value(look) == client.value(look) == "'99,984,9,1'"
    data, _ = copy.checkpoint()
    assert spawn(data).value(look) == "'99,968,9,2'"


LOOK = """
[
  e.bump(), e.load(3), e.load(16), e.callBack(4), e.callEntry(1, 7), e.count(),
  e.counter.value, held === e.bump, held.mine, held(), e.table.get(2) === e.load,
  e.table.get(0), e.table.length, instance.exports === e,
  WebAssembly.Module.exports(module).length, e.bump.name, String(e.bump),
  buffer === e.memory.buffer, bytes.buffer === buffer, bytes[3],
  (bytes[5] += 1, e.load(5)), view.getUint8(0), words[1],
].join()
"""


def test_an_instance_goes_on(context: LocalContext, saved: Saved) -> None:
    """State, identity and views are the same in the second and the third process."""
    context.run(
        f"const instance = {made(machine())}; const e = instance.exports;"
        f"const module = new WebAssembly.Module({array(machine())});"
        "const held = e.bump; held.mine = 5; e.store(3, 99); e.grow(1);"
        "const { buffer } = e.memory; const bytes = new Uint8Array(buffer);"
        "const view = new DataView(buffer, 16, 8);"
        "const words = new Uint32Array(buffer, 16, 4)"
    )
    session = context
    for _ in range(2):
        twin = saved(session)
        expected = session.value(LOOK)
        twin.context.bridge.isolate.collect_garbage()
        assert twin.value(LOOK) == expected
        session = twin
    grown = "[e.grow(1), bytes.length, e.memory.buffer.byteLength, e.load(3)].join()"
    assert session.value(grown) == "'2,0,196608,99'"
    assert "Maximum memory" in session.value(
        "try { e.memory.grow(20) } catch (error) { error.message }"
    )
    assert "signature" in session.value(
        "try { e.callEntry(0, 1) } catch (error) { error.message }"
    )


def test_what_only_the_instance_has_goes_on(
    context: LocalContext, saved: Saved
) -> None:
    context.run(
        f"const e = {made(machine(private=True))}.exports; e.store(3, 99); e.bump()"
    )
    look = "[e.bump(), e.load(3), e.load(16), e.callEntry(1, 7), e.count()].join()"
    first = saved(context)
    assert first.value(look) == "'968,99,104,8,8'"
    assert saved(first).value(look) == "'952,99,104,8,9'"


def test_instances_share_what_they_shared(context: LocalContext, saved: Saved) -> None:
    """A memory, a table, and a variable of one are imports of another one."""
    imports = [
        CALLBACK,
        name("a") + name("table") + b"\1\x70\0" + unsigned(1),
        name("a") + name("memory") + b"\2\0" + unsigned(1),
        name("a") + name("counter") + b"\3" + I32 + b"\1",
    ]
    code = [LOAD, STORE, b"\x23\0\x41\x64\x6a\x24\0\x23\0", CALL_ENTRY]
    other = wasm.module(
        {
            1: TYPES,
            2: imports,
            3: [unsigned(index) for index in (0, 2, 1, 3)],
            7: [
                name(each) + bytes((FUNCTION, index))
                for index, each in enumerate(("load", "store", "count", "entry"), 1)
            ],
            9: [b"\0" + wasm.constant(3) + wasm.vector([unsigned(1)])],
            10: [body(one) for one in code],
        }
    )
    context.run(
        f"const a = {made(machine())}.exports;"
        f"const b = {made(other, '{ env: { callback: a.callBack }, a }')}.exports;"
        "a.table.set(0, b.load); b.store(40, 11)"
    )
    look = (
        "[a.load(40), b.load(40), b.count(), a.count(), a.counter.value,"
        " b.entry(1, 5), a.callEntry(0, 40), a.callEntry(3, 40),"
        " a.table.get(0) === b.load, a.table.get(3) === b.load].join()"
    )
    twin = saved(context)
    expected = context.value(look)
    assert expected.startswith("'11,11,")
    assert twin.value(look) == expected
    assert saved(twin).value(look) == context.value(look)


def test_data_are_not_copied_again(context: LocalContext, saved: Saved) -> None:
    context.run(f"const e = {made(machine())}.exports; e.store(16, 33)")
    assert saved(context).value("e.load(16)") == "33"


def test_a_start_function_is_not_run_again(context: LocalContext, saved: Saved) -> None:
    starting = wasm.module(
        {
            1: [signature(0, 0)],
            2: [name("env") + name("callback") + b"\0\0"],
            3: [unsigned(0)],
            8: unsigned(1),
            10: [body(b"\x10\0")],
        }
    )
    imports = "{ env: { callback() { calls += 1 } } }"
    context.run(f"var calls = 0; const instance = {made(starting, imports)}")
    assert context.value("calls") == "1"
    assert saved(context).value("calls") == "1"


def test_a_function_of_javascript_stays_in_a_table(
    context: LocalContext, saved: Saved
) -> None:
    """As compilers for the web add one: by a module that exports what it imports."""
    adding = wasm.module(
        {
            1: [signature(1, 1)],
            2: [name("e") + name("f") + b"\0\0"],
            7: [name("f") + b"\0\0"],
        }
    )
    context.run(
        f"let factor = 3; const e = {made(machine())}.exports;"
        f"e.table.set(0, {made(adding, '{ e: { f: (x) => x * factor } }')}.exports.f)"
    )
    twin = saved(saved(context))
    assert twin.value("factor = 5; [e.callEntry(0, 7), e.table.get(0)(2)]") == (
        "[ 35, 10 ]"
    )


def test_classes_and_properties_stay(context: LocalContext, saved: Saved) -> None:
    context.run(
        "class Mine extends WebAssembly.Memory { #secret = 4; get secret() "
        "{ return this.#secret } }"
        "const memory = Object.freeze(Object.assign("
        "new Mine({ initial: 1, maximum: 3 }), { own: 1 }));"
        "const bare = new WebAssembly.Global({ value: 'f32', mutable: true }, 1.5);"
        "Object.setPrototypeOf(bare, null);"
        f"const e = {made(machine())}.exports; Object.setPrototypeOf(e.load, null);"
        "const known = new WeakMap([[memory, 'm'], [e.load, 'f']])"
    )
    assert saved(saved(context)).value(
        "[memory instanceof Mine, memory.secret, memory.own, Object.isFrozen(memory),"
        " memory.grow(1), Object.getPrototypeOf(bare), Reflect.get("
        "WebAssembly.Global.prototype, 'value', bare), Object.getPrototypeOf(e.load),"
        " e.load(16), known.get(memory), known.get(e.load)].join()"
    ) == ("'true,4,1,true,1,,1.5,,104,m,f'")


def test_changed_built_ins_have_no_say(context: LocalContext, saved: Saved) -> None:
    context.run(f"const e = {made(machine())}.exports; e.store(3, 4); e.bump()")
    context.run(
        "for (const name of ['Memory', 'Table', 'Global', 'Instance', 'Module'])"
        " { for (const key of Reflect.ownKeys(WebAssembly[name].prototype))"
        " { Object.defineProperty(WebAssembly[name].prototype, key, { value: null }) }"
        " WebAssembly[name] = null }"
        "for (const one of [Array, Map, WeakMap, Set])"
        " { for (const key of Reflect.ownKeys(one.prototype))"
        " { try { one.prototype[key] = () => { throw 1 } } catch {} } }"
        "Object.defineProperty(Object.prototype, 'initial', { get() { throw 2 } });"
        "Object.defineProperty(Object.prototype, 'maximum', { get() { throw 2 } });"
        "Reflect.construct = null; WeakMap.prototype.get = null"
    )
    assert saved(context).value("`${e.load(3)} ${e.bump()} ${e.callEntry(1, 1)}`") == (
        "'4 968 2'"
    )


def _refusal(session: LocalContext) -> SnapshotFailedError:
    with pytest.raises(SnapshotFailedError) as caught:
        session.context.heaps.save()
    return caught.value


DROPPING = wasm.module(
    {
        1: [signature(0, 0)],
        3: [unsigned(0)],
        5: [b"\0" + unsigned(1)],
        7: [name("drop") + b"\0\0"],
        12: unsigned(1),
        10: [body(b"\xfc\x09\0")],
        11: [b"\1" + name("data")],
    }
)
SHARED = wasm.module({2: [name("e") + name("m") + b"\2\3\1\2"]})
COLLECTED = wasm.module({1: [b"\x5f\0"]})


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (f"const o = {{ x: {made(DROPPING)} }}", "Instance", "data.drop"),
        (
            "const o = { x: new WebAssembly.Memory({ initial: 1, maximum: 2,"
            " shared: true }) }",
            "Memory",
            "threads",
        ),
        (f"const o = {{ x: {made(COLLECTED)} }}", "Instance", "garbage collection"),
        (
            "const o = { x: new WebAssembly.Memory({ initial: 1, maximum: 2 }) };"
            "o.x.toResizableBuffer()",
            "Memory",
            "resizable",
        ),
    ],
)
def test_what_cannot_go_on_is_named(
    context: LocalContext, code: str, kind: str, reason: str
) -> None:
    context.run(f"{code}; let kept = 1")
    error = _refusal(context)
    assert (error.kind, error.path) == (f"WebAssembly.{kind}", "o.x")
    assert reason in error.reason
    assert context.value("kept") == "1"


def test_a_function_that_waits_is_refused(context: LocalContext) -> None:
    context.run(
        f"const e = {made(machine())}.exports;"
        "const waiting = WebAssembly.promising(e.load); let kept = 1"
    )
    error = _refusal(context)
    assert error.kind == "WebAssembly function"
    assert context.value("kept") == "1"


def test_imports_are_read_once(context: LocalContext) -> None:
    """In V8's order; what a getter throws is thrown, and V8's own errors are told."""
    context.run(
        "const reads = []; const imports = { get env() { reads.push('env');"
        " return { get callback() { reads.push('callback'); return (x) => x } } } };"
        f"const data = {array(machine())}; const module = new WebAssembly.Module(data)"
    )
    assert context.value(
        "new WebAssembly.Instance(module, imports);"
        "await WebAssembly.instantiate(data, imports);"
        "await WebAssembly.instantiate(module, imports); reads.join()"
    ) == ("'env,callback,env,callback,env,callback'")
    told = [
        context.value(
            f"try {{ new WebAssembly.Instance(module, {given}) }}"
            " catch (error) { String(error) }"
        )
        for given in (
            "{ get env() { throw 5 } }",
            "{ env: { get callback() { throw 6 } } }",
            "{ env: 1 }",
            "{}",
            "{ env: {} }",
            "undefined",
        )
    ]
    assert told[:2] == ["'5'", "'6'"]
    assert all("module is not an object or function" in each for each in told[2:4])
    assert "function import requires a callable" in told[4]
    assert "Imports argument must be present" in told[5]


def test_instances_are_made_near_the_end_of_the_stack(
    context: LocalContext, saved: Saved
) -> None:
    """What keeps the imports has no room there, and V8 throws its own error."""
    context.run(
        f"const module = new WebAssembly.Module({array(machine())});"
        "let made = 0; let step = 0; let thrown = '';"
        "const imports = { env: { callback() {} } };"
        "function dive() { try { dive() } finally { step += 1;"
        " if (!made && !(step & (step - 1)))"
        " try { new WebAssembly.Instance(module, imports); made += 1 }"
        " catch (error) { thrown += error.name[0] } } }"
        "try { dive() } catch (error) { thrown += error.name[0] }"
    )
    assert set(context.value("thrown").strip("'")) == {"R"}
    assert context.value("made") == "1"
    assert saved(context).value("made") == "1"


def test_modules_come_from_responses(context: LocalContext, saved: Saved) -> None:
    context.run(
        f"const data = {array(machine())}; const respond = (type, init) =>"
        " new Response(data, { ...init, headers: { 'Content-Type': type } });"
        "const imports = { env: { callback: (x) => x } };"
        "const { instance, module } = await WebAssembly.instantiateStreaming("
        "Promise.resolve(respond('application/wasm')), imports);"
        "const other = await WebAssembly.compileStreaming("
        "respond(' Application/WASM'))"
    )
    look = "[instance.exports.load(16), WebAssembly.Module.exports(other).length]"
    assert context.value(look) == "[ 104, 10 ]"
    assert saved(context).value(look) == "[ 104, 10 ]"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{}", "TypeError: WebAssembly.compileStreaming(): the argument must be"),
        ("respond('text/html')", "has the type 'text/html'"),
        ("respond('application/wasm; charset=x')", "expected 'application/wasm'"),
        ("respond('application/wasm', { status: 404 })", "has the status 404"),
        ("used", "was read already"),
        ("new Response('x')", "expected 'application/wasm'"),
        ("Promise.reject(Error('lost'))", "lost"),
        (
            "new Response('x', { headers: { 'Content-Type': 'application/wasm' } })",
            "CompileError",
        ),
    ],
)
def test_a_response_that_is_no_module(
    context: LocalContext, source: str, error: str
) -> None:
    context.run(
        "const respond = (type, init) => new Response(new Uint8Array(1),"
        " { ...init, headers: { 'Content-Type': type } });"
        "const used = respond('application/wasm'); await used.text()"
    )
    assert error in context.value(
        f"try {{ await WebAssembly.compileStreaming({source}) }}"
        " catch (error) { String(error) }"
    )
