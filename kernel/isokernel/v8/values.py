"""Conversion of values: V8's handles to Python objects and back.

Out of V8: undefined → `UNDEFINED`, null → None, booleans, numbers (int when V8 holds a
small integer, else float), bigint → `BigInt`, strings → str (lone surrogates become
U+FFFD), typed arrays and buffers → `Value` (see `Value.bytes`), all else → `Value`.
Into V8: the same, and bytes → Uint8Array, tuples and lists → Array.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from isokernel.v8.library import Span

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

Data: TypeAlias = bytes  # the class has a method of that name
_SLOT = ctypes.c_size_t.from_address
_MAX_STRING: Final = 536_870_888  # v8::String::kMaxLength of a 64-bit build


class Undefined:
    """JavaScript's undefined; falsy, one instance, `UNDEFINED`."""

    def __bool__(self) -> bool:
        """Be false, as in JavaScript."""
        return False

    def __repr__(self) -> str:
        """Return the JavaScript name."""
        return "undefined"


UNDEFINED: Final = Undefined()


class BigInt(int):
    """A bigint, told apart from a number."""

    __slots__ = ()


class Value:
    """A JavaScript value that Python keeps alive: one persistent V8 handle.

    Owner: whoever holds it; `close()` gives the handle back, and so does garbage
    collection, at the isolate's next entry. To be used only on the isolate's thread,
    and not after the isolate was closed.
    """

    __slots__ = ("__weakref__", "isolate", "slot")

    def __init__(self, isolate: Isolate, slot: int) -> None:
        """Take ownership of the persistent handle at `slot`."""
        self.isolate = isolate
        self.slot = slot
        isolate.handles.add(slot)

    def close(self) -> None:
        """Release the handle; safe to call twice."""
        slot, self.slot = self.slot, 0
        if slot:
            self.isolate.release(slot)

    def __del__(self) -> None:
        """Release the handle at the next entry; this may be any thread."""
        if self.slot:
            self.isolate.orphans.append(self.slot)

    def __repr__(self) -> str:
        """Name the class; never run JavaScript for it."""
        return f"<{type(self).__name__} at slot {self.slot:#x}>"

    def bytes(self) -> bytes:
        """Copy the bytes of a typed array, DataView or ArrayBuffer.

        Raises:
            TypeError: The value holds no bytes.
        """
        isolate, library = self.isolate, self.isolate.library
        with isolate.entered():
            if library.IsArrayBufferView(self.slot):
                return _view_bytes(library, self.slot)
            if not library.IsArrayBuffer(self.slot):
                message = "the value holds no bytes"
                raise TypeError(message)
            length = library.buffer_length(self.slot)
            if not length:
                return b""
            return ctypes.string_at(library.buffer_data(self.slot), length)

    def fill(self, data: Data) -> None:
        """Copy bytes into an ArrayBuffer, which is of that length."""
        isolate, library = self.isolate, self.isolate.library
        with isolate.entered():
            assert library.buffer_length(self.slot) == len(data)  # noqa: S101
            if data:
                ctypes.memmove(library.buffer_data(self.slot), data, len(data))


def _view_bytes(library: Library, slot: int) -> bytes:
    # Small typed arrays live inside the V8 heap and are copied into the storage;
    # larger ones are read in place, one copy in all.
    length = library.view_length(slot)
    storage = ctypes.create_string_buffer(64)
    span = library.view_contents(slot, Span(ctypes.addressof(storage), 64))
    return ctypes.string_at(span.data, length) if length else b""


def new_string(library: Library, isolate: int, text: str) -> int:
    """Make a V8 string; the handle is local to the current scope.

    Raises:
        ValueError: The text is longer than V8's limit of 2^29 - 24 characters.
    """
    try:
        raw, wide = text.encode("latin-1"), False
    except UnicodeEncodeError:
        raw, wide = text.encode("utf-16-le", "surrogatepass"), True
    length = len(raw) >> wide
    if length > _MAX_STRING:
        message = f"a string of {length} characters is too long for V8"
        raise ValueError(message)
    make = library.string_new_utf16 if wide else library.string_new_latin1
    handle: int = make(isolate, raw, 0, length)
    return handle


def read_string(library: Library, isolate: int, handle: int) -> str:
    """Copy a V8 string out."""
    length = library.string_length(handle)
    if not length:
        return ""
    if library.string_is_latin1(handle):
        buffer = ctypes.create_string_buffer(length)
        library.string_write_latin1(handle, isolate, 0, length, buffer, 0)
        return buffer.raw.decode("latin-1")
    buffer = ctypes.create_string_buffer(2 * length)
    library.string_write_utf16(handle, isolate, 0, length, buffer, 0)
    return buffer.raw.decode("utf-16-le", "replace")


def read_bigint(library: Library, handle: int) -> BigInt:
    """Copy a bigint out."""
    count = library.bigint_count(handle)
    sign, size = ctypes.c_int(), ctypes.c_int(count)
    words = (ctypes.c_uint64 * max(count, 1))()
    library.bigint_words(
        handle, ctypes.byref(sign), ctypes.byref(size), ctypes.byref(words)
    )
    number = int.from_bytes(bytes(words)[: 8 * count], "little")
    return BigInt(-number if sign.value else number)


def new_bigint(library: Library, context: int, number: int) -> int:
    """Make a bigint of any size that V8 allows (2^30 bits)."""
    magnitude = abs(number)
    count = (magnitude.bit_length() + 63) // 64
    words = (ctypes.c_uint64 * max(count, 1)).from_buffer_copy(
        magnitude.to_bytes(8 * max(count, 1), "little")
    )
    handle: int = library.bigint_new(context, number < 0, count, ctypes.byref(words))
    return handle


def to_python(isolate: Isolate, handle: int) -> Any:
    """Convert a local handle; see the module's table."""
    tagged = _SLOT(handle).value
    if not tagged & 1:  # a small integer, in the upper 31 bits of the low word
        return ctypes.c_int32(tagged & 0xFFFFFFFF).value >> 1
    known = isolate.constants.get(tagged, isolate)
    if known is not isolate:
        return known
    library = isolate.library
    if library.FullIsString(handle):
        return read_string(library, isolate.pointer, handle)
    if library.IsNumber(handle):
        return library.number_value(handle, isolate.context).value
    if library.IsBigInt(handle):
        return read_bigint(library, handle)
    return Value(isolate, library.globalize(isolate.pointer, tagged))


def to_local(isolate: Isolate, value: Any) -> int:  # noqa: PLR0911 -- one a type
    """Convert a Python value into a handle that is local to the current scope.

    Raises:
        TypeError: Python's value has no counterpart.
    """
    library, pointer = isolate.library, isolate.pointer
    if isinstance(value, Value):
        return value.slot
    handle: int
    if type(value) is int:  # the most common by far, and in no other class below
        handle = library.number_new(pointer, value)
        return handle
    if isinstance(value, str):
        return new_string(library, pointer, value)
    if value is None or value is UNDEFINED or isinstance(value, bool):
        return isolate.constant(value)
    if isinstance(value, BigInt):
        return new_bigint(library, isolate.context, value)
    if isinstance(value, (int, float)):
        return int(library.number_new(pointer, value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _new_bytes(isolate, bytes(value))
    if isinstance(value, (tuple, list)):
        elements = (ctypes.c_void_p * len(value))(
            *(to_local(isolate, element) for element in value)
        )
        return int(library.array_new(pointer, ctypes.addressof(elements), len(value)))
    message = f"{type(value).__name__} has no JavaScript counterpart"
    raise TypeError(message)


def _new_bytes(isolate: Isolate, data: bytes) -> int:
    library = isolate.library
    buffer = library.buffer_new(isolate.pointer, len(data), 0)
    if data:
        ctypes.memmove(library.buffer_data(buffer), data, len(data))
    handle: int = library.uint8array_new(buffer, 0, len(data))
    return handle
