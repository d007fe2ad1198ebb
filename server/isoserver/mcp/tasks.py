"""The tools of tasks: execute, and what looks after a task that waits or goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from mcp_types import ElicitResult, InputRequiredResult, ToolAnnotations

from isoserver.errors import ApprovalDecidedError, TaskMissingError
from isoserver.mcp import task_schemas
from isoserver.mcp.answers import task_reply
from isoserver.mcp.executions import READS
from isoserver.mcp.progress import OutputProgress, Printed
from isoserver.mcp.questions import Questions, can_ask, is_modern, read_answer
from isoserver.mcp.texts import read
from isoserver.mcp.toolbox import Reply, Tool
from isoserver.runs.orders import RUNTIMES
from isoserver.runs.records import Kind
from isoserver.tools.calls import Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp_types import InputRequests

    from isoserver.mcp.toolbox import Asked
    from isoserver.runs.records import Record
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


def task_tools(settings: ServerSettings) -> list[Tool]:
    """Return the tools of tasks."""
    tools = TaskTools(settings)
    text = settings.execute_description or read("execute")
    return [
        Tool(
            "execute",
            "Run TypeScript with the workspace's tools",
            text.replace("{runtimes}", ", ".join(RUNTIMES)),
            task_schemas.Execute,
            task_schemas.TaskResult,
            tools.execute,
            _OPEN,
        ),
        Tool(
            "get_task",
            "Status and result of a task",
            "Get the status of a task that execute began, and its result once it has "
            "ended. With resultTimeoutMs, wait for the end that long first.",
            task_schemas.GetTask,
            task_schemas.TaskResult,
            tools.get,
            READS,
        ),
        Tool(
            "cancel_task",
            "Cancel a task",
            "Stop a task that is queued, running or waiting for an approval. Calls of "
            "tools that it waits for are given up; what they have done stays done.",
            task_schemas.TaskId,
            task_schemas.TaskResult,
            tools.cancel,
            _DECIDES,
        ),
        Tool(
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
        self, asked: Asked, arguments: task_schemas.Execute
    ) -> Reply | InputRequiredResult:
        """Run code, or go on with what an earlier answer wanted input for.

        Raises:
            RateLimitError: The workspace has begun as many as it may, for now.
        """
        wait = arguments.answer_seconds
        if asked.parameters.request_state is not None:
            task, decided = await self._go_on(asked, asked.parameters.request_state)
        else:
            printed = Printed()
            task, decided = await self._start(asked, arguments, printed), set()
            if arguments.waitForResult:
                async with self._progress(asked, printed):
                    return await self._finish(asked, task, wait, decided)
        if arguments.waitForResult:
            return await self._finish(asked, task, wait, decided)
        return await task_reply(asked, task, f"Queued task {task.id}")

    async def get(
        self, asked: Asked, arguments: task_schemas.GetTask
    ) -> Reply | InputRequiredResult:
        """Look a task up, when it has ended or after some time."""
        task = await asked.service.runs.get(
            Kind.TASK, asked.workspace, arguments.taskId
        )
        if arguments.resultTimeoutMs is None:
            return await task_reply(asked, task)
        wait = arguments.resultTimeoutMs / 1e3
        return await self._finish(asked, task, wait, set(), ends=False)

    async def cancel(self, asked: Asked, arguments: task_schemas.TaskId) -> Reply:
        """End a task."""
        task = await asked.service.runs.cancel(
            Kind.TASK, asked.workspace, arguments.taskId
        )
        return await task_reply(asked, task, failed=False)

    async def resume(self, asked: Asked, arguments: task_schemas.Resume) -> Reply:
        """Decide an approval, and wait for what becomes of its task."""
        principal = asked.peer.principal
        approved = arguments.decision == "approve"
        approvals = asked.service.tools.approvals
        if approved and not approvals.may_decide(admin=principal.admin):
            return Reply(
                {"approvalId": arguments.approvalId, "state": "pending"},
                failed=True,
                text="This client may not approve, only deny. Ask an administrator of "
                "the workspace to approve it (POST /approvals/{id}), then call "
                "get_task.",
            )
        approval = await approvals.decide(
            asked.workspace,
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
            task = await asked.service.runs.get(
                Kind.TASK, asked.workspace, approval.task_id
            )
        except TaskMissingError:
            return Reply(data, text=text)
        if arguments.waitForResult:
            seconds = arguments.resultTimeoutMs / 1e3
            task = await self._watch(asked, task, seconds, {approval.id})
        reply = await task_reply(asked, task)
        return reply._replace(
            data={**data, "task": reply.data}, text=f"{text}\n\n{reply.text}"
        )

    # -- its course --------------------------------------------------------------------

    async def _start(
        self,
        asked: Asked,
        arguments: task_schemas.Execute,
        printed: Printed,
    ) -> Record:
        asked.service.rates.check(asked.peer.principal, "execute")
        order = arguments.order(asked.peer.principal, asked.peer.named_session())
        decides = asked.service.tools.approvals.may_decide(admin=order.admin)
        questions = Questions(asked.context, decides=decides)
        listen = printed.put if asked.wants_progress else None
        task = await asked.service.runs.submit(order, questions, listen)
        self._questions[task.id] = questions
        asked.spawn(self._forget(asked, task))
        return task

    @staticmethod
    @asynccontextmanager
    async def _progress(asked: Asked, printed: Printed) -> AsyncIterator[None]:
        """Tell the client what is printed while it waits."""
        progress = OutputProgress(
            asked.context.session, printed.read(), wanted=asked.wants_progress
        )
        try:
            yield
            printed.close()
            await progress.finish()
        finally:
            progress.stop()

    async def _forget(self, asked: Asked, task: Record) -> None:
        """Keep a task's questions until it ends."""
        try:
            while not task.status.final:
                task = await asked.service.runs.wait(
                    Kind.TASK, asked.workspace, task.id, 3600.0
                )
        finally:
            self._questions.pop(task.id, None)

    async def _go_on(self, asked: Asked, task_id: str) -> tuple[Record, set[str]]:
        """Take what the client's user answered; the state that it gives back is an id.

        Returns:
            The task, and the approvals that are decided.

        Raises:
            TaskMissingError: The workspace has no such task.
        """
        task = await asked.service.runs.get(Kind.TASK, asked.workspace, task_id)
        decided: set[str] = set()
        approvals = asked.service.tools.approvals
        decides = approvals.may_decide(admin=asked.peer.principal.admin)
        for approval_id, given in (asked.parameters.input_responses or {}).items():
            answer = read_answer(given) if isinstance(given, ElicitResult) else None
            if answer is None or (answer.approved and not decides):
                continue
            approval = await approvals.get(asked.workspace, approval_id)
            if approval.task_id != task.id:
                continue
            by = f"client:{approval.client}"
            # It may have been decided by somebody else, a moment ago.
            with suppress(ApprovalDecidedError):
                await approvals.decide(asked.workspace, approval_id, answer, by)
            decided.add(approval_id)
        return task, decided

    async def _finish(
        self,
        asked: Asked,
        task: Record,
        seconds: float,
        decided: set[str],
        *,
        ends: bool = True,
    ) -> Reply | InputRequiredResult:
        """Wait for the end, or until nothing goes on without somebody's answer."""
        try:
            task = await self._watch(asked, task, seconds, decided, asks=ends)
        except asyncio.CancelledError:
            if ends and asked.peer.cancels:
                asked.spawn(self._end(asked, task))
            raise
        finally:
            questions = self._questions.get(task.id)
            if questions is not None and ends:
                questions.over()
        if questions is not None and questions.pending and ends:
            answers = asked.parameters.input_responses or {}
            new: InputRequests = {
                key: request
                for key, request in questions.requests().items()
                if key not in answers
            }
            if new and can_ask(asked.context) and is_modern(asked.context):
                return InputRequiredResult(input_requests=new, request_state=task.id)
        return await task_reply(asked, task)

    @staticmethod
    async def _end(asked: Asked, task: Record) -> None:
        await asked.service.runs.cancel(Kind.TASK, asked.workspace, task.id)

    async def _watch(
        self,
        asked: Asked,
        task: Record,
        seconds: float,
        decided: set[str],
        *,
        asks: bool = False,
    ) -> Record:
        """Wait for the end of a task, or an approval that its client isn't asked for.

        Args:
            asked: Who waits.
            task: For what.
            seconds: How long at most.
            decided: Approvals that count no more.
            asks: Whether the client can be asked in the answer.

        Returns:
            The task as it is then.
        """
        runs, workspace = asked.service.runs, asked.workspace
        loop = asyncio.get_running_loop()
        limit = loop.time() + seconds
        ended = asyncio.ensure_future(runs.wait(Kind.TASK, workspace, task.id, seconds))
        gone = asyncio.ensure_future(asked.peer.gone.wait())
        try:
            while not ended.done() and not gone.done() and loop.time() < limit:
                patience = await self._next(asked, task, {ended, gone}, decided)
                if patience is None:
                    continue
                if asks and can_ask(asked.context) and is_modern(asked.context):
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
        asked: Asked,
        task: Record,
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
                await asked.notify(asked.context, text)
        return self._patience

    def _open(self, task: Record, decided: set[str]) -> bool:
        """Tell whether a task has questions that its client isn't asked at once."""
        questions = self._questions.get(task.id)
        if questions is None or questions.direct:
            return False
        return any(key not in decided for key in questions.pending)
