"""Finding the live objects of a kind among all that are on the heap.

Asking V8 for them collects all garbage and calls back for each object, about 1 µs; so
it is done in forked children only, and only where there may be any.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from isokernel.v8.library import Vector
from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.values import Value, read_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

_WORD = ctypes.c_size_t.from_address
_MAP = ctypes.c_uint32.from_address
_TAG: Final = 1
VIEW: Final = "ArrayBufferView"
"""A kind of objects that can be saved, but see `marked_objects`."""
_TAG_KIND: Final = "WebAssembly.Tag"
_PLACE, _KNOWN_SIGNATURE = 20, 8
"""Where a tag has its signature's number, which is one of the process; that of
`WebAssembly.JSTag` is the same in all, so V8 can write such a tag (V8 14.4)."""
_FILTER = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_BY_NAME: Final = {
    # Kinds that V8 exports no predicate for, by their constructor.
    "CallSite": "CallSite",  # a frame of a stack, which the user has kept
    "v8BreakIterator": "Intl.v8BreakIterator",
}


def live_objects(isolate: Isolate, is_wanted: Callable[[int], bool]) -> list[Value]:
    """Return the live JavaScript objects that a predicate accepts.

    Args:
        isolate: Entered.
        is_wanted: The predicate of a local handle; must not run JavaScript.
    """
    library = isolate.library
    # v8::QueryObjectPredicate, by hand: {vtable: two destructors, Filter}.
    destructor = _DESTRUCTOR(lambda _this: None)
    wanted = _FILTER(lambda _this, value: is_wanted(value))
    methods = [ctypes.cast(f, ctypes.c_void_p) for f in (destructor, destructor)]
    methods.append(ctypes.cast(wanted, ctypes.c_void_p))
    vtable = (ctypes.c_void_p * 3)(*methods)
    predicate = ctypes.c_void_p(ctypes.addressof(vtable))
    found = Vector()
    with HandleScope(isolate.scope_slots), TryCatch(library, isolate.pointer):
        library.query_objects(
            library.heap_profiler(isolate.pointer),
            isolate.context,
            ctypes.addressof(predicate),
            ctypes.byref(found),
        )
    return [Value(isolate, slot) for slot in found.take(library)]


def unsavable_objects(isolate: Isolate) -> list[tuple[str, Value]]:
    """Return the live objects that can't be saved, each with its kind."""
    return marked_objects(isolate, views=False)


def marked_objects(isolate: Isolate, *, views: bool) -> list[tuple[str, Value]]:
    """Return the live objects that can't be saved, each with its kind.

    Args:
        isolate: Their isolate.
        views: Return all views of buffers as well, which may be of memories of
            WebAssembly's; another search would collect garbage once more.
    """
    kinds = _Kinds(isolate, views=views)
    with isolate.entered():
        objects = live_objects(isolate, lambda handle: bool(kinds.of(handle)))
        return [(kinds.of(value.slot), value) for value in objects]


class _Kinds:
    """Recognizes the objects that can't be saved, and views, by their kind.

    Objects of one kind share few hidden classes (`maps`), so each is asked for once.
    """

    def __init__(self, isolate: Isolate, *, views: bool) -> None:
        self._isolate = isolate
        self._views = views
        self._known: dict[int, str] = {}

    def of(self, handle: int) -> str:
        """Return the kind of an object; empty if it can be saved."""
        tagged = _WORD(handle).value
        hidden_class = _MAP(tagged - _TAG).value
        kind = self._known.get(hidden_class)
        if kind is None:
            kind = self._known[hidden_class] = self._ask(handle, tagged)
        if kind == _TAG_KIND and _MAP(tagged - _TAG + _PLACE).value == _KNOWN_SIGNATURE:
            return ""
        return kind

    def _ask(self, handle: int, tagged: int) -> str:
        library = self._isolate.library
        for kind, is_kind in library.unsavable:
            if is_kind(tagged):
                return kind
        if library.is_wasm_function(tagged):
            return "WebAssembly function"
        if self._views and library.IsArrayBufferView(handle):
            return VIEW
        name = library.constructor_name(handle)
        text = read_string(library, self._isolate.pointer, name) if name else ""
        return _BY_NAME.get(text, "")
