"""Runs one task: checks its types, finds a context, serves its calls of tools."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from isoserver.contexts.jobs import Request
from isoserver.contexts.outputs import lines
from isoserver.errors import FieldProblem, InvalidRequestError, StoppingError
from isoserver.tasks.calls import ToolCalls
from isoserver.tasks.records import Diagnostic, Ending, Status, TaskFailure
from isoserver.tools.calls import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.messages import Message
    from isoserver.contexts.outputs import Outputs
    from isoserver.contexts.service import Contexts
    from isoserver.settings.server import ServerSettings
    from isoserver.tasks.calls import Toolbox
    from isoserver.tasks.records import TaskOrder
    from isoserver.tasks.runs import Run

__all__ = ["TaskWorker", "TypeChecker"]

_UNFINISHED: Final = "isokernel: calls that were not awaited, and so cancelled: {}"


class TypeChecker(Protocol):
    """Checks code before it runs."""

    async def check(
        self, code: str, declarations: str, names: Sequence[str]
    ) -> list[Diagnostic]:
        """Check the body of a function.

        Args:
            code: TypeScript.
            declarations: What it has beside the language and our globals.
            names: What earlier cells of its context have declared.

        Returns:
            What is wrong; nothing if nothing is.

        Raises:
            TypeCheckerError: It can't be checked, or not in time.
        """


class TaskWorker:
    """Runs tasks, each to an ending that isn't saved yet."""

    def __init__(
        self,
        settings: ServerSettings,
        contexts: Contexts,
        toolbox: Toolbox | None,
        checker: TypeChecker | None,
        log: FilteringBoundLogger,
    ) -> None:
        """Prepare.

        Args:
            settings: Settings of the server.
            contexts: Where code runs.
            toolbox: What `tools` calls; None if there is nothing.
            checker: Checks types; None if that can't be asked for.
            log: Where defects are told.
        """
        self._settings = settings
        self._contexts = contexts
        self._toolbox = toolbox
        self._checker = checker
        self._log = log

    async def run(self, run: Run) -> Ending:
        """Run the code; its end.

        Raises:
            ServerError: It could not be run.
        """
        order = run.task.order
        await run.take_place()
        if self._contexts.stopping:
            raise StoppingError
        if order.session is None and (found := await self._check(order, None)):
            return _ill_typed(found)
        async with self._context(order, run.task.id) as context:
            if order.session is not None and (
                found := await self._check(order, context)
            ):
                return _ill_typed(found)
            return await self._execute(run, context)

    # -- the context -------------------------------------------------------------------

    @asynccontextmanager
    async def _context(self, order: TaskOrder, task_id: str) -> AsyncIterator[Context]:
        """Have the context of the session, or one that goes with the task."""
        language = self._contexts.languages.find("typescript")
        if order.session is not None:
            context = await self._contexts.session(
                order.workspace, order.session, language
            )
            yield _with_tools(context)
            return
        context = await self._contexts.create(
            order.workspace, language, context_id=task_id, ephemeral=True
        )
        try:
            yield _with_tools(context)
        finally:
            await asyncio.shield(self._contexts.delete(order.workspace, context.id))

    async def _check(
        self, order: TaskOrder, context: Context | None
    ) -> list[Diagnostic]:
        """Check the types, if that is asked for; a session's names are of any type."""
        wanted = order.typecheck
        if wanted is None:
            wanted = self._settings.typecheck
        if not wanted or self._checker is None:
            return []
        declarations = "declare const tools: {};\n"
        if self._toolbox is not None:
            declarations = await self._toolbox.describe(order.workspace)
        names = [] if context is None else await context.names()
        return await self._checker.check(order.code, declarations, names)

    # -- the code ----------------------------------------------------------------------

    async def _execute(self, run: Run, context: Context) -> Ending:
        order, settings = run.task.order, self._settings
        limits = {
            "calls_max": settings.task_calls_unfinished_max,
            "input_max": settings.tool_input_bytes_max,
        }
        options = {"result_json": True, "body": True, "tools": limits}
        language = self._contexts.languages.find("typescript")
        request = Request(order.code, language, order.seconds, None, options)
        calls = self._calls(run)
        execution = context.execute(request)
        calls.attach(context, execution)

        def take(message: Message) -> None:
            if message.kind == "status":
                run.began()
            elif message.kind == "stream" and run.on_output is not None:
                run.on_output(message.content["text"])

        execution.listeners.append(take)
        try:
            reply = await asyncio.shield(execution.done)  # it is the context's
        finally:
            if not execution.done.done():
                context.cancel(execution)
            unfinished = await calls.close()
            if self._toolbox is not None:
                await self._toolbox.end_task(order.workspace, run.task.id)
        ending = _ending(execution, reply, denied=calls.denied)
        if unfinished:
            ending.logs["stderr"].append(_UNFINISHED.format(unfinished))
        return ending

    def _calls(self, run: Run) -> ToolCalls:
        order = run.task.order
        asked = Call(
            workspace=order.workspace,
            session=order.session,
            client=order.client,
            task_id=run.task.id,
            call_id="",
            path="",
            input={},
            admin=order.admin,
        )
        return ToolCalls(
            self._toolbox,
            asked,
            run.asker,
            self._log,
            self._settings,
            run.wait_for_approval,
        )


def _with_tools(context: Context) -> Context:
    if context.process.can_call_tools:
        return context
    problem = "is the name of a context of another language"
    raise InvalidRequestError(FieldProblem("sessionId", problem))


def _ill_typed(diagnostics: list[Diagnostic]) -> Ending:
    shown = [f"{d.line}:{d.column} - TS{d.code}: {d.message}" for d in diagnostics]
    count = len(diagnostics)
    message = f"{count} type error{'s' if count > 1 else ''}; the code did not run"
    return Ending(
        Status.FAILED,
        TaskFailure("TypeCheckError", message, "\n".join(shown)),
        diagnostics=diagnostics,
    )


def _ending(execution: Execution, reply: dict[str, Any], *, denied: bool) -> Ending:
    outputs, failed = execution.outputs, execution.failure
    status, error = Status.COMPLETED, None
    if failed is not None:
        status = Status.FAILED
        error = TaskFailure(failed.name, failed.value, failed.traceback.rstrip("\n"))
        if reply.get("denied") and denied:
            status = Status.DENIED
        elif execution.timed_out:
            status = Status.TIMED_OUT
    return Ending(
        status,
        error,
        result=reply.get("result_json"),
        result_cut=bool(reply.get("result_cut")),
        logs={name: lines(outputs.text(name)) for name in ("stdout", "stderr")},
        displays=_displays(outputs),
    )


def _displays(outputs: Outputs) -> list[dict[str, Any]]:
    """What was shown; of the value only what is more than its text."""
    return [
        {"data": item["data"], "metadata": item["metadata"]}
        for item in outputs.displays()
        if item["output_type"] != "execute_result" or set(item["data"]) - {"text/plain"}
    ]
