"""The tools of tasks: execute, and what looks after a task that waits or goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ElicitResult, InputRequiredResult, ToolAnnotations
from pydantic import Field

from isoserver.errors import ApprovalDecidedError, TaskMissingError
from isoserver.mcp.content import content_blocks, file_links
from isoserver.mcp.elicitation import Questions, can_ask, is_modern, read_answer
from isoserver.mcp.executions import READS, plain
from isoserver.mcp.progress import OutputBuffer, OutputProgress, Stages
from isoserver.mcp.texts import read
from isoserver.mcp.tools import Arguments, McpTool, Reply, Result, explain
from isoserver.runs.answers import PREVIEW_MAX_CHARACTERS, task_answer, task_text
from isoserver.runs.models import (
    ResultTimeoutMs,
    TaskRequest,
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

    from mcp_types import InputRequests

    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import RunRecord
    from isoserver.settings.server import ServerSettings

__all__ = ["task_tools"]

# What is left out is as the protocol's defaults: it may write, destroy, reach out.
_OPEN: Final = ToolAnnotations(read_only_hint=False)
_DECIDES: Final = ToolAnnotations(idempotent_hint=True)
_RESULT_MAX_CHARACTERS: Final = 1_000_000
"""Of a result as data. To make an answer of more keeps the server from all others."""
_RESULT_WAIT_MS: Final = 120_000


class Execute(TaskRequest, Arguments):
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


class PendingApproval(Result):
    """A call that waits for the decision of a person."""

    approvalId: str  # noqa: N815
    path: str
    description: str
    input: str


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
            "Approve or deny a call that a task waits with, and get the task's result. "
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
        self._approval_wait = settings.execute_approval_wait_seconds
        self._questions: dict[str, Questions] = {}

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
            task, decided = await self._go_on(call, call.parameters.request_state)
        else:
            printed, stages = OutputBuffer(), Stages()
            task = await self._start(call, arguments, printed, stages)
            decided = set()
            if arguments.waitForResult:
                async with self._progress(call, printed, stages):
                    return await self._finish(call, task, wait, decided)
        if arguments.waitForResult:
            return await self._finish(call, task, wait, decided)
        return await task_reply(call, task, f"Queued task {task.id}")

    async def get(
        self, call: McpCall, arguments: GetTask
    ) -> Reply | InputRequiredResult:
        """Look a task up, at once or when it has ended."""
        task = await call.parts.runs.get(Kind.TASK, call.workspace, arguments.taskId)
        if arguments.resultTimeoutMs is None:
            return await task_reply(call, task)
        wait = arguments.resultTimeoutMs / 1e3
        return await self._finish(call, task, wait, set(), ends=False)

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
                "get_task.",
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
            return Reply(data, text=text)
        if arguments.waitForResult:
            seconds = arguments.resultTimeoutMs / 1e3
            task = await self._watch(call, task, seconds, {approval.id})
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
        call.parts.rates.check(call.peer.principal, "execute")
        order = arguments.order(call.peer.principal, call.peer.named_session())
        order = order._replace(whole_above=PREVIEW_MAX_CHARACTERS)
        decides = call.parts.tools.approvals.may_decide(admin=order.admin)
        questions = Questions(call.context, decides=decides)
        wanted = call.wants_progress
        task = await call.parts.runs.submit(
            order,
            questions,
            printed.put if wanted else None,
            on_stage=stages.put if wanted else None,
        )
        self._questions[task.id] = questions
        call.spawn(self._forget(call, task))
        return task

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

    async def _forget(self, call: McpCall, task: RunRecord) -> None:
        """Forget a task's questions once it has ended."""
        try:
            while not task.status.final:
                task = await call.parts.runs.wait(
                    Kind.TASK, call.workspace, task.id, 3600.0
                )
        finally:
            self._questions.pop(task.id, None)

    async def _go_on(self, call: McpCall, task_id: str) -> tuple[RunRecord, set[str]]:
        """Read the decisions of the client's user; the request's state is a task's id.

        Returns:
            The task, and the approvals that are decided.

        Raises:
            MCPError: The workspace has no such task, so the state isn't ours.
        """
        try:
            task = await call.parts.runs.get(Kind.TASK, call.workspace, task_id)
        except TaskMissingError as error:
            # The protocol wants a request refused whose state was made up.
            raise MCPError(code=INVALID_PARAMS, message=explain(error)) from error
        decided: set[str] = set()
        approvals = call.parts.tools.approvals
        decides = approvals.may_decide(admin=call.peer.principal.admin)
        for approval_id, given in (call.parameters.input_responses or {}).items():
            answer = read_answer(given) if isinstance(given, ElicitResult) else None
            if answer is None or (answer.approved and not decides):
                continue
            approval = await approvals.get(call.workspace, approval_id)
            if approval.task_id != task.id:
                continue
            by = f"client:{approval.client}"
            # It may have been decided by somebody else, a moment ago.
            with suppress(ApprovalDecidedError):
                await approvals.decide(call.workspace, approval_id, answer, by)
            decided.add(approval_id)
        return task, decided

    async def _finish(
        self,
        call: McpCall,
        task: RunRecord,
        seconds: float,
        decided: set[str],
        *,
        ends: bool = True,
    ) -> Reply | InputRequiredResult:
        """Wait for the task's end, or until it can't go on without an approval."""
        try:
            task = await self._watch(call, task, seconds, decided, asks=ends)
        except asyncio.CancelledError:
            if ends and call.peer.cancels:
                call.spawn(self._end(call, task))
            raise
        finally:
            questions = self._questions.get(task.id)
            if questions is not None and ends:
                questions.over()
        if questions is not None and questions.pending and ends:
            answers = call.parameters.input_responses or {}
            new: InputRequests = {
                key: request
                for key, request in questions.requests().items()
                if key not in answers
            }
            if new and can_ask(call.context) and is_modern(call.context):
                return InputRequiredResult(input_requests=new, request_state=task.id)
        return await task_reply(call, task)

    @staticmethod
    async def _end(call: McpCall, task: RunRecord) -> None:
        await call.parts.runs.cancel(Kind.TASK, call.workspace, task.id)

    async def _watch(
        self,
        call: McpCall,
        task: RunRecord,
        seconds: float,
        decided: set[str],
        *,
        asks: bool = False,
    ) -> RunRecord:
        """Wait for a task's end, or for an approval that its client can't be asked for.

        Args:
            call: The call that waits.
            task: The task.
            seconds: How long to wait at most.
            decided: Approvals that are decided already.
            asks: Whether the answer may ask the client.

        Returns:
            The task as it is then.
        """
        runs, workspace = call.parts.runs, call.workspace
        loop = asyncio.get_running_loop()
        limit = loop.time() + seconds
        ended = asyncio.ensure_future(runs.wait(Kind.TASK, workspace, task.id, seconds))
        gone = asyncio.ensure_future(call.peer.gone.wait())
        try:
            while not ended.done() and not gone.done() and loop.time() < limit:
                wait = await self._next(call, task, {ended, gone}, decided)
                if wait is None:
                    continue
                if asks and can_ask(call.context) and is_modern(call.context):
                    break
                left = min(wait, limit - loop.time())
                await asyncio.wait(
                    {ended, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if self._open(task, decided):
                    break
        finally:
            ended.cancel()
            gone.cancel()
        return await runs.get(Kind.TASK, workspace, task.id)

    async def _next(
        self,
        call: McpCall,
        task: RunRecord,
        others: set[asyncio.Future[Any]],
        decided: set[str],
    ) -> float | None:
        """Wait for a question, or for one of the other events.

        Returns:
            How long to wait for its answer from elsewhere; None without a question.
        """
        questions = self._questions.get(task.id)
        if questions is None or questions.direct:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            return None
        if not self._open(task, decided):
            questions.changed.clear()
            changed = asyncio.ensure_future(questions.changed.wait())
            try:
                await asyncio.wait(
                    {*others, changed}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                changed.cancel()
            if not self._open(task, decided):
                return None
            for question in tuple(questions.pending.values()):
                text = f"{question.path} waits for an approval"
                await call.notify(call.context, text)
        return self._approval_wait

    def _open(self, task: RunRecord, decided: set[str]) -> bool:
        """Tell whether a task has questions that its client wasn't asked at once."""
        questions = self._questions.get(task.id)
        if questions is None or questions.direct:
            return False
        return any(key not in decided for key in questions.pending)


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
        waiting = await _approvals(call, task)
        data["approvals"] = waiting
        lines += [
            f"waits for approval of {each['path']} with {each['input']}: call "
            f"resume with approvalId {each['approvalId']}, once your user has "
            "decided"
            for each in waiting
        ]
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


async def _approvals(call: McpCall, task: RunRecord) -> list[dict[str, Any]]:
    found, _ = await call.parts.tools.approvals.pending(call.workspace, limit=1000)
    return [
        {
            "approvalId": approval.id,
            "path": approval.path,
            "description": approval.description,
            "input": approval.input,
        }
        for approval in found
        if approval.task_id == task.id
    ]
