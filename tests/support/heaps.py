"""Heaps as files, and having a workspace own one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from isoserver.heaps.content import unpack
from isoserver.heaps.records import HeapOrigin

if TYPE_CHECKING:
    from isoserver.heaps.service import Heaps


class Packed(NamedTuple):
    """A heap's file."""

    key: str
    data: bytes


SIZE_MAX = 64 << 20
VALUES = {"language": "javascript", "execution_count": 1, "automatic": False}


async def keep(
    heaps: Heaps, packed: Packed, workspace: str = "one", **fields: Any
) -> str:
    """Have a workspace own a heap, as if one of its contexts had it."""
    origin = HeapOrigin(workspace, **fields)
    return await heaps._add(unpack(packed.data, SIZE_MAX), origin, VALUES)
