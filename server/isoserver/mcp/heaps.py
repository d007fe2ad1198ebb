"""The tools of sessions, and of heaps and their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_types import ToolAnnotations
from pydantic import Field

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.heaps.models import (
    HeapDone,
    HeapKey,
    HeapTags,
    SessionsModel,
    entry_answer,
)
from isoserver.heaps.records import choose_fields, split_names
from isoserver.http.models import NextOffset, cut_page
from isoserver.mcp.executions import READS, Page
from isoserver.mcp.tools import Arguments, McpTool, Nothing, Result
from isoserver.runs.models import SessionName  # noqa: TC001 - pydantic's

if TYPE_CHECKING:
    from isoserver.mcp.tools import McpCall
    from isoserver.settings.server import ServerSettings

__all__ = ["heap_tools"]

_REPLACES: Final = ToolAnnotations(idempotent_hint=True, open_world_hint=False)


class HeapArguments(Arguments):
    """Arguments of get_heap_tags."""

    heap: HeapKey = Field(description="Heap key.")


class SetTagsArguments(HeapArguments):
    """Arguments of set_heap_tags."""

    tags: HeapTags = Field(description="The tags, which replace all others.")


class DeleteTagsArguments(HeapArguments):
    """Arguments of delete_heap_tags."""

    keys: str | list[str] | None = Field(
        None,
        description="Keys, as a list or with commas between them; all if left out.",
    )


class QueryArguments(Page):
    """Arguments of query_heaps_by_tags."""

    tags: HeapTags = Field(
        description="The tags, with their values.",
    )


class HistoryArguments(Arguments):
    """Arguments of list_session_snapshots."""

    session: SessionName | None = Field(
        None, description="The session; that of this connection if left out."
    )
    fields: str | None = Field(
        None,
        description="With commas between them: index, input_heap, output_heap, code, "
        "timestamp; all if left out.",
    )


class SessionHistory(Result):
    """What list_session_snapshots answers."""

    entries: list[dict[str, int | str | None]]


class Tags(Result):
    """What get_heap_tags answers."""

    tags: dict[str, str]


class FoundHeap(Result):
    """A heap with its tags."""

    heap: str
    tags: dict[str, str]


class FoundHeaps(Result):
    """What query_heaps_by_tags answers."""

    results: list[FoundHeap]
    next_offset: NextOffset


def heap_tools(_settings: ServerSettings) -> list[McpTool]:
    """Return the tools of sessions and heaps."""
    return [
        McpTool(
            "list_sessions",
            "All sessions",
            "List the names of all sessions (persistent contexts) with a history.",
            Nothing,
            SessionsModel,
            _list_sessions,
            READS,
        ),
        McpTool(
            "list_session_snapshots",
            "History of a session",
            "List what ran in a session, oldest first: code, the heap that it began "
            "from, the heap that it left. run_js with an output_heap goes back to it.",
            HistoryArguments,
            SessionHistory,
            _list_snapshots,
            READS,
        ),
        McpTool(
            "get_heap_tags",
            "Tags of a heap",
            "Get the tags of a heap.",
            HeapArguments,
            Tags,
            _get_tags,
            READS,
        ),
        McpTool(
            "set_heap_tags",
            "Tag a heap",
            "Replace the tags of a heap. A heap with tags is kept; one without tags "
            "and use goes after some days.",
            SetTagsArguments,
            HeapDone,
            _set_tags,
            _REPLACES,
        ),
        McpTool(
            "delete_heap_tags",
            "Delete tags of a heap",
            "Delete tags of a heap, by key, or all.",
            DeleteTagsArguments,
            HeapDone,
            _delete_tags,
            _REPLACES,
        ),
        McpTool(
            "query_heaps_by_tags",
            "Find heaps by their tags",
            "Find the heaps that have all of these tags; with none, all that have any.",
            QueryArguments,
            FoundHeaps,
            _query,
            READS,
        ),
    ]


async def _list_sessions(call: McpCall, _arguments: Nothing) -> dict[str, Any]:
    return {"sessions": await call.parts.heaps.sessions(call.workspace)}


async def _list_snapshots(call: McpCall, arguments: HistoryArguments) -> dict[str, Any]:
    session = arguments.session or call.peer.named_session()
    if session is None:
        problem = (
            "this connection has named no session (X-MCP-Session-Id at initialize, or "
            "session_id): name one of those that list_sessions shows"
        )
        raise InvalidRequestError(FieldProblem("session", problem))
    fields = choose_fields(arguments.fields or None)
    steps = await call.parts.heaps.history(call.workspace, session)
    return {"entries": [entry_answer(step, fields) for step in steps]}


async def _get_tags(call: McpCall, arguments: HeapArguments) -> dict[str, Any]:
    record = await call.parts.heaps.get(call.workspace, arguments.heap)
    return {"tags": record.tags}


async def _set_tags(call: McpCall, arguments: SetTagsArguments) -> dict[str, Any]:
    heaps = call.parts.heaps
    await heaps.set_tags(call.workspace, arguments.heap, arguments.tags)
    return {"ok": True}


async def _delete_tags(call: McpCall, arguments: DeleteTagsArguments) -> dict[str, Any]:
    keys = arguments.keys
    names = split_names(keys) if isinstance(keys, str) else keys
    await call.parts.heaps.delete_tags(call.workspace, arguments.heap, names)
    return {"ok": True}


async def _query(call: McpCall, arguments: QueryArguments) -> dict[str, Any]:
    limit, offset = arguments.limit, arguments.offset
    found = await call.parts.heaps.tagged(
        call.workspace, arguments.tags, limit + 1, offset
    )
    page, following = cut_page(found, limit, offset)
    results = [{"heap": key, "tags": tags} for key, tags in page]
    return {"results": results, "next_offset": following}
