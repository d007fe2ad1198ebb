"""Checks whether the engine does what the binding relies on, for `doctor`.

The binding knows one release of one library. A platform where it doesn't hold gets one
clear line for each thing that fails, instead of a crash later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isokernel.errors import EngineError, IsokernelError
from isokernel.v8 import linkage, writer
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.library import load
from isokernel.v8.live_objects import unsavable_objects
from isokernel.v8.modules import OPERATIONS
from isokernel.v8.natives import NATIVES
from isokernel.v8.recreation import Recipes, empty, recreate
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.v8.snapshot import Snapshot

# Deeper than V8's writer goes, each with a buffer and the same regular expression.
_CHAIN: Final = (
    "let chain = null; for (let i = 0; i < 60; i++) "
    " chain = { next: chain, re: /a/, buffer: Uint8Array.of(i) };"
    "const count = () => { let n = 0;"
    " for (let c = chain; c; c = c.next) n += c.re.test('a') && c.buffer[0];"
    " return n }; count()"
)
_REPL: Final = "let x = 1; let x2 = await Promise.resolve(x + 1); x2"
_DEFINE: Final = """
(names) => {
  globalThis.operation = {};
  names.forEach((name, index) => { operation[name] = call.bind(null, index) });
}
"""
_IMPORTS: Final = """
operation.compileModule('b', 'export let n = 1; export const add = () => ++n', '{}');
operation.compileModule('a', 'import { add, n } from "b"; add(); export { n, add }',
                        '{"b": "b"}');
globalThis.importModule = async (referrer, specifier) => {
  operation.linkModule(specifier);
  await operation.evaluateModule(specifier);
  return operation.namespaceOf(specifier);
};
"""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        what: What was checked.
        passed: Whether it holds.
        detail: What was seen, or what is wrong.
    """

    what: str
    passed: bool
    detail: str


def check_engine() -> Iterator[CheckResult]:
    """Make all checks, in order; ends early when the engine can't be loaded."""
    try:
        library = load()
    except EngineError as error:
        yield CheckResult("V8 loads", passed=False, detail=str(error))
        return
    version = library.version().decode()
    yield CheckResult(
        "V8 loads", passed=True, detail=f"V8 {version} from {library.path}"
    )
    for what, look in _CHECKS.items():
        yield _check(what, look)


def _check(what: str, look: Callable[[Isolate], str]) -> CheckResult:
    seen: list[tuple[object, ...]] = []
    table = {"note": Operation(lambda *values: seen.append(values)), **OPERATIONS}
    isolate = Isolate(table)
    try:
        isolate.set(isolate.global_object(), "call", isolate.native_function())
        index = isolate.operation_names.index("note")
        isolate.run_script(f"globalThis.note = call.bind(null, {index})", "check")
        define = isolate.run_script(_DEFINE, "check")
        isolate.call(define, list(isolate.operation_names))
        detail = look(isolate)
    except (IsokernelError, AssertionError, TypeError, ValueError) as error:
        return CheckResult(
            what, passed=False, detail=str(error) or type(error).__name__
        )
    finally:
        isolate.close()
    return CheckResult(what, passed=True, detail=detail)


def run_cell(isolate: Isolate, code: str) -> object:
    """Run one cell that ends without waiting, and return its converted value.

    Raises:
        EngineError: It threw, waits, or was stopped.
    """
    promise = isolate.evaluate(code, "check")
    if isinstance(promise, Thrown):
        message = "stopped" if promise.terminated else "syntax error"
        raise EngineError(message)
    isolate.run_microtasks()
    state, result = isolate.promise(promise)
    if state != 1:
        message = f"the promise of the cell is in state {state}"
        raise EngineError(message)
    return isolate.get(result, ".repl_result")


def _expect(seen: object, wanted: object) -> None:
    if seen != wanted:
        message = f"got {seen!r}, expected {wanted!r}"
        raise EngineError(message)


def _repl(isolate: Isolate) -> str:
    _expect(run_cell(isolate, _REPL), 2)
    _expect(run_cell(isolate, "let x = 'again'; x"), "again")
    return "let again, top-level await"


def _values(isolate: Isolate) -> str:
    code = "[1, -1, 1.5, true, null, 'é😀', 2n ** 70n].map((v) => note(v)); 7"
    _expect(run_cell(isolate, code), 7)
    data = run_cell(isolate, "new Uint8Array([1, 2, 3])")
    _expect(data.bytes() if isinstance(data, Value) else None, b"\x01\x02\x03")
    return "numbers, strings, bigint, bytes"


def _optimizer(isolate: Isolate) -> str:
    is_on = isolate.library.use_optimizer(isolate.pointer)
    if not isolate.optimizer.found or not is_on:
        message = (
            "the optimizing compilers can't be kept on; everything works, but "
            "JavaScript runs several times slower"
        )
        raise EngineError(message)
    return "optimizing compilers are on"


def _stopping(isolate: Isolate) -> str:
    timer = threading.Timer(0.02, isolate.terminate)
    timer.start()
    outcome = isolate.evaluate("for (;;) {}", "check")
    timer.join()
    isolate.resume()
    stopped = isinstance(outcome, Thrown) and outcome.terminated
    _expect(stopped, True)  # noqa: FBT003 -- the wanted value
    _expect(run_cell(isolate, "1 + 1"), 2)
    return "a busy loop is stopped, and the context goes on"


def _memory(isolate: Isolate) -> str:
    isolate.memory.limit(None, 1 << 20)
    code = "try { new ArrayBuffer(2 ** 21) } catch (error) { error.name }"
    _expect(run_cell(isolate, code), "RangeError")
    return f"heap limit {isolate.memory.initial_limit_bytes >> 20} MiB, buffers bounded"


def _imports(isolate: Isolate) -> str:
    isolate.run_script(_IMPORTS, "check")
    _find_hooks(isolate)
    _expect(run_cell(isolate, "const a = await import('a'); a.n"), 2)
    copy = _restored(isolate, writer.save(isolate))
    try:
        code = "(await import('b')).add(); [a.n, (await import('a')) === a].join()"
        _expect(run_cell(copy, code), "3,true")
    finally:
        copy.close()
    return "linked, evaluated, saved and restored"


def _find_hooks(isolate: Isolate) -> None:
    everything = isolate.global_object()
    isolate.modules.find_hook = lambda name: isolate.get(everything, name)


def _restored(isolate: Isolate, saved: Snapshot) -> Isolate:
    table = zip(isolate.operation_names, isolate.operations, strict=True)
    copy = Isolate({k: v for k, v in table if k not in NATIVES}, snapshot=saved)
    _find_hooks(copy)
    return copy


def _snapshots(isolate: Isolate) -> str:
    run_cell(isolate, "const next = ((n) => () => ++n)(40); next()")
    saved = writer.save(isolate)
    copy = _restored(isolate, saved)
    try:
        _expect(run_cell(copy, "next()"), 42)
    finally:
        copy.close()
    return f"{len(saved.blob)} bytes for a heap of nearly nothing"


def _replaced(isolate: Isolate) -> str:
    _memory(isolate)  # which replaces some, if nothing has before
    names = linkage.failed()
    if names:
        message = (
            f"V8 goes on calling its own {', '.join(names)}; everything works, but "
            "code that exceeds its memory may end its process, and heaps with long "
            "chains of objects may not be saved"
        )
        raise EngineError(message)
    return "V8's calls reach ours"


def _chains(isolate: Isolate) -> str:
    run_cell(isolate, _CHAIN)
    saved = writer.save(isolate)
    copy = _restored(isolate, saved)
    try:
        _expect(run_cell(copy, "count()"), 60 * 59 // 2)
    finally:
        copy.close()
    return "60 linked objects with buffers and regular expressions are saved"


def _formatters(isolate: Isolate) -> str:
    run_cell(isolate, "globalThis.held = new Intl.NumberFormat('de'); 0")
    with isolate.entered():
        found = Recipes(isolate)
        recipes = [found.of(*item) for item in unsavable_objects(isolate)]
    [recipe] = [recipe for recipe in recipes if recipe is not None]
    empty(isolate, [recipe])
    recreate(isolate, [recipe])
    _expect(run_cell(isolate, "held.format(1234.5)"), "1.234,5")
    return "taken apart and made again"


_CHECKS: Final[dict[str, Callable[[Isolate], str]]] = {
    "cells run": _repl,
    "values come and go": _values,
    "full speed": _optimizer,
    "stopping": _stopping,
    "memory bounds": _memory,
    "functions of ours in V8's table": _replaced,
    "snapshots": _snapshots,
    "long chains in snapshots": _chains,
    "Intl's objects in snapshots": _formatters,
    "modules": _imports,
}
