"""Tasks: ordered, run in their turn, looked up, cancelled, awaited."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from isoserver.errors import (
    DatabaseError,
    FieldProblem,
    InvalidRequestError,
    ServerError,
    StoppingError,
    TaskEndedError,
    TaskLimitError,
    TaskMissingError,
)
from isoserver.tasks.places import Places
from isoserver.tasks.records import RUNTIMES, Ending, Status, Task, TaskFailure
from isoserver.tasks.runner import TaskWorker
from isoserver.tasks.runs import Run
from isoserver.tasks.store import TaskStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.service import Contexts
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database
    from isoserver.tasks.calls import Toolbox
    from isoserver.tasks.records import TaskOrder
    from isoserver.tasks.runner import TypeChecker
    from isoserver.tools.calls import Asker

__all__ = ["LIST_DEFAULT", "LIST_MAX", "TaskRunner"]

LIST_DEFAULT: Final = 100
LIST_MAX: Final = 1000
CANCELLED: Final = Ending(
    Status.CANCELLED, TaskFailure("CancelledError", "the task was cancelled")
)
STOPPED: Final = Ending(
    Status.FAILED, TaskFailure("ServerStoppedError", "the server stopped")
)
_DEFECT: Final = "the server failed; its log says why"
_SAVE_PAUSE: Final = 1.0
"""Seconds between attempts to save an end, while the database can't be used."""
_SWEEP: Final = 60.0
_STEP: Final = 1e-6


class TaskRunner:
    """The tasks of one server. In the event loop only."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server
        self,
        settings: ServerSettings,
        database: Database,
        contexts: Contexts,
        toolbox: Toolbox | None,
        checker: TypeChecker | None,
        log: FilteringBoundLogger,
    ) -> None:
        """Prepare; `open` begins.

        Args:
            settings: Settings of the server.
            database: Where tasks are kept.
            contexts: Where they run.
            toolbox: What their `tools` calls; None if there is nothing.
            checker: Checks their types; None if that can't be asked for.
            log: Where failures of ours are told.
        """
        self._settings = settings
        self._log = log
        self._store = TaskStore(database)
        self._worker = TaskWorker(settings, contexts, toolbox, checker, log)
        parallel = settings.tasks_running_max
        self._places = Places(parallel, settings.share_of(parallel))
        self._runs: dict[str, Run] = {}
        self._last = 0.0
        self._stopping = False
        self._hurried = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None

    # -- its life ----------------------------------------------------------------------

    async def open(self) -> None:
        """End what the last server left running, and begin to take orders."""
        mended = await self._store.mend()
        if mended:
            self._log.warning("tasks were running", ended=mended)
        self._sweeper = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        """Let what runs end in the grace period, and save how all of it ended."""
        self._stopping = True
        running: list[asyncio.Task[None]] = []
        for run in list(self._runs.values()):
            if run.task.status is Status.RUNNING and run.work is not None:
                running.append(run.work)
            else:
                self._stop(run, STOPPED)
        if running:
            hurried = asyncio.ensure_future(self._hurried.wait())
            ended = asyncio.ensure_future(asyncio.wait(running))
            waits: set[asyncio.Future[Any]] = {hurried, ended}
            grace = self._settings.shutdown_grace_seconds
            await asyncio.wait(waits, timeout=grace, return_when="FIRST_COMPLETED")
            for pending in waits:
                pending.cancel()
        left = list(self._runs.values())
        for run in left:
            self._stop(run, STOPPED)
        works = [run.work for run in left if run.work is not None]
        if works:
            await asyncio.wait(works, timeout=self._settings.interrupt_grace_seconds)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait({self._sweeper})

    def hurry(self) -> None:
        """End the grace period of `close`."""
        self._hurried.set()

    # -- orders ------------------------------------------------------------------------

    async def start(
        self,
        order: TaskOrder,
        asker: Asker | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> Task:
        """Take an order; it outlives the server when this returns.

        Args:
            order: What to do.
            asker: Asks the client for approvals, if it can.
            on_output: Told what the code prints, as it does.

        Returns:
            The task, queued.

        Raises:
            InvalidRequestError: There is no code, or no such runtime.
            TaskLimitError: There are as many tasks as may be.
            DatabaseError: It can't be kept.
            StoppingError: The server is about to end.
        """
        self._check(order)
        # Later ones sort behind, also when the clock stands still or is set back.
        self._last = max(time.time(), self._last + _STEP)
        task_id = f"task_{secrets.token_urlsafe(16)}"
        run = Run(Task(task_id, order, Status.QUEUED, self._last), asker, self._places)
        run.on_output = on_output
        self._runs[task_id] = run
        adding = asyncio.ensure_future(self._store.add(run.task))
        try:
            await asyncio.shield(adding)
        except asyncio.CancelledError:
            # It is kept all the same, and nobody has its id to cancel it by.
            run.decide(CANCELLED)
            run.work = asyncio.ensure_future(self._take_back(run, adding))
            raise
        except BaseException:
            del self._runs[task_id]
            raise
        run.work = asyncio.ensure_future(self._run(run))
        return run.task

    async def _take_back(self, run: Run, adding: asyncio.Future[None]) -> None:
        """End a task whose order was given up, once it is written down."""
        with suppress(DatabaseError):
            await adding
        await self._run(run)

    def _check(self, order: TaskOrder) -> None:
        if self._stopping:
            raise StoppingError
        if not order.code.strip():
            raise InvalidRequestError(FieldProblem("code", "there is no code"))
        if order.runtime_id not in RUNTIMES:
            problem = f"must be one of {', '.join(RUNTIMES)}"
            raise InvalidRequestError(FieldProblem("runtimeId", problem))
        if len(self._runs) >= self._settings.tasks_unfinished_max:
            raise TaskLimitError(self._settings.tasks_unfinished_max)
        share = self._settings.share_of(self._settings.tasks_unfinished_max)
        if share < self._settings.tasks_unfinished_max:
            theirs = [run.task.order.workspace for run in self._runs.values()]
            if theirs.count(order.workspace) >= share:
                raise TaskLimitError(share, shared=True)

    # -- running -----------------------------------------------------------------------

    async def _run(self, run: Run) -> None:
        run.working = True
        try:
            # Cancelled only by `_stop`, which has decided the end by then.
            if run.ending is None:
                run.decide(await self._attempt(run))
        except asyncio.CancelledError:
            run.decide(STOPPED)
        finally:
            run.leave_place()
        run.end()
        await self._save(run)
        self._runs.pop(run.task.id, None)
        run.ended.set()

    async def _attempt(self, run: Run) -> Ending:
        try:
            return await self._worker.run(run)
        except ServerError as error:
            failure = TaskFailure(type(error).__name__, error.in_words())
        except Exception:  # noqa: BLE001 - else it would run for ever
            self._log.exception("a task failed", task=run.task.id)
            failure = TaskFailure("InternalError", _DEFECT)
        return Ending(Status.FAILED, failure)

    async def _save(self, run: Run) -> None:
        assert run.ending is not None  # noqa: S101 - decided by who calls
        while not await self._saved(run.task, run.ending):
            if self._stopping:
                return
            await asyncio.sleep(_SAVE_PAUSE)

    async def _saved(self, task: Task, ending: Ending) -> bool:
        try:
            await self._store.end(task, ending)
        except DatabaseError:
            return False
        return True

    def _stop(self, run: Run, ending: Ending) -> bool:
        """End a task; whether it was this call that did."""
        if not run.decide(ending):
            return False
        if run.work is not None and run.working:
            run.work.cancel()
        return True

    # -- looking -----------------------------------------------------------------------

    def _find(self, workspace: str, task_id: str) -> Run | None:
        run = self._runs.get(task_id)
        of_theirs = run is not None and run.task.order.workspace == workspace
        return run if of_theirs else None

    async def get(self, workspace: str, task_id: str) -> Task:
        """Look a task up.

        Raises:
            TaskMissingError: The workspace has none of that id.
        """
        run = self._find(workspace, task_id)
        if run is not None and not run.task.status.terminal:
            return run.task
        if run is not None:  # it ends at this moment
            await run.ended.wait()
        task = await self._store.get(workspace, task_id)
        if task is None:
            raise TaskMissingError(task_id)
        return task

    async def list(
        self,
        workspace: str,
        *,
        limit: int = LIST_DEFAULT,
        status: Status | None = None,
    ) -> list[Task]:
        """Give the newest tasks; how they ended is left out."""
        if status is None or status.terminal:
            tasks = await self._store.newest(workspace, limit, status)
            return [self._seen(task) for task in tasks]
        live = [
            run.task
            for run in self._runs.values()
            if run.task.order.workspace == workspace and run.task.status is status
        ]
        return sorted(live, key=lambda task: -task.created_at)[:limit]

    def _seen(self, task: Task) -> Task:
        run = self._runs.get(task.id)
        return task if run is None else run.task._replace(ending=None)

    async def wait(self, workspace: str, task_id: str, seconds: float) -> Task:
        """Give a task when it has ended, or as it is after some time.

        Raises:
            TaskMissingError: The workspace has none of that id.
        """
        run = self._find(workspace, task_id)
        if run is not None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(run.ended.wait(), seconds)
        return await self.get(workspace, task_id)

    async def cancel(self, workspace: str, task_id: str) -> Task:
        """End a task that hasn't ended; what it was to the last is kept.

        Returns:
            The task, cancelled.

        Raises:
            TaskMissingError: The workspace has none of that id.
            TaskEndedError: It has ended.
        """
        run = self._find(workspace, task_id)
        if run is not None:
            stopped = self._stop(run, CANCELLED)
            await run.ended.wait()
            if stopped:
                return run.task
        task = await self.get(workspace, task_id)
        raise TaskEndedError(task_id, task.status.value)

    # -- retention ---------------------------------------------------------------------

    async def _sweep(self) -> None:
        settings = self._settings
        while True:
            try:
                while await self._store.forget(
                    settings.task_ttl_seconds,
                    settings.tasks_kept_max,
                    settings.tasks_total_bytes_max,
                ):
                    pass
            except (SQLAlchemyError, DatabaseError) as error:
                self._log.error("retention failed", error=type(error).__name__)
            await asyncio.sleep(min(_SWEEP, settings.task_ttl_seconds))
