"""Runs: ordered, run in their turn, looked up, read, awaited, cancelled, forgotten."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isoserver.cluster.kinds import RUN
from isoserver.contexts.jobs import Execution
from isoserver.errors import (
    DatabaseError,
    ElsewhereError,
    LimitError,
    ServerError,
    StoppingError,
)
from isoserver.runs.answers import lost_cell_body, webhook_body
from isoserver.runs.output import boundary
from isoserver.runs.pages import BYTES_MAX, OutputMissingError, PageRequest, Pages
from isoserver.runs.queue import RunQueue
from isoserver.runs.records import Ending, Kind, RunFailure, Status, Wanted
from isoserver.runs.run import Run
from isoserver.storage.retention import Sweeper
from isoserver.webhooks.service import PART_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    from structlog.typing import FilteringBoundLogger

    from isokernel.capabilities import Stage
    from isoserver.cluster.service import Cluster
    from isoserver.contexts.context import Key
    from isoserver.contexts.service import Contexts
    from isoserver.runs.orders import Order
    from isoserver.runs.pages import Page
    from isoserver.runs.records import RunRecord
    from isoserver.runs.runner import Runner
    from isoserver.runs.store import Store
    from isoserver.settings.server import ServerSettings
    from isoserver.tools.calls import Asker
    from isoserver.webhooks.service import Told, Webhook, Webhooks
    from isoserver.webhooks.store import PendingWebhook

__all__ = ["Runs"]

_NEWEST: Final = Wanted()
_DEFECT: Final = Ending(
    Status.FAILED, RunFailure("InternalError", "the server failed; its log says why")
)
_SAVE_SECONDS: Final = 10.0
"""How long who cancels a run waits until its end is saved."""
_SAVE_PAUSE_SECONDS: Final = 1.0
"""Between attempts to save an end, while the database can't be used."""
_UNDOING_MAX: Final = 1000
"""Orders that couldn't be kept, and are ended once the database can be used."""
_STEP_SECONDS: Final = 1e-6
_SWEEPS: Final = 4
"""How often what is to be forgotten is looked for, in the time that a run is kept."""
_SWEEP_SECONDS_MAX: Final = 60.0
_SLACK_PART: Final = 16
"""The part of the limit on kept runs by which they may be over it between sweeps."""


class Runs:
    """The runs of one server, of both kinds. In the event loop only.

    What a kind differs in is its runner's. The life of a run is the same: it is written
    down, waits for its turn, runs, has its end decided once and saved, and only then do
    others see that it has ended.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server that it needs
        self,
        settings: ServerSettings,
        store: Store,
        contexts: Contexts,
        runners: Mapping[Kind, Runner],
        webhooks: Webhooks,
        log: FilteringBoundLogger,
        cluster: Cluster | None = None,
    ) -> None:
        """Create a closed service; `start` begins to accept orders.

        Args:
            settings: Settings of the server.
            store: Where runs are kept.
            contexts: Where they run.
            runners: Who runs each kind.
            webhooks: Told of each end that something is to be sent for.
            log: Told of failures that are ours.
            cluster: The servers that share the database, if there are others.
        """
        self.elsewhere: Callable[[str], Awaitable[list[RunRecord]]] | None = None
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._contexts = contexts
        self._runners = runners
        self._webhooks = webhooks
        self._log = log
        limits = {kind: runner.limits for kind, runner in runners.items()}
        number = {kind: of.running for kind, of in limits.items()}
        places = {kind: (n, settings.share_of(n)) for kind, n in number.items()}
        self._queue = RunQueue(places, self._start)
        soonest = min(of.kept_seconds for of in limits.values()) / _SWEEPS
        interval = min(soonest, _SWEEP_SECONDS_MAX)
        self._sweeper = Sweeper("runs", self._forget, interval, log)
        self._slack = min(of.kept_number for of in limits.values()) / _SLACK_PART
        self._ended = 0
        self._runs: dict[str, Run[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0.0
        self._undoing = 0
        self._stopping = asyncio.Event()
        self._grace_ended = asyncio.Event()

    # -- from start to end of the server -----------------------------------------------

    async def start(self) -> None:
        """End what the last server left running, and begin to take orders."""
        if self._cluster is None:
            ended = await self._store.mend(lambda kind: self._runners[kind].lost)
            if ended:
                self._log.warning("runs were lost with the last server", number=ended)
        for row in await self._webhooks.start():
            self._tell_late(row)
        if self._cluster is not None:
            await self.take_over(self._cluster)
        self._sweeper.start()

    async def close(self, grace_seconds: float) -> None:
        """End what waits, let the rest end in the grace period, and save all of it.

        Args:
            grace_seconds: What is left of that.
        """
        self._stopping.set()
        waiting = self._queue.waiting()
        waiting += [r for r in self._runs.values() if r.status is Status.WAITING]
        for run in waiting:
            self._end_early(run, self._runner_of(run).stopped)
        grace_ended = asyncio.ensure_future(self._grace_ended.wait())
        ended = asyncio.ensure_future(self.all_ended())
        await asyncio.wait(
            {grace_ended, ended},
            timeout=max(grace_seconds, 0),
            return_when="FIRST_COMPLETED",
        )
        for run in list(self._runs.values()):
            self._end_early(run, self._runner_of(run).stopped)
        await asyncio.wait({ended}, timeout=self._settings.interrupt_grace_seconds)
        for pending in (grace_ended, ended):
            pending.cancel()
        await self._sweeper.close()
        await self._store.close()

    def lose(self) -> None:
        """End all runs at once, and write nothing: others end them."""
        self._stopping.set()
        for run in list(self._runs.values()):
            self._end_early(run, self._runner_of(run).lost)

    def wants(self, key: Key) -> bool:
        """Whether a run that hasn't ended goes on in a context, or will."""
        return any(
            (run.order.workspace, run.order.session) == key
            for run in self._runs.values()
        )

    async def take_over(self, cluster: Cluster) -> None:
        """End what servers have left that are gone, and send what is told of it.

        Raises:
            DatabaseError: The database can't be used.
        """
        async with cluster.taking(RUN) as (connection, taken):
            lost = [run_id for _, run_id in taken]
            if lost:
                await self._store.end_lost(
                    connection, lambda kind: self._runners[kind].lost, lost
                )
        if lost:
            self._log.warning("runs were lost with their server", number=len(lost))
        for row in await self._webhooks.adopt():
            self._tell_late(row)

    def end_grace_period(self) -> None:
        """End the grace period of `close`."""
        self._grace_ended.set()

    async def all_ended(self) -> None:
        """Wait until no run goes on."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # -- orders ------------------------------------------------------------------------

    async def submit(
        self,
        order: Order,
        asker: Asker | None = None,
        on_output: Callable[[str], None] | None = None,
        *,
        on_stage: Callable[[Stage], None] | None = None,
    ) -> RunRecord:
        """Accept an order; once this returns, it survives the server.

        Args:
            order: What to do.
            asker: Asks the client for approvals, if it can.
            on_output: Called with what the code of a task prints.
            on_stage: Called with how far its downloads have come.

        Returns:
            The run, queued.

        Raises:
            HeapMissingError: The workspace has no such heap.
            LimitError: There are as many as may be that haven't ended.
            DatabaseError: It can't be kept.
            StoppingError: The server is about to end.
        """
        if self._stopping.is_set():
            raise StoppingError
        runner = self._runners[order.kind]
        await self._adopt(order)
        await runner.check(order)
        await self._adopt(order)  # it may have moved; from here on, the run keeps it
        self._check_room(order.kind, order.workspace)
        if order.webhook is not None:
            self._webhooks.check(order.workspace, order.webhook)
        # Later ones sort behind, also when the clock stands still or is set back.
        self._last = max(time.time(), self._last + _STEP_SECONDS)
        run = Run(runner.new_id(), order, self._last, self._on_approval)
        run.asker, run.on_output, run.on_stage = asker, on_output, on_stage
        runner.prepare(run)
        self._runs[run.id] = run
        try:
            if order.webhook is not None:
                await self._order_webhook(run, order.webhook)
            await self._store.add(run.record(), order.code)
        except asyncio.CancelledError:
            # Its row is written all the same, and nobody has its id to cancel it by.
            run.decide(runner.cancelled)
            self._spawn(self._end(run))
            raise
        except BaseException as error:
            del self._runs[run.id]
            run.decide(_failed(error) if isinstance(error, ServerError) else _DEFECT)
            self._spawn(self._undo(run))
            raise
        if self._stopping.is_set():
            run.decide(runner.stopped)
        if run.ending is not None:
            self._spawn(self._end(run))
            return run.record()
        if runner.patience is not None:
            loop = asyncio.get_running_loop()
            seconds, late = runner.patience
            run.patience = loop.call_later(seconds, self._end_early, run, late)
        self._queue.enter(run)
        return run.record()

    async def _adopt(self, order: Order) -> None:
        """Have the context that an order names be here."""
        if order.session is not None:
            await self._contexts.adopt(order.workspace, order.session)

    async def _undo(self, run: Run[Any]) -> None:
        """Have nothing come of an order that couldn't be kept; nobody waits for it.

        Its row may be there all the same, and would wait for ever: the answer to what
        has written it may be lost.
        """
        self._webhooks.forget(run.order.workspace, run.id)
        if self._undoing < _UNDOING_MAX:
            self._undoing += 1
            try:
                await self._end(run)
            finally:
                self._undoing -= 1

    async def _order_webhook(self, run: Run[Any], webhook: Webhook) -> None:
        order = run.order
        await self._webhooks.order(
            *(order.workspace, webhook, order.kind.value, run.id, order.client)
        )

    def _tell(self, record: RunRecord) -> None:
        """Send what is ordered for a run that has ended."""
        self._webhooks.tell(record.workspace, record.id, partial(self._told, record))

    def _tell_late(self, row: PendingWebhook) -> None:
        """Send what the last server hasn't got to."""
        self._webhooks.tell(row.workspace, row.subject, self._told_late)

    async def _told(self, record: RunRecord, row: PendingWebhook) -> Told:
        """Make what is sent for a run that has ended."""
        printed = None
        if row.output:
            data = b""
            if record.kind is Kind.SCRIPT:
                key = record.workspace, record.id
                chunks = await self._store.chunks(*key, 0, PART_BYTES_MAX)
                data = b"".join(chunk.data for chunk in chunks)
            printed = data[: boundary(data, PART_BYTES_MAX)].decode()
        return webhook_body(record, printed=printed)

    async def _told_late(self, row: PendingWebhook) -> Told | None:
        """Make what is sent for what the last server hasn't got to, if anything."""
        kinds = {kind.value: kind for kind in Kind}
        if row.kind not in kinds:
            return lost_cell_body(row.subject)
        record = await self._store.get(kinds[row.kind], row.workspace, row.subject)
        return None if record is None else await self._told(record, row)

    def has_room(self, kind: Kind, workspace: str) -> bool:
        """Whether a workspace may have another run of a kind here."""
        try:
            self._check_room(kind, workspace)
        except LimitError:
            return False
        return True

    def _check_room(self, kind: Kind, workspace: str) -> None:
        same_kind = [r.order for r in self._runs.values() if r.order.kind is kind]
        runner = self._runners[kind]
        limit = runner.limits.unended
        if len(same_kind) >= limit:
            raise runner.too_many(runner.limits.told)
        share = self._settings.share_of(limit)
        theirs = sum(other.workspace == workspace for other in same_kind)
        if theirs >= share < limit:
            raise runner.too_many(share, shared=True)

    # -- running -----------------------------------------------------------------------

    def _runner_of(self, run: Run[Any]) -> Runner:
        return self._runners[run.order.kind]

    def _start(self, run: Run[Any]) -> None:
        self._spawn(self._run(run))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run[Any]) -> None:
        """Run a run that has a place, and give the place back."""
        runner = self._runner_of(run)
        try:
            if run.ending is None:
                await runner.run(run)
        except asyncio.CancelledError:
            run.decide(runner.stopped)  # else `run.stop` cancelled, which decided first
        except ServerError as error:
            run.decide(_failed(error))
        except Exception:  # noqa: BLE001 - else it would run for ever
            self._log.exception("a run failed", run=run.id)
            run.decide(_DEFECT)
        run.stop = None
        try:
            await self._end(run)
            if run.context is not None and run.order.session is None:
                await self._contexts.delete(run.order.workspace, run.context.id)
        finally:
            self._queue.leave(run)

    async def _end(self, run: Run[Any]) -> None:
        """Save how a run ended, and then let others see it."""
        if run.patience is not None:
            run.patience.cancel()
        run.saving_since = time.monotonic()
        while True:
            try:
                if run.output is not None:
                    run.output.save()
                await self._store.end(run.ended_record())
                break
            except DatabaseError:
                if self._stopping.is_set():
                    break
                await asyncio.sleep(_SAVE_PAUSE_SECONDS)
        self._runs.pop(run.id, None)
        run.ended.set()
        if run.output is not None:
            run.output.tell()
        if run.order.webhook is not None:
            self._tell(run.record())
        self._ended += 1
        if self._ended > self._slack:
            self._sweeper.request()

    async def _forget(self) -> None:
        """Delete ended runs that are over a limit, the oldest first."""
        self._ended = 0
        for kind, runner in self._runners.items():
            of = runner.limits
            limits = of.kept_seconds, of.kept_number, of.kept_bytes
            while number := await self._store.forget(kind, *limits):
                self._log.info("runs forgotten", kind=kind.value, number=number)

    def _end_early(self, run: Run[Any], ending: Ending) -> bool:
        """End a run that waits or runs; return whether this call decided the end."""
        if not run.decide(ending):
            return False
        if self._queue.remove(run):
            self._spawn(self._end(run))
        elif run.stop is not None:
            run.stop()
        return True

    def _on_approval(self, run: Run[Any], begins: bool) -> None:  # noqa: FBT001
        (self._queue.pause if begins else self._queue.resume)(run)

    # -- looking -----------------------------------------------------------------------

    def _find(self, kind: Kind, workspace: str, run_id: str) -> Run[Any] | None:
        run = self._runs.get(run_id)
        if run is None or run.order.kind is not kind:
            return None
        return run if run.order.workspace == workspace else None

    async def get(self, kind: Kind, workspace: str, run_id: str) -> RunRecord:
        """Look a run up.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
            TaskMissingError: The workspace has no task of that id.
        """
        run = self._find(kind, workspace, run_id)
        if run is not None:
            return run.record()
        record = await self._store.get(kind, workspace, run_id)
        if record is None:
            raise self._runners[kind].missing(run_id)
        if self._cluster is not None and not record.status.final:
            owner = await self._cluster.owner_of(RUN, (workspace, run_id))
            if owner is not None:
                raise ElsewhereError(owner.id, owner.url)
        return record

    async def code(self, kind: Kind, workspace: str, run_id: str) -> str:
        """Return a run's source text, as the client sent it.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
            TaskMissingError: The workspace has no task of that id.
        """
        run = self._find(kind, workspace, run_id)
        if run is not None:
            return str(run.order.code)
        found = await self._store.code(kind, workspace, run_id)
        if found is None:
            raise self._runners[kind].missing(run_id)
        return found

    def execution(self, kind: Kind, workspace: str, run_id: str) -> Execution | None:
        """Return what a run's code does in its context now; None if it isn't at it."""
        run = self._find(kind, workspace, run_id)
        job = None if run is None or run.context is None else run.context.current
        if not isinstance(job, Execution) or job.requester is None:
            return None
        return job if job.requester.run_id == run_id else None

    def has(self, run_id: str) -> bool:
        """Whether a run goes on here."""
        return run_id in self._runs

    def unended(self, workspace: str) -> list[RunRecord]:
        """Return a workspace's runs that go on here."""
        runs = self._runs.values()
        return [run.record() for run in runs if run.order.workspace == workspace]

    async def list(
        self, kind: Kind, workspace: str, wanted: Wanted = _NEWEST
    ) -> list[RunRecord]:
        """Return the newest runs, without how they ended.

        Args:
            kind: Of which kind.
            workspace: Whose.
            wanted: Which of them.
        """
        statuses = wanted.statuses
        live = {run.id: run.record() for run in self._runs.values()}
        if self.elsewhere is not None:
            for record in await self.elsewhere(workspace):
                live.setdefault(record.id, record)
        if statuses is None or any(status.final for status in statuses):
            found = await self._store.newest(kind, workspace, wanted)
            return [
                record if record.status.final else live.get(record.id, record)
                for record in found
            ]
        records = [
            record
            for record in live.values()
            if (record.kind, record.workspace) == (kind, workspace)
            and record.status in statuses
            and wanted.has(record.details.get("metadata", {}))
        ]
        records.sort(key=lambda record: -record.created_at)
        return records[wanted.offset :][: wanted.limit]

    async def wait(
        self, kind: Kind, workspace: str, run_id: str, seconds: float
    ) -> RunRecord:
        """Return a run when it has ended, or as it is after some time.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
            TaskMissingError: The workspace has no task of that id.
        """
        run = self._find(kind, workspace, run_id)
        if run is None:
            return await self.get(kind, workspace, run_id)
        ended = asyncio.ensure_future(run.ended.wait())
        try:
            await asyncio.wait({ended}, timeout=seconds)
        finally:
            ended.cancel()
        return run.record()

    async def cancel(self, kind: Kind, workspace: str, run_id: str) -> RunRecord:
        """End a run that waits or runs; one that waits never begins.

        Returns:
            The run, cancelled.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
            TaskMissingError: The workspace has no task of that id.
            NotRunningError: The script has ended.
            TaskEndedError: The task has ended.
            DatabaseError: It ends, which can't be saved now.
        """
        runner = self._runners[kind]
        run = self._find(kind, workspace, run_id)
        if run is not None:
            cancelled = self._end_early(run, runner.cancelled)
            await _until_saved(run)
            if cancelled:
                return run.record()
        record = await self.get(kind, workspace, run_id)
        raise runner.over(run_id, record.status.value)

    # -- what scripts print ------------------------------------------------------------

    async def page(self, workspace: str, run_id: str, request: PageRequest) -> Page:
        """Return a page of a script's output; what it shows outlives the server.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
            DatabaseError: What is new of the output can't be saved, or some of it is
                missing.
        """
        record = await self.get(Kind.SCRIPT, workspace, run_id)
        run = self._find(Kind.SCRIPT, workspace, run_id)
        if run is not None and run.output is not None:
            run.output.save()
            await self._store.flush()
        status = record.status.of_execution
        key = (workspace, run_id)
        try:
            return await Pages(self._store, key, record.output, status).read(request)
        except OutputMissingError:
            await self.get(Kind.SCRIPT, workspace, run_id)  # it may be forgotten by now
            message = "some of the output is missing"
            raise DatabaseError(message) from None

    async def follow(self, workspace: str, run_id: str) -> AsyncIterator[str]:
        """Yield a script's output as it comes, until its end.

        Raises:
            ExecutionMissingError: The workspace has no script of that id.
        """
        place = 0
        while True:
            run = self._find(Kind.SCRIPT, workspace, run_id)
            changed = run.output.changed if run is not None and run.output else None
            asked = PageRequest(byte_offset=place, byte_limit=BYTES_MAX)
            page = await self.page(workspace, run_id, asked)
            place = page.next_byte_offset
            if page.data:
                yield page.data
            if page.has_more:
                continue
            if page.status is not Status.RUNNING:
                return
            if changed is not None:
                await changed.wait()


async def _until_saved(run: Run[Any]) -> None:
    """Wait until a run has ended, however long its code takes to stop.

    Raises:
        DatabaseError: Its end can't be saved; it is as soon as it can.
    """
    ended = asyncio.ensure_future(run.ended.wait())
    try:
        while not ended.done():
            since, now = run.saving_since, time.monotonic()
            seconds = _SAVE_SECONDS if since is None else since + _SAVE_SECONDS - now
            if seconds <= 0:
                message = "that it is cancelled can't be saved yet"
                raise DatabaseError(message)
            await asyncio.wait({ended}, timeout=seconds)
    finally:
        ended.cancel()


def _failed(error: ServerError) -> Ending:
    failure = RunFailure(type(error).__name__, error.in_words())
    return Ending(Status.FAILED, failure)
