"""The list of native functions that a snapshot may refer to.

V8 stores a native function in a blob as an index into this list, so the list of the
isolate that reads must be that of the isolate that wrote. It starts with our one
function, what evaluates a module made of values, and the functions of WebAssembly,
which V8 exports by name. What V8 installs besides is known by its distance from a
function with a name, for the library that is pinned; for another one it is found when a
snapshot is written (V8 names the first address that it misses). The distances are kept
with the snapshot.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from isokernel.v8 import symbols
from isokernel.v8.callbacks import evaluate_values, trampoline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isokernel.v8.library import Library

_CAPACITY: Final = 256
_ANCHOR: Final = symbols.PROTOTYPES["creator_delete"][0]

_UNNAMED: Final = {
    # By the size of the library's file, the distances of what is found otherwise: four
    # attempts to write that fail, and take three times as long as the one that doesn't.
    74_102_288: (0xB1D110, 0xB20420, 0x353710, 0x3536D0),
}

_DISCOVERED: Final[list[int]] = []
"""Distances found so far in this process; new isolates start with them."""


def _discovered(library: Library) -> list[int]:
    if not _DISCOVERED:
        _DISCOVERED.extend(_UNNAMED.get(library.size, ()))
    return _DISCOVERED


class ExternalReferences:
    """The list of one isolate. V8 keeps the pointer: it lives as long as the isolate.

    Attributes:
        distances: Of the functions beyond the fixed start, in order.
    """

    def __init__(self, library: Library, distances: Iterable[int] = ()) -> None:
        """Build the list; `distances` are those of a snapshot, if there is one."""
        self._anchor = library.address(_ANCHOR)
        self._words = (ctypes.c_ssize_t * _CAPACITY)()
        self._count = 0
        self.distances: list[int] = []
        self._append(trampoline.value or 0)
        self._append(evaluate_values.value or 0)
        for symbol in symbols.WASM_FUNCTIONS:
            self._append(library.address(symbol))
        for distance in distances or _discovered(library):
            self._append_distance(distance)

    @property
    def address(self) -> int:
        """Address of the zero-terminated list."""
        return ctypes.addressof(self._words)

    def _append(self, address: int) -> None:
        self._words[self._count] = address
        self._count += 1

    def _append_distance(self, distance: int) -> None:
        self.distances.append(distance)
        self._append(self._anchor + distance)

    def add(self, address: int) -> bool:
        """Add a function whose address V8 has named; False if the list is full."""
        if self._count >= _CAPACITY - 1:
            return False
        distance = address - self._anchor
        self._append_distance(distance)
        if distance not in _DISCOVERED:
            _DISCOVERED.append(distance)
        return True
