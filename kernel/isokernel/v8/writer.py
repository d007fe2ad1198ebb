"""Writing heaps.

Writing one consumes the isolate and aborts the process when something on the heap
can't be saved, so it is done in a forked child: the live isolate goes on at once and
is never harmed.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING, Final

from isokernel.errors import SnapshotFailedError
from isokernel.v8.children import Children
from isokernel.v8.library import NO_CALLBACK
from isokernel.v8.live_objects import unsavable_objects
from isokernel.v8.shared import set_shared, shared_buffers
from isokernel.v8.snapshot import Snapshot, seal
from isokernel.v8.stacks import make_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

_CLEAR: Final = 0  # FunctionCodeHandling::kClear: functions compile again, lazily
_ROUNDS: Final = 64  # each finds one unknown native function; 4 are usual
_UNKNOWN = re.compile(r"Unknown external reference (0x[0-9a-f]+)")
_REGISTRIES: Final = "dirty_js_finalization_registries_list"
_WASM: Final = frozenset({"WebAssembly.Module", "WebAssembly.Memory"})

DEADLINE_SECONDS: Final = 60.0
"""For one attempt; 100,000 objects take 0.3 s."""


class Preparation:
    """What is done in the child, on the copy of the isolate; nothing unless overridden.

    The isolate is entered.
    """

    def begin(self) -> None:
        """Part from the process that goes on, before any code of the user's may run."""

    def finish(self, shared: list[Value]) -> None:
        """Make the last changes to the heap.

        Args:
            shared: The SharedArrayBuffers, which have to be shared again by whoever
                reads the heap.
        """


def save(isolate: Isolate, preparation: Preparation | None = None) -> Snapshot:
    """Save a live isolate, which stays as it is; arguments as `write`'s.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    storage = os.memfd_create("isokernel-heap")
    try:
        with Children(isolate) as children:
            write(children, isolate, storage, preparation)
        seal(storage)
        return read(storage)
    finally:
        os.close(storage)


def read(file: int) -> Snapshot:
    """Read what was just written."""
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
    beside: Callable[[], None] | None = None,
) -> None:
    """Write a live isolate into a file, from its start, as `Snapshot.to_bytes`.

    But for the hash in its header, which `seal` adds. Call it on the isolate's thread,
    with no JavaScript running.

    Args:
        children: Forks the processes that write.
        isolate: What to save. It stays as it is.
        file: A descriptor.
        preparation: What else is to be done in the child.
        stacks: Make the stacks of all errors, which takes as long as the rest. A heap
            with errors whose stacks nobody has read can't be read back without.
        seconds: For one attempt.
        beside: Called once, while another process writes.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    writer = _Writer(isolate, file, preparation or Preparation(), stacks=stacks)
    for _ in range(_ROUNDS):
        child = children.fork(writer.write)
        if beside is not None:
            beside()
            beside = None
        ended = child.outcome(seconds)
        if ended.status == 0:
            return
        unknown = _UNKNOWN.search(ended.output)
        if unknown is not None and isolate.references.add(int(unknown[1], 16)):
            continue
        if _REGISTRIES in ended.output and not writer.registries:
            writer.registries = True
            continue
        raise SnapshotFailedError(ended.reason)
    message = "too many unknown native functions"
    raise SnapshotFailedError(message)


class _Writer:
    """Writes, in the child.

    Attributes:
        registries: There are FinalizationRegistries with something to do.
    """

    def __init__(
        self, isolate: Isolate, file: int, preparation: Preparation, *, stacks: bool
    ) -> None:
        self._isolate = isolate
        self._file = file
        self._preparation = preparation
        self._stacks = stacks
        self.registries = False

    def write(self) -> None:
        """Consume the isolate."""
        isolate, preparation = self._isolate, self._preparation
        isolate.claim()
        preparation.begin()
        features = isolate.features
        if features & _WASM and self._has_wasm():
            message = "WebAssembly objects are on the heap"
            raise SnapshotFailedError(message)
        if self._stacks:
            make_stacks(isolate, of_all="captureStackTrace" in features)
        shared: list[Value] = []
        if "SharedArrayBuffer" in features:
            shared = shared_buffers(isolate)
            set_shared(isolate, shared, shared=False)
        if self.registries:
            isolate.cleanups.discard()
        preparation.finish(shared)
        del shared
        self._write_blob()

    def _has_wasm(self) -> bool:
        found = bool(unsavable_objects(self._isolate))
        # What was collected has still to be given back, or V8 takes it for living.
        self._isolate.library.low_memory(self._isolate.pointer)
        return found

    def _write_blob(self) -> None:
        isolate = self._isolate
        library, creator = isolate.library, isolate.consume()
        isolate.optimizer.set()
        # Optimized code can't be saved. CreateBlob collects garbage by itself, often
        # enough: asking for it before made a blob 10% slower and no smaller.
        library.deoptimize_all(isolate.pointer)
        context = isolate.context
        library.creator_context(creator, context, *(NO_CALLBACK,) * 3)
        isolate.release_all()
        data = library.creator_blob(creator, _CLEAR)
        blob = memoryview((ctypes.c_char * data.size).from_address(data.data)).cast("B")
        heap = Snapshot(
            blob,
            tuple(isolate.references.distances),
            isolate.operation_names,
            isolate.scripts(),
        )
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        for part in (memoryview(heap.unsealed), blob):
            while part:
                part = part[os.write(self._file, part) :]  # noqa: PLW2901 -- the rest
