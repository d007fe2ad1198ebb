"""Limits on what JavaScript may allocate, kept without ending the process.

Of the V8 heap: we look after each collection, and before each large object, as large
ones may be many before V8 collects. Garbage doesn't count, so beyond the limit V8 is
made to collect first. Then the execution is terminated, `out_of_memory` says so, and
V8 gets what it wants until the innermost of its functions has ended. The heap is as it
was, less what is garbage by then. Of ArrayBuffers, which are outside the heap: see
`buffers`.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import ref

from isokernel.v8 import callbacks, linkage
from isokernel.v8.buffers import BufferMemory

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

_GC_WHOLE: Final = 7  # scavenges and mark-compact, not their steps beside JavaScript
_HEADROOM_BYTES: Final = 64 << 20  # for V8 to unwind in, once the limit is near
_GARBAGE_BYTES: Final = 1 << 20  # that little may be there just after a collection
_LARGE_BYTES: Final = 1 << 17  # objects beyond have a page of their own
_STATISTICS_WORDS: Final = 32
_SURVIVORS_BYTES_MAX: Final = 32 << 20  # that a scavenge can add: a semi-space at most
_WATCHED: Final[dict[int, ref[MemoryLimits]]] = {}
"""By the address of the heap, and by that of the isolate."""


class HeapStatistics(NamedTuple):
    """v8::HeapStatistics.

    Attributes:
        heap_used_bytes: Live and garbage objects in the V8 heap.
        heap_total_bytes: What V8 has reserved for them.
        heap_limit_bytes: V8's own limit.
        buffers_bytes: ArrayBuffer memory, outside the heap.
    """

    heap_used_bytes: int
    heap_total_bytes: int
    heap_limit_bytes: int
    buffers_bytes: int


class MemoryLimits:
    """The limits of one isolate. Used on the isolate's thread.

    Attributes:
        out_of_memory: Whether the limit of the heap was reached since `reset`.
        heap_bytes_max: The limit of the heap; None for V8's own.
        initial_limit_bytes: V8's own limit of the heap.
        buffers: What ArrayBuffers may have.
        heap: Address of V8's heap.
        collecting: Whether V8 is collecting garbage.
    """

    def __init__(self, isolate: Isolate) -> None:
        """Watch V8's own limit; further ones by `limit`."""
        self._isolate = isolate
        self._raw = (ctypes.c_size_t * _STATISTICS_WORDS)()
        self.out_of_memory = False
        self.heap_bytes_max: int | None = None
        self.collecting = False
        self._live_bytes = 0  # after the last full collection
        self._doubtful = False  # whether what is beyond the limit may be garbage
        # Until the next look, as long as the limit is far: to ask V8 costs 5 us.
        self._large_bytes_free = 0
        self._scavenges_free = 0
        self._wanted_bytes = 0
        library, pointer = isolate.library, isolate.pointer
        self.heap: int = library.isolate_heap(pointer)
        statistics = self.statistics()
        self.initial_limit_bytes = statistics.heap_limit_bytes
        self.buffers = BufferMemory(isolate, statistics.buffers_bytes)
        library.gc_prologue_add(pointer, callbacks.collecting, None, _GC_WHOLE)
        library.gc_epilogue_add(pointer, callbacks.collected, None, _GC_WHOLE)
        self._add_near()
        _WATCHED[self.heap] = _WATCHED[pointer] = ref(self)
        watch_heaps(library)

    def _add_near(self) -> None:
        pointer = self._isolate.pointer
        self._isolate.library.near_limit_add(
            pointer, callbacks.near_heap_limit, pointer
        )

    def statistics(self) -> HeapStatistics:
        """Ask V8 how much is used now."""
        raw = self._raw
        self._isolate.library.heap_statistics(
            self._isolate.pointer, ctypes.addressof(raw)
        )
        return HeapStatistics(
            heap_used_bytes=raw[4],
            heap_total_bytes=raw[0],
            heap_limit_bytes=raw[5],
            buffers_bytes=raw[7],
        )

    def limit(self, heap_bytes_max: int | None, buffers_bytes_max: int | None) -> None:
        """Set both limits; None lifts one."""
        self.heap_bytes_max = heap_bytes_max
        self.buffers.bytes_max = buffers_bytes_max
        self._large_bytes_free = self._scavenges_free = 0

    @property
    def heap_bound_bytes(self) -> int:
        """What the heap may have."""
        return self.heap_bytes_max or self.initial_limit_bytes

    # -- looks, while V8 allocates ---------------------------------------------------

    def allows_object(self, size: int) -> bool:
        """Look whether there may be a large object.

        After a refusal V8 collects garbage, ever more thoroughly, and asks again; if it
        is refused when all was collected, it ends the process.
        """
        self._large_bytes_free -= size
        if self._large_bytes_free >= 0 or self.out_of_memory:
            return True
        used = self.statistics().heap_used_bytes
        left = self.heap_bound_bytes - used - size
        self._large_bytes_free = max(left, 0) // 4
        if left < 0:
            if self._has_garbage(used):
                return False
            self._exceeded()
        return True

    def may_expand(self, size: int) -> bool:
        """Answer V8, which asks whether the heap may grow; its own limit decides.

        V8 would end the process if an object doesn't fit below that limit after a
        collection; so the limit is raised.
        """
        library = self._isolate.library
        fits = bool(library.can_expand(self.heap, size))
        if fits or self.collecting or size < _LARGE_BYTES:
            return fits
        if self._has_garbage(self.statistics().heap_used_bytes):
            return False
        self._wanted_bytes = size
        library.near_limit_invoke(self.heap)
        self._wanted_bytes = 0
        return bool(library.can_expand(self.heap, size))

    def _has_garbage(self, used: int) -> bool:
        return used > self._live_bytes + _GARBAGE_BYTES

    def collected(self, *, full: bool) -> None:
        """Look at the heap after a collection; called by V8.

        V8 must not be re-entered here.
        """
        self.collecting = False
        if not full:
            self._scavenges_free -= 1
            if self.heap_bytes_max is None or self._scavenges_free >= 0:
                return
        used = self.statistics().heap_used_bytes
        left = max(self.heap_bound_bytes - used, 0)
        self._scavenges_free = left // 2 // _SURVIVORS_BYTES_MAX
        if full:
            self._live_bytes = used
        if self.out_of_memory or used <= self.heap_bound_bytes:
            self._doubtful = False
        elif full:
            self._exceeded()
        else:
            # Part of it may be garbage: collect everything, then look again.
            self._doubtful = True
            self._isolate.request(self.settle)

    def settle(self) -> None:
        """Collect all garbage if that decides whether the limit is exceeded."""
        if self._doubtful:
            self._doubtful = False
            self._isolate.collect_garbage()

    def next_limit(self, current: int) -> int:
        """Return V8's next limit; called by V8 when the present one is near.

        The heap grows up to `heap_bytes_max`; beyond it the execution is stopped. V8
        asks also when it collects as a last resort, after malloc or our allocator has
        refused memory, while the heap itself is small.
        """
        if self._wanted_bytes:
            return current + self._wanted_bytes + _HEADROOM_BYTES
        if self.statistics().heap_used_bytes < current // 2:
            return current
        if self.heap_bytes_max is not None and current < self.heap_bytes_max:
            return min(2 * current, self.heap_bytes_max)
        self._exceeded()
        return current + _HEADROOM_BYTES

    def _exceeded(self) -> None:
        self.out_of_memory = True
        self._isolate.library.terminate(self._isolate.pointer)

    def reset(self) -> None:
        """Collect the garbage of an execution that ran out, and restore V8's limit."""
        if not self.out_of_memory:
            return
        isolate = self._isolate
        with isolate.entered():
            isolate.library.low_memory(isolate.pointer)
            isolate.library.near_limit_remove(
                isolate.pointer, callbacks.near_heap_limit, self.initial_limit_bytes
            )
            self._add_near()
        self.out_of_memory = False
        isolate.resume()

    def remove(self) -> None:
        """Watch no more, before the isolate goes."""
        self.buffers.remove()
        _WATCHED.pop(self.heap, None)
        _WATCHED.pop(self._isolate.pointer, None)


def watched(address: int) -> MemoryLimits | None:
    """Return the limits of an isolate by its address, or that of its heap."""
    found = _WATCHED.get(address)
    return None if found is None else found()


@functools.cache
def watch_heaps(library: Library) -> bool:
    """Have V8 ask us before a heap gets a large object; once a process.

    Returns:
        Whether that can be done here. Where not, heaps are looked at after collections
        only.
    """
    large_page_new, can_grow = library.large_page_new, library.can_expand

    def new_large_page(allocator: int, space: int, size: int, *rest: int) -> int | None:
        limits = watched(callbacks.entered())
        if limits is not None and not limits.allows_object(size):
            return None
        page: int | None = large_page_new(allocator, space, size, *rest)
        return page

    def can_expand(heap: int, size: int) -> bool:
        limits = watched(heap)
        if limits is None:
            return bool(can_grow(heap, size))
        return limits.may_expand(size)

    return all(
        (
            linkage.replace(library, "large_page_new", new_large_page),
            linkage.replace(library, "can_expand", can_expand, refusals=True),
            linkage.replace(library, "fatal_size", callbacks.fatal_size),
        )
    )
