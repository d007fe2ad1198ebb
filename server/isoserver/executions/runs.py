"""An execution that hasn't ended: what it is at, and how it comes to one end only."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from isoserver.executions.records import ExecutionRecord, Outcome, Status
from isoserver.executions.store import moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.executions.orders import Order
    from isoserver.executions.output import LiveOutput
    from isoserver.executions.writer import Writer

__all__ = ["Run"]


class Run:
    """One execution between its order and its end. In the event loop only.

    Attributes:
        id: The execution's.
        order: What was asked for.
        output: What it has put out.
        outcome: How it ends, once that is decided; others see it when it is saved.
        ended: Set when the end is saved.
        stop: Stops the code, if it has begun; set by who runs it.
        since: When it began to wait, by the loop's clock.
        patience: Ends its waiting.
    """

    def __init__(
        self, execution_id: str, order: Order, submitted_at: float, output: LiveOutput
    ) -> None:
        """Start as an execution that waits.

        Args:
            execution_id: Its id.
            order: What was asked for.
            submitted_at: When, in seconds since 1970.
            output: Where its output goes.
        """
        self.id = execution_id
        self.order = order
        self.output = output
        self.outcome: Outcome | None = None
        self.ended = asyncio.Event()
        self.stop: Callable[[], None] | None = None
        self.since = asyncio.get_running_loop().time()
        self.patience: asyncio.TimerHandle | None = None
        self._submitted_at = submitted_at
        self._started_at = submitted_at
        self._completed_at = submitted_at

    @property
    def lane(self) -> tuple[str, str] | None:
        """What it shares with runs that must not overlap with it."""
        session = self.order.session
        return None if session is None else (self.order.workspace, session)

    def began(self, since: float) -> None:
        """Note that its code has begun.

        Args:
            since: When, by the monotonic clock.
        """
        began = time.time() - (time.monotonic() - since)
        self._started_at = max(began, self._submitted_at)

    def decide(self, outcome: Outcome) -> bool:
        """Let it end so, unless its end is decided.

        Returns:
            Whether it was this call that decided.
        """
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._completed_at = max(time.time(), self._started_at)
        return True

    def refine(self, outcome: Outcome) -> None:
        """Say more about an end that is decided; its status must be the same."""
        if self.outcome is not None and self.outcome.status is outcome.status:
            self.outcome = outcome

    def record(self) -> ExecutionRecord:
        """Give it as others see it: its end once that is saved."""
        ended = self.outcome if self.ended.is_set() else None
        shown = ended or Outcome(Status.RUNNING)
        return ExecutionRecord(
            id=self.id,
            workspace=self.order.workspace,
            **shown._asdict(),
            started_at=moment(self._started_at),
            completed_at=moment(self._completed_at) if ended else None,
            session=self.order.session,
            output=self.output.extent,
        )

    def begin_row(self) -> dict[str, Any]:
        """Give its row in the database."""
        order = self.order
        return {
            "id": self.id,
            "workspace": order.workspace,
            "submitted_at": self._submitted_at,
            "started_at": self._submitted_at,
            "status": Status.RUNNING.value,
            "code": order.code,
            "language": order.language.name,
            "session": order.session,
            "input_heap": order.heap,
            "seconds": order.seconds,
            "heap_memory_max": order.heap_memory_max,
            "tags": json.dumps(order.tags),
            "output_bytes": 0,
            "output_newlines": 0,
            "output_open": False,
            "size": len(order.code),
        }

    def save_end(self, writer: Writer) -> asyncio.Future[None]:
        """Have its end written, and with it all output."""
        assert self.outcome is not None  # noqa: S101 - decided by who calls
        self.output.save()
        outcome, extent = self.outcome, self.output.extent
        texts = (self.order.code, outcome.result, outcome.error)
        values = {
            **outcome._asdict(),
            "status": outcome.status.value,
            "started_at": self._started_at,
            "completed_at": self._completed_at,
            "output_bytes": extent.bytes,
            "output_newlines": extent.newlines,
            "output_open": extent.open,
            "size": extent.bytes + sum(len(text or "") for text in texts),
        }
        return writer.end(self.order.workspace, self.id, values)
