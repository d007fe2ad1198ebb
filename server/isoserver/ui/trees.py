"""Heaps as a tree of what came from what, in few levels however long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.heaps.records import HeapRecord

__all__ = ["TreeRow", "tree_rows"]

_LEVEL_MAX: Final = 12


class TreeRow(NamedTuple):
    """A heap at its place in the tree.

    Attributes:
        heap: The heap.
        level: How far it is indented.
        follows: Whether it came from the heap in the row above.
    """

    heap: HeapRecord
    level: int
    follows: bool


def tree_rows(heaps: Sequence[HeapRecord]) -> list[TreeRow]:
    """Return heaps so that each is below the one that it came from, if that is there.

    Only where several came from one are they indented: a history of a thousand steps
    is a list. The tree whose root is the newest comes first.
    """
    known = {heap.key for heap in heaps}
    children: dict[str | None, list[HeapRecord]] = {}
    for heap in sorted(heaps, key=lambda heap: (heap.created_at, heap.key)):
        # A heap that was saved twice may name itself, or one that came from it.
        parent = heap.parent if heap.parent in known else None
        children.setdefault(parent, []).append(heap)
    rows: list[TreeRow] = []
    placed: set[str] = set()
    # The last one is taken next; so the newest tree, but the oldest branch, is first.
    waiting = [(heap, 0) for heap in children.get(None, [])]
    left = list(heaps)
    while waiting or left:
        if not waiting:  # of a circle, some heap has to be first
            heap = left.pop()
            if heap.key not in placed:
                waiting.append((heap, 0))
            continue
        heap, level = waiting.pop()
        if heap.key in placed:
            continue
        placed.add(heap.key)
        follows = bool(rows) and rows[-1].heap.key == heap.parent
        rows.append(TreeRow(heap, level, follows))
        below = children.get(heap.key, [])
        deeper = min(level + (len(below) > 1), _LEVEL_MAX)
        waiting += [(child, deeper) for child in reversed(below)]
    return rows
