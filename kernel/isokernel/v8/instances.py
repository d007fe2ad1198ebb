"""What instances of WebAssembly are made of: V8 doesn't tell their imports later.

V8 calls `instantiate` in the place of its own function. Nothing that user code can see
changes: its imports are read once, in the order that V8 has, and V8 gets what was read.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

from isokernel.errors import ScriptError
from isokernel.v8 import callbacks, linkage

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library
    from isokernel.v8.values import Value

__all__ = ["Instances", "watch_instances"]


class Instances:
    """Has the imports of one isolate's instances kept.

    Attributes:
        find_function: Returns functions of the runtime's by their names; None while
            nobody keeps imports.
    """

    def __init__(self, isolate: Isolate) -> None:
        """Keep nothing yet."""
        self._isolate = isolate
        self.find_function: Callable[[str], Value] | None = None

    def instantiate(
        self, make: Callable[[int | None], int | None], module: int, imports: int | None
    ) -> int | None:
        """Make an instance and keep what it is made of; amid JavaScript.

        Args:
            make: Makes the instance of its imports; null if that has failed.
            module: The module.
            imports: The object that the imports are read from.
        """
        isolate, find = self._isolate, self.find_function
        if find is None:
            return make(imports)
        values = isolate.library.array_new(isolate.pointer, None, 0)
        if imports:
            wanted = isolate.library.wasm_imports(isolate.pointer, module)
            read = self._call(find("readImports"), wanted, imports)
            if not read:
                return None  # it was stopped
            imports, values = self._item(read, 0), self._item(read, 1)
        made = make(imports)
        if made and not self._call(find("keepImports"), made, values):
            return None  # the stack has no room for that
        return made

    def _call(self, function: Value, *arguments: int) -> int | None:
        isolate = self._isolate
        given = (ctypes.c_void_p * len(arguments))(*arguments)
        called: int | None = isolate.library.call(
            function.slot,
            isolate.context,
            function.slot,
            len(arguments),
            ctypes.addressof(given),
        )
        return called

    def _item(self, array: int, index: int) -> int:
        isolate, library = self._isolate, self._isolate.library
        at = library.number_new(isolate.pointer, index)
        item: int = library.object_get(array, isolate.context, at)
        return item


@functools.cache
def watch_instances(library: Library) -> bool:
    """Have V8 ask us for instances; once a process, before there are any.

    Returns:
        Whether that can be done here; where not, heaps with instances aren't saved.
    """

    def instantiate(
        pointer: int, errors: int, module: int, imports: int | None, buffer: int | None
    ) -> int | None:
        def make(given: int | None) -> int | None:
            made: int | None = library.wasm_instantiate(
                pointer, errors, module, given, buffer
            )
            return made

        isolate = callbacks.ISOLATES.get(pointer)
        if isolate is None:
            return make(imports)
        try:
            return isolate.instances.instantiate(make, module, imports)
        except ScriptError:  # a function of the runtime's found no room on the stack
            isolate.throw("Maximum call stack size exceeded", "RangeError")
            return None
        except BaseException as error:  # noqa: BLE001 -- it can't cross the C frames
            isolate.fail(error)
            return None

    # For metrics that nobody records V8 keeps a handle of the context, for good, and
    # nothing is written while there is one.
    metrics = linkage.replace(library, "metrics_context", lambda _isolate, _context: 0)
    return linkage.replace(library, "wasm_instantiate", instantiate) and metrics
