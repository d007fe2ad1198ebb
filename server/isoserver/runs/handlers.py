"""Executions under /api and tasks under /tasks: requests in, answers out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from isoserver.errors import (
    ExecutionMissingError,
    FieldProblem,
    InvalidRequestError,
    MediaTypeError,
    NotRunningError,
)
from isoserver.http.handlers import Handler
from isoserver.http.models import cut_page
from isoserver.http.routes import WAIT_MAX_MS
from isoserver.runs.answers import (
    execution_answer,
    execution_summary,
    task_answer,
    task_summary,
)
from isoserver.runs.models import (
    ExecOptions,
    ExecRequest,
    ListQuery,
    OutputQuery,
    TaskListQuery,
    TaskRequest,
)
from isoserver.runs.orders import script_order
from isoserver.runs.pages import PageRequest
from isoserver.runs.records import UNENDED, Kind, Status, Wanted

__all__ = [
    "CancelHandler",
    "CancelTaskHandler",
    "ExecHandler",
    "ExecutionHandler",
    "ExecutionsHandler",
    "OutputHandler",
    "TaskHandler",
    "TasksHandler",
]


class ExecHandler(Handler):
    """Takes orders of scripts."""

    async def post(self) -> None:
        """Submit the script, and answer with its id before it has run."""
        self.check_open()
        asked = self._asked()
        fields = asked.model_dump(exclude={"webhook"})
        webhook = None if asked.webhook is None else asked.webhook.order()
        order = script_order(
            self.parts.settings, self.principal, webhook=webhook, **fields
        )
        record = await self.parts.runs.submit(order)
        self.answer({"execution_id": record.id}, HTTPStatus.ACCEPTED)

    def _asked(self) -> ExecRequest:
        """Read the request, in either of its forms."""
        options = self.parse_query(ExecOptions)
        header = self.request.headers.get("Content-Type", "")
        kind = header.partition(";")[0].strip().lower()
        if kind.startswith("multipart/"):
            message = "multipart bodies aren't taken: send JSON, or the script itself"
            raise MediaTypeError(message)
        if not kind or "json" in kind or self._is_request():
            return self.parse_json(ExecRequest)
        try:
            code = self.request.body.decode()
        except UnicodeDecodeError:
            problem = FieldProblem("body", "the script is not UTF-8")
            raise InvalidRequestError(problem) from None
        return ExecRequest(code=code, **options.model_dump())

    def _is_request(self) -> bool:
        """Whether the body is JSON though its type says otherwise, as with `curl -d`.

        No script parses that begins so.
        """
        body = self.request.body.strip()
        if not (body.startswith(b"{") and body.endswith(b"}")):
            return False
        try:
            asked = msgspec.json.decode(body)
        except ValueError:
            return False
        return isinstance(asked, dict) and isinstance(asked.get("code"), str)


class ExecutionsHandler(Handler):
    """All executions."""

    async def get(self) -> None:
        """List the newest ones."""
        asked = self.parse_query(ListQuery)
        statuses = None
        if asked.status is not None:
            status = Status(asked.status)
            statuses = frozenset({status}) if status.final else UNENDED
        records = await self.parts.runs.list(
            Kind.SCRIPT,
            self.principal.workspace,
            Wanted(asked.limit + 1, asked.offset, statuses),
        )
        page, following = cut_page(records, asked.limit, asked.offset)
        listed = [execution_summary(record) for record in page]
        self.answer({"executions": listed, "next_offset": following})


class ExecutionHandler(Handler):
    """One execution."""

    async def get(self, id: str) -> None:  # noqa: A002 - the documented name
        """Show how it stands, now or when it has ended."""
        seconds = self.whole_number("wait_ms", 0, 0, WAIT_MAX_MS) / 1e3
        workspace = self.principal.workspace
        if seconds:
            record = await self.parts.runs.wait(Kind.SCRIPT, workspace, id, seconds)
        else:
            record = await self.parts.runs.get(Kind.SCRIPT, workspace, id)
        if not self.gone:
            self.answer(execution_answer(record))


class OutputHandler(Handler):
    """What an execution printed."""

    async def get(self, id: str) -> None:  # noqa: A002 - the documented name
        """Show a page of it."""
        asked = PageRequest(**self.parse_query(OutputQuery).model_dump())
        page = await self.parts.runs.page(self.principal.workspace, id, asked)
        self.answer(page._asdict())


class CancelHandler(Handler):
    """Ends executions."""

    async def post(self, id: str) -> None:  # noqa: A002 - the documented name
        """Cancel one."""
        answer: dict[str, Any] = {"ok": True}
        status = HTTPStatus.OK
        try:
            await self.parts.runs.cancel(Kind.SCRIPT, self.principal.workspace, id)
        except (ExecutionMissingError, NotRunningError) as error:
            answer = {"ok": False, "error": str(error)}
            status = HTTPStatus.BAD_REQUEST
        self.answer(answer, status)


class TasksHandler(Handler):
    """All tasks."""

    async def get(self) -> None:
        """List the newest ones."""
        asked = self.parse_query(TaskListQuery)
        statuses = None if asked.status is None else frozenset({Status(asked.status)})
        metadata = tuple(self.pairs("metadata"))
        records = await self.parts.runs.list(
            Kind.TASK,
            self.principal.workspace,
            Wanted(asked.limit + 1, asked.offset, statuses, metadata),
        )
        page, following = cut_page(records, asked.limit, asked.offset)
        listed = [task_summary(record) for record in page]
        self.answer({"tasks": listed, "next_offset": following})

    async def post(self) -> None:
        """Accept an order, and wait for its end if it says so."""
        self.check_open()
        asked = self.parse(TaskRequest)
        await self.parts.rates.take(self.principal, "execute")
        runs, workspace = self.parts.runs, self.principal.workspace
        order = asked.order(self.principal)
        if asked.webhook is not None:
            order = order._replace(webhook=asked.webhook.order())
        task = await runs.submit(order)
        if asked.waitForResult:
            seconds = asked.answer_seconds
            task = await runs.wait(Kind.TASK, workspace, task.id, seconds)
        if not self.gone:
            status = HTTPStatus.OK if task.status.final else HTTPStatus.ACCEPTED
            self.answer(task_answer(task), status)


class TaskHandler(Handler):
    """One task."""

    async def get(self, task_id: str) -> None:
        """Show how it stands, or how it ended."""
        workspace = self.principal.workspace
        self.answer(
            task_answer(await self.parts.runs.get(Kind.TASK, workspace, task_id))
        )


class CancelTaskHandler(Handler):
    """Ends a task."""

    async def post(self, task_id: str) -> None:
        """Cancel it."""
        workspace = self.principal.workspace
        self.answer(
            task_answer(await self.parts.runs.cancel(Kind.TASK, workspace, task_id))
        )
