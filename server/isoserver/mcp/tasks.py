"""The tools of tasks: execute, and what looks after a task that waits or goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp_types import InputRequiredResult, ToolAnnotations
from pydantic import Field

from isoserver.errors import ExecutionMissingError, TaskMissingError
from isoserver.mcp.content import content_blocks, file_links
from isoserver.mcp.executions import READS, plain
from isoserver.mcp.progress import OutputBuffer, OutputProgress, Stages
from isoserver.mcp.texts import read
from isoserver.mcp.tools import Arguments, McpTool, Reply, Result
from isoserver.mcp.waits import (
    PendingApproval,
    Waits,
    how_to_decide,
    pending_approvals,
)
from isoserver.runs.answers import (
    PREVIEW_MAX_CHARACTERS,
    execution_summary,
    task_answer,
    task_text,
)
from isoserver.runs.models import (
    ResultTimeoutMs,
    TaskArguments,
    TaskStatusName,
    TaskSummary,
)
from isoserver.runs.records import Kind, Status
from isoserver.settings.rules import (
    BriefCapabilities,  # noqa: TC001 - pydantic reads annotations
)
from isoserver.tools.calls import Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import RunRecord
    from isoserver.settings.server import ServerSettings
    from isoserver.tools.approvals import Approval

__all__ = ["task_tools"]

# What is left out is as the protocol's defaults: it may write, destroy, reach out.
_OPEN: Final = ToolAnnotations(read_only_hint=False)
_DECIDES: Final = ToolAnnotations(idempotent_hint=True)
_RESULT_MAX_CHARACTERS: Final = 1_000_000
"""Of a result as data. To make an answer of more keeps the server from all others."""
_RESULT_WAIT_MS: Final = 120_000


class Execute(TaskArguments, Arguments):
    """Arguments of execute."""

    waitForResult: bool = Field(  # noqa: N815 - the documented name, as below
        default=True, description="Answer when it has ended; else at once."
    )
    capabilities: BriefCapabilities | None = Field(
        None, description="Allow less of modules, net, files, env: off, or patterns."
    )


class TaskId(Arguments):
    """Arguments of tools about one task."""

    taskId: str = Field(description="ID returned by execute.")  # noqa: N815


class GetTask(TaskId):
    """Arguments of get_task."""

    resultTimeoutMs: ResultTimeoutMs | None = Field(  # noqa: N815
        None, description="Milliseconds to wait for the end."
    )


class Resume(Arguments):
    """Arguments of resume."""

    approvalId: str = Field(  # noqa: N815
        description="As an answer of execute or get_task lists it."
    )
    decision: Literal["approve", "deny"] = Field(description="What the user decided.")
    reason: str = Field("", max_length=2000, description="Why; told to the code.")
    waitForResult: bool = Field(  # noqa: N815
        default=True, description="Answer when it has ended, or waits again."
    )
    resultTimeoutMs: ResultTimeoutMs = Field(  # noqa: N815
        _RESULT_WAIT_MS, description="Milliseconds to wait for that."
    )


class TaskResult(TaskSummary):
    """What execute and get_task answer; displays are content."""

    result: Any = Field(None, description="What the code returned.")
    resultCut: bool = Field(  # noqa: N815
        default=False, description="Whether the result was too long."
    )
    resultText: str | None = Field(  # noqa: N815
        None, description="The value as text, when JSON doesn't hold all of it."
    )
    resultNote: str | None = Field(  # noqa: N815
        None, description="What JSON doesn't hold of the value, and what was cut."
    )
    logs: dict[str, list[str]] | None = Field(
        None, description="Lines printed, by stdout and stderr."
    )
    diagnostics: list[dict[str, Any]] | None = Field(
        None, description="Type errors, which kept the code from running."
    )
    approvals: list[PendingApproval] | None = Field(
        None, description="Calls that wait for a decision."
    )


class Ended(Result):
    """What of the answer of cancel_task counts; the rest is as get_task has it."""

    taskId: str  # noqa: N815
    status: TaskStatusName


class Resumed(Result):
    """What resume answers."""

    approvalId: str  # noqa: N815
    state: str
    path: str | None = None
    task: dict[str, Any] | None = Field(None, description="As get_task answers it.")
    execution: dict[str, Any] | None = Field(
        None, description="As list_executions lists it."
    )


def task_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the tools of tasks."""
    tools = TaskTools(settings)
    text = settings.execute_description or read("execute")
    return [
        McpTool(
            "execute",
            "Run TypeScript with the workspace's tools",
            text,
            Execute,
            TaskResult,
            tools.execute,
            _OPEN,
        ),
        McpTool(
            "get_task",
            "Status and result of a task",
            "Get a task's status, and its result once it has ended; with "
            "resultTimeoutMs, wait for that.",
            GetTask,
            TaskResult,
            tools.get,
            READS,
        ),
        McpTool(
            "cancel_task",
            "Cancel a task",
            "Stop a task that hasn't ended. Calls of tools that it waits for are given "
            "up; what they have done stays done.",
            TaskId,
            Ended,
            tools.cancel,
            _DECIDES,
        ),
        McpTool(
            "resume",
            "Decide an approval",
            "Approve or deny a call that code waits with, and get its task's result. "
            "Only with what your user decided; never approve on your own.",
            Resume,
            Resumed,
            tools.resume,
            _DECIDES,
        ),
    ]


class TaskTools:
    """The tools of tasks, and the questions of those that this process runs."""

    def __init__(self, settings: ServerSettings) -> None:
        """Start without any task.

        Args:
            settings: Settings of the server.
        """
        self._waits = Waits(Kind.TASK, settings.execute_approval_wait_seconds)

    # -- the tools ---------------------------------------------------------------------

    async def execute(
        self, call: McpCall, arguments: Execute
    ) -> Reply | InputRequiredResult:
        """Run code, or go on with a task whose earlier answer wanted input.

        Raises:
            RateLimitError: The workspace starts too many tasks a minute.
        """
        wait = arguments.answer_seconds
        if call.parameters.request_state is not None:
            state = call.parameters.request_state
            task, decided = await self._waits.go_on(call, state)
        else:
            printed, stages = OutputBuffer(), Stages()
            task = await self._start(call, arguments, printed, stages)
            decided = set()
            if arguments.waitForResult:
                async with self._progress(call, printed, stages):
                    return await self._finish(call, task, wait, decided)
        if arguments.waitForResult:
            return await self._finish(call, task, wait, decided)
        self._waits.over(task)
        return await task_reply(call, task, f"Queued task {task.id}")

    async def get(self, call: McpCall, arguments: GetTask) -> Reply:
        """Look a task up, at once or when it has ended."""
        task = await call.parts.runs.get(Kind.TASK, call.workspace, arguments.taskId)
        if arguments.resultTimeoutMs is None:
            return await task_reply(call, task)
        wait = arguments.resultTimeoutMs / 1e3
        task = await self._waits.watch(call, task, wait, set())
        return await task_reply(call, task)

    async def cancel(self, call: McpCall, arguments: TaskId) -> Reply:
        """End a task."""
        task = await call.parts.runs.cancel(Kind.TASK, call.workspace, arguments.taskId)
        return await task_reply(call, task, failed=False)

    async def resume(self, call: McpCall, arguments: Resume) -> Reply:
        """Decide an approval, and wait for what becomes of its task."""
        principal = call.peer.principal
        approved = arguments.decision == "approve"
        approvals = call.parts.tools.approvals
        if approved and not approvals.may_decide(admin=principal.admin):
            return Reply(
                {"approvalId": arguments.approvalId, "state": "pending"},
                failed=True,
                text="This client may not approve, only deny. Ask an administrator of "
                "the workspace to approve it (POST /approvals/{id}), then call "
                "get_task, or get_execution.",
            )
        approval = await approvals.decide(
            call.workspace,
            arguments.approvalId,
            Decision(approved=approved, reason=arguments.reason),
            f"client:{principal.client}",
        )
        data: dict[str, Any] = {
            "approvalId": approval.id,
            "state": approval.state,
            "path": approval.path,
        }
        text = f"{approval.path} is {approval.state}."
        try:
            task = await call.parts.runs.get(
                Kind.TASK, call.workspace, approval.task_id
            )
        except TaskMissingError:
            return await _execution_reply(call, approval, data, text)
        if arguments.waitForResult:
            seconds = arguments.resultTimeoutMs / 1e3
            task = await self._waits.watch(call, task, seconds, {approval.id})
        reply = await task_reply(call, task)
        return reply._replace(
            data={**data, "task": reply.data}, text=f"{text}\n\n{reply.text}"
        )

    # -- its course --------------------------------------------------------------------

    async def _start(
        self,
        call: McpCall,
        arguments: Execute,
        printed: OutputBuffer,
        stages: Stages,
    ) -> RunRecord:
        order = arguments.order(call.peer.principal, call.peer.named_session())
        await call.find_room(Kind.TASK, order.session)
        await call.parts.rates.take(call.peer.principal, "execute")
        order = order._replace(whole_above=PREVIEW_MAX_CHARACTERS)
        questions = self._waits.questions(call)
        wanted = call.wants_progress
        task = await call.parts.runs.submit(
            order,
            questions,
            printed.put if wanted else None,
            on_stage=stages.put if wanted else None,
        )
        self._waits.keep(call, task, questions)
        return task

    async def _finish(
        self, call: McpCall, task: RunRecord, seconds: float, decided: set[str]
    ) -> Reply | InputRequiredResult:
        found = await self._waits.finish(call, task, seconds, decided)
        if isinstance(found, InputRequiredResult):
            return found
        return await task_reply(call, found)

    @staticmethod
    @asynccontextmanager
    async def _progress(
        call: McpCall, printed: OutputBuffer, stages: Stages
    ) -> AsyncIterator[None]:
        """Send the client what is printed, and downloaded, while it waits."""
        progress = OutputProgress(
            call.context.session, printed.read(), stages, wanted=call.wants_progress
        )
        try:
            yield
            printed.close()
            await progress.finish()
        finally:
            progress.stop()


async def _execution_reply(
    call: McpCall, approval: Approval, data: dict[str, Any], text: str
) -> Reply:
    """Return what resume says of an execution; it goes on in the background."""
    try:
        record = await call.parts.runs.get(
            Kind.SCRIPT, call.workspace, approval.task_id
        )
    except ExecutionMissingError:  # a cell of a context, which no run has ordered
        return Reply(data, text=text)
    shown = plain(execution_summary(record))
    text = f"{text} get_execution with execution_id {record.id} gives the result."
    return Reply({**data, "execution": shown}, text=text)


async def task_reply(
    call: McpCall,
    task: RunRecord,
    text: str | None = None,
    *,
    failed: bool | None = None,
) -> Reply:
    """Return what a model is told of a task, and what it can do next.

    Args:
        call: The call to answer.
        task: The task.
        text: The text up to what to do next; if None, everything about the task.
        failed: Whether it is an error; if None, it is when the task ended without
            success.
    """
    data = plain(task_answer(task, _RESULT_MAX_CHARACTERS))
    displays = data.pop("displays", [])
    lines = [task_text(task) if text is None else text]
    if task.status is Status.WAITING:
        data["approvals"] = await pending_approvals(call, task)
        lines += how_to_decide(data["approvals"])
    if not task.status.final:
        lines.append(
            f"Task {task.id} is still {task.status.value}: get_task with this "
            "taskId gives its result later."
        )
    if failed is None:
        failed = task.status.final and task.status is not Status.COMPLETED
    return Reply(
        data,
        failed=failed,
        text="\n".join(lines),
        blocks=(*content_blocks(task.id, displays), *file_links(task)),
    )
