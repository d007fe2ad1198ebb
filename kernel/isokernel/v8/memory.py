"""Limits on what JavaScript may allocate, kept without ending the process.

Three limits, inner to outer: one on the V8 heap below the limit that V8 has by itself,
looked at after each garbage collection; one on ArrayBuffer memory, which is outside the
V8 heap, looked at when a buffer is allocated; and V8's own heap limit, near which V8
calls us once more. Beyond any, the execution is terminated and `out_of_memory` says
which; the heap is as it was, less what is garbage by then.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.v8 import callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

_GC_ALL: Final = 31
_HEADROOM_BYTES: Final = 64 << 20  # for V8 to unwind in, once the limit is near
_STATISTICS_WORDS: Final = 32
_VTABLE_WORDS: Final = 12
_ALLOCATE, _ALLOCATE_UNINITIALIZED = 2, 3  # after the two destructors


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


_ALLOCATOR = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class MemoryLimits:
    """The limits of one isolate. Used on the isolate's thread.

    Attributes:
        out_of_memory: `heap` or `buffers` when a limit was reached since `reset`.
        heap_bytes_max: The limit of the heap; None for V8's own.
        buffers_bytes_max: The limit of all ArrayBuffers; None for none.
        initial_limit_bytes: V8's own limit of the heap.
    """

    def __init__(self, isolate: Isolate) -> None:
        """Watch V8's own limit; further ones by `limit`."""
        self._isolate = isolate
        self._raw = (ctypes.c_size_t * _STATISTICS_WORDS)()
        self.out_of_memory: str | None = None
        self.heap_bytes_max: int | None = None
        self.buffers_bytes_max: int | None = None
        self._watching = False
        self._vtable: ctypes.Array[ctypes.c_size_t] | None = None
        self._add_near()
        self.initial_limit_bytes = self.statistics().heap_limit_bytes

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
        isolate = self._isolate
        self.heap_bytes_max = heap_bytes_max
        self.buffers_bytes_max = buffers_bytes_max
        with isolate.entered():
            if heap_bytes_max is not None and not self._watching:
                isolate.library.gc_epilogue_add(
                    isolate.pointer, callbacks.collected, None, _GC_ALL
                )
                self._watching = True
            if buffers_bytes_max is not None and self._vtable is None:
                self._wrap_allocator()

    def _wrap_allocator(self) -> None:
        """Put our own two functions into the allocator's table of methods.

        A null from Allocate makes V8 collect garbage, ask again, and then throw
        `RangeError: Array buffer allocation failed`: an ordinary error.
        """
        allocator = self._isolate.library.allocator(self._isolate.pointer)
        table = ctypes.c_size_t.from_address(allocator)
        self._original = table.value
        words = (ctypes.c_size_t * _VTABLE_WORDS).from_address(table.value)
        self._vtable = (ctypes.c_size_t * _VTABLE_WORDS)(*words)
        self._keep = []
        for index in (_ALLOCATE, _ALLOCATE_UNINITIALIZED):
            original = _ALLOCATOR(words[index])
            wrapped = _ALLOCATOR(self._bounded(original))
            self._keep.append((original, wrapped))
            self._vtable[index] = ctypes.cast(wrapped, ctypes.c_void_p).value or 0
        table.value = ctypes.addressof(self._vtable)
        self._table = table

    def _bounded(self, original: Any) -> Callable[[int, int], int | None]:
        def allocate(allocator: int, size: int) -> int | None:
            bound = self.buffers_bytes_max
            if bound is not None and self.statistics().buffers_bytes + size > bound:
                return None
            result: int | None = original(allocator, size)
            return result

        return allocate

    def collected(self, *, full: bool) -> None:
        """Look at the heap after a collection; called by V8.

        V8 must not be re-entered here.
        """
        if self.heap_bytes_max is None or self.out_of_memory is not None:
            return
        if self.statistics().heap_used_bytes <= self.heap_bytes_max:
            return
        if full:
            self._exceeded("heap")
        else:
            # Part of it may be garbage: collect everything, then look again.
            self._isolate.request(self._isolate.collect_garbage)

    def next_limit(self, current: int) -> int:
        """Return V8's next limit; called by V8 when the present one is near.

        The heap grows up to `heap_bytes_max`; beyond it the execution is stopped. V8
        asks also when it collects as a last resort, after malloc or our allocator has
        refused memory, while the heap itself is small.
        """
        if self.statistics().heap_used_bytes < current // 2:
            return current
        if self.heap_bytes_max is not None and current < self.heap_bytes_max:
            return min(2 * current, self.heap_bytes_max)
        self._exceeded("heap")
        return current + _HEADROOM_BYTES

    def _exceeded(self, what: str) -> None:
        self.out_of_memory = what
        self._isolate.library.terminate(self._isolate.pointer)

    def reset(self) -> None:
        """Collect the garbage of an execution that ran out, and restore V8's limit."""
        if self.out_of_memory is None:
            return
        isolate = self._isolate
        self.out_of_memory = None
        with isolate.entered():
            isolate.library.low_memory(isolate.pointer)
            isolate.library.near_limit_remove(
                isolate.pointer, callbacks.near_heap_limit, self.initial_limit_bytes
            )
            self._add_near()
        self.out_of_memory = None
        isolate.resume()

    def remove(self) -> None:
        """Give V8 its allocator back before the isolate goes."""
        if self._vtable is not None:
            self._table.value = self._original
