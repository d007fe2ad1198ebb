"""Executions: ordered, run in their turn, looked up, cancelled, awaited."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Final

from isoserver.errors import (
    DatabaseError,
    ExecutionLimitError,
    ExecutionMissingError,
    HeapMissingError,
    NotRunningError,
    StoppingError,
)
from isoserver.executions.output import LiveOutput
from isoserver.executions.pages import BYTES_MAX, PageRequest, Pages
from isoserver.executions.queue import RunQueue
from isoserver.executions.records import Outcome, Status
from isoserver.executions.retention import Retention
from isoserver.executions.runner import CANCELLED, Runner, waited
from isoserver.executions.runs import Run
from isoserver.executions.store import Store
from isoserver.executions.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.service import Contexts
    from isoserver.executions.orders import Order
    from isoserver.executions.pages import Page
    from isoserver.executions.records import ExecutionRecord
    from isoserver.heaps.service import Heaps
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database

__all__ = ["LIST_DEFAULT", "LIST_MAX", "Executions"]

LIST_DEFAULT: Final = 100
LIST_MAX: Final = 1000
STOPPED: Final = Outcome(Status.FAILED, error="the server stopped")
_SAVE_PAUSE: Final = 1.0
"""Seconds between attempts to save an end, while the database can't be used."""
_STEP: Final = 1e-6


class Executions:
    """The executions of one server. In the event loop only.

    Attributes:
        stateful: Whether executions yield heaps, and may be of sessions.
    """

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        contexts: Contexts,
        heaps: Heaps | None,
        log: FilteringBoundLogger,
    ) -> None:
        """Prepare; `start` starts.

        Args:
            settings: Settings of the server.
            database: Where executions are kept.
            contexts: Where they run.
            heaps: Where heaps are; None where there are none.
            log: Where failures of ours are told.
        """
        self.stateful = not settings.stateless
        self._settings = settings
        self._heaps = heaps if self.stateful else None
        self._log = log
        self._store = Store(database)
        self._writer = Writer(database, log)
        self._retention = Retention(settings, self._store, log)
        self._runner = Runner(settings, contexts, self._heaps)
        places = settings.executions_running_max
        self._queue = RunQueue(places, settings.share_of(places), self._start)
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0.0
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    # -- its life ----------------------------------------------------------------------

    async def start(self) -> None:
        """End what the last server left running, and begin to take orders."""
        mended = await self._store.mend()
        if mended:
            self._log.warning("executions were running", ended=mended)
        self._writer.start()
        self._retention.start()

    async def close(self) -> None:
        """Refuse what waits, let the rest end in the grace period, save all of it."""
        self._stopping.set()
        for run in self._queue.waiting():
            if run.decide(STOPPED) and self._queue.remove(run):
                self._spawn_end(run)
        hurried = asyncio.ensure_future(self._hurried.wait())
        ended = asyncio.ensure_future(self._all_ended())
        grace = self._settings.shutdown_grace_seconds
        await asyncio.wait(
            {hurried, ended}, timeout=grace, return_when="FIRST_COMPLETED"
        )
        for run in list(self._runs.values()):
            if run.decide(STOPPED) and run.stop is not None:
                run.stop()
        await asyncio.wait({ended}, timeout=self._settings.interrupt_grace_seconds)
        for pending in (hurried, ended):
            pending.cancel()
        await self._retention.close()
        await self._writer.close()

    def hurry(self) -> None:
        """End the grace period of `close`."""
        self._hurried.set()

    async def _all_ended(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    # -- orders ------------------------------------------------------------------------

    async def submit(self, order: Order) -> str:
        """Take an order; it outlives the server when this returns.

        Returns:
            The id of the execution.

        Raises:
            HeapMissingError: There is no heap of that key.
            ExecutionLimitError: As many wait as may.
            DatabaseError: It can't be kept.
            StoppingError: The server is about to end.
        """
        if self._stopping.is_set():
            raise StoppingError
        if order.heap is not None and not await self._has_heap(order):
            raise HeapMissingError(order.heap)
        limit = (
            self._settings.executions_running_max + self._settings.executions_queued_max
        )
        if len(self._runs) >= limit:
            raise ExecutionLimitError(self._settings.executions_queued_max)
        share = self._settings.share_of(limit)
        if share < limit and self._count(order.workspace) >= share:
            raise ExecutionLimitError(share, shared=True)
        run = self._make(order)
        self._runs[run.id] = run
        try:
            await asyncio.shield(self._writer.add(run.begin_row()))
        except asyncio.CancelledError:
            # Its row is written all the same, and nobody has its id to cancel it by.
            run.decide(CANCELLED)
            self._spawn_end(run)
            raise
        except BaseException:
            self._runs.pop(run.id, None)
            raise
        if self._stopping.is_set():
            run.decide(STOPPED)
        if run.outcome is None:
            loop = asyncio.get_running_loop()
            end = run.since + self._settings.execution_queue_timeout_seconds
            run.patience = loop.call_at(end, self._give_up, run)
            self._queue.enter(run)
        else:
            self._spawn_end(run)
        return run.id

    def _count(self, workspace: str) -> int:
        runs = self._runs.values()
        return sum(run.order.workspace == workspace for run in runs)

    async def _has_heap(self, order: Order) -> bool:
        if self._heaps is None or order.heap is None:
            return False
        return await self._heaps.exists(order.workspace, order.heap)

    def _make(self, order: Order) -> Run:
        execution_id = str(uuid.uuid4())
        # Later ones sort behind, also when the clock stands still or is set back.
        self._last = max(time.time(), self._last + _STEP)
        limit = self._settings.execution_output_bytes_max
        output = LiveOutput(order.workspace, execution_id, self._writer, limit)
        return Run(execution_id, order, self._last, output)

    def _give_up(self, run: Run) -> None:
        """End a run that has waited for too long."""
        if self._queue.remove(run) and run.decide(waited(self._settings)):
            self._spawn_end(run)

    # -- running -----------------------------------------------------------------------

    def _start(self, run: Run) -> None:
        if run.patience is not None:
            run.patience.cancel()
        self._spawn(self._run(run))

    def _spawn_end(self, run: Run) -> None:
        self._spawn(self._end(run))

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run) -> None:
        context = None
        try:
            context = await self._runner.run(run)
        except Exception as error:  # noqa: BLE001 - else it would run for ever
            self._log.exception("an execution failed", execution=run.id)
            run.decide(Outcome(Status.FAILED, error=type(error).__name__))
        await self._end(run)
        try:
            await self._runner.discard(context, run)
        finally:
            self._queue.leave(run)

    async def _end(self, run: Run) -> None:
        """Save how a run ended, and then let others see it."""
        while True:
            try:
                await asyncio.shield(run.save_end(self._writer))
                break
            except DatabaseError:
                if self._stopping.is_set():
                    break
                await asyncio.sleep(_SAVE_PAUSE)
        self._runs.pop(run.id, None)
        run.ended.set()
        run.output.tell()
        self._retention.ended()

    # -- looking -----------------------------------------------------------------------

    def _find(self, workspace: str, execution_id: str) -> Run | None:
        run = self._runs.get(execution_id)
        return run if run is not None and run.order.workspace == workspace else None

    async def get(self, workspace: str, execution_id: str) -> ExecutionRecord:
        """Look an execution up.

        Raises:
            ExecutionMissingError: The workspace has none of that id.
        """
        run = self._find(workspace, execution_id)
        if run is not None:
            return run.record()
        record = await self._store.get(workspace, execution_id)
        if record is None:
            raise ExecutionMissingError(execution_id)
        return record

    async def list(
        self,
        workspace: str,
        *,
        limit: int = LIST_DEFAULT,
        status: Status | None = None,
    ) -> list[ExecutionRecord]:
        """Give the newest executions; their results and errors are left out."""
        return await self._store.newest(workspace, limit, status)

    async def page(
        self, workspace: str, execution_id: str, request: PageRequest
    ) -> Page:
        """Give a page of output; what it shows outlives the server.

        Raises:
            ExecutionMissingError: The workspace has none of that id.
            DatabaseError: What is new of the output can't be saved.
        """
        record = await self.get(workspace, execution_id)
        run = self._find(workspace, execution_id)
        if run is not None:
            await asyncio.shield(run.output.save())
        key = (workspace, execution_id)
        return await Pages(self._store, key, record.output, record.status).read(request)

    async def wait(
        self, workspace: str, execution_id: str, seconds: float
    ) -> ExecutionRecord:
        """Give an execution when it has ended, or as it is after some time.

        Raises:
            ExecutionMissingError: The workspace has none of that id.
        """
        run = self._find(workspace, execution_id)
        if run is not None:
            ended = asyncio.ensure_future(run.ended.wait())
            await asyncio.wait({ended}, timeout=seconds)
            ended.cancel()
            return run.record()
        return await self.get(workspace, execution_id)

    async def follow(self, workspace: str, execution_id: str) -> AsyncIterator[str]:
        """Give the output as it comes, until the end of the execution.

        Raises:
            ExecutionMissingError: The workspace has none of that id.
        """
        place = 0
        while True:
            run = self._find(workspace, execution_id)
            changed = None if run is None else run.output.changed
            asked = PageRequest(byte_offset=place, byte_limit=BYTES_MAX)
            page = await self.page(workspace, execution_id, asked)
            place = page.next_byte_offset
            if page.data:
                yield page.data
            if page.has_more:
                continue
            if page.status is not Status.RUNNING:
                return
            if changed is not None:
                await changed.wait()

    # -- cancelling --------------------------------------------------------------------

    async def cancel(self, workspace: str, execution_id: str) -> None:
        """End an execution that runs or waits; one that waits never runs.

        Raises:
            ExecutionMissingError: The workspace has none of that id.
            NotRunningError: It has ended.
        """
        run = self._find(workspace, execution_id)
        if run is not None and run.decide(CANCELLED):
            if self._queue.remove(run):
                self._spawn_end(run)
            elif run.stop is not None:
                run.stop()
            await run.ended.wait()
            return
        if run is not None:
            await run.ended.wait()
        record = await self.get(workspace, execution_id)
        raise NotRunningError(execution_id, record.status.value)
