"""Tasks: order, list, show, cancel."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from isoserver.http.handlers import Handler
from isoserver.tasks.answers import task_answer
from isoserver.tasks.models import TaskListQuery, TaskRequest
from isoserver.tasks.records import Status, TaskOrder

__all__ = ["CancelTaskHandler", "TaskHandler", "TasksHandler"]

_WAIT_EXTRA_MS: Final = 30_000
_WAIT_MIN_MS: Final = 120_000


class TasksHandler(Handler):
    """All tasks."""

    async def get(self) -> None:
        """List the newest ones."""
        asked = self.parse_query(TaskListQuery)
        tasks = await self.service.tasks.list(
            self.principal.workspace,
            limit=asked.limit,
            status=None if asked.status is None else Status(asked.status),
        )
        answers = [task_answer(task._replace(ending=None)) for task in tasks]
        self.answer({"tasks": answers})

    async def post(self) -> None:
        """Take an order, and wait for its end if it says so."""
        self.check_open()
        asked = self.parse(TaskRequest)
        self.service.rates.check(self.principal, "execute")
        tasks, workspace = self.service.tasks, self.principal.workspace
        task = await tasks.start(
            TaskOrder(
                workspace=workspace,
                code=asked.code,
                client=self.principal.client,
                session=asked.sessionId,
                seconds=asked.timeoutMs / 1e3,
                runtime_id=asked.runtimeId,
                metadata=asked.metadata,
                typecheck=asked.typecheck,
                admin=self.principal.admin,
            )
        )
        if asked.waitForResult:
            wait = max(asked.timeoutMs + _WAIT_EXTRA_MS, _WAIT_MIN_MS)
            seconds = (asked.resultTimeoutMs or wait) / 1e3
            task = await tasks.wait(workspace, task.id, seconds)
        if not self.gone:
            ended = task.status.terminal
            status = HTTPStatus.OK if ended else HTTPStatus.ACCEPTED
            self.answer(task_answer(task), status)


class TaskHandler(Handler):
    """One task."""

    async def get(self, task_id: str) -> None:
        """Show it."""
        task = await self.service.tasks.get(self.principal.workspace, task_id)
        self.answer(task_answer(task))


class CancelTaskHandler(Handler):
    """Ends a task."""

    async def post(self, task_id: str) -> None:
        """Cancel it."""
        task = await self.service.tasks.cancel(self.principal.workspace, task_id)
        self.answer(task_answer(task))
