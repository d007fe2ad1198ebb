"""The tools that run code and look at what became of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timezone
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ToolAnnotations

from isoserver.errors import (
    ExecutionMissingError,
    FieldProblem,
    InvalidRequestError,
    NotRunningError,
)
from isoserver.executions.orders import Order
from isoserver.executions.pages import BYTES_MAX, PageRequest
from isoserver.executions.records import Status
from isoserver.mcp import schemas
from isoserver.mcp.progress import OutputProgress
from isoserver.mcp.texts import read
from isoserver.mcp.toolbox import Reply, Tool, explain

if TYPE_CHECKING:
    from datetime import datetime

    from isoserver.executions.records import ExecutionRecord
    from isoserver.http.service import Service
    from isoserver.mcp.toolbox import Asked
    from isoserver.settings.server import ServerSettings

__all__ = ["describe", "execution_tools", "in_iso", "some_output", "stateless_tools"]

_MIB: Final = 1 << 20
_MEMORY_MIN: Final = 8
_UNFINISHED: Final = "Execution did not complete within polling timeout"
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_RUNS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, open_world_hint=False
)
_ENDS: Final = ToolAnnotations(
    read_only_hint=False,
    destructive_hint=True,
    idempotent_hint=True,
    open_world_hint=False,
)


def execution_tools(settings: ServerSettings) -> list[Tool]:
    """Make the tools of executions."""
    return [
        Tool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js"),
            schemas.Run,
            schemas.Submitted,
            _run,
            _RUNS,
        ),
        Tool(
            "get_execution",
            "Status and result of an execution",
            "Get the status of an execution that run_js began, and, once it is "
            "completed, its result (the value of the last expression, as JSON text) "
            "and its heap (a key to go on from with run_js). While the status is "
            "running, ask again a moment later; all other statuses are final.",
            schemas.ExecutionId,
            schemas.Info,
            _get,
            READS,
        ),
        Tool(
            "get_execution_output",
            "Console output of an execution",
            "Get a page of what an execution has printed with console.log and its "
            "kin, also while it still runs. By lines unless byte_offset is given. Go "
            "on with next_line_offset (or next_byte_offset) while has_more is true.",
            schemas.OutputPage,
            schemas.Output,
            _page,
            READS,
        ),
        Tool(
            "cancel_execution",
            "Cancel an execution",
            "Stop an execution that is running, or waits for its turn. Its status "
            "becomes cancelled; what it had printed stays, and so does the state of "
            "its session.",
            schemas.ExecutionId,
            schemas.Cancelled,
            _cancel,
            _ENDS,
        ),
        Tool(
            "list_executions",
            "All executions",
            "List the executions that the server knows, running and ended, newest "
            "first.",
            schemas.Nothing,
            schemas.ExecutionList,
            _list,
            READS,
        ),
    ]


def stateless_tools(settings: ServerSettings) -> list[Tool]:
    """Make the only tool of stateless mode."""
    return [
        Tool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js-stateless"),
            schemas.StatelessRun,
            schemas.StatelessOutput,
            _run_and_wait,
            _RUNS,
        )
    ]


def make_order(asked: Asked, arguments: schemas.StatelessRun) -> Order:
    """Make the order of a run that goes on from nothing and leaves nothing.

    Raises:
        InvalidRequestError: It asks for more memory than the server gives.
    """
    settings = asked.service.settings
    memory = arguments.heap_memory_max_mb
    if memory is not None and memory * _MIB > settings.execution_v8_heap_bytes_max:
        problem = f"must be at most {settings.execution_v8_heap_bytes_max // _MIB}"
        raise InvalidRequestError(FieldProblem("heap_memory_max_mb", problem))
    languages = asked.service.contexts.languages
    served = "typescript" in languages.served
    return Order(
        workspace=asked.workspace,
        code=arguments.code,
        session=None,
        heap=None,
        heap_memory_max=None if memory is None else max(memory, _MEMORY_MIN) * _MIB,
        seconds=float(
            arguments.execution_timeout_secs or settings.execution_timeout_seconds
        ),
        tags={},
        stateful=False,
        language=languages.find("typescript" if served else "javascript"),
        drain=True,
    )


async def _run(asked: Asked, arguments: schemas.Run) -> dict[str, Any]:
    order = make_order(asked, arguments)._replace(
        session=asked.peer.named_session(),
        heap=arguments.heap,
        tags=arguments.tags or {},
        stateful=True,
        drain=False,
    )
    return {"execution_id": await asked.service.executions.submit(order)}


async def _run_and_wait(asked: Asked, arguments: schemas.StatelessRun) -> Reply:
    executions = asked.service.executions
    execution_id = await executions.submit(make_order(asked, arguments))
    progress = OutputProgress(
        asked.context.session,
        executions.follow(asked.workspace, execution_id),
        wanted=asked.wants_progress,
    )
    try:
        record = await _wait(asked, execution_id)
        await progress.finish()
    except asyncio.CancelledError:
        # Nobody could ever ask for it again.
        asked.spawn(executions.cancel(asked.workspace, execution_id))
        raise
    finally:
        progress.stop()
    output = await some_output(asked.service, asked.workspace, execution_id)
    data = {"output": output.removesuffix("\n")}
    if record.status is Status.RUNNING:
        data["error"] = _UNFINISHED
    elif record.error is not None:
        data["error"] = record.error
    return Reply(data, failed="error" in data)


async def _wait(asked: Asked, execution_id: str) -> ExecutionRecord:
    """Wait for the end of a run; without a client, or after too long, end it.

    Returns:
        It as it was when the waiting ended.
    """
    executions = asked.service.executions
    ended = asyncio.ensure_future(
        executions.wait(
            asked.workspace, execution_id, asked.service.settings.run_js_wait_seconds
        )
    )
    gone = asyncio.ensure_future(asked.peer.gone.wait())
    try:
        await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            with suppress(NotRunningError):
                await executions.cancel(asked.workspace, execution_id)
        record = await ended
        if record.status is Status.RUNNING:
            with suppress(NotRunningError):
                await executions.cancel(asked.workspace, execution_id)
        return record
    finally:
        ended.cancel()
        gone.cancel()


async def some_output(
    service: Service, workspace: str, execution_id: str, limit: int | None = None
) -> str:
    """Give what a run printed from the beginning on, as far as a limit.

    Args:
        service: The server's parts.
        workspace: Whose run it is.
        execution_id: The run.
        limit: Bytes at most, with a last line that says so; None for all.
    """
    parts: list[str] = []
    place, more = 0, True
    while more and (limit is None or place < limit):
        size = BYTES_MAX if limit is None else min(BYTES_MAX, limit - place)
        request = PageRequest(byte_offset=place, byte_limit=size)
        page = await service.executions.page(workspace, execution_id, request)
        parts.append(page.data)
        place, more = page.next_byte_offset, page.has_more
    if more:
        parts.append(f"\n… (cut: go on with byte_offset {place})\n")
    return "".join(parts)


async def _get(asked: Asked, arguments: schemas.ExecutionId) -> dict[str, Any]:
    executions = asked.service.executions
    return describe(await executions.get(asked.workspace, arguments.execution_id))


def describe(record: ExecutionRecord) -> dict[str, Any]:
    """Give all that is told of an execution."""
    return {
        "execution_id": record.id,
        "status": record.status.value,
        "result": record.result,
        "heap": record.heap,
        "heap_error": record.heap_error,
        "error": record.error,
        "started_at": in_iso(record.started_at),
        "completed_at": in_iso(record.completed_at),
    }


async def _page(asked: Asked, arguments: schemas.OutputPage) -> dict[str, Any]:
    request = PageRequest(
        arguments.line_offset,
        arguments.line_limit,
        arguments.byte_offset,
        arguments.byte_limit,
    )
    page = await asked.service.executions.page(
        asked.workspace, arguments.execution_id, request
    )
    return {**page._asdict(), "status": page.status.value}


async def _cancel(asked: Asked, arguments: schemas.ExecutionId) -> Reply:
    executions = asked.service.executions
    try:
        await executions.cancel(asked.workspace, arguments.execution_id)
    except (ExecutionMissingError, NotRunningError) as error:
        return Reply({"ok": False, "error": explain(error)}, failed=True)
    return Reply({"ok": True})


async def _list(asked: Asked, _arguments: schemas.Nothing) -> dict[str, Any]:
    records = await asked.service.executions.list(asked.workspace)
    return {
        "executions": [
            {
                "execution_id": record.id,
                "status": record.status.value,
                "started_at": in_iso(record.started_at),
                "completed_at": in_iso(record.completed_at),
            }
            for record in records
        ]
    }


def in_iso(time: datetime | None) -> str | None:
    """Write a time as the documents do."""
    if time is None:
        return None
    return time.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
