"""The system calls that Python has no function for. Linux only.

The one module outside `v8` that uses ctypes: prctl, seccomp, Landlock and openat2 are a
dozen calls with plain structures, and the packages that wrap them are either
unmaintained or need a library of the system's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from typing import Final

__all__ = ["be_subreaper", "end_with_parent", "open_below", "prctl", "syscall"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_OPENAT2: Final = 437  # the same on every architecture
_OPEN_HOW: Final = struct.Struct("=QQQ")
_NO_MAGIC_LINKS: Final = 0x02
_BENEATH: Final = 0x08

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


def open_below(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Open what a path leads to, which must be below a folder all the way.

    Args:
        folder: The folder's descriptor.
        path: Relative; links in it are followed as long as they stay below the folder.
        flags: Those of open(2); the descriptor is closed on exec.
        mode: Of a file that is made.

    Raises:
        OSError: With `EXDEV` it leads out of the folder; with `EAGAIN` something was
            moved meanwhile; with `ENOSYS` the system has no openat2, since Linux 5.6.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, _NO_MAGIC_LINKS | _BENEATH)
    return syscall(_OPENAT2, folder, os.fsencode(path), how, len(how))


def address(data: bytes) -> int:
    """Return the address of bytes, for a structure; the caller keeps them alive."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def be_subreaper(*, on: bool) -> None:
    """Have orphaned descendants become children of this process, or no longer.

    Raises:
        OSError: The system can't.
    """
    prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def end_with_parent(parent: int) -> None:
    """Have this process told to end (SIGTERM) when the one that started it has ended.

    Args:
        parent: The id of that process, which may have ended already.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result
