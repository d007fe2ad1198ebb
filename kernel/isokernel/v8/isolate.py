"""An isolate: one V8 heap with one context in it.

`Isolate` runs JavaScript, reads its values, and owns every handle that is out. What it
doesn't do itself it holds: `memory` (limits of what JavaScript may allocate), `modules`
(ES modules by URL), `rejections` (promises without a handler), `cleanups`
(FinalizationRegistries), `references` and `optimizer` (what makes it fit to be saved).

Threads: an isolate belongs to the thread that made it, whose stack V8 measures. Only
`terminate` and `request` may be called from others; both are thread-safe in V8 as well.

Every isolate is made by a `v8::SnapshotCreator`, so every isolate can be saved. What
that costs otherwise (no optimizing compiler) is undone, see `optimizer`.
"""

from __future__ import annotations

import ctypes
import os
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import (
    IsolateClosedError,
    IsolateThreadError,
    ScriptError,
    SnapshotFormatError,
    TerminatedError,
)
from isokernel.v8 import callbacks
from isokernel.v8.buffers import watch_pages
from isokernel.v8.callbacks import ENTERED
from isokernel.v8.cleanups import Cleanups
from isokernel.v8.code import CHECKSUM_IN_BLOB, Source, compile_by, take_code
from isokernel.v8.instances import Instances, watch_instances
from isokernel.v8.library import NO_CALLBACK, Library, StartupData, Vector, load
from isokernel.v8.memory import MemoryLimits
from isokernel.v8.modules import Modules
from isokernel.v8.natives import NATIVES
from isokernel.v8.optimizer import serializer_flag
from isokernel.v8.references import ExternalReferences
from isokernel.v8.rejections import Rejections
from isokernel.v8.scopes import Entered, HandleScopeSlots, Held, TryCatch
from isokernel.v8.values import (
    UNDEFINED,
    Undefined,
    Value,
    new_string,
    read_string,
    to_local,
    to_python,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.v8.snapshot import Buffer, Snapshot

_WORD = ctypes.c_size_t.from_address
_EXPLICIT_MICROTASKS: Final = 0
_CREATOR_BYTES: Final = 64  # sizeof(SnapshotCreator) is one pointer; room to spare
_MODE: Final = 0  # EvaluateGlobalMode::kDefault
_REPL: Final = True
_ARRAYS: Final = tuple(ctypes.c_void_p * count for count in range(9))
"""Types of the arguments of calls, which ctypes takes longer to look up."""
_CONSTANTS: Final[list[int]] = []
"""The tagged words of undefined, null, true and false, once an isolate has told them.

They are on the read-only heap, which all isolates of a process share.
"""
_OWN_READ_ONLY: Final[list[bool]] = []
"""Whether the read-only heap of this process is V8's own, once there is one.

It is that of the first isolate; those that are made from heaps get no other.
"""


class Thrown(NamedTuple):
    """What JavaScript threw, or that it was stopped.

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


class Isolate:
    """One V8 heap, one context.

    Attributes:
        library: V8's functions.
        pointer: Address of the `v8::Isolate`.
        context: Persistent handle of the context.
        constants: The values of undefined, null, true and false, by their tagged word.
        operations: The table behind the native function; filled at construction.
        handles: Slots of the persistent handles that Python holds now.
        orphans: Slots whose `Value` was garbage collected; released at the next entry.
        depth: How many entries are open, which is how deep JavaScript and Python have
            called one another.
        on_fatal: Called with V8's words just before V8 ends the process.
        scripts: Returns the identity of the scripts that are run beside the user's.
        features: Which of `callbacks.FEATURES` were ever used.
        stack_formatter: See `format_stacks`.
        creator: The `v8::SnapshotCreator`.
        kept_scripts: Gets the scripts that `run_script` compiles, by name; None for
            not at all.
        code_taken: How many scripts V8 has made of their code.
        code_refused: How many V8 has compiled although they had code.
        code_checksum: What code must name for V8 to take it, if that isn't what it
            names; see `isokernel.v8.code`.
    """

    def __init__(
        self,
        operations: Mapping[str, callbacks.Operation] | None = None,
        *,
        snapshot: Snapshot | None = None,
        on_fatal: Callable[[str], None] | None = None,
        scripts: Callable[[], str] = str,
        text_of: Callable[[str], str] | None = None,
    ) -> None:
        """Make a blank isolate, or one that goes on from a snapshot.

        Args:
            operations: Host functions by name, beside `natives.NATIVES`. For a
                snapshot: the same names in the same order as when it was made.
            snapshot: The heap to start from.
            on_fatal: See the class.
            scripts: See the class; asked only for what is saved, or was.
            text_of: Returns the text of one of these scripts by its name, of those that
                are run as `held`; None for no such texts.

        Raises:
            EngineError: The engine can't be loaded.
            SnapshotFormatError: The snapshot was made with other host functions, or
                with other scripts.
        """
        self.library: Library = load()
        table = {**NATIVES, **(operations or {})}
        self.operation_names = tuple(table)
        self.operations = tuple(table.values())
        if snapshot is not None:
            if snapshot.operations != self.operation_names:
                message = "the heap was saved with other host functions"
                raise SnapshotFormatError(message)
            snapshot.check_scripts(scripts())
        self.on_fatal = on_fatal
        self.scripts = scripts
        self.handles: set[int] = set()
        self.orphans: list[int] = []
        self.features: set[str] = set()
        self.stack_formatter: Value | None = None
        self.kept_scripts: dict[str, Value] | None = None
        self.code_taken = self.code_refused = 0
        self.code_checksum: bytes | None = None
        self.closed = False
        self.depth = 0
        self._thread = get_ident()
        self._failure: BaseException | None = None
        self._requested: Callable[[], None] | None = None
        self.references = ExternalReferences(
            self.library,
            snapshot.references if snapshot else (),
            text_of and (lambda script: _as_compiled(text_of(script), script)),
        )
        self.rejections = Rejections(self)
        watch_pages(self.library)
        watch_instances(self.library)
        self._create(snapshot)
        with Entered(self):
            self._create_context(blank=snapshot is None)
            self._install_callbacks()
            self._make_constants()
        self.cleanups = Cleanups(self)
        self.modules = Modules(self, saved=snapshot is not None)
        self.memory = MemoryLimits(self)
        self.instances = Instances(self)

    # -- construction and end ------------------------------------------------------

    def _create(self, snapshot: Snapshot | None) -> None:
        library = self.library
        self.creator = ctypes.create_string_buffer(_CREATOR_BYTES)
        startup = None
        if snapshot is not None:
            self._blob = _in_place(snapshot.blob)
            startup = StartupData(ctypes.addressof(self._blob), len(snapshot.blob))
            self._startup = startup
        if not _OWN_READ_ONLY:
            _OWN_READ_ONLY.append(snapshot is None)
        if snapshot is not None and _OWN_READ_ONLY[0]:
            self.code_checksum = bytes(snapshot.blob[CHECKSUM_IN_BLOB])
        library.creator_new(
            self.creator,
            self.references.address,
            ctypes.byref(startup) if startup else None,
        )
        self.pointer: int = library.creator_isolate(self.creator)
        callbacks.ISOLATES[self.pointer] = self
        self.scope_slots = HandleScopeSlots(library, self.pointer)
        library.isolate_exit(self.pointer)  # SnapshotCreator leaves it entered

    def _create_context(self, *, blank: bool) -> None:
        library = self.library
        self.optimizer = serializer_flag(library, self.pointer)
        # V8 leaves out of a new context what it installs anew in each (WebAssembly,
        # Temporal, Float16Array ...) while the flag is set; a context from a snapshot
        # has it all and would get it twice.
        if blank:
            self.optimizer.clear()
        library.microtasks_policy(self.pointer, _EXPLICIT_MICROTASKS)
        local = library.context_new(
            self.pointer, None, None, None, NO_CALLBACK, None, *(NO_CALLBACK,) * 2
        )
        self.optimizer.clear()
        self.context: int = library.globalize(self.pointer, _WORD(local).value)
        library.context_enter(self.context)

    def _install_callbacks(self) -> None:
        library, pointer = self.library, self.pointer
        library.fatal_function(callbacks.check_failed)
        library.fatal_handler(pointer, callbacks.fatal)
        library.oom_handler(pointer, callbacks.out_of_memory)
        self.rejections.watch(callbacks.promise_rejected.value or 0)
        library.use_counter(pointer, callbacks.used_of_interest())
        library.import_handler(pointer, callbacks.import_module)
        library.import_meta_handler(pointer, callbacks.describe_module)

    def _make_constants(self) -> None:
        if not _CONSTANTS:
            library = self.library
            for source in ("undefined", "null", "true", "false"):
                text = new_string(library, self.pointer, source)
                script = library.compile(self.context, text, None)
                result = library.script_run(script, self.context)
                _CONSTANTS.append(_WORD(result).value)
        # The words are roots: they never move.
        self.constants = dict(
            zip(_CONSTANTS, (UNDEFINED, None, True, False), strict=True)
        )
        self._constants = (ctypes.c_size_t * len(_CONSTANTS))(*_CONSTANTS)
        self._undefined = ctypes.addressof(self._constants)

    def format_stacks(self, formatter: Value) -> None:
        """Have `error.stack` made by a function (error, call sites) to text."""
        self.stack_formatter = formatter
        with Entered(self):
            self.library.stack_trace_handler(
                self.pointer, callbacks.prepare_stack_trace
            )

    def reseed(self) -> None:
        """Go on with random numbers of its own, in a process forked from another."""
        library = self.library
        with Entered(self):
            generator = library.random_generator(self.pointer)
            library.random_seed(generator, int.from_bytes(os.urandom(8), "little"))
            library.random_restart(_WORD(self.context).value)

    def close(self) -> None:
        """Free the heap and every handle; safe to call twice.

        Must not be called from inside JavaScript.
        """
        if self.closed:
            return
        self.claim()
        self.memory.remove()
        self.release_all()
        callbacks.ISOLATES.pop(self.pointer, None)
        self.closed = True
        ENTERED.pop()
        # The creator's destructor exits the isolate, as its constructor entered it,
        # and disposes of it.
        self.library.creator_delete(self.creator)

    def consume(self) -> object:
        """Hand the creator over to whoever writes a snapshot, in a forked child.

        Nothing but that can be done with the isolate afterwards.
        """
        self.closed = True
        return self.creator

    # -- entering ------------------------------------------------------------------

    def entered(self) -> Entered:
        """Enter the isolate and open a handle scope, in a `with` block; nests."""
        return Entered(self)

    def held(self) -> Held:
        """Stay entered for several things in a row; see `Held`."""
        return Held(self)

    def claim(self) -> None:
        """Enter the isolate on this thread; pair with `leave`.

        Raises:
            IsolateClosedError: It is closed.
            IsolateThreadError: It belongs to another thread.
        """
        if self.closed:
            raise IsolateClosedError
        if self._thread != get_ident():
            message = "the isolate belongs to the thread that made it"
            raise IsolateThreadError(message)
        self.depth += 1
        # V8 is told only if it is in another isolate, or in none.
        if not ENTERED or ENTERED[-1] != self.pointer:
            self.library.isolate_enter(self.pointer)
        ENTERED.append(self.pointer)
        while self.orphans:
            self.release(self.orphans.pop())

    def leave(self) -> None:
        """Undo `claim`."""
        pointer = ENTERED.pop()
        if not ENTERED or ENTERED[-1] != pointer:
            self.library.isolate_exit(pointer)
        self.depth -= 1

    # -- handles -------------------------------------------------------------------

    def own(self, handle: int) -> Value:
        """Make a local handle persistent."""
        return Value(self, self.library.globalize(self.pointer, _WORD(handle).value))

    def release(self, slot: int) -> None:
        """Dispose of one persistent handle; only `Value` and `claim` call it."""
        if slot in self.handles:
            self.handles.remove(slot)
            self.library.dispose_global(slot)

    def release_all(self) -> None:
        """Dispose of every persistent handle, the context's too. For the end only."""
        self.rejections.clear()
        for slot in self.handles:
            self.library.dispose_global(slot)
        self.handles.clear()
        self.orphans.clear()
        self.library.context_exit(self.context)
        self.library.dispose_global(self.context)
        self.stack_formatter = None

    def constant(  # a JavaScript constant, not a switch
        self,
        value: Undefined | bool | None,  # noqa: FBT001
    ) -> int:
        """Return a handle of undefined, null, true or false, valid for good."""
        index = 0 if value is UNDEFINED else 1
        if isinstance(value, bool):
            index = 2 if value else 3
        return self._undefined + 8 * index

    # -- running -------------------------------------------------------------------

    def evaluate(
        self, source: str, name: str, *, plain: bool = False
    ) -> Value | Thrown:
        """Run one REPL cell: `let` again at will, top-level await, last value.

        Args:
            source: JavaScript.
            name: Name of the script in stack traces, without spaces.
            plain: Run it as a script, which none of that holds for.

        Returns:
            The promise of the cell, an object `{".repl_result": value}`, or what
            was thrown before the cell ran (a syntax error) or instead (termination).
            Of a script its value, or what it has thrown.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(library, self.pointer, _as_compiled(source, name))
            if plain:
                script = library.compile(self.context, text, None)
                end = library.script_run(script, self.context) if script else None
            else:
                end = library.evaluate_global(self.pointer, text, _MODE, _REPL)
            self.raise_failure()
            return self.own(end) if end else self.thrown(caught)

    def compile_error(self, source: str) -> Thrown | None:
        """Compile a sloppy script without running it; return V8's error, if any."""
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = new_string(library, self.pointer, source)
            if library.compile(self.context, text, None):
                return None
            return self.thrown(caught)

    def run_script(
        self, source: str, name: str, code: bytes | None = None, *, held: bool = False
    ) -> Any:
        """Run a script of ours and convert its value.

        Args:
            source: Its text.
            name: What it is called.
            code: What `script_code` returned for that very text, which V8 checks little
                of. It isn't used where V8 refuses it.
            held: Its text stays outside of the heap if the isolate has texts: it is
                what `text_of` returns.

        Raises:
            ScriptError: It threw.
            TerminatedError: It was stopped.
        """
        library = self.library
        with Entered(self), TryCatch(library, self.pointer) as caught:
            text = self._held_text(name) if held else None
            if text is None:
                text = new_string(library, self.pointer, _as_compiled(source, name))
            if code is None:
                script = library.compile(self.context, text, None)
            else:
                script, taken = compile_by(self, Source(text), code)
                self.code_taken += taken
                self.code_refused += not taken
            if script and self.kept_scripts is not None:
                self.kept_scripts[name] = self.own(script)
            handle = library.script_run(script, self.context) if script else None
            return self._converted(handle, caught)

    def _held_text(self, name: str) -> int | None:
        """Make a string of a script's text outside of the heap; None if it can't be."""
        found = self.references.add_text(name)
        if found is None:
            return None
        library = self.library
        make = library.string_external_latin1
        if found.wide:
            make = library.string_external_utf16
        handle: int = make(self.pointer, found.resource)
        return handle

    def script_code(self, script: Value) -> bytes:
        """Return the code of a script in `kept_scripts`, with what it has called."""
        library = self.library
        with Entered(self):
            unbound = library.script_unbound(script.slot)
            return take_code(library, library.script_code(unbound))

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
            return to_python(self, handle) if handle else self.thrown(caught)

    def run_microtasks(self) -> bool:
        """Run all pending microtasks; False when they were terminated."""
        with Entered(self):
            self.library.microtasks(self.pointer)
            self.raise_failure()
            stopped = bool(self.library.is_terminating(self.pointer))
            if stopped:
                self._stop_callers()
            return not stopped

    def collect_garbage(self) -> None:
        """Collect all garbage, also of the weak kind; slow on large heaps."""
        with Entered(self):
            self.library.low_memory(self.pointer)

    def _call(self, function: Value, arguments: tuple[Any, ...]) -> int | None:
        count = len(arguments)
        handles = _ARRAYS[count] if count < len(_ARRAYS) else ctypes.c_void_p * count
        result: int | None = self.library.call(
            function.slot,
            self.context,
            self._undefined,
            count,
            handles(*[to_local(self, argument) for argument in arguments]),
        )
        return result

    def _stop_callers(self) -> None:
        """A call was terminated; when JavaScript called us, that was meant as well.

        V8 takes a termination as served once the innermost call has ended with it.
        """
        if self.depth > 1:
            self.library.terminate(self.pointer)

    # -- what was thrown -----------------------------------------------------------

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

    def thrown(self, caught: TryCatch) -> Thrown:
        """Return what a block has caught."""
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
        """Keep an exception that no JavaScript may catch, and stop JavaScript.

        For a callback, through whose C frames it can't be raised.
        """
        self._failure = error
        self.library.terminate(self.pointer)

    def raise_failure(self) -> None:
        """Raise what `fail` kept, now that V8 has returned."""
        failure, self._failure = self._failure, None
        if failure is not None:
            self.library.cancel_terminate(self.pointer)
            raise failure

    # -- reading and writing -------------------------------------------------------

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
        """Return `globalThis`."""
        with Entered(self):
            return self.own(self.library.context_global(self.context))

    def extras(self) -> Value:
        """Return V8's extras object: saved with the heap, unseen by the user."""
        with Entered(self):
            return self.own(self.library.context_extras(self.context))

    def native_function(self) -> Value:
        """Return the native function `call(operation, ...arguments)`."""
        with Entered(self):
            handle = self.library.function_new(
                self.context, callbacks.trampoline, None, 0, 0, 0
            )
            return self.own(handle)

    def promise(self, promise: Value) -> tuple[int, Any]:
        """Return state (0 pending, 1 fulfilled, 2 rejected) and result of a promise.

        The result is a `Value`, whatever it is.
        """
        with Entered(self):
            state = self.library.promise_state(promise.slot)
            if not state:
                return state, None
            return state, self.own(self.library.promise_result(promise.slot))

    def mark_handled(self, promise: Value) -> None:
        """Have a rejection of this promise count as handled."""
        with Entered(self):
            self.library.promise_mark_handled(promise.slot)

    def to_text(self, value: Value) -> str:
        """Convert a string value; the empty string for anything else."""
        with Entered(self):
            text = to_python(self, value.slot)
            return text if isinstance(text, str) else ""

    def lexical_names(self) -> list[str]:
        """Return the names of the top-level let, const and class of all scripts."""
        library, names = self.library, Vector()
        with Entered(self):
            library.lexical_names(self.context, ctypes.byref(names))
            slots = names.take(library)
            texts = [read_string(library, self.pointer, slot) for slot in slots]
        for slot in slots:
            library.dispose_global(slot)
        return list(dict.fromkeys(texts))

    def owner(self) -> int:
        """Return the continuation-preserved data, which the runtime keeps owners in."""
        with Entered(self):
            data = self.library.embedder_data(self.pointer)
            return self.owner_of(to_python(self, data))

    def owner_of(self, data: Any) -> int:
        """Return the owner that such data tells."""
        if isinstance(data, Value):  # see runtime/owner.js
            data = self.get(data, "owner")
        return int(data) if isinstance(data, (int, float)) else 0

    # -- from other threads --------------------------------------------------------

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
            self.library.request_interrupt(self.pointer, callbacks.interrupted, None)

    def run_requested(self) -> None:
        """Run what `request` left; called by V8."""
        function, self._requested = self._requested, None
        if function is not None:
            function()


def _as_compiled(source: str, name: str) -> str:
    """Return what V8 compiles: a source with the name of its script."""
    return f"{source}\n//# sourceURL={name}"


def _in_place(blob: Buffer) -> ctypes.c_char | ctypes.Array[ctypes.c_char]:
    """Return what keeps the blob where V8 can read it; copied only if it must be."""
    if isinstance(blob, memoryview) and not blob.readonly:
        return ctypes.c_char.from_buffer(blob)  # a type for its size would cost more
    return ctypes.create_string_buffer(bytes(blob), len(blob))
