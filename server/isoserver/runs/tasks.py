"""Runs tasks: checks their types, and serves their calls of tools."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from isoserver.contexts.languages import unfenced
from isoserver.contexts.outputs import lines
from isoserver.contexts.results import Result, result_of
from isoserver.errors import (
    FieldProblem,
    InvalidRequestError,
    StoppingError,
    TaskEndedError,
    TaskLimitError,
    TaskMissingError,
)
from isoserver.runs.calls import ToolCalls
from isoserver.runs.orders import RUNTIME_ALIASES, RUNTIMES
from isoserver.runs.records import Diagnostic, Ending, RunFailure, Status
from isoserver.runs.runner import Limits
from isoserver.runs.written import whole_of, written_by
from isoserver.tools.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.languages import Language
    from isoserver.contexts.outputs import Outputs
    from isoserver.contexts.service import Contexts
    from isoserver.errors import LimitError, ServerError
    from isoserver.files.service import Files
    from isoserver.runs.calls import Toolbox
    from isoserver.runs.orders import TaskOrder
    from isoserver.runs.run import Run
    from isoserver.runs.typecheck import TypeChecks
    from isoserver.settings.server import ServerSettings

__all__ = ["TaskRunner"]

_UNFINISHED: Final = "isokernel: calls that were not awaited, and so cancelled: {}"


class TaskRunner:
    """The `Runner` of tasks.

    They wait for as long as it takes; while they wait for approvals their time stands
    still. Their errors are told by name, message and stack.
    """

    missing: Callable[[str], ServerError] = TaskMissingError
    over: Callable[[str, str], ServerError] = TaskEndedError
    too_many: type[LimitError] = TaskLimitError
    cancelled = Ending(
        Status.CANCELLED, RunFailure("CancelledError", "the task was cancelled")
    )
    stopped = Ending(
        Status.FAILED, RunFailure("ServerStoppedError", "the server stopped")
    )
    lost = Ending(
        Status.FAILED,
        RunFailure("ServerStoppedError", "the server ended while the task was running"),
    )
    patience: tuple[float, Ending] | None = None

    def __init__(  # noqa: PLR0913 - the parts of a server that it needs
        self,
        settings: ServerSettings,
        contexts: Contexts,
        toolbox: Toolbox,
        checker: TypeChecks,
        log: FilteringBoundLogger,
        *,
        files: Files,
    ) -> None:
        """Create the runner of tasks.

        Args:
            settings: Settings of the server.
            contexts: Where code runs.
            toolbox: What `tools` calls.
            checker: Checks types.
            log: Told of defects.
            files: Where files of contexts are.
        """
        self._files = files
        self._settings = settings
        self._contexts = contexts
        self._toolbox = toolbox
        self._checker = checker
        self._log = log
        self.limits = Limits(
            running=settings.tasks_running_max,
            unended=settings.tasks_unfinished_max,
            told=settings.tasks_unfinished_max,
            kept_seconds=settings.task_ttl_seconds,
            kept_number=settings.tasks_kept_max,
            kept_bytes=settings.tasks_total_bytes_max,
        )

    def new_id(self) -> str:
        """Make an id that can't be guessed."""
        return f"task_{secrets.token_urlsafe(16)}"

    def prepare(self, run: Run[TaskOrder]) -> None:
        """Need nothing: a task's output is in how it ended."""

    async def check(self, order: TaskOrder) -> None:
        """Check that its runtime is there.

        Raises:
            InvalidRequestError: It isn't.
        """
        self._language(order)

    def _language(self, order: TaskOrder) -> Language:
        found = self._runtimes.get(order.runtime_id)
        if found is None:
            aliases = (a for a, of in RUNTIME_ALIASES.items() if of in self._runtimes)
            offered = ", ".join((*self._runtimes, *aliases))
            problem = FieldProblem("runtimeId", f"must be one of {offered}")
            raise InvalidRequestError(problem)
        return found

    @property
    def _runtimes(self) -> dict[str, Language]:
        """What can run a task: V8, and each kernel under its language's name."""
        served = self._contexts.languages.served
        found = {RUNTIMES[0]: served["typescript"]} if "typescript" in served else {}
        kernels = (each for each in served.values() if each.engine == "kernel")
        return found | {each.name: each for each in kernels}

    async def run(self, run: Run[TaskOrder]) -> None:
        """Check the types if that is asked for, then run the code."""
        work = asyncio.current_task()
        assert work is not None  # noqa: S101 - called in one
        run.stop = work.cancel
        if self._contexts.stopping:
            raise StoppingError
        order = run.order
        # A session's names count as well, so that it must be there before the check.
        context = None if order.session is None else await self._open(run)
        ending = await self._ill_typed(order, context)
        if ending is None:
            ending = await self._execute(run, context or await self._open(run))
        run.decide(ending)

    # -- before the code ---------------------------------------------------------------

    async def _open(self, run: Run[TaskOrder]) -> Context:
        """Find or make the context: the session's, or one that goes with the task."""
        order = run.order
        language = self._language(order)
        if order.session is not None:
            run.context = await self._contexts.session(
                order.workspace, order.session, language
            )
        else:
            run.context = await self._contexts.create(
                order.workspace, language, context_id=run.id, ephemeral=True
            )
        if language.runs_in(run.context.language):
            return run.context
        problem = "is the name of a context of another language"
        raise InvalidRequestError(FieldProblem("sessionId", problem))

    async def _ill_typed(
        self, order: TaskOrder, context: Context | None
    ) -> Ending | None:
        """Check the types, if that is asked for; return the end if some are wrong."""
        wanted = order.typecheck
        if wanted is None:
            wanted = self._settings.typecheck
        if not wanted or order.runtime_id != RUNTIMES[0]:
            return None
        declarations = await self._toolbox.describe(order.workspace)
        names = [] if context is None else await context.names()
        code = unfenced(order.code)
        found = await self._checker.check(code, declarations, names)
        return _type_errors(found) if found else None

    # -- the code ----------------------------------------------------------------------

    async def _execute(self, run: Run[TaskOrder], context: Context) -> Ending:
        order, settings = run.order, self._settings
        limits = {
            "calls_max": settings.task_calls_unfinished_max,
            "input_max": settings.tool_input_bytes_max,
        }
        options = {
            "result_json": True,
            "value_json": True,
            "result_max": order.result_characters_max,
            "drain": True,
            "body": True,
            "tools": limits,
            **whole_of(settings, run),
        }
        calls = self._calls(run)
        execution = context.execute(
            unfenced(order.code),
            order.seconds,
            language=self._language(order),
            options=options,
            policy=order.policy,
        )
        calls.attach(context, execution)
        run.follow(context, execution)
        execution.stage_listeners.append(run.tell)
        execution.requester = run.requester
        try:
            reply = await asyncio.shield(execution.done)  # it is the context's
        finally:
            if not execution.done.done():
                context.cancel(execution)
            unfinished = await calls.close()
            await self._toolbox.end_task(order.workspace, run.id)
        result = Result()
        if execution.failure is None:
            result = result_of(execution, reply)
        ending = _ending(execution, reply, result, denied=calls.denied)
        if unfinished:
            ending.logs["stderr"].append(_UNFINISHED.format(unfinished))
        return structs.replace(ending, **await written_by(self._files, run, execution))

    def _calls(self, run: Run[TaskOrder]) -> ToolCalls:
        order = run.order
        common = Call(
            workspace=order.workspace,
            session=order.session,
            client=order.client,
            task_id=run.id,
            call_id="",
            path="",
            input={},
            admin=order.admin,
        )
        return ToolCalls(
            self._toolbox,
            common,
            run.asker,
            self._log,
            self._settings,
            run.wait_for_approval,
        )


def _type_errors(diagnostics: list[Diagnostic]) -> Ending:
    shown = [f"{d.line}:{d.column} - TS{d.code}: {d.message}" for d in diagnostics]
    count = len(diagnostics)
    message = f"{count} type error{'s' if count > 1 else ''}; the code did not run"
    return Ending(
        Status.FAILED,
        RunFailure("TypeCheckError", message, "\n".join(shown)),
        diagnostics=diagnostics,
    )


def _ending(
    execution: Execution, reply: dict[str, Any], result: Result, *, denied: bool
) -> Ending:
    outputs, failed = execution.outputs, execution.failure
    status, error = Status.COMPLETED, None
    if failed is not None:
        status = Status.FAILED
        error = RunFailure(failed.name, failed.value, failed.traceback.rstrip("\n"))
        if reply.get("denied") and denied:
            status = Status.DENIED
        elif execution.timed_out:
            status = Status.TIMED_OUT
    return Ending(
        status,
        error,
        result=result.text,
        result_cut=result.cut,
        result_text=result.shown,
        result_note=result.note or None,
        logs={name: lines(outputs.text(name)) for name in ("stdout", "stderr")},
        displays=_displays(outputs),
    )


def _displays(outputs: Outputs) -> list[dict[str, Any]]:
    """Return what was displayed; of the value only what is more than its text."""
    return [
        {"data": item["data"], "metadata": item["metadata"]}
        for item in outputs.displays()
        if item["output_type"] != "execute_result" or set(item["data"]) - {"text/plain"}
    ]
