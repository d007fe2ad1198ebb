"""What needs a heap, so that it is kept whatever its age."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, not_

from isoserver.contexts.store import CONTEXTS
from isoserver.heaps.tables import ENTRIES, HEAPS, TAGS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["unneeded"]


def unneeded() -> ColumnElement[bool]:
    """No tags, no context that would go on from it, not the last of a session."""
    later = ENTRIES.alias()
    has_later = exists().where(
        later.c.workspace == ENTRIES.c.workspace,
        later.c.session == ENTRIES.c.session,
        later.c.number > ENTRIES.c.number,
    )
    is_last = exists().where(
        ENTRIES.c.workspace == HEAPS.c.workspace,
        ENTRIES.c.output_heap == HEAPS.c.key,
        not_(has_later),
    )
    in_context = exists().where(
        CONTEXTS.c.workspace == HEAPS.c.workspace, CONTEXTS.c.heap == HEAPS.c.key
    )
    tagged = exists().where(
        TAGS.c.workspace == HEAPS.c.workspace, TAGS.c.key == HEAPS.c.key
    )
    return and_(not_(tagged), not_(is_last), not_(in_context))
