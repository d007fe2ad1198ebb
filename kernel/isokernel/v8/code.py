"""What V8 has made of a text, kept for it to compile the same text faster: code.

V8 checks little of code, so it must come from who compiled that very text. It refuses
what another version or other flags have made, and what was made with another read-only
heap: code refers to that. There it asks the heap that an isolate goes on from which
read-only heap it was written with, though all isolates of a process have that of the
first one. So code is given that answer where the process's is V8's own, with which code
is made.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

__all__ = [
    "CHECKSUM_IN_BLOB",
    "CONSUME_CODE",
    "NO_OPTIONS",
    "CachedData",
    "Source",
    "compile_by",
    "fit",
    "new_cached_data",
    "take_code",
]

NO_OPTIONS: Final = 0
CONSUME_CODE: Final = 1  # CompileOptions::kConsumeCodeCache
_NOT_OWNED: Final = 0  # CachedData::BufferPolicy
CHECKSUM_IN_BLOB: Final = slice(12, 16)
_CHECKSUM_IN_CODE: Final = slice(16, 20)
"""Where both have the checksum of a read-only heap (V8 14.4)."""


class Source(ctypes.Structure):
    """v8::ScriptCompiler::Source, in V8 14.4; 72 bytes are known, there is room."""

    _fields_ = (
        ("text", ctypes.c_void_p),
        ("name", ctypes.c_void_p),
        ("line", ctypes.c_int),
        ("column", ctypes.c_int),
        ("options", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("map_url", ctypes.c_void_p),
        ("host_options", ctypes.c_void_p),
        ("cached", ctypes.c_void_p),
        ("rest", ctypes.c_ubyte * 104),
    )


class CachedData(ctypes.Structure):
    """v8::ScriptCompiler::CachedData; its constructor fills in what isn't named."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_int),
        ("rejected", ctypes.c_bool),
        ("rest", ctypes.c_ubyte * 51),
    )


def new_cached_data(library: Library) -> CachedData:
    """Make one that owns no bytes, and has none yet."""
    cached = CachedData()
    library.cached_data_new(ctypes.byref(cached), None, 0, _NOT_OWNED)
    return cached


def take_code(library: Library, made: int) -> bytes:
    """Return the bytes of a v8::ScriptCompiler::CachedData, and free it."""
    found = CachedData.from_address(made)
    code = ctypes.string_at(found.data, found.length)
    library.cached_data_delete(made)
    library.operator_delete(made)
    return code


def fit(address: int, size: int, checksum: bytes | None) -> None:
    """Have code name another read-only heap, in place.

    Args:
        address: Where it is.
        size: Its bytes.
        checksum: The heap's; None if the code is as it must be.
    """
    place = _CHECKSUM_IN_CODE
    if checksum is not None and size >= place.stop:
        ctypes.memmove(address + place.start, checksum, len(checksum))


def compile_by(
    isolate: Isolate, source: Source, code: bytes
) -> tuple[int | None, bool]:
    """Compile a script whose code is known.

    Args:
        isolate: Where; it is entered.
        source: The text.
        code: The code.

    Returns:
        The script, and whether V8 has made it of the code.
    """
    library = isolate.library
    if isolate.code_checksum is not None:
        place = _CHECKSUM_IN_CODE
        code = code[: place.start] + isolate.code_checksum + code[place.stop :]
    cached = new_cached_data(library)
    start = ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p)
    cached.data, cached.length = start.value, len(code)
    source.cached = ctypes.addressof(cached)
    script: int | None = library.script_compile(
        isolate.context, ctypes.byref(source), CONSUME_CODE, 0
    )
    return script, not cached.rejected
