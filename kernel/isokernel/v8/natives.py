"""Operations that show values as V8 sees them, which JavaScript can't by itself.

Each function is a raw operation: (isolate, address of the first argument, count) to a
local handle, or None for undefined. None of them runs the user's code.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from typing import TYPE_CHECKING, Final

from isokernel.v8 import linkage
from isokernel.v8.callbacks import Operation, ThrowError
from isokernel.v8.scopes import TryCatch
from isokernel.v8.values import UNDEFINED, new_string, to_local, to_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library, Span

_SERIALIZER_BYTES: Final = 64  # sizeof(ValueSerializer) is one pointer; room to spare
_WORD_BYTES: Final = 8
_OWN_ONLY: Final = 0  # KeyCollectionMode
_SKIP_INDICES: Final = 1  # IndexFilter
_NO_NUMBERS: Final = 2  # KeyConversionMode
_ORIGIN_WORDS: Final = 16  # sizeof(ScriptOrigin) is 5 words; room to spare
_RANDOM_MAX: Final = 65_536  # the quota of crypto.getRandomValues
_FREE = ctypes.CDLL(None).free
_FREE.argtypes = [ctypes.c_void_p]
_FREE.restype = None


def _array(isolate: Isolate, *handles: int | None) -> int:
    undefined = isolate.constant(UNDEFINED)
    elements = (ctypes.c_void_p * len(handles))(*(h or undefined for h in handles))
    handle: int = isolate.library.array_new(
        isolate.pointer, ctypes.addressof(elements), len(handles)
    )
    return handle


def proxy_details(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return [target, handler] of a Proxy."""
    library = isolate.library
    if not library.IsProxy(first):
        return None
    return _array(isolate, library.proxy_target(first), library.proxy_handler(first))


def promise_details(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return [state, result, handled] of a promise.

    The state is 0 while it is pending, 1 when it is fulfilled, 2 when it is rejected;
    the last one is 1 if anything awaits it, else 0.
    """
    library = isolate.library
    if not library.IsPromise(first):
        return None
    state = library.promise_state(first)
    result = library.promise_result(first) if state else None
    number = library.number_new
    handled = number(isolate.pointer, library.promise_has_handler(first))
    return _array(isolate, number(isolate.pointer, state), result, handled)


def preview_entries(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return [entries, are they keys and values] of a collection or its iterator."""
    library = isolate.library
    if not library.IsObject(first) or library.IsProxy(first):
        return None
    pairs = ctypes.c_bool()
    entries = library.preview_entries(first, ctypes.byref(pairs))
    if not entries:
        return None
    return _array(isolate, entries, isolate.constant(pairs.value))


def constructor_name(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return the name of the object's constructor, as V8 knows it."""
    library = isolate.library
    if not library.IsObject(first):
        return None
    handle: int = library.constructor_name(first)
    return handle


def named_properties(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return the keys of an object's own properties that are no array indices.

    What it costs follows how many they are, not how long an array is. The second
    argument is a v8::PropertyFilter. A Proxy has none: its keys are what its traps say.
    """
    library = isolate.library
    if not library.IsObject(first) or library.IsProxy(first):
        return None
    chosen = to_python(isolate, first + _WORD_BYTES)
    handle: int | None = library.property_names(
        first,
        isolate.context,
        _OWN_ONLY,
        chosen if isinstance(chosen, int) else 0,
        _SKIP_INDICES,
        _NO_NUMBERS,
    )
    return handle


def function_place(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return [script, line, column] of a place within a function's source, from 1.

    The place is that of its parameters or, if it is a class without a constructor, of
    the class.
    """
    library = isolate.library
    if not library.IsFunction(first):
        return None
    origin = (ctypes.c_size_t * _ORIGIN_WORDS)()
    library.function_origin(ctypes.addressof(origin), first)
    line: int = library.function_line(first)
    if not origin[0] or line < 0:
        return None
    number = library.number_new
    column: int = library.function_column(first)
    return _array(
        isolate,
        origin[0],
        number(isolate.pointer, line + 1),
        number(isolate.pointer, column + 1),
    )


@functools.cache
def _kinds(library: Library) -> tuple[list[str], Callable[[int], int]]:
    """Return all brands, and what finds the place of a value's among them."""
    names, functions = zip(*library.kinds, strict=True)
    return list(names), linkage.first_true(functions)


def brand(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return V8's own brand of a value, whatever its prototype says."""
    names, find = _kinds(isolate.library)
    place = find(first)
    if place < len(names):
        return new_string(isolate.library, isolate.pointer, names[place])
    value = to_python(isolate, first)
    if isinstance(value, str):
        return new_string(isolate.library, isolate.pointer, "string")
    return None


def lexical_names(isolate: Isolate, _first: int, _count: int) -> int:
    """Return the names that `Isolate.lexical_names` does."""
    return to_local(isolate, isolate.lexical_names())


def structured_clone(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return a deep copy by V8's serializer; throws what it throws."""
    library, pointer, context = isolate.library, isolate.pointer, isolate.context
    serializer = ctypes.create_string_buffer(_SERIALIZER_BYTES)
    library.serializer_new(serializer, pointer)
    try:
        library.serializer_header(serializer)
        if not library.serializer_write(serializer, context, first) & 1:
            return None  # V8 has thrown already
        data: Span = library.serializer_release(serializer)
    finally:
        library.serializer_delete(serializer)
    deserializer = ctypes.create_string_buffer(_SERIALIZER_BYTES)
    library.deserializer_new(deserializer, pointer, data.data, data.size)
    try:
        library.deserializer_header(deserializer, context)
        handle: int | None = library.deserializer_read(deserializer, context)
        return handle
    finally:
        library.deserializer_delete(deserializer)
        _FREE(data.data)


def lexical_value(isolate: Isolate, first: int, _count: int) -> int | None:
    """Return [value] of a top-level let, const or class, if it has one already.

    Evaluates nothing but the identifier, and only when it is a lexical name: reading
    one runs no code of the user's.
    """
    name = to_python(isolate, first)
    if not isinstance(name, str) or name not in isolate.lexical_names():
        return None
    library = isolate.library
    source = new_string(library, isolate.pointer, name)
    with TryCatch(library, isolate.pointer):
        script = library.compile(isolate.context, source, None)
        value = library.script_run(script, isolate.context) if script else None
    return _array(isolate, value) if value else None


def _random(count: object) -> bytes:
    if not isinstance(count, int) or not 0 <= count <= _RANDOM_MAX:
        message = f"at most {_RANDOM_MAX} random bytes at a time"
        raise ThrowError(message, "RangeError")
    return os.urandom(count)


def _now() -> float:
    return time.monotonic() * 1e3


NATIVES: Final[dict[str, Operation]] = {
    "proxyDetails": Operation(proxy_details, raw=True),
    "promiseDetails": Operation(promise_details, raw=True),
    "previewEntries": Operation(preview_entries, raw=True),
    "constructorName": Operation(constructor_name, raw=True),
    "functionPlace": Operation(function_place, raw=True),
    "brand": Operation(brand, raw=True),
    "lexicalNames": Operation(lexical_names, raw=True),
    "lexicalValue": Operation(lexical_value, raw=True),
    "clone": Operation(structured_clone, raw=True),
    "random": Operation(_random),
    "now": Operation(_now),
    "namedProperties": Operation(named_properties, raw=True),
}
"""Operations that every isolate has, by their names in JavaScript."""
