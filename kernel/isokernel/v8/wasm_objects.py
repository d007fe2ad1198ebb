"""Objects of WebAssembly, as V8 has them: for taking them apart and making them anew.

What stands here of V8's insides holds for V8 14.4; what `wasm_parts` reads by it, it
compares first with objects that it knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel.v8.objects import (
    TAGGED,
    address_of,
    cage_of,
    offsets_of,
    point,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

FUNCTION: Final = "WebAssembly function"
GLOBAL: Final = "WebAssembly.Global"
INSTANCE: Final = "WebAssembly.Instance"
MEMORY: Final = "WebAssembly.Memory"
MODULE: Final = "WebAssembly.Module"
TABLE: Final = "WebAssembly.Table"
TAG: Final = "WebAssembly.Tag"

_FUNCTION_DISPATCH_OFFSET: Final = 12
_FUNCTION_OFFSETS: Final = (16, 20, 24)  # shared data, context, feedback
VIEW_BUFFER_OFFSET: Final = 16


class Access:
    """What taking apart and putting together have in common. Entered, in a scope."""

    def __init__(self, isolate: Isolate, find: Callable[[str], Value]) -> None:
        """Have access to one isolate's; `find` returns functions of the runtime's."""
        self._isolate = isolate
        self._library = isolate.library
        self._find = find
        self._cage = cage_of(isolate)

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._isolate.call(self._find(name), *arguments)

    def _size(self, handle: int) -> int:
        return size_of(self._isolate, handle)

    def _new(self, name: str, shell: Value | None, *values: Any) -> Value:
        made: Value = self._call("construct", name, shell, list(values))
        return made

    def _record(self, **values: Any) -> Value:
        made: Value = self._call("record", list(values), list(values.values()))
        return made


def clear(isolate: Isolate, handle: int) -> None:
    """Take out of an object all that isn't JavaScript's."""
    address = address_of(handle)
    for offset in offsets_of(isolate, handle):
        TAGGED(address + offset).value = 0


def become(isolate: Isolate, handle: int, model: int) -> None:
    """Have a function do what another one does."""
    address, source = address_of(handle), address_of(model)
    TAGGED(address + _FUNCTION_DISPATCH_OFFSET).value = TAGGED(
        source + _FUNCTION_DISPATCH_OFFSET
    ).value
    for offset in _FUNCTION_OFFSETS:
        point(isolate, address, offset, TAGGED(source + offset).value)
