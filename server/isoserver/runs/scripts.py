"""Runs scripts: in a context of their own, or in that of a session, and saves heaps."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.contexts.jobs import DIED
from isoserver.contexts.languages import unfenced
from isoserver.contexts.results import result_of
from isoserver.errors import (
    ContextDeadError,
    ContextMissingError,
    ExecutionLimitError,
    ExecutionMissingError,
    FieldProblem,
    HeapMissingError,
    InvalidRequestError,
    NotRunningError,
    ServerError,
)
from isoserver.heaps.records import HeapOrigin
from isoserver.runs.output import LiveOutput
from isoserver.runs.records import Ending, RunFailure, Status
from isoserver.runs.runner import Limits
from isoserver.runs.written import whole_of, written_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.languages import Language
    from isoserver.contexts.service import Contexts
    from isoserver.errors import LimitError
    from isoserver.files.service import Files
    from isoserver.heaps.service import Heaps
    from isoserver.runs.orders import ScriptOrder
    from isoserver.runs.run import Run
    from isoserver.runs.store import Store
    from isoserver.settings.server import ServerSettings

__all__ = ["ScriptRunner"]

_MEMORY: Final = "OutOfMemoryError"
_MEMORY_DEATHS: Final = ("out of memory", "more memory than it may")
_MEMORY_TEXT: Final = "Out of memory: {}. Try increasing heap_memory_max_mb."
_NOTICES_BYTES: Final = 4096
_STOP_SECONDS: Final = 1.0
"""How long code has to stop before its own context's process is ended."""


class ScriptRunner:
    """The `Runner` of scripts.

    They keep their output as it comes, go on from heaps and yield heaps. Their errors
    are told as one text: `stack`, or `message` where the code has no part in it.
    """

    missing: Callable[[str], ServerError] = ExecutionMissingError
    over: Callable[[str, str], ServerError] = NotRunningError
    too_many: type[LimitError] = ExecutionLimitError
    cancelled = Ending(
        Status.CANCELLED, RunFailure("CancelledError", "Cancelled by user")
    )
    stopped = Ending(
        Status.FAILED, RunFailure("ServerStoppedError", "the server stopped")
    )
    lost = Ending(
        Status.FAILED,
        RunFailure(
            "ServerStoppedError", "the server ended while the execution was running"
        ),
    )

    def __init__(
        self,
        settings: ServerSettings,
        contexts: Contexts,
        heaps: Heaps,
        store: Store,
        *,
        files: Files,
    ) -> None:
        """Create the runner of scripts.

        Args:
            settings: Settings of the server.
            contexts: Where code runs.
            heaps: Where heaps are; unused if the server is stateless.
            store: Where output goes.
            files: Where files of contexts are.
        """
        self._settings = settings
        self._contexts = contexts
        self._files = files
        self._kernel_bytes_max = settings.python_memory_bytes_max
        self._heaps = None if settings.stateless else heaps
        self._store = store
        # The context cuts what is too much, and says so: this bounds one that doesn't.
        self._output_max_bytes = settings.output_bytes_max + _NOTICES_BYTES
        self._closing: set[asyncio.Future[None]] = set()
        self.limits = Limits(
            running=settings.executions_running_max,
            unended=settings.executions_running_max + settings.executions_queued_max,
            told=settings.executions_queued_max,
            kept_seconds=settings.execution_ttl_seconds,
            kept_number=settings.executions_kept_max,
            kept_bytes=settings.executions_total_bytes_max,
        )
        wait = settings.execution_queue_timeout_seconds
        text = f"the execution waited for longer than {wait:g} s for its turn"
        late = Ending(Status.FAILED, RunFailure("WaitedTooLongError", text))
        self.patience: tuple[float, Ending] | None = (wait, late)

    def new_id(self) -> str:
        """Make an id, a UUID."""
        return str(uuid.uuid4())

    def prepare(self, run: Run[ScriptOrder]) -> None:
        """Have its output kept."""
        limit = self._output_max_bytes
        run.output = LiveOutput(run.order.workspace, run.id, self._store, limit)
        run.on_output = run.output.append

    async def check(self, order: ScriptOrder) -> None:
        """Check that its language is served, and that its heap is there.

        Raises:
            HeapMissingError: The workspace has none of that key.
            InvalidRequestError: Its language isn't served, is another than its
                session's, or has no heaps.
        """
        language, session = self._language(order), self._session(order)
        if session is not None and not language.runs_in(session.language):
            problem = f"the session is in {session.language.name}"
            raise InvalidRequestError(FieldProblem("language", problem))
        if language.engine != "v8":
            self._check_kernel(order, language)
        if order.heap is not None and (
            self._heaps is None
            or not await self._heaps.exists(order.workspace, order.heap)
        ):
            raise HeapMissingError(order.heap)

    def _check_kernel(self, order: ScriptOrder, language: Language) -> None:
        """Refuse what only V8's contexts have."""
        name = language.name
        if order.heap is not None or order.tags:
            field = "tags" if order.heap is None else "heap"
            problem = f"a {name} context has no heaps: they are V8's"
            raise InvalidRequestError(FieldProblem(field, problem))
        memory, limit = order.heap_memory_max_bytes, self._kernel_bytes_max
        if memory is None:
            return
        problem = ""
        if order.session is not None:
            problem = f"a {name} session has what python_memory_bytes_max says"
        elif limit is not None and memory > limit:
            problem = f"must be at most {limit >> 20} (python_memory_bytes_max)"
        if problem:
            raise InvalidRequestError(FieldProblem("heap_memory_max_mb", problem))

    async def run(self, run: Run[ScriptOrder]) -> None:
        """Run the code, and save the heap that it yields."""
        context = run.context = await self._open(run.order)
        if run.ending is None:
            ending = await self._execute(run, context)
            if run.decide(ending) and ending.status is Status.COMPLETED:
                await self._save(run, context, ending)

    # -- the context -------------------------------------------------------------------

    async def _open(self, order: ScriptOrder) -> Context:
        memory, language = order.heap_memory_max_bytes, self._language(order)
        if order.session is None:
            return await self._contexts.create(
                order.workspace,
                language,
                heap=order.heap,
                heap_memory_max_bytes=memory,
                ephemeral=True,
            )
        return await self._contexts.session(
            order.workspace,
            order.session,
            language,
            heap=order.heap,
        )

    def _language(self, order: ScriptOrder) -> Language:
        """Return what an order names, else what its session is in, else TypeScript.

        That takes JavaScript as well, if it is served.
        """
        languages = self._contexts.languages
        if order.language is not None:
            return languages.find(order.language)
        session = self._session(order)
        if session is not None and session.language.engine != "v8":
            return session.language
        served = "typescript" in languages.served
        return languages.find("typescript" if served else "javascript")

    def _session(self, order: ScriptOrder) -> Context | None:
        """Return the session's context, if there is one already."""
        if order.session is not None:
            with suppress(ContextMissingError):
                return self._contexts.get(order.workspace, order.session)
        return None

    # -- the code ----------------------------------------------------------------------

    async def _execute(self, run: Run[ScriptOrder], context: Context) -> Ending:
        order = run.order
        options = {
            "result_json": True,
            "value_json": True,
            "result_max": order.result_characters_max,
            "heap_bytes_max": order.heap_memory_max_bytes or 0,
            "levels": True,
            "drain": True,
            **whole_of(self._settings, run, order.heap_memory_max_bytes),
        }
        execution = context.execute(
            unfenced(order.code),
            order.seconds,
            language=self._language(order),
            options=options,
            policy=order.policy,
        )
        run.follow(context, execution)
        execution.stage_listeners.append(run.tell)
        execution.requester = run.requester
        run.stop = lambda: self._stop(run, context, execution)
        ending = _ending(execution, await execution.done)
        written = await written_by(self._files, run, execution)
        return msgspec.structs.replace(ending, **written)

    def _stop(
        self, run: Run[ScriptOrder], context: Context, execution: Execution
    ) -> None:
        context.cancel(execution)
        if run.order.session is None:
            loop = asyncio.get_running_loop()
            loop.call_later(_STOP_SECONDS, self._end_process, context, execution)

    def _end_process(self, context: Context, execution: Execution) -> None:
        if not execution.done.done():
            closing = asyncio.ensure_future(context.close("it did not stop"))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _save(
        self, run: Run[ScriptOrder], context: Context, ending: Ending
    ) -> None:
        """Save the heap; nobody can cancel the run any more."""
        order = run.order
        if not order.stateful or self._heaps is None:
            return
        if context.language.engine != "v8":
            return  # nobody expects one
        origin = HeapOrigin(
            order.workspace, order.session, order.heap, order.code, run.id, order.tags
        )
        try:
            if not context.process.can_save:
                raise ContextDeadError(context.reason)
            # A context of the run's own has nothing else to do.
            last = order.session is None
            heap = await self._heaps.save(context, origin, last=last)
            run.refine(msgspec.structs.replace(ending, heap=heap))
        except ServerError as error:
            run.refine(msgspec.structs.replace(ending, heap_error=str(error)))


def _ending(execution: Execution, reply: dict[str, Any]) -> Ending:
    failed = execution.failure
    if failed is None:
        result = result_of(execution, reply)
        return Ending(
            Status.COMPLETED,
            result=result.text or "null",
            result_cut=result.cut,
            result_text=result.shown,
            result_note=result.note or None,
        )
    if execution.timed_out:
        text = f"Execution timed out after {execution.seconds:g} s"
        return Ending(Status.TIMED_OUT, RunFailure(failed.name, text))
    if failed.name == _MEMORY or (
        failed.name == DIED
        and any(text in failed.value.lower() for text in _MEMORY_DEATHS)
    ):
        text = _MEMORY_TEXT.format(failed.value)
        return Ending(Status.FAILED, RunFailure(_MEMORY, text))
    stack = failed.traceback.rstrip("\n")
    return Ending(Status.FAILED, RunFailure(failed.name, failed.value, stack))
