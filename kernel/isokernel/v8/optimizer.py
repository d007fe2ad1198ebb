"""The isolate's `serializer_enabled_` byte, which SnapshotCreator sets.

While it is set V8 runs without its optimizing compilers (3 to 5 times slower) and
leaves some globals out of new contexts. Cleared while JavaScript runs and set again
before a snapshot is written, an isolate is both fast and can be saved.

The byte's place is a private detail of V8. In a library that we don't know it is found
by asking V8 itself: it is the byte that changes the answer of the exported
`Isolate::use_optimizer`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from isokernel.v8.library import Library

_BYTE = ctypes.c_ubyte.from_address
_SEARCH: Final = range(0x8000, 0x12000)
_FOUND: dict[str, int | None] = {}
_KNOWN: Final = {
    # By the size of the library's file. V8's first answer takes 1.4 ms, as it asks the
    # processor what it can do.
    74_102_288: 0x10270,
}
_SET: Final = 1


class SerializerFlag:
    """The byte of one isolate. If it wasn't found, clear and set do nothing.

    Attributes:
        found: Whether the optimizer can be kept on.
    """

    def __init__(self, address: int | None) -> None:
        self._byte = None if address is None else _BYTE(address)
        self.found = address is not None

    def clear(self) -> None:
        """Let the optimizing compilers run."""
        if self._byte is not None:
            self._byte.value = 0

    def set(self) -> None:
        """Set the byte, as the serializer wants it."""
        if self._byte is not None:
            self._byte.value = _SET


def serializer_flag(library: Library, isolate: int) -> SerializerFlag:
    """Find the byte of a fresh isolate, in which it is set."""
    if "offset" not in _FOUND:
        _FOUND["offset"] = _known(library, isolate) or _search(library, isolate)
    offset = _FOUND["offset"]
    return SerializerFlag(None if offset is None else isolate + offset)


def _known(library: Library, isolate: int) -> int | None:
    offset = _KNOWN.get(library.size)
    if offset is None or _BYTE(isolate + offset).value != _SET:
        return None
    return offset


def _search(library: Library, isolate: int) -> int | None:
    if library.use_optimizer(isolate):
        return None
    for offset in _SEARCH:
        byte = _BYTE(isolate + offset)
        if byte.value == _SET:
            byte.value = 0
            found = library.use_optimizer(isolate)
            byte.value = _SET
            if found:
                return offset
    return None
