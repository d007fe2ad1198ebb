"""The context's events on their way out, each to the cell that caused it.

A cell's output may come long after the cell: a timer that fires an hour later still
prints below the cell that set it. So the header of each execution's request is kept,
as many as have a chance to be needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isokernel.context.events import CommEvent, ExecuteResult, ExecutionDone
from isokernel.jupyter import log
from isokernel.jupyter.wire import EMPTY
from isokernel.protocol.messages import publication

if TYPE_CHECKING:
    from isokernel.context.events import Event
    from isokernel.jupyter.channels import Broadcast

__all__ = ["Outputs"]

_PARENTS_KEPT = 4096


class Outputs:
    """The sink of a context. Everything here happens on the V8 thread.

    Attributes:
        done: The end of the current execution, once the context has told it.
        result: The current execution's result as plain text, for the history.
    """

    def __init__(self, broadcast: Broadcast) -> None:
        """Send to `broadcast`."""
        self._broadcast = broadcast
        self._parents: dict[int, tuple[bytes, bool]] = {}
        self.done: ExecutionDone | None = None
        self.result: str | None = None

    def expect(self, execution_id: int, parent: bytes, *, silent: bool) -> None:
        """Make ready for an execution: what it says belongs to `parent`.

        Of a silent one only comm messages are sent on, as the protocol has it.
        """
        self.done = None
        self.result = None
        self._parents[execution_id] = (parent, silent)
        if len(self._parents) > _PARENTS_KEPT:
            del self._parents[next(iter(self._parents))]

    def __call__(self, event: Event) -> None:
        """Send one event. Called by the context, in the middle of JavaScript.

        Never raises: an exception here would surface in the user's code.
        """
        try:
            self._take(event)
        except Exception as error:  # noqa: BLE001 - see above
            log.failure(f"sending {type(event).__name__}", error)

    def _take(self, event: Event) -> None:
        if isinstance(event, ExecutionDone):
            self.done = event
            return
        parent, silent = self._parents.get(event.execution_id, (EMPTY, False))
        if isinstance(event, ExecuteResult):
            text = event.data.get("text/plain")
            self.result = text if isinstance(text, str) else None
        if silent and not isinstance(event, CommEvent):
            return
        message = publication(event)
        if message is not None:
            self._broadcast.send(
                message.kind,
                message.content,
                parent,
                message.metadata,
                message.buffers,
            )
