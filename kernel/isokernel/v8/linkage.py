"""Functions of ours in the place of functions of V8's, where V8 offers no callback.

The library calls what it exports through a table of addresses, which the dynamic linker
has filled when it was loaded: an address in it can be exchanged. That holds for ELF and
its `DT_JMPREL`; elsewhere V8 stays as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from isokernel.v8.library import Library

__all__ = [
    "Code",
    "address_of",
    "failed",
    "first_true",
    "machine_code",
    "only_for",
    "prepare",
    "replace",
    "replaced",
    "word",
]

_WORD = ctypes.c_size_t.from_address
_WORD_BYTES: Final = 8
# struct link_map of glibc and musl: {l_addr, l_name, l_ld, ...}
_LD_OFFSET: Final = 16
_DT_PLTRELSZ, _DT_JMPREL = 2, 23
_RELA_BYTES: Final = 24  # {r_offset, r_info, r_addend}
_READ, _READ_WRITE, _READ_EXECUTE = 1, 3, 5

_NUMBERS: Final = 256
"""Below which numbers are looked up by `only_for`'s code; what it calls gets others."""

_KEPT: Final[list[object]] = []
"""ctypes's function objects, which must live as long as V8 may call them."""

_FAILED: Final[set[str]] = set()
"""Names of functions that couldn't be replaced."""


class Code(NamedTuple):
    """Machine code of ours.

    Attributes:
        address: Where it begins.
        memory: What has it; to be kept as long as V8 may call it.
    """

    address: int
    memory: object


class _Table(NamedTuple):
    """Where the addresses are, and what was there at the start."""

    start: int
    addresses: bytes


def replace(
    library: Library, name: str, function: Callable[..., Any], *, refusals: bool = False
) -> bool:
    """Have V8 call a function of ours instead of `library.<name>`; for good.

    Args:
        library: V8's functions; `library.<name>` still calls V8's own.
        name: One of `symbols.PROTOTYPES`, which says arguments and result too.
        function: Called on whatever thread V8 runs; it must not raise.
        refusals: V8's own, of two arguments, is called first, and `function` only where
            it returns false, which makes a question that is asked often cost nothing.
            Where that can't be done, `function` is called always.

    Returns:
        Whether it was done; see `failed`.
    """
    done = _replace(library, name, function, refusals=refusals)
    if not done:
        _FAILED.add(name)
    return done


@contextlib.contextmanager
def replaced(
    library: Library, functions: dict[str, Callable[..., Any]]
) -> Iterator[bool]:
    """Replace functions as `replace` does, in a `with` block.

    Args:
        library: V8's functions.
        functions: Ours, by the names of V8's.

    Yields:
        Whether all were replaced; if not, V8 stays as it is.
    """
    kept = len(_KEPT)
    slots = {name: _slot(library, name) for name in functions}
    found = {name: slot for name, slot in slots.items() if slot is not None}
    if len(found) < len(functions):
        yield False
        return
    before = {slot: _WORD(slot).value for slot in found.values()}
    try:
        yield all(
            _write(found[name], _target(library, name, function))
            for name, function in functions.items()
        )
    finally:
        for slot, word in before.items():
            _write(slot, word)
        del _KEPT[kept:]


def prepare(library: Library, names: Iterable[str]) -> None:
    """Look up what `replaced` needs, so that processes that are forked later have it.

    Args:
        library: V8's functions.
        names: Of those that will be replaced.
    """
    _mprotect()
    for name in names:
        _slot(library, name)
        _prototype(library, name)


def only_for(numbers: Collection[int], function: int) -> int:
    """Have a callback called only where its second argument is one of some numbers.

    It returns nothing. A callback in Python takes microseconds, most of what V8 reports
    is of no interest, and some is reported by calls that take a tenth of that.

    Args:
        numbers: Integers from 0 to 255.
        function: Address of the callback.

    Returns:
        Address of machine code; of the callback itself for other processors, and where
        the system allows no code.
    """
    wanted = bytes(number in numbers for number in range(_NUMBERS))
    table = ctypes.create_string_buffer(wanted, _NUMBERS)
    _KEPT.append(table)
    code = _permanent(
        b"\x81\xfe" + _NUMBERS.to_bytes(4, "little"),  # cmp esi, 256
        b"\x73\x13",  # jae to the last mov
        b"\x48\xb8" + word(ctypes.addressof(table)),  # mov rax, table
        b"\x89\xf1",  # mov ecx, esi
        b"\x80\x3c\x08\x00",  # cmp byte [rax + rcx], 0
        b"\x75\x01\xc3",  # jne over the next; ret
        b"\x48\xb8" + word(function),  # mov rax, function
        b"\xff\xe0",  # jmp rax
    )
    return function if code is None else code


def first_true(functions: Sequence[Any]) -> Callable[[int], int]:
    """Make one call of asking many predicates of V8's about one value.

    Args:
        functions: Each takes a handle and returns a C++ bool; ctypes has them.

    Returns:
        What takes a handle and returns the place of the first that is true for it; how
        many there are if none is.
    """
    count = len(functions)

    def ask(handle: int) -> int:
        return next((i for i in range(count) if functions[i](handle)), count)

    table = (ctypes.c_void_p * count)(*map(address_of, functions))
    _KEPT.append(table)
    code = _permanent(
        b"\x53\x41\x54\x48\x83\xec\x08",  # push rbx; push r12; sub rsp, 8
        b"\x49\x89\xfc\x31\xdb",  # mov r12, rdi; xor ebx, ebx
        # mov rax, table; mov rdi, r12; call [rax + rbx * 8]
        b"\x48\xb8" + word(ctypes.addressof(table)),
        b"\x4c\x89\xe7\xff\x14\xd8",
        b"\x84\xc0\x75\x0a",  # test al, al; jnz to the end
        b"\xff\xc3",  # inc ebx
        b"\x81\xfb" + count.to_bytes(4, "little"),  # cmp ebx, count
        b"\x75\xe2",  # jne to the table
        b"\x89\xd8",  # the end: mov eax, ebx
        b"\x48\x83\xc4\x08\x41\x5c\x5b\xc3",  # add rsp, 8; pop r12; pop rbx; ret
    )
    if code is None:
        return ask
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(code)


def address_of(function: Any) -> int:
    """Return where a function of ctypes's begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def word(value: int) -> bytes:
    """Return a number or an address as machine code has it."""
    return value.to_bytes(_WORD_BYTES, "little")


def failed() -> list[str]:
    """Return the names of V8's functions that couldn't be replaced in this process."""
    return sorted(_FAILED)


def _replace(
    library: Library, name: str, function: Callable[..., Any], *, refusals: bool
) -> bool:
    slot = _slot(library, name)
    if slot is None:
        return False
    target = _target(library, name, function)
    if refusals:
        target = _after(address_of(getattr(library, name)), target) or target
    return _write(slot, target)


@functools.cache
def _slot(library: Library, name: str) -> int | None:
    """Return where the address of a function stands in the table."""
    table = _table(library)
    if table is None:
        return None
    address = address_of(getattr(library, name))
    place = table.addresses.find(address.to_bytes(_WORD_BYTES, sys.byteorder))
    return None if place < 0 or place % _WORD_BYTES else table.start + place


def _target(library: Library, name: str, function: Callable[..., Any]) -> int:
    """Make a C function of one in Python; returns its address."""
    callback = _prototype(library, name)(function)
    _KEPT.append(callback)
    return address_of(callback)


def _prototype(library: Library, name: str) -> Callable[..., Any]:
    """Return the type of a function; ctypes keeps it."""
    original = getattr(library, name)
    return ctypes.CFUNCTYPE(original.restype, *original.argtypes)


def _write(slot: int, address: int) -> bool:
    page = slot // mmap.PAGESIZE * mmap.PAGESIZE
    if not _protect(page, _READ_WRITE):
        return False
    _WORD(slot).value = address
    _protect(page, _READ)
    return True


def _protect(page: int, access: int) -> bool:
    return not _mprotect()(page, mmap.PAGESIZE, access)


@functools.cache
def _mprotect() -> Any:
    """Return the C function; looked up once, as that takes 0.1 ms."""
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return protect


def _after(first: int, second: int) -> int | None:
    """Make machine code that calls one function, and another if that returns false.

    Returns:
        Its address; None for processors whose code this isn't, and where the system
        allows none, which V8's own compilers would need as well.
    """
    return _permanent(
        b"\x57\x56\x48\x83\xec\x08",  # push rdi; push rsi; sub rsp, 8
        b"\x48\xb8" + word(first),  # mov rax, first
        b"\xff\xd0",  # call rax
        b"\x48\x83\xc4\x08\x5e\x5f",  # add rsp, 8; pop rsi; pop rdi
        b"\x84\xc0\x74\x01\xc3",  # test al, al; jz over the next; ret
        b"\x48\xb8" + word(second),  # mov rax, second
        b"\xff\xe0",  # jmp rax
    )


def _permanent(*instructions: bytes) -> int | None:
    """Make machine code that stays; its address, None where `machine_code` has it."""
    code = machine_code(*instructions)
    if code is None:
        return None
    _KEPT.append(code)
    return code.address


def machine_code(*instructions: bytes) -> Code | None:
    """Make x86-64's machine code executable.

    Returns:
        None for processors whose code this isn't, and where the system allows none.
    """
    if os.uname().machine != "x86_64":
        return None
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:
        return None
    memory.write(b"".join(instructions))
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return Code(place, memory) if _protect(place, _READ_EXECUTE) else None


@functools.cache
def _table(library: Library) -> _Table | None:
    """Find the table: its entries are in the order of the relocations that fill it."""
    if sys.platform != "linux":
        return None
    link_map = library.handle._handle  # noqa: SLF001 -- what dlopen has returned
    base = _WORD(link_map).value
    entry = _WORD(link_map + _LD_OFFSET).value
    found: dict[int, int] = {}
    while _WORD(entry).value:
        found[_WORD(entry).value] = _WORD(entry + _WORD_BYTES).value
        entry += 2 * _WORD_BYTES
    if _DT_JMPREL not in found or _DT_PLTRELSZ not in found:
        return None
    first = found[_DT_JMPREL]
    if first < base:  # musl leaves it as it is in the file
        first += base
    last = first + found[_DT_PLTRELSZ] - _RELA_BYTES
    start, end = base + _WORD(first).value, base + _WORD(last).value + _WORD_BYTES
    if not 0 < end - start <= found[_DT_PLTRELSZ]:
        return None
    return _Table(start, ctypes.string_at(start, end - start))
