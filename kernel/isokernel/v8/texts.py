"""Texts of scripts that stay outside of heaps, one copy for all isolates of a process.

V8 keeps the text of a script as long as one of its functions may have to be compiled,
and writes it into a snapshot. That of ours would be a third of a small heap. An
external string is written as its place in the list of `references` instead, and whoever
reads the heap has the same text there.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.v8 import symbols

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.library import Library

__all__ = ["TEXTS_MAX", "Text", "hold"]

TEXTS_MAX: Final = 512
"""How many a process holds; the runtime has some 150 scripts."""
_WORD: Final = ctypes.sizeof(ctypes.c_size_t)
_RESOURCE_WORDS: Final = 4
"""SimpleStringResource: {vtable, cached data, data, length}."""
_METHODS: Final = 11
_NOTHING: Final = 7
"""The place of `Lock`, which does nothing, in the table of virtual methods."""
_ENDS: Final = (0, 1, 6)
"""Those of both destructors and of `Dispose`, for when an isolate needs it no more."""
_HEAD_WORDS: Final = 2
"""What comes before a table's first method."""


class Text(NamedTuple):
    """A text that is never freed.

    Attributes:
        resource: Address of its `v8::String::External…StringResource`.
        wide: Whether its characters have two bytes.
    """

    resource: int
    wide: bool


_TEXTS: Final[dict[str, Text]] = {}
_RESOURCES: Final = (ctypes.c_size_t * (_RESOURCE_WORDS * TEXTS_MAX))()
"""Side by side, as V8 writes to each that an isolate is made with."""
_TABLES: Final[dict[bool, ctypes.Array[ctypes.c_size_t]]] = {}
_DATA: Final[list[bytes]] = []


def hold(library: Library, name: str, text_of: Callable[[str], str]) -> Text | None:
    """Hold a text from now on.

    Args:
        library: V8's functions.
        name: What it is called; always the same text by the same name.
        text_of: Returns it; called only if it isn't held yet.

    Returns:
        None if too many are held.
    """
    held = _TEXTS.get(name)
    if held is not None or len(_TEXTS) == TEXTS_MAX:
        return held
    text = text_of(name)
    try:
        data, wide = text.encode("latin-1"), False
    except UnicodeEncodeError:
        data, wide = text.encode("utf-16-le", "surrogatepass"), True
    start = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    first = _RESOURCE_WORDS * len(_TEXTS)
    for place, word in enumerate(
        (_table(library, wide=wide), start, start, len(data) >> wide)
    ):
        _RESOURCES[first + place] = word
    _DATA.append(data)
    held = Text(ctypes.addressof(_RESOURCES) + first * _WORD, wide)
    _TEXTS[name] = held
    return held


def _table(library: Library, *, wide: bool) -> int:
    """Return the methods of V8's own class, but for those that free what is ours."""
    table = _TABLES.get(wide)
    if table is None:
        symbol = symbols.WIDE_TEXT if wide else symbols.LATIN1_TEXT
        first = library.address(symbol) + _HEAD_WORDS * _WORD
        table = (ctypes.c_size_t * _METHODS).from_buffer_copy(
            ctypes.string_at(first, _METHODS * _WORD)
        )
        for place in _ENDS:
            table[place] = table[_NOTHING]
        _TABLES[wide] = table
    return ctypes.addressof(table)
