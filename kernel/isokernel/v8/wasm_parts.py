"""WebAssembly taken apart, for a heap to be written.

V8 can write nothing of it. An instance, for one, becomes its module's bytes, its
imports, and what its memories, tables and globals hold; the objects are emptied, and
`wasm_restoration` has V8 fill them again. None of the user's code runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import EngineCheckError, ScriptError, SnapshotFailedError
from isokernel.v8 import wasm_binary
from isokernel.v8.children import Children
from isokernel.v8.live_objects import VIEW
from isokernel.v8.objects import TAG as TAG_BIT
from isokernel.v8.objects import TAGGED, address_of
from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.values import BigInt, Value, to_local, to_python
from isokernel.v8.wasm_binary import Binary, UnsupportedError
from isokernel.v8.wasm_objects import (
    FUNCTION,
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

__all__ = ["KINDS", "Parts", "RefusedError", "empty", "take_apart"]

KINDS: Final = frozenset({FUNCTION, GLOBAL, INSTANCE, MEMORY, MODULE, TABLE, TAG})
"""Kinds of objects that are taken apart here, as in `symbols.UNSAVABLE`."""

_WORD = ctypes.c_size_t.from_address
_SMALL = ctypes.c_int32.from_address
_DEADLINE_SECONDS: Final = 60.0  # as for one attempt to write a heap
_PAGE_BYTES: Final = 65_536
_COMPILED_BYTES: Final = 64  # sizeof(CompiledWasmModule) is 40; room to spare

_HALF: Final = 0xFFFFFFFF  # of a word, which tells an object in V8's heap
_DATA_INSTANCE_OFFSET: Final = 88  # of an instance's data: the instance
_OWNER_OFFSET: Final = 12  # of a Global: a handle of its instance's data
_GLOBAL_TYPE_OFFSET, _GLOBAL_FLAGS_OFFSET = 28, 32
_MEMORY_MAXIMUM_OFFSET: Final = 16
_TABLE_MAXIMUM_OFFSET, _TABLE_TYPE_OFFSET = 20, 24

_TYPES: Final = ("i32", "i64", "f32", "f64", "externref", "anyfunc")
_ELEMENTS: Final = ("anyfunc", "externref")


class RefusedError(Exception):
    """Something of WebAssembly can't be taken apart.

    Attributes:
        kind: The kind of the object that can't.
        value: That object.
        reason: What it has that can't be saved.
    """

    def __init__(self, kind: str, value: Value, reason: str) -> None:
        """Keep what and why."""
        self.kind = kind
        self.value = value
        self.reason = reason
        super().__init__(f"a {kind} can't go on: {reason}")


class Parts(NamedTuple):
    """What was taken apart.

    Attributes:
        data: What `restore` needs, to be written as JSON; objects are indices.
        values: These objects, to be kept in the heap.
        shells: The objects to be emptied, with their kinds.
    """

    data: dict[str, Any]
    values: list[Value]
    shells: list[tuple[str, Value]]


def take_apart(
    isolate: Isolate,
    find: Callable[[str], Value],
    found: Sequence[tuple[str, Value]],
) -> Parts:
    """Find out what all of WebAssembly on the heap can be made again of.

    Args:
        isolate: Access; nothing is changed in it.
        find: Returns functions of the runtime's `webassembly` by their names.
        found: All live objects of `KINDS`, and all views of buffers.

    Raises:
        RefusedError: Something can't be saved.
    """
    with HandleScope(isolate.scope_slots), TryCatch(isolate.library, isolate.pointer):
        return _Taker(isolate, find, found).take()


class _Layout(Access):
    """Reads what V8's objects have and JavaScript can't ask for."""

    def __init__(self, isolate: Isolate, find: Callable[[str], Value]) -> None:
        super().__init__(isolate, find)
        self._global_types = dict(self._known_globals())
        self._table_types = {
            self._word(
                self._new("Table", None, self._record(element=element, initial=0)),
                _TABLE_TYPE_OFFSET,
            ): element
            for element in _ELEMENTS
        }
        limits = self._record(initial=1, maximum=5)
        memory = self._new("Memory", None, limits)
        table = self._new(
            "Table", None, self._record(element="anyfunc", initial=1, maximum=5)
        )
        if (
            len(self._global_types) != 2 * len(_TYPES)
            or len(self._table_types) != len(_ELEMENTS)
            or self.memory_maximum(memory) != 5  # noqa: PLR2004 -- as above
            or self.table_maximum(table) != 5  # noqa: PLR2004 -- as above
        ):
            what = "WebAssembly"
            raise EngineCheckError(what, "V8's objects have another form")

    def _known_globals(self) -> Iterator[tuple[tuple[int, int], tuple[str, bool]]]:
        for type_ in _TYPES:
            for mutable in (False, True):
                description = self._record(value=type_, mutable=mutable)
                initial = BigInt(0) if type_ == "i64" else None
                made = self._new("Global", None, description, initial)
                yield self._global_key(made), (type_, mutable)

    def _word(self, value: Value, offset: int) -> int:
        return TAGGED(address_of(value.slot) + offset).value

    def _global_key(self, value: Value) -> tuple[int, int]:
        return (
            self._word(value, _GLOBAL_TYPE_OFFSET),
            self._word(value, _GLOBAL_FLAGS_OFFSET),
        )

    def global_type(self, value: Value) -> tuple[str, bool] | None:
        """Return type and mutability of a Global."""
        return self._global_types.get(self._global_key(value))

    def table_type(self, value: Value) -> str | None:
        """Return the type of a Table's elements."""
        return self._table_types.get(self._word(value, _TABLE_TYPE_OFFSET))

    def memory_maximum(self, value: Value) -> int:
        """Return the pages that a Memory may have; negative if that isn't limited."""
        return _SMALL(address_of(value.slot) + _MEMORY_MAXIMUM_OFFSET).value >> 1

    def table_maximum(self, value: Value) -> Any:
        """Return the elements that a Table may have; undefined if it isn't limited."""
        word = self._word(value, _TABLE_MAXIMUM_OFFSET)
        held = ctypes.c_size_t(self._cage | word if word & TAG_BIT else word)
        return to_python(self._isolate, ctypes.addressof(held))


class _Taker(Access):
    def __init__(
        self,
        isolate: Isolate,
        find: Callable[[str], Value],
        found: Sequence[tuple[str, Value]],
    ) -> None:
        super().__init__(isolate, find)
        self._layout = _Layout(isolate, find)
        self._found = [item for item in found if item[0] != VIEW]
        self._by_kind: dict[str, list[tuple[int, Value]]] = defaultdict(list)
        for at, (kind, value) in enumerate(self._found):
            self._by_kind[kind].append((at, value))
        self._views = [value for kind, value in found if kind == VIEW]
        self._values: list[Value] = []
        self._binaries: dict[int, Binary] = {}  # by a module's word
        self._private = 0  # how many memories and tables only instances have
        limits = self._record(element="anyfunc", initial=1)
        self._probe = self._new("Table", None, limits)

    def _all(self, kind: str) -> list[tuple[int, Value]]:
        return self._by_kind[kind]

    def _keep(self, value: Value) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _place(self, handle: int) -> int | None:
        """Return which of the found objects this is."""
        word = _WORD(handle).value
        for at, (_, value) in enumerate(self._found):
            if _WORD(value.slot).value == word:
                return at
        return None

    def take(self) -> Parts:
        for _, value in self._found:
            self._keep(value)
        data: dict[str, Any] = {
            "modules": [self._module(at, value) for at, value in self._all(MODULE)],
            "memories": [self._memory(at, value) for at, value in self._all(MEMORY)],
            "tables": [self._table(at, value) for at, value in self._all(TABLE)],
        }
        insides, blobs = _in_another_process(self._isolate, self._insides)
        self._keep_private(data, insides, blobs)
        instances = self._taken_instances(insides)
        exported = {at for one in instances for at in (*one["globals"], *one["tags"])}
        data["globals"] = [
            self._global(at, value)
            for at, value in self._all(GLOBAL)
            if at not in exported
        ]
        for at, value in self._all(TAG):
            if at not in exported:
                raise RefusedError(TAG, value, "no instance exports it")
        data["instances"] = instances
        data["views"] = self._kept_views()
        self._call("setItem", self._probe, 0, None)
        return Parts(data, self._values, list(self._found))

    # -- modules, memories, tables, globals --

    def _module(self, at: int, value: Value) -> dict[str, int]:
        library = self._library
        compiled = ctypes.create_string_buffer(_COMPILED_BYTES)
        library.wasm_compiled(compiled, value.slot)
        span = library.wasm_bytes(compiled)
        data = ctypes.string_at(span.data, span.size)
        bytes_ = self._isolate.own(to_local(self._isolate, data))
        return {"at": at, "bytes": self._keep(bytes_)}

    def _memory(
        self, at: int, value: Value, blobs: list[bytes] | None = None
    ) -> dict[str, int]:
        buffer = self._call("bufferOf", value)
        if self._library.IsSharedArrayBuffer(buffer.slot):
            raise RefusedError(MEMORY, value, "it is shared (threads)")
        if not self._call("isFixed", buffer):
            raise RefusedError(MEMORY, value, "its buffer is resizable")
        if blobs is None:
            kept = self._keep(buffer)
        else:
            kept = len(blobs)
            blobs.append(_used(buffer.bytes()))
        return {
            "at": at,
            "buffer": kept,
            "pages": self._library.buffer_length(buffer.slot) // _PAGE_BYTES,
            "maximum": self._layout.memory_maximum(value),
        }

    def _table(self, at: int, value: Value) -> dict[str, Any]:
        element = self._layout.table_type(value)
        if element is None:
            raise RefusedError(TABLE, value, "it has typed references")
        length = int(self._call("lengthOf", value))
        taken: dict[str, Any] = {"at": at, "element": element, "length": length}
        maximum = self._layout.table_maximum(value)
        taken["maximum"] = int(maximum) if isinstance(maximum, (int, float)) else None
        if element == "anyfunc":
            taken["functions"] = [self._entry(value, index) for index in range(length)]
        else:
            taken["items"] = self._keep(self._call("itemsOf", value))
        return taken

    def _entry(self, table: Value, index: int) -> tuple[int, int] | None:
        """Return the function in a table: its instance's place, and its index."""
        valid, null = ctypes.c_bool(), ctypes.c_bool()
        data, other = ctypes.c_size_t(), ctypes.c_size_t()
        function = ctypes.c_int()
        self._library.wasm_table_entry(
            self._isolate.pointer,
            table.slot,
            index,
            *(ctypes.addressof(out) for out in (valid, null, data, function, other)),
        )
        if null.value:
            return None
        if not valid.value or not data.value:
            raise RefusedError(TABLE, table, "it has a function of unknown origin")
        owner = self._owner(data.value)
        if owner is None:
            raise RefusedError(TABLE, table, "it has a function of a lost instance")
        return owner, function.value

    def _owner(self, data: int) -> int | None:
        """Return which instance has this data, which refer to it."""
        word = TAGGED(address_of(data) + _DATA_INSTANCE_OFFSET).value
        for at, value in self._all(INSTANCE):
            if _WORD(value.slot).value & _HALF == word:
                return at
        return None

    def _origin(self, function: Value) -> tuple[int, int]:
        """Return the instance's place and the index of a function."""
        try:
            self._call("setItem", self._probe, 0, function)
        except ScriptError as error:
            raise RefusedError(FUNCTION, function, str(error)) from error
        entry = self._entry(self._probe, 0)
        assert entry is not None  # noqa: S101 -- it was set
        return entry

    def _global(self, at: int, value: Value) -> dict[str, Any]:
        type_ = self._layout.global_type(value)
        if type_ is None or self._owned(value):
            raise RefusedError(GLOBAL, value, "its type or its instance is unknown")
        held = self._keep(self._call("valueOf", value))
        return {"at": at, "type": type_[0], "mutable": type_[1], "value": held}

    def _owned(self, value: Value) -> int:
        return TAGGED(address_of(value.slot) + _OWNER_OFFSET).value

    # -- instances --

    def _keep_private(
        self, data: dict[str, Any], insides: list[dict[str, Any]], blobs: list[bytes]
    ) -> None:
        """Add the memories and tables that only instances have, which V8 made there."""
        for inside in insides:
            for memory in inside.get("own memories", ()):
                raw = blobs[memory["buffer"]]
                buffer = self._library.buffer_new(self._isolate.pointer, len(raw), 0)
                kept = self._isolate.own(buffer)
                kept.fill(raw)
                memory["buffer"] = self._keep(kept)
                data["memories"].append(memory)
            data["tables"] += inside.get("own tables", ())

    def _taken_instances(self, insides: list[dict[str, Any]]) -> list[dict[str, Any]]:
        functions: dict[int, dict[int, int]] = defaultdict(dict)
        for at, value in self._all(FUNCTION):
            owner, index = self._origin(value)
            if index in functions[owner]:
                # WebAssembly.promising makes another one of a function.
                raise RefusedError(FUNCTION, value, "it is one of two for the same")
            functions[owner][index] = at
        taken = [
            self._instance(at, value, inside, functions[at])
            for (at, value), inside in zip(self._all(INSTANCE), insides, strict=True)
        ]
        taken.sort(key=lambda one: int(one["order"]))
        return taken

    def _binary(self, module: int) -> Binary:
        binary = self._binaries.get(module)
        if binary is None:
            compiled = ctypes.create_string_buffer(_COMPILED_BYTES)
            self._library.wasm_compiled(compiled, self._found[module][1].slot)
            span = self._library.wasm_bytes(compiled)
            data = ctypes.string_at(span.data, span.size)
            binary = self._binaries[module] = Binary(data)
        return binary

    def _instance(
        self,
        at: int,
        value: Value,
        inside: dict[str, Any],
        functions: dict[int, int],
    ) -> dict[str, Any]:
        isolate = self._isolate
        made_of = self._call("importsOf", value)
        if not isinstance(made_of, Value):
            raise RefusedError(INSTANCE, value, "what it was made of is unknown")
        if "error" in inside:
            raise RefusedError(INSTANCE, value, f"its module has {inside['error']}")
        binary = self._binary(inside["module"])
        values = isolate.get(made_of, "1")
        if isolate.get(values, "length") != len(binary.imports):
            reason = "its module has imports that V8 provides (builtins)"
            raise RefusedError(INSTANCE, value, reason)
        exports = self._call("exportsOf", value)
        tables, memories = (
            inside[name][binary.imported(kind) :]
            for name, kind in (
                ("tables", wasm_binary.TABLE),
                ("memories", wasm_binary.MEMORY),
            )
        )
        shells = self._exported(binary, exports)
        return {
            "at": at,
            "order": isolate.get(made_of, "0"),
            "module": inside["module"],
            "imports": self._keep(values),
            "exports": self._keep(exports),
            "values": inside["globals"],
            "own": [*tables, *memories],
            "tables": inside["tables"],
            "functions": sorted(functions.items()),
            "globals": dict(shells[wasm_binary.GLOBAL]),
            "tags": dict(shells[wasm_binary.TAG]),
        }

    def _exported(
        self, binary: Binary, exports: Value
    ) -> dict[int, list[tuple[int, int]]]:
        """Return (place, index) of the globals and tags that an instance has made."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for export in binary.exports:
            if export.kind not in (wasm_binary.GLOBAL, wasm_binary.TAG):
                continue
            if export.place < binary.imported(export.kind):
                continue
            place = self._place(self._isolate.get(exports, export.name).slot)
            if place is not None:
                found[export.kind].append((place, export.place))
        return found

    def _insides(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Ask V8 for what instances have; leaves its debugger's objects behind."""
        blobs: list[bytes] = []
        found = [self._inside(value, blobs) for _, value in self._all(INSTANCE)]
        return found, blobs

    def _inside(self, value: Value, blobs: list[bytes]) -> dict[str, Any]:
        isolate, library = self._isolate, self._library
        listed = isolate.own(library.internal_properties(isolate.pointer, value.slot))
        count = isolate.get(listed, "length")
        found = {
            isolate.get(listed, str(at)): isolate.get(listed, str(at + 1))
            for at in range(0, count, 2)
        }
        module = self._place(found["[[Module]]"].slot)
        assert module is not None  # noqa: S101 -- it is alive
        inside: dict[str, Any] = {"module": module}
        try:
            binary = self._binary(module)
            for name, kind, own in (
                ("tables", wasm_binary.TABLE, binary.tables),
                ("memories", wasm_binary.MEMORY, binary.memories),
            ):
                total = binary.imported(kind) + len(own)
                inside[name] = [
                    self._place_of(
                        isolate.get(found[f"[[{name.title()}]]"], str(at)),
                        inside.setdefault(f"own {name}", []),
                        blobs,
                    )
                    for at in range(total)
                ]
            inside["globals"] = self._initials(binary, found)
        except UnsupportedError as error:
            return {"module": module, "error": str(error)}
        return inside

    def _place_of(
        self, value: Value, own: list[dict[str, Any]], blobs: list[bytes]
    ) -> int:
        """Return where a memory or table is; one that V8 has just made is described."""
        place = self._place(value.slot)
        if place is not None:
            return place
        self._private += 1
        place = -self._private
        if self._library.IsWasmMemoryObject(value.slot):
            memory = self._memory(place, value, blobs)
            own.append(memory)
        else:
            if self._layout.table_type(value) != "anyfunc":
                message = "a table of objects that it doesn't export"
                raise UnsupportedError(message)
            own.append(self._table(place, value))
        return place

    def _initials(self, binary: Binary, found: dict[str, Value]) -> dict[int, str]:
        """Return the expressions of what an instance's globals hold now."""
        initials: dict[int, str] = {}
        imported = binary.imported(wasm_binary.GLOBAL)
        for at, one in enumerate(binary.globals):
            if one.mutable:
                held = self._isolate.get(found["[[Globals]]"], str(imported + at))
                held = self._isolate.get(held, "value")
                initials[at] = self._expression(one.type, held).hex()
        return initials

    def _expression(self, type_: str, value: Any) -> bytes:
        if type_ in ("i32", "i64"):
            return wasm_binary.constant(type_, int(value))
        if type_ in ("f32", "f64"):
            raw = struct.pack("<f" if type_ == "f32" else "<d", value)
            return wasm_binary.constant(type_, raw)
        if value is None and type_ in _ELEMENTS:
            return wasm_binary.null_reference(type_)
        message = f"variables of type {type_}, whose values can't be saved"
        raise UnsupportedError(message)

    # -- views --

    def _kept_views(self) -> list[int]:
        """Keep the views of memories."""
        buffers = {
            _WORD(self._call("bufferOf", value).slot).value & _HALF
            for _, value in self._all(MEMORY)
        }
        return [
            self._keep(view)
            for view in self._views
            if TAGGED(address_of(view.slot) + VIEW_BUFFER_OFFSET).value in buffers
        ]


def _in_another_process(
    isolate: Isolate, work: Callable[[], tuple[Any, list[bytes]]]
) -> tuple[Any, list[bytes]]:
    """Return what a function returns in a copy of this process: JSON and bytes."""

    def write() -> None:
        data, blobs = work()
        head = {"data": data, "sizes": [len(blob) for blob in blobs]}
        with open(file, "wb", closefd=False) as stream:
            stream.write(json.dumps(head).encode() + b"\n")
            stream.writelines(blobs)

    file = os.memfd_create("isokernel-parts")
    try:
        with Children(isolate) as children:
            outcome = children.run(write, _DEADLINE_SECONDS)
        if outcome.status:
            message = f"WebAssembly instances can't be read: {outcome.reason}"
            raise SnapshotFailedError(message)
        with open(file, "rb", closefd=False) as stream:
            stream.seek(0)
            head = json.loads(stream.readline())
            return head["data"], [stream.read(size) for size in head["sizes"]]
    finally:
        os.close(file)


def empty(isolate: Isolate, parts: Parts, donor: Value) -> None:
    """Take out of objects what V8 can't write. They must not be used any more.

    Args:
        isolate: What they are in.
        parts: What was taken apart.
        donor: A plain function without a prototype, which functions become like.
    """
    with isolate.entered(), HandleScope(isolate.scope_slots):
        for kind, value in parts.shells:
            if kind == FUNCTION:
                become(isolate, value.slot, donor.slot)
            else:
                clear(isolate, value.slot)
        for memory in parts.data["memories"]:
            _shorten(isolate, parts.values[memory["buffer"]])


def _used(data: bytes) -> bytes:
    """Cut off the zeros at the end of a memory, which a new one has anyway."""
    return data.rstrip(b"\0") or b"\0"


def _shorten(isolate: Isolate, buffer: Value) -> None:
    """Give a memory's buffer other bytes: those that are used.

    Most memories have megabytes of zeros, which would be written and read. Views keep
    the places that they have.
    """
    library, pointer = isolate.library, isolate.pointer
    data = buffer.bytes()
    used = _used(data)
    if len(used) == len(data) or not data:
        return
    fresh = library.buffer_new(pointer, len(used), 0)
    ctypes.memmove(library.buffer_data(fresh), used, len(used))
    store = library.buffer_take_store(fresh)
    library.buffer_take_store(buffer.slot)  # of a process that ends soon
    library.buffer_setup(buffer.slot, False, False, store, pointer)  # noqa: FBT003 -- C's
