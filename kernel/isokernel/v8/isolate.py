"""An isolate: one V8 heap with one context in it, and the owner of all its handles.

Threads: an isolate belongs to the thread that made it, whose stack V8 measures. Only
`terminate` and `request` may be called from others; both are thread-safe in V8 as well.

Every isolate is made by a `v8::SnapshotCreator`, so every isolate can be saved. What
that costs otherwise (no optimizing compiler) is undone, see `optimizer`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import ScriptError, TerminatedError
from isokernel.v8 import calls
from isokernel.v8.library import Span
from isokernel.v8.lifecycle import Entered, IsolateLife
from isokernel.v8.scopes import TryCatch
from isokernel.v8.values import (
    UNDEFINED,
    Value,
    new_string,
    read_string,
    to_local,
    to_python,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = ctypes.c_size_t.from_address
_MODE: Final = 0  # EvaluateGlobalMode::kDefault
_REPL: Final = True
_TASK_BYTES: Final = 128  # FinalizationRegistryCleanupTask has 48; room to spare


class Thrown(NamedTuple):
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


class Isolate(IsolateLife):
    """One V8 heap, one context: what one does with it."""

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
            text = new_string(library, self.pointer, f"{source}\n//# sourceURL={name}")
            promise = library.evaluate_global(self.pointer, text, _MODE, _REPL)
            self.raise_failure()
            return self.own(promise) if promise else self._thrown(caught)

    def compile_error(self, source: str) -> Thrown | None:
        """Compile a sloppy script without running it; what V8 says against it."""
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(library, self.pointer, source)
            if library.compile(self.context, text, None):
                return None
            return self._thrown(caught)

    def run_script(self, source: str, name: str) -> Any:
        """Run a script of ours and convert its value.

        Raises:
            ScriptError: It threw.
            TerminatedError: It was stopped.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(library, self.pointer, f"{source}\n//# sourceURL={name}")
            script = library.compile(self.context, text, None)
            handle = library.script_run(script, self.context) if script else None
            return self._converted(handle, caught)

    def call(self, function: Value, *arguments: Any) -> Any:
        """Call a function of ours; microtasks don't run.

        Raises:
            ScriptError: It threw.
            TerminatedError: It was stopped.
        """
        with Entered(self), TryCatch(self.library, self.pointer) as caught:
            return self._converted(self._call(function, arguments), caught)

    def try_call(self, function: Value, *arguments: Any) -> Any:
        """Call a function that may run the user's code; what it throws is `Thrown`."""
        with Entered(self), TryCatch(self.library, self.pointer) as caught:
            handle = self._call(function, arguments)
            self.raise_failure()
            return to_python(self, handle) if handle else self._thrown(caught)

    def _call(self, function: Value, arguments: tuple[Any, ...]) -> int | None:
        handles = (ctypes.c_void_p * len(arguments))(
            *[to_local(self, argument) for argument in arguments]
        )
        result: int | None = self.library.call(
            function.slot,
            self.context,
            self.constant(UNDEFINED),
            len(arguments),
            ctypes.addressof(handles),
        )
        return result

    def _converted(self, handle: int | None, caught: TryCatch) -> Any:
        self.raise_failure()
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
        value = self.own(caught.exception)
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

    def has_dead(self) -> bool:
        """Whether callbacks of FinalizationRegistries wait for `bury`."""
        return bool(self.library.has_dirty_registries(self._heap))

    def bury(self) -> list[Value]:
        """Call the callbacks of a FinalizationRegistry whose objects are collected.

        V8 has its platform's loop do that, which we don't run. It ends at what is
        thrown, or at a termination; what is left has to be asked for again.

        Returns:
            What was thrown.
        """
        library, pointer = self.library, self.pointer
        with Entered(self):
            if self._burial is None:
                self._burial = ctypes.create_string_buffer(_TASK_BYTES)
                library.registries_task_new(self._burial, self._heap)
            # Not for longer: a heap with a listener can't be saved.
            library.listener_add(pointer, calls.THROWN, None)
            library.registries_task_run(self._burial)
            library.listener_remove(pointer, calls.THROWN)
            self.raise_failure()
            thrown, self.uncaught = self.uncaught, []
            return thrown

    def run_microtasks(self) -> bool:
        """Run all pending microtasks; False when they were terminated."""
        with Entered(self):
            self.library.microtasks(self.pointer)
            self.raise_failure()
            stopped = bool(self.library.is_terminating(self.pointer))
            if stopped:
                self._stop_callers()
            return not stopped

    def _stop_callers(self) -> None:
        """A call was terminated; when JavaScript called us, that was meant as well.

        V8 takes a termination as served once the innermost call has ended with it.
        """
        if self.depth > 1:
            self.library.terminate(self.pointer)

    # -- reading -----------------------------------------------------------------

    def get_value(self, value: Value, key: str) -> Value:
        """Read a property as a handle, whatever it is; getters run.

        Raises:
            ScriptError: A getter threw.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            name = new_string(library, self.pointer, key)
            handle = library.object_get(value.slot, self.context, name)
            if not handle:
                self._converted(handle, caught)
            return self.own(handle)

    def get(self, value: Value, key: str) -> Any:
        """Read a property and convert it; getters run.

        Raises:
            ScriptError: A getter threw.
        """
        with Entered(self):
            item = self.get_value(value, key)
            try:
                return to_python(self, item.slot)
            finally:
                item.close()

    def set(self, value: Value, key: str, item: Any) -> None:
        """Write a property."""
        library = self.library
        with Entered(self), TryCatch(library, self.pointer):
            name = new_string(library, self.pointer, key)
            library.object_set(value.slot, self.context, name, to_local(self, item))

    def global_object(self) -> Value:
        """`globalThis`."""
        with Entered(self):
            return self.own(self.library.context_global(self.context))

    def extras(self) -> Value:
        """V8's extras binding object: saved with the heap, unseen by the user."""
        with Entered(self):
            return self.own(self.library.context_extras(self.context))

    def promise(self, promise: Value) -> tuple[int, Any]:
        """State (0 pending, 1 fulfilled, 2 rejected) and result of a promise.

        The result is a `Value`, whatever it is.
        """
        with Entered(self):
            state = self.library.promise_state(promise.slot)
            if not state:
                return state, None
            return state, self.own(self.library.promise_result(promise.slot))

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
        with Entered(self):
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
        self.requested = function
        if not self.closed:
            self.library.request_interrupt(self.pointer, calls.INTERRUPTED, None)

    def run_requested(self) -> None:
        """Run what `request` left; called by V8."""
        function, self.requested = self.requested, None
        if function is not None:
            function()
