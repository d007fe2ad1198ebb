"""An isolate with a small host, for tests below the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isokernel.v8.callbacks import Operation, ThrowError
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.modules import OPERATIONS

if TYPE_CHECKING:
    from isokernel.v8.snapshot import Snapshot


class HostedIsolate:
    """An isolate whose global functions `note`, `echo` and `fail` call Python.

    So do the operations of modules; V8's questions about modules go to global
    functions.
    """

    def __init__(self, saved: Snapshot | None = None) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.isolate = Isolate(
            {
                "note": Operation(lambda *values: self.notes.append(values)),
                "echo": Operation(lambda value: value),
                "fail": Operation(self._fail),
                **OPERATIONS,
            },
            snapshot=saved,
        )
        if saved is None:
            native = self.isolate.native_function()
            names = self.isolate.operation_names
            define = self.isolate.run_script(
                "(call, names) => names.forEach((name, i) => {"
                " globalThis[name] = (...values) => call(i, ...values) })",
                "define",
            )
            self.isolate.call(define, native, list(names))

        everything = self.isolate.global_object()
        self.isolate.modules.find_hook = lambda name: self.isolate.get(everything, name)

    @staticmethod
    def _fail(kind: str) -> None:
        if kind == "python":
            message = "a defect of the host"
            raise LookupError(message)
        message = "the host says no"
        raise ThrowError(message, kind)

    def cell(self, code: str, name: str = "cell-1") -> Any:
        """The value of a cell that ends without waiting; `Thrown` if it threw."""
        promise = self.isolate.evaluate(code, name)
        if isinstance(promise, Thrown):
            return promise
        self.isolate.run_microtasks()
        state, result = self.isolate.promise(promise)
        assert state, "the cell waits"
        return (
            Thrown(result) if state == 2 else self.isolate.get(result, ".repl_result")
        )

    def text(self, value: Any) -> str:
        """String(value), by V8."""
        show = self.isolate.run_script("(value) => String(value)", "show")
        return str(self.isolate.call(show, value))
