"""The system calls that Python has no function for. Linux only.

The one module outside `v8` that uses ctypes: prctl, seccomp and Landlock are a dozen
calls with plain structures, and the packages that wrap them are either unmaintained or
need a library of the system's.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["be_subreaper", "prctl", "syscall"]

_PR_SET_CHILD_SUBREAPER: Final = 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *([ctypes.c_ulong] * 4)]
_libc.prctl.restype = ctypes.c_int
_libc.syscall.restype = ctypes.c_long


def prctl(option: int, *arguments: int) -> int:
    """Change or read an attribute of this process.

    Raises:
        OSError: The system refused.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    result: int = _libc.prctl(option, *padded)
    return _checked(result, f"prctl {option}")


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Call a system call by its number; bytes are passed as a pointer to them.

    Raises:
        OSError: The system refused.
    """
    result: int = _libc.syscall(
        ctypes.c_long(number),
        *(
            ctypes.c_char_p(argument)
            if isinstance(argument, bytes)
            else ctypes.c_long(argument or 0)
            for argument in arguments
        ),
    )
    return _checked(result, f"system call {number}")


def address(data: bytes) -> int:
    """Return the address of bytes, for a structure; the caller keeps them alive."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def be_subreaper(*, on: bool) -> None:
    """Have orphaned descendants become children of this process, or no longer.

    Raises:
        OSError: The system can't.
    """
    prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result
