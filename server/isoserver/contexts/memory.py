"""What the processes of contexts hold, as the kernel counts it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import NamedTuple

__all__ = ["Resident", "resident"]


class Resident(NamedTuple):
    """Bytes of a process that are in memory.

    Attributes:
        all: All of them.
        own: Those that no file backs.
    """

    all: int
    own: int


def resident(pid: int) -> Resident:
    """Read what a process holds; nothing if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split() if pid else []
    except OSError:
        fields = []
    if not fields:
        return Resident(0, 0)
    page = resource.getpagesize()
    return Resident(int(fields[1]) * page, (int(fields[1]) - int(fields[2])) * page)
