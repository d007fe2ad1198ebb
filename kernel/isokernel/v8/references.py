"""The list of native functions that a snapshot may refer to.

V8 stores a native function in a blob as an index into this list, so the list of the
isolate that reads must be that of the isolate that wrote. It starts with our one
function, what evaluates a module made of values, and the functions of WebAssembly,
which V8 exports by name. What V8 installs besides is known by its distance from a
function with a name, for the library that is pinned; for another one it is found when a
snapshot is written (V8 names the first address that it misses). Then come the texts
that stay outside of heaps (`texts`), in the order in which the isolate was given them.
The distances and the names of the texts are kept with the snapshot.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Final

from isokernel.errors import ScriptError, SnapshotFormatError
from isokernel.v8 import symbols, texts
from isokernel.v8.callbacks import evaluate_values, trampoline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from isokernel.v8.library import Library
    from isokernel.v8.texts import Text

_CAPACITY: Final = 256 + texts.TEXTS_MAX
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


@functools.cache
def _start(library: Library) -> tuple[int, tuple[int, ...]]:
    """Return the anchor's address, and what each list starts with.

    Looked up once: all of that takes 0.2 ms.
    """
    functions = map(library.address, symbols.WASM_FUNCTIONS)
    ours = trampoline.value or 0, evaluate_values.value or 0
    return library.address(_ANCHOR), (*ours, *functions)


class ExternalReferences:
    """The list of one isolate. V8 keeps the pointer: it lives as long as the isolate.

    Attributes:
        kept: What follows the fixed start, in order: a function's distance, or a text's
            name.
    """

    def __init__(
        self,
        library: Library,
        kept: Iterable[int | str] = (),
        text_of: Callable[[str], str] | None = None,
    ) -> None:
        """Build the list.

        Args:
            library: V8's functions.
            kept: That of a snapshot, if there is one.
            text_of: Returns a text by its name; None if the isolate holds none.

        Raises:
            SnapshotFormatError: A snapshot refers to a text that there isn't.
        """
        self._library = library
        self._text_of = text_of
        self._anchor, start = _start(library)
        self._words = (ctypes.c_ssize_t * _CAPACITY)(*start)
        self._count = len(start)
        self.kept: list[int | str] = []
        for each in kept or _discovered(library):
            if isinstance(each, int):
                self._append_distance(each)
            elif not self._has_text(each):
                message = f"the heap refers to a text that isn't there: {each}"
                raise SnapshotFormatError(message)

    def _has_text(self, name: str) -> bool:
        try:
            return self.add_text(name) is not None
        except ScriptError:
            return False

    @property
    def address(self) -> int:
        """Address of the zero-terminated list."""
        return ctypes.addressof(self._words)

    def _append(self, address: int) -> None:
        self._words[self._count] = address
        self._count += 1

    def _append_distance(self, distance: int) -> None:
        self.kept.append(distance)
        self._append(self._anchor + distance)

    @property
    def _is_full(self) -> bool:
        return self._count >= _CAPACITY - 1

    def add(self, address: int) -> bool:
        """Add a function whose address V8 has named; False if the list is full."""
        if self._is_full:
            return False
        distance = address - self._anchor
        self._append_distance(distance)
        if distance not in _DISCOVERED:
            _DISCOVERED.append(distance)
        return True

    def add_text(self, name: str) -> Text | None:
        """Add a text, so that V8 writes only its place; None if there is no room."""
        if self._text_of is None:
            return None
        held = texts.hold(self._library, name, self._text_of)
        if held is None or name in self.kept:
            return held
        if self._is_full:
            return None
        self.kept.append(name)
        self._append(held.resource)
        return held
