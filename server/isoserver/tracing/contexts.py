"""Contexts whose cells have spans."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import attach, detach
from opentelemetry.trace import get_current_span

from isoserver.contexts.context import Context, State
from isoserver.contexts.jobs import DELETED, DIED, RESTARTED, TIMEOUT, UNSAVED
from isoserver.tracing.spans import (
    NOTHING,
    TRACER,
    Cell,
    begun,
    cells,
    end,
    fail,
    within,
)

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.util.types import AttributeValue

    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.messages import Message

__all__ = ["TracedContext", "context_attributes"]

_OURS: Final = frozenset({DELETED, DIED, RESTARTED, TIMEOUT, UNSAVED})
_OTHER: Final = "_OTHER"
"""Says that something else has failed. What code throws has a name of its choice."""


def context_attributes(context: Context) -> dict[str, AttributeValue]:
    """Return what is told of a context."""
    return {
        "isokernel.workspace": context.workspace,
        "isokernel.context.id": context.id,
        "isokernel.language": context.language.name,
    }


class TracedContext(Context):
    """A context whose cells, from their request to their end, are spans."""

    def execute(self, code: str, seconds: float, **asked: Any) -> Execution:
        """Run a cell within a span: what wakes the context for it is within, too."""
        since, span = time.time_ns(), get_current_span()
        of = span.get_span_context()
        if span.is_recording() or of.is_remote or not of.is_valid:
            attributes = context_attributes(self)
            if asked.get("language") is not None:
                attributes["isokernel.language"] = asked["language"].name
            span = TRACER.start_span("cell", attributes=attributes, start_time=since)
        # Else the request was found not to be sampled, and nor is what comes of it.
        cell = Cell(span)
        token = attach(cell.within)
        try:
            job = super().execute(code, seconds, **asked)
        except BaseException as error:
            fail(span, error)
            end(span)
            raise
        finally:
            detach(token)
        cells[job.id] = cell
        waits = None if job.began is not None else since
        job.done.add_done_callback(partial(_ended, job, cell, waits))
        return job

    async def _wake(self) -> None:
        with begun("wake context", context_attributes(self)) as span:
            await super()._wake()
            if self.state in {State.HIBERNATED, State.DEAD}:
                fail(span, _OTHER)

    def received(self, parent: int, message: Message) -> None:
        """Handle what a process says as a part of the cell that it is about.

        The loop calls this for a socket, as of whatever has once begun to read it.
        """
        cell = cells.get(parent)
        token = attach(NOTHING if cell is None else cell.within)
        try:
            super().received(parent, message)
        finally:
            detach(token)

    def ended(self, reason: str) -> None:
        """Be dead, which is no part of what the process was made for."""
        with within(NOTHING):
            super().ended(reason)


def _ended(
    job: Execution, cell: Cell, waits: int | None, done: asyncio.Future[Any]
) -> None:
    """End the span of a cell, and tell how long the cell had to wait, if it had."""
    del cells[job.id]
    span = cell.span
    if not span.is_recording():
        return
    now = time.time_ns()
    if waits is not None:
        began = now
        if job.began is not None:
            began -= time.monotonic_ns() - int(job.began * 1e9)
        waiting = TRACER.start_span(
            "wait for the context", cell.within, start_time=waits
        )
        waiting.end(max(began, waits))
    span.set_attribute("isokernel.execution.id", job.execution_id)
    span.set_attribute("isokernel.cell.outcome", job.status)
    error = None if done.cancelled() else done.exception()
    if error is not None:
        fail(span, error)
    elif job.failure is not None:
        name = job.failure.name
        fail(span, name if name in _OURS else _OTHER)
    cell.end()
