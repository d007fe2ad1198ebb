"""The tools of sessions, and of heaps and their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_types import ToolAnnotations

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.heaps.models import entry_answer
from isoserver.heaps.records import choose_fields, split_names
from isoserver.mcp import schemas
from isoserver.mcp.executions import READS
from isoserver.mcp.toolbox import Tool

if TYPE_CHECKING:
    from isoserver.mcp.toolbox import Asked

__all__ = ["heap_tools"]

_REPLACES: Final = ToolAnnotations(
    read_only_hint=False,
    destructive_hint=True,
    idempotent_hint=True,
    open_world_hint=False,
)


def heap_tools() -> list[Tool]:
    """Make the tools of sessions and heaps."""
    return [
        Tool(
            "list_sessions",
            "All sessions",
            "List the names of all sessions that have a history. A session is a "
            "persistent context, with a record of the code that ran in it.",
            schemas.Nothing,
            schemas.Sessions,
            _list_sessions,
            READS,
        ),
        Tool(
            "list_session_snapshots",
            "History of a session",
            "List what ran in a session, oldest first: the code, the heap that it "
            "began from and the heap that it left. Pass an output_heap to run_js to go "
            "back to that state.",
            schemas.Snapshots,
            schemas.Entries,
            _list_snapshots,
            READS,
        ),
        Tool(
            "get_heap_tags",
            "Tags of a heap",
            "Get the tags of a heap snapshot.",
            schemas.Heap,
            schemas.Tags,
            _get_tags,
            READS,
        ),
        Tool(
            "set_heap_tags",
            "Tag a heap",
            "Set the tags of a heap snapshot, in place of those that it has. A heap "
            "with tags is kept; one without them and without use goes after some days.",
            schemas.SetTags,
            schemas.Tagged,
            _set_tags,
            _REPLACES,
        ),
        Tool(
            "delete_heap_tags",
            "Delete tags of a heap",
            "Delete tags of a heap snapshot, by key, or all of them.",
            schemas.DeleteTags,
            schemas.Tagged,
            _delete_tags,
            _REPLACES,
        ),
        Tool(
            "query_heaps_by_tags",
            "Find heaps by their tags",
            "Find the heap snapshots that have all of these tags with these values. "
            "With no tags at all: every heap that has any.",
            schemas.AllTags,
            schemas.Found,
            _query,
            READS,
        ),
    ]


async def _list_sessions(asked: Asked, _arguments: schemas.Nothing) -> dict[str, Any]:
    return {"sessions": await asked.service.heaps.sessions(asked.workspace)}


async def _list_snapshots(asked: Asked, arguments: schemas.Snapshots) -> dict[str, Any]:
    session = arguments.session or asked.peer.named_session()
    if session is None:
        problem = (
            "this connection has named no session (X-MCP-Session-Id at initialize, or "
            "--session-id): name one of those that list_sessions shows"
        )
        raise InvalidRequestError(FieldProblem("session", problem))
    fields = choose_fields(arguments.fields or None)
    steps = await asked.service.heaps.history(asked.workspace, session)
    return {"entries": [entry_answer(step, fields) for step in steps]}


async def _get_tags(asked: Asked, arguments: schemas.Heap) -> dict[str, Any]:
    record = await asked.service.heaps.get(asked.workspace, arguments.heap)
    return {"tags": record.tags}


async def _set_tags(asked: Asked, arguments: schemas.SetTags) -> dict[str, Any]:
    heaps = asked.service.heaps
    await heaps.set_tags(asked.workspace, arguments.heap, arguments.tags)
    return {"ok": True}


async def _delete_tags(asked: Asked, arguments: schemas.DeleteTags) -> dict[str, Any]:
    keys = arguments.keys
    names = split_names(keys) if isinstance(keys, str) else keys
    await asked.service.heaps.delete_tags(asked.workspace, arguments.heap, names)
    return {"ok": True}


async def _query(asked: Asked, arguments: schemas.AllTags) -> dict[str, Any]:
    found = await asked.service.heaps.tagged(asked.workspace, arguments.tags)
    return {"results": [{"heap": key, "tags": tags} for key, tags in found]}
