"""Warming up the context that others are forked from, which then need not do it.

A forked process may not be able to read a file any more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from isokernel.context.cell_run import ExecutionOptions
from isokernel.context.context import Context
from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.errors import CapabilityError
from isokernel.runtime import compiled, scripts
from isokernel.settings import ContextSettings
from isokernel.typescript.transpiler import Transpiled, transpiler

if TYPE_CHECKING:
    from isokernel.context.events import Event

_CELLS: Final = (
    # What cells do most; none of it declares a name.
    "1 + 1",
    "'text'",
    "({ a: [1, 'b'], c: new Map([[1, { d: undefined }]]) })",
    "console.log('%s', 'text', { a: 1 })",
    "await null",
    "throw new Error('as an example')",
    "= a syntax error",
)
_SCRIPTS: Final = ("1 + 1", "console.warn('text'); ({ a: [1, 'b', null, true] })")
_EVERYTHING: Final = """
for (const name of require("module").builtinModules) {
  try { require(name) } catch {}
}
for (const name of Object.getOwnPropertyNames(globalThis)) {
  try { globalThis[name] } catch {}
}
Jupyter.document.createElement("p").append("text");
structuredClone({ a: [new Date(0)] });
new URL("https://example.org/?a=1").searchParams.get("a");
new TextDecoder().decode(new TextEncoder().encode("text"));
await new Response(new Blob(["text"]).stream()).text();
"""
"""Loads what there is of the runtime, and runs what most code of it runs at first."""
_IMPORT: Final = "import 'npm:a'; await import('npm:a')"
_IMPORTED: Final = b"export const a = 1"
_URL: Final = "npm:/a@1.0.0/a.js"
_GRAPH: Final = {
    "roots": {"npm:a": _URL},
    "modules": [],
    "values": [],
    "compiled": [_URL],
    "imports": json.dumps([[_URL], [{}]]),
    "compile": json.dumps([[_URL], [[0, 0, len(_IMPORTED), 0, 0, {}]], []]),
}
_TYPES: Final = (
    # What a cell may have of TypeScript: WebAssembly compiles each function of the
    # compiler at its first call, and every forked context would do so again.
    """
    import type { A } from "a";
    interface I<T> extends A { a?: T; m(): void; readonly [key: string]: unknown }
    type U<T> = T extends I<infer V> ? V | string : { [K in keyof T]?: T[K] };
    declare const d: number;
    abstract class C<T> implements I<T> {
      private readonly p: T; static s?: string; declare z: number; #q = 1;
      constructor(p: T) { this.p = p }
      get g(): T { return this.p! }
      m<K extends keyof T>(this: C<T>, k: K, ...rest: number[]): asserts k is K {}
    }
    function f(x: number): number; function f(x: any): any { return x }
    const g = async <T,>(x: T, y: [a: string, b?: number] = ["a"]): Promise<T> => x;
    let v: U<string> = "a" as any, w = { a: 1 } satisfies object;
    for (const i of [1, 2] as const) { if (i > 1) console.log(`${f(i) as number}`) }
    try { label: while (true) break label } catch (e: unknown) { throw e }
    const { a: renamed = 1, ...others }: Record<string, any> = w ?? {};
    """,
    """
    enum Color { Red = 1, Green, Blue = "b" as any }
    namespace N { export const x = 1; export function y(): void {} }
    class P { constructor(private a: number, public readonly b = 2) {} }
    let t = <string>"t", u = Color.Green, [h, ...k]: number[] = [1];
    """,
    "let x: = 1",
)


def warm(context: Context) -> None:
    """Load and compile what is otherwise loaded when first needed.

    The context stays blank.
    """
    _suspend(context)  # first, as it drops what is loaded ahead
    context.bridge.call("preload")
    for code in _CELLS:
        context.evaluate(code)
    context.queries.complete("Math.ma", 7)
    context.queries.inspect("Math.max", 8)
    _import(context)
    _run_script(context)
    context.forget()
    compiler = transpiler()
    for source in _TYPES:
        made = compiler.transpile(source)
        if isinstance(made, Transpiled) and made.source_map is not None:
            compiler.original(made.source_map, 1, 0)
    compiler.redeclare("const a = 1", {"a": "let"}, "a")
    compiler.without_return("return 1")


def compile_all() -> None:
    """Load all modules of the runtime, and keep their code; see `runtime.compiled`.

    In a context of its own, as the modules that each one begins with count most.
    """
    context = Context(ContextSettings(), lambda _event: None, keeps_scripts=True)
    isolate, runtime = context.bridge.isolate, scripts.identity()
    context.evaluate(_CELLS[0])
    start = scripts.loaded(isolate)
    warm(context)
    context.evaluate(_EVERYTHING)
    rest = [name for name in scripts.loaded(isolate) if name not in start]
    scripts.keep_code(isolate, compiled.START, start, runtime)
    scripts.keep_code(isolate, compiled.REST, rest, runtime)
    context.close()


def _run_script(context: Context) -> None:
    """Run code as the server's runs do, which ask for more than a cell does."""
    host = context.bridge.host
    sink, host.sink = host.sink, lambda _event: None
    options = ExecutionOptions(result_json=True, levels=True, drain=True)
    for code in _SCRIPTS:
        context.begin(code, execution_id=0, store_history=False, options=options)
    host.sink = sink


def _suspend(context: Context) -> None:
    """Call what is called before a heap is written, and by who goes on from it.

    So heaps have its code: whoever goes on would compile it, for 0.6 ms.
    """
    context.bridge.call("beginSaving")
    context.bridge.call("usesWebAssembly")
    context.suspend([], [], None)
    context.bridge.resume(context.settings.runtime_options())


def _import(context: Context) -> None:
    """Import a module, and forget it: what that needs costs 10 ms when it is new."""
    host, calls = context.bridge.host, context.bridge.calls
    events: list[Event] = []
    sink, host.sink = host.sink, events.append
    now, calls.now = calls.now, _refuse  # without, nothing is asked for
    context.begin(_IMPORT, execution_id=0, store_history=False)
    answer = CallAnswer("value", json.dumps(_GRAPH), _IMPORTED)
    asked = [event for event in events if isinstance(event, CapabilityCall)]
    for call in asked:
        context.settle_call(call.call_id, answer)
    host.sink, calls.now = sink, now
    context.bridge.call("forgetModules")


def _refuse(call: CapabilityCall) -> CallAnswer:
    raise CapabilityError(call.name, code="ENOSYS")
