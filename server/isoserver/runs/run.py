"""A run that hasn't ended: how it stands, and how it comes to one end only."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from isoserver.runs.records import Ending, Extent, RunRecord, Status
from isoserver.tools.calls import Requester

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.capabilities import Stage
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.transcript import Entry
    from isoserver.runs.orders import Order
    from isoserver.runs.output import LiveOutput
    from isoserver.tools.calls import Asker

__all__ = ["Run"]

Order_co = TypeVar("Order_co", bound="Order", covariant=True)


class Run(Generic[Order_co]):
    """One run between its order and its end. In the event loop only.

    Its end is decided once, by whoever comes first: its runner, a cancellation, the
    time that it may wait, or the server's end. Others see it when it is saved.

    Attributes:
        id: Its id.
        order: What was ordered.
        ending: How it ends, once that is decided.
        saving_since: When saving the end began, by the monotonic clock.
        ended: Set when the end is saved.
        output: What it has printed, where that is kept.
        asker: Asks its client for approvals; None if the client can't be asked.
        on_output: Called with what its code prints.
        on_stage: Called with how far its downloads have come.
        context: Where it runs, once that is there; set by its runner.
        stop: Stops its code; set by its runner while that can be done.
        patience: Ends its waiting; cancelled when its code begins.
    """

    def __init__(
        self,
        run_id: str,
        order: Order_co,
        created_at: float,
        on_approval: Callable[[Run[Order_co], bool], None],
    ) -> None:
        """Make a run that is queued.

        Args:
            run_id: Its id.
            order: What was ordered.
            created_at: When, in seconds since 1970.
            on_approval: Called with it and whether the waiting for approvals begins.
        """
        self.id = run_id
        self.order = order
        self.ending: Ending | None = None
        self.saving_since: float | None = None
        self.ended = asyncio.Event()
        self.output: LiveOutput | None = None
        self.asker: Asker | None = None
        self.on_output: Callable[[str], None] | None = None
        self.on_stage: Callable[[Stage], None] | None = None
        self.context: Context | None = None
        self.stop: Callable[[], object] | None = None
        self.patience: asyncio.TimerHandle | None = None
        self._on_approval = on_approval
        self._approvals = 0
        self._status = Status.QUEUED
        self._created_at = created_at
        self._started_at: float | None = None
        self._ended_at = created_at

    @property
    def status(self) -> Status:
        """How it stands, for others; final once its end is saved."""
        return self.record().status

    @property
    def requester(self) -> Requester:
        """Who has ordered it, for the approvals that its code needs."""
        return Requester(
            self.id,
            self.order.client,
            self.order.admin,
            self.asker,
            self.wait_for_approval,
        )

    def begin(self, since: float | None) -> None:
        """Note that its code has begun; again is nothing new.

        Args:
            since: When, by the monotonic clock.
        """
        if self._started_at is not None or since is None:
            return
        if self.patience is not None:
            self.patience.cancel()
        began = time.time() - (time.monotonic() - since)
        self._started_at = max(began, self._created_at)
        self._status = Status.RUNNING

    def follow(self, context: Context, execution: Execution) -> None:
        """Take its beginning and what its code prints from the context's messages.

        What readers of the run see is what fronts of the context do, in the same order,
        and no earlier. What comes after the run's end is decided isn't the run's.
        """

        def take(entry: Entry) -> None:
            if entry.job != execution.id or self.ending is not None:
                return
            if entry.kind == "status":
                self.begin(execution.began)
            elif entry.kind == "stream" and self.on_output is not None:
                self.on_output(entry.content["text"])

        self.begin(execution.began)  # by now, if its turn came at once
        context.transcript.listen(take)
        execution.done.add_done_callback(
            lambda _: context.transcript.listeners.remove(take)
        )

    def tell(self, stage: Stage) -> None:
        """Tell how far something has come that its code waits for."""
        if self.ending is None and self.on_stage is not None:
            self.on_stage(stage)

    def wait_for_approval(self, begins: bool) -> None:  # noqa: FBT001 - a callback
        """Note that it waits for one more approval, or for one less."""
        before = self._approvals
        self._approvals += 1 if begins else -1
        changed = (before == 0) != (self._approvals == 0)
        if changed and self.ending is None:
            self._status = Status.WAITING if begins else Status.RUNNING
            self._on_approval(self, begins)

    def decide(self, ending: Ending) -> bool:
        """Decide its end, unless that is decided; return whether this call did."""
        if self.ending is not None:
            return False
        self.ending = ending
        self._ended_at = max(time.time(), self._started_at or self._created_at)
        return True

    def refine(self, ending: Ending) -> None:
        """Say more about a decided end; the status must be the same."""
        if self.ending is not None and self.ending.status is ending.status:
            self.ending = ending

    def record(self) -> RunRecord:
        """Return it as others see it: its end once that is saved."""
        return self._seen(self.ending if self.ended.is_set() else None)

    def ended_record(self) -> RunRecord:
        """Return it with its decided end, to be saved."""
        return self._seen(self.ending)

    def _seen(self, ending: Ending | None) -> RunRecord:
        order = self.order
        return RunRecord(
            id=self.id,
            kind=order.kind,
            workspace=order.workspace,
            session=order.session,
            seconds=order.seconds,
            details=order.details,
            status=self._status if ending is None else ending.status,
            created_at=self._created_at,
            started_at=self._started_at,
            ended_at=None if ending is None else self._ended_at,
            ending=ending,
            output=Extent() if self.output is None else self.output.extent,
        )
