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
import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from isokernel.v8.library import RejectMessage
from isokernel.v8.values import UNDEFINED, to_local, to_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

ISOLATES: Final[WeakValueDictionary[int, Isolate]] = WeakValueDictionary()
"""Every open isolate by its address, for callbacks that V8 gives no data."""

_WORD = ctypes.c_size_t.from_address
_INDEX = ctypes.c_uint32.from_address
_WORDS = (ctypes.c_size_t * 3).from_address

# v8::FunctionCallbackInfo: {implicit arguments, first argument, count}, and among the
# implicit arguments the isolate and the slot of the return value (V8 14.4).
_ISOLATE_OFFSET: Final = 8
_RETURN_OFFSET: Final = 24

_CALLBACKS: Final[list[object]] = []
"""ctypes's function objects, which must live as long as V8 may call them."""


def _address(callback: Any) -> ctypes.c_void_p:
    _CALLBACKS.append(callback)
    return ctypes.cast(callback, ctypes.c_void_p)


FEATURES: Final = {
    # v8::Isolate::UseCounterFeature, in V8 14.4
    43: "captureStackTrace",
    82: "SharedArrayBuffer",
    131: "WebAssembly.Module",
    156: "Atomics.waitAsync",
}
"""What saving a heap has to know of: whether it was ever used."""

REJECTED_UNHANDLED: Final = 0
HANDLER_ADDED: Final = 1


class ThrowError(Exception):
    """Raised by an operation so that its caller in JavaScript gets an exception.

    Attributes:
        kind: `Error`, `TypeError` or `RangeError`.
    """

    def __init__(self, message: str, kind: str = "Error") -> None:
        """Say what JavaScript shall see."""
        self.kind = kind
        super().__init__(message)


class Operation:
    """One entry of the table: a Python function and how it wants its arguments.

    Attributes:
        function: Called on the isolate's thread, inside JavaScript.
        raw: It takes (isolate, first argument's address, count) and gives a local
            handle; for the natives of `v8.natives`. Otherwise it takes converted
            values and its result is converted.
    """

    __slots__ = ("function", "raw")

    def __init__(self, function: Callable[..., Any], *, raw: bool = False) -> None:
        """Describe an operation."""
        self.function = function
        self.raw = raw


_TRAMPOLINE_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _trampoline(info: int) -> None:
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


_TRAMPOLINE = _TRAMPOLINE_TYPE(_trampoline)
TRAMPOLINE_ADDRESS: Final = ctypes.cast(_TRAMPOLINE, ctypes.c_void_p).value or 0


_PREPARE_STACK_TRACE_TYPE = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def _prepare_stack_trace(context: int, error: int, sites: int) -> int | None:
    isolate = ISOLATES.get(_current_isolate())
    if isolate is None or isolate.stack_formatter is None:
        return None
    arguments = (ctypes.c_void_p * 2)(error, sites)
    formatter = isolate.stack_formatter.slot
    result: int | None = isolate.library.call(
        formatter, context, formatter, 2, ctypes.addressof(arguments)
    )
    return result


PREPARE_STACK_TRACE: Final = _address(_PREPARE_STACK_TRACE_TYPE(_prepare_stack_trace))

_ENTERED: Final[list[int]] = []
"""Addresses of the isolates that are entered, innermost last."""


def enter(pointer: int) -> bool:
    """Note that an isolate is entered; whether V8 must be told, as it isn't yet."""
    inside = bool(_ENTERED) and _ENTERED[-1] == pointer
    _ENTERED.append(pointer)
    return not inside


def leave() -> bool:
    """Note that the innermost isolate is left; whether V8 must be told."""
    pointer = _ENTERED.pop()
    return not _ENTERED or _ENTERED[-1] != pointer


def _current_isolate() -> int:
    return _ENTERED[-1] if _ENTERED else 0


_PROMISE_REJECTED_TYPE = ctypes.CFUNCTYPE(None, RejectMessage)


def _promise_rejected(message: Any) -> None:
    isolate = ISOLATES.get(_current_isolate())
    if isolate is None:
        return
    if message.event == REJECTED_UNHANDLED:
        isolate.rejections.add(message.promise, message.value)
    elif message.event == HANDLER_ADDED:
        isolate.rejections.discard(message.promise)


PROMISE_REJECTED: Final = _address(_PROMISE_REJECTED_TYPE(_promise_rejected))


_THROWN_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


def _thrown(_message: int, value: int) -> None:
    isolate = ISOLATES.get(_current_isolate())
    if isolate is not None:
        isolate.cleanups.thrown.append(isolate.own(value))


THROWN: Final = _address(_THROWN_TYPE(_thrown))


_USED_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)


def _used(pointer: int, feature: int) -> None:
    if feature in FEATURES:
        isolate = ISOLATES.get(pointer)
        if isolate is not None:
            isolate.features.add(FEATURES[feature])


USED: Final = _address(_USED_TYPE(_used))


_INTERRUPTED_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


def _interrupted(pointer: int, _data: int) -> None:
    isolate = ISOLATES.get(pointer)
    if isolate is None:
        return
    try:
        isolate.run_requested()
    except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
        isolate.fail(error)


INTERRUPTED: Final = _address(_INTERRUPTED_TYPE(_interrupted))


_FATAL_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p)


def _fatal(location: bytes | None, message: bytes | None) -> None:
    # V8 goes on after this one, in an undefined state, as its embedder knows best.
    _tell_fatal(f"{_text(message)} ({_text(location)})")
    os.abort()


_BROKEN_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)


def _broken(_file: bytes | None, _line: int, message: bytes | None) -> None:
    """V8 has found itself in a state that can't be; it aborts on return."""
    _tell_fatal(_text(message))


_OUT_OF_MEMORY_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)


def _out_of_memory(location: bytes | None, _details: int) -> None:
    _tell_fatal(f"out of memory ({_text(location)})")


FATAL: Final = _address(_FATAL_TYPE(_fatal))
BROKEN: Final = _address(_BROKEN_TYPE(_broken))
OUT_OF_MEMORY: Final = _address(_OUT_OF_MEMORY_TYPE(_out_of_memory))


def _text(raw: bytes | None) -> str:
    return raw.decode(errors="replace") if raw else "unknown"


def _tell_fatal(reason: str) -> None:
    # It is the process that ends, so if the isolate has nobody to tell, another has.
    isolates = (ISOLATES.get(_current_isolate()), *ISOLATES.values())
    for isolate in isolates:
        if isolate is not None and isolate.on_fatal is not None:
            isolate.on_fatal(reason)
            return
