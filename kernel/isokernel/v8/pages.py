"""Giving back memory that the process need not have of its own once V8 is loaded.

Where /proc tells nothing of them, they stay as they are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

__all__ = ["drop_symbols", "share_data", "trim"]

_MADV_DONTNEED: Final = 4
_MAP_FIXED: Final = 0x10
_LOOK: Final = 4096
_FAILED: Final = ctypes.c_void_p(-1).value


def drop_symbols(path: str) -> None:
    """Drop the pages that only loading has touched: 19 MiB of symbol tables.

    They are pages of the file, unchanged: what is needed again is read again.

    Args:
        path: The file of the library.
    """
    for start, end, mode, name in _mappings():
        if mode == "r--p" and name == path:
            advise = ctypes.CDLL(None).madvise
            advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            advise(start, end - start, _MADV_DONTNEED)
            return  # the first is the one with the symbols


def share_data(path: str) -> None:
    """Put the pages of a file in place of V8's copy of it: 10 MiB of ICU's data.

    They are the same, but only those that are used take memory, all processes share
    them, and a fork doesn't copy their table.

    Args:
        path: The file of the data.
    """
    with open(path, "rb", 0) as file:  # noqa: PTH123 -- no pathlib
        size = os.fstat(file.fileno()).st_size // mmap.PAGESIZE * mmap.PAGESIZE
        ends = [
            (place, os.pread(file.fileno(), _LOOK, place))
            for place in (0, size - _LOOK)
        ]
        for start, end, mode, name in _mappings():
            if mode != "rw-p" or name or end - start < size:
                continue
            if all(
                ctypes.string_at(start + place, _LOOK) == part for place, part in ends
            ):
                _map(start, size, file.fileno())
                return


def _map(start: int, size: int, file: int) -> None:
    place = ctypes.CDLL(None, use_errno=True).mmap
    place.restype = ctypes.c_void_p
    place.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3]
    place.argtypes = [*place.argtypes, ctypes.c_long]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    found = place(start, size, protection, mmap.MAP_PRIVATE | _MAP_FIXED, file, 0)
    if found == _FAILED:  # it has left everything as it was
        return


def trim() -> None:
    """Have the C library return freed memory to the system."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # GNU's
        library.malloc_trim(0)


def _mappings() -> list[tuple[int, int, str, str]]:
    """Start, end, mode and file of each mapping."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as file:  # noqa: PTH123 -- as above
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        addresses, mode, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        found.append((start, end, mode, name[0] if name else ""))
    return found
