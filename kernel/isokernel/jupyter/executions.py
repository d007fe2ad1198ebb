"""Cells: one runs, the others wait in order.

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
from typing import TYPE_CHECKING, Any

from isokernel.context.events import ErrorInfo, ExecutionDone
from isokernel.errors import MessageError
from isokernel.jupyter import log
from isokernel.jupyter.wire import timestamp
from isokernel.protocol.messages import (
    aborted_content,
    error_reply_content,
    execute_reply_content,
    expression_content,
)

if TYPE_CHECKING:
    from isokernel.context.context import Context
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.heaps import Heaps
    from isokernel.jupyter.history import History
    from isokernel.jupyter.inbox import Inbox
    from isokernel.jupyter.inputs import Inputs
    from isokernel.jupyter.outputs import Outputs
    from isokernel.jupyter.wire import Message

__all__ = ["Execution", "Executions"]

# `exit` and `quit`, as long as the user has nothing of that name.
_EXIT = re.compile(r"\s*(exit|quit)(?:\(\))?\s*;?\s*")
# `Math.max?` and `Math.max??`, as in IPython; no JavaScript ends with a question mark.
_HELP = re.compile(r"\s*([\w$][\w$.\[\]'\"]*)(\?\??)\s*")
# Seconds for which a cell may be on its way. A sender whose clock is behind has cells
# aborted that it has sent knowingly, so it is no longer than needed.
_ON_ITS_WAY = 1.0


class Execution:
    """What an execute_request asks for.

    Attributes:
        request: The message.
        code: The cell's source.
        silent: Broadcast nothing, store nothing, count nothing.
        store_history: Whether it counts as a cell.
        expressions: Evaluated after the cell: name to expression.
        allow_stdin: The sender can ask its user.
        stop_on_error: Failing aborts what waits.
        payload: What the front shall do after it: show a page, or end.
        count: Its number, the N of `In [N]`, once it has begun.
        started: When it began, ISO 8601, empty before.
    """

    __slots__ = (
        "allow_stdin",
        "code",
        "count",
        "expressions",
        "payload",
        "request",
        "silent",
        "started",
        "stop_on_error",
        "store_history",
    )

    def __init__(self, request: Message) -> None:
        """Read a request; what is absent has the protocol's default.

        Raises:
            MessageError: There is no code, or a field has a wrong type.
        """
        content = request.content
        code = content.get("code")
        if not isinstance(code, str):
            message = "execute_request has no code"
            raise MessageError(message)
        expressions = content.get("user_expressions") or {}
        if not isinstance(expressions, dict):
            message = "user_expressions is no object"
            raise MessageError(message)
        self.request = request
        self.code = code
        self.silent = bool(content.get("silent", False))
        self.store_history = (
            bool(content.get("store_history", True)) and not self.silent
        )
        self.expressions: dict[str, Any] = expressions
        self.allow_stdin = bool(content.get("allow_stdin", False))
        self.stop_on_error = bool(content.get("stop_on_error", True))
        self.payload: list[dict[str, Any]] = []
        self.count = 0
        self.started = ""


class Executions:
    """The queue of cells. Everything here happens on the V8 thread.

    Attributes:
        running: The cell that has begun and isn't done. Other threads may read it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it joins the parts
        self,
        context: Context,
        channels: Channels,
        inbox: Inbox,
        outputs: Outputs,
        inputs: Inputs,
        history: History,
        *,
        cells_queued_max: int,
        heaps: Heaps,
    ) -> None:
        """Run cells in `context`; at most `cells_queued_max` wait."""
        self._heaps = heaps
        self._context = context
        self._channels = channels
        self._inbox = inbox
        self._outputs = outputs
        self._inputs = inputs
        self._history = history
        self._queue_max = cells_queued_max
        self._queue: deque[Execution] = deque()
        self._serial = 0
        self._failed = 0.0
        self.running: Execution | None = None

    def add(self, request: Message) -> None:
        """Take in an execute_request and begin it as soon as it is its turn."""
        try:
            execution = Execution(request)
            if len(self._queue) >= self._queue_max:
                message = f"{self._queue_max} cells are waiting already"
                raise MessageError(message)  # noqa: TRY301 - one answer for both
        except MessageError as error:
            self._refuse(request, error)
            return
        if self._sent_before_failure(request):
            self._abort(request)
            return
        self._queue.append(execution)
        self.advance()

    def advance(self) -> None:
        """Go on: end the running cell if it is over, begin those that wait."""
        self._go_on()
        while self.running is None and not self._context.busy and self._queue:
            self._begin(self._queue.popleft())
            self._go_on()

    def _go_on(self) -> None:
        """End what is over; save and restore heaps, which no JavaScript may do."""
        self.settle()
        if self._heaps.save(self._context):
            self.settle()
        if self.running is None:
            self._heaps.restore()

    def use(self, context: Context) -> None:
        """Run cells in another context from now on; none runs."""
        self._context = context

    def settle(self) -> None:
        """Answer the running cell if it is over."""
        execution, done = self.running, self._outputs.done
        if execution is None or done is None:
            return
        self._outputs.done = None
        expressions = self._evaluate(execution) if done.error is None else {}
        waiting: list[Message] = []
        if _stops(execution, done):
            self._failed = time.time()
            waiting = self._waiting()
        self.running = self._inputs.request = None
        self._channels.reply(
            execution.request,
            "execute_reply",
            execute_reply_content(done, expressions, execution.payload),
            {
                "started": execution.started,
                "status": "ok" if done.error is None else "error",
            },
        )
        self._channels.broadcast.end(execution.request.header_frame)
        if execution.store_history:
            self._history.add(
                done.execution_count, execution.code, self._outputs.result
            )
        for request in waiting:
            self._abort(request)

    def _begin(self, execution: Execution) -> None:
        header = execution.request.header_frame
        self._serial += 1
        self._outputs.expect(self._serial, header, silent=execution.silent)
        self._inputs.request = execution.request if execution.allow_stdin else None
        execution.started = timestamp()
        self.running = execution
        broadcast = self._channels.broadcast
        broadcast.begin(header)
        execution.count = self._context.execution_count + execution.store_history
        if not execution.silent:
            content = {"code": execution.code, "execution_count": execution.count}
            broadcast.send("execute_input", content, header)
        try:
            self._context.begin(
                self._understood(execution),
                execution_id=self._serial,
                silent=execution.silent,
                store_history=execution.store_history,
            )
        except Exception as error:  # noqa: BLE001 - the cell must get its reply
            log.failure("beginning a cell", error)
            info = ErrorInfo(type(error).__name__, str(error), (str(error),))
            self._outputs.done = ExecutionDone(self._serial, execution.count, info)

    def _understood(self, execution: Execution) -> str:
        """Answer what is no JavaScript, `name?` and `exit`; what is left to run."""
        leaving = _EXIT.fullmatch(execution.code)
        if leaving and not self._context.inspect(leaving[1], len(leaving[1])):
            execution.payload = [{"source": "ask_exit", "keepkernel": False}]
            return ""
        question = _HELP.fullmatch(execution.code)
        if question is None:
            return execution.code
        name, detail = question[1], len(question[2]) - 1
        page = self._context.inspect(name, len(name), detail)
        if page is None:
            return f"console.log({json.dumps(f'{name} is not known.')})"
        execution.payload = [{"source": "page", "data": page, "start": 0}]
        return ""

    def _evaluate(self, execution: Execution) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = {}
        for name, expression in execution.expressions.items():
            try:
                value = self._context.evaluate(str(expression))
            except Exception as error:  # noqa: BLE001 - the cell must get its reply
                log.failure("evaluating a user expression", error)
                value = ErrorInfo(type(error).__name__, str(error))
            values[name] = expression_content(value)
        return values

    def _waiting(self) -> list[Message]:
        """Take out every cell that has been sent up to now."""
        queued = [execution.request for execution in self._queue]
        self._queue.clear()
        self._inbox.fill()
        return queued + self._inbox.take("execute_request")

    def _sent_before_failure(self, request: Message) -> bool:
        """Tell whether a cell that arrives now was sent before the last failure."""
        if time.time() - self._failed > _ON_ITS_WAY:
            return False
        sent = request.sent
        return sent is not None and sent < self._failed

    def _abort(self, request: Message) -> None:
        content = aborted_content()
        with self._channels.broadcast.serving(request.header_frame):
            metadata = {"status": "aborted"}
            self._channels.reply(request, "execute_reply", content, metadata)

    def _refuse(self, request: Message, error: MessageError) -> None:
        content = error_reply_content(type(error).__name__, str(error))
        content["execution_count"] = self._context.execution_count
        with self._channels.broadcast.serving(request.header_frame):
            self._channels.reply(request, "execute_reply", content)


def _stops(execution: Execution, done: ExecutionDone) -> bool:
    failed = done.error is not None
    return failed and execution.stop_on_error and not execution.silent
