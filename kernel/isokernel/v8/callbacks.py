"""Calls out of JavaScript: the one native function that V8 knows, and V8's callbacks.

A context has one native function, `call(operation, ...arguments)`. Its address is the
first of the external references that a snapshot may name, so a heap that holds it can
be saved and restored; the operation is a small integer, an index into the isolate's
table of operations.

ctypes callbacks may not raise: what goes wrong inside is thrown into JavaScript, or
kept in the isolate and raised when Python is back in charge.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from isokernel.v8.library import RejectMessage
from isokernel.v8.linkage import only_for
from isokernel.v8.values import UNDEFINED, to_local, to_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

ISOLATES: Final[WeakValueDictionary[int, Isolate]] = WeakValueDictionary()
"""Every open isolate by its address, which is what V8 hands to most callbacks."""

FEATURES: Final = {
    # v8::Isolate::UseCounterFeature, in V8 14.4
    43: "captureStackTrace",
    54: "Intl",
    55: "Intl",
    56: "Intl",
    57: "Intl",
    58: "Intl",
    59: "Intl",
    60: "Intl",
    61: "Intl",
    81: "Intl",
    82: "SharedArrayBuffer",
    117: "Intl",
    130: "Temporal",
    131: "WebAssembly.Module",
    156: "Atomics.waitAsync",
}
"""Features whose use has consequences for saving a heap."""

_WORD = ctypes.c_size_t.from_address
_INDEX = ctypes.c_uint32.from_address
_WORDS = (ctypes.c_size_t * 3).from_address

# v8::FunctionCallbackInfo: {implicit arguments, first argument, count}, and among the
# implicit arguments the isolate and the slot of the return value (V8 14.4).
_ISOLATE_OFFSET: Final = 8
_RETURN_OFFSET: Final = 24

_REJECTED_UNHANDLED: Final = 0
_MARK_COMPACT: Final = 4

_CALLBACKS: Final[list[object]] = []
"""ctypes's function objects, which must live as long as V8 may call them."""

LINKING: Final[list[Callable[[int, int], int | None]]] = []
"""Who finds the modules of those that are linked, innermost last: see
`Modules.requested`. To look for the isolate 2,000 times would be a third of that."""

ENTERED: Final[list[int]] = []
"""Addresses of the isolates that are entered, innermost last; see `Isolate.claim`."""


class ThrowError(Exception):
    """Raised by an operation so that its caller in JavaScript gets an exception.

    Attributes:
        kind: `Error`, `TypeError` or `RangeError`.
    """

    def __init__(self, message: str, kind: str = "Error") -> None:
        self.kind = kind
        super().__init__(message)


class Operation:
    """One entry of the table: a Python function and how it wants its arguments.

    Attributes:
        function: Called on the isolate's thread, inside JavaScript.
        raw: It takes (isolate, first argument's address, count) and returns a local
            handle; for the natives of `v8.natives`. Otherwise it takes converted
            values and its result is converted.
    """

    __slots__ = ("function", "raw")

    def __init__(self, function: Callable[..., Any], *, raw: bool = False) -> None:
        self.function = function
        self.raw = raw


def entered() -> int:
    """Return the address of the innermost isolate; 0 if none is entered."""
    return ENTERED[-1] if ENTERED else 0


def current() -> Isolate | None:
    """The innermost isolate, for callbacks that V8 doesn't tell which it is."""
    return ISOLATES.get(entered())


def _callback(
    result: Any, *arguments: Any
) -> Callable[[Callable[..., Any]], ctypes.c_void_p]:
    """Make a C function of a Python function, by the types of result and arguments."""

    def make(function: Callable[..., Any]) -> ctypes.c_void_p:
        callback = ctypes.CFUNCTYPE(result, *arguments)(function)
        _CALLBACKS.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p)

    return make


# -- JavaScript calls --------------------------------------------------------------


@_callback(None, ctypes.c_void_p)
def trampoline(info: int) -> None:
    """The native function."""
    implicit, first, count = _WORDS(info)
    isolate = ISOLATES[_WORD(implicit + _ISOLATE_OFFSET).value]
    try:
        # A small integer: the low half of the word; optimized code leaves the rest.
        operation = isolate.operations[_INDEX(first).value >> 1]
        if operation.raw:
            handle = operation.function(isolate, first + 8, count - 1)
        else:
            result = operation.function(
                *[to_python(isolate, first + 8 * i) for i in range(1, count)]
            )
            if result is None or result is UNDEFINED:
                return
            handle = to_local(isolate, result)
        if handle:
            _WORD(implicit + _RETURN_OFFSET).value = _WORD(handle).value
    except ThrowError as error:
        isolate.throw(str(error), error.kind)
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)


@_callback(*(ctypes.c_void_p,) * 4)
def prepare_stack_trace(context: int, error: int, sites: int) -> int | None:
    """`error.stack` is wanted; see `Isolate.format_stacks`."""
    isolate = current()
    if isolate is None or isolate.stack_formatter is None:
        return None
    arguments = (ctypes.c_void_p * 2)(error, sites)
    formatter = isolate.stack_formatter.slot
    result: int | None = isolate.library.call(
        formatter, context, formatter, 2, ctypes.addressof(arguments)
    )
    return result


@_callback(*(ctypes.c_void_p,) * 6)
def import_module(
    _context: int, _options: int, referrer: int, specifier: int, attributes: int
) -> int | None:
    """`import()` was called; see `Modules.import_dynamically`."""
    isolate = current()
    if isolate is None:
        return None
    try:
        return isolate.modules.import_dynamically(referrer, specifier, attributes)
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)
        return None


@_callback(None, *(ctypes.c_void_p,) * 3)
def describe_module(_context: int, module: int, meta: int) -> None:
    """A module asks for its `import.meta`."""
    isolate = current()
    if isolate is None:
        return
    try:
        isolate.modules.describe(module, meta)
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)


@_callback(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
def resolve_module(_context: int, index: int, referrer: int) -> int | None:
    """A module is linked, and V8 wants the one that its request is for."""
    try:
        return LINKING[-1](index, referrer)
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate = current()
        if isolate is not None:
            isolate.fail(error)
        return None


@_callback(*(ctypes.c_void_p,) * 3)
def evaluate_values(_context: int, module: int) -> int | None:
    """A module made of values is evaluated; external references hold its address."""
    isolate = current()
    if isolate is None:
        return None
    try:
        return isolate.modules.evaluate_values(module)
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)
        return None


@_callback(None, ctypes.c_void_p, ctypes.c_void_p)
def interrupted(pointer: int, _data: int) -> None:
    """V8 has come to the check that `Isolate.request` asked for."""
    isolate = ISOLATES.get(pointer)
    if isolate is None:
        return
    try:
        isolate.run_requested()
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)


# -- V8 reports --------------------------------------------------------------------


@_callback(None, RejectMessage)
def promise_rejected(message: Any) -> None:
    """A promise was rejected without a handler, or got one later."""
    isolate = current()
    if isolate is not None and message.event == _REJECTED_UNHANDLED:
        isolate.rejections.add(message.promise)


@_callback(None, ctypes.c_void_p, ctypes.c_void_p)
def thrown(_message: int, value: int) -> None:
    """A cleanup callback has thrown."""
    isolate = current()
    if isolate is not None:
        isolate.cleanups.thrown.append(isolate.own(value))


@_callback(None, ctypes.c_void_p, ctypes.c_int)
def used(pointer: int, feature: int) -> None:
    """A feature of JavaScript was used."""
    if feature in FEATURES:
        isolate = ISOLATES.get(pointer)
        if isolate is not None:
            isolate.features.add(FEATURES[feature])


@functools.cache
def used_of_interest() -> int:
    """Return the address of what calls `used` for `FEATURES`, and else nothing.

    V8 reports each call of what it counts, `Array.prototype.toSorted` for example.
    """
    return only_for(FEATURES, used.value or 0)


@_callback(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
def collecting(pointer: int, _kind: int, _flags: int, _data: int) -> None:
    """Garbage is about to be collected."""
    isolate = ISOLATES.get(pointer)
    if isolate is not None:
        isolate.memory.collecting = True


@_callback(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
def collected(pointer: int, kind: int, _flags: int, _data: int) -> None:
    """Garbage was collected; V8 must not be re-entered."""
    isolate = ISOLATES.get(pointer)
    if isolate is not None:
        isolate.memory.collected(full=bool(kind & _MARK_COMPACT))


@_callback(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
def near_heap_limit(data: int, current: int, _initial: int) -> int:
    """The heap's limit is near; returns the next one. The data is the address."""
    isolate = ISOLATES.get(data)
    return current if isolate is None else isolate.memory.next_limit(current)


# -- V8 ends -----------------------------------------------------------------------


@_callback(None, ctypes.c_char_p, ctypes.c_char_p)
def fatal(location: bytes | None, message: bytes | None) -> None:
    """V8 can't go on, but would after this one, in an undefined state."""
    _report_fatal(f"{_text(message)} ({_text(location)})")
    os.abort()


@_callback(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
def check_failed(_file: bytes | None, _line: int, message: bytes | None) -> None:
    """V8 has found itself in a state that can't be; it aborts on return."""
    _report_fatal(_text(message))


@_callback(None, ctypes.c_char_p, ctypes.c_void_p)
def out_of_memory(location: bytes | None, _details: int) -> None:
    """V8 gets no more memory; it aborts on return."""
    _report_fatal(f"out of memory ({_text(location)})")


def fatal_size(format_: int, size: int) -> None:
    """An array would be larger than V8 can make one; V8 tells no handler of its own."""
    text = _text(ctypes.string_at(format_)).partition(" (see")[0]
    _report_fatal(f"out of memory ({text.replace('%d', str(size))})")
    os.abort()


def _text(raw: bytes | None) -> str:
    return raw.decode(errors="replace") if raw else "unknown"


def _report_fatal(reason: str) -> None:
    # It is the process that ends, so if the isolate has nobody to tell, another has.
    for isolate in (current(), *ISOLATES.values()):
        if isolate is not None and isolate.on_fatal is not None:
            isolate.on_fatal(reason)
            return
