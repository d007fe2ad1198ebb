"""The memory of ArrayBuffers, of every kind, within one bound.

Two ways lead to it. Plain and shared buffers of fixed length come from the isolate's
allocator, whose methods are wrapped in its own table. Those that can be resized, and
WebAssembly's memories, are pages that V8 commits by itself: `TryAllocate...` makes
them, `SetPermissions` makes them larger. A refusal is an ordinary `RangeError`, after
V8 has collected garbage.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from isokernel.v8 import linkage

__all__ = ["BufferMemory", "watch_pages"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

_WORD = ctypes.c_size_t.from_address
_VTABLE_WORDS: Final = 12
_ALLOCATE, _ALLOCATE_UNINITIALIZED, _FREE = 2, 3, 4  # after the two destructors
_LENGTH_OFFSET: Final = 8  # in a BackingStore: {start, length, ...}
_NO_ACCESS: Final = 0

_ALLOCATOR = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_DEALLOCATOR = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 2, ctypes.c_size_t)

_BOUNDED: Final[WeakValueDictionary[int, BufferMemory]] = WeakValueDictionary()
"""By the address of the isolate."""

_PAGED: Final[dict[int, tuple[int, int]]] = {}
"""Stores that are pages of their own: by their first byte, the store and its isolate.
All isolates' together, as a page doesn't say whose it is."""


class BufferMemory:
    """The buffers of one isolate. Used on its thread.

    Attributes:
        bytes_max: What all may have together; None for any amount.
        refused: Whether there was ever more wanted; for whoever sets it back.
    """

    def __init__(self, isolate: Isolate, used_bytes: int) -> None:
        """Count from now on.

        Args:
            isolate: Whose buffers.
            used_bytes: What it has already, from a heap.
        """
        self._isolate = isolate
        self.bytes_max: int | None = None
        self.refused = False
        self._allocated = 0
        self._allocated = used_bytes - self.used_bytes
        self._wrap_allocator()
        _BOUNDED[isolate.pointer] = self

    @property
    def used_bytes(self) -> int:
        """What all buffers have now, with those that are garbage already."""
        if not _PAGED:
            return self._allocated
        return self._allocated + sum(
            _WORD(store + _LENGTH_OFFSET).value
            for store, isolate in _PAGED.values()
            if isolate == self._isolate.pointer
        )

    def allows(self, size: int) -> bool:
        """Whether there may be so many bytes more."""
        bound = self.bytes_max
        fits = bound is None or self.used_bytes + size <= bound
        self.refused |= not fits
        return fits

    def allows_pages(self, size: int) -> bool:
        """Whether there may be so many bytes more; collects garbage to make room."""
        if self.allows(size):
            return True
        # For other buffers V8 does this by itself when it is refused.
        self._isolate.library.low_memory(self._isolate.pointer)
        return self.allows(size)

    def _wrap_allocator(self) -> None:
        """Put our own functions into the allocator's table of methods.

        A null from Allocate makes V8 collect garbage, ask again, and then throw
        `RangeError: Array buffer allocation failed`.
        """
        allocator = self._isolate.library.allocator(self._isolate.pointer)
        table = ctypes.c_size_t.from_address(allocator)
        self._original = table.value
        words = (ctypes.c_size_t * _VTABLE_WORDS).from_address(table.value)
        vtable = (ctypes.c_size_t * _VTABLE_WORDS)(*words)
        self._kept: list[object] = [vtable]
        for index, make, kind in (
            (_ALLOCATE, self._bounded, _ALLOCATOR),
            (_ALLOCATE_UNINITIALIZED, self._bounded, _ALLOCATOR),
            (_FREE, self._counted, _DEALLOCATOR),
        ):
            original = kind(words[index])
            wrapped = kind(make(original))
            self._kept += (original, wrapped)
            vtable[index] = ctypes.cast(wrapped, ctypes.c_void_p).value or 0
        table.value = ctypes.addressof(vtable)
        self._table = table

    def _bounded(self, original: Any) -> Callable[[int, int], int | None]:
        def allocate(allocator: int, size: int) -> int | None:
            if not self.allows(size):
                return None
            result: int | None = original(allocator, size)
            if result:
                self._allocated += size
            return result

        return allocate

    def _counted(self, original: Any) -> Callable[[int, int, int], None]:
        def free(allocator: int, data: int, size: int) -> None:
            self._allocated -= size
            original(allocator, data, size)

        return free

    def remove(self) -> None:
        """Give V8 its allocator back before the isolate goes."""
        self._table.value = self._original
        _BOUNDED.pop(self._isolate.pointer, None)


@functools.cache
def watch_pages(library: Library) -> bool:
    """Have V8 ask us for pages of buffers; once a process, before there are any.

    Returns:
        Whether that can be done here.
    """

    def new_pages(isolate: int, length: int, *rest: Any) -> int | None:
        bounded = _BOUNDED.get(isolate)
        if bounded is not None and not bounded.allows_pages(length):
            return None
        store: int | None = library.pages_store_new(isolate, length, *rest)
        if store:
            _watch_ends(library)
            _PAGED[_WORD(store).value] = (store, isolate)
        return store

    def set_permissions(pages: int, start: int, size: int, access: int) -> bool:
        if start in _PAGED and access != _NO_ACCESS:
            store, isolate = _PAGED[start]
            more = size - _WORD(store + _LENGTH_OFFSET).value
            bounded = _BOUNDED.get(isolate)
            if more > 0 and bounded is not None and not bounded.allows_pages(more):
                return False
        return bool(library.set_permissions(pages, start, size, access))

    return all(
        linkage.replace(library, name, function)
        for name, function in (
            ("pages_store_new", new_pages),
            ("set_permissions", set_permissions),
        )
    )


@functools.cache
def _watch_ends(library: Library) -> None:
    """Note the ends of stores; it costs 1 us for any buffer, so only once needed."""

    def delete(store: int) -> None:
        start = _WORD(store).value
        if start in _PAGED and _PAGED[start][0] == store:
            del _PAGED[start]
        library.store_delete(store)

    linkage.replace(library, "store_delete", delete)
