"""POST /execute: run a cell and wait for all of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from isoserver.contexts.answers import execution_answer, failed_answer
from isoserver.contexts.jobs import Request, failure
from isoserver.contexts.models import ExecuteRequest, StreamRequest
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from http import HTTPStatus

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution

__all__ = ["ExecuteHandler", "ExecutingHandler"]

KEEP, INTERRUPT = "continue", "interrupt"


class ExecutingHandler(Handler):
    """Root of what runs a cell: begins it, and decides what a lost client means."""

    context: Context | None = None
    execution: Execution | None = None
    on_disconnect = KEEP
    announced: ClassVar[bool] = True
    """Whether the context says that the cell begins, to whoever listens."""

    async def begin(self, asked: StreamRequest) -> tuple[Context, Execution]:
        """Put a cell into its context's queue; make the context if none is named."""
        self.check_open()
        self.on_disconnect = self.choice("on_disconnect", KEEP, INTERRUPT)
        contexts = self.service.contexts
        language = None
        if asked.context_id is None:
            language = contexts.languages.find(asked.language)
            context = await contexts.create(self.principal.workspace, language)
        else:
            context = self.find_context(asked.context_id)
            if asked.language is not None:
                language = contexts.languages.find(asked.language)
        env = asked.env_vars if isinstance(asked, ExecuteRequest) else None
        seconds, options = asked.timeout_ms / 1e3, {"announce": self.announced}
        request = Request(asked.code, language, seconds, env, options)
        try:
            execution = context.execute(request)
        except BaseException:
            if asked.context_id is None:
                await contexts.delete(context.workspace, context.id)
            raise
        self.context, self.execution = context, execution
        self.set_header("X-Context-Id", context.id)
        if self.gone:
            self._let_go()
        return context, execution

    def on_connection_close(self) -> None:
        """Leave the execution running, unless the client asked otherwise."""
        super().on_connection_close()
        self._let_go()

    def _let_go(self) -> None:
        if self.context is None or self.execution is None:
            return
        if self.on_disconnect == INTERRUPT and not self.execution.done.done():
            self.context.cancel(self.execution)


class ExecuteHandler(ExecutingHandler):
    """Runs a cell and answers when it is over."""

    announced = False  # nobody would hear it

    async def post(self) -> None:
        """Run the code of the body."""
        context, execution = await self.begin(self.parse(ExecuteRequest))
        await execution.done
        if not self.gone:
            self.answer(execution_answer(context.id, execution))

    def internal_error(self, status: HTTPStatus) -> None:
        """Answer in the form of an execution, as documented."""
        context_id = "" if self.context is None else self.context.id
        with suppress(RuntimeError):  # the answer has begun
            failed = failure("InternalError", "the server failed; its log says why")
            self.answer(failed_answer(context_id, failed), status)
