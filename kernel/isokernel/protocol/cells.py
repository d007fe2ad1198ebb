"""The cell runner that every front uses: one cell runs, its outputs go to the front.

A front is what drives a context: the Jupyter kernel or the worker. It takes requests
from its sockets, decides which cell is next, and sends what the runner has for it;
`Front` says what the runner expects.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from isokernel.context.cell_run import ExecutionOptions, ToolLimits
from isokernel.context.events import (
    CapabilityCall,
    CapabilityDrop,
    CommEvent,
    ErrorInfo,
    ExecutionDone,
    ExecutionError,
    ResultJson,
    ToolCall,
)
from isokernel.errors import MessageError
from isokernel.protocol.messages import (
    OutgoingMessage,
    error_reply_content,
    event_message,
    execute_reply_content,
    expression_content,
)
from isokernel.settings import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isokernel.context import Context
    from isokernel.context.events import Event
    from isokernel.settings import Language

__all__ = ["CellRequest", "CellRunner", "Front"]

Request = TypeVar("Request")
"""The type of a front's execute_request."""

_FLAGS: Final = ("result_json", "levels", "drain", "body")
_BOUNDS: Final = ("result_max", "whole_max", "heap_bytes_max")
_SILENT_KEPT: Final = 4096
"""Silent executions whose late output is still dropped."""
_BEGIN_SECONDS: Final = 0.1
_BEGIN_STEP_SECONDS: Final = 0.001
_CANCELLED: Final = ErrorInfo(
    "KeyboardInterrupt",
    "the execution was interrupted",
    ("KeyboardInterrupt: the execution was interrupted",),
)


class CellRequest(Generic[Request]):
    """What an execute_request asks for.

    Attributes:
        request: The message.
        id: The execution's.
        code: The cell's source.
        silent: Publish nothing, store nothing, count nothing.
        store_history: Whether it counts as a cell.
        expressions: Evaluated after the cell: name to expression.
        stop_on_error: Failing aborts what waits.
        allow_stdin: The sender can ask its user.
        announce: Whether to publish that it begins, and its code; a server says that
            itself, and takes the reply for the end: two messages in place of five.
        language: What the code is; None for the context's language.
        deadline: Seconds that it may take; None for the context's setting.
        environment: Shown in `process.env` while it runs.
        options: What else is asked of the context.
        count: Its number, the N of `In [N]`, once it has begun.
        payload: What the front end is to do afterwards: show a page, or end.
    """

    def __init__(
        self,
        request: Request,
        execution_id: int,
        content: Mapping[str, Any],
        *,
        stop_on_error: bool,
    ) -> None:
        """Read Jupyter's fields; what is absent has a default.

        Args:
            request: The message.
            execution_id: The execution's id in the context.
            content: The message's content, which may be anything.
            stop_on_error: The default of that field.

        Raises:
            MessageError: There is no code, or a field has a wrong type.
        """
        self.request = request
        self.id = execution_id
        self.code: str = _typed(content, "code", str, None)
        self.silent = _flag(content, "silent", default=False)
        self.store_history = not self.silent and _flag(
            content, "store_history", default=True
        )
        self.expressions: dict[str, Any] = _typed(content, "user_expressions", dict, {})
        self.stop_on_error = _flag(content, "stop_on_error", default=stop_on_error)
        self.allow_stdin = _flag(content, "allow_stdin", default=False)
        self.announce = True
        self.language: Language | None = None
        self.deadline: float | None = None
        self.environment: dict[str, Any] = {}
        self.options = ExecutionOptions()
        self.count = 0
        self.payload: list[dict[str, Any]] = []

    def read_extensions(self, content: Mapping[str, Any]) -> None:
        """Read the fields that only our own server sends.

        Raises:
            MessageError: A field has a wrong type.
        """
        self.announce = _flag(content, "announce", default=True)
        self.deadline = _typed(content, "deadline", (int, float), 0) or None
        self.environment = _typed(content, "env", dict, {})
        asked: dict[str, Any] = {
            name: bool(content[name]) for name in _FLAGS if content.get(name)
        }
        for name in _BOUNDS:
            if content.get(name) is not None:
                asked[name] = _typed(content, name, int, 0)
        tools = _tools(content.get("tools"))
        self.options = ExecutionOptions(**asked, tools=tools)
        language = content.get("language")
        if language is not None:
            if not isinstance(language, str) or language not in LANGUAGES:
                message = f"a context doesn't speak {language!r}"
                raise MessageError(message)
            self.language = LANGUAGES[language]

    def stops(self, done: ExecutionDone) -> bool:
        """Whether the cells that wait must not run, as this one has failed."""
        return done.error is not None and self.stop_on_error and not self.silent


def _flag(content: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = content.get(name)
    return default if value is None else bool(value)


def _typed(content: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = content.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        message = f"execute_request has no valid {name}"
        raise MessageError(message)
    return value


def _tools(value: Any) -> ToolLimits | None:
    """Read what tools are asked for: true, or limits by name."""
    if not value:
        return None
    limits = {} if value is True else value
    if (
        not isinstance(limits, dict)
        or not limits.keys() <= set(ToolLimits._fields)
        or not all(type(limit) is int for limit in limits.values())
    ):
        message = "execute_request has no valid tools"
        raise MessageError(message)
    return ToolLimits(**limits)


class Front(Protocol[Request]):
    """What a `CellRunner` calls, on the V8 thread. The kernel and the worker have one.

    For each cell the runner calls `busy` if the cell is announced, then `prepare`;
    `publish` while it runs, and long afterwards for its timers; and `finish` once.
    `answer` is for requests that are not run.
    """

    def busy(self, cell: CellRequest[Request]) -> None:
        """Tell the front ends that a cell begins."""

    def prepare(self, cell: CellRequest[Request], context: Context) -> str:
        """Prepare for a cell, and return the code to run for it."""

    def publish(self, message: OutgoingMessage, execution_id: int) -> None:
        """Send an output, amid running JavaScript; must not raise."""

    def call(self, call: CapabilityCall) -> None:
        """Take a call for what is beyond the context; `settle_call` answers it.

        Amid running JavaScript; may raise FrameError. Never called if the front has
        made its contexts sealed.
        """

    def drop(self, drop: CapabilityDrop) -> None:
        """End a call that nobody waits for any more; it is settled all the same."""

    def finish(
        self,
        cell: CellRequest[Request],
        done: ExecutionDone,
        result: ResultJson | None,
        reply: dict[str, Any],
    ) -> None:
        """Send the content of the execute_reply, and say that the front is idle.

        If `cell.stops(done)`, the cells that have arrived by now are aborted.
        """

    def answer(self, request: Request, reply: dict[str, Any]) -> None:
        """Answer an execute_request that isn't run."""

    def log_failure(self, doing: str, error: Exception) -> None:
        """Log a defect of ours, which the cell's reply tells of."""


class CellRunner(Generic[Request]):
    """Runs the cells of a front, one at a time; the sink of its context's events.

    Everything but `interrupt` is for the V8 thread.

    Attributes:
        context: Runs the cells. The front sets it, and may replace it while no cell
            runs.
        running: The cell that has begun and isn't over. Other threads may read it.
    """

    context: Context

    def __init__(self, front: Front[Request]) -> None:
        """Run cells for a front, which sets `context` before the first."""
        self._front = front
        self._done: ExecutionDone | None = None
        self._result: ResultJson | None = None
        self._silent: dict[int, None] = {}
        self._ended = 0
        self._cancelled: set[int] = set()
        self.running: CellRequest[Request] | None = None

    def __call__(self, event: Event) -> None:
        """Publish one event. Called by the context, amid running JavaScript."""
        if isinstance(event, ExecutionDone):
            self._done = event
        elif isinstance(event, ResultJson):
            self._result = event
        elif isinstance(event, CapabilityCall):
            self._front.call(event)
        elif isinstance(event, CapabilityDrop):
            self._front.drop(event)
        elif event.execution_id not in self._silent or isinstance(
            # Of a silent one only comm messages are published, as Jupyter has it.
            event,
            (CommEvent, ToolCall),
        ):
            self._front.publish(event_message(event), event.execution_id)

    def begin(self, cell: CellRequest[Request]) -> None:
        """Begin a cell; none runs. Never raises: what goes wrong is its reply."""
        self.running = cell
        self._done = self._result = None
        if cell.silent:
            self._silent[cell.id] = None
            if len(self._silent) > _SILENT_KEPT:
                del self._silent[next(iter(self._silent))]
        context = self.context
        cell.count = context.execution_count + cell.store_history
        if cell.announce:
            self._front.busy(cell)
            if not cell.silent:
                content = {"code": cell.code, "execution_count": cell.count}
                message = OutgoingMessage("execute_input", content)
                self._front.publish(message, cell.id)
        if cell.id in self._cancelled:
            cell.count = context.execution_count
            self._fail(cell, _CANCELLED)
            return
        try:
            context.begin(
                self._front.prepare(cell, context),
                execution_id=cell.id,
                silent=cell.silent,
                store_history=cell.store_history,
                language=cell.language,
                deadline=cell.deadline,
                options=cell.options,
            )
        except Exception as error:  # noqa: BLE001 -- the cell must get its reply
            self._front.log_failure("beginning a cell", error)
            self._fail(cell, ErrorInfo(type(error).__name__, str(error), (str(error),)))

    def _fail(self, cell: CellRequest[Request], error: ErrorInfo) -> None:
        """Report what the context would have, of a cell that hasn't begun there."""
        self(ExecutionError(cell.id, error))
        self(ExecutionDone(cell.id, cell.count, error))

    def settle(self) -> None:
        """Answer the running cell if it is over."""
        cell, done = self.running, self._done
        if cell is None or done is None:
            return
        expressions = self._evaluate(cell) if done.error is None else {}
        reply = execute_reply_content(done, expressions, cell.payload)
        self._ended = max(self._ended, cell.id)
        self._done = self.running = None
        self._cancelled.discard(cell.id)
        self._front.finish(cell, done, self._result, reply)

    def _evaluate(self, cell: CellRequest[Request]) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = {}
        for name, expression in cell.expressions.items():
            try:
                value = self.context.evaluate(str(expression))
            except Exception as error:  # noqa: BLE001 -- the cell must get its reply
                self._front.log_failure("evaluating a user expression", error)
                value = ErrorInfo(type(error).__name__, str(error))
            values[str(name)] = expression_content(value)
        return values

    def abort(self, request: Request) -> None:
        """Answer a cell that isn't run, as one before it has failed.

        Nothing but its status: front ends show a count as if the cell had run.
        """
        self._front.answer(request, {"status": "aborted"})

    def refuse(self, request: Request, error: MessageError) -> None:
        """Answer a request that can't be read or taken."""
        content = error_reply_content(type(error).__name__, str(error))
        content["execution_count"] = self.context.execution_count
        self._front.answer(request, content)

    def interrupt(self, execution_id: int | None = None) -> None:
        """Stop an execution, begun or not; by default whatever runs. Any thread."""
        if execution_id is not None and execution_id > self._ended:
            self._cancelled.add(execution_id)
        running = self.running
        if execution_id is not None and (running is None or running.id != execution_id):
            return
        # The cell may have been announced and not begun: then the context knows nothing
        # yet that could be interrupted.
        end = time.monotonic() + _BEGIN_SECONDS
        while (
            running is not None
            and running is self.running
            and not self.context.busy
            and time.monotonic() < end
        ):
            time.sleep(_BEGIN_STEP_SECONDS)
        self.context.interrupt()
