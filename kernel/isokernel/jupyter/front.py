"""The kernel's front: cells and requests that come on shell, and outputs as messages.

A cell that awaits leaves the V8 thread free, so everything but another cell is served
meanwhile. A cell that fails aborts the cells that were sent up to that moment, and only
those: what is sent afterwards was sent by somebody who may know of the failure. Most of
them have arrived by then; a front that sends many cells one after the other may still
be sending, so the date in the header decides about what comes shortly after.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from isokernel.compiler.completeness import QUESTION
from isokernel.errors import IsokernelError, MessageError
from isokernel.jupyter.process import log_failure, log_warning
from isokernel.jupyter.wire import EMPTY, Message, timestamp
from isokernel.protocol import answers
from isokernel.protocol.cells import CellRequest, CellRunner

if TYPE_CHECKING:
    from isokernel.context import Context
    from isokernel.context.events import (
        CapabilityCall,
        CapabilityDrop,
        ExecutionDone,
        ResultJson,
    )
    from isokernel.jupyter.capabilities import KernelCalls
    from isokernel.jupyter.channels import Channels, ShellQueue, UserInput
    from isokernel.jupyter.heaps import NotebookHeaps
    from isokernel.jupyter.history import History
    from isokernel.protocol.answers import Answers
    from isokernel.protocol.messages import OutgoingMessage

__all__ = ["KernelFront"]

# `exit` and `quit`, as long as the user has nothing of that name.
_EXIT: Final = re.compile(r"\s*(exit|quit)(?:\(\))?\s*;?\s*")
_IN_TRANSIT_SECONDS: Final = 1.0
"""For which a cell may be on its way. A sender whose clock is behind has cells aborted
that it has sent knowingly, so it is no longer than needed."""
_HEADERS_KEPT: Final = 4096


class KernelFront:
    """Implements `protocol.cells.Front` on Jupyter's channels. On the V8 thread.

    Attributes:
        cells: Runs the cells.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it joins the parts
        self,
        channels: Channels,
        shell: ShellQueue,
        user_input: UserInput,
        history: History,
        heaps: NotebookHeaps,
        calls: KernelCalls,
        *,
        information: dict[str, Any],
        cells_queued_max: int,
    ) -> None:
        """Begin with an empty queue.

        Args:
            channels: The kernel's sockets.
            shell: What has arrived on shell.
            user_input: Asks the front end of the running cell.
            history: Gets the cells.
            heaps: Saves and restores the context.
            calls: Answers what the code asks for beyond its context.
            information: The content of kernel_info_reply.
            cells_queued_max: How many cells may wait.
        """
        self._channels = channels
        self._broadcast = channels.broadcast
        self._shell = shell
        self._user_input = user_input
        self._history = history
        self._heaps = heaps
        self._calls = calls
        self._queue_max = cells_queued_max
        self._queue: deque[CellRequest[Message]] = deque()
        self._count = 0
        self._failed_at = 0.0
        self._started = ""
        self._result: str | None = None
        # A cell's output may come long after it: a timer that fires an hour later still
        # prints below the cell that set it.
        self._headers: dict[int, bytes] = {}
        self.cells: CellRunner[Message] = CellRunner(self)
        self._answers: Answers = {
            "kernel_info_request": lambda _context, _request: information,
            "connect_request": self._connect,
            "history_request": lambda _context, request: {
                "status": "ok",
                "history": history.answer(request.content),
            },
        }

    # -- the queue -------------------------------------------------------------------

    def add(self, request: Message) -> None:
        """Queue an execute_request; it begins when it is its turn."""
        self._count += 1
        try:
            cell = CellRequest(
                request, self._count, request.content, stop_on_error=True
            )
            if len(self._queue) >= self._queue_max:
                limit = f"the limit of {self._queue_max} waiting cells is reached"
                message = f"{limit} (cells_queued_max)"
                raise MessageError(message)  # noqa: TRY301 - one answer for both
        except MessageError as error:
            self.cells.refuse(request, error)
            return
        if self._sent_before_failure(request):
            self.cells.abort(request)
            return
        self._queue.append(cell)
        self.advance()

    def advance(self) -> None:
        """Answer the running cell if it is over, and begin those that wait."""
        self._settle()
        while self.cells.running is None and self._queue:
            self.cells.begin(self._queue.popleft())
            self._settle()

    def _settle(self) -> None:
        """Answer the cell that is over; save and restore heaps between turns."""
        self.cells.settle()
        if self._heaps.save(self.cells.context):
            self.cells.settle()
        if self.cells.running is None:
            self._heaps.restore()

    def _take_waiting(self) -> list[Message]:
        """Remove and return every cell that has been sent up to now."""
        queued = [cell.request for cell in self._queue]
        self._queue.clear()
        self._shell.fill()
        return queued + self._shell.take("execute_request")

    def _sent_before_failure(self, request: Message) -> bool:
        """Whether a cell that arrives now was sent before the last failure."""
        if time.time() - self._failed_at > _IN_TRANSIT_SECONDS:
            return False
        sent = request.sent
        return sent is not None and sent < self._failed_at

    # -- all other requests ------------------------------------------------------------

    def serve(self, request: Message) -> None:
        """Answer what isn't a cell, at once, also while a cell awaits."""
        with self._broadcast.serving(request.header_frame):
            try:
                answer = answers.answer(self.cells.context, request, self._answers)
            except Exception as error:  # noqa: BLE001 - the request must get its reply
                self._refuse(request, error)
                return
            if answer is None:
                return
            if answer.type.endswith("_reply"):
                self._channels.reply(request, answer.type, answer.content)
            else:
                header = request.header_frame
                self._broadcast.send(answer.type, answer.content, header)

    def _refuse(self, request: Message, error: Exception) -> None:
        kind = request.type
        if not isinstance(error, IsokernelError):
            log_failure(f"serving {kind}", error)
        if kind.endswith("_request"):
            content = answers.refusal(kind, error)
            self._channels.reply(request, answers.reply_type(kind), content)
        else:
            log_warning(f"dropped a message on shell, {kind!r}: {error}")

    def _connect(self, _context: Context, _request: object) -> dict[str, Any]:
        ports = self._channels.connection.ports.items()
        return {"status": "ok", **{f"{name}_port": port for name, port in ports}}

    # -- for the cell runner ---------------------------------------------------------

    def busy(self, cell: CellRequest[Message]) -> None:
        """Tell the front ends that a cell begins."""
        header = cell.request.header_frame
        self._headers[cell.id] = header
        if len(self._headers) > _HEADERS_KEPT:
            del self._headers[next(iter(self._headers))]
        self._result = None
        self._user_input.request = cell.request if cell.allow_stdin else None
        self._user_input.execution_id = cell.id
        self._started = timestamp()
        self._broadcast.begin(header)

    def prepare(self, cell: CellRequest[Message], context: Context) -> str:
        """Answer `name?` and `exit`, which are no JavaScript; return what is."""
        leaving = _EXIT.fullmatch(cell.code)
        if leaving and not context.queries.inspect(leaving[1], len(leaving[1])):
            cell.payload = [{"source": "ask_exit", "keepkernel": False}]
            return ""
        question = QUESTION.fullmatch(cell.code)
        if question is None:
            return cell.code
        name, detail = question[1], len(question[2]) - 1
        page = context.queries.inspect(name, len(name), detail)
        if page is None:
            return f"console.log({json.dumps(f'{name} is not known.')})"
        cell.payload = [{"source": "page", "data": page, "start": 0}]
        return ""

    def publish(self, message: OutgoingMessage, execution_id: int) -> None:
        """Broadcast an output, as one of the cell that caused it."""
        kind, content, metadata, buffers = message
        if kind == "execute_result":
            text = content["data"].get("text/plain")
            self._result = text if isinstance(text, str) else None
        parent = self._headers.get(execution_id, EMPTY)
        try:
            self._broadcast.send(kind, content, parent, metadata, buffers)
        except Exception as error:  # noqa: BLE001 - else it'd surface in the user's code
            log_failure(f"sending {kind}", error)

    def call(self, call: CapabilityCall) -> None:
        """Begin a call for what is beyond the context."""
        self._calls.call(call)

    def drop(self, drop: CapabilityDrop) -> None:
        """End a call that nobody waits for any more."""
        self._calls.drop(drop)

    def finish(
        self,
        cell: CellRequest[Message],
        done: ExecutionDone,
        _result: ResultJson | None,
        reply: dict[str, Any],
    ) -> None:
        """Send the reply, and abort what waits if the cell failed."""
        waiting: list[Message] = []
        if cell.stops(done):
            # Before the reply: what is sent after it may run.
            self._failed_at = time.time()
            waiting = self._take_waiting()
        self._user_input.request = None
        metadata = {"started": self._started, "status": reply["status"]}
        self._channels.reply(cell.request, "execute_reply", reply, metadata)
        self._broadcast.end(cell.request.header_frame)
        if cell.store_history:
            self._history.add(done.execution_count, cell.code, self._result)
        for request in waiting:
            self.cells.abort(request)

    def answer(self, request: Message, reply: dict[str, Any]) -> None:
        """Answer a cell that isn't run."""
        metadata = {"status": "aborted"} if reply["status"] == "aborted" else None
        with self._broadcast.serving(request.header_frame):
            self._channels.reply(request, "execute_reply", reply, metadata)

    def log_failure(self, doing: str, error: Exception) -> None:
        """Log a defect of ours, which the cell's reply tells of."""
        log_failure(doing, error)
