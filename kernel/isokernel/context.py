"""A REPL context: one cell in, a stream of events out. The same for every front.

One thread, the V8 thread, calls everything but `Context.interrupt`. A context never
blocks but while JavaScript runs (or asks for input): a cell that awaits leaves the
thread, and the front calls `step` when `wait_time` is over or `wakeup` is readable.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from isokernel import tracebacks
from isokernel.bridge import Bridge
from isokernel.compiler import Completeness, compile_cell, completeness, recompile
from isokernel.errors import (
    ContextBusyError,
    ContextClosedError,
    InputUnavailableError,
    TerminatedError,
)
from isokernel.events import (
    ClearOutput,
    CommEvent,
    DisplayData,
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    MimeBundle,
    Stream,
)
from isokernel.execution import Execution, Stop
from isokernel.queries import Completions, complete, inspect
from isokernel.settings import ContextSettings, Language
from isokernel.typescript.transpiler import SyntaxProblem, transpiler
from isokernel.v8.isolate import Thrown
from isokernel.v8.values import Value
from isokernel.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.v8.snapshot import Snapshot

_RESULT: Final = ".repl_result"
_FULFILLED, _REJECTED = 1, 2
_STREAMS: Final = {"stdout": "stdout", "stderr": "stderr"}


class Context:
    """One isolate, one REPL.

    Attributes:
        settings: As given.
        execution_count: Number of the last cell that was counted.
        wakeup: A file descriptor that becomes readable when `step` should be called
            before `wait_time` is over.
    """

    def __init__(
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
        self._sink = sink
        self._read_input = read_input
        self._sources = tracebacks.Sources()
        self._execution: Execution | None = None
        self._unstored = 0
        self._lock = threading.Lock()
        self._running = False  # JavaScript is on the stack
        self._stop: Stop | None = None
        self._closed = False
        self.wakeup, self._waker = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._waker, False)
        self._bridge = Bridge(
            self, settings.runtime_options(), snapshot=snapshot, on_fatal=on_fatal
        )
        self._isolate = self._bridge.isolate
        self._isolate.memory.limit(settings.heap_memory_max, settings.array_buffer_max)
        self._watchdog = Watchdog(
            tick=lambda: self._isolate.request(self._flush),
            expire=lambda: self._stop_running(Stop.DEADLINE),
            stuck=on_stuck or _abort,
        )

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
    ) -> None:
        """Run a cell up to its end or to its first await.

        Args:
            code: JavaScript or TypeScript.
            execution_id: The front's name for the execution; owner of its output.
            silent: Show no result, count nothing.
            store_history: Count it, and keep its result in `Out`.
            language: What the code is; the context's language if None.
            deadline: Seconds for this execution instead of the settings'.

        Raises:
            ContextBusyError: An execution is pending.
            ContextClosedError: The context is closed.
            TranspilerError: The TypeScript compiler itself failed.
        """
        self._check_open()
        if self._execution is not None:
            raise ContextBusyError
        seconds = self.settings.execution_deadline if deadline is None else deadline
        store = store_history and not silent
        execution = Execution(
            id=execution_id,
            count=self._next_count(code, store=store),
            script=self._script_name(store=store),
            silent=silent,
            store=store,
            deadline=None if seconds is None else time.monotonic() + seconds,
            seconds=seconds,
        )
        self._execution = execution
        with self._turn(execution.deadline):
            self._evaluate(execution, code, language or self.settings.language)
        self._settle()

    def _next_count(self, code: str, *, store: bool) -> int:
        if not store:
            return self.execution_count
        self.execution_count += 1
        self._bridge.call("recordInput", self.execution_count, code)
        return self.execution_count

    def _script_name(self, *, store: bool) -> str:
        if store:
            return f"cell-{self.execution_count}"
        self._unstored += 1
        return f"query-{self._unstored}"

    def _evaluate(self, execution: Execution, code: str, language: Language) -> None:
        compiled = compile_cell(self._isolate, code, language)
        source = tracebacks.CellSource(code)
        self._sources.add(execution.script, source)
        if isinstance(compiled, SyntaxProblem):
            place = (compiled.line, compiled.column + 1, compiled.end_column + 1)
            self._fail(self._syntax_error(execution, compiled.message, place))
            return
        source.source_map = compiled.source_map
        source.first_line_shift = compiled.first_line_shift
        self._bridge.call("setOwner", execution.id)
        outcome = self._isolate.evaluate(compiled.code, execution.script)
        if isinstance(outcome, Thrown) and not outcome.terminated:
            again = None
            if language == "javascript":
                again = recompile(self._isolate, code)
            if again is None:
                self._fail(self._thrown_syntax(execution, outcome))
                return
            source.source_map = again.source_map
            source.first_line_shift = again.first_line_shift
            outcome = self._isolate.evaluate(again.code, execution.script)
        self._await(execution, outcome)

    def _await(self, execution: Execution, outcome: Value | Thrown) -> None:
        if isinstance(outcome, Thrown):
            if not outcome.terminated:
                self._fail(self._thrown_syntax(execution, outcome))
            return
        execution.promise = outcome
        self._isolate.mark_handled(outcome)
        self._isolate.run_microtasks()

    def _settle(self) -> None:
        """Look whether the execution is over, and go on with it as far as it goes."""
        self._report_rejections()
        while (execution := self._execution) is not None:
            if self._stop is not None:
                self._fail_stopped(execution)
                return
            if execution.promise is None:
                return
            state, result = self._isolate.promise(execution.promise)
            if state == _REJECTED:
                self._fail(self._describe(result))
            elif state == _FULFILLED:
                self._fulfilled(execution, result)
            else:
                self._flush()
                return

    def _fulfilled(self, execution: Execution, result: Value) -> None:
        if execution.presenting:
            self._finish(execution, self._isolate.to_text(result))
            return
        execution.presenting = True
        if execution.silent:
            self._finish(execution, "")
            return
        value = self._isolate.get(result, _RESULT)
        with self._turn(execution.deadline):
            self._bridge.call("setOwner", execution.id)
            shown = self._bridge.try_call(
                "present", value, execution.count, execution.store
            )
            self._isolate.run_microtasks()
        if isinstance(shown, str):
            self._finish(execution, shown)
        elif isinstance(shown, Thrown):
            if shown.value is not None:
                self._fail(self._describe(shown.value))
        elif isinstance(shown, Value):  # the text comes later
            execution.promise = shown
            self._isolate.mark_handled(shown)

    def _finish(self, execution: Execution, shown: str) -> None:
        self._flush()
        self._execution = None
        if shown:
            bundle = json.loads(shown)
            self._sink(
                ExecuteResult(
                    execution.id, execution.count, bundle["data"], bundle["metadata"]
                )
            )
        self._sink(ExecutionDone(execution.id, execution.count, None))

    def _fail(self, error: ErrorInfo) -> None:
        execution = self._execution
        if execution is None:
            return
        self._flush()
        self._execution = None
        self._sink(ExecutionError(execution.id, error))
        self._sink(ExecutionDone(execution.id, execution.count, error))

    def _fail_stopped(self, execution: Execution) -> None:
        stop, self._stop = self._stop, None
        self._bridge.call("cancelOwner", execution.id)
        if stop is Stop.DEADLINE:
            message = f"the execution took longer than {execution.seconds:g} s"
        elif stop is Stop.MEMORY:
            message = self._memory_message
        else:
            message = "the execution was interrupted"
        name = (stop or Stop.INTERRUPT).value
        self._fail(ErrorInfo(name, message, (tracebacks.heading(name, message),)))

    # -- turns: the times when JavaScript runs ---------------------------------------

    @contextmanager
    def _turn(self, deadline: float | None = None) -> Iterator[None]:
        """JavaScript runs inside; it can be stopped, and afterwards it may again."""
        with self._lock:
            self._running = True
        self._watchdog.enter(deadline)
        try:
            yield
        except TerminatedError:
            pass  # _stop says why
        finally:
            self._watchdog.leave()
            with self._lock:
                self._running = False
            self._isolate.resume()
            self._recover_memory()

    def _recover_memory(self) -> None:
        what = self._isolate.memory.out_of_memory
        if what is None:
            return
        settings = self.settings
        bound = settings.heap_memory_max or self._isolate.memory.born_limit
        self._memory_message = (
            f"the heap of the context is full ({bound >> 20} MiB); "
            "what the cell did until then is kept"
        )
        self._stop = self._stop or Stop.MEMORY
        self._isolate.memory.reset()

    def interrupt(self) -> None:
        """Stop what runs now, a busy loop and a pending await alike; thread-safe.

        Nothing happens when nothing runs. State is kept; the execution fails with
        the error `KeyboardInterrupt`, and its timers are cleared.
        """
        self._stop_running(Stop.INTERRUPT)

    def _stop_running(self, stop: Stop) -> None:
        with self._lock:
            if self._closed or not (self._running or self._execution):
                return
            self._stop = self._stop or stop
            if self._running:
                self._isolate.terminate()
                self._watchdog.give_up_after(self.settings.interrupt_grace)
        try:
            os.write(self._waker, b"!")
        except BlockingIOError:
            pass  # it is readable already

    def step(self) -> None:
        """Fire due timers, run microtasks, settle the execution, hand out output."""
        self._check_open()
        try:
            os.read(self.wakeup, 4096)
        except BlockingIOError:
            pass
        execution = self._execution
        if execution and execution.deadline and time.monotonic() >= execution.deadline:
            self._stop = self._stop or Stop.DEADLINE
        if self._stop is None:
            with self._turn(execution.deadline if execution else None):
                self._bridge.call("runTimers")
                self._isolate.run_microtasks()
        if execution is None and self._stop is not None:
            self._tell_stopped_timer()
        self._settle()
        self._flush()

    def _tell_stopped_timer(self) -> None:
        """A timer's callback was stopped while no cell ran."""
        stop, self._stop = self._stop, None
        name = (stop or Stop.INTERRUPT).value
        text = f"{name}: a timer's callback was stopped\n"
        self._sink(Stream(self._isolate.owner(), "stderr", text))

    def wait_time(self) -> float | None:
        """Seconds until `step` has something to do; None if nothing is waiting."""
        if self._stop is not None:
            return 0.0
        milliseconds = self._bridge.call("nextTimer")
        waits = [milliseconds / 1e3] if milliseconds >= 0 else []
        execution = self._execution
        if execution is not None and execution.deadline is not None:
            waits.append(max(execution.deadline - time.monotonic(), 0.0))
        return min(waits) if waits else None

    def _flush(self) -> None:
        try:
            self._bridge.call("flush")
        except TerminatedError:
            pass  # stopped while flushing; the rest is flushed at the end

    # -- errors ----------------------------------------------------------------------

    def _describe(self, value: Value) -> ErrorInfo:
        with self._turn():
            details = self._bridge.call("describe", value)
            return tracebacks.error_info(details, self._sources)
        return ErrorInfo("Error", "the error could not be described")

    def _thrown_syntax(self, execution: Execution, thrown: Thrown) -> ErrorInfo:
        described = json.loads(self._bridge.call("describe", thrown.value))
        line, column = thrown.line, thrown.column + 1
        width = max(thrown.end_column - thrown.column, 1)
        line, column = json.loads(self.position(execution.script, line, column))
        source = self._sources.get(execution.script)
        if source is not None:
            line, column = tracebacks.place_in(source.code, line, column)
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
            self._sources, execution.script, message, place, ename
        )

    def _report_rejections(self) -> None:
        for reason, owner in self._isolate.rejections.take():
            with self._turn():
                self._bridge.call("setOwner", owner)
                self._bridge.call("report", reason, "rejection")

    # -- what the runtime asks for (bridge.Host) ---------------------------------------

    def write(self, stream: str, text: str, owner: int) -> None:
        """Text was printed."""
        name = "stderr" if stream == "stderr" else "stdout"
        self._sink(Stream(owner, name, text))

    def emit(self, kind: str, content: str, owner: int, *buffers: Value) -> None:
        """Something is to be shown or sent."""
        data = json.loads(content)
        if kind == "clear_output":
            self._sink(ClearOutput(owner, bool(data.get("wait"))))
        elif kind in {"display_data", "update_display_data"}:
            display_id = data.get("transient", {}).get("display_id")
            self._sink(
                DisplayData(
                    owner,
                    data["data"],
                    data.get("metadata", {}),
                    display_id,
                    update=kind == "update_display_data",
                )
            )
        else:
            self._sink(
                CommEvent(
                    owner,
                    kind,  # type: ignore[arg-type]  # the runtime's three comm kinds
                    data["comm_id"],
                    data.get("data", {}),
                    data.get("metadata", {}),
                    data.get("target_name", ""),
                    tuple(buffer.bytes() for buffer in buffers),
                )
            )

    def input(self, prompt: str, password: bool) -> str:  # noqa: FBT001 -- from JS
        """Ask the user; blocks the context."""
        if self._read_input is None:
            message = "input can't be asked for here"
            raise InputUnavailableError(message)
        return self._read_input(prompt, password)

    def position(self, script: str, line: int, column: int) -> str:
        """The user's place for one in what V8 ran; lines and columns from 1."""
        source = self._sources.get(script)
        if source is not None and line == 1:
            column = max(column - source.first_line_shift, 1)
        if source is not None and source.source_map is not None:
            line, column = transpiler().original(source.source_map, line, column - 1)
            column += 1
        return json.dumps([line, column])

    def report_error(self, details: str, kind: str, owner: int) -> None:
        """An error that no cell waits for is shown in its cell, on stderr."""
        error = tracebacks.error_info(details, self._sources)
        origin = "Unhandled rejection" if kind == "rejection" else "Uncaught"
        text = "\n".join(error.traceback)
        self._sink(Stream(owner, "stderr", f"{origin} {text}\n"))

    # -- questions -------------------------------------------------------------------

    def evaluate(
        self, expression: str, *, execution_id: int = 0
    ) -> tuple[MimeBundle, dict[str, Any]] | ErrorInfo:
        """The value of an expression, as `user_expressions` want it; not stored.

        Raises:
            ContextBusyError: An execution is pending.
        """
        events: list[Event] = []
        sink, self._sink = self._sink, events.append
        try:
            self.begin(expression, execution_id=execution_id, store_history=False)
            if self._execution is not None:
                self._execution = None
                message = "the expression is still waiting for a promise"
                return ErrorInfo("TimeoutError", message, (message,))
        finally:
            self._sink = sink
        for event in events:
            if isinstance(event, ExecuteResult):
                return event.data, event.metadata
            if isinstance(event, ExecutionError):
                return event.error
        return {"text/plain": "undefined"}, {}

    def complete(self, code: str, cursor: int) -> Completions:
        """Completions at a cursor, counted in code points; runs none of the code."""
        with self._turn():
            return complete(self._bridge, code, cursor)
        return Completions([], cursor, cursor, [])

    def inspect(self, code: str, cursor: int, detail: int = 0) -> MimeBundle | None:
        """What is known of the name under the cursor; None if nothing."""
        with self._turn():
            return inspect(self._bridge, code, cursor, detail)
        return None

    def is_complete(
        self, code: str, language: Language | None = None
    ) -> tuple[Completeness, str]:
        """Whether a console should run the text, and the next line's indent."""
        return completeness(self._isolate, code, language or self.settings.language)

    # -- comms -----------------------------------------------------------------------

    def comm_open(
        self,
        comm_id: str,
        target_name: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> bool:
        """The front opened a comm; False when JavaScript has no such target."""
        content = {
            "comm_id": comm_id,
            "target_name": target_name,
            "data": data,
            "metadata": metadata or {},
        }
        self._comm("comm_open", content, buffers)
        return comm_id in self.comms()

    def comm_message(
        self,
        comm_id: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """The front sent something on a comm."""
        content = {"comm_id": comm_id, "data": data, "metadata": metadata or {}}
        self._comm("comm_msg", content, buffers)

    def comm_close(
        self,
        comm_id: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """The front closed a comm."""
        content = {"comm_id": comm_id, "data": data or {}, "metadata": metadata or {}}
        self._comm("comm_close", content, ())

    def _comm(
        self, kind: str, content: dict[str, Any], buffers: tuple[bytes, ...]
    ) -> None:
        self._check_open()
        with self._turn():
            self._bridge.call("comm", kind, json.dumps(content), list(buffers))
            self._isolate.run_microtasks()
        self._settle()
        self._flush()

    def comms(self) -> dict[str, str]:
        """Open comms: id to target."""
        known: dict[str, str] = json.loads(self._bridge.call("comms"))
        return known

    # -- the end -----------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ContextClosedError

    def close(self) -> None:
        """Free everything; safe to call twice. No event comes afterwards."""
        if self._closed:
            return
        with self._lock:
            self._closed = True
        self._watchdog.close()
        self._execution = None
        self._bridge.close()
        os.close(self.wakeup)
        os.close(self._waker)


def _abort() -> None:
    """The last resort of a front that has none of its own."""
    os.write(2, b"isokernel: JavaScript can't be stopped; the process ends\n")
    os._exit(70)
