"""The end of an execution: its value is shown, its timers may go on, it is over."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from isokernel.context.events import (
    ErrorInfo,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    ResultJson,
)
from isokernel.v8.isolate import Thrown
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from isokernel.context.bridge import Bridge
    from isokernel.context.execution import Execution
    from isokernel.context.hosting import ContextHost
    from isokernel.context.turns import Turns
    from isokernel.v8.isolate import Isolate

FULFILLED, REJECTED = 1, 2
_RESULT: Final = ".repl_result"


class ContextResults(ABC):
    """The part of a context that ends executions. On the V8 thread."""

    bridge: Bridge
    turns: Turns
    _host: ContextHost
    _isolate: Isolate
    _execution: Execution | None
    _due_turn: int

    @abstractmethod
    def _flush(self) -> None:
        """Hand out what was printed."""

    @abstractmethod
    def _describe(self, value: Value) -> ErrorInfo:
        """What was thrown, as an error to show."""

    @abstractmethod
    def _take_tools(self, execution: Execution) -> None:
        """It is over: the global `tools` goes."""

    def _flush_turn(self) -> None:
        """Flush, unless no JavaScript has run since the last time."""
        if self._due_turn != self.turns.count:
            self._flush()

    def _claim_result(self) -> None:
        """A promise that is the value is awaited, so its rejection is handled."""
        execution = self._execution
        if execution is None or execution.promise is None or execution.presenting:
            return
        if not execution.options.result_json:
            return
        state, result = self._isolate.promise(execution.promise)
        if state == FULFILLED:
            value = self._isolate.get_value(result, _RESULT)
            if self._isolate.library.IsPromise(value.slot):
                self._isolate.mark_handled(value)

    def _fulfilled(self, execution: Execution, result: Value) -> None:
        """The promise of the execution has come true: its own, or its result's text."""
        if execution.presenting:
            self._finish(execution, self._isolate.to_text(result))
            return
        execution.presenting = True
        if execution.silent and not execution.options.result_json:
            self._finish(execution, "")
            return
        shown = self._present(execution, result)
        if isinstance(shown, str):
            self._finish(execution, shown)
        elif isinstance(shown, Thrown):
            if shown.value is not None:
                self._fail(self._describe(shown.value))
        elif isinstance(shown, Value):  # the text comes later
            execution.promise = shown
            self._isolate.mark_handled(shown)

    def _present(self, execution: Execution, end: Value) -> Any:
        shown: Any = None  # it was stopped
        owner = self._host.own(execution.id)
        with self.turns.turn(execution.deadline):
            kept = (owner, execution.count, execution.store)
            if execution.options.result_json:
                silent = execution.silent
                shown = self.bridge.try_call("conclude", end, *kept, silent)
            else:
                shown = self.bridge.try_call("present", end, *kept)
            self._isolate.run_microtasks()
        return shown

    def _bury(self) -> None:
        """Tell FinalizationRegistries what was collected; inside of a turn."""
        isolate = self._isolate
        while isolate.cleanups.pending and not self.turns.stopped:
            for thrown in isolate.cleanups.run():
                self.bridge.call("report", thrown, "error")
            isolate.run_microtasks()

    def _finish(self, execution: Execution, shown: str) -> None:
        self._flush()
        if execution.options.result_json:
            shown = self._tell_json(execution, shown)
        if shown:
            bundle = json.loads(shown)
            self._host.sink(
                ExecuteResult(
                    execution.id, execution.count, bundle["data"], bundle["metadata"]
                )
            )
        execution.promise = None
        execution.done = ExecutionDone(execution.id, execution.count, None)
        self._end(execution, execution.done)

    def _tell_json(self, execution: Execution, concluded: str) -> str:
        """Hand out the value as JSON; what is to be shown of it."""
        shown, text, cut = json.loads(concluded)
        if text is not None:
            self._host.sink(ResultJson(execution.id, text, cut))
        return str(shown)

    def _end(self, execution: Execution, done: ExecutionDone) -> None:
        """It is over, unless it waits for timers and there are any."""
        if execution.options.drain and self.bridge.call("nextTimer") >= 0:
            return
        self._flush_turn()
        self._execution = None
        self._take_tools(execution)
        self._host.sink(done)

    def _fail(
        self, error: ErrorInfo, *, denied: bool = False, stopped: bool = False
    ) -> None:
        execution = self._execution
        if execution is None:
            return
        self._flush()
        self._execution = None
        self._take_tools(execution)
        self._host.sink(ExecutionError(execution.id, error))
        done = (execution.id, execution.count, error, denied, stopped)
        self._host.sink(ExecutionDone(*done))
