"""Executions under /api: order, list, show, read, cancel."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import (
    ExecutionMissingError,
    FieldProblem,
    InvalidRequestError,
    MediaTypeError,
    NotRunningError,
)
from isoserver.executions.models import ExecOptions, ExecRequest, ListQuery, OutputQuery
from isoserver.executions.orders import Order
from isoserver.executions.pages import PageRequest
from isoserver.executions.records import Status
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from isoserver.contexts.languages import Language

__all__ = [
    "CancelHandler",
    "ExecHandler",
    "ExecutionHandler",
    "ExecutionsHandler",
    "OutputHandler",
]

_MIB: Final = 1 << 20
_MEMORY_MIN: Final = 8 * _MIB
_STATEFUL: Final = ("heap", "session", "tags")


class ExecHandler(Handler):
    """Takes orders."""

    async def post(self) -> None:
        """Take one."""
        self.check_open()
        order = self._order(self._asked())
        execution_id = await self.service.executions.submit(order)
        self.answer({"execution_id": execution_id}, HTTPStatus.ACCEPTED)

    def _asked(self) -> ExecRequest:
        """Read the request, in either of its forms."""
        options = self.parse_query(ExecOptions)
        header = self.request.headers.get("Content-Type", "")
        kind = header.partition(";")[0].strip().lower()
        if kind.startswith("multipart/"):
            message = "multipart bodies aren't taken: send JSON, or the script itself"
            raise MediaTypeError(message)
        if not kind or "json" in kind:
            return self.parse_json(ExecRequest)
        try:
            code = self.request.body.decode()
        except UnicodeDecodeError:
            problem = FieldProblem("body", "the script is not UTF-8")
            raise InvalidRequestError(problem) from None
        return ExecRequest(code=code, **options.model_dump())

    def _order(self, asked: ExecRequest) -> Order:
        settings = self.service.settings
        stateful = not settings.stateless
        for name in _STATEFUL if settings.stateless else ():
            if getattr(asked, name) is not None:
                raise InvalidRequestError(
                    FieldProblem(name, "there is none of it: the server is stateless")
                )
        return Order(
            workspace=self.principal.workspace,
            code=asked.code,
            session=asked.session,
            heap=asked.heap,
            heap_memory_max=self._memory(asked.heap_memory_max_mb),
            seconds=float(
                asked.execution_timeout_secs or settings.execution_timeout_seconds
            ),
            tags=asked.tags or {},
            stateful=stateful,
            language=self._language(),
            drain=not stateful,
        )

    def _memory(self, mebibytes: int | None) -> int | None:
        if mebibytes is None:
            return None
        limit = self.service.settings.execution_v8_heap_bytes_max
        if mebibytes * _MIB > limit:
            problem = f"must be at most {limit // _MIB} (--execution-v8-heap-bytes-max)"
            raise InvalidRequestError(FieldProblem("heap_memory_max_mb", problem))
        return max(mebibytes * _MIB, _MEMORY_MIN)

    def _language(self) -> Language:
        """Give the language that takes JavaScript as well, if it is served."""
        languages = self.service.contexts.languages
        served = "typescript" in languages.served
        return languages.find("typescript" if served else "javascript")


class ExecutionsHandler(Handler):
    """All executions."""

    async def get(self) -> None:
        """List the newest ones."""
        asked = self.parse_query(ListQuery)
        records = await self.service.executions.list(
            self.principal.workspace,
            limit=asked.limit,
            status=None if asked.status is None else Status(asked.status),
        )
        executions = [
            {
                "execution_id": record.id,
                "status": record.status,
                "started_at": record.started_at,
                "completed_at": record.completed_at,
            }
            for record in records
        ]
        self.answer({"executions": executions})


class ExecutionHandler(Handler):
    """One execution."""

    async def get(self, id: str) -> None:  # noqa: A002 - the documented name
        """Show it."""
        record = await self.service.executions.get(self.principal.workspace, id)
        self.answer(
            {
                "execution_id": record.id,
                "status": record.status,
                "result": record.result,
                "heap": record.heap,
                "heap_error": record.heap_error,
                "error": record.error,
                "started_at": record.started_at,
                "completed_at": record.completed_at,
            }
        )


class OutputHandler(Handler):
    """What an execution printed."""

    async def get(self, id: str) -> None:  # noqa: A002 - the documented name
        """Give a page of it."""
        asked = PageRequest(**self.parse_query(OutputQuery).model_dump())
        workspace = self.principal.workspace
        page = await self.service.executions.page(workspace, id, asked)
        self.answer(page._asdict())


class CancelHandler(Handler):
    """Ends executions."""

    async def post(self, id: str) -> None:  # noqa: A002 - the documented name
        """Cancel it."""
        answer: dict[str, Any] = {"ok": True}
        status = HTTPStatus.OK
        try:
            await self.service.executions.cancel(self.principal.workspace, id)
        except (ExecutionMissingError, NotRunningError) as error:
            answer = {"ok": False, "error": str(error)}
            status = HTTPStatus.BAD_REQUEST
        self.answer(answer, status)
