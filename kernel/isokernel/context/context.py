"""A REPL context: one cell in, a stream of events out. The same for every front.

One thread, the V8 thread, calls everything but `Context.interrupt`. A context never
blocks but while JavaScript runs (or asks for input): a cell that awaits leaves the
thread, and the front calls `step` when `wait_time` is over or `wakeup` is readable.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from isokernel import exit_codes
from isokernel.compiler.cells import (
    compile_body,
    compile_cell,
    compile_function,
    has_return,
    recompile,
)
from isokernel.compiler.completeness import Completeness, completeness
from isokernel.compiler.redeclaration import Cell, Clash
from isokernel.context import tracebacks
from isokernel.context.bridge import Bridge
from isokernel.context.checkpoints import ContextCheckpoints
from isokernel.context.comms import ContextComms
from isokernel.context.events import (
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionError,
    MimeBundle,
    Stream,
)
from isokernel.context.execution import Execution, ExecutionOptions, Stop
from isokernel.context.forks import ContextForks
from isokernel.context.hosting import ContextHost
from isokernel.context.queries import Completions, complete, inspect
from isokernel.context.results import FULFILLED, REJECTED, ContextResults
from isokernel.context.tools import ContextTools
from isokernel.context.turns import Turns
from isokernel.errors import (
    ContextBusyError,
    ContextClosedError,
    TerminatedError,
)
from isokernel.typescript.transpiler import SyntaxProblem
from isokernel.v8.isolate import Thrown

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.compiler.cells import Compiled
    from isokernel.settings import ContextSettings, Language
    from isokernel.v8.snapshot import Snapshot
    from isokernel.v8.values import Value

_NO_OPTIONS: Final = ExecutionOptions()


class Context(
    ContextComms, ContextForks, ContextCheckpoints, ContextTools, ContextResults
):
    """One isolate, one REPL.

    Attributes:
        settings: As given.
        execution_count: Number of the last cell that was counted.
        wakeup: A file descriptor that becomes readable when `step` should be called
            before `wait_time` is over.
    """

    def __init__(  # noqa: PLR0913 -- what a front has to offer
        self,
        settings: ContextSettings,
        sink: Callable[[Event], None],
        *,
        read_input: Callable[[str, bool], str] | None = None,
        on_fatal: Callable[[str], None] | None = None,
        on_stuck: Callable[[], None] | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Make a blank context, or one that goes on from a snapshot.

        Args:
            settings: Its settings.
            sink: Gets every event, on the V8 thread; must not call back.
            read_input: Asks the user (prompt, password); on the V8 thread. May raise
                InputUnavailableError or InputInterruptedError.
            on_fatal: Called with V8's words just before V8 ends the process.
            on_stuck: V8 did not stop within the grace period; called on the
                watchdog's thread. Nothing is left but ending the process.
            snapshot: The heap to start from.

        Raises:
            EngineError: The engine can't be loaded.
        """
        self.settings = settings
        self.execution_count = 0
        self._execution: Execution | None = None
        self._unstored = 0
        self._due = -1.0
        self._due_turn = -1
        self._closed = False
        self._host = ContextHost(sink, read_input)
        self.bridge = Bridge(
            self._host, settings.runtime_options(), snapshot=snapshot, on_fatal=on_fatal
        )
        self._isolate = self.bridge.isolate
        self._resume(self.bridge.saved)
        self._isolate.memory.limit(
            settings.v8_heap_bytes_max, settings.array_buffer_bytes_max
        )
        self.turns = Turns(self._isolate, settings, self._tick, on_stuck or _abort)
        self.wakeup = self.turns.wakeup

    # -- running cells -------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an execution has begun and isn't done."""
        return self._execution is not None

    def begin(  # noqa: PLR0913 -- the fields of an execute request
        self,
        code: str,
        *,
        execution_id: int,
        silent: bool = False,
        store_history: bool = True,
        language: Language | None = None,
        deadline: float | None = None,
        script: str | None = None,
        options: ExecutionOptions = _NO_OPTIONS,
    ) -> None:
        """Run a cell up to its end or to its first await.

        Args:
            code: JavaScript or TypeScript.
            execution_id: The front's name for the execution; owner of its output.
            silent: Show no result, count nothing.
            store_history: Count it, and keep its result in `Out`.
            language: What the code is; the context's language if None.
            deadline: Seconds for this execution instead of the settings'.
            script: What stack traces call it, without spaces; else `cell N`.
            options: What else is wanted of it.

        Raises:
            ContextBusyError: An execution is pending.
            ContextClosedError: The context is closed.
            TranspilerError: The TypeScript compiler itself failed.
        """
        self.check_open()
        if self._execution is not None:
            raise ContextBusyError
        seconds = self.settings.cell_timeout_seconds if deadline is None else deadline
        store = store_history and not silent
        count = self.execution_count
        if store:
            self.execution_count = count = count + 1
        execution = Execution(
            id=execution_id,
            count=count,
            script=script or self._script_name(store=store),
            silent=silent,
            store=store,
            deadline=None if seconds is None else time.monotonic() + seconds,
            seconds=seconds,
            options=options,
        )
        self._execution = execution
        try:
            # Entered once for all of it: the entries inside cost nothing then.
            with self._isolate.held():
                self._announce(execution, code)
                self._give_tools(execution)
                with self.turns.turn(execution.deadline):
                    self._evaluate(execution, code, language or self.settings.language)
                    self._bury()
                self._settle()
        except BaseException:
            self._execution = None  # a defect of ours must not leave it busy
            raise

    def _announce(self, execution: Execution, code: str) -> None:
        """Tell the runtime what begins: what is printed from now on is its output."""
        owner = self._host.own(execution.id)
        if execution.store:
            self.bridge.call("beginCell", owner, execution.count, code)
        else:
            self.bridge.call("setOwner", owner)

    def _script_name(self, *, store: bool) -> str:
        if store:
            return f"cell-{self.execution_count}"
        self._unstored += 1
        return f"query-{self._unstored}"

    def _evaluate(self, execution: Execution, code: str, language: Language) -> None:
        compile_code = compile_body if execution.options.body else compile_cell
        compiled = compile_code(self._isolate, code, language)
        source = tracebacks.CellSource(code)
        self._host.sources.add(execution.script, source)
        if isinstance(compiled, SyntaxProblem):
            self._fail_syntax(execution, compiled)
            return
        if execution.options.levels:
            self.bridge.call("showLevels", self._host.own(execution.id))
        cell = Cell(
            self._isolate,
            execution.script,
            before_run=source.runs,
            message=lambda thrown: str(self._described(thrown)["evalue"]),
            constants=self._host.sources.constants,
        )
        outcome = cell.run(compiled)
        if isinstance(outcome, Thrown) and not outcome.terminated:
            again = self._again(execution, outcome, code)
            if isinstance(again, SyntaxProblem):
                self._fail_syntax(execution, again)
                return
            if again is not None:
                outcome = cell.run(again)
        self._await(execution, outcome)

    def _again(
        self, execution: Execution, thrown: Thrown, code: str
    ) -> Compiled | SyntaxProblem | None:
        """A second chance for what V8 refused."""
        if execution.options.body and has_return(self._described(thrown)["evalue"]):
            return compile_function(self._isolate, code)
        return recompile(self._isolate, code)

    def _fail_syntax(self, execution: Execution, problem: SyntaxProblem) -> None:
        place = (problem.line, problem.column + 1, problem.end_column + 1)
        self._fail(self._syntax_error(execution, problem.message, place))

    def _await(self, execution: Execution, outcome: Value | Thrown | Clash) -> None:
        if isinstance(outcome, Clash):
            error = self._thrown_syntax(execution, outcome.thrown)
            if outcome.hint:
                error = error._replace(traceback=(*error.traceback, outcome.hint))
            self._fail(error)
            return
        if isinstance(outcome, Thrown):
            if not outcome.terminated:
                self._fail(self._thrown_syntax(execution, outcome))
            return
        execution.promise = outcome
        self._isolate.mark_handled(outcome)
        self._isolate.run_microtasks()

    def after_turn(self) -> None:
        """Settle what a turn has changed, hand out what it printed."""
        self._settle()
        self._flush()

    def _settle(self) -> None:
        """Look whether the execution is over, and go on with it as far as it goes."""
        if self.turns.stop is None:
            self._claim_result()
            self._report_rejections()
        while (execution := self._execution) is not None:
            if self.turns.stop is not None:
                self._fail_stopped(execution)
                return
            if execution.done is not None:
                self._end(execution, execution.done)
                self._flush()
                return
            if execution.promise is None:
                return
            state, result = self._isolate.promise(execution.promise)
            if state == REJECTED:
                denied = self._is_denial(execution, result)
                self._fail(self._describe(result), denied=denied)
            elif state == FULFILLED:
                self._fulfilled(execution, result)
            else:
                self._flush()
                return

    def _fail_stopped(self, execution: Execution) -> None:
        stop = self.turns.take_stop()
        with self.turns.turn():  # the heap may still be full, and end this as well
            self.bridge.call("cancelOwner", self._host.own(execution.id))
        self.turns.take_stop()
        if stop is Stop.DEADLINE:
            message = f"the execution took longer than {execution.seconds:g} s"
        elif stop is Stop.MEMORY:
            message = self.turns.memory_message
        else:
            message = "the execution was interrupted"
        name = (stop or Stop.INTERRUPT).value
        error = ErrorInfo(name, message, (tracebacks.heading(name, message),))
        self._fail(error, stopped=True)

    def interrupt(self) -> None:
        """Stop what runs now, a busy loop and a pending await alike; thread-safe.

        Nothing happens when nothing runs. State is kept; the execution fails with
        the error `KeyboardInterrupt`, and its timers are cleared.
        """
        waiting = self._execution is not None
        self.turns.request_stop(Stop.INTERRUPT, waiting=waiting)

    def step(self) -> None:
        """Fire due timers, run microtasks, settle the execution, hand out output."""
        self.check_open()
        self.turns.drain()
        execution = self._execution
        if execution and execution.deadline and time.monotonic() >= execution.deadline:
            self.turns.stop = self.turns.stop or Stop.DEADLINE
        if self.turns.stop is None:
            with self.turns.turn(execution.deadline if execution else None):
                self.bridge.call("runTimers")
                self._isolate.run_microtasks()
                self._bury()
        if execution is None and self.turns.stop is not None:
            self._tell_stopped_timer()
        self.after_turn()

    def _tell_stopped_timer(self) -> None:
        """A timer's callback was stopped while no cell ran."""
        stop = self.turns.take_stop()
        name = (stop or Stop.INTERRUPT).value
        text = f"{name}: a timer's callback was stopped\n"
        owner = self._host.execution(self._isolate.owner())
        self._host.sink(Stream(owner, "stderr", text))

    def wait_time(self) -> float | None:
        """Seconds until `step` has something to do; None if nothing is waiting."""
        if self.turns.stop is not None:
            return 0.0
        self._flush_turn()
        dues = [self._due / 1e3] if self._due >= 0 else []
        execution = self._execution
        if execution is not None and execution.due is not None:
            dues.append(execution.due)
        return max(min(dues) - time.monotonic(), 0.0) if dues else None

    def _tick(self) -> None:
        """Hand out what has waited long enough; called amid running JavaScript."""
        with contextlib.suppress(TerminatedError):
            self.bridge.call("tick")

    def _flush(self) -> None:
        """Hand out what was printed, and learn when the next timer is due."""
        with contextlib.suppress(TerminatedError):  # the rest is flushed at the end
            self._due = self.bridge.call("flush")
            self._due_turn = self.turns.count

    # -- errors ----------------------------------------------------------------------

    def _describe(self, value: Value) -> ErrorInfo:
        with self.turns.turn():
            details = self.bridge.call("describe", value)
            return tracebacks.error_info(details, self._host.sources)
        return ErrorInfo("Error", "the error could not be described")

    def _described(self, thrown: Thrown) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(
            self.bridge.call("describe", thrown.value)
        )
        return described

    def _thrown_syntax(self, execution: Execution, thrown: Thrown) -> ErrorInfo:
        described = self._described(thrown)
        line, column = thrown.line, thrown.column + 1
        width = max(thrown.end_column - thrown.column, 1)
        line, column = self._host.place(execution.script, line, column)
        return self._syntax_error(
            execution,
            described["evalue"],
            (line, column, column + width),
            described["ename"],
        )

    def _syntax_error(
        self,
        execution: Execution,
        message: str,
        place: tuple[int, int, int],
        ename: str = "SyntaxError",
    ) -> ErrorInfo:
        return tracebacks.syntax_error(
            self._host.sources, execution.script, message, place, ename
        )

    def _report_rejections(self) -> None:
        for reason, owner in self._isolate.rejections.take():
            with self.turns.turn():
                self.bridge.call("setOwner", owner)
                self.bridge.call("report", reason, "rejection")

    # -- questions -------------------------------------------------------------------

    def evaluate(
        self, expression: str, *, execution_id: int = 0
    ) -> tuple[MimeBundle, dict[str, Any]] | ErrorInfo:
        """The value of an expression, as `user_expressions` want it; not stored.

        Raises:
            ContextBusyError: An execution is pending.
        """
        events: list[Event] = []
        sink, self._host.sink = self._host.sink, events.append
        try:
            self.begin(expression, execution_id=execution_id, store_history=False)
            if self._execution is not None:
                self._execution = None
                message = "the expression is still waiting for a promise"
                return ErrorInfo("TimeoutError", message, (message,))
        finally:
            self._host.sink = sink
        for event in events:
            if isinstance(event, ExecuteResult):
                return event.data, event.metadata
            if isinstance(event, ExecutionError):
                return event.error
        return {"text/plain": "undefined"}, {}

    def complete(self, code: str, cursor: int) -> Completions:
        """Completions at a cursor, counted in code points; runs none of the code."""
        with self.turns.turn():
            return complete(self.bridge, code, cursor)
        return Completions([], cursor, cursor, [])

    def inspect(self, code: str, cursor: int, detail: int = 0) -> MimeBundle | None:
        """What is known of the name under the cursor; None if nothing."""
        with self.turns.turn():
            return inspect(self.bridge, code, cursor, detail)
        return None

    def is_complete(
        self, code: str, language: Language | None = None
    ) -> tuple[Completeness, str]:
        """Whether a console should run the text, and the next line's indent."""
        return completeness(self._isolate, code, language or self.settings.language)

    def names(self) -> list[str]:
        """Names that cells have declared, or put on the global object."""
        on_global: list[str] = json.loads(self.bridge.call("globalNames"))
        return sorted({*self._isolate.lexical_names(), *on_global})

    # -- the end -----------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ContextClosedError if the context is closed."""
        if self._closed:
            raise ContextClosedError

    def close(self) -> None:
        """Free everything; safe to call twice. No event comes afterwards."""
        if self._closed:
            return
        self._closed = True
        self._execution = None
        self.turns.close()
        self.bridge.close()


def _abort() -> None:
    """The last resort of a front that has none of its own."""
    os.write(2, b"isokernel: JavaScript can't be stopped; the process ends\n")
    os._exit(exit_codes.UNSTOPPABLE)
