"""One execution of a cell: it is compiled and run, its value is shown, it ends."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.compiler.cells import (
    Compiled,
    as_script,
    compile_body,
    compile_cell,
    compile_function,
    has_return,
    recompile,
)
from isokernel.compiler.imports import (
    is_misplaced,
    may_import,
    refused_for_imports,
    split_cell,
)
from isokernel.compiler.redeclaration import Cell, Clash
from isokernel.context import tracebacks
from isokernel.context.events import (
    CapabilityDrop,
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    ResultJson,
)
from isokernel.context.turns import Stop
from isokernel.runtime.scripts import PREFIX
from isokernel.typescript.transpiler import SyntaxProblem
from isokernel.v8.isolate import Thrown
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.compiler.imports import CellImports
    from isokernel.context.turns import Turns
    from isokernel.settings import Language

_FULFILLED, _REJECTED = 1, 2
_decode: Final = json.JSONDecoder().raw_decode
"""For the runtime's own JSON, which has nothing around it."""
_RESULT: Final = ".repl_result"
_HELPERS: Final = f"{PREFIX}helpers"
_WANTED_BUFFER: Final = re.compile(
    "allocation failed$|Out of memory$|Unable to grow|could not allocate memory$"
)
"""V8's words where a buffer, or a WebAssembly.Memory, is refused."""
_BUFFERS_SETTING: Final = "array_buffer_bytes_max, or heap_memory_max_mb of a request"


class ToolLimits(NamedTuple):
    """What an execution may ask of tools.

    Attributes:
        calls_max: Calls that wait for their answers at a time.
        input_max: Bytes of one call's input, as JSON.
    """

    calls_max: int = 256
    input_max: int = 1 << 20


class ExecutionOptions(NamedTuple):
    """What an execution may be asked for beyond a notebook's cell.

    Attributes:
        result_json: Report its value as JSON too (`ResultJson`). The value of a promise
            is awaited for it.
        result_max: Characters of that JSON; 0 for as many as the cell may print.
        whole_max: Characters of all of it, reported as well if it is cut; 0 for none.
        heap_bytes_max: V8's heap, while it runs; 0 for the context's own bound.
        levels: Print `[INFO] `, `[WARN] ` and `[ERROR] ` before what console.info, warn
            and error say, its timers included.
        drain: End as a script does: when none of its own timers waits any more, and
            none of its calls of tools is awaited, or with the first error that nobody
            catches. Timers that are `unref()`ed don't count.
        body: The code is a function's body: what it returns is the value. If that is a
            function of no argument, it is called, as code that was meant to run.
        tools: It has the global `tools`, within these limits. Each call is a `ToolCall`
            that the front answers with `Context.settle_tool`.
    """

    result_json: bool = False
    result_max: int = 0
    whole_max: int = 0
    heap_bytes_max: int = 0
    levels: bool = False
    drain: bool = False
    body: bool = False
    tools: ToolLimits | None = None


class CellRun:
    """One execution, from its first line to its `ExecutionDone`. Of the V8 thread.

    `start` evaluates the cell, which gives a promise. From then on `settle`, called
    after each turn of JavaScript, advances as far as the promise allows: `_present`
    renders the value, which may take another promise, `_finish` reports it, and `_end`
    ends the execution once no timer is waited for. `_fail` ends it in any state.

    Attributes:
        id: The front's name for it; owner of all that it prints.
        over: Whether `ExecutionDone` was reported.
    """

    def __init__(  # noqa: PLR0913 -- the fields of an execute request
        self,
        turns: Turns,
        *,
        id: int,  # noqa: A002 -- the word that every front uses
        count: int,
        script: str,
        silent: bool,
        store: bool,
        deadline_seconds: float | None,
        options: ExecutionOptions,
    ) -> None:
        """Create an execution; `start` runs it.

        Args:
            turns: Of the context.
            id: See above.
            count: Its number, N of `In [N]`.
            script: Name of its script in V8.
            silent: No result is shown.
            store: Its result goes into `Out`.
            deadline_seconds: How long it may take from now on.
            options: What else is asked of it.
        """
        self.id = id
        self.over = False
        self._turns = turns
        self._bridge = turns.bridge
        self._isolate = turns.bridge.isolate
        self._host = turns.bridge.host
        self._owner = self._host.owner(id)
        self._count = count
        self._script = script
        self._silent = silent
        self._store = store
        self._options = options
        self._deadline_seconds = deadline_seconds
        self._deadline = (
            None if deadline_seconds is None else time.monotonic() + deadline_seconds
        )
        self._paused_at: float | None = None
        # What it waits for: what it imports, the cell's end, or the text of its result.
        self._promise: Value | None = None
        self._then: Callable[[Value], None] | None = None
        self._presenting = False
        self._done: ExecutionDone | None = None  # while it waits for timers
        self._uncaught: ErrorInfo | None = None
        self._denied = False

    # -- its time ------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When it must have ended, on the monotonic clock, as seen now; None for never.

        While it is paused, only the time in which JavaScript runs counts.
        """
        if self._deadline is None or self._paused_at is None:
            return self._deadline
        return self._deadline + self._idle_clock() - self._paused_at

    @property
    def due(self) -> float | None:
        """When the deadline passes if nothing happens until then; None for never."""
        return None if self._paused_at is not None else self._deadline

    def pause(self, *, paused: bool) -> None:
        """Begin or end a pause; nothing happens when it is so already."""
        if paused == (self._paused_at is not None):
            return
        self._deadline = self.deadline
        self._paused_at = self._idle_clock() if paused else None

    def _idle_clock(self) -> float:
        """A clock, in seconds, that stands still while JavaScript runs."""
        return time.monotonic() - self._turns.seconds_run

    # -- from code to a promise ------------------------------------------------------

    def start(self, code: str, language: Language) -> None:
        """Run the cell up to its end or to its first await.

        Raises:
            TranspilerError: The TypeScript compiler itself failed.
        """
        if self._options.heap_bytes_max:
            self._limit_memory(self._options.heap_bytes_max)
        self._isolate.memory.buffers.refused = False
        # What is printed from now on is this cell's output.
        if self._store:
            self._bridge.call("beginCell", self._owner, self._count, code)
        else:
            self._bridge.call("setOwner", self._owner)
        if self._options.tools is not None:
            calls_max, input_max = self._options.tools
            limits = {"callsMax": calls_max, "inputMax": input_max}
            self._bridge.call("beginTools", self._owner, json.dumps(limits))
        self._turns.run(lambda: self._evaluate(code, language), self.deadline)

    def _evaluate(self, code: str, language: Language) -> None:
        """Compile and run the code; inside a turn."""
        self._language = language
        compile_code = compile_body if self._options.body else compile_cell
        compiled = compile_code(self._isolate, code, language)
        source = tracebacks.CellSource(code)
        self._host.sources.add(self._script, source)
        if self._options.levels:
            self._bridge.call("showLevels", self._owner)
        if not isinstance(compiled, SyntaxProblem):
            self._run(compiled, source, code)
        elif not may_import(code) or not self._import(code, None, source, compiled):
            self._fail_syntax(compiled)
        self._turns.run_cleanups()

    def _run(
        self, compiled: Compiled, source: tracebacks.CellSource, code: str
    ) -> None:
        cell = self._cell(source.runs)
        outcome = cell.run(compiled)
        if isinstance(outcome, Thrown) and not outcome.terminated:
            if self._imports(outcome) and self._import(code, compiled, source):
                return
            again = self._compile_again(outcome, compiled, code)
            if isinstance(again, SyntaxProblem):
                self._fail_syntax(again)
                return
            if again is not None:
                outcome = self._run_again(cell, again)
                if self._imports(outcome) and self._import(code, again, source):
                    return
        if isinstance(outcome, Clash):
            self._fail_clash(outcome)
        elif not isinstance(outcome, Thrown):
            self._wait_for(outcome)
            self._isolate.run_microtasks()
        elif not outcome.terminated:
            self._fail(self._syntax_error(outcome))

    def _run_again(self, cell: Cell, again: Compiled) -> Value | Thrown | Clash:
        """Run a cell as what it is otherwise, after V8 has refused it."""
        if again.helpers is not None:
            helpers = self._isolate.run_script(again.helpers, _HELPERS)
            self._bridge.call("defineHelpers", helpers)
        outcome = cell.run(again)
        if not again.plain or isinstance(outcome, Clash):
            return outcome
        # A script has ended, where a cell would have given a promise.
        if isinstance(outcome, Thrown) and outcome.value is None:
            return outcome
        failed = isinstance(outcome, Thrown)
        value = outcome.value if isinstance(outcome, Thrown) else outcome
        promise: Value = self._bridge.call("scriptEnd", value, failed)
        return promise

    def _cell(self, before_run: Callable[[Compiled], None]) -> Cell:
        return Cell(
            self._isolate,
            self._script,
            before_run=before_run,
            message=lambda thrown: str(self._described(thrown)["evalue"]),
            constants=self._host.sources.constants,
        )

    def _fail_clash(self, clash: Clash) -> None:
        error = self._syntax_error(clash.thrown)
        if clash.hint:
            error = error._replace(traceback=(*error.traceback, clash.hint))
        self._fail(error)

    def _compile_again(
        self, thrown: Thrown, compiled: Compiled, code: str
    ) -> Compiled | SyntaxProblem | None:
        """Compile what V8 refused as something else that it may be."""
        refused = str(self._described(thrown)["evalue"])
        script = as_script(self._isolate, compiled, refused)
        if script is not None:
            return script
        if self._options.body and has_return(refused):
            made = compile_function(self._isolate, code)
            if isinstance(made, SyntaxProblem) or code != compiled.code:
                return made
            # It is what the compiler has made: its map holds on.
            return made._replace(source_map=made.source_map or compiled.source_map)
        return recompile(self._isolate, code, body=self._options.body)

    # -- what it imports -------------------------------------------------------------

    def _imports(self, outcome: Value | Thrown | Clash) -> bool:
        """Return whether V8 refused the code for import or export statements."""
        return (
            isinstance(outcome, Thrown)
            and not outcome.terminated
            and refused_for_imports(self._described(outcome)["evalue"])
        )

    def _import(
        self,
        code: str,
        compiled: Compiled | None,
        source: tracebacks.CellSource,
        problem: SyntaxProblem | None = None,
    ) -> bool:
        """Begin with what the code imports; the rest of it runs when that is there.

        Args:
            code: As it was written.
            compiled: What V8 refused; None if the compiler has refused the code.
            source: Of the code.
            problem: What the compiler said.

        Returns:
            False if the code can't be split: then it has another fault.
        """
        parts = (
            split_cell(code)
            if compiled is None
            else split_cell(
                compiled.code, compiled.source_map, written=self._typed(code)
            )
        )
        if isinstance(parts, SyntaxProblem):
            is_told = problem is None or is_misplaced(parts)
            if is_told:
                self._fail_syntax(parts)
            return is_told
        imports, rest = parts
        source.runs(rest)
        if imports.meta:
            self._bridge.call("defineImportMeta")
        if not imports.statements:
            self._run(rest, source, rest.code)
            return True
        cell = {
            "script": self._script,
            "text": imports.text,
            "statements": imports.statements,
        }
        promise = self._bridge.call("importCell", json.dumps(cell))
        self._then = lambda answer: self._bind(answer, imports, rest, source)
        self._wait_for(promise)
        self._isolate.run_microtasks()
        return True

    def _bind(
        self,
        answer: Value,
        imports: CellImports,
        rest: Compiled,
        source: tracebacks.CellSource,
    ) -> None:
        """Give the REPL the names that were imported, as constants."""
        loaded = json.loads(self._isolate.to_text(answer))
        if not loaded["names"]:
            self._run(rest, source, rest.code)
            return
        names = ", ".join(f"${name}: {name}" for name in loaded["names"])
        head = f"const {{ {names} }} = await import({json.dumps(loaded['url'])});"
        outcome = self._cell(lambda _compiled: None).run(Compiled(head))
        if isinstance(outcome, Value):
            self._then = lambda _end: self._run(rest, source, rest.code)
            self._wait_for(outcome)
            self._isolate.run_microtasks()
            return
        thrown = outcome.thrown if isinstance(outcome, Clash) else outcome
        if not thrown.terminated:
            first = imports.statements[0]
            place = {"line": first["line"], "column": first["column"]}
            thrown = thrown._replace(end_column=first["column"] + 1, **place)
            hint = outcome.hint if isinstance(outcome, Clash) else ""
            self._fail_clash(Clash(thrown, hint))

    def _typed(self, code: str) -> str | None:
        """Return the code if it may be TypeScript."""
        return code if self._language == "typescript" else None

    def _wait_for(self, promise: Value) -> None:
        self._promise = promise
        self._isolate.mark_handled(promise)

    # -- from the promise to the end ---------------------------------------------------

    def claim_result(self) -> None:
        """Await the value itself if it is a promise and wanted as JSON.

        Its rejection is the execution's failure then, and not an unhandled one. Called
        before rejections are reported.
        """
        if self._promise is None or self._then is not None:
            return
        if self._presenting or not self._options.result_json:
            return
        state, result = self._isolate.promise(self._promise)
        if state == _FULFILLED:
            value = self._isolate.get_value(result, _RESULT)
            if self._isolate.library.IsPromise(value.slot):
                self._isolate.mark_handled(value)

    def look_for_denial(self, reason: Value) -> None:
        """Note whether a rejection that is about to be reported is a denied call's."""
        if self._uncaught is None:
            self._denied = self._is_denial(reason)

    def uncaught(self, error: ErrorInfo) -> None:
        """End a script with an error that nobody caught; other cells go on."""
        if self._options.drain and self._uncaught is None:
            self._uncaught = error

    def settle(self) -> None:
        """Advance as far as possible; called after each turn of JavaScript."""
        while not self.over:
            if self._turns.stop is not None:
                self._fail_stopped()
            elif self._uncaught is not None:
                self._fail(self._uncaught, denied=self._denied)
            elif self._done is not None:
                self._end(self._done)
                self._turns.flush()
                return
            elif self._promise is None:
                return
            else:
                state, value = self._isolate.promise(self._promise)
                if state == _REJECTED:
                    self._fail_with(value)
                elif state != _FULFILLED:
                    self._turns.flush()
                    return
                elif self._then is not None:
                    self._go_on(self._then, value)
                elif self._presenting:
                    self._finish(self._isolate.to_text(value))
                else:
                    self._present(value)

    def _go_on(self, then: Callable[[Value], None], value: Value) -> None:
        """Take the next step on the way to the cell's end, in a turn of its own."""
        self._then = self._promise = None
        self._turns.run(lambda: then(value), self.deadline)

    def _present(self, end: Value) -> None:
        """Render the cell's value; `end` is what its promise was fulfilled with."""
        self._presenting = True
        if self._silent and not self._options.result_json:
            self._finish("")
            return
        shown = self._turns.run(lambda: self._render(end), self.deadline)
        if isinstance(shown, str):
            self._finish(shown)
        elif isinstance(shown, Value):  # the text comes later
            self._wait_for(shown)
        elif isinstance(shown, Thrown) and shown.value is not None:
            self._fail_with(shown.value)

    def _render(self, end: Value) -> Any:
        kept = (self._owner, self._count, self._store)
        if self._options.result_json:
            options = self._options
            sizes = (options.result_max, options.whole_max)
            asked = (self._silent, *sizes, options.body)
            shown = self._bridge.try_call("conclude", end, *kept, *asked)
        else:
            shown = self._bridge.try_call("present", end, *kept)
        self._isolate.run_microtasks()
        return shown

    def _finish(self, text: str) -> None:
        """Report the value; `text` is JSON of it, empty if nothing is to be shown."""
        self._turns.flush()
        bundle: Any = _decode(text)[0] if text else None
        if self._options.result_json:
            bundle, (value, *rest) = bundle
            result = ResultJson(self.id, value, *rest)
            if value is not None or result.shown is not None:
                self._host.sink(result)
        if bundle is not None:
            data, metadata = bundle["data"], bundle["metadata"]
            self._host.sink(ExecuteResult(self.id, self._count, data, metadata))
        self._promise = None
        self._done = ExecutionDone(self.id, self._count, None)
        self._end(self._done)

    def _end(self, done: ExecutionDone) -> None:
        """End it successfully, unless it waits for timers or tools."""
        if self._options.drain and self._bridge.call("holds", self._owner):
            return
        self._turns.flush_once()
        self._conclude(done)

    def _fail(
        self, error: ErrorInfo, *, denied: bool = False, stopped: bool = False
    ) -> None:
        """End it with an error."""
        if not self.over:
            if self._options.drain and not stopped:
                self._end_rest()
            self._turns.flush()
            done = ExecutionDone(self.id, self._count, error, denied, stopped)
            self._conclude(ExecutionError(self.id, error), done)

    def _end_rest(self) -> None:
        """Clear its timers and end its calls, as its code doesn't go on."""
        self._turns.run(lambda: self._bridge.call("cancelOwner", self._owner))
        calls = self._turns.run(lambda: self._bridge.call("dropCalls", self._owner))
        for call_id in json.loads(calls) if isinstance(calls, str) else ():
            self._host.sink(CapabilityDrop(self.id, call_id))

    def _limit_memory(self, bytes_max: int) -> None:
        """Bound the heap, and ArrayBuffers, each by what this execution may have."""
        buffers_bytes_max = self._turns.settings.array_buffer_bytes_max or bytes_max
        self._isolate.memory.limit(bytes_max, min(buffers_bytes_max, bytes_max))

    def _fail_with(self, thrown: Value) -> None:
        """End it with what was thrown, unless describing that is stopped.

        That runs the user's code: getters of the error, `Error.prepareStackTrace`.
        """
        denied = self._is_denial(thrown)
        error = self._describe(thrown)
        if self._turns.stop is None:
            self._fail(error, denied=denied)

    def _conclude(self, *events: Event) -> None:
        self.over = True
        self._promise = None
        if self._options.heap_bytes_max:
            settings = self._turns.settings
            self._isolate.memory.limit(
                settings.v8_heap_bytes_max, settings.array_buffer_bytes_max
            )
        if self._host.cut_owner == self._owner:
            self._host.cut_owner = -1
            self._turns.run(lambda: self._bridge.call("endOutput", self._owner))
        if self._options.tools is not None:
            self._bridge.call("endTools", self._owner)
        for event in events:
            self._host.sink(event)

    # -- errors ----------------------------------------------------------------------

    def _fail_stopped(self) -> None:
        stop = self._turns.take_stop()
        # The heap may still be full, and end this as well.
        self._end_rest()
        self._turns.run(lambda: self._bridge.call("recover", self._owner))
        self._turns.take_stop()
        if stop is Stop.DEADLINE:
            message = f"the execution took longer than {self._deadline_seconds:g} s"
        elif stop is Stop.MEMORY:
            message = self._turns.memory_message
        else:
            message = "the execution was interrupted"
        name = (stop or Stop.INTERRUPT).value
        heading = tracebacks.heading(name, message, self._host.paint)
        error = ErrorInfo(name, message, (heading,))
        self._fail(error, stopped=True)

    def _is_denial(self, reason: Value) -> bool:
        """Whether this is the error of a tool call that was denied.

        It is the same object or it isn't; what it looks like doesn't matter, as code
        can make anything look like it.
        """
        if self._options.tools is None:
            return False
        denial: bool = self._bridge.call("isDenial", reason, self._owner)
        return denial

    def _describe(self, value: Value) -> ErrorInfo:
        """Return what was thrown as an error to show."""
        details = self._turns.run(
            lambda: self._bridge.call("describe", value), self.deadline
        )
        if details is None:
            return ErrorInfo("Error", "the error could not be described")
        error = tracebacks.error_info(details, self._host.sources, self._host.paint)
        buffers = self._isolate.memory.buffers
        if buffers.refused and _WANTED_BUFFER.search(error.evalue) is not None:
            bound = (buffers.bytes_max or 0) >> 20
            hint = f"  ArrayBuffers may take {bound} MiB together: {_BUFFERS_SETTING}"
            error = error._replace(traceback=(*error.traceback, hint))
        return error

    def _described(self, thrown: Thrown) -> dict[str, Any]:
        """Return the runtime's description of an error; inside a turn."""
        text = self._bridge.call("describe", thrown.value)
        described: dict[str, Any] = json.loads(text)
        return described

    def _fail_syntax(self, problem: SyntaxProblem) -> None:
        place = (problem.line, problem.column + 1, problem.end_column + 1)
        error = tracebacks.syntax_error(
            self._host.sources,
            self._script,
            problem.message,
            place,
            paint=self._host.paint,
        )
        self._fail(error)

    def _syntax_error(self, thrown: Thrown) -> ErrorInfo:
        """Return what V8 refused or threw at once, placed in the user's text."""
        described = self._described(thrown)
        width = max(thrown.end_column - thrown.column, 1)
        line, column = self._host.place(self._script, thrown.line, thrown.column + 1)
        return tracebacks.syntax_error(
            self._host.sources,
            self._script,
            described["evalue"],
            (line, column, column + width),
            described["ename"],
            paint=self._host.paint,
        )
