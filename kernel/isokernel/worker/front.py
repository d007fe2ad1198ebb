"""The worker's front: cells and requests that the server sends on `work`."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isokernel.context.events import ErrorInfo
from isokernel.errors import (
    CallInterruptedError,
    FrameError,
    InputInterruptedError,
    InputUnavailableError,
    MessageError,
)
from isokernel.protocol import answers
from isokernel.protocol.answers import reply_type
from isokernel.protocol.cells import CellRequest, CellRunner
from isokernel.protocol.messages import (
    call_message,
    execute_reply_content,
    outcome_content,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context import Context
    from isokernel.context.events import (
        CallAnswer,
        CapabilityCall,
        CapabilityDrop,
        ExecutionDone,
        ResultJson,
    )
    from isokernel.protocol.answers import Answers
    from isokernel.protocol.frames import Frame
    from isokernel.protocol.messages import OutgoingMessage
    from isokernel.worker.channel import Channel

__all__ = ["WorkerFront"]

_ANSWERS: Final[Answers] = {
    "names_request": answers.names,
    "tool_result": answers.tool_result,
    "capability_result": answers.capability_result,
    "pause_request": answers.pause,
    "clock_restart": answers.restart_clock,
    "input_reply": lambda _context, _request: None,  # nobody waits for it any more
}
_Answer = TypeVar("_Answer")


class WorkerFront:
    """Implements `protocol.cells.Front` on a channel. On the V8 thread.

    A request's number is the id of its execution.

    Attributes:
        cells: Runs the cells.
        waiting: Requests that have to wait for the cell that runs, in order.
    """

    def __init__(self, context: Context, channel: Channel) -> None:
        """Answer on `channel`."""
        self._context = context
        self._channel = channel
        self.waiting: deque[Frame] = deque()
        self.cells: CellRunner[Frame] = CellRunner(self)
        self.cells.context = context

    def begin(self, request: Frame) -> None:
        """Begin a cell. Never raises: what is wrong with the request is its answer."""
        content = request.content
        try:
            cell = CellRequest(request, request.id or 0, content, stop_on_error=False)
            cell.read_extensions(content)
        except MessageError as error:
            self.cells.refuse(request, error)
        else:
            self.cells.begin(cell)

    def serve(self, request: Frame) -> None:
        """Answer what isn't a cell; never raises."""
        try:
            answer = answers.answer(self._context, request, _ANSWERS)
        except Exception as error:  # noqa: BLE001 -- one request must not end the rest
            self.refuse(request, error)
        else:
            if answer is not None:
                self._channel.send(answer.type, answer.content, request.id or 0)

    def refuse(self, request: Frame, error: Exception) -> None:
        """Reply to a request that can't be served."""
        content = answers.refusal(request.type, error)
        self._channel.send(reply_type(request.type), content, request.id or 0)

    # -- for the cell runner ---------------------------------------------------------

    def busy(self, cell: CellRequest[Frame]) -> None:
        """Tell the server that a cell begins."""
        self._status("busy", cell.id)

    def prepare(self, cell: CellRequest[Frame], context: Context) -> str:
        """Set the cell's environment; its code runs as it is."""
        if cell.environment:
            context.lend_environment(cell.environment)
        return cell.code

    def publish(self, message: OutgoingMessage, execution_id: int) -> None:
        """Send an output; one that is too large is left out, with a note."""
        kind, content, metadata, buffers = message
        try:
            self._channel.send(kind, content, execution_id, metadata, buffers)
        except FrameError as error:
            text = f"an output was left out: {error}\n"
            content = {"name": "stderr", "text": text}
            self._channel.send("stream", content, execution_id)

    def call(self, call: CapabilityCall) -> None:
        """Send a call to the server."""
        kind, content, _, buffers = call_message(call)
        self._channel.send(kind, content, call.execution_id, buffers=buffers)

    def drop(self, drop: CapabilityDrop) -> None:
        """Have the server end a call; it answers."""
        content = {"call_id": drop.call_id}
        self._channel.send("capability_cancel", content, drop.execution_id)

    def call_now(self, call: CapabilityCall) -> CallAnswer:
        """Send a call, and wait for its answer; all else that comes is kept.

        Raises:
            CallInterruptedError: JavaScript is to stop.
            FrameError: The call is too large.
        """
        self.call(call)

        def answer_in(frame: Frame) -> CallAnswer | None:
            if frame.type != "capability_result":
                return None
            call_id, answer = answers.call_answer(frame)
            return answer if call_id == call.call_id else None

        try:
            return self._wait_for(answer_in)
        except CallInterruptedError:
            content = {"call_id": call.call_id}
            self._channel.send("capability_cancel", content, call.execution_id)
            raise

    def ask(self, prompt: str, password: bool) -> str:  # noqa: FBT001 - the contract
        """Have the server ask the user of the running cell, and wait for the answer.

        Raises:
            InputUnavailableError: No cell runs, or nobody can be asked for it.
            InputInterruptedError: JavaScript is to stop.
        """
        cell = self.cells.running
        if cell is None or not cell.allow_stdin:
            message = "nobody can be asked: no front has run this that takes questions"
            raise InputUnavailableError(message)
        question = {"prompt": prompt, "password": password}
        self._channel.send("input_request", question, cell.id)
        try:
            return self._wait_for(_value_in)
        except CallInterruptedError:
            raise InputInterruptedError from None

    def _wait_for(self, answer_in: Callable[[Frame], _Answer | None]) -> _Answer:
        """Send what is queued, and wait for its answer; all else that comes is kept.

        Args:
            answer_in: Returns what a frame answers, None if it is no answer.

        Raises:
            CallInterruptedError: JavaScript is to stop.
        """
        self._channel.flush()
        inbox = self._channel.inbox
        seen = len(inbox)

        def look() -> _Answer | None:
            nonlocal seen
            self._channel.fill()
            fresh = list(islice(inbox, seen, None))
            for frame in fresh:
                answer = answer_in(frame)
                if answer is not None:
                    inbox.remove(frame)
                    return answer
                if frame.type == "pause_request":  # runs no JavaScript
                    inbox.remove(frame)
                    self.serve(frame)
            seen = len(inbox)
            return None

        return self._context.turns.block(self._channel.fileno(), look)

    def finish(
        self,
        cell: CellRequest[Frame],
        done: ExecutionDone,
        result: ResultJson | None,
        reply: dict[str, Any],
    ) -> None:
        """Send the reply, and abort what waits if it failed for that."""
        if cell.environment:
            self._context.lend_environment({})
        content = {**reply, **outcome_content(done, result)}
        if not cell.announce:
            content["idle"] = True
        try:
            self._channel.send("execute_reply", content, cell.id)
        except FrameError as error:
            info = ErrorInfo(type(error).__name__, str(error))
            content = execute_reply_content(done._replace(error=info), {})
            content["idle"] = not cell.announce
            self._channel.send("execute_reply", content, cell.id)
        if cell.announce:
            self._status("idle", cell.id)
        if cell.stops(done):
            self._abort_waiting()

    def _abort_waiting(self) -> None:
        """Abort the cells that were sent up to now; all else still waits."""
        self._channel.fill()
        for queue in (self.waiting, self._channel.inbox):
            for request in list(queue):
                if request.type == "execute_request":
                    queue.remove(request)
                    self.cells.abort(request)

    def answer(self, request: Frame, reply: dict[str, Any]) -> None:
        """Answer a cell that isn't run."""
        parent = request.id or 0
        self._status("busy", parent)
        self._channel.send("execute_reply", reply, parent)
        self._status("idle", parent)

    def log_failure(self, doing: str, error: Exception) -> None:
        """Leave it to the cell's reply: nobody reads this process's stderr."""

    def _status(self, state: str, parent: int) -> None:
        self._channel.send("status", {"execution_state": state}, parent)


def _value_in(frame: Frame) -> str | None:
    value = frame.content.get("value")
    return value if frame.type == "input_reply" and isinstance(value, str) else None
