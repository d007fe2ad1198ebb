"""Writing live heaps.

Writing a heap uses up its isolate, and V8 aborts the process when something on the heap
can't be saved. So it is done in a forked child: the live isolate goes on at once and is
never harmed.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import SnapshotFailedError, SnapshotFormatError
from isokernel.v8 import linkage, recreation, wasm_parts
from isokernel.v8.children import Children
from isokernel.v8.library import NO_CALLBACK
from isokernel.v8.live_objects import VIEW, live_objects, marked_objects
from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.shared import set_shared, shared_buffers
from isokernel.v8.snapshot import Snapshot, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library
    from isokernel.v8.recreation import Recipe
    from isokernel.v8.values import Value
    from isokernel.v8.wasm_parts import Parts

__all__ = ["DEADLINE_SECONDS", "Preparation", "read", "save", "write"]

_KEEP: Final = 1
"""FunctionCodeHandling::kKeep: what V8 has compiled goes along, as bytecode.

It makes a blank heap a tenth larger, and saves the first cell after a restore most of
what it had to compile again: 2.7 of the 4.5 ms in which it shows an object.
"""
_SNAPSHOT_CREATOR: Final = 20  # GarbageCollectionReason::kSnapshotCreator
_NO_FILTERING: Final = 0  # HeapObjectsFiltering::kNoFiltering
_ROUNDS: Final = 64  # each finds one unknown native function; 4 are usual
_UNKNOWN = re.compile(r"Unknown external reference (0x[0-9a-f]+)")
_CLEANUPS: Final = "dirty_js_finalization_registries_list"
_WORD = ctypes.c_size_t.from_address
_TAGGED = ctypes.c_uint32.from_address
_TAG: Final = 1
_CAGE_BITS: Final = 32  # of an address within V8's pointer compression cage
_WEB_ASSEMBLY: Final = frozenset({"WebAssembly", "WebAssembly.Module"})
_UNSAVABLE: Final = _WEB_ASSEMBLY | {"Intl", "Temporal"}
"""Features that may have left objects which V8 can't write."""
_CALL_SITE: Final = "CallSite"

_REPLACED: Final = (
    "can_be_deferred",
    "heap_objects",
    "collect_garbage",
    "pages_release",
)
_SMALL_BYTES: Final = 32 << 20
"""Of a heap whose free pages the process that writes it can keep."""

DEADLINE_SECONDS: Final = 60.0
"""For one attempt; 100,000 objects take 0.3 s."""


class Preparation:
    """What is done to the copy of an isolate before it is written.

    Both methods are called in the forked child, with the isolate entered. They do
    nothing unless overridden.

    Attributes:
        recreates: Whether whoever reads the heap makes objects again, see `recreation`.
    """

    recreates = False

    def find_web_assembly(self, name: str) -> Value:
        """Return a function of the runtime's `webassembly`; only if it recreates."""
        raise NotImplementedError(name)

    def begin(self) -> None:
        """Part from the process that goes on, before any code of the user's may run."""

    def finish(
        self, shared: list[Value], recipes: list[Recipe], parts: Parts | None
    ) -> None:
        """Make the last changes to the heap.

        Args:
            shared: The SharedArrayBuffers, which have to be shared again by whoever
                reads the heap.
            recipes: The objects that have to be made again; none unless `recreates`.
            parts: What WebAssembly has to be put together of; None if there is none.
        """


def save(isolate: Isolate, preparation: Preparation | None = None) -> Snapshot:
    """Save a live isolate into memory; see `write`.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    file = os.memfd_create("isokernel-heap")
    try:
        with Children(isolate) as children:
            write(children, isolate, file, preparation)
        seal(file)
        return read(file)
    finally:
        os.close(file)


def read(file: int) -> Snapshot:
    """Copy what was just written out of its file."""
    size = os.fstat(file).st_size
    return Snapshot.from_bytes(os.pread(file, size, 0), check=False)


def write(  # noqa: PLR0913 -- there is that much to choose
    children: Children,
    isolate: Isolate,
    file: int,
    preparation: Preparation | None = None,
    *,
    stacks: bool = True,
    seconds: float = DEADLINE_SECONDS,
    attempt: Callable[[], None] | None = None,
) -> str:
    """Write a live isolate into a file, in the form of `Snapshot.to_bytes`.

    The header has no hash yet; `seal` adds it. Called on the isolate's thread, with no
    JavaScript running.

    Args:
        children: Forks the processes that write.
        isolate: What to save. It stays as it is.
        file: A descriptor; gets the heap and nothing else.
        preparation: What else is to be done in the child.
        stacks: Make the stacks of all errors, which takes as long as the rest. A heap
            with errors whose stacks nobody has read can't be read back without.
        seconds: The deadline of one process.
        attempt: Reads the heap back, and raises or ends the process if it can't. Called
            in the process that has written it, of which nothing is left to spoil.

    Returns:
        Why `attempt` has failed; empty if it hasn't.

    Raises:
        SnapshotFailedError: V8 couldn't write; the error has its words.
    """
    writer = _Writer(isolate, file, preparation or Preparation(), stacks=stacks)
    linkage.prepare(isolate.library, _REPLACED)

    def write_and_try() -> None:
        writer.write()
        if attempt is not None:
            attempt()

    for _ in range(_ROUNDS):
        os.ftruncate(file, 0)
        outcome = children.run(write_and_try, seconds)
        if outcome.status == 0:
            return ""
        if _is_whole(file):
            return outcome.reason
        unknown = _UNKNOWN.search(outcome.output)
        if unknown is not None and isolate.references.add(int(unknown[1], 16)):
            continue
        if _CLEANUPS in outcome.output and not writer.cleanups_pending:
            writer.cleanups_pending = True
            continue
        raise SnapshotFailedError(outcome.reason)
    message = "too many unknown native functions"
    raise SnapshotFailedError(message)


def _is_whole(file: int) -> bool:
    try:
        Snapshot.from_file(file, check=False)
    except SnapshotFormatError:
        return False
    return True


class _Writer:
    """What the child does."""

    def __init__(
        self, isolate: Isolate, file: int, preparation: Preparation, *, stacks: bool
    ) -> None:
        self._isolate = isolate
        self._file = file
        self._preparation = preparation
        self._stacks = stacks
        self.cleanups_pending = False

    def write(self) -> None:
        """Use up the isolate. In the child."""
        isolate, preparation = self._isolate, self._preparation
        isolate.claim()
        preparation.begin()
        features = isolate.features
        if self._stacks:  # which may run code of the user's, so it comes first
            _make_stacks(isolate, of_all="captureStackTrace" in features)
        recipes: list[Recipe] = []
        parts: Parts | None = None
        if features & _UNSAVABLE:
            recipes, parts = self._take_apart()
        shared: list[Value] = []
        if "SharedArrayBuffer" in features:
            shared = shared_buffers(isolate)
            set_shared(isolate, shared, shared=False)
        if self.cleanups_pending:
            isolate.cleanups.discard()
        preparation.finish(shared, recipes, parts)
        del shared, parts
        recipes.clear()
        isolate.modules.suspend(isolate.creator)
        self._write_blob()

    def _take_apart(self) -> tuple[list[Recipe], Parts | None]:
        """Take out what V8 can't write; raise if something can't be made again."""
        isolate, preparation = self._isolate, self._preparation
        known = recreation.Recipes(isolate)
        recipes: list[Recipe] = []
        compiled: list[tuple[str, Value]] = []
        views = bool(isolate.features & _WEB_ASSEMBLY)
        for kind, value in marked_objects(isolate, views=views):
            made = None
            if kind == VIEW or (preparation.recreates and kind in wasm_parts.KINDS):
                compiled.append((kind, value))
                continue
            if preparation.recreates:
                made = known.of(kind, value)
            if made is not None:
                recipes.append(made)
            elif kind != _CALL_SITE:  # of which V8 can write some
                message = f"V8 can't write objects of {kind}"
                raise SnapshotFailedError(message)
        recreation.empty(isolate, recipes)
        parts = None
        if any(kind != VIEW for kind, _ in compiled):
            find = preparation.find_web_assembly
            try:
                parts = wasm_parts.take_apart(isolate, find, compiled)
            except wasm_parts.RefusedError as error:
                raise SnapshotFailedError(str(error)) from error
            wasm_parts.empty(isolate, parts, find("idle"))
        if recipes or parts:
            # What was inside is garbage now, and V8 writes nothing while it is there,
            # nor before all that is garbage has been given back.
            isolate.library.low_memory(isolate.pointer)
        return recipes, parts

    def _write_blob(self) -> None:
        isolate = self._isolate
        library, creator = isolate.library, isolate.consume()
        isolate.optimizer.set()
        # Optimized code can't be saved. CreateBlob collects garbage by itself, often
        # enough: asking for it before made a blob 10% slower and no smaller.
        library.deoptimize_all(isolate.pointer)
        replacements: dict[str, Callable[..., Any]] = {
            "can_be_deferred": _data_at_once(isolate),
            "heap_objects": _all_objects(library),
            "collect_garbage": _collect_once(library),
        }
        if isolate.memory.statistics().heap_total_bytes <= _SMALL_BYTES:
            # It ends soon, and each page that it gives back takes a call of the system.
            replacements["pages_release"] = lambda _pool, _isolate: None
        library.creator_context(creator, isolate.context, *(NO_CALLBACK,) * 3)
        isolate.release_all()
        with linkage.replaced(library, replacements):
            data = library.creator_blob(creator, _KEEP)
        blob = memoryview((ctypes.c_char * data.size).from_address(data.data)).cast("B")
        heap = Snapshot(
            blob,
            tuple(isolate.references.kept),
            isolate.operation_names,
            isolate.scripts(),
        )
        os.lseek(self._file, 0, os.SEEK_SET)
        for part in (memoryview(heap.unsealed), blob):
            while part:
                part = part[os.write(self._file, part) :]  # noqa: PLW2901 -- the rest


def _data_at_once(isolate: Isolate) -> Callable[[int, int], bool]:
    """Return what has V8 put off writing plain objects only: its `can_be_deferred`.

    Called while the context's handle is there.

    Below 32 levels V8 defers what it comes upon, which it can't do right with

    - the compiled data that regular expressions of one literal share: a second
      reference to what is deferred isn't known in the space that it is in ("Check
      failed: !serializer_->SerializePendingObject(*slot_value)"). That space has 4 GiB
      of addresses of its own: the upper half of an address tells;
    - buffers and typed arrays: their bytes come before them, where what reads deferred
      objects expects objects only ("unreachable code", or whatever the bytes mean).

    It costs nothing that can be measured at 100,000 objects, in a chain or in a list.
    Where V8's functions can't be replaced, heaps with such chains aren't saved.
    """
    library = isolate.library
    cage = _WORD(isolate.context).value >> _CAGE_BITS
    has_bytes: dict[int, bool] = {}  # by hidden class

    def can_be_deferred(thing: int, slot: int) -> bool:
        if thing >> _CAGE_BITS != cage:
            return False
        hidden_class = _TAGGED(thing - _TAG).value
        known = has_bytes.get(hidden_class)
        if known is None:
            known = library.is_array_buffer(thing) or library.is_typed_array(thing)
            has_bytes[hidden_class] = known
        return not known and library.can_be_deferred(thing, slot)

    return can_be_deferred


def _all_objects(library: Library) -> Callable[[int, int, int], None]:
    """Return what has V8 look at all objects of a heap: its `heap_objects`.

    V8 has just collected all garbage when it looks for functions, to take from them
    what isn't saved, and yet marks first which of them are reachable, in hash tables.
    That is up to half of the time that writing takes. A function that has become
    garbage since then is looked at, too, and isn't written.
    """

    def heap_objects(this: int, heap: int, _filtering: int) -> None:
        library.heap_objects(this, heap, _NO_FILTERING)

    return heap_objects


def _collect_once(library: Library) -> Callable[..., None]:
    """Return what has V8 collect garbage once for a blob: its `collect_garbage`.

    It does so at least twice, to get at what the first time has released, and up to
    seven times. Nothing of that is reachable, which alone is written.
    """
    done = False

    def collect_garbage(heap: int, space: int, reason: int, *more: int) -> None:
        nonlocal done
        if reason != _SNAPSHOT_CREATOR or not done:
            library.collect_garbage(heap, space, reason, *more)
        done = done or reason == _SNAPSHOT_CREATOR

    return collect_garbage


def _make_stacks(isolate: Isolate, *, of_all: bool) -> None:
    """Make the stack text of every error on the heap.

    V8 keeps the call sites of an error until its `stack` is first read, and writes them
    into a blob in a form that it then can't read ("Check failed: current ==
    end_slot_index"). Once the text is made, they are gone. Costs 4.5 ms on a small heap
    and 200 ms at 300,000 objects.

    Args:
        isolate: Entered.
        of_all: Any object may have a stack: `Error.captureStackTrace` was called.
    """
    library = isolate.library
    is_error = (lambda _handle: True) if of_all else library.IsNativeError
    for error in live_objects(isolate, is_error):
        with HandleScope(isolate.scope_slots), TryCatch(library, isolate.pointer):
            library.formatted_stack(isolate.pointer, error.slot)
        error.close()
