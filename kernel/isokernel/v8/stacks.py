"""Makes every live error's stack text, before a heap is written.

V8 keeps the call sites of an error until its `stack` is first read, and writes them
into a blob in a form that it then can't read ("Check failed: current ==
end_slot_index"). Once the text is made, they are gone. Costs 4.5 ms on a small heap
and 200 ms at 300,000 objects; in the forked child only.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.values import new_string

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate

_WORD = ctypes.c_size_t.from_address
_FILTER = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def make_stacks(isolate: Isolate) -> None:
    """Read the `stack` of every error on the heap. The isolate must be entered."""
    library = isolate.library
    # v8::QueryObjectPredicate, by hand: {vtable: two destructors, Filter}.
    destructor = _DESTRUCTOR(lambda _this: None)
    is_error = _FILTER(lambda _this, value: bool(library.IsNativeError(value)))
    methods = [ctypes.cast(f, ctypes.c_void_p) for f in (destructor, destructor)]
    methods.append(ctypes.cast(is_error, ctypes.c_void_p))
    vtable = (ctypes.c_void_p * 3)(*methods)
    predicate = ctypes.c_void_p(ctypes.addressof(vtable))
    found = (ctypes.c_void_p * 3)()  # libc++'s vector: begin, end, capacity
    with HandleScope(isolate.scope_slots), TryCatch(library, isolate.pointer):
        library.query_objects(
            library.heap_profiler(isolate.pointer),
            isolate.context,
            ctypes.addressof(predicate),
            ctypes.addressof(found),
        )
        key = new_string(library, isolate.pointer, "stack")
        for address in range(found[0] or 0, found[1] or 0, 8):
            slot = _WORD(address).value
            library.object_get(slot, isolate.context, key)
            library.dispose_global(slot)
