"""The calls of tools that a task's code makes, from its context and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from isoserver.errors import ApprovalDeniedError, ToolError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.messages import Message
    from isoserver.settings.server import ServerSettings
    from isoserver.tools.calls import Asker, Call

__all__ = ["ToolCalls", "Toolbox"]

_UNREAD: Final = "the results of other calls must be taken in first: await them"
_DEFECT: Final = "the server failed to make the call; its log says why"


class Toolbox(Protocol):
    """The tools of all workspaces: `isoserver.tools.service.Tools`."""

    async def call(
        self, call: Call, *, asker: Asker | None, waiting: Callable[[bool], None]
    ) -> Any:
        """Make a call.

        Args:
            call: What is called, with what, and for whom.
            asker: Asks the client, if an approval is needed and the client can.
            waiting: Told when the wait for an approval begins, and when it ends.

        Returns:
            Plain data.

        Raises:
            ToolError: It failed, in one of the ways that the code is told.
        """

    async def describe(self, workspace: str) -> str:
        """Return the TypeScript declarations of what a workspace's code can call."""

    async def end_task(self, workspace: str, task_id: str) -> None:
        """Withdraw what a task waits for, because it is over."""


class ToolCalls:
    """The calls of one task, while its code runs.

    Attributes:
        denied: Whether any of them was denied.
        waiting: How many wait for an approval.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - both sides of a call
        self,
        toolbox: Toolbox,
        common: Call,
        asker: Asker | None,
        log: FilteringBoundLogger,
        settings: ServerSettings,
        on_waiting: Callable[[bool], None],
    ) -> None:
        """Connect both sides; `attach` begins to serve.

        Args:
            toolbox: Makes the calls.
            common: A call with everything that all of them have in common.
            asker: Asks the client.
            log: Told of defects.
            settings: The limits of calls.
            on_waiting: Called with True when the first call begins to wait for an
                approval, with False when none waits any more.
        """
        self._toolbox = toolbox
        self._common = common
        self._asker = asker
        self._log = log
        self._result_max = settings.tool_response_bytes_max
        self._calls_max = settings.task_calls_unfinished_max
        self._unread_max = settings.task_unread_bytes_max
        self._on_waiting = on_waiting
        self._calls: set[asyncio.Task[None]] = set()
        self._context: Context | None = None
        self._execution: Execution | None = None
        self.denied = False
        self.waiting = 0

    def attach(self, context: Context, execution: Execution) -> None:
        """Serve the calls of an execution."""
        self._context = context
        self._execution = execution
        execution.listeners.append(self._take)

    async def close(self) -> int:
        """Cancel the calls that aren't answered; return how many that was."""
        self._context = self._execution = None
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)
        return len(calls)

    def _take(self, message: Message) -> None:
        if message.kind != "tool_call" or self._context is None:
            return
        content = message.content
        typed = isinstance(content.get("call_id"), int) and all(
            isinstance(content.get(name), str) for name in ("path", "input")
        )
        if not typed or len(self._calls) >= self._calls_max:
            # It counts them itself, so its code has taken it over.
            self._log.warning("a context broke the rules", task=self._common.task_id)
            context, self._context = self._context, None
            context.process.kill()
            return
        call = asyncio.ensure_future(self._serve(message.content))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, content: dict[str, Any]) -> None:
        try:
            answer, text = "value", await self._make(content)
        except ApprovalDeniedError as error:
            self.denied = True
            answer, text = "denied", self._failure(error)
        except ToolError as error:
            answer, text = "error", self._failure(error)
        except Exception:  # noqa: BLE001 - the code must get an answer
            self._log.exception("a tool call failed", task=self._common.task_id)
            defect = ToolFailedError(_DEFECT, code="internal_error")
            answer, text = "error", self._failure(defect)
        context = self._context
        if context is None:
            return
        if context.process.unsent_bytes + len(text) > self._unread_max:
            unread = ToolFailedError(_UNREAD, code="results_unread", retryable=True)
            text = self._failure(unread)
            answer = "error"
        if context.process.unsent_bytes > 2 * self._unread_max:
            context.process.kill()
        else:
            number = content.get("call_id", 0)
            reply = {"call_id": number, "answer": answer, "content": text}
            context.process.tell("tool_result", reply)

    async def _make(self, content: dict[str, Any]) -> str:
        call = self._common._replace(
            call_id=f"{self._common.task_id}.{content['call_id']}",
            path=content["path"],
            input=_read(content["input"]),
        )
        value = await self._toolbox.call(
            call, asker=self._asker, waiting=self._wait_for_approval
        )
        data = msgspec.json.encode(value)
        if len(data) > self._result_max:
            message = (
                f"{call.path}: the result has {len(data)} bytes, "
                f"{self._result_max} are allowed (tool_response_bytes_max)"
            )
            raise ToolFailedError(message, code="result_too_large")
        return data.decode()

    def _failure(self, error: ToolError) -> str:
        data = error.as_data()
        packed = msgspec.json.encode(data)
        if len(packed) > self._result_max:
            packed = msgspec.json.encode({**data, "details": None})
        return packed.decode()

    def _wait_for_approval(self, begins: bool) -> None:  # noqa: FBT001 - as agreed
        before, self.waiting = self.waiting, self.waiting + (1 if begins else -1)
        if (before == 0) == (self.waiting == 0) or self._context is None:
            return
        if self._execution is not None:
            self._context.pause(self._execution, paused=begins)
        self._on_waiting(begins)


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        message = "the input is no JSON, or too deep"
        raise ToolFailedError(message, code="invalid_input") from None
