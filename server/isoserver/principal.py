"""Who a request comes from: found once for each, by `access`, and passed on."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DEFAULT_WORKSPACE", "NOBODY", "Principal"]

DEFAULT_WORKSPACE: Final = "default"
"""The workspace of a server that has no others."""


class Principal(NamedTuple):
    """Who a request comes from, and what belongs to them.

    Attributes:
        workspace: The workspace. Contexts, runs, heaps and all else belong to one
            each, and nothing of another can be seen, even if its ids are known.
        client: Who it is within the workspace: a key's name, a token's subject; empty
            where no key is needed.
        admin: Whether it may decide about approvals, sources and policies.
    """

    workspace: str = DEFAULT_WORKSPACE
    client: str = ""
    admin: bool = True


NOBODY: Final = Principal("", "", admin=False)
"""Who a request comes from until that is known: it owns nothing."""
