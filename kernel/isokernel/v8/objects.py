"""Objects as they lie in V8's heap: for reading and changing their words.

What stands here of V8's insides holds for V8 14.4.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate

__all__ = ["TAG", "TAGGED", "address_of", "cage_of", "offsets_of", "point", "size_of"]

TAGGED = ctypes.c_uint32.from_address
"""A word of an object, by its address."""
TAG: Final = 1
"""The bit by which a word is a pointer, and not a small integer."""
_WORD = ctypes.c_size_t.from_address
_TAGGED_BYTES: Final = 4
_CAGE_BITS: Final = 32
_HEADER_BYTES: Final = 12  # of a JSObject: hidden class, properties, elements
_UPDATE_BARRIER: Final = 5  # WriteBarrierMode


def address_of(handle: int) -> int:
    """Return where an object is; it may move whenever V8 allocates."""
    return _WORD(handle).value - TAG


def cage_of(isolate: Isolate) -> int:
    """Return what a word of a pointer is relative to."""
    return _WORD(isolate.context).value >> _CAGE_BITS << _CAGE_BITS


def size_of(isolate: Isolate, handle: int) -> int:
    """Return how many bytes an object has in V8's heap."""
    hidden_class = cage_of(isolate) | TAGGED(address_of(handle)).value
    size: int = isolate.library.size_from_map(handle, hidden_class)
    return size


def offsets_of(isolate: Isolate, handle: int) -> range:
    """Return where an object has words besides those that every object has."""
    return range(_HEADER_BYTES, size_of(isolate, handle), _TAGGED_BYTES)


def point(isolate: Isolate, address: int, offset: int, word: int) -> None:
    """Write into an object what stands in another one, and tell V8."""
    slot = address + offset
    TAGGED(slot).value = word
    if word & TAG:
        isolate.library.write_barrier(
            address + TAG, slot, cage_of(isolate) | word, _UPDATE_BARRIER
        )
