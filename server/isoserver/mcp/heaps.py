"""The tools of sessions, and of heaps and their tags."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ToolAnnotations

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.mcp import schemas
from isoserver.mcp.executions import READS, in_iso
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
_FIELDS: Final = tuple(schemas.Snapshot.model_fields)


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
    fields = _chosen(arguments.fields)
    steps = await asked.service.heaps.snapshots(asked.workspace, session)
    entries = []
    for step in steps:
        time = datetime.fromtimestamp(step.timestamp, timezone.utc)
        entry = {name: getattr(step, name) for name in fields}
        if "timestamp" in entry:
            entry["timestamp"] = in_iso(time)
        entries.append(entry)
    return {"entries": entries}


def _chosen(fields: str | None) -> tuple[str, ...]:
    if not fields:
        return _FIELDS
    chosen = tuple(name.strip() for name in fields.split(",") if name.strip())
    unknown = [name for name in chosen if name not in _FIELDS]
    if unknown:
        problem = f"there is no {unknown[0][:64]!r}; there are: {', '.join(_FIELDS)}"
        raise InvalidRequestError(FieldProblem("fields", problem))
    return chosen


async def _get_tags(asked: Asked, arguments: schemas.Heap) -> dict[str, Any]:
    record = await asked.service.heaps.get(asked.workspace, arguments.heap)
    return {"tags": record.tags}


async def _set_tags(asked: Asked, arguments: schemas.SetTags) -> dict[str, Any]:
    heaps = asked.service.heaps
    await heaps.set_tags(asked.workspace, arguments.heap, arguments.tags)
    return {"ok": True}


async def _delete_tags(asked: Asked, arguments: schemas.DeleteTags) -> dict[str, Any]:
    keys = arguments.keys
    if isinstance(keys, str):
        keys = [key.strip() for key in keys.split(",") if key.strip()]
    await asked.service.heaps.delete_tags(asked.workspace, arguments.heap, keys)
    return {"ok": True}


async def _query(asked: Asked, arguments: schemas.AllTags) -> dict[str, Any]:
    found = await asked.service.heaps.query(asked.workspace, arguments.tags)
    return {"results": [{"heap": key, "tags": tags} for key, tags in found]}
