"""Runs one execution in a context: its own for the time, or the one of a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from isoserver.contexts.jobs import DIED, Request
from isoserver.errors import (
    ContextDeadError,
    ServerError,
)
from isoserver.executions.records import Outcome, Status
from isoserver.heaps.entries import HeapEntry

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.messages import Message
    from isoserver.contexts.service import Contexts
    from isoserver.executions.runs import Run
    from isoserver.heaps.service import Heaps
    from isoserver.settings.server import ServerSettings

__all__ = ["CANCELLED", "Runner"]

CANCELLED: Final = Outcome(Status.CANCELLED, error="Cancelled by user")
_MEMORY: Final = "OutOfMemoryError"
_MEMORY_DEATH: Final = "out of memory"
_MEMORY_TEXT: Final = "Out of memory: {}. Try increasing heap_memory_max_mb."
_STOP_SECONDS: Final = 1.0
"""Seconds that code has to stop before its own context's process is ended."""


class Runner:
    """Runs executions, each to an outcome that is decided but not saved."""

    def __init__(
        self, settings: ServerSettings, contexts: Contexts, heaps: Heaps | None
    ) -> None:
        """Prepare.

        Args:
            settings: Settings of the server.
            contexts: Where code runs.
            heaps: Where heaps are; None where there are none.
        """
        self._settings = settings
        self._contexts = contexts
        self._heaps = heaps
        self._closing: set[asyncio.Future[None]] = set()

    async def run(self, run: Run) -> Context | None:
        """Run the code and decide how it ended.

        Returns:
            The context, to be deleted if it isn't a session's.
        """
        context = None
        try:
            context = await self._open(run)
            if run.outcome is None:
                await self._execute(run, context)
        except ServerError as error:
            run.decide(Outcome(Status.FAILED, error=error.in_words()))
        return context

    async def discard(self, context: Context | None, run: Run) -> None:
        """Delete the context of a run that had its own."""
        if context is not None and run.order.session is None:
            await self._contexts.delete(context.workspace, context.id)

    # -- the context -------------------------------------------------------------------

    async def _open(self, run: Run) -> Context:
        order = run.order
        if order.session is None:
            return await self._contexts.create(
                order.workspace,
                order.language,
                heap=order.heap,
                heap_memory_max_bytes=order.heap_memory_max,
                ephemeral=True,
            )
        return await self._contexts.session(
            order.workspace,
            order.session,
            order.language,
            heap=order.heap,
            heap_memory_max_bytes=order.heap_memory_max,
        )

    # -- the code ----------------------------------------------------------------------

    async def _execute(self, run: Run, context: Context) -> None:
        order = run.order
        options = {"result_json": True, "levels": True, "drain": order.drain}
        request = Request(order.code, order.language, order.seconds, None, options)
        execution = context.execute(request)
        loop = asyncio.get_running_loop()
        limit = run.since + self._settings.execution_queue_timeout_seconds
        patience = loop.call_at(limit, self._lost, run, context, execution)

        def take(message: Message) -> None:
            if message.kind == "stream" and run.outcome is None:
                run.output.append(message.content["text"])
            elif message.kind == "status" and execution.began is not None:
                patience.cancel()
                run.began(execution.began)

        execution.listeners.append(take)
        run.stop = lambda: self._stop(run, context, execution)
        try:
            reply = await execution.done
        finally:
            patience.cancel()
            run.stop = None
        await self._conclude(run, context, _outcome(execution, reply))

    def _stop(self, run: Run, context: Context, execution: Execution) -> None:
        context.cancel(execution)
        if run.order.session is None:
            loop = asyncio.get_running_loop()
            loop.call_later(_STOP_SECONDS, self._end_process, context, execution)

    def _end_process(self, context: Context, execution: Execution) -> None:
        if not execution.done.done():
            closing = asyncio.ensure_future(context.close("it did not stop"))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _lost(self, run: Run, context: Context, execution: Execution) -> None:
        """Give a run up whose session is busy with what others have asked for."""
        if execution.began is None and run.decide(waited(self._settings)):
            context.cancel(execution)

    async def _conclude(self, run: Run, context: Context, outcome: Outcome) -> None:
        if not run.decide(outcome) or outcome.status is not Status.COMPLETED:
            return
        if not run.order.stateful or self._heaps is None:
            return
        try:
            run.refine(outcome._replace(heap=await self._save(run, context)))
        except ServerError as error:
            run.refine(outcome._replace(heap_error=str(error)))

    async def _save(self, run: Run, context: Context) -> str:
        order = run.order
        if self._heaps is None or not context.process.can_save:
            raise ContextDeadError(context.reason)
        entry = HeapEntry(
            order.workspace, order.session, order.heap, order.code, run.id, order.tags
        )
        return await self._heaps.save(context, entry)


def waited(settings: ServerSettings) -> Outcome:
    """Give the end of an execution whose turn did not come."""
    seconds = settings.execution_queue_timeout_seconds
    text = f"the execution waited for longer than {seconds:g} s for its turn"
    return Outcome(Status.FAILED, error=text)


def _outcome(execution: Execution, reply: dict[str, Any]) -> Outcome:
    failed = execution.failure
    if failed is None:
        return Outcome(Status.COMPLETED, result=reply.get("result_json") or "null")
    if execution.timed_out:
        limit = execution.request.seconds
        return Outcome(Status.TIMED_OUT, error=f"Execution timed out after {limit:g} s")
    if failed.name == _MEMORY or (
        failed.name == DIED and _MEMORY_DEATH in failed.value.lower()
    ):
        return Outcome(Status.FAILED, error=_MEMORY_TEXT.format(failed.value))
    return Outcome(Status.FAILED, error=failed.traceback.rstrip("\n"))
