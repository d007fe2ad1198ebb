"""Messages of comms that a context's process handles, beside the context's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isoserver.contexts.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from isoserver.contexts.context import Context
    from isoserver.contexts.messages import Message

__all__ = ["Comms"]

_COMMS_MAX: Final = 1000
"""Messages that a kernel has not handled; the oldest count as if it had."""


class Comms:
    """What fronts have sent to the comms of one context, as far as it isn't handled.

    Fronts send the next message when one has been handled: they are told so.
    """

    def __init__(self, context: Context) -> None:
        """Have nothing to be handled."""
        self._context = context
        self._open: dict[int, Job] = {}

    def send(
        self, message: Message, header: Mapping[str, Any], *, says_idle: bool
    ) -> None:
        """Send a front's message to the process.

        Args:
            message: The message.
            header: Its header: the parent of what comes of it.
            says_idle: Whether the process says when it has handled it.
        """
        kind, content, metadata, buffers = message
        comm = Job(kind, content, 0.0, header=header)
        context = self._context
        if says_idle:
            self._open[comm.id] = comm
        else:
            context.transcript.add_state("busy", comm.cause)
        context.process.tell(kind, content, buffers, metadata=metadata, number=comm.id)
        if not says_idle:
            context.transcript.add_state("idle", comm.cause)
        elif len(self._open) > _COMMS_MAX:
            self._end(next(iter(self._open)))

    def take(self, parent: int, message: Message) -> bool:
        """Handle what the process says, if it comes of one of these.

        Args:
            parent: The id of what has caused it.
            message: What it says.

        Returns:
            Whether it does.
        """
        comm = self._open.get(parent)
        if comm is None:
            return False
        if message.kind != "status":
            self._context.transcript.pass_on(message, comm.cause)
        elif message.content.get("execution_state") == "idle":
            self._end(comm.id)
        else:
            self._context.transcript.add_state("busy", comm.cause)
        return True

    def end(self) -> None:
        """Say that all have been handled: the process is gone."""
        for number in tuple(self._open):
            self._end(number)

    def _end(self, number: int) -> None:
        self._context.transcript.add_state("idle", self._open.pop(number).cause)
