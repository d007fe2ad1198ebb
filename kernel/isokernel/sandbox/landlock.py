"""Landlock: a process reaches nothing by name."""

from __future__ import annotations

import functools
import os
import struct
from typing import Final

from isokernel.sandbox.syscalls import syscall

__all__ = ["restrict", "scopes_signals", "version"]

# The same numbers on every architecture.
_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1

# Kinds of access to files that each version knows, as the number of lowest bits.
_FILE_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
TCP_VERSION: Final = 4
_TCP: Final = 0b11  # bind, connect
_SCOPES_VERSION: Final = 6
_SCOPES: Final = 0b11  # abstract Unix sockets, signals
_RULESET: Final = struct.Struct("=QQQ")


@functools.cache  # each process that is forked finds it known
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
    _enforce(_ruleset())


def _file_bits() -> int:
    return (1 << _FILE_BITS[min(version(), max(_FILE_BITS))]) - 1


def _ruleset() -> int:
    known = version()
    attributes = _RULESET.pack(
        _file_bits(),
        _TCP if known >= TCP_VERSION else 0,
        _SCOPES if known >= _SCOPES_VERSION else 0,
    )
    # An older kernel takes the longer structure when the rest of it is zero.
    return syscall(_CREATE_RULESET, attributes, len(attributes), 0)


def _enforce(ruleset: int) -> None:
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
