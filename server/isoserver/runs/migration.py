"""Rows of an older schema, which had one table for executions and one for tasks.

They are copied into the table of runs once, and the old tables dropped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData, Table, insert, inspect, select, text

from isoserver.runs.records import Kind, Status
from isoserver.runs.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["migrate"]

_AT_ONCE: Final = 200
"""Rows that are in memory at a time."""
_RENAMED_OUTPUT: Final = (
    "DROP TABLE run_output",
    "ALTER TABLE execution_output RENAME TO run_output",
    "ALTER TABLE run_output RENAME COLUMN execution_id TO run_id",
)
_ENDING: Final = (
    *("status", "error", "result", "result_cut"),
    *("logs", "displays", "diagnostics"),
)
"""Fields of an ending, which was a JSON array in the table of tasks, as were these:"""
_ORDER: Final = (
    *("workspace", "code", "client", "session", "seconds"),
    *("runtime_id", "metadata", "typecheck", "admin"),
)
_DIAGNOSTIC: Final = ("line", "column", "code", "message")


async def migrate(connection: AsyncConnection) -> None:
    """Copy the rows of the older tables, if there are any."""
    tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    if "tasks" in tables:
        await _copy(connection, "tasks", _from_task)
        await connection.execute(text("DROP TABLE tasks"))
    if "executions" in tables:
        await _copy(connection, "executions", _from_execution)
        await connection.execute(text("DROP TABLE executions"))
        for statement in _RENAMED_OUTPUT:
            await connection.execute(text(statement))


async def _copy(
    connection: AsyncConnection, name: str, row: Callable[[Any], dict[str, Any]]
) -> None:
    table = await connection.run_sync(
        lambda sync: Table(name, MetaData(), autoload_with=sync)
    )
    after = ""
    while True:
        query = select(table).where(table.c.id > after).order_by(table.c.id)
        rows = (await connection.execute(query.limit(_AT_ONCE))).mappings().all()
        if not rows:
            return
        await connection.execute(insert(RUNS), [row(found) for found in rows])
        after = rows[-1]["id"]


def _from_execution(old: Any) -> dict[str, Any]:
    error = old["error"]
    ending = {
        "status": old["status"],
        "error": None if error is None else {"name": "Error", "message": _text(error)},
        "result": _text(old["result"]),
        "heap": old["heap"],
        "heap_error": _text(old["heap_error"]),
    }
    details = {
        "heap": old["input_heap"],
        "heap_memory_max_bytes": old["heap_memory_max"],
        "tags": json.loads(old["tags"]),
    }
    same = ("started_at", "output_bytes", "output_newlines", "output_open")
    return {
        **_common(old, Kind.SCRIPT, ending, details),
        **{name: old[name] for name in same},
        "created_at": old["submitted_at"],
        "ended_at": old["completed_at"],
        "seconds": old["seconds"],
        "code": _text(old["code"]),
    }


def _from_task(old: Any) -> dict[str, Any]:
    order = dict(zip(_ORDER, json.loads(_text(old["order"])), strict=False))
    ending: dict[str, Any] = {"status": old["status"]}
    if old["ending"] is not None:
        ending = dict(zip(_ENDING, json.loads(_text(old["ending"])), strict=False))
        if ending["error"] is not None:
            names = ("name", "message", "stack")
            ending["error"] = dict(zip(names, ending["error"], strict=False))
        ending["diagnostics"] = [
            dict(zip(_DIAGNOSTIC, found, strict=True))
            for found in ending["diagnostics"]
        ]
    kept = ("client", "runtime_id", "metadata", "typecheck")
    return {
        **_common(old, Kind.TASK, ending, {name: order[name] for name in kept}),
        "created_at": old["created_at"],
        "started_at": old["started_at"],
        "ended_at": old["ended_at"],
        "seconds": order["seconds"],
        "output_bytes": 0,
        "output_newlines": 0,
        "output_open": False,
        "code": order["code"],
    }


def _common(
    old: Any, kind: Kind, ending: dict[str, Any], details: dict[str, Any]
) -> dict[str, Any]:
    final = Status(old["status"]).final
    return {
        "id": old["id"],
        "kind": kind.value,
        "workspace": old["workspace"],
        "session": old["session"],
        "status": old["status"] if final else Status.QUEUED.value,
        "size": old["size"],
        "details": json.dumps(details),
        "ending": json.dumps(ending) if final else None,
    }


def _text(value: bytes | None) -> Any:
    return None if value is None else bytes(value).decode()
