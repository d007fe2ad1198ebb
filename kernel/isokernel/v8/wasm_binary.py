"""WebAssembly's binary format, as far as a module has to be changed for a saved heap.

An instance goes on from a heap as an instance of a variant of its module: memories and
tables are imported, globals begin with the values that they had, nothing is copied into
memories or tables, and nothing is run at the start. Functions are the same, and all
indices. The format: https://webassembly.github.io/spec/core/binary/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

_T = TypeVar("_T")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FUNCTION", "GLOBAL", "MEMORY", "TABLE", "TAG", "Binary", "Patch"]
__all__ += ["UnsupportedError", "constant", "null_reference"]

FUNCTION, TABLE, MEMORY, GLOBAL, TAG = range(5)
_TYPES, _IMPORTS, _FUNCTIONS, _TABLES, _MEMORIES, _GLOBALS = 1, 2, 3, 4, 5, 6
_EXPORTS, _START, _ELEMENTS, _CODE, _DATA, _DATA_COUNT, _TAGS = 7, 8, 9, 10, 11, 12, 13
_ORDER: Final = (
    *(_TYPES, _IMPORTS, _FUNCTIONS, _TABLES, _MEMORIES, _TAGS, _GLOBALS),
    *(_EXPORTS, _START, _ELEMENTS, _DATA_COUNT, _CODE, _DATA),
)
_MAGIC: Final = b"\0asm\1\0\0\0"

_NUMERIC: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
_FUNCREF, _EXTERNREF = 0x70, 0x6F
_REFERENCES: Final = {_FUNCREF: "anyfunc", _EXTERNREF: "externref"}
_FUNCTION_TYPE: Final = 0x60
_HAS_MAXIMUM, _SHARED, _WIDE = 1, 2, 4
_WITH_INITIAL: Final = 0x40  # a table's type begins with it if it has an initial value

_END: Final = 0x0B
_GLOBAL_GET, _REF_NULL, _REF_FUNC = 0x23, 0xD0, 0xD2
_I32_CONST: Final = 0x41
_VECTOR, _V128_CONST = 0xFD, 12
_CONSTANTS: Final = {"i32": 0x41, "i64": 0x42, "f32": 0x43, "f64": 0x44}
_WIDTHS: Final = {0x43: 4, 0x44: 8}
_WITH_INDEX: Final = (0x41, 0x42, _GLOBAL_GET, _REF_NULL, _REF_FUNC)
_WITHOUT: Final = (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E)  # additions and the like
_DATA_DROP, _ELEM_DROP = b"\xfc\x09", b"\xfc\x0d"

# Bits of an element segment's flags; of a data segment's only the first.
_NOT_ACTIVE, _WITH_PLACE, _OF_EXPRESSIONS = 1, 2, 4
_PASSIVE, _DECLARATIVE = 1, 3

_OURS: Final = "i"
"""The name of the one module that a variant imports from; imports are its elements."""


class UnsupportedError(Exception):
    """The module has something that an instance can't go on with; says what."""


class Export(NamedTuple):
    """An entry of the export section; its place is the index among its kind."""

    name: str
    kind: int
    place: int


class Global(NamedTuple):
    """A global that the module defines.

    Attributes:
        type: `i32` and the like, `anyfunc`, `externref`.
        mutable: Whether it can change.
        raw: Its type's bytes.
        initial: The expression of its first value, with its end.
    """

    type: str
    mutable: bool
    raw: bytes
    initial: bytes


class Patch(NamedTuple):
    """What a variant has other than its module.

    Attributes:
        globals: The expressions of the first values, for those that have others.
        exports: (kind, index) of what is exported, under the names "0", "1" and so on.
        elements: (table, first index, functions) of what is put into tables.
    """

    globals: dict[int, bytes]
    exports: list[tuple[int, int]]
    elements: list[tuple[int, int, Sequence[int]]]


class Binary:
    """A module's bytes, taken apart.

    Attributes:
        imports: (kind, type) of each import, the type as its bytes.
        tables: The types of the tables that it defines, as bytes.
        memories: The same of its memories.
        globals: What it defines.
        exports: What it exports.
    """

    def __init__(self, data: bytes) -> None:
        """Read a module that V8 has compiled.

        Raises:
            UnsupportedError: It can't be put together again.
        """
        self._sections: dict[int, bytes] = {}
        self._names = b""
        reader = _Reader(data, len(_MAGIC))
        while reader.left:
            number = reader.byte()
            body = reader.take(reader.unsigned())
            if number:
                self._sections[number] = body
            elif _Reader(body).name() == "name":
                self._names = body
        self.imports: list[tuple[int, bytes]] = []
        self._items(_TYPES, _check_type)
        self._items(_IMPORTS, self._read_import)
        self.tables = self._items(_TABLES, _table_type)
        self.memories = self._items(_MEMORIES, _memory_type)
        self.globals = self._items(_GLOBALS, _global)
        self.exports = self._items(_EXPORTS, _export)
        code = self._sections.get(_CODE, b"")
        drops = _ELEM_DROP in code
        self._elements = self._items(
            _ELEMENTS, lambda reader: _element(reader, drops=drops)
        )
        drops_data = _DATA_DROP in code
        self._data = self._items(
            _DATA, lambda reader: _segment(reader, drops=drops_data)
        )

    def imported(self, kind: int) -> int:
        """Return how many things of a kind are imported."""
        return sum(found == kind for found, _ in self.imports)

    def variant(self, patch: Patch) -> bytes:
        """Return the variant's bytes; see the module.

        It imports `i[0]`, `i[1]` and so on: what the module does, then its tables, then
        its memories.
        """
        sections = dict(self._sections)
        imports = list(self.imports)
        imports += [(TABLE, type_) for type_ in self.tables]
        imports += [(MEMORY, type_) for type_ in self.memories]
        sections[_IMPORTS] = _vector(
            _name(_OURS) + _name(str(at)) + bytes((kind,)) + type_
            for at, (kind, type_) in enumerate(imports)
        )
        sections[_GLOBALS] = _vector(
            one.raw + patch.globals.get(at, one.initial)
            for at, one in enumerate(self.globals)
        )
        sections[_EXPORTS] = _vector(
            _name(str(at)) + bytes((kind,)) + _unsigned(index)
            for at, (kind, index) in enumerate(patch.exports)
        )
        sections[_ELEMENTS] = _vector((*self._elements, *map(_active, patch.elements)))
        if self._data:
            sections[_DATA] = _vector(self._data)
        for gone in (_TABLES, _MEMORIES, _START):
            sections.pop(gone, None)
        parts = [_MAGIC]
        parts += [
            _section(number, sections[number])
            for number in _ORDER
            if sections.get(number, b"\0") != b"\0"  # not an empty vector
        ]
        if self._names:
            parts.append(_section(0, self._names))
        return b"".join(parts)

    def _items(self, number: int, read: Callable[[_Reader], _T]) -> list[_T]:
        reader = _Reader(self._sections.get(number, b"\0"))
        return [read(reader) for _ in range(reader.unsigned())]

    def _read_import(self, reader: _Reader) -> None:
        reader.name()
        reader.name()
        kind = reader.byte()
        start = reader.at
        if kind == FUNCTION:
            reader.unsigned()
        elif kind == TABLE:
            _table_type(reader)
        elif kind == MEMORY:
            _memory_type(reader)
        elif kind == GLOBAL:
            reader.value_type()
            reader.byte()
        elif kind == TAG:
            reader.byte()
            reader.unsigned()
        else:
            raise UnsupportedError(_COMPACT)
        self.imports.append((kind, reader.data[start : reader.at]))


_COMPACT: Final = "imports of an unknown kind"
_TYPED: Final = "typed references (garbage collection)"


def constant(type_: str, value: int | bytes) -> bytes:
    """Return the expression of a value: an integer, or a float's or vector's bytes."""
    end = bytes((_END,))
    if type_ == "v128":
        assert isinstance(value, bytes)  # noqa: S101
        return bytes((_VECTOR, _V128_CONST)) + value + end
    raw = _signed(value) if isinstance(value, int) else value
    return bytes((_CONSTANTS[type_],)) + raw + end


def null_reference(type_: str) -> bytes:
    """Return the expression of a reference to nothing."""
    byte = next(byte for byte, name in _REFERENCES.items() if name == type_)
    return bytes((_REF_NULL, byte, _END))


# -- reading -----------------------------------------------------------------------


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def unsigned(self) -> int:
        """Read an integer; one that is signed is at least passed over."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 -- the last one
                return value

    def name(self) -> str:
        return self.take(self.unsigned()).decode()

    def value_type(self) -> str:
        byte = self.byte()
        found = _NUMERIC.get(byte) or _REFERENCES.get(byte)
        if found is None:
            raise UnsupportedError(_TYPED)
        return found

    def expression(self) -> bytes:
        """Read a constant expression, with its end."""
        start = self.at
        while (code := self.byte()) != _END:
            if code in _WITH_INDEX:
                self.unsigned()
            elif code in _WIDTHS:
                self.take(_WIDTHS[code])
            elif code == _VECTOR and self.byte() == _V128_CONST:
                self.take(16)
            elif code not in _WITHOUT:
                raise UnsupportedError(_TYPED)
        return self.data[start : self.at]


def _check_type(reader: _Reader) -> None:
    if reader.byte() != _FUNCTION_TYPE:
        raise UnsupportedError(_TYPED)
    for _ in range(2):  # parameters, results
        for _ in range(reader.unsigned()):
            reader.value_type()


def _limits(reader: _Reader) -> None:
    flags = reader.byte()
    if flags & _SHARED:
        message = "shared memory (threads)"
        raise UnsupportedError(message)
    if flags & _WIDE:
        message = "64-bit addresses"
        raise UnsupportedError(message)
    reader.unsigned()
    if flags & _HAS_MAXIMUM:
        reader.unsigned()


def _table_type(reader: _Reader) -> bytes:
    start = reader.at
    if reader.data[start] == _WITH_INITIAL:
        raise UnsupportedError(_TYPED)
    reader.value_type()
    _limits(reader)
    return reader.data[start : reader.at]


def _memory_type(reader: _Reader) -> bytes:
    start = reader.at
    _limits(reader)
    return reader.data[start : reader.at]


def _global(reader: _Reader) -> Global:
    start = reader.at
    type_ = reader.value_type()
    mutable = bool(reader.byte())
    raw = reader.data[start : reader.at]
    return Global(type_, mutable, raw, reader.expression())


def _export(reader: _Reader) -> Export:
    return Export(reader.name(), reader.byte(), reader.unsigned())


def _element(reader: _Reader, *, drops: bool) -> bytes:
    """Read an element segment; return one that is used up, as it is after the start."""
    flags = reader.unsigned()
    active = not flags & _NOT_ACTIVE
    if active:
        if flags & _WITH_PLACE:
            reader.unsigned()
        reader.expression()
    elif not flags & _WITH_PLACE and drops:
        message = "element segments that may have been dropped (elem.drop)"
        raise UnsupportedError(message)
    of_expressions = flags & _OF_EXPRESSIONS
    type_ = _FUNCREF if of_expressions else 0
    if flags & (_NOT_ACTIVE | _WITH_PLACE):
        type_ = reader.byte()
    start = reader.at
    for _ in range(reader.unsigned()):
        if of_expressions:
            reader.expression()
        else:
            reader.unsigned()
    kind = _DECLARATIVE if active else flags & _DECLARATIVE
    return bytes((kind | of_expressions, type_)) + reader.data[start : reader.at]


def _segment(reader: _Reader, *, drops: bool) -> bytes:
    """Read a data segment; return one that is used up, as it is after the start."""
    flags = reader.unsigned()
    if not flags & _NOT_ACTIVE:
        if flags & _WITH_PLACE:
            reader.unsigned()
        reader.expression()
        reader.take(reader.unsigned())
        return bytes((_PASSIVE, 0))
    if drops:
        message = "data segments that may have been dropped (data.drop)"
        raise UnsupportedError(message)
    return bytes((_PASSIVE,)) + _bytes(reader.take(reader.unsigned()))


# -- writing -----------------------------------------------------------------------


def _unsigned(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- what fits into seven bits
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _signed(number: int) -> bytes:
    parts = bytearray()
    while not -0x40 <= number < 0x40:  # noqa: PLR2004 -- seven bits with a sign
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number & 0x7F)
    return bytes(parts)


def _bytes(data: bytes) -> bytes:
    return _unsigned(len(data)) + data


def _name(text: str) -> bytes:
    return _bytes(text.encode())


def _vector(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return _unsigned(len(listed)) + b"".join(listed)


def _section(number: int, body: bytes) -> bytes:
    return bytes((number,)) + _bytes(body)


def _active(element: tuple[int, int, Sequence[int]]) -> bytes:
    """Return an element segment that puts functions into a table."""
    table, first, functions = element
    # A 32-bit address may be above the signed integers.
    first -= (first & 0x80000000) << 1
    return (
        bytes((_WITH_PLACE,))
        + _unsigned(table)
        + bytes((_I32_CONST,))
        + _signed(first)
        + bytes((_END, 0))
        + _vector(_unsigned(index) for index in functions)
    )
