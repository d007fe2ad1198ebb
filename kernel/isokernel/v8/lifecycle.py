"""An isolate's life: its making, its end, entering it, and the handles it has out.

`Isolate` in `v8.isolate` adds what one does with it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Final, cast

from isokernel.errors import (
    IsolateClosedError,
    IsolateThreadError,
    SnapshotFormatError,
)
from isokernel.v8 import calls
from isokernel.v8.library import NO_CALLBACK, Library, StartupData, load
from isokernel.v8.memory import MemoryGuard
from isokernel.v8.natives import NATIVES
from isokernel.v8.optimizer import serializer_flag
from isokernel.v8.references import References
from isokernel.v8.rejections import Rejections
from isokernel.v8.scopes import HandleScope, HandleScopeSlots
from isokernel.v8.values import UNDEFINED, Constants, Undefined, Value, new_string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.snapshot import Buffer, Snapshot

_WORD = ctypes.c_size_t.from_address
_EXPLICIT_MICROTASKS: Final = 0
_CREATOR_BYTES: Final = 64  # sizeof(SnapshotCreator) is one pointer; room to spare


def _in_place(blob: Buffer) -> ctypes.Array[ctypes.c_char]:
    """The blob where V8 can read it, for the isolate's life; copied only if it must."""
    if isinstance(blob, memoryview) and not blob.readonly:
        return (ctypes.c_char * len(blob)).from_buffer(blob)
    return ctypes.create_string_buffer(bytes(blob), len(blob))


class Entered(HandleScope):
    """The isolate is entered and a handle scope is open; nests."""

    __slots__ = ("_isolate",)

    def __init__(self, isolate: IsolateLife) -> None:
        """Prepare; nothing happens before it is entered."""
        self._isolate = isolate
        self._slots = isolate.scope_slots

    def __enter__(self) -> None:
        """Enter the isolate on this thread."""
        self._isolate.claim()
        super().__enter__()

    def __exit__(self, *_: object) -> None:
        """Leave it; handles made since are gone."""
        super().__exit__()
        self._isolate.leave()


class Held:
    """The isolate stays entered, so that `Entered` inside has nothing to do for it.

    Entering and leaving are two calls into the library, a tenth of a short cell's time
    when each of its steps does so. It isn't counted in `depth`: no JavaScript runs.
    """

    __slots__ = ("_isolate",)

    def __init__(self, isolate: IsolateLife) -> None:
        """Prepare; nothing happens before it is entered."""
        self._isolate = isolate

    def __enter__(self) -> None:
        """Enter the isolate on this thread."""
        self._isolate.claim()
        self._isolate.depth -= 1

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        self._isolate.depth += 1
        self._isolate.leave()


class IsolateLife:
    """One V8 heap, one context.

    Attributes:
        handles: Slots of the persistent handles that Python holds now.
        operations: The table behind the native function; filled at construction.
        rejections: Promises rejected without a handler since last asked.
        on_fatal: Called with V8's words just before V8 ends the process.
        scripts: Gives the identity of the scripts that are run beside the user's.
        features: What of `calls.FEATURES` was ever used.
        uncaught: What callbacks threw that V8 itself has called.
        out_of_memory: What ran out (`heap` or `buffers`) when a bound was reached.
    """

    def __init__(
        self,
        operations: Mapping[str, calls.Operation] | None = None,
        *,
        snapshot: Snapshot | None = None,
        on_fatal: Callable[[str], None] | None = None,
        scripts: Callable[[], str] = str,
    ) -> None:
        """Make a blank isolate, or one that goes on from a snapshot.

        Args:
            operations: Host functions by name, beside `natives.NATIVES`. For a
                snapshot: the same names in the same order as when it was made.
            snapshot: The heap to start from.
            on_fatal: See the class.
            scripts: See the class; asked only for what is saved, or was.

        Raises:
            EngineError: The engine can't be loaded.
            SnapshotFormatError: The snapshot was made with other host functions, or
                with other scripts.
        """
        self.library: Library = load()
        table = {**NATIVES, **(operations or {})}
        self.operation_names = tuple(table)
        self.operations = tuple(table.values())
        if snapshot is not None and snapshot.operations != self.operation_names:
            message = "the heap was saved with other host functions"
            raise SnapshotFormatError(message)
        if snapshot is not None:
            snapshot.check_scripts(scripts())
        self.on_fatal = on_fatal
        self.scripts = scripts
        self.handles: set[int] = set()
        self.orphans: list[int] = []
        self.features: set[str] = set()
        self.rejections = Rejections(self._whole)
        self.stack_formatter: Value | None = None
        self.closed = False
        self.depth = 0
        self._thread = threading.get_ident()
        self._failure: BaseException | None = None
        # V8 knows of it until the isolate's end.
        self._burial: ctypes.Array[ctypes.c_char] | None = None
        self.uncaught: list[Value] = []
        self.requested: Callable[[], None] | None = None
        self._create(snapshot)

    @property
    def _whole(self) -> Isolate:
        """This object as its users know it; only `Isolate` is ever made."""
        return cast("Isolate", self)

    # -- birth and death ---------------------------------------------------------

    def _create(self, snapshot: Snapshot | None) -> None:
        library = self.library
        self.references = References(library, snapshot.references if snapshot else ())
        self._creator = ctypes.create_string_buffer(_CREATOR_BYTES)
        blob = None
        if snapshot is not None:
            self._blob = _in_place(snapshot.blob)
            blob = StartupData(ctypes.addressof(self._blob), len(snapshot.blob))
            self._startup = blob
        library.creator_new(
            self._creator,
            self.references.address,
            ctypes.byref(blob) if blob else None,
        )
        self.pointer: int = library.creator_isolate(self._creator)
        self._heap: int = library.isolate_heap(self.pointer)
        calls.ISOLATES[self.pointer] = self._whole
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
        self.memory = MemoryGuard(self._whole)

    def _install(self) -> None:
        library, pointer = self.library, self.pointer
        library.fatal_function(calls.BROKEN)
        library.fatal_handler(pointer, calls.FATAL)
        library.oom_handler(pointer, calls.OUT_OF_MEMORY)
        library.rejection_handler(pointer, calls.PROMISE_REJECTED)
        library.use_counter(pointer, calls.USED)
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

    def reseed(self) -> None:
        """Go on with random numbers of its own, in a process forked from another."""
        library = self.library
        with Entered(self):
            generator = library.random_generator(self.pointer)
            library.random_seed(generator, int.from_bytes(os.urandom(8), "little"))
            library.random_restart(_WORD(self.context).value)

    def native_function(self) -> Value:
        """The native function `call(operation, ...arguments)` of this context."""
        with Entered(self):
            handle = self.library.function_new(
                self.context, calls.TRAMPOLINE_ADDRESS, None, 0, 0, 0
            )
            return self.own(handle)

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
        self.depth += 1
        if calls.enter(self.pointer):
            self.library.isolate_enter(self.pointer)
        if self.orphans:
            self._bury()

    def leave(self) -> None:
        """Undo `claim`."""
        if calls.leave():
            self.library.isolate_exit(self.pointer)
        self.depth -= 1

    def held(self) -> Held:
        """Stay entered for several things in a row; see `Held`."""
        return Held(self)

    def _bury(self) -> None:
        while self.orphans:
            self.release(self.orphans.pop())

    # -- handles -----------------------------------------------------------------

    def own(self, handle: int) -> Value:
        """Make a local handle persistent."""
        return Value(
            self._whole, self.library.globalize(self.pointer, _WORD(handle).value)
        )

    def release(self, slot: int) -> None:
        """Give one persistent handle back."""
        if slot in self.handles:
            self.handles.remove(slot)
            self.library.dispose_global(slot)

    def constant(  # a JavaScript constant, not a switch
        self,
        value: Undefined | bool | None,  # noqa: FBT001
    ) -> int:
        """A handle of undefined, null, true or false, valid for the isolate's life."""
        index = 0 if value is UNDEFINED else 1
        if isinstance(value, bool):
            index = 2 if value else 3
        return ctypes.addressof(self._constants) + 8 * index

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

    def raise_failure(self) -> None:
        """Raise what `fail` kept."""
        failure, self._failure = self._failure, None
        if failure is not None:
            self.library.cancel_terminate(self.pointer)
            raise failure
