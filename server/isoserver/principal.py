"""Who asks: found once for each request, by the guard, and passed on from there."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DEFAULT_WORKSPACE", "NOBODY", "Principal"]

DEFAULT_WORKSPACE: Final = "default"
"""The workspace of a server that has no others."""


class Principal(NamedTuple):
    """Who a request comes from, and what is its.

    Attributes:
        workspace: The workspace; contexts, executions, heaps and all else belong to one
            each, and nothing of another can be seen, whatever is known of its ids.
        client: Who it is within the workspace: a key's name, a token's subject; empty
            where nobody is asked.
        admin: Whether it may decide about approvals, sources and policies.
    """

    workspace: str = DEFAULT_WORKSPACE
    client: str = ""
    admin: bool = True


NOBODY: Final = Principal("", "", admin=False)
"""Who a request comes from until that is known: nothing belongs to it."""
