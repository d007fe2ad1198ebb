"""Kernel ids: Jupyter's fronts want UUIDs where contexts have ids of their own."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from isoserver.contexts.context import Key

__all__ = ["is_kernel_id", "kernel_id"]

_NAMESPACE: Final = UUID("5bd9b8f0-6f0e-4a53-9d3c-3f0a1c6f1d57")
"""Made once for these ids: the same context has the same one on every server."""
_PATTERN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@lru_cache(maxsize=65_536)
def kernel_id(key: Key) -> str:
    """Return the UUID of a context."""
    workspace, context_id = key
    return str(uuid5(_NAMESPACE, f"{workspace}\0{context_id}"))


def is_kernel_id(text: str) -> bool:
    """Whether text looks like one."""
    return _PATTERN.fullmatch(text) is not None
