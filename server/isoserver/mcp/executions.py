"""The tools that run code and look up executions."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from mcp_types import TextContent, ToolAnnotations
from pydantic import Field

from isoserver.errors import ExecutionMissingError, NotRunningError
from isoserver.heaps.models import HeapKey, HeapTags  # noqa: TC001 - pydantic's
from isoserver.mcp.progress import OutputProgress
from isoserver.mcp.texts import read
from isoserver.mcp.tools import Arguments, McpTool, Nothing, Reply, Result, explain
from isoserver.runs.answers import execution_answer, execution_summary
from isoserver.runs.models import (
    CancelResult,
    ExecAccepted,
    ExecutionInfo,
    ExecutionList,
    ExecutionOutput,
    MemoryMb,
    OutputRange,
    TimeoutSeconds,
)
from isoserver.runs.orders import script_order
from isoserver.runs.pages import BYTES_MAX, PageRequest
from isoserver.runs.records import Kind

if TYPE_CHECKING:
    from isoserver.http.parts import ServerParts
    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import RunRecord
    from isoserver.settings.server import ServerSettings

__all__ = [
    "describe",
    "execution_tools",
    "plain",
    "some_output",
    "stateless_tools",
]

_OUTPUT_BYTES: Final = 8_000
"""Of what an execution printed, in the answer about it."""
_PAGE_BYTES: Final = 140_000
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


class StatelessRun(Arguments):
    """Arguments of run_js in stateless mode."""

    code: str = Field(description="JavaScript or TypeScript source to execute.")
    heap_memory_max_mb: MemoryMb | None = Field(
        None,
        description="V8 heap memory cap of this execution in megabytes (at least 8). "
        "Overrides the server's default.",
    )
    execution_timeout_secs: TimeoutSeconds | None = Field(
        None,
        description="Wall-clock timeout of this execution in seconds (1-300). "
        "Overrides the server's default.",
    )


class Run(StatelessRun):
    """Arguments of run_js."""

    heap: HeapKey | None = Field(
        None,
        description="Heap snapshot key to restore before the execution. Within a "
        "session this resets the session to that heap.",
    )
    tags: HeapTags | None = Field(
        None, description="Tags attached to the heap snapshot that results."
    )


class ExecutionId(Arguments):
    """Arguments of tools about one execution."""

    execution_id: str = Field(description="ID returned by run_js.")


class OutputPage(OutputRange, ExecutionId):
    """Arguments of get_execution_output."""


class StatelessOutput(Result):
    """What run_js answers in stateless mode."""

    output: str = Field(description="All console output.")
    error: str | None = Field(None, description="What went wrong, if it failed.")


def execution_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the tools of executions."""
    return [
        McpTool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js"),
            Run,
            ExecAccepted,
            _run,
            _RUNS,
        ),
        McpTool(
            "get_execution",
            "Status and result of an execution",
            "Get the status of an execution that run_js began, and, once it is "
            "completed, its result (the value of the last expression, as JSON text) "
            "and its heap (a key to go on from with run_js). While the status is "
            "running, ask again a moment later; all other statuses are final.",
            ExecutionId,
            ExecutionInfo,
            _get,
            READS,
        ),
        McpTool(
            "get_execution_output",
            "Console output of an execution",
            "Get a page of what an execution has printed with console.log and its "
            "kin, also while it still runs. By lines unless byte_offset is given. Go "
            "on with next_line_offset (or next_byte_offset) while has_more is true.",
            OutputPage,
            ExecutionOutput,
            _page,
            READS,
        ),
        McpTool(
            "cancel_execution",
            "Cancel an execution",
            "Stop an execution that is running, or waits for its turn. Its status "
            "becomes cancelled; what it had printed stays, and so does the state of "
            "its session.",
            ExecutionId,
            CancelResult,
            _cancel,
            _ENDS,
        ),
        McpTool(
            "list_executions",
            "All executions",
            "List the executions that the server knows, running and ended, newest "
            "first.",
            Nothing,
            ExecutionList,
            _list,
            READS,
        ),
    ]


def stateless_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the only tool of stateless mode."""
    return [
        McpTool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js-stateless"),
            StatelessRun,
            StatelessOutput,
            _run_and_wait,
            _RUNS,
        )
    ]


async def _run(call: McpCall, arguments: Run) -> dict[str, Any]:
    record = await _submit(call, arguments, call.peer.named_session())
    return {"execution_id": record.id}


async def _submit(
    call: McpCall, arguments: StatelessRun, session: str | None = None
) -> RunRecord:
    fields = arguments.model_dump()
    order = script_order(call.parts.settings, call.workspace, session=session, **fields)
    return await call.parts.runs.submit(order)


async def _run_and_wait(call: McpCall, arguments: StatelessRun) -> Reply:
    runs, workspace = call.parts.runs, call.workspace
    execution_id = (await _submit(call, arguments)).id
    progress = OutputProgress(
        call.context.session,
        runs.follow(workspace, execution_id),
        wanted=call.wants_progress,
    )
    try:
        record = await _wait(call, execution_id)
        await progress.finish()
    except asyncio.CancelledError:
        # Nobody could ever ask for it again.
        call.spawn(_cancel_run(call, execution_id))
        raise
    finally:
        progress.stop()
    output = await some_output(call.parts, workspace, execution_id)
    data = {"output": output.removesuffix("\n")}
    error = execution_answer(record)["error"] if record.status.final else _UNFINISHED
    if error is not None:
        data["error"] = error
    return Reply(data, failed="error" in data)


async def _wait(call: McpCall, execution_id: str) -> RunRecord:
    """Wait for the end of a run; without a client, or after too long, cancel it.

    Returns:
        The run as it was when the waiting ended.
    """
    seconds = call.parts.settings.run_js_wait_seconds
    ended = asyncio.ensure_future(
        call.parts.runs.wait(Kind.SCRIPT, call.workspace, execution_id, seconds)
    )
    gone = asyncio.ensure_future(call.peer.gone.wait())
    try:
        await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await _cancel_run(call, execution_id)
        record = await ended
        if not record.status.final:
            await _cancel_run(call, execution_id)
        return record
    finally:
        ended.cancel()
        gone.cancel()


async def _cancel_run(call: McpCall, execution_id: str) -> None:
    with suppress(NotRunningError):
        await call.parts.runs.cancel(Kind.SCRIPT, call.workspace, execution_id)


async def some_output(
    parts: ServerParts, workspace: str, execution_id: str, limit: int | None = None
) -> str:
    """Return what a run printed, from the beginning up to a limit.

    Args:
        parts: The server's parts.
        workspace: Whose run it is.
        execution_id: The run.
        limit: Bytes at most, with a last line that says where to go on; None for all.
    """
    texts: list[str] = []
    place, more = 0, True
    while more and (limit is None or place < limit):
        size = BYTES_MAX if limit is None else min(BYTES_MAX, limit - place)
        request = PageRequest(byte_offset=place, byte_limit=size)
        page = await parts.runs.page(workspace, execution_id, request)
        texts.append(page.data)
        place, more = page.next_byte_offset, page.has_more
    if more:
        texts.append(f"\n… (cut: go on with byte_offset {place})\n")
    return "".join(texts)


async def _get(call: McpCall, arguments: ExecutionId) -> Reply:
    runs, execution_id = call.parts.runs, arguments.execution_id
    record = await runs.get(Kind.SCRIPT, call.workspace, execution_id)
    printed = await some_output(call.parts, call.workspace, execution_id, _OUTPUT_BYTES)
    text = f"Console output:\n{printed}"
    return Reply(describe(record), blocks=(TextContent(text=text),) if printed else ())


def describe(record: RunRecord) -> dict[str, Any]:
    """Return everything about an execution."""
    return plain(execution_answer(record))


async def _page(call: McpCall, arguments: OutputPage) -> dict[str, Any]:
    fields = arguments.model_dump()
    execution_id = fields.pop("execution_id")
    request = PageRequest(**fields)
    page = await call.parts.runs.page(call.workspace, execution_id, request)
    limit = _PAGE_BYTES
    while (
        call.is_bounded
        and len(json.dumps(page.data, ensure_ascii=False)) > _PAGE_BYTES
        and limit > 1
    ):
        # Escaped, it is more than an answer may be: a smaller page, to go on from.
        request = PageRequest(byte_offset=page.start_byte, byte_limit=limit)
        page = await call.parts.runs.page(call.workspace, execution_id, request)
        limit //= 2
    return plain(page._asdict())


async def _cancel(call: McpCall, arguments: ExecutionId) -> Reply:
    runs = call.parts.runs
    try:
        await runs.cancel(Kind.SCRIPT, call.workspace, arguments.execution_id)
    except (ExecutionMissingError, NotRunningError) as error:
        return Reply({"ok": False, "error": explain(error)}, failed=True)
    return Reply({"ok": True})


async def _list(call: McpCall, _arguments: Nothing) -> dict[str, Any]:
    records = await call.parts.runs.list(Kind.SCRIPT, call.workspace)
    return plain({"executions": [execution_summary(record) for record in records]})


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as JSON has it: times and statuses as text."""
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found
