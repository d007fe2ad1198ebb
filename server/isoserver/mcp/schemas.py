"""What the tools of sessions and heaps take and answer, as documented."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from isoserver.heaps.models import HeapKey, HeapTags
from isoserver.mcp.toolbox import Arguments, Result
from isoserver.runs.models import SessionName  # noqa: TC001 - pydantic's

__all__ = [
    "AllTags",
    "DeleteTags",
    "Entries",
    "Found",
    "Heap",
    "Nothing",
    "Sessions",
    "SetTags",
    "Snapshots",
    "Tagged",
    "Tags",
]

Key = Annotated[HeapKey, Field(description="Heap snapshot key: 64 hex digits.")]
Time = Annotated[str, Field(description="ISO-8601, UTC.")]


class Nothing(Arguments):
    """No arguments."""


class Heap(Arguments):
    """Arguments of get_heap_tags."""

    heap: Key


class SetTags(Heap):
    """Arguments of set_heap_tags."""

    tags: HeapTags = Field(description="The tags, which replace all others.")


class DeleteTags(Heap):
    """Arguments of delete_heap_tags."""

    keys: str | list[str] | None = Field(
        None,
        description="Keys of the tags to delete, as a list or with commas between "
        "them; all tags if left out.",
    )


class AllTags(Arguments):
    """Arguments of query_heaps_by_tags."""

    tags: HeapTags = Field(
        description="Tags that a heap must have, all of them, with these values.",
    )


class Sessions(Result):
    """What list_sessions answers."""

    sessions: list[str]


class Snapshot(Result):
    """An entry of a session's history."""

    index: int
    input_heap: str | None
    output_heap: str | None
    code: str
    timestamp: Time


class Snapshots(Arguments):
    """Arguments of list_session_snapshots."""

    session: SessionName | None = Field(
        None, description="The session; that of this connection if left out."
    )
    fields: str | None = Field(
        None,
        description="The fields to return, with commas between them: index, "
        "input_heap, output_heap, code, timestamp. All if left out.",
    )


class Entries(Result):
    """What list_session_snapshots answers."""

    entries: list[dict[str, int | str | None]]


class Tags(Result):
    """What get_heap_tags answers."""

    tags: dict[str, str]


class Tagged(Result):
    """What set_heap_tags and delete_heap_tags answer."""

    ok: bool


class FoundHeap(Result):
    """A heap with its tags."""

    heap: str
    tags: dict[str, str]


class Found(Result):
    """What query_heaps_by_tags answers."""

    results: list[FoundHeap]
