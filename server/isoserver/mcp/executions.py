"""The tools that run code and look up executions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
from mcp_types import InputRequiredResult, TextContent, ToolAnnotations
from pydantic import Field

from isoserver.errors import ExecutionMissingError, NotRunningError
from isoserver.heaps.models import HeapKey, HeapTags  # noqa: TC001 - pydantic's
from isoserver.http.models import Offset, cut_page
from isoserver.mcp.content import file_links
from isoserver.mcp.progress import OutputProgress, Stages
from isoserver.mcp.texts import read
from isoserver.mcp.tools import Arguments, McpTool, Reply, Result, explain
from isoserver.mcp.waits import (
    PendingApproval,
    Waits,
    how_to_decide,
    pending_approvals,
)
from isoserver.runs.answers import (
    PREVIEW_MAX_CHARACTERS,
    execution_answer,
    execution_summary,
)
from isoserver.runs.models import (
    CancelResult,
    ExecAccepted,
    ExecutionInfo,
    ExecutionList,
    ExecutionOutput,
    Limit,
    MemoryMb,
    OutputRange,
    TimeoutSeconds,
)
from isoserver.runs.orders import script_order
from isoserver.runs.pages import BYTES_MAX, PageRequest
from isoserver.runs.records import LIST_DEFAULT, Kind, Wanted
from isoserver.settings.rules import (
    BriefCapabilities,  # noqa: TC001 - pydantic reads annotations
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.capabilities import Stage
    from isoserver.http.parts import ServerParts
    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import RunRecord
    from isoserver.settings.server import ServerSettings

__all__ = [
    "Page",
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
# What is left out is as the protocol's defaults: not read-only, destructive.
_RUNS: Final = ToolAnnotations(destructive_hint=False, open_world_hint=False)
_ENDS: Final = ToolAnnotations(idempotent_hint=True, open_world_hint=False)


class StatelessRun(Arguments):
    """Arguments of run_js in stateless mode."""

    code: str = Field(description="JavaScript or TypeScript source to execute.")
    heap_memory_max_mb: MemoryMb | None = Field(
        None,
        description="Megabytes of V8 heap (at least 8), if not the server's default.",
    )
    execution_timeout_secs: TimeoutSeconds | None = Field(
        None,
        description="Seconds that it may run (1-300), if not the server's default.",
    )
    capabilities: BriefCapabilities | None = Field(
        None, description="Allow less of modules, net, files, env: off, or patterns."
    )


class Run(StatelessRun):
    """Arguments of run_js."""

    heap: HeapKey | None = Field(
        None,
        description="Heap key to go on from; resets the session, if there is one.",
    )
    tags: HeapTags | None = Field(None, description="Tags of the heap that results.")


class ExecutionId(Arguments):
    """Arguments of tools about one execution."""

    execution_id: str = Field(description="ID returned by run_js.")


class OutputPage(OutputRange, ExecutionId):
    """Arguments of get_execution_output."""


class Page(Arguments):
    """Which part of a list is wanted."""

    limit: Limit = LIST_DEFAULT
    offset: Offset = 0


class StatelessOutput(Result):
    """What run_js answers in stateless mode."""

    output: str = Field(description="All console output.")
    error: str | None = Field(None, description="What went wrong, if it failed.")


class ShownExecution(ExecutionInfo):
    """What get_execution answers."""

    approvals: list[PendingApproval] | None = Field(
        None, description="Calls that wait for a decision."
    )


def execution_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the tools of executions."""
    scripts = Scripts(settings.execute_approval_wait_seconds)
    return [
        McpTool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js"),
            Run,
            ExecAccepted,
            scripts.run,
            _RUNS,
        ),
        McpTool(
            "get_execution",
            "Status and result of an execution",
            "Get the status of an execution, and, once it is completed, its result "
            "(as JSON text) and its heap (a key to go on from with run_js). While it "
            "is running, ask again a moment later; all other statuses are final.",
            ExecutionId,
            ShownExecution,
            scripts.get,
            READS,
        ),
        McpTool(
            "get_execution_output",
            "Console output of an execution",
            "Get a page of what an execution has printed, also while it runs: by "
            "lines, unless byte_offset is given. Go on with next_line_offset (or "
            "next_byte_offset) while has_more.",
            OutputPage,
            ExecutionOutput,
            _page,
            READS,
        ),
        McpTool(
            "cancel_execution",
            "Cancel an execution",
            "Stop an execution that runs or waits. What it had printed stays, and so "
            "does its session's state.",
            ExecutionId,
            CancelResult,
            _cancel,
            _ENDS,
        ),
        McpTool(
            "list_executions",
            "All executions",
            "List executions, newest first; go on with next_offset.",
            Page,
            ExecutionList,
            _list,
            READS,
        ),
    ]


def stateless_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the only tool of stateless mode."""
    # Nothing else could get the result, so it waits for decisions from elsewhere.
    scripts = Scripts(None)
    return [
        McpTool(
            "run_js",
            "Run JavaScript or TypeScript",
            settings.run_js_description or read("run_js-stateless"),
            StatelessRun,
            StatelessOutput,
            scripts.run_and_wait,
            _RUNS,
        )
    ]


class Scripts:
    """The tools that run code, and the questions of what this process runs."""

    def __init__(self, approval_wait: float | None) -> None:
        """Start without any.

        Args:
            approval_wait: How long an answer waits for an approval from elsewhere, if
                its client can't be asked; None for as long as it waits for the code.
        """
        self._waits = Waits(Kind.SCRIPT, approval_wait)

    async def run(self, call: McpCall, arguments: Run) -> dict[str, Any]:
        """Begin, and answer at once."""
        record = await self._submit(call, arguments, call.peer.named_session())
        self._waits.over(record)
        return {"execution_id": record.id}

    async def _submit(
        self,
        call: McpCall,
        arguments: StatelessRun,
        session: str | None = None,
        on_stage: Callable[[Stage], None] | None = None,
    ) -> RunRecord:
        order = script_order(
            call.parts.settings,
            call.peer.principal,
            session=session,
            **arguments.model_dump(),
        )
        order = order._replace(whole_above=PREVIEW_MAX_CHARACTERS)
        await call.find_room(Kind.SCRIPT, order.session)
        questions = self._waits.questions(call)
        record = await call.parts.runs.submit(order, questions, on_stage=on_stage)
        self._waits.keep(call, record, questions)
        return record

    async def get(
        self, call: McpCall, arguments: ExecutionId
    ) -> Reply | InputRequiredResult:
        """Look a run up, and ask for what it waits for if the client is asked so."""
        runs, execution_id = call.parts.runs, arguments.execution_id
        if call.parameters.request_state is not None:
            await self._waits.go_on(call, call.parameters.request_state)
        record = await runs.get(Kind.SCRIPT, call.workspace, execution_id)
        question = self._waits.asking(call, record)
        if question is not None:
            return question
        printed = await some_output(
            call.parts, call.workspace, record.id, _OUTPUT_BYTES
        )
        texts = [f"Console output:\n{printed}"] if printed else []
        data, waiting = describe(record), await pending_approvals(call, record)
        if waiting:
            data["approvals"] = waiting
            texts += how_to_decide(waiting)
        shown = [TextContent(text=text) for text in texts]
        return Reply(data, blocks=(*shown, *file_links(record)))

    async def run_and_wait(
        self, call: McpCall, arguments: StatelessRun
    ) -> Reply | InputRequiredResult:
        """Run to the end, or go on with a run whose earlier answer wanted input."""
        state, decided, stages = call.parameters.request_state, set[str](), Stages()
        if state is None:
            record = await self._submit(call, arguments, on_stage=stages.put)
        else:
            record, decided = await self._waits.go_on(call, state)
        progress = OutputProgress(
            call.context.session,
            call.parts.runs.follow(call.workspace, record.id),
            stages,
            wanted=call.wants_progress,
        )
        try:
            found = await self._wait(call, record, decided)
            await progress.finish()
        except asyncio.CancelledError:
            # Nobody could ever ask for it again.
            call.spawn(self._waits.cancel(call, record.id))
            raise
        finally:
            progress.stop()
        if isinstance(found, InputRequiredResult):
            return found
        output = await some_output(call.parts, call.workspace, found.id)
        data = {"output": output.removesuffix("\n")}
        error = execution_answer(found)["error"] if found.status.final else _UNFINISHED
        if error is not None:
            data["error"] = error
        return Reply(data, failed="error" in data)

    async def _wait(
        self, call: McpCall, record: RunRecord, decided: set[str]
    ) -> RunRecord | InputRequiredResult:
        """Wait for the end of a run; without a client, or after too long, cancel it."""
        seconds = call.parts.settings.run_js_wait_seconds
        found = await self._waits.finish(call, record, seconds, decided)
        if isinstance(found, InputRequiredResult) or found.status.final:
            return found
        await self._waits.cancel(call, record.id)
        if not call.peer.gone.is_set():
            return found
        runs = call.parts.runs
        return await runs.wait(Kind.SCRIPT, call.workspace, record.id, seconds)


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


async def _list(call: McpCall, arguments: Page) -> dict[str, Any]:
    limit, offset = arguments.limit, arguments.offset
    wanted = Wanted(limit + 1, offset)
    records = await call.parts.runs.list(Kind.SCRIPT, call.workspace, wanted)
    page, following = cut_page(records, limit, offset)
    listed = [execution_summary(record) for record in page]
    return plain({"executions": listed, "next_offset": following})


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as JSON has it: times and statuses as text."""
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found
