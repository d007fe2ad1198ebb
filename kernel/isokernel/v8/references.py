"""The list of native functions that a snapshot may refer to.

V8 stores a native function in a blob as an index into this list, so the list of the
isolate that reads must be that of the isolate that wrote. It starts with our one
function and those of WebAssembly, which V8 exports by name; what V8 installs besides
is found when a snapshot is written (V8 names the first address that it misses) and is
kept with the snapshot as distances from a known function.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from isokernel.v8 import symbols
from isokernel.v8.callbacks import trampoline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isokernel.v8.library import Library

_CAPACITY: Final = 256
_ANCHOR: Final = symbols.PROTOTYPES["creator_delete"][0]

_DISCOVERED: Final[list[int]] = []
"""Distances found so far in this process; new isolates start with them."""


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
        for symbol in symbols.WASM_FUNCTIONS:
            self._append(library.address(symbol))
        for distance in distances or _DISCOVERED:
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
