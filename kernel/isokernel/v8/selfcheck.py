"""Checks whether the engine does what the binding relies on, for `doctor`.

The binding knows one release of one library. A platform where it doesn't hold gets one
clear line for each thing that fails, instead of a crash later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isokernel.errors import EngineError
from isokernel.v8 import writer
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.library import load
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPL: Final = "let x = 1; let x2 = await Promise.resolve(x + 1); x2"


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
    isolate = Isolate({"note": Operation(lambda *values: seen.append(values))})
    try:
        isolate.set(isolate.global_object(), "call", isolate.native_function())
        index = isolate.operation_names.index("note")
        isolate.run_script(f"globalThis.note = call.bind(null, {index})", "check")
        detail = look(isolate)
    except (EngineError, AssertionError, TypeError) as error:
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
    if not isolate.optimizer.found:
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


def _snapshots(isolate: Isolate) -> str:
    run_cell(isolate, "const next = ((n) => () => ++n)(40); next()")
    saved = writer.save(isolate)
    copy = Isolate({"note": Operation(lambda *_: None)}, snapshot=saved)
    try:
        _expect(run_cell(copy, "next()"), 42)
    finally:
        copy.close()
    return f"{len(saved.blob)} bytes for a blank heap"


_CHECKS: Final[dict[str, Callable[[Isolate], str]]] = {
    "cells run": _repl,
    "values come and go": _values,
    "full speed": _optimizer,
    "stopping": _stopping,
    "memory bounds": _memory,
    "snapshots": _snapshots,
}
