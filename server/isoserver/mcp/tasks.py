"""The tools of tasks: execute, and what looks after a task that waits or goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ElicitResult, InputRequiredResult, ToolAnnotations

from isoserver.errors import ApprovalDecidedError, TaskMissingError
from isoserver.mcp import task_schemas
from isoserver.mcp.content import content_blocks
from isoserver.mcp.elicitation import Questions, can_ask, is_modern, read_answer
from isoserver.mcp.executions import READS, plain
from isoserver.mcp.progress import OutputProgress, Printed
from isoserver.mcp.texts import read
from isoserver.mcp.tools import McpTool, Reply
from isoserver.runs.answers import task_answer, task_text
from isoserver.runs.orders import RUNTIMES
from isoserver.runs.records import Kind, Status
from isoserver.tools.calls import Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp_types import InputRequests

    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import RunRecord
    from isoserver.settings.server import ServerSettings

__all__ = ["task_tools"]

_OPEN: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, open_world_hint=True
)
_DECIDES: Final = ToolAnnotations(
    read_only_hint=False,
    destructive_hint=True,
    idempotent_hint=True,
    open_world_hint=True,
)


def task_tools(settings: ServerSettings) -> list[McpTool]:
    """Return the tools of tasks."""
    tools = TaskTools(settings)
    text = settings.execute_description or read("execute")
    return [
        McpTool(
            "execute",
            "Run TypeScript with the workspace's tools",
            text.replace("{runtimes}", ", ".join(RUNTIMES)),
            task_schemas.Execute,
            task_schemas.TaskResult,
            tools.execute,
            _OPEN,
        ),
        McpTool(
            "get_task",
            "Status and result of a task",
            "Get the status of a task that execute began, and its result once it has "
            "ended. With resultTimeoutMs, wait for the end that long first.",
            task_schemas.GetTask,
            task_schemas.TaskResult,
            tools.get,
            READS,
        ),
        McpTool(
            "cancel_task",
            "Cancel a task",
            "Stop a task that is queued, running or waiting for an approval. Calls of "
            "tools that it waits for are given up; what they have done stays done.",
            task_schemas.TaskId,
            task_schemas.TaskResult,
            tools.cancel,
            _DECIDES,
        ),
        McpTool(
            "resume",
            "Decide an approval",
            "Approve or deny a call that a task waits with, and get the task's result "
            "once it has gone on. Call it only with what your user decided; never "
            "approve on your own. Works from every connection; the same decision again "
            "changes nothing.",
            task_schemas.Resume,
            task_schemas.Resumed,
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
        self._patience = settings.execute_approval_wait_seconds
        self._questions: dict[str, Questions] = {}

    # -- the tools ---------------------------------------------------------------------

    async def execute(
        self, call: McpCall, arguments: task_schemas.Execute
    ) -> Reply | InputRequiredResult:
        """Run code, or go on with what an earlier answer wanted input for.

        Raises:
            RateLimitError: The workspace has begun as many as it may, for now.
        """
        wait = arguments.answer_seconds
        if call.parameters.request_state is not None:
            task, decided = await self._go_on(call, call.parameters.request_state)
        else:
            printed = Printed()
            task, decided = await self._start(call, arguments, printed), set()
            if arguments.waitForResult:
                async with self._progress(call, printed):
                    return await self._finish(call, task, wait, decided)
        if arguments.waitForResult:
            return await self._finish(call, task, wait, decided)
        return await task_reply(call, task, f"Queued task {task.id}")

    async def get(
        self, call: McpCall, arguments: task_schemas.GetTask
    ) -> Reply | InputRequiredResult:
        """Look a task up, when it has ended or after some time."""
        task = await call.parts.runs.get(Kind.TASK, call.workspace, arguments.taskId)
        if arguments.resultTimeoutMs is None:
            return await task_reply(call, task)
        wait = arguments.resultTimeoutMs / 1e3
        return await self._finish(call, task, wait, set(), ends=False)

    async def cancel(self, call: McpCall, arguments: task_schemas.TaskId) -> Reply:
        """End a task."""
        task = await call.parts.runs.cancel(Kind.TASK, call.workspace, arguments.taskId)
        return await task_reply(call, task, failed=False)

    async def resume(self, call: McpCall, arguments: task_schemas.Resume) -> Reply:
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
        arguments: task_schemas.Execute,
        printed: Printed,
    ) -> RunRecord:
        call.parts.rates.check(call.peer.principal, "execute")
        order = arguments.order(call.peer.principal, call.peer.named_session())
        decides = call.parts.tools.approvals.may_decide(admin=order.admin)
        questions = Questions(call.context, decides=decides)
        listen = printed.put if call.wants_progress else None
        task = await call.parts.runs.submit(order, questions, listen)
        self._questions[task.id] = questions
        call.spawn(self._forget(call, task))
        return task

    @staticmethod
    @asynccontextmanager
    async def _progress(call: McpCall, printed: Printed) -> AsyncIterator[None]:
        """Tell the client what is printed while it waits."""
        progress = OutputProgress(
            call.context.session, printed.read(), wanted=call.wants_progress
        )
        try:
            yield
            printed.close()
            await progress.finish()
        finally:
            progress.stop()

    async def _forget(self, call: McpCall, task: RunRecord) -> None:
        """Keep a task's questions until it ends."""
        try:
            while not task.status.final:
                task = await call.parts.runs.wait(
                    Kind.TASK, call.workspace, task.id, 3600.0
                )
        finally:
            self._questions.pop(task.id, None)

    async def _go_on(self, call: McpCall, task_id: str) -> tuple[RunRecord, set[str]]:
        """Take what the client's user answered; the state that it gives back is an id.

        Returns:
            The task, and the approvals that are decided.

        Raises:
            TaskMissingError: The workspace has no such task.
        """
        task = await call.parts.runs.get(Kind.TASK, call.workspace, task_id)
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
        """Wait for the end, or until nothing goes on without somebody's answer."""
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
        """Wait for the end of a task, or an approval that its client isn't call for.

        Args:
            call: Who waits.
            task: For what.
            seconds: How long at most.
            decided: Approvals that count no more.
            asks: Whether the client can be call in the answer.

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
                patience = await self._next(call, task, {ended, gone}, decided)
                if patience is None:
                    continue
                if asks and can_ask(call.context) and is_modern(call.context):
                    break
                left = min(patience, limit - loop.time())
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
        """Wait for a question or something else.

        Returns:
            How long a question's answer may come from elsewhere; None if there is none.
        """
        questions = self._questions.get(task.id)
        if questions is None or questions.direct:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            return None
        if not self._open(task, decided):
            questions.changed.clear()
            changed = asyncio.ensure_future(questions.changed.wait())
            await asyncio.wait({*others, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if not self._open(task, decided):
                return None
            for question in tuple(questions.pending.values()):
                text = f"{question.path} waits for an approval"
                await call.notify(call.context, text)
        return self._patience

    def _open(self, task: RunRecord, decided: set[str]) -> bool:
        """Tell whether a task has questions that its client isn't call at once."""
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
    """Tell how a task stands.

    Args:
        call: Who asks.
        task: The task.
        text: The text, up to what to do next; all of the task's facts if None.
        failed: Whether it is an error; if None, when the task ended without success.
    """
    data = plain(task_answer(task))
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
        blocks=content_blocks(task.id, displays),
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
