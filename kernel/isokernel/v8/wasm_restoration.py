"""WebAssembly put together again, after a heap was read; see `wasm_parts`.

V8 makes all of it anew, in the place of the objects that were there: while that is
done, V8 is given those where it asks for new ones. So identity, prototype and
properties stay, and so do views of memories. An instance goes on as one of a variant of
its module, see `wasm_binary`. None of the user's code runs.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import ScriptError, SnapshotFormatError
from isokernel.v8 import linkage, wasm_binary
from isokernel.v8.library import Span
from isokernel.v8.objects import TAGGED, address_of, point
from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.values import Value, read_string
from isokernel.v8.wasm_binary import Binary, Patch
from isokernel.v8.wasm_objects import (
    GLOBAL,
    INSTANCE,
    MEMORY,
    MODULE,
    TABLE,
    TAG,
    VIEW_BUFFER_OFFSET,
    Access,
    become,
    clear,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from isokernel.v8.isolate import Isolate

__all__ = ["restore"]

_WORD = ctypes.c_size_t.from_address
_TAGGED_BYTES: Final = 4
_HEADER_BYTES: Final = 12  # of a JSObject: hidden class, properties, elements
_VIEW_POINTER_OFFSETS: Final = (48, 40)  # of a typed array, of a DataView
_SANDBOX_SHIFT: Final = 24  # of a pointer to bytes, counted from the heap's start


def restore(
    isolate: Isolate,
    find: Callable[[str], Value],
    data: dict[str, Any],
    values: Sequence[Value],
) -> None:
    """Put together what was taken apart, after the heap was read.

    Args:
        isolate: What it is in.
        find: As for `take_apart`.
        data: What `take_apart` has returned.
        values: The same.

    Raises:
        SnapshotFormatError: Something can't be made again.
    """
    with isolate.entered(), HandleScope(isolate.scope_slots):
        try:
            _Restorer(isolate, find, values).restore(data)
        except ScriptError as error:
            message = f"the heap's WebAssembly can't be made again: {error}"
            raise SnapshotFormatError(message) from error


class _Restorer(Access):
    def __init__(
        self, isolate: Isolate, find: Callable[[str], Value], values: Sequence[Value]
    ) -> None:
        super().__init__(isolate, find)
        self._values = values
        self._binaries: dict[int, Binary] = {}
        self._shells: dict[str, list[Value]] = defaultdict(list)  # wanted next, by kind
        self._functions: dict[int, Value] = {}  # the same, by index
        self._made: dict[int, Value] = {}  # memories and tables, by their places
        self._buffer: Value | None = None

    def restore(self, data: dict[str, Any]) -> None:
        hooks: dict[str, Callable[..., Any]] = {
            "new_object": self._new_object,
            "new_function": self._new_function,
            "new_buffer": self._new_buffer,
        }
        find, self._isolate.instances.find_function = (
            self._isolate.instances.find_function,
            None,
        )
        try:
            with linkage.replaced(self._library, hooks) as done:
                if not done:
                    message = "the heap's WebAssembly can't be made again here"
                    raise SnapshotFormatError(message)
                self._restore(data)
        finally:
            self._isolate.instances.find_function = find

    def _restore(self, data: dict[str, Any]) -> None:
        for module in data["modules"]:
            self._binaries[module["at"]] = self._module(module)
        for memory in data["memories"]:
            self._memory(memory)
        for table in data["tables"]:
            self._table(table)
        for one in data["globals"]:
            self._global(one)
        tables = {table["at"]: table for table in data["tables"]}
        left = {
            (at, index): tuple(entry)
            for at, table in tables.items()
            for index, entry in enumerate(table.get("functions", ()))
            if entry is not None
        }
        for instance in data["instances"]:
            self._instance(instance, left)
        for table in data["tables"]:
            if "items" in table:
                self._call(
                    "setItems", self._made[table["at"]], self._values[table["items"]]
                )
        for view in data["views"]:
            self._view(self._values[view])

    @contextlib.contextmanager
    def _in_place(self, kind: str, value: Value) -> Iterator[None]:
        """Have V8 make an object in the place of one that is there."""
        self._shells[kind].append(value)
        yield
        if self._shells[kind]:
            message = f"the heap's {kind} was made beside its place"
            raise SnapshotFormatError(message)

    # -- what V8 asks us --

    def _new_object(self, *arguments: int) -> int:
        made: int = self._library.new_object(*arguments)
        tagged = _WORD(made).value
        for kind, shells in self._shells.items():
            if shells and self._is_kind(kind, tagged):
                clear(self._isolate, made)  # nobody will ever fill it
                return shells.pop(0).slot
        return made

    def _is_kind(self, kind: str, tagged: int) -> bool:
        return any(
            is_kind(tagged) for name, is_kind in self._library.unsavable if name == kind
        )

    def _new_function(self, builder: int) -> int:
        made: int = self._library.new_function(builder)
        if not self._functions or not self._library.is_wasm_function(_WORD(made).value):
            return made
        isolate = self._isolate
        name = self._library.function_name(made)
        index = int(read_string(self._library, isolate.pointer, name))
        shell = self._functions.pop(index, None)
        if shell is None:
            return made
        become(isolate, shell.slot, made)
        return shell.slot

    def _new_buffer(self, factory: int, store: Span, allocation: int) -> int:
        buffer, self._buffer = self._buffer, None
        library = self._library
        if buffer is None:
            made: int = library.new_buffer(factory, store, allocation)
            return made
        pointer, slot = self._isolate.pointer, buffer.slot
        # A buffer without bytes has no store.
        length, old = library.buffer_length(slot), library.buffer_data(slot)
        kept = library.buffer_take_store(slot) if length else None
        library.buffer_setup(slot, False, False, store, pointer)  # noqa: FBT003 -- C's
        if kept is not None:
            ctypes.memmove(library.buffer_data(slot), old, length)
            # Some buffer has to own the old bytes, so that they are freed.
            owner = library.buffer_new(pointer, 0, 0)
            library.buffer_setup(owner, False, False, kept, pointer)  # noqa: FBT003
        return slot

    # -- the kinds --

    def _module(self, module: dict[str, int]) -> Binary:
        data = self._values[module["bytes"]].bytes()
        with self._in_place(MODULE, self._values[module["at"]]):
            self._compile(data)
        return Binary(data)

    def _compile(self, data: bytes) -> Value:
        held = ctypes.create_string_buffer(data, len(data))
        with TryCatch(self._library, self._isolate.pointer) as caught:
            module = self._library.wasm_compile(
                self._isolate.pointer, Span(ctypes.addressof(held), len(data))
            )
            if not module:
                message = f"the heap's WebAssembly.Module: {caught.exception}"
                raise SnapshotFormatError(message)
            return self._isolate.own(module)

    def _memory(self, memory: dict[str, int]) -> None:
        limits: dict[str, Any] = {"initial": memory["pages"]}
        if memory["maximum"] >= 0:
            limits["maximum"] = memory["maximum"]
        self._buffer = self._values[memory["buffer"]]
        self._made[memory["at"]] = self._anew(MEMORY, memory["at"], limits)

    def _table(self, table: dict[str, Any]) -> None:
        limits = {"element": table["element"], "initial": table["length"]}
        if table["maximum"] is not None:
            limits["maximum"] = table["maximum"]
        self._made[table["at"]] = self._anew(TABLE, table["at"], limits)

    def _anew(self, kind: str, at: int, limits: dict[str, Any]) -> Value:
        """Make a memory or table, in the place of the one that there was, if any."""
        name = kind.partition(".")[2]
        if at < 0:
            return self._new(name, None, self._record(**limits))
        shell = self._values[at]
        with self._in_place(kind, shell):
            return self._new(name, shell, self._record(**limits))

    def _global(self, one: dict[str, Any]) -> None:
        shell = self._values[one["at"]]
        description = self._record(value=one["type"], mutable=one["mutable"])
        value = self._isolate.get(self._values[one["value"]], "0")
        with self._in_place(GLOBAL, shell):
            self._new("Global", shell, description, value)

    def _instance(
        self,
        instance: dict[str, Any],
        left: dict[tuple[int, int], tuple[int, ...]],
    ) -> None:
        isolate = self._isolate
        binary = self._binaries[instance["module"]]
        shell = self._values[instance["at"]]
        functions = {index: self._values[at] for index, at in instance["functions"]}
        owned = sorted({*functions, *(x.place for x in binary.exports if not x.kind)})
        exports = [(wasm_binary.FUNCTION, index) for index in owned]
        for kind, name, shells in (
            (wasm_binary.GLOBAL, GLOBAL, instance["globals"]),
            (wasm_binary.TAG, TAG, instance["tags"]),
        ):
            for at, index in shells.items():
                exports.append((kind, index))
                self._shells[name].append(self._values[int(at)])
        others = [
            key
            for key, entry in left.items()
            if entry[0] == instance["at"] and key[0] not in instance["tables"]
        ]
        exports += [(wasm_binary.FUNCTION, left[key][1]) for key in others]
        patch = Patch(
            {int(at): bytes.fromhex(raw) for at, raw in instance["values"].items()},
            exports,
            list(_runs(instance, left)),
        )
        module = self._compile(binary.variant(patch))
        imports = self._call(
            "variantImports",
            self._values[instance["imports"]],
            [self._made[at] for at in instance["own"]],
        )
        self._functions = functions
        with self._in_place(INSTANCE, shell):
            self._new("Instance", shell, module, imports)
        made = self._call("exportsOf", shell)
        for at, key in enumerate(others, len(exports) - len(others)):
            function = isolate.get(made, str(at))
            self._call("setItem", self._made[key[0]], key[1], function)
        if self._functions or self._shells[GLOBAL] or self._shells[TAG]:
            message = "the heap's exports of WebAssembly weren't made again"
            raise SnapshotFormatError(message)
        for old, new in (
            (made, self._values[instance["exports"]]),
            (module, self._values[instance["module"]]),
        ):
            self._repoint(shell, old, new)

    def _repoint(self, shell: Value, old: Value, new: Value) -> None:
        """Have an instance point to an object of the heap's instead of a new one."""
        address = address_of(shell.slot)
        word = _WORD(old.slot).value & 0xFFFFFFFF
        for offset in range(_HEADER_BYTES, self._size(shell.slot), _TAGGED_BYTES):
            if TAGGED(address + offset).value == word:
                target = _WORD(new.slot).value & 0xFFFFFFFF
                point(self._isolate, address, offset, target)

    def _view(self, view: Value) -> None:
        """Have a view point to its buffer's bytes, which are elsewhere now."""
        library = self._library
        address = address_of(view.slot)
        held = ctypes.c_size_t(self._cage | TAGGED(address + VIEW_BUFFER_OFFSET).value)
        data = library.buffer_data(ctypes.addressof(held))
        offset = int(self._call("offsetOf", view))
        typed, plain = _VIEW_POINTER_OFFSETS
        place = address + (plain if library.IsDataView(view.slot) else typed)
        _WORD(place).value = (data + offset - self._cage) << _SANDBOX_SHIFT


def _runs(
    instance: dict[str, Any], left: dict[tuple[int, int], tuple[int, ...]]
) -> Iterator[tuple[int, int, list[int]]]:
    """Yield what an instance puts into the tables that it has, in one piece each."""
    for number, table in enumerate(instance["tables"]):
        mine = sorted(
            index
            for (at, index), entry in left.items()
            if at == table and entry[0] == instance["at"]
        )
        for _, run in groupby(enumerate(mine), lambda pair: pair[1] - pair[0]):
            indices = [index for _, index in run]
            yield number, indices[0], [left[table, index][1] for index in indices]
