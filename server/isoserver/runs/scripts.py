"""Runs scripts: in a context of their own, or in that of a session, and saves heaps."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.contexts.jobs import DIED
from isoserver.contexts.languages import unfenced
from isoserver.contexts.results import read_result
from isoserver.errors import (
    ContextDeadError,
    ExecutionLimitError,
    ExecutionMissingError,
    HeapMissingError,
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
    from isoserver.contexts.messages import Message
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
_MEMORY_DEATH: Final = "out of memory"
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
        """Check that its heap is there.

        Raises:
            HeapMissingError: The workspace has none of that key.
        """
        if order.heap is not None and (
            self._heaps is None
            or not await self._heaps.exists(order.workspace, order.heap)
        ):
            raise HeapMissingError(order.heap)

    async def run(self, run: Run[ScriptOrder]) -> None:
        """Run the code, and save the heap that it yields."""
        context = run.context = await self._open(run.order)
        if run.ending is None:
            ending = await self._execute(run, context)
            if run.decide(ending) and ending.status is Status.COMPLETED:
                await self._save(run, context, ending)

    # -- the context -------------------------------------------------------------------

    async def _open(self, order: ScriptOrder) -> Context:
        memory = order.heap_memory_max_bytes
        if order.session is None:
            return await self._contexts.create(
                order.workspace,
                self._language,
                heap=order.heap,
                heap_memory_max_bytes=memory,
                ephemeral=True,
            )
        return await self._contexts.session(
            order.workspace,
            order.session,
            self._language,
            heap=order.heap,
        )

    @property
    def _language(self) -> Language:
        """TypeScript, which takes JavaScript as well, if it is served."""
        languages = self._contexts.languages
        served = "typescript" in languages.served
        return languages.find("typescript" if served else "javascript")

    # -- the code ----------------------------------------------------------------------

    async def _execute(self, run: Run[ScriptOrder], context: Context) -> Ending:
        order = run.order
        options = {
            "result_json": True,
            "result_max": order.result_characters_max,
            "heap_bytes_max": order.heap_memory_max_bytes or 0,
            "levels": True,
            "drain": True,
            **whole_of(self._settings, run, order.heap_memory_max_bytes),
        }
        execution = context.execute(
            unfenced(order.code),
            order.seconds,
            language=self._language,
            options=options,
            policy=order.policy,
        )

        def take(message: Message) -> None:
            if message.kind == "stream":
                run.print(message.content["text"])
            elif message.kind == "status":
                run.begin(execution.began)

        execution.listeners.append(take)
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
        origin = HeapOrigin(
            order.workspace, order.session, order.heap, order.code, run.id, order.tags
        )
        try:
            if not context.process.can_save:
                raise ContextDeadError(context.reason)
            heap = await self._heaps.save(context, origin)
            run.refine(msgspec.structs.replace(ending, heap=heap))
        except ServerError as error:
            run.refine(msgspec.structs.replace(ending, heap_error=str(error)))


def _ending(execution: Execution, reply: dict[str, Any]) -> Ending:
    failed = execution.failure
    if failed is None:
        result = read_result(reply)
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
        failed.name == DIED and _MEMORY_DEATH in failed.value.lower()
    ):
        text = _MEMORY_TEXT.format(failed.value)
        return Ending(Status.FAILED, RunFailure(_MEMORY, text))
    stack = failed.traceback.rstrip("\n")
    return Ending(Status.FAILED, RunFailure(failed.name, failed.value, stack))
