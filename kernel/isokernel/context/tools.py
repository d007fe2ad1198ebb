"""Tools in a context: the calls of an execution, their answers, and pauses for people.

An execution that is given tools has the global `tools` while it runs. Each call is an
event (`ToolCall`); the front answers it with `settle_tool`, in any order. While
somebody has to be asked, the front pauses the execution: its deadline then counts only
the time in which JavaScript runs.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from isokernel.context.bridge import Bridge
    from isokernel.context.execution import Execution
    from isokernel.context.hosting import ContextHost
    from isokernel.context.turns import Turns
    from isokernel.v8.values import Value

__all__ = ["Answer", "ContextTools"]

Answer: TypeAlias = Literal["value", "error", "denied"]


class ContextTools(ABC):
    """The part of a context that tool calls go through. On the V8 thread.

    Attributes:
        bridge: The runtime.
        turns: Who runs when.
    """

    bridge: Bridge
    turns: Turns
    _execution: Execution | None
    _host: ContextHost

    @abstractmethod
    def check_open(self) -> None:
        """Raise ContextClosedError if the context is closed."""

    @abstractmethod
    def after_turn(self) -> None:
        """Settle what a turn has changed, hand out what it printed."""

    def _give_tools(self, execution: Execution) -> None:
        """The execution begins."""
        limits = execution.options.tools
        if limits is not None:
            options = {"callsMax": limits.calls_max, "inputMax": limits.input_max}
            owner = self._host.own(execution.id)
            self.bridge.call("beginTools", owner, json.dumps(options))

    def _take_tools(self, execution: Execution) -> None:
        """The execution is over."""
        if execution.options.tools is not None:
            self.bridge.call("endTools", self._host.own(execution.id))

    def _is_denial(self, execution: Execution, reason: Value) -> bool:
        """Whether that is the error of a call that the execution was denied.

        It is the same object or it isn't; what it looks like doesn't matter, as code
        can make anything look like it.
        """
        if execution.options.tools is None:
            return False
        owner = self._host.own(execution.id)
        denial: bool = self.bridge.call("isDenial", reason, owner)
        return denial

    def settle_tool(self, call_id: int, answer: Answer, text: str) -> None:
        """Answer a call; nothing happens when nobody waits for it any more.

        Args:
            call_id: See `ToolCall`.
            answer: What comes.
            text: The value as JSON, nothing for undefined; or the error's fields as a
                JSON object: message, code, status, details, retryable, reason.
        """
        self.check_open()
        execution = self._execution
        with self.turns.turn(execution.deadline if execution else None):
            self.bridge.call("settleTool", call_id, answer, text)
            self.bridge.isolate.run_microtasks()
        self.after_turn()

    def pause(self, execution_id: int, *, paused: bool) -> None:
        """Begin or end a pause of the running execution; none of another one."""
        execution = self._execution
        if execution is not None and execution.id == execution_id:
            execution.pause(lambda: self.turns.ran, paused=paused)
