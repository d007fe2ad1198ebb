"""SharedArrayBuffers in saved heaps.

V8 writes one as any buffer and reads it as one that isn't shared: its bytes are there,
but it has lost its brand, and all of its methods throw. So it is made an ordinary one
before, and shared again after: the same object, the same memory, and so the same views.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import EngineCheckError
from isokernel.v8.live_objects import live_objects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library
    from isokernel.v8.values import Value

_STORE_BYTES: Final = 256  # sizeof(BackingStore) is 80; room to spare
_BYTE = ctypes.c_ubyte.from_address


def shared_buffers(isolate: Isolate) -> list[Value]:
    """Return the live SharedArrayBuffers. The isolate must be entered."""
    return live_objects(isolate, isolate.library.IsSharedArrayBuffer)


def set_shared(isolate: Isolate, buffers: Iterable[Value], *, shared: bool) -> None:
    """Turn SharedArrayBuffers into ordinary buffers, or these back.

    Args:
        isolate: The isolate that they are in.
        buffers: The buffers; those that are what they shall be stay so.
        shared: Whether they shall be shared.

    Raises:
        EngineCheckError: V8's buffers aren't those that we know.
    """
    library = isolate.library
    flags = _flags(library)
    with isolate.entered():
        for buffer in buffers:
            if bool(library.IsSharedArrayBuffer(buffer.slot)) is shared:
                continue
            if not shared and not library.buffer_length(buffer.slot):
                continue  # without any bytes it has no memory, and keeps its brand
            store = library.buffer_take_store(buffer.slot)
            if not store.data:
                continue
            byte = _BYTE(store.data + flags.offset)
            old = byte.value
            byte.value = old | flags.shared if shared else old & ~flags.shared
            resizable = bool(old & flags.resizable)
            library.buffer_setup(buffer.slot, shared, resizable, store, isolate.pointer)


class _Flags(NamedTuple):
    """Where a BackingStore has its flags: the offset of a byte, and two bits in it."""

    offset: int
    shared: int
    resizable: int


@functools.cache
def _flags(library: Library) -> _Flags:
    """Find the bits by asking V8: stores that differ in one of them alone."""
    plain = _store(library, shared=False, resizable=False)
    again = _store(library, shared=False, resizable=False)
    shared = _store(library, shared=True, resizable=False)
    resizable = _store(library, shared=False, resizable=True)
    offsets = [
        at
        for at in range(_STORE_BYTES)
        if plain[at] == again[at] and plain[at] != shared[at] != resizable[at]
    ]
    if len(offsets) != 1:
        what = "shared buffers"
        raise EngineCheckError(what, "a store's flags were not found")
    at = offsets[0]
    return _Flags(at, plain[at] ^ shared[at], plain[at] ^ resizable[at])


def _store(library: Library, *, shared: bool, resizable: bool) -> bytes:
    made = ctypes.create_string_buffer(_STORE_BYTES)
    no = (False,) * 5
    library.backing_store_new(made, None, 0, 0, 0, shared, resizable, *no)
    return made.raw
