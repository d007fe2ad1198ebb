"""An isolate: one V8 heap with one context in it, and the owner of all its handles.

Threads: an isolate belongs to the thread that made it, whose stack V8 measures. Only
`terminate` and `request` may be called from others; both are thread-safe in V8 as well.

Every isolate is made by a `v8::SnapshotCreator`, so every isolate can be saved. What
that costs otherwise (no optimizing compiler) is undone, see `optimizer`.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import (
    IsolateThreadError,
    IsolateClosedError,
    ScriptError,
    SnapshotFormatError,
    TerminatedError,
)
from isokernel.v8 import calls
from isokernel.v8.library import NO_CALLBACK, Library, Span, StartupData, load
from isokernel.v8.memory import MemoryGuard
from isokernel.v8.natives import NATIVES
from isokernel.v8.optimizer import serializer_flag
from isokernel.v8.references import References
from isokernel.v8.rejections import Rejections
from isokernel.v8.scopes import HandleScope, HandleScopeSlots, TryCatch
from isokernel.v8.values import (
    UNDEFINED,
    Constants,
    Value,
    new_string,
    read_string,
    to_local,
    to_python,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.v8.snapshot import Snapshot

_WORD = ctypes.c_size_t.from_address
_EXPLICIT_MICROTASKS: Final = 0
_CREATOR_BYTES: Final = 64  # sizeof(SnapshotCreator) is one pointer; room to spare
_REPL_MODE: Final = 0  # EvaluateGlobalMode::kDefault, with repl=true


@dataclass(frozen=True, slots=True)
class Thrown:
    """What JavaScript threw, at the border.

    Attributes:
        value: The thrown value; None when the execution was terminated.
        line: 1-based line in the script where V8 saw the problem; 0 if unknown.
        column: 0-based column, in UTF-16 units.
        end_column: Where the marked part ends.
        position: Offset into the source, in UTF-16 units; -1 if unknown.
    """

    value: Value | None
    line: int = 0
    column: int = 0
    end_column: int = 0
    position: int = -1

    @property
    def terminated(self) -> bool:
        """Whether nothing was thrown but the execution stopped from outside."""
        return self.value is None


class Entered:
    """The isolate is entered and a handle scope is open; nests."""

    __slots__ = ("_isolate", "_scope")

    def __init__(self, isolate: Isolate) -> None:
        """Prepare; nothing happens before it is entered."""
        self._isolate = isolate
        self._scope = HandleScope(isolate.scope_slots)

    def __enter__(self) -> None:
        """Enter the isolate on this thread."""
        self._isolate.claim()
        self._scope.__enter__()

    def __exit__(self, *_: object) -> None:
        """Leave it; handles made since are gone."""
        self._scope.__exit__()
        self._isolate.leave()


class Isolate:
    """One V8 heap, one context.

    Attributes:
        handles: Slots of the persistent handles that Python holds now.
        operations: The table behind the native function; filled at construction.
        rejections: Promises rejected without a handler since last asked.
        on_fatal: Called with V8's words just before V8 ends the process.
        out_of_memory: What ran out (`heap` or `buffers`) when a bound was reached.
    """

    def __init__(
        self,
        operations: Mapping[str, calls.Operation] | None = None,
        *,
        snapshot: Snapshot | None = None,
        on_fatal: Callable[[str], None] | None = None,
    ) -> None:
        """Make a blank isolate, or one that goes on from a snapshot.

        Args:
            operations: Host functions by name, beside `natives.NATIVES`. For a
                snapshot: the same names in the same order as when it was made.
            snapshot: The heap to start from.
            on_fatal: See the class.

        Raises:
            EngineError: The engine can't be loaded.
            SnapshotFormatError: The snapshot was made with other host functions.
        """
        self.library: Library = load()
        table = {**NATIVES, **(operations or {})}
        self.operation_names = tuple(table)
        self.operations = tuple(table.values())
        if snapshot is not None and snapshot.operations != self.operation_names:
            message = "the heap was saved with other host functions"
            raise SnapshotFormatError(message)
        self.on_fatal = on_fatal
        self.handles: set[int] = set()
        self.orphans: list[int] = []
        self.rejections = Rejections(self)
        self.stack_formatter: Value | None = None
        self.closed = False
        self._depth = 0
        self._thread = threading.get_ident()
        self._failure: BaseException | None = None
        self._requested: Callable[[], None] | None = None
        self._create(snapshot)

    # -- birth and death ---------------------------------------------------------

    def _create(self, snapshot: Snapshot | None) -> None:
        library = self.library
        self.references = References(library, snapshot.references if snapshot else ())
        self._creator = ctypes.create_string_buffer(_CREATOR_BYTES)
        blob = None
        if snapshot is not None:
            self._blob = ctypes.create_string_buffer(snapshot.blob, len(snapshot.blob))
            blob = StartupData(ctypes.addressof(self._blob), len(snapshot.blob))
            self._startup = blob
        library.creator_new(
            self._creator,
            self.references.address,
            ctypes.byref(blob) if blob else None,
        )
        self.pointer: int = library.creator_isolate(self._creator)
        calls.ISOLATES[self.pointer] = self
        self.scope_slots = HandleScopeSlots(library, self.pointer)
        library.isolate_exit(self.pointer)  # SnapshotCreator leaves it entered
        self.context = 0
        with Entered(self):
            self.optimizer = serializer_flag(library, self.pointer)
            # V8 leaves out of a new context what it installs anew in each
            # (WebAssembly, Temporal, Float16Array ...) while the flag is set; a
            # context from a snapshot has it all and would get it twice.
            if snapshot is None:
                self.optimizer.clear()
            library.microtasks_policy(self.pointer, _EXPLICIT_MICROTASKS)
            local = library.context_new(
                self.pointer, None, None, None, NO_CALLBACK, None, *(NO_CALLBACK,) * 2
            )
            self.optimizer.clear()
            self.context = library.globalize(self.pointer, _WORD(local).value)
            library.context_enter(self.context)
            self._install()
        self.memory = MemoryGuard(self)

    def _install(self) -> None:
        library, pointer = self.library, self.pointer
        library.fatal_handler(pointer, calls.FATAL)
        library.oom_handler(pointer, calls.OUT_OF_MEMORY)
        library.rejection_handler(pointer, calls.PROMISE_REJECTED)
        words = [
            _WORD(self._run_local(source)).value
            for source in ("undefined", "null", "true", "false")
        ]
        self.constants = Constants(*words)
        self._constants = (ctypes.c_size_t * len(words))(*words)

    def _run_local(self, source: str) -> int:
        library = self.library
        text = new_string(library, self.pointer, source)
        script = library.compile(self.context, text, None)
        handle: int = library.script_run(script, self.context)
        return handle

    def format_stacks(self, formatter: Value) -> None:
        """Have `error.stack` made by a function (error, call sites) to text."""
        self.stack_formatter = formatter
        with Entered(self):
            self.library.stack_trace_handler(self.pointer, calls.PREPARE_STACK_TRACE)

    def native_function(self) -> Value:
        """The native function `call(operation, ...arguments)` of this context."""
        with Entered(self):
            handle = self.library.function_new(
                self.context, calls.TRAMPOLINE_ADDRESS, None, 0, 0, 0
            )
            return self._own(handle)

    def close(self) -> None:
        """Free the heap and every handle; safe to call twice.

        Must not be called from inside JavaScript.
        """
        if self.closed:
            return
        self.claim()
        self.memory.remove()
        self.release_all()
        calls.ISOLATES.pop(self.pointer, None)
        self.closed = True
        calls.leave()
        # The creator's destructor exits the isolate, as its constructor entered it,
        # and disposes of it.
        self.library.creator_delete(self._creator)

    def consume(self) -> object:
        """Hand the creator over, for writing a snapshot in a forked child."""
        self.closed = True
        return self._creator

    def release_all(self) -> None:
        """Give back every persistent handle, the context's too. For the end only."""
        self.rejections.clear()
        for slot in self.handles:
            self.library.dispose_global(slot)
        self.handles.clear()
        self.orphans.clear()
        self.library.context_exit(self.context)
        self.library.dispose_global(self.context)
        self.stack_formatter = None

    # -- entering ----------------------------------------------------------------

    def claim(self) -> None:
        """Enter the isolate on this thread; pair with `leave`."""
        if self.closed:
            raise IsolateClosedError
        if self._thread != threading.get_ident():
            message = "the isolate belongs to the thread that made it"
            raise IsolateThreadError(message)
        self._depth += 1
        self.library.isolate_enter(self.pointer)
        calls.enter(self.pointer)
        if self.orphans:
            self._bury()

    def leave(self) -> None:
        """Undo `claim`."""
        calls.leave()
        self.library.isolate_exit(self.pointer)
        self._depth -= 1

    def _bury(self) -> None:
        while self.orphans:
            self.release(self.orphans.pop())

    @property
    def inside(self) -> bool:
        """Whether JavaScript or a host function of this isolate is on the stack."""
        return self._depth > 0

    # -- handles -----------------------------------------------------------------

    def _own(self, handle: int) -> Value:
        return Value(self, self.library.globalize(self.pointer, _WORD(handle).value))

    def own(self, handle: int) -> Value:
        """Make a local handle persistent."""
        return self._own(handle)

    def release(self, slot: int) -> None:
        """Give one persistent handle back."""
        if slot in self.handles:
            self.handles.remove(slot)
            self.library.dispose_global(slot)

    def constant(self, value: bool | None, *, undefined: bool = False) -> int:
        """A handle of undefined, null, true or false, valid for the isolate's life."""
        index = 0 if undefined or value is UNDEFINED else 1
        if isinstance(value, bool):
            index = 2 if value else 3
        return ctypes.addressof(self._constants) + 8 * index

    # -- running -----------------------------------------------------------------

    def evaluate(self, source: str, name: str) -> Value | Thrown:
        """Run one REPL cell: `let` again at will, top-level await, last value.

        Args:
            source: JavaScript.
            name: Name of the script in stack traces, without spaces.

        Returns:
            The promise of the cell, an object `{".repl_result": value}`, or what
            was thrown before the cell ran (a syntax error) or instead (termination).
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(
                library, self.pointer, f"{source}\n//# sourceURL={name}"
            )
            promise = library.evaluate_global(self.pointer, text, _REPL_MODE, True)
            self._raise_failure()
            return self._own(promise) if promise else self._thrown(caught)

    def compile_error(self, source: str) -> Thrown | None:
        """Compile a sloppy script without running it; what V8 says against it."""
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(library, self.pointer, source)
            if library.compile(self.context, text, None):
                return None
            return self._thrown(caught)

    def run_script(self, source: str, name: str) -> Any:  # noqa: ANN401 -- any value
        """Run a script of ours and convert its value.

        Raises:
            ScriptError: It threw.
            TerminatedError: It was stopped.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(
                library, self.pointer, f"{source}\n//# sourceURL={name}"
            )
            script = library.compile(self.context, text, None)
            handle = library.script_run(script, self.context) if script else None
            return self._converted(handle, caught)

    def call(self, function: Value, *arguments: Any) -> Any:  # noqa: ANN401 -- JS
        """Call a function of ours; microtasks don't run.

        Raises:
            ScriptError: It threw.
            TerminatedError: It was stopped.
        """
        with Entered(self), TryCatch(self.library, self.pointer) as caught:
            return self._converted(self._call(function, arguments), caught)

    def try_call(self, function: Value, *arguments: Any) -> Any:  # noqa: ANN401 -- JS
        """Call a function that may run the user's code; what it throws is `Thrown`."""
        with Entered(self), TryCatch(self.library, self.pointer) as caught:
            handle = self._call(function, arguments)
            self._raise_failure()
            return to_python(self, handle) if handle else self._thrown(caught)

    def _call(self, function: Value, arguments: tuple[Any, ...]) -> int | None:
        handles = (ctypes.c_void_p * len(arguments))(
            *(to_local(self, argument) for argument in arguments)
        )
        result: int | None = self.library.call(
            function.slot,
            self.context,
            self.constant(None, undefined=True),
            len(arguments),
            ctypes.addressof(handles),
        )
        return result

    def _converted(self, handle: int | None, caught: TryCatch) -> Any:  # noqa: ANN401
        self._raise_failure()
        if handle:
            return to_python(self, handle)
        if caught.terminated or not caught.exception:
            self._stop_callers()
            raise TerminatedError
        raise ScriptError(self._describe(caught.exception))

    def _describe(self, exception: int) -> str:
        library = self.library
        with TryCatch(library, self.pointer):
            stack = None
            if library.IsNativeError(exception):
                key = new_string(library, self.pointer, "stack")
                stack = library.object_get(exception, self.context, key)
            text = library.to_string(stack or exception, self.context)
            return read_string(library, self.pointer, text) if text else "?"

    def _thrown(self, caught: TryCatch) -> Thrown:
        if caught.terminated or not caught.exception:
            self._stop_callers()
            return Thrown(None)
        value = self._own(caught.exception)
        message = caught.message
        if not message:
            return Thrown(value)
        library = self.library
        line = library.message_line(message, self.context)
        return Thrown(
            value,
            line=line >> 32 if line & 1 else 0,  # Maybe<int>: {has_value, value}
            column=library.message_column(message),
            end_column=library.message_end_column(message),
            position=library.message_start(message),
        )

    def collect_garbage(self) -> None:
        """Collect all garbage, also of the weak kind; slow on large heaps."""
        with Entered(self):
            self.library.low_memory(self.pointer)

    def run_microtasks(self) -> bool:
        """Run all pending microtasks; False when they were terminated."""
        with Entered(self):
            self.library.microtasks(self.pointer)
            self._raise_failure()
            stopped = bool(self.library.is_terminating(self.pointer))
            if stopped:
                self._stop_callers()
            return not stopped

    def _stop_callers(self) -> None:
        """A call was terminated; when JavaScript called us, that was meant as well.

        V8 takes a termination as served once the innermost call has ended with it.
        """
        if self._depth > 1:
            self.library.terminate(self.pointer)

    # -- reading -----------------------------------------------------------------

    def get(self, value: Value, key: str) -> Any:  # noqa: ANN401 -- any value
        """Read a property; getters run.

        Raises:
            ScriptError: A getter threw.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            name = new_string(library, self.pointer, key)
            handle = library.object_get(value.slot, self.context, name)
            return self._converted(handle, caught)

    def set(self, value: Value, key: str, item: Any) -> None:  # noqa: ANN401 -- any
        """Write a property."""
        library = self.library
        with Entered(self), TryCatch(library, self.pointer):
            name = new_string(library, self.pointer, key)
            library.object_set(value.slot, self.context, name, to_local(self, item))

    def global_object(self) -> Value:
        """`globalThis`."""
        with Entered(self):
            return self._own(self.library.context_global(self.context))

    def extras(self) -> Value:
        """V8's extras binding object: saved with the heap, unseen by the user."""
        with Entered(self):
            return self._own(self.library.context_extras(self.context))

    def promise(self, promise: Value) -> tuple[int, Any]:
        """State (0 pending, 1 fulfilled, 2 rejected) and result of a promise.

        The result is a `Value`, whatever it is.
        """
        with Entered(self):
            state = self.library.promise_state(promise.slot)
            if not state:
                return state, None
            return state, self._own(self.library.promise_result(promise.slot))

    def to_text(self, value: Value) -> str:
        """A string value as text; the empty string for anything else."""
        with Entered(self):
            text = to_python(self, value.slot)
            return text if isinstance(text, str) else ""

    def mark_handled(self, promise: Value) -> None:
        """A rejection of this promise isn't an unhandled one."""
        with Entered(self):
            self.library.promise_mark_handled(promise.slot)
            self.rejections.discard(promise.slot)

    def read_bytes(self, value: Value) -> bytes:
        """See `Value.bytes`."""
        library = self.library
        with Entered(self):
            if library.IsArrayBufferView(value.slot):
                length = library.view_length(value.slot)
                return self._view_bytes(value.slot, length)
            if not library.IsArrayBuffer(value.slot):
                message = "the value holds no bytes"
                raise TypeError(message)
            length = library.buffer_length(value.slot)
            if not length:
                return b""
            return ctypes.string_at(library.buffer_data(value.slot), length)

    def _view_bytes(self, slot: int, length: int) -> bytes:
        # Small typed arrays live inside the V8 heap and are copied into the storage;
        # larger ones are read in place, one copy in all.
        storage = ctypes.create_string_buffer(64)
        span = self.library.view_contents(slot, Span(ctypes.addressof(storage), 64))
        return ctypes.string_at(span.data, length) if length else b""

    def lexical_names(self) -> list[str]:
        """Names of the top-level let, const and class of all scripts so far."""
        library = self.library
        vector = (ctypes.c_void_p * 3)()  # libc++: begin, end, capacity
        library.lexical_names(self.context, ctypes.addressof(vector))
        begin, end = vector[0] or 0, vector[1] or 0
        slots = [_WORD(address).value for address in range(begin, end, 8)]
        names = [read_string(library, self.pointer, slot) for slot in slots]
        for slot in slots:
            library.dispose_global(slot)
        if begin:
            library.operator_delete(begin)
        return list(dict.fromkeys(names))

    def owner(self) -> int:
        """The continuation-preserved data of now, which the runtime keeps owners in."""
        with Entered(self):
            value = to_python(self, self.library.embedder_data(self.pointer))
        return value if isinstance(value, int) else 0

    # -- from other threads ------------------------------------------------------

    def terminate(self) -> None:
        """Stop JavaScript as soon as V8 looks; thread-safe."""
        if not self.closed:
            self.library.terminate(self.pointer)

    def resume(self) -> None:
        """Allow JavaScript again after `terminate`."""
        self.library.cancel_terminate(self.pointer)

    def request(self, function: Callable[[], None]) -> None:
        """Have a function called on the V8 thread, amid running JavaScript.

        Thread-safe. The last function given wins. It runs at V8's next check, at
        loop ends and calls, and never when no JavaScript runs.
        """
        self._requested = function
        if not self.closed:
            self.library.request_interrupt(self.pointer, calls.INTERRUPTED, None)

    def run_requested(self) -> None:
        """Run what `request` left; called by V8."""
        function, self._requested = self._requested, None
        if function is not None:
            function()

    # -- failures in callbacks ---------------------------------------------------

    def throw(self, message: str, kind: str = "Error") -> None:
        """Throw into the JavaScript that called a host function."""
        library = self.library
        make = {
            "TypeError": library.type_error_new,
            "RangeError": library.range_error_new,
        }.get(kind, library.error_new)
        text = new_string(library, self.pointer, message)
        library.throw(self.pointer, make(text, None))

    def fail(self, error: BaseException) -> None:
        """Keep an exception that no JavaScript may catch, and stop JavaScript."""
        self._failure = error
        self.library.terminate(self.pointer)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            self.library.cancel_terminate(self.pointer)
            raise failure
