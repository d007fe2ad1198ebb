"""Landlock: a process reaches nothing by name, or a few places."""

from __future__ import annotations

import os
import stat
import struct
from typing import Final

from isokernel.sandbox.syscalls import syscall

__all__ = ["restrict", "restrict_to", "scopes_signals", "version"]

# The same numbers on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_BENEATH_TYPE: Final = 1
_VERSION_FLAG: Final = 1

# Kinds of access to files that each version knows, as the number of lowest bits.
_FILE_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READING: Final = 0b1101  # execute, read files, read folders
_OF_FILES: Final = 0b1100_0000_0000_0111  # execute, write, read; truncate, devices
_DEVICES: Final = 0b1000_0100_0000  # making character and block devices
TCP_VERSION: Final = 4
_TCP: Final = 0b11  # bind, connect
_SCOPES_VERSION: Final = 6
_SCOPES: Final = 0b11  # abstract Unix sockets, signals
_RULESET: Final = struct.Struct("=QQQ")
_BENEATH: Final = struct.Struct("=Qi")


def version() -> int:
    """Return Landlock's version on this system; 0 where there is none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def scopes_signals() -> bool:
    """Return whether it keeps signals from processes outside."""
    return version() >= _SCOPES_VERSION


def restrict() -> None:
    """Deny all that this version can deny, for good; wants no_new_privs or root.

    Raises:
        OSError: The system refused.
    """
    _enforce(_ruleset(network=False))


def restrict_to(*, read: list[str], write: list[str], network: bool) -> None:
    """Deny all but some places, for good; wants no_new_privs or root.

    Args:
        read: Files and folders that may be read and executed, with what is in them.
        write: Those that may be changed as well.
        network: Leave TCP alone.

    Raises:
        OSError: The system refused, or there is no such file.
    """
    ruleset = _ruleset(network=network)
    known = _file_bits()
    for path in read:
        _add(ruleset, path, known & _READING)
    for path in write:
        _add(ruleset, path, known & ~_DEVICES)
    _enforce(ruleset)


def _file_bits() -> int:
    return (1 << _FILE_BITS[min(version(), max(_FILE_BITS))]) - 1


def _ruleset(*, network: bool) -> int:
    known = version()
    attributes = _RULESET.pack(
        _file_bits(),
        _TCP if known >= TCP_VERSION and not network else 0,
        _SCOPES if known >= _SCOPES_VERSION else 0,
    )
    # An older kernel takes the longer structure when the rest of it is zero.
    return syscall(_CREATE_RULESET, attributes, len(attributes), 0)


def _add(ruleset: int, path: str, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _OF_FILES
        rule = _BENEATH.pack(access, place)
        syscall(_ADD_RULE, ruleset, _BENEATH_TYPE, rule, 0)
    finally:
        os.close(place)


def _enforce(ruleset: int) -> None:
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
