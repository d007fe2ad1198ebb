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
from isokernel.v8.children import run_in_child
from isokernel.v8.library import NO_CALLBACK
from isokernel.v8.snapshot import Snapshot
from isokernel.v8.stacks import make_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

_CLEAR: Final = 0  # FunctionCodeHandling::kClear: functions compile again, lazily
_ROUNDS: Final = 64  # each finds one unknown native function; 4 are usual
_UNKNOWN = re.compile(r"Unknown external reference (0x[0-9a-f]+)")

DEADLINE: Final = 60.0
"""Seconds for one attempt; 100,000 objects take 0.3 s."""


def save(isolate: Isolate, prepare: Callable[[], None] | None = None) -> Snapshot:
    """Save a live isolate, which stays as it is; arguments as `write`'s.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    storage = os.memfd_create("isokernel-heap")
    try:
        write(isolate, storage, prepare)
        size = os.fstat(storage).st_size
        return Snapshot.from_bytes(os.pread(storage, size, 0), check=False)
    finally:
        os.close(storage)


def write(
    isolate: Isolate,
    file: int,
    prepare: Callable[[], None] | None = None,
    *,
    seconds: float = DEADLINE,
) -> None:
    """Write a live isolate into a file, from its start, as `Snapshot.to_bytes`.

    Call it on the isolate's thread, with no JavaScript running.

    Args:
        isolate: What to save. It stays as it is.
        file: A descriptor.
        prepare: Called in the child first, on the copy of the isolate.
        seconds: For one attempt.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    for _ in range(_ROUNDS):
        ended = run_in_child(isolate, lambda: _write(isolate, file, prepare), seconds)
        if ended.status == 0:
            return
        unknown = _UNKNOWN.search(ended.said)
        if unknown is None or not isolate.references.add(int(unknown[1], 16)):
            raise SnapshotFailedError(ended.reason)
    message = "too many unknown native functions"
    raise SnapshotFailedError(message)


def _write(isolate: Isolate, file: int, prepare: Callable[[], None] | None) -> None:
    """Consume the isolate. In the child only."""
    isolate.claim()
    make_stacks(isolate)  # may run code of the user's
    if prepare is not None:
        prepare()
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
    heap = Snapshot(blob, tuple(isolate.references.distances), isolate.operation_names)
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    for part in (memoryview(heap.header), blob):
        while part:
            part = part[os.write(file, part) :]  # noqa: PLW2901 -- what is left of it
