"""Names of connections where there are several servers: each says whose it is."""

from __future__ import annotations

from typing import Final

__all__ = ["name_of_owned", "read_owned"]

_MARK: Final = "~"


def name_of_owned(server_id: str, name: str) -> str:
    """Return the name that a client is told of a connection."""
    return f"{server_id}{_MARK}{name}"


def read_owned(name: str) -> tuple[str, str]:
    """Return whose a connection is and what it is called there; empty if not said."""
    owner, mark, own = name.rpartition(_MARK)
    return (owner, own) if mark else ("", name)
