"""Cells: one runs at a time; and their output on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel.context.events import (
    CommEvent,
    ErrorInfo,
    ExecutionDone,
    ResultJson,
    ToolCall,
)
from isokernel.context.execution import ExecutionOptions, ToolLimits
from isokernel.errors import FrameError, MessageError
from isokernel.protocol.messages import (
    aborted_content,
    error_content,
    error_reply_content,
    execute_reply_content,
    expression_content,
    outcome_content,
    publication,
)

if TYPE_CHECKING:
    from isokernel.context.context import Context
    from isokernel.context.events import Event
    from isokernel.protocol.frames import Frame
    from isokernel.settings import Language
    from isokernel.worker.channel import Channel

__all__ = ["Executions"]

_LANGUAGES: Final[dict[object, Language | None]] = {
    None: None,
    "javascript": "javascript",
    "typescript": "typescript",
}
_SILENT_KEPT: Final = 1024
_FLAGS: Final = ("result_json", "levels", "drain", "body")
_CANCELLED: Final = ErrorInfo(
    "KeyboardInterrupt",
    "the execution was interrupted",
    ("KeyboardInterrupt: the execution was interrupted",),
)


class Execution:
    """What an execute_request asks for.

    Attributes:
        id: The request's.
        count: Its number, once it has begun.
        announce: Whether to say that it begins, and with which code; a server that
            nobody watches leaves that out, two messages of five.
    """

    __slots__ = (
        "announce",
        "code",
        "count",
        "deadline",
        "environment",
        "expressions",
        "id",
        "language",
        "options",
        "silent",
        "stop_on_error",
        "store_history",
    )

    def __init__(self, request: Frame) -> None:
        """Read a request; what is absent has the protocol's default.

        Raises:
            MessageError: A field is missing or has a wrong type.
        """
        content = request.content
        self.id = request.id or 0
        self.code: str = _typed(content, "code", str, None)
        self.announce: bool = _typed(content, "announce", bool, True)  # noqa: FBT003
        self.silent: bool = _typed(content, "silent", bool, False)  # noqa: FBT003
        self.store_history: bool = (
            _typed(content, "store_history", bool, True) and not self.silent  # noqa: FBT003
        )
        self.expressions: dict[str, Any] = _typed(content, "user_expressions", dict, {})
        self.environment: dict[str, Any] = _typed(content, "env", dict, {})
        self.stop_on_error: bool = _typed(content, "stop_on_error", bool, False)  # noqa: FBT003
        self.deadline: float | None = (
            _typed(content, "deadline", (int, float), 0) or None
        )
        flags = {name: _typed(content, name, bool, False) for name in _FLAGS}  # noqa: FBT003
        tools = _tools(content.get("tools"))
        self.options = ExecutionOptions(**flags, tools=tools)
        language = content.get("language")
        if language not in _LANGUAGES:
            message = f"a context doesn't speak {language!r}"
            raise MessageError(message)
        self.language = _LANGUAGES[language]
        self.count = 0


def _typed(content: dict[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = content.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        message = f"execute_request has no sensible {name}"
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
        message = "execute_request has no sensible tools"
        raise MessageError(message)
    return ToolLimits(**limits)


class Executions:
    """Runs cells, and is the sink of the context. All on the V8 thread.

    Attributes:
        running: The id of the cell that has begun and isn't done, else 0. Other
            threads may read it.
        ended: The highest id that is over. Other threads may read it.
        cancelled: Ids that must not begin. Other threads may add to it.
    """

    def __init__(self, context: Context, channel: Channel) -> None:
        """Run cells in `context`, answer on `channel`."""
        self._context = context
        self._channel = channel
        self._execution: Execution | None = None
        self._done: ExecutionDone | None = None
        self._result: ResultJson | None = None
        self._silent: dict[int, None] = {}
        self.running = 0
        self.ended = 0
        self.cancelled: set[int] = set()

    # -- the context's events ----------------------------------------------------

    def sink(self, event: Event) -> None:
        """Send one event. Called by the context, in the middle of JavaScript."""
        if isinstance(event, ExecutionDone):
            self._done = event
            return
        if isinstance(event, ResultJson):
            self._result = event
            return
        owner = event.execution_id
        if owner in self._silent and not isinstance(event, (CommEvent, ToolCall)):
            return
        message = publication(event)
        if message is None:
            return
        try:
            self._channel.send(
                message.kind,
                message.content,
                owner,
                message.metadata,
                message.buffers,
            )
        except FrameError as error:
            text = f"an output was left out: {error}\n"
            self._channel.send("stream", {"name": "stderr", "text": text}, owner)

    # -- one cell ----------------------------------------------------------------

    def begin(self, request: Frame) -> None:
        """Begin a cell. Never raises: what is wrong with the request is its answer."""
        try:
            execution = Execution(request)
        except MessageError as error:
            self._refuse(request, error)
        else:
            self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        self.running = execution.id
        self._execution = execution
        self._done = self._result = None
        if execution.silent:
            self._silent[execution.id] = None
            if len(self._silent) > _SILENT_KEPT:
                del self._silent[next(iter(self._silent))]
        context = self._context
        execution.count = context.execution_count + execution.store_history
        if execution.announce:
            self._say_begun(execution)
        if execution.id in self.cancelled:
            execution.count = context.execution_count
            self._fail(_CANCELLED)
            return
        try:
            if execution.environment:
                context.lend_environment(execution.environment)
            context.begin(
                execution.code,
                execution_id=execution.id,
                silent=execution.silent,
                store_history=execution.store_history,
                language=execution.language,
                deadline=execution.deadline,
                options=execution.options,
            )
        except Exception as error:  # noqa: BLE001 -- the cell must get its reply
            self._fail(ErrorInfo(type(error).__name__, str(error), (str(error),)))

    def _say_begun(self, execution: Execution) -> None:
        self._status("busy", execution.id)
        if not execution.silent:
            content = {"code": execution.code, "execution_count": execution.count}
            self._channel.send("execute_input", content, execution.id)

    def _fail(self, error: ErrorInfo) -> None:
        """The cell has not begun: say what the context would have said."""
        execution = self._execution
        assert execution is not None  # noqa: S101 -- by its two callers
        if not execution.silent:
            self._channel.send("error", error_content(error), execution.id)
        self._done = ExecutionDone(execution.id, execution.count, error)

    def settle(self) -> bool:
        """Answer the running cell if it is over.

        Returns:
            Whether it has failed, and what waits must not run.
        """
        execution, done = self._execution, self._done
        if execution is None or done is None:
            return False
        expressions = self._evaluate(execution) if done.error is None else {}
        if execution.environment:
            self._context.lend_environment({})
        self._done = self._execution = None
        self.ended = max(self.ended, execution.id)
        self.running = 0
        self.cancelled.discard(execution.id)
        content = {
            **execute_reply_content(done, expressions),
            **outcome_content(done, self._result),
        }
        try:
            self._channel.send("execute_reply", content, execution.id)
        except FrameError as error:
            self._reply_error(execution, done, error)
        self._status("idle", execution.id)
        return done.error is not None and execution.stop_on_error

    def _reply_error(
        self, execution: Execution, done: ExecutionDone, error: FrameError
    ) -> None:
        info = ErrorInfo(type(error).__name__, str(error))
        failed = ExecutionDone(execution.id, done.execution_count, info)
        content = execute_reply_content(failed, {})
        self._channel.send("execute_reply", content, execution.id)

    def _evaluate(self, execution: Execution) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = {}
        for name, expression in execution.expressions.items():
            try:
                value = self._context.evaluate(str(expression))
            except Exception as error:  # noqa: BLE001 -- the cell must get its reply
                value = ErrorInfo(type(error).__name__, str(error))
            values[str(name)] = expression_content(value)
        return values

    def abort(self, request: Frame) -> None:
        """Answer a cell that never began, as one before it has failed."""
        self._answer(request, aborted_content())

    def _refuse(self, request: Frame, error: MessageError) -> None:
        content = error_reply_content(type(error).__name__, str(error))
        content["execution_count"] = self._context.execution_count
        self._answer(request, content)

    def _answer(self, request: Frame, content: dict[str, Any]) -> None:
        parent = request.id or 0
        self._status("busy", parent)
        self._channel.send("execute_reply", content, parent)
        self._status("idle", parent)

    def _status(self, state: str, parent: int) -> None:
        self._channel.send("status", {"execution_state": state}, parent)
